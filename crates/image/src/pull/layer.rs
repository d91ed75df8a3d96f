//! One layer's way from the registry into the store.
//!
//! ```text
//! registry ──► chunks ──► writer thread: ingest (resumable, hashed) ──► blob
//!                               │ grows
//!                               ▼
//!                         unpack thread: decompress, untar, hash ─────► layer draft ──► layer
//! ```
//!
//! Blob and layer count only when the blob's digest and the content's diff ID both fit. Dropped anywhere,
//! the threads notice and only the ingest stays.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dray_registry::{Error as RegistryError, Repository};
use dray_spec::{Descriptor, Digest};
use dray_store::{Ingest, LayerDraft, LayerId, Store};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task::JoinHandle;

use super::error::PullError;
use super::follow::{CancelOnDrop, Follow, Growth};
use super::state::{Reporter, Stage};
use super::transfer::Transfers;
use crate::layer::{self, Unpacked};

/// Bytes between two reports of how far a layer is unpacked.
const REPORT_EVERY: u64 = 512 * 1024;
/// Chunks of the network that wait for the disk.
const CHUNKS_AHEAD: usize = 16;

/// What is needed to bring in one layer.
#[derive(Clone)]
pub(crate) struct LayerJob {
    pub(crate) store: Store,
    pub(crate) transfers: Arc<Transfers>,
    pub(crate) source: Repository,
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: Digest,
    /// The layers below, topmost first; only where it can't be unpacked without.
    pub(crate) below: Vec<PathBuf>,
    pub(crate) retry: dray_registry::RetryPolicy,
}

impl LayerJob {
    /// Does it all and tells `reporter`.
    pub(crate) async fn run(self, reporter: Reporter) {
        let outcome = self.fetch(&reporter).await;
        reporter.finish(outcome);
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
        let growth = Arc::new(Growth::default());
        growth.reached(self.descriptor.size);
        growth.finish();
        let cancel = CancelOnDrop(growth.clone());
        let file = self.store.blobs().open(&self.descriptor.digest)?;
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
        let held = self.open_ingest().await.map_err(|error| (error, false))?;
        let resumed = held.ingest.offset() > 0;
        let growth = Arc::new(Growth::default());
        growth.reached(held.ingest.offset());
        let _cancel = CancelOnDrop(growth.clone());
        let file = held.ingest.reader().map_err(|error| (error.into(), resumed))?;
        let unpacking = self.start_unpack(file, growth.clone(), reporter);

        let stored = async {
            let held = self.download(held, &growth, reporter).await?;
            drop(permit);
            growth.finish();
            reporter.stage(Stage::VerifyingChecksum);
            let (digest, size) = (self.descriptor.digest.clone(), self.descriptor.size);
            let committed = blocking(move || held.ingest.commit_relaxed(&digest, Some(size))).await?;
            committed.map_err(PullError::for_blob)?;
            reporter.stage(Stage::DownloadComplete);
            reporter.stage(Stage::Extracting);
            Ok(())
        };
        stored.await.map_err(|error| (error, resumed))?;
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

    /// A blob with good bytes but bad content is of no use to anybody.
    async fn forget_blob(&self, error: &PullError) {
        let another_try = error.needs_layers_below() && self.below.is_empty();
        if !another_try && matches!(error, PullError::DiffId { .. } | PullError::Unpack { .. }) {
            let (store, digest) = (self.store.clone(), self.descriptor.digest.clone());
            if let Ok(Err(error)) = blocking(move || store.blobs().remove(&digest)).await {
                tracing::warn!(%error, "blob of a bad layer");
            }
        }
    }

    async fn open_ingest(&self) -> Result<HeldIngest, PullError> {
        let held = self.transfers.writer(&self.descriptor.digest).await;
        let (store, digest, size) =
            (self.store.clone(), self.descriptor.digest.clone(), self.descriptor.size);
        let ingest = blocking(move || {
            let mut ingest = store.blobs().ingest(digest.as_str())?;
            if ingest.offset() > size {
                ingest.restart()?;
            }
            Ok::<_, dray_store::Error>(HeldIngest { ingest, _held: held })
        });
        Ok(ingest.await??)
    }

    /// Fetches what the ingest lacks, through drops.
    async fn download(
        &self,
        held: HeldIngest,
        growth: &Arc<Growth>,
        reporter: &Reporter,
    ) -> Result<HeldIngest, PullError> {
        let mut at = held.ingest.offset();
        let (chunks, writer) = start_writer(held, self.descriptor.size, growth.clone());
        reporter.stage(Stage::Downloading);
        let mut attempt = 1;
        while at < self.descriptor.size {
            let before = at;
            match self.stream(&mut at, &chunks, reporter).await {
                Ok(()) => {}
                Err(error @ RegistryError::Interrupted { .. }) => {
                    attempt = if at > before { 1 } else { attempt + 1 };
                    if attempt > self.retry.attempts.max(1) {
                        return Err(error.into());
                    }
                    self.pause(&error, attempt, reporter).await;
                }
                Err(error) => return Err(error.into()),
            }
            if writer.is_finished() {
                break;
            }
        }
        drop(chunks);
        writer.await.map_err(|_| PullError::Stopped)??.ok_or(PullError::Stopped)
    }

    async fn pause(&self, error: &RegistryError, attempt: u32, reporter: &Reporter) {
        let pause = self.retry.pause(attempt);
        tracing::debug!(%error, ?pause, layer = %self.descriptor.digest, "download goes on after a drop");
        if pause >= Duration::from_secs(1) {
            reporter.stage(Stage::Retrying(pause.as_secs()));
        }
        tokio::time::sleep(pause).await;
        reporter.stage(Stage::Downloading);
    }

    /// One answer of the registry, from `at` as far as it goes.
    async fn stream(&self, at: &mut u64, chunks: &Chunks, reporter: &Reporter) -> Result<(), RegistryError> {
        let mut stream = self.source.blob(&self.descriptor, *at).await?;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            let length = chunk.len() as u64;
            if chunks.send(chunk).await.is_err() {
                // The writer has failed; its own error says why.
                return Ok(());
            }
            *at += length;
            reporter.downloaded(*at);
        }
        Ok(())
    }

