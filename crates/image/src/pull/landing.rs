//! Where a blob's bytes land before they are a blob: one growing file, or for a large blob a file of parts that
//! several streams fill.
//!
//! Both are kept for the next pull when this one ends early. The right to write lives as long as the last thread
//! that may still write, whatever became of the pull.

use std::fs::File;
use std::sync::Arc;

use dray_spec::Descriptor;
use dray_store::{Ingest, Parts, Store};
use tokio::sync::OwnedMutexGuard;

use super::blocking;
use super::error::PullError;
use super::transfer::Transfers;

/// How large blobs are cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// Blobs of this size and more come in parts.
    pub(crate) least: u64,
    /// Bytes of a part.
    pub(crate) part: u64,
    /// Streams at once for one blob.
    pub(crate) streams: usize,
}

/// The file that a blob lands in.
pub(crate) enum Landing {
    One(Box<HeldIngest>),
    Many(Arc<HeldParts>),
}

/// An ingest with the right to write it.
pub(crate) struct HeldIngest {
    pub(crate) ingest: Ingest,
    _held: OwnedMutexGuard<()>,
}

/// Parts with the right to write them.
pub(crate) struct HeldParts {
    pub(crate) parts: Parts,
    _held: OwnedMutexGuard<()>,
}

impl Landing {
    /// Opens the file of a blob, with what an earlier pull has left of it.
    pub(crate) async fn open(
        store: &Store,
        transfers: &Transfers,
        blob: &Descriptor,
    ) -> Result<Self, PullError> {
        let held = transfers.writer(&blob.digest).await;
        let (store, digest, size, cut) = (store.clone(), blob.digest.clone(), blob.size, transfers.cut);
        let landing = blocking(move || {
            if size >= cut.least {
                let parts = store.blobs().parts(&digest, size, cut.part)?;
                return Ok::<_, dray_store::Error>(Landing::Many(Arc::new(HeldParts { parts, _held: held })));
            }
            let mut ingest = store.blobs().ingest(digest.as_str())?;
            if ingest.offset() > size {
                ingest.restart()?;
            }
            Ok(Landing::One(Box::new(HeldIngest { ingest, _held: held })))
        });
        Ok(landing.await??)
    }

    /// How many bytes are there in all.
    pub(crate) fn there(&self) -> u64 {
        match self {
            Landing::One(held) => held.ingest.offset(),
            Landing::Many(held) => held.parts.there(),
        }
    }

    /// How many bytes are there without a hole.
    pub(crate) fn contiguous(&self) -> u64 {
        match self {
            Landing::One(held) => held.ingest.offset(),
            Landing::Many(held) => held.parts.contiguous(),
        }
    }

    pub(crate) fn reader(&self) -> Result<File, dray_store::Error> {
        match self {
            Landing::One(held) => held.ingest.reader(),
            Landing::Many(held) => held.parts.reader(),
        }
    }

    /// Makes it a blob if its digest and size are right.
    pub(crate) async fn commit(self, blob: &Descriptor) -> Result<(), PullError> {
        let (digest, size) = (blob.digest.clone(), blob.size);
        let committed = blocking(move || match self {
            Landing::One(held) => held.ingest.commit_relaxed(&digest, Some(size)),
            Landing::Many(held) => held.parts.commit_relaxed(),
        });
        committed.await?.map_err(PullError::for_blob)
    }
}
