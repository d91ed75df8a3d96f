//! Pruning the cache by BuildKit's rules: what is shared with images stays unless all is asked for, what a build
//! in progress uses stays in any case, and with bounds the least recently used go first.

use std::collections::HashSet;

use super::usage::{CacheRecord, shown};
use super::{ALIAS, Alias, Cache, KIND, holder};
use crate::error::BuildError;

/// What of the cache is removed.
#[derive(Clone, Debug, Default)]
pub struct CachePrune {
    /// Also what is shared with images.
    pub all: bool,
    /// Only what was last used before this time (RFC 3339).
    pub until: Option<jiff::Timestamp>,
    /// Keep this many bytes in any case.
    pub reserved: u64,
    /// Keep no more than this many bytes; 0 for no such bound.
    pub most: u64,
    /// Free until the disk has this many bytes free; 0 for no such bound.
    pub free: u64,
    /// Only these, by field: `id`, `parent`, `type`, `description`, `inuse`, `shared`, `private`.
    pub filters: Vec<(String, String)>,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachePruned {
    /// Names of the records.
    pub ids: Vec<String>,
    /// What they took on the disk and nobody else needs.
    pub bytes: u64,
}

impl CachePrune {
    /// True if this may go.
    pub(crate) fn takes(&self, record: &CacheRecord) -> bool {
        let last = record.last_used.as_deref().unwrap_or(&record.created);
        let old = |until| last.parse::<jiff::Timestamp>().map_or(true, |last| last <= until);
        !record.in_use
            && (self.all || !record.shared)
            && self.until.is_none_or(old)
            && self.filters.iter().all(|(field, value)| matches(record, field, value))
    }

    /// How many bytes stay at least; none if there is no such bound.
    pub(crate) fn kept(&self, total: u64, disk_free: u64) -> Option<u64> {
        if (self.reserved, self.most, self.free) == (0, 0, 0) {
            return None;
        }
        let mut kept = if self.most == 0 { u64::MAX } else { self.most };
        let missing = self.free.saturating_sub(disk_free);
        if missing > 0 {
            kept = kept.min(total.saturating_sub(missing));
        } else if self.most == 0 {
            // Only a reserve: all but that goes.
            kept = if self.reserved > 0 && self.free == 0 { 0 } else { total };
        }
        Some(kept.max(self.reserved))
    }

    /// Which of these go.
    pub(crate) fn choose<'a>(&self, records: &'a [CacheRecord], disk_free: u64) -> Vec<&'a CacheRecord> {
        let mut total: u64 = records.iter().filter(|record| !record.shared).map(|record| record.size).sum();
        let mut going: Vec<&CacheRecord> = records.iter().filter(|record| self.takes(record)).collect();
        let Some(kept) = self.kept(total, disk_free) else { return going };
        going.sort_by_key(|record| record.last_used.clone().unwrap_or_else(|| record.created.clone()));
        going.retain(|record| {
            let goes = total > kept;
            if goes && !record.shared {
                total -= record.size;
            }
            goes
        });
        going
    }
}

fn matches(record: &CacheRecord, field: &str, value: &str) -> bool {
    let flag = |flag: bool| flag == matches!(value, "" | "1" | "true" | "True");
    match field {
        "id" => record.id.contains(value),
        "parent" => record.parents.iter().any(|parent| parent == value),
        "type" => record.kind == value,
        "description" => record.description == value,
        "inuse" => flag(record.in_use),
        "shared" => flag(record.shared),
        "private" => flag(!record.shared),
        _ => true,
    }
}

impl Cache {
    /// Removes the results that may go.
    #[cfg(test)]
    pub(crate) fn prune(&self, prune: &CachePrune) -> Result<CachePruned, BuildError> {
        let records = self.records()?;
        self.remove(prune, &prune.choose(&records, 0))
    }

