//! The collector: takes away what nothing needs, while the registry goes on.
//!
//! ```text
//! metadata.collect   records that nothing needs go, keys of their objects into `garbage`     one transaction each
//! storage.remove     the objects of these keys
//! metadata.forget    the keys                                                                 one transaction each
//! ```
//! A crash between any two of these is mended by the next round: what was in `garbage` still is. Any number of
//! collectors, and of writers, may run at once; [`crate::metadata`] says why none of them is in another's way.

use std::sync::Arc;

use crate::api::now;
use crate::metadata::{self, Collected, Cutoff, Metadata, Millis};
use crate::name::Key;
use crate::storage::{self, Storage};

/// Records that one transaction takes away, of each kind: writers wait for no more than this.
const STEP: usize = 500;
/// Objects that are removed before their keys are forgotten.
const SWEEP: usize = 100;

/// How old something must be.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// A blob that no manifest needs, since somebody last relied on it.
    pub blobs: Millis,
    /// An upload, since it last moved.
    pub uploads: Millis,
    /// A manifest without a tag, since it was pushed; never, if there is none.
    pub untagged: Option<Millis>,
}

/// Why a round was not finished.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The metadata failed.
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

/// Collects.
#[derive(Clone)]
pub struct Collector {
    storage: Arc<dyn Storage>,
    metadata: Arc<dyn Metadata>,
}

impl Collector {
    /// A collector of these.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, metadata: Arc<dyn Metadata>) -> Self {
        Self { storage, metadata }
    }

    /// One round over everything.
    ///
    /// # Errors
    /// The metadata or the storage fail; what was done until then is done.
    pub async fn round(&self, ages: &Ages) -> Result<Collected, Error> {
        let now = now();
        let cutoff = Cutoff {
            blobs: now.saturating_sub(ages.blobs),
            uploads: now.saturating_sub(ages.uploads),
            untagged: ages.untagged.map(|age| now.saturating_sub(age)),
        };
        let mut total = Collected::default();
        loop {
            let step = self.metadata.collect(&cutoff, STEP).await?;
            if step.is_empty() {
                break;
            }
            total.add(&step);
        }
        self.sweep().await?;
        Ok(total)
    }

    /// Removes the objects that nothing names any more.
    async fn sweep(&self) -> Result<(), Error> {
        loop {
            let garbage = self.metadata.garbage(SWEEP).await?;
            if garbage.is_empty() {
                return Ok(());
            }
            for object in &garbage {
                self.storage.remove(&object.key, &object.state).await?;
            }
            let keys: Vec<Key> = garbage.into_iter().map(|object| object.key).collect();
            self.metadata.forget_garbage(&keys).await?;
        }
    }

    /// Removes objects that no record names: what a power cut can leave, since the record of a new object is not
    /// flushed. Keys are recorded before their objects are made, and asked for here after the objects were listed:
    /// what is unknown then will never be known.
    ///
    /// # Errors
    /// The metadata or the storage fail.
    pub async fn orphans(&self) -> Result<u64, Error> {
        let mut removed = 0;
        for keys in self.storage.keys().await?.chunks(STEP) {
            for key in self.metadata.unknown_keys(keys).await? {
                self.storage.remove(&key, &[]).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod model;
