//! Garbage collection of the build cache: rules are gone through one after the other, a while after a build, and again
//! at most once a minute.
//!
//! A rule is what `builder prune` could be told, so what a rule would take can be tried. Nothing that a build in
//! progress uses goes, and without `all` nothing that an image has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use dray_build::{BuildError, CachePrune};
use jiff::Timestamp;

use super::Service;

/// The least time between two collections.
const PAUSE: Duration = Duration::from_secs(60);
/// Fields of a record that a rule may ask for.
const FIELDS: [&str; 6] = ["id", "type", "description", "inuse", "shared", "private"];

/// The rules, in their order; none: nothing is collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcPolicy {
    /// The rules.
    pub rules: Vec<GcRule>,
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcRule {
    /// Also what images have.
    pub all: bool,
    /// Only what no build has had for so many nanoseconds; 0 for all.
    pub keep_duration: i64,
    /// What stays in any case.
    pub reserved: Space,
    /// What stays at most; none if 0.
    pub most: Space,
    /// What the disk shall have free; none if 0.
    pub free: Space,
    /// Only records with these values of these fields.
    pub filters: Vec<(String, String)>,
}

/// An amount of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// In bytes.
    Bytes(u64),
    /// Of the whole disk.
    Percent(u64),
}

impl Default for Space {
    fn default() -> Self {
        Space::Bytes(0)
    }
}

impl Default for GcPolicy {
    /// Directories of cache mounts and contexts that were not used for two days, while the cache is beyond 512 MB; what
    /// was not used for 60 days; what is beyond 60 % of the disk.
    fn default() -> Self {
        let day = 24 * 3_600_000_000_000;
        let short_lived = |kind: &str| GcRule {
            keep_duration: 2 * day,
            most: Space::Bytes(512_000_000),
            filters: vec![("type".to_owned(), kind.to_owned())],
            ..GcRule::default()
        };
        let (mounts, contexts) = (short_lived("exec.cachemount"), short_lived("source.local"));
        let old = GcRule { keep_duration: 60 * day, ..GcRule::default() };
        let large = GcRule { most: Space::Percent(60), ..GcRule::default() };
        GcPolicy { rules: vec![mounts, contexts, old, large] }
    }
}

impl Space {
    fn bytes(self, disk: u64) -> u64 {
        match self {
            Space::Bytes(bytes) => bytes,
            Space::Percent(percent) => (u128::from(disk) * u128::from(percent) / 100) as u64,
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.trim().parse().ok().filter(|percent| *percent <= 100);
            return percent.map(Space::Percent).ok_or_else(|| format!("invalid percentage: {text}"));
        }
        let bytes = dray_api::size::parse_binary(text)?;
        u64::try_from(bytes).map(Space::Bytes).map_err(|_| format!("invalid size: {text}"))
    }
}

impl std::fmt::Display for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Space::Bytes(bytes) => write!(f, "{bytes}"),
            Space::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl std::str::FromStr for GcRule {
    type Err = String;

    /// `all=true,keep-duration=48h,reserved-space=10GB,max-used-space=60%,min-free-space=20%,filter=type==regular`
    fn from_str(text: &str) -> Result<Self, String> {
        let mut rule = GcRule::default();
        for field in text.split(',').filter(|field| !field.is_empty()) {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field {field:?}"))?;
            match key {
                "all" => {
                    rule.all = dray_spec::golang::parse_bool(value)
                        .ok_or_else(|| format!("invalid field {field:?}"))?;
                }
                "keep-duration" => {
                    rule.keep_duration =
                        dray_spec::golang::parse_duration(value).map_err(|error| error.to_string())?;
                }
                "reserved-space" | "keep-storage" => rule.reserved = Space::parse(value)?,
                "max-used-space" => rule.most = Space::parse(value)?,
                "min-free-space" => rule.free = Space::parse(value)?,
                "filter" => rule.filters.push(filter(value)?),
                other => return Err(format!("unknown field {other:?} of a rule")),
            }
        }
        Ok(rule)
    }
}

/// `type==regular`, `type=regular`, or `unused-for=…`, which is a duration.
fn filter(text: &str) -> Result<(String, String), String> {
    let (field, value) = text.split_once('=').ok_or_else(|| format!("invalid filter {text:?}"))?;
    let value = value.trim_start_matches('=');
    match FIELDS.contains(&field) {
        true => Ok((field.to_owned(), value.to_owned())),
        false => Err(format!("unknown field {field:?} in filter {text:?}")),
    }
}

