//! What is on its way: of many who want the same at the same time, one gets it and the others wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dray_spec::Digest;
use tokio::sync::OwnedMutexGuard;

use super::fetch::Fetch;
use crate::name::Repository;

/// Turns that are remembered though nobody may wait for them any more.
const REMEMBERED: usize = 1024;

/// A blob of a repository.
pub(super) type Wanted = (Repository, Digest);

/// Blobs that are being fetched.
#[derive(Default, Clone)]
pub(super) struct Flights(Arc<Mutex<HashMap<Wanted, Arc<Fetch>>>>);

impl Flights {
    /// The fetch of a blob, and whether it is to be begun.
    pub(super) fn join(&self, repository: &Repository, digest: &Digest) -> (Arc<Fetch>, bool) {
        let mut flights = lock(&self.0);
        if let Some(fetch) = flights.get(&(repository.clone(), digest.clone())) {
            return (fetch.clone(), false);
        }
        let fetch = Arc::new(Fetch::default());
        flights.insert((repository.clone(), digest.clone()), fetch.clone());
        (fetch, true)
    }

    /// The fetch has ended: from now on the blob is where blobs are, or is asked for anew.
    pub(super) fn leave(&self, wanted: &Wanted, fetch: &Arc<Fetch>) {
        let mut flights = lock(&self.0);
        // It may have been begun anew.
        if flights.get(wanted).is_some_and(|current| Arc::ptr_eq(current, fetch)) {
            flights.remove(wanted);
        }
    }
}

/// One at a time for each name.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the turn; it ends when the guard is dropped.
    pub(super) async fn take(&self, name: String) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = lock(&self.0);
            if turns.len() > REMEMBERED {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            let slot = turns.entry(name).or_default();
            slot.upgrade().unwrap_or_else(|| {
                let fresh = Arc::new(tokio::sync::Mutex::new(()));
                *slot = Arc::downgrade(&fresh);
                fresh
            })
        };
        turn.lock_owned().await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
