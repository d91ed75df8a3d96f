//! Copies of our repositories at other registries, kept up to date (replication).
//!
//! ```text
//! push, deletion ─┐
//!                 ├─► a mark in the metadata, before the push is acknowledged ─► worker ─► synchronise ─► up to date
//! schedule ───────┘                                     ▲                                   │ fails
//!                                                       └──── again later, later, later ◄───┘
//! ```
//! What is copied is decided by comparing: tags with tags, manifests and blobs by whether they are there. So a copy
//! that was interrupted, by whatever it was, is simply gone on with, and doing it twice harms nothing. A mark is taken
//! by one server at a time, for as long as that lives.

mod blob;
mod synchronise;
mod target;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::api::{Registry, now};
use crate::metadata::{self, Metadata, Millis, ReplicationJob};
use crate::name::{Repository, random_bytes};
use synchronise::Synchronise;

pub(crate) use target::{ReplicationError, ReplicationRule, Target};

/// Repositories that are copied to one target at the same time.
const WORKERS: usize = 2;
/// How long a server has a mark without saying that it is still at it.
const LEASE: Millis = 15_000;
const RENEW: Duration = Duration::from_secs(4);
/// How often marks are looked for that others have made, or that are to be tried again.
const LOOK: Duration = Duration::from_secs(2);
/// Pauses between attempts double.
const FIRST_PAUSE: Millis = 1_000;
const LONGEST_PAUSE: Millis = 10 * 60 * 1_000;
/// Repositories that are looked at at once.
const PAGE: usize = 500;

/// All targets.
#[derive(Default)]
pub(crate) struct Replication {
    targets: Vec<Arc<Target>>,
}

/// What happened to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has more.
    Grown,
    /// It has less.
    Shrunk,
}

impl Replication {
    /// Opens the targets.
    ///
    /// # Errors
    /// One of them cannot be used as it is configured.
    pub(crate) fn open(rules: &[ReplicationRule]) -> Result<Self, ReplicationError> {
        let targets = rules.iter().map(|rule| Target::open(rule).map(Arc::new));
        let targets = targets.collect::<Result<Vec<_>, _>>()?;
        for (at, target) in targets.iter().enumerate() {
            if targets[..at].iter().any(|other| other.name() == target.name()) {
                return Err(ReplicationError::Twice(target.name().to_owned()));
            }
        }
        Ok(Self { targets })
    }

    /// Notes that a repository has changed, for those targets that follow at once.
    ///
    /// # Errors
    /// The metadata fail.
    pub(crate) async fn note(
        &self,
        metadata: &dyn Metadata,
        repository: &Repository,
        change: Change,
    ) -> metadata::Result<()> {
        for target in self.targets.iter().filter(|target| target.follows(repository, change)) {
            metadata.mark_replication(target.name(), repository, now()).await?;
            target.changed.notify_one();
        }
        Ok(())
    }

    /// Marks everything that targets take, of all or of one of them; gives how many repositories.
    ///
    /// # Errors
    /// The metadata fail.
    pub(crate) async fn mark_all(
        &self,
        metadata: &dyn Metadata,
        only: Option<&str>,
    ) -> metadata::Result<u64> {
        let mut marked = 0;
        for target in self.targets.iter().filter(|target| only.is_none_or(|name| name == target.name())) {
            marked += mark(metadata, target).await?;
        }
        Ok(marked)
    }

    /// Whether there is a target of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.targets.iter().any(|target| target.name() == name)
    }

    /// How all copies stand.
    ///
    /// # Errors
    /// The metadata fail.
    pub(crate) async fn status(&self, metadata: &dyn Metadata) -> metadata::Result<Value> {
        let copies = metadata.replications().await?;
        let targets = self.targets.iter().map(|target| {
            let own = copies.iter().filter(|copy| copy.target == target.name());
            let copies: Vec<Value> = own
                .map(|copy| {
                    json!({
                        "repository": copy.repository.as_str(), "state": state(copy.due, copy.attempts),
                        "due": copy.due.map(instant), "attempts": copy.attempts, "error": copy.error,
                        "synced": copy.synced.map(instant),
                    })
                })
                .collect();
            json!({ "name": target.name(), "registry": target.domain(), "repositories": copies })
        });
        Ok(json!({ "targets": targets.collect::<Vec<_>>() }))
    }

    /// How many copies of each target stand how, in Prometheus' text format.
    ///
    /// # Errors
    /// The metadata fail.
    pub(crate) async fn metrics(&self, metadata: &dyn Metadata) -> metadata::Result<String> {
        if self.targets.is_empty() {
            return Ok(String::new());
        }
        let copies = metadata.replications().await?;
        let name = "dray_registry_replication_repositories";
        let mut text = format!("# HELP {name} Copies at other registries.\n# TYPE {name} gauge\n");
        for target in &self.targets {
            for wanted in ["current", "due", "failing"] {
                let is = |copy: &&metadata::Replication| {
                    copy.target == target.name() && state(copy.due, copy.attempts) == wanted
                };
                let count = copies.iter().filter(is).count();
                text += &format!("{name}{{target=\"{}\",state=\"{wanted}\"}} {count}\n", target.name());
            }
        }
        Ok(text)
    }
}