impl GcRule {
    fn to_prune(&self, disk: u64, now: Timestamp) -> CachePrune {
        let until = (self.keep_duration > 0)
            .then(|| now.checked_sub(jiff::SignedDuration::from_nanos(self.keep_duration)).ok())
            .flatten();
        CachePrune {
            all: self.all,
            until,
            reserved: self.reserved.bytes(disk),
            most: self.most.bytes(disk),
            free: self.free.bytes(disk),
            filters: self.filters.clone(),
        }
    }
}

/// When the next collection is due.
#[derive(Debug, Default)]
pub(super) struct Collecting {
    wanted: AtomicBool,
    active: AtomicBool,
}

impl Service {
    /// The rules in force.
    #[must_use]
    pub fn gc_policy(&self) -> GcPolicy {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on the cache is collected by these rules.
    pub fn set_gc_policy(&self, policy: GcPolicy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Removes what the rules say; gives the ids of what went. Blocks.
    ///
    /// # Errors
    /// If the store fails.
    pub fn collect_garbage(&self) -> Result<Vec<String>, BuildError> {
        let disk = self.builder.disk_size();
        let mut gone = Vec::new();
        for rule in self.gc_policy().rules {
            let pruned = self.builder.prune_cache(&rule.to_prune(disk, Timestamp::now()))?;
            if !pruned.ids.is_empty() {
                tracing::info!(records = pruned.ids.len(), bytes = pruned.bytes, "build cache collected");
            }
            gone.extend(pruned.ids);
        }
        Ok(gone)
    }

    /// Has the cache collected soon: now, or a while after the last time.
    pub(super) fn collect_soon(&self) {
        if self.gc_policy().rules.is_empty() {
            return;
        }
        self.collecting.wanted.store(true, Ordering::Release);
        if !self.collecting.active.swap(true, Ordering::AcqRel) {
            self.handle.spawn(collect(self.this.clone()));
        }
    }
}

/// Collects as long as it is wanted. Does not keep the service.
async fn collect(service: Weak<Service>) {
    loop {
        let Some(strong) = service.upgrade() else { return };
        if !strong.collecting.wanted.swap(false, Ordering::AcqRel) {
            strong.collecting.active.store(false, Ordering::Release);
            // Somebody may have wanted it in between, and seen this one at work.
            let again = strong.collecting.wanted.load(Ordering::Acquire);
            if !again || strong.collecting.active.swap(true, Ordering::AcqRel) {
                return;
            }
            continue;
        }
        let collected = tokio::task::spawn_blocking(move || collect_now(&strong));
        // The runtime goes down.
        if collected.await.is_err() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn collect_now(service: &Arc<Service>) {
    if let Err(error) = service.collect_garbage() {
        tracing::warn!(%error, "the build cache is not collected");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_line_of_fields() {
        let rule: GcRule =
            "all=true,keep-duration=48h,reserved-space=1GB,max-used-space=60%,filter=type==regular"
                .parse()
                .unwrap();
        assert_eq!(rule.keep_duration, 48 * 3_600_000_000_000);
        assert_eq!((rule.reserved, rule.most), (Space::Bytes(1 << 30), Space::Percent(60)));
        assert_eq!(rule.filters, [("type".to_owned(), "regular".to_owned())]);
        let now = Timestamp::from_second(1_000_000).unwrap();
        let prune = rule.to_prune(1000, now);
        assert_eq!((prune.all, prune.most, prune.free), (true, 600, 0));
        assert_eq!(prune.until, Timestamp::from_second(1_000_000 - 48 * 3600).ok());
        assert_eq!(GcRule::default().to_prune(1000, now).until, None);
    }

    #[test]
    fn what_is_no_rule_is_said() {
        let message = |text: &str| text.parse::<GcRule>().unwrap_err();
        assert_eq!(message("x"), "invalid field \"x\"");
        assert_eq!(message("x=y"), "unknown field \"x\" of a rule");
        assert_eq!(message("max-used-space=200%"), "invalid percentage: 200%");
        assert_eq!(message("filter=color==red"), "unknown field \"color\" in filter \"color==red\"");
        assert!(message("keep-duration=soon").contains("soon"));
    }
}
