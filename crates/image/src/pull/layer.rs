//! One layer's way from the registry into the store.
//!
//! ```text
//! sources ──► download: landing (resumable, hashed) ──► blob
//!                               │ grows
//!                               ▼
//!                         unpack thread: decompress, untar, hash ─────► layer draft ──► layer
//! ```
//!
//! Blob and layer count only when the blob's digest and the content's diff ID both fit. Dropped anywhere,
//! the threads notice and only the ingest stays.

use std::path::PathBuf;
use std::sync::Arc;

use dray_spec::{Descriptor, Digest};
use dray_store::{LayerDraft, LayerId, Store};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::download::Download;
use super::error::PullError;
use super::landing::Landing;
use super::source::Sources;
use super::state::{Reporter, Stage};
use super::transfer::Transfers;
use crate::follow::{CancelOnDrop, Follow, Growth};
use crate::layer::{self, Unpacked};
use crate::origin;

/// Bytes between two reports of how far a layer is unpacked.
const REPORT_EVERY: u64 = 512 * 1024;

/// What is needed to bring in one layer.
#[derive(Clone)]
pub(crate) struct LayerJob {
    pub(crate) store: Store,
    pub(crate) transfers: Arc<Transfers>,
    pub(crate) sources: Sources,
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: Digest,
    /// The layers below, topmost first; none while it is tried without.
    pub(crate) below: Option<Vec<PathBuf>>,
    pub(crate) retry: dray_registry::RetryPolicy,
    pub(crate) least: u64,
}

impl LayerJob {
    /// Does it all and tells `reporter`.
    pub(crate) async fn run(self, reporter: Reporter) {
        let outcome = self.fetch(&reporter).await;
        reporter.finish(outcome.map(Some));
    }

    /// Brings in the blob alone, whatever it holds, and tells `reporter`.
    pub(crate) async fn run_blob(self, reporter: Reporter) {
        let mut outcome = self.fetch_blob(&reporter).await;
        // What an earlier attempt left on the disk may be what is wrong.
        if matches!(outcome, Err(PullError::LayerDigest { .. })) {
            outcome = self.fetch_blob(&reporter).await;
        }
        reporter.finish(outcome.map(|()| None));
    }

    async fn fetch_blob(&self, reporter: &Reporter) -> Result<(), PullError> {
        if self.store.blobs().has(&self.descriptor.digest) {
            reporter.stage(Stage::AlreadyExists);
            return Ok(());
        }
        let permit = self.transfers.downloads.clone().acquire_owned().await;
        let permit = permit.map_err(|_| PullError::Stopped)?;
        let landing = Landing::open(&self.store, &self.transfers, &self.descriptor).await?;
        let growth = Arc::new(Growth::default());
        growth.reached(landing.contiguous());
        let _cancel = CancelOnDrop(growth.clone());
        self.store_blob(landing, &growth, permit, reporter).await
    }

    async fn fetch(&self, reporter: &Reporter) -> Result<LayerId, PullError> {
        let (store, diff_id) = (self.store.clone(), self.diff_id.clone());
        if let Some(layer) = blocking(move || store.layers().find(&diff_id)).await?? {
            reporter.stage(Stage::AlreadyExists);
            return Ok(layer);
        }
        if self.store.blobs().has(&self.descriptor.digest) {
            return self.unpack_blob(reporter).await;
        }
        if self.transfers.downloads.available_permits() == 0 {
            reporter.stage(Stage::Waiting);
        }
        match self.download_and_unpack(reporter).await {
            // What an earlier attempt left on the disk may be what is wrong.
            Err((PullError::LayerDigest { .. }, true)) => {
                self.download_and_unpack(reporter).await.map_err(|(error, _)| error)
            }
            outcome => outcome.map_err(|(error, _)| error),
        }
    }

    /// The blob is here, its content isn't: an image that was removed in part, or pushed and never run.
    async fn unpack_blob(&self, reporter: &Reporter) -> Result<LayerId, PullError> {
        let file = self.store.blobs().open(&self.descriptor.digest)?;
        let growth = Arc::new(Growth::default());
        // How long the manifest says it is was not compared: it was not downloaded for this one.
        growth.reached(self.store.blobs().size(&self.descriptor.digest).unwrap_or(0));
        growth.finish();
        let cancel = CancelOnDrop(growth.clone());
        reporter.stage(Stage::DownloadComplete);
        reporter.stage(Stage::Extracting);
        let unpacking = self.start_unpack(file, growth, reporter);
        let layer = match self.settle(unpacking).await {
            Ok(layer) => layer,
            Err(error) => {
                self.forget_blob(&error).await;
                return Err(error);
            }
        };
        drop(cancel);
        reporter.stage(Stage::PullComplete);
        Ok(layer)
    }

