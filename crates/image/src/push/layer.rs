//! One layer's way from the store to the registry, by the cheapest means that works:
//! it is there already, it can be mounted from another repository, its blob is here, or it must be packed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dray_registry::{Mount, Repository, UploadSession};
use dray_spec::{Descriptor, Digest, media_type};
use dray_store::{LayerId, Store};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::error::PushError;
use super::gzip::ParallelGzip;
use crate::exact;
use crate::origin;
use crate::progress::{Progress, ProgressEvent};

/// Time between two events which only move a bar.
const BAR_EVERY: Duration = Duration::from_millis(100);
/// Repositories a blob is tried to be mounted from.
const MAX_MOUNTS: usize = 3;

/// A blob's way to the registry, told in the row `row`.
pub(crate) struct Carrier<'a> {
    pub(crate) store: &'a Store,
    pub(crate) target: &'a Repository,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) under_way: UnderWay,
    pub(crate) row: String,
}

/// The uploads of a daemon by repository and blob: two pushes never write the same one.
pub(crate) type UnderWay = Arc<Mutex<HashSet<String>>>;

/// The right to go on with an upload, until dropped.
struct Held {
    under_way: UnderWay,
    key: String,
}

impl Held {
    /// None if somebody is at it.
    fn take(under_way: &UnderWay, key: String) -> Option<Self> {
        let mut all = under_way.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key.clone()).then(|| Held { under_way: under_way.clone(), key })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// What a registry did for a blob without being sent its bytes.
enum Cheap {
    /// It has it: which of those asked for, and what to say.
    Done(Descriptor, String),
    /// Nothing; it may have opened an upload.
    Not(Option<UploadSession>),
}

impl Carrier<'_> {
    /// Sees to it that the registry has a blob which is here as it is.
    pub(crate) async fn bring(&self, blob: &Descriptor, progress: &dyn Progress) -> Result<(), PushError> {
        let _place = self.place(progress).await?;
        let status = match self.cheaply(std::slice::from_ref(blob)).await? {
            Cheap::Done(_, status) => status,
            Cheap::Not(session) => {
                self.send(blob, session, progress).await?;
                "Pushed".into()
            }
        };
        progress.event(ProgressEvent::status(&self.row, status));
        let (store, name, digest) = (self.store.clone(), self.target.name(), blob.digest.clone());
        blocking(move || origin::remember_repository(&store, &name, &digest)).await
    }

    async fn place(&self, progress: &dyn Progress) -> Result<SemaphorePermit<'_>, PushError> {
        if self.uploads.available_permits() == 0 {
            progress.event(ProgressEvent::status(&self.row, "Waiting"));
        }
        self.uploads.acquire().await.map_err(|_| PushError::Stopped)
    }

    /// Whether the registry has one of `blobs` or can take it from another repository.
    async fn cheaply(&self, blobs: &[Descriptor]) -> Result<Cheap, PushError> {
        for blob in blobs {
            if self.target.has_blob(&blob.digest).await? {
                return Ok(Cheap::Done(blob.clone(), "Layer already exists".into()));
            }
        }
        let mut session = None;
        for blob in blobs {
            match self.mount(blob).await? {
                Mounted::From(path) => return Ok(Cheap::Done(blob.clone(), format!("Mounted from {path}"))),
                Mounted::Not(opened) => session = opened.or(session),
            }
        }
        Ok(Cheap::Not(session))
    }

    /// Tries repositories of the same registry which had the blob.
    async fn mount(&self, blob: &Descriptor) -> Result<Mounted, PushError> {
        let (store, digest) = (self.store.clone(), blob.digest.clone());
        let origins = blocking(move || origin::repositories_of(&store, &digest)).await?;
        let own = self.target.name();
        let registry = own.strip_suffix(self.target.path()).unwrap_or_default();
        let candidates = origins
            .iter()
            .filter_map(|name| name.strip_prefix(registry))
            .filter(|path| *path != self.target.path());
        let mut session = None;
        for path in candidates.take(MAX_MOUNTS) {
            match self.target.mount(&blob.digest, path).await {
                Ok(Mount::Mounted) => return Ok(Mounted::From(path.to_owned())),
                Ok(Mount::Upload(opened)) => session = Some(opened),
                // We may not read there; that doesn't matter for a push.
                Err(error) => tracing::debug!(%error, from = path, "blob can't be mounted"),
            }
        }
        Ok(Mounted::Not(session))
    }

    /// The upload that a blob goes on with, also after the daemon was killed; remembered until it has ended.
    async fn session(
        &self,
        blob: &Descriptor,
        opened: Option<UploadSession>,
    ) -> Result<UploadSession, PushError> {
        let (store, name, digest) = (self.store.clone(), self.target.name(), blob.digest.clone());
        if let Some(location) = blocking(move || origin::upload_of(&store, &name, &digest)).await? {
            match self.target.resume_upload(&location).await {
                Ok(session) if session.there() > 0 && session.there() <= blob.size => {
                    return Ok(session);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, blob = %blob.digest, "upload of an earlier push is gone")
                }
            }
        }
        let session = match opened {
            Some(session) => session,
            None => self.target.start_upload().await?,
        };
        self.remember(blob, Some(session.location().to_owned())).await?;
        Ok(session)
    }

    async fn remember(&self, blob: &Descriptor, location: Option<String>) -> Result<(), PushError> {
        let (store, name, digest) = (self.store.clone(), self.target.name(), blob.digest.clone());
        blocking(move || origin::remember_upload(&store, &name, &digest, location.as_deref())).await
    }

    async fn send(
        &self,
        blob: &Descriptor,
        session: Option<UploadSession>,
        progress: &dyn Progress,
    ) -> Result<(), PushError> {
        let (sent, mut news) = watch::channel(0u64);
        let sent = Arc::new(move |bytes| {
            sent.send_replace(bytes);
        });
        let file = self.store.blobs().path(&blob.digest);
        let held = Held::take(&self.under_way, format!("{}@{}", self.target.name(), blob.digest));
        let session = match &held {
            Some(_) => Some(self.session(blob, session).await?),
            None => session,
        };
        let mut upload = std::pin::pin!(self.target.upload(session, &file, blob, sent));
        loop {
            match tokio::time::timeout(BAR_EVERY, &mut upload).await {
                Ok(done) => {
                    done?;
                    return if held.is_some() { self.remember(blob, None).await } else { Ok(()) };
                }
                Err(_) if news.has_changed().unwrap_or(false) => {
                    let bytes = *news.borrow_and_update();
                    progress.event(ProgressEvent::bar(&self.row, "Pushing", bytes, Some(blob.size)));
                }
                Err(_) => {}
            }
        }
    }
}

