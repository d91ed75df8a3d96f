//! A container in memory: its record behind a short lock, and what only lives as long as the daemon.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dray_api::Labels;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::record::Record;
use super::restart::Restarts;

/// A container as the service holds it.
///
/// `lifecycle` orders operations that change what the container is (start, settling an exit, remove,
/// rename, update, pause) and is never held while waiting for the program. The record's own lock is
/// held for moments only.
#[derive(Debug)]
pub struct Container {
    /// 64 hex digits.
    pub id: String,
    /// Orders the operations.
    pub lifecycle: tokio::sync::Mutex<()>,
    live: Mutex<Live>,
    /// Held while the record goes to the store: an older state must not be written over a newer one.
    saving: Mutex<()>,
    progress: watch::Sender<Progress>,
    running: watch::Sender<bool>,
    /// Wakes a restart that waits, so that it looks whether it is still wanted.
    pub restart_wanted: Notify,
}

/// What the lock guards.
#[derive(Debug, Default)]
pub struct Live {
    /// The record, as written to the store or about to be.
    pub record: Record,
    /// Streams that attached before the start; handed to the shim.
    pub pending: Vec<OwnedFd>,
    /// When to restart.
    pub restarts: Restarts,
    /// The task that probes its health.
    pub health: Option<AbortHandle>,
    /// Execs that run in it.
    pub execs: BTreeSet<String>,
    /// `docker restart` is under way: do not remove it between.
    pub manually_restarting: bool,
    /// It is about to stop: new connections go elsewhere where they can.
    pub leaving: bool,
    /// A removal is under way.
    pub removing: bool,
    /// Its record is deleted: nothing may write it again.
    pub removed: bool,
}

/// How far a container has come: what those who wait for it look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Runs that have ended since the daemon started.
    pub exits: u64,
    /// It runs, or waits for its restart.
    pub running: bool,
    /// It is gone.
    pub removed: bool,
    /// Exit code of the last run.
    pub exit_code: i32,
    /// Why it could not be started or removed.
    pub error: String,
}

impl Container {
    /// A container from its record.
    pub fn new(record: Record) -> Self {
        let progress = Progress {
            running: record.state.running,
            exit_code: record.state.exit_code,
            ..Progress::default()
        };
        let running = record.state.running && !record.state.restarting;
        Self {
            id: record.id.clone(),
            lifecycle: tokio::sync::Mutex::default(),
            live: Mutex::new(Live { record, ..Live::default() }),
            saving: Mutex::default(),
            progress: watch::Sender::new(progress),
            running: watch::Sender::new(running),
            restart_wanted: Notify::new(),
        }
    }

    /// What is behind the lock. Never held across anything that blocks.
    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whoever writes the record to the store: taken before the record is looked at.
    pub fn saving(&self) -> MutexGuard<'_, ()> {
        self.saving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a start that is under way: what comes of it is what a stop, a kill or a removal is about.
    pub async fn start_settled(&self) {
        if self.with(|record| record.state.starting) {
            drop(self.lifecycle.lock().await);
        }
    }

    /// A copy of the record.
    pub fn record(&self) -> Record {
        self.live().record.clone()
    }

    /// Looks at the record.
    pub fn with<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&self.live().record)
    }

    /// Its present name.
    pub fn name(&self) -> String {
        self.with(|record| record.name.clone())
    }

    /// Whether its program runs at this moment (frozen or not).
    pub fn is_up(&self) -> bool {
        self.with(|record| record.state.running && !record.state.restarting)
    }

    /// What those who wait look at.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// True while its program runs, for those who follow its log.
    pub fn watch_running(&self) -> watch::Receiver<bool> {
        self.running.subscribe()
    }

    /// Tells those who wait what the record says now.
    pub fn announce(&self, ended: bool) {
        let state = self.with(|record| record.state.clone());
        self.running.send_replace(state.running && !state.restarting);
        self.progress.send_modify(|progress| {
            progress.exits += u64::from(ended);
            progress.running = state.running;
            progress.exit_code = state.exit_code;
            progress.error.clone_from(&state.error);
        });
    }

    /// Tells those who wait that it is gone, or could not be removed.
    pub fn announce_removed(&self, error: String) {
        self.running.send_replace(false);
        self.progress.send_modify(|progress| {
            progress.removed = true;
            progress.running = false;
            progress.error = error;
        });
    }

    /// The attributes of its events.
    pub fn attributes(&self) -> Labels {
        self.with(|record| {
            let mut attributes = record.config.labels.clone().unwrap_or_default();
            if !record.config.image.is_empty() {
                attributes.insert("image".into(), record.config.image.clone());
            }
            attributes.insert("name".into(), record.name.clone());
            attributes
        })
    }
}