    /// On failure also says whether bytes of an earlier attempt were used.
    async fn download_and_unpack(&self, reporter: &Reporter) -> Result<LayerId, (PullError, bool)> {
        let permit = self.transfers.downloads.clone().acquire_owned().await;
        let permit = permit.map_err(|_| (PullError::Stopped, false))?;
        let landing = Landing::open(&self.store, &self.transfers, &self.descriptor).await;
        let landing = landing.map_err(|error| (error, false))?;
        let resumed = landing.there() > 0;
        let growth = Arc::new(Growth::default());
        growth.reached(landing.contiguous());
        let _cancel = CancelOnDrop(growth.clone());
        let file = landing.reader().map_err(|error| (error.into(), resumed))?;
        let unpacking = self.start_unpack(file, growth.clone(), reporter);
        let stored = self.store_blob(landing, &growth, permit, reporter).await;
        stored.map_err(|error| (error, resumed))?;
        reporter.stage(Stage::Extracting);
        let layer = match self.settle(unpacking).await {
            Ok(layer) => layer,
            Err(error) => {
                self.forget_blob(&error).await;
                return Err((error, resumed));
            }
        };
        reporter.stage(Stage::PullComplete);
        Ok(layer)
    }

    /// Downloads what the landing lacks and makes it a blob.
    async fn store_blob(
        &self,
        landing: Landing,
        growth: &Arc<Growth>,
        permit: OwnedSemaphorePermit,
        reporter: &Reporter,
    ) -> Result<(), PullError> {
        let download = Download {
            transfers: self.transfers.clone(),
            sources: self.sources.afresh(),
            blob: self.descriptor.clone(),
            retry: self.retry,
            least: self.least,
            growth: growth.clone(),
            reporter: reporter.clone(),
        };
        let landing = download.run(landing).await?;
        drop(permit);
        growth.finish();
        reporter.stage(Stage::VerifyingChecksum);
        landing.commit(&self.descriptor).await?;
        reporter.stage(Stage::DownloadComplete);
        Ok(())
    }

    /// A blob with good bytes but bad content is of no use to this image. To others it may be: a manifest can name
    /// any blob beside any diff ID, so it goes only if nobody names it. One whose bytes have changed on the disk goes
    /// at once, to be fetched anew.
    async fn forget_blob(&self, error: &PullError) {
        let another_try = error.needs_layers_below() && self.below.is_none();
        if !another_try && matches!(error, PullError::DiffId { .. } | PullError::Unpack { .. }) {
            let (store, digest) = (self.store.clone(), self.descriptor.digest.clone());
            if let Ok(Err(error)) = blocking(move || forget(&store, &digest)).await {
                tracing::warn!(%error, "blob of a bad layer");
            }
        }
    }

    fn start_unpack(&self, file: std::fs::File, growth: Arc<Growth>, reporter: &Reporter) -> Unpacking {
        let (store, layer) = (self.store.clone(), self.descriptor.digest.clone());
        let (unpacks, reporter) = (self.transfers.unpacks.clone(), reporter.clone());
        let options =
            layer::Options { below: self.below.clone().unwrap_or_default(), ..layer::Options::default() };
        tokio::spawn(async move {
            let _place = unpacks.acquire_owned().await.map_err(|_| PullError::Stopped)?;
            let mut reported = 0;
            let on_read = move |at: u64| {
                if at - reported >= REPORT_EVERY {
                    reported = at;
                    reporter.extracted(at);
                }
            };
            blocking(move || {
                let draft = store.layers().begin()?;
                let reader = Follow::new(file, growth, on_read);
                let unpacked = layer::unpack(reader, draft.path(), &options)
                    .map_err(|source| PullError::Unpack { layer, source })?;
                Ok((draft, unpacked))
            })
            .await?
        })
    }

    /// Makes the unpacked draft a layer if it is what the configuration says.
    async fn settle(&self, unpacking: Unpacking) -> Result<LayerId, PullError> {
        let (draft, unpacked) = unpacking.await.map_err(|_| PullError::Stopped)??;
        if unpacked.diff_id != self.diff_id {
            return Err(PullError::DiffId {
                layer: self.descriptor.digest.clone(),
                expected: self.diff_id.clone(),
                actual: unpacked.diff_id,
            });
        }
        let (store, diff_id, digest) =
            (self.store.clone(), self.diff_id.clone(), self.descriptor.digest.clone());
        let kind = self.descriptor.media_type.clone();
        let committed = blocking(move || {
            let layer = draft.commit(&diff_id, unpacked.size)?;
            // Here it is known that they belong together; the manifest alone proves nothing.
            if let Some(size) = store.blobs().size(&digest) {
                origin::remember_blob(&store, &diff_id, &Descriptor::new(kind, digest, size));
            }
            Ok::<_, dray_store::Error>(layer)
        });
        Ok(committed.await??)
    }
}

/// Removes a blob whose bytes are not its digest's; another one when nothing names it any more.
fn forget(store: &Store, digest: &Digest) -> Result<(), dray_store::Error> {
    if store.blobs().is_intact(digest).is_ok_and(|intact| !intact) {
        store.blobs().remove(digest)?;
    }
    // The pull's own lease puts it off to the pull's end.
    store.collect().map(drop)
}

type Unpacking = JoinHandle<Result<(LayerDraft, Unpacked), PullError>>;

/// Runs synchronous work of the store on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| PullError::Stopped)
}