/// How a copy stands.
pub(crate) fn state(due: Option<Millis>, attempts: u32) -> &'static str {
    match (due, attempts) {
        (None, _) => "current",
        (Some(_), 0) => "due",
        (Some(_), _) => "failing",
    }
}

/// A time for people.
pub(crate) fn instant(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

async fn mark(metadata: &dyn Metadata, target: &Target) -> metadata::Result<u64> {
    let (mut marked, mut after) = (0, None::<String>);
    loop {
        let names = metadata.repositories(after.as_deref(), PAGE).await?;
        let Some(last) = names.last().cloned() else { return Ok(marked) };
        after = Some(last);
        for repository in names.iter().filter_map(|name| Repository::parse(name)) {
            if target.takes(&repository) {
                metadata.mark_replication(target.name(), &repository, now()).await?;
                target.changed.notify_one();
                marked += 1;
            }
        }
    }
}

/// Starts the tasks that keep the copies up to date; they end with what is given.
pub(crate) fn start(registry: &Arc<Registry>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for target in &registry.replication.targets {
        for _ in 0..WORKERS {
            tasks.spawn(work(registry.clone(), target.clone()));
        }
        if let Some(every) = target.every() {
            tasks.spawn(mark_at_intervals(registry.clone(), target.clone(), every));
        }
    }
    tasks
}

async fn mark_at_intervals(registry: Arc<Registry>, target: Arc<Target>, every: Duration) {
    loop {
        // At the start too: something may have happened that nobody has marked.
        if let Err(error) = mark(&*registry.metadata, &target).await {
            tracing::error!(target = target.name(), %error, "mark what is to be replicated");
        }
        tokio::time::sleep(every).await;
    }
}

async fn work(registry: Arc<Registry>, target: Arc<Target>) {
    loop {
        let claimed =
            registry.metadata.claim_replication(target.name(), now(), now().saturating_add(LEASE)).await;
        match claimed {
            Ok(Some(job)) => bring_up_to_date(&registry, &target, job).await,
            Ok(None) => drop(tokio::time::timeout(LOOK, target.changed.notified()).await),
            Err(error) => {
                tracing::error!(target = target.name(), %error, "look for what is to be replicated");
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

async fn bring_up_to_date(registry: &Registry, target: &Target, job: ReplicationJob) {
    let shared = Mutex::new(job.clone());
    let done = tokio::select! {
        done = Synchronise::new(registry, target, &shared).run() => done,
        () = keep(registry, &shared) => return,
    };
    let (name, repository) = (target.name(), &job.repository);
    let noted = match done {
        Ok(()) => {
            tracing::debug!(target = name, %repository, "replicated");
            registry.metadata.end_replication(&job, now()).await
        }
        Err(error) => {
            tracing::warn!(target = name, %repository, %error, attempts = job.attempts + 1, "replicate");
            registry.report.replication_failed();
            let due = now().saturating_add(pause(job.attempts));
            registry.metadata.fail_replication(&job, &error.to_string(), due).await
        }
    };
    if let Err(error) = noted {
        // It is taken up again when nobody has kept it for a while.
        tracing::error!(target = name, %repository, %error, "note how the replication ended");
    }
}

/// Says again and again that the job is being worked at.
async fn keep(registry: &Registry, job: &Mutex<ReplicationJob>) {
    loop {
        tokio::time::sleep(RENEW).await;
        let current = job.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Err(error) = registry.metadata.keep_replication(&current, now().saturating_add(LEASE)).await {
            tracing::warn!(%error, "keep a replication");
        }
    }
}

/// How long to wait after so many failures: between half and all of a step that doubles.
fn pause(attempts: u32) -> Millis {
    let step = FIRST_PAUSE.saturating_mul(1 << attempts.min(20)).min(LONGEST_PAUSE);
    step / 2 + step / 2 * Millis::from(random_bytes::<1>()[0]) / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_have_an_end() {
        for (attempts, longest) in [(0, 1_000), (1, 2_000), (5, 32_000), (10, 600_000), (u32::MAX, 600_000)] {
            let pause = pause(attempts);
            assert!(pause >= longest / 2 && pause <= longest, "{attempts}: {pause}");
        }
    }
}