    /// Removes the chosen results, and where all are meant also those that have no layer, in one transaction. Their layers go with the next collection.
    pub(crate) fn remove(
        &self,
        prune: &CachePrune,
        going: &[&CacheRecord],
    ) -> Result<CachePruned, BuildError> {
        let names: HashSet<&str> = going.iter().map(|record| record.id.as_str()).collect();
        let plain =
            prune.all && prune.filters.is_empty() && (prune.reserved, prune.most, prune.free) == (0, 0, 0);
        let mut gone = HashSet::new();
        for (id, entry) in self.entries()? {
            let goes = match entry.layer.filter(|layer| self.store.layers().get(*layer).is_ok()) {
                Some(_) => names.contains(shown(&id).as_str()),
                None => plain && self.old_enough(prune, &entry) && !self.is_in_use(&id),
            };
            if goes {
                gone.insert(id);
            }
        }
        let aliases = self.store.records().list::<Alias>(ALIAS)?;
        self.store.records().batch(|tx| {
            for id in &gone {
                tx.delete(KIND, id)?;
                tx.release(&holder(id))?;
            }
            for alias in aliases.iter().filter(|alias| gone.contains(&alias.document.key)) {
                tx.delete(ALIAS, &alias.id)?;
            }
            Ok(())
        })?;
        Ok(CachePruned {
            ids: going.iter().map(|record| record.id.clone()).collect(),
            bytes: going.iter().filter(|record| !record.shared).map(|record| record.size).sum(),
        })
    }

    fn old_enough(&self, prune: &CachePrune, entry: &super::Entry) -> bool {
        let last = entry.last_used.as_deref().unwrap_or(&entry.created);
        prune.until.is_none_or(|until| last.parse::<jiff::Timestamp>().map_or(true, |last| last <= until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, size: u64, used: &str) -> CacheRecord {
        CacheRecord {
            id: id.into(),
            kind: "regular",
            parents: vec!["p".into()],
            description: format!("RUN {id}"),
            in_use: false,
            shared: false,
            size,
            created: format!("2026-01-{used}T00:00:00Z"),
            last_used: None,
            uses: 1,
        }
    }

    fn records() -> Vec<CacheRecord> {
        let shared = CacheRecord { shared: true, ..record("shared", 50, "01") };
        let busy = CacheRecord { in_use: true, ..record("busy", 5, "01") };
        vec![record("new", 10, "20"), record("old", 20, "02"), record("mid", 30, "10"), shared, busy]
    }

    fn chosen(prune: &CachePrune) -> Vec<String> {
        prune.choose(&records(), 100).into_iter().map(|record| record.id.clone()).collect()
    }

    #[test]
    fn what_is_shared_or_in_use_stays() {
        assert_eq!(chosen(&CachePrune::default()), ["new", "old", "mid"]);
        assert_eq!(chosen(&CachePrune { all: true, ..Default::default() }), ["new", "old", "mid", "shared"]);
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let prune = |reserved, most, free| CachePrune { reserved, most, free, ..Default::default() };
        assert_eq!(chosen(&prune(40, 0, 0)), ["old", "mid"], "15 of 65 are left, which is below the reserve");
        assert_eq!(chosen(&prune(0, 50, 0)), ["old"]);
        assert_eq!(chosen(&prune(0, 65, 0)), Vec::<String>::new());
        assert_eq!(chosen(&prune(0, 0, 120)), ["old"], "20 more bytes must be free");
        assert_eq!(chosen(&prune(0, 0, 50)), Vec::<String>::new(), "the disk has that");
        assert_eq!(chosen(&prune(65, 0, 150)), Vec::<String>::new(), "the reserve stays");
    }

    #[test]
    fn filters_and_times() {
        let with = |field: &str, value: &str| {
            chosen(&CachePrune { filters: vec![(field.into(), value.into())], ..Default::default() })
        };
        assert_eq!(with("id", "ol"), ["old"]);
        assert_eq!(with("description", "RUN mid"), ["mid"]);
        assert_eq!(with("type", "exec.cachemount"), Vec::<String>::new());
        assert_eq!(with("parent", "p").len(), 3);
        assert_eq!(with("private", "").len(), 3);
        assert_eq!(with("shared", "true"), Vec::<String>::new());
        let until = "2026-01-10T00:00:00Z".parse().ok();
        assert_eq!(chosen(&CachePrune { until, ..Default::default() }), ["old", "mid"]);
    }
}
