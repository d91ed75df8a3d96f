//! Where an image's content may come from: what one source can't give, the next one is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dray_registry::{BlobStream, Error, ErrorKind, RawManifest, Repository};
use dray_spec::{Descriptor, Digest};

/// The sources of one image, the preferred one first. Clones share which one is asked.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    all: Arc<[Repository]>,
    current: Arc<AtomicUsize>,
}

impl Sources {
    /// At least one.
    pub(crate) fn new(all: Vec<Repository>) -> Self {
        Sources { all: all.into(), current: Arc::default() }
    }

    pub(crate) fn all(&self) -> &[Repository] {
        &self.all
    }

    /// The same ones, asked from the first one on.
    pub(crate) fn afresh(&self) -> Self {
        Sources { all: self.all.clone(), current: Arc::default() }
    }

    /// Goes on to the next source after one has failed with `error`; false if there is none, or if it is not the
    /// source's fault.
    pub(crate) fn pass_over(&self, at: usize, error: &Error) -> bool {
        if at + 1 >= self.all.len() || error.kind() == ErrorKind::InvalidParameter {
            return false;
        }
        // Of several streams that fail at the same source one moves on.
        if self.current.compare_exchange(at, at + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::info!(source = ?self.all[at], %error, "the next source is asked");
        }
        true
    }

    /// The number of the source that is asked now.
    pub(crate) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed).min(self.all.len().saturating_sub(1))
    }

    /// A manifest or index by its digest.
    pub(crate) async fn manifest(&self, digest: &Digest, kind: &str) -> Result<RawManifest, Error> {
        loop {
            let at = self.current();
            match self.all[at].manifest_of_type(digest.as_str(), kind).await {
                Err(error) if self.pass_over(at, &error) => {}
                answer => return answer,
            }
        }
    }

    /// A small blob as a whole.
    pub(crate) async fn small_blob(&self, blob: &Descriptor, limit: u64) -> Result<Vec<u8>, Error> {
        loop {
            let at = self.current();
            match self.all[at].small_blob(blob, limit).await {
                Err(error) if self.pass_over(at, &error) => {}
                answer => return answer,
            }
        }
    }

    /// The bytes `from..to` of a blob, apart from other streams where it is one of several.
    pub(crate) async fn open(
        &self,
        blob: &Descriptor,
        (from, to): (u64, u64),
        apart: bool,
    ) -> Result<BlobStream, Error> {
        loop {
            let at = self.current();
            let answer = match apart {
                true => self.all[at].blob_range(blob, from, to).await,
                false => self.all[at].blob(blob, from).await,
            };
            match answer {
                Err(error) if self.pass_over(at, &error) => {}
                answer => return answer,
            }
        }
    }
}