    /// Unpacks as the file grows, when there is a free place for it.
    fn start_unpack(&self, file: std::fs::File, growth: Arc<Growth>, reporter: &Reporter) -> Unpacking {
        let (store, layer) = (self.store.clone(), self.descriptor.digest.clone());
        let (unpacks, reporter) = (self.transfers.unpacks.clone(), reporter.clone());
        let options = layer::Options { below: self.below.clone(), ..layer::Options::default() };
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
        let diff_id = self.diff_id.clone();
        Ok(blocking(move || draft.commit(&diff_id, unpacked.size)).await??)
    }
}

type Unpacking = JoinHandle<Result<(LayerDraft, Unpacked), PullError>>;

/// An ingest with the right to write it, which ends after the ingest is closed, on whatever thread that is.
struct HeldIngest {
    ingest: Ingest,
    _held: OwnedMutexGuard<()>,
}

type Chunks = mpsc::Sender<Bytes>;

type Writing = JoinHandle<Result<Option<HeldIngest>, dray_store::Error>>;

/// A thread which appends what comes, until no more does. An ingest that got nothing is not worth keeping.
fn start_writer(mut held: HeldIngest, size: u64, growth: Arc<Growth>) -> (Chunks, Writing) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(chunk) = receiver.blocking_recv() {
            if let Err(error) = held.ingest.append(&chunk) {
                // A full disk is not helped by keeping a part.
                let _ = held.ingest.abort();
                return Err(error);
            }
            growth.reached(held.ingest.offset());
        }
        if held.ingest.offset() == 0 && size > 0 {
            return held.ingest.abort().map(|()| None);
        }
        Ok(Some(held))
    });
    (sender, writer)
}

/// Runs synchronous work of the store on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| PullError::Stopped)
}