/// A layer and how it goes to the registry.
pub(crate) struct LayerPush<'a> {
    pub(crate) carrier: Carrier<'a>,
    pub(crate) diff_id: Digest,
    pub(crate) layer: LayerId,
    /// The blob that the image's own manifest names.
    pub(crate) preferred: Option<Descriptor>,
}

impl LayerPush<'_> {
    /// Sees to it that the registry has the layer; returns its blob there.
    pub(crate) async fn run(&self, progress: &dyn Progress) -> Result<Descriptor, PushError> {
        let _place = self.carrier.place(progress).await?;
        let (blob, status) = self.bring(progress).await?;
        progress.event(ProgressEvent::status(&self.carrier.row, status));
        let (store, name, digest) =
            (self.carrier.store.clone(), self.carrier.target.name(), blob.digest.clone());
        blocking(move || origin::remember_repository(&store, &name, &digest)).await?;
        Ok(blob)
    }

    async fn bring(&self, progress: &dyn Progress) -> Result<(Descriptor, String), PushError> {
        let known = self.known_blobs().await?;
        let session = match self.carrier.cheaply(&known).await? {
            Cheap::Done(blob, status) => return Ok((blob, status)),
            Cheap::Not(session) => session,
        };
        let here = known.into_iter().find(|blob| self.carrier.store.blobs().has(&blob.digest));
        let blob = match here {
            Some(blob) => blob,
            None => self.pack().await?,
        };
        self.carrier.send(&blob, session, progress).await?;
        Ok((blob, "Pushed".into()))
    }

    /// The blobs that are this layer, the manifest's own first.
    async fn known_blobs(&self) -> Result<Vec<Descriptor>, PushError> {
        let mut known: Vec<Descriptor> = self.preferred.iter().cloned().collect();
        let (store, diff_id) = (self.carrier.store.clone(), self.diff_id.clone());
        if let Some(blob) = blocking(move || origin::blob_of(&store, &diff_id)).await?
            && known.iter().all(|k| k.digest != blob.digest)
        {
            known.push(blob);
        }
        Ok(known)
    }

    /// Packs the layer's folder to a gzipped tar, which becomes a blob.
    async fn pack(&self) -> Result<Descriptor, PushError> {
        let (store, layer, diff_id) = (self.carrier.store.clone(), self.layer, self.diff_id.clone());
        blocking(move || pack(&store, layer, &diff_id)).await?
    }
}

enum Mounted {
    From(String),
    /// The registry may have opened an upload instead.
    Not(Option<UploadSession>),
}

fn pack(store: &Store, layer: LayerId, diff_id: &Digest) -> Result<Descriptor, PushError> {
    let compress = |source| PushError::Compress { diff_id: diff_id.clone(), source };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut gzip = ParallelGzip::new(store.blobs().spool()?, threads).map_err(compress)?;
    let packed = exact::write(store, layer, diff_id, &mut gzip)
        .map_err(|source| PushError::Pack { diff_id: diff_id.clone(), source })?;
    let spool = gzip.finish().map_err(compress)?;
    if packed != *diff_id {
        return Err(PushError::NotReproducible(diff_id.clone()));
    }
    let (digest, size) = spool.commit_as_is_relaxed()?;
    let blob = Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest, size);
    origin::remember_blob(store, diff_id, &blob);
    Ok(blob)
}

/// Runs synchronous work of the store on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PushError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| PushError::Stopped)
}
