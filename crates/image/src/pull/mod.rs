//! Pull: from a reference to an image in the store.
//!
//! ```text
//! resolve: tag → index → manifest → configuration        one source after another
//!    ├─ transfers: a layer each, shared by all clients   layer.rs: download ∥ unpack
//!    ├─ all platforms: every other blob, as it is        content.rs
//!         └─ record: image, names, blobs                 one transaction; nothing counts before
//! ```
//!
//! A pull can be dropped at any point: what remains is what the store calls resumable.

mod content;
mod download;
mod error;
mod landing;
mod layer;
mod resolve;
mod source;
mod state;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::HashMap;
use std::sync::Arc;

use dray_registry::{Auth, Client, Repository, Source};
use dray_spec::{Descriptor, Digest, Platform, Reference};
use dray_store::{ImageRecord, LayerId, Lease, Store};
use dray_trust::Policy;
use futures_util::future::try_join_all;

pub(crate) use content::blobs_of;
pub use error::{PullError, PullErrorKind};
pub(crate) use layer::blocking;

use self::content::Content;
use self::landing::Cut;
use self::layer::LayerJob;
use self::resolve::Resolved;
use self::source::Sources;
use self::state::{Reporter, watch_layer};
use self::transfer::{Key, Transfers};
use crate::origin;
use crate::progress::{Progress, ProgressEvent};
use crate::signature::{self, TrustGate};

/// What to pull and how.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// The platform asked for; the host's if none.
    pub platform: Option<Platform>,
    /// Credentials for the registry.
    pub auth: Auth,
    /// Pull all tags of the repository.
    pub all_tags: bool,
    /// Keep the images of all platforms, and all else that the index names.
    pub all_platforms: bool,
    /// The name stays whose it is: the image gets the one by its manifest's digest, not even that of an index, which
    /// is the name of another platform's image too.
    pub by_digest: bool,
}

/// Bounds of the work a daemon does at once.
#[derive(Debug, Clone, Copy)]
pub struct PullLimits {
    /// Layers downloaded at once (Docker's `max-concurrent-downloads`).
    pub downloads: usize,
    /// Layers unpacked at once.
    pub unpacks: usize,
    /// Blobs of this size and more are fetched in ranges, several at once.
    pub ranges_from: u64,
    /// Bytes of a range.
    pub range: u64,
    /// Ranges of one blob fetched at once.
    pub ranges: usize,
}

impl Default for PullLimits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        PullLimits {
            downloads: 3,
            unpacks: cores.clamp(2, 8),
            ranges_from: 48 << 20,
            range: 16 << 20,
            ranges: 4,
        }
    }
}

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// By which name.
    pub reference: Reference,
    /// The image's ID.
    pub image: Digest,
    /// The digest the name stands for at the registry.
    pub digest: Digest,
    /// Whether the name stood for another image, or none, before.
    pub changed: bool,
}

/// Pulls images into a store. Clones share the transfers.
#[derive(Clone)]
pub struct Puller {
    store: Store,
    client: Client,
    transfers: Arc<Transfers>,
    gate: TrustGate,
}

impl Puller {
    /// One per daemon.
    pub fn new(store: Store, client: Client, limits: PullLimits) -> Self {
        let cut = Cut { least: limits.ranges_from.max(1), part: limits.range, streams: limits.ranges };
        let transfers = Arc::new(Transfers::new(limits.downloads, limits.unpacks, cut));
        Puller { store, client, transfers, gate: TrustGate::default() }
    }

    /// The same one, which holds each pull against a policy.
    #[must_use]
    pub fn guarded(self, gate: TrustGate) -> Self {
        Puller { gate, ..self }
    }

    /// Pulls `reference`, and tells `progress` what Docker would say. With `all_tags` every tag of the
    /// repository.
    ///
    /// # Errors
    /// If there is no such image for the platform, or registry, content or disk fail.
    pub async fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Pulled>, PullError> {
        if !options.all_tags {
            let reference =
                if reference.digest().is_some() { reference.clone() } else { reference.clone().tagged() };
            let pulled = self.pull_one(&reference, options, progress).await?;
            progress.event(ProgressEvent::line(closing_line(&reference.familiar(), pulled.changed)));
            return Ok(vec![pulled]);
        }
        let mut all = Vec::new();
        for tag in self.tags(reference, options).await? {
            let Ok(tagged) = reference.with_tag(&tag) else { continue };
            all.push(self.pull_one(&tagged, options, progress).await?);
        }
        let changed = all.iter().any(|pulled| pulled.changed);
        progress.event(ProgressEvent::line(closing_line(&reference.familiar_name(), changed)));
        Ok(all)
    }

    async fn tags(&self, reference: &Reference, options: &PullOptions) -> Result<Vec<String>, PullError> {
        let source = self.client.repository(reference, &options.auth)?;
        let tags = source.tags().await.map_err(|error| PullError::for_manifest(reference, error))?;
        if tags.is_empty() { Err(PullError::NoTags(reference.familiar_name())) } else { Ok(tags) }
    }

    /// Pulls from the first source that can give it; the last one's error counts.
    async fn pull_one(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled, PullError> {
        let policy = self.gate.policy().await?;
        signature::admit(policy.as_ref(), reference)?;
        let sources = self.client.sources(reference, &options.auth)?;
        let asked = |source: &Source| source.resolves || reference.digest().is_some();
        let last = sources.iter().rposition(asked);
        for (at, source) in sources.iter().enumerate().filter(|(_, source)| asked(source)) {
            // Content may also come from those that can't be asked for a tag.
            let content = sources.iter().enumerate().filter(|(n, source)| *n >= at || !asked(source));
            let content = Sources::new(content.map(|(_, source)| source.repository.clone()).collect());
            let from = (&source.repository, content, policy.as_ref());
            match self.pull_from(from, reference, options, progress).await {
                Err(error) if Some(at) != last && error.is_the_sources() => {
                    tracing::info!(%reference, %error, "mirror can't give it");
                }
                pulled => return pulled,
            }
        }
        Err(PullError::NoSource(reference.familiar_name()))
    }

    async fn pull_from(
        &self,
        (source, sources, policy): (&Repository, Sources, Option<&Policy>),
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled, PullError> {
        let found = resolve::find(source, reference).await?;
        let row = match (reference.digest(), reference.tag()) {
            (None, Some(tag)) => tag.to_owned(),
            _ => reference.to_string(),
        };
        progress.event(ProgressEvent::status(row, format!("Pulling from {}", reference.path())));
        let resolved = resolve::resolve(found, sources, reference, options).await?;
        let digests = [resolved.digest.clone(), resolved.manifest_digest.clone()];
        let known_by = if digests[0] == digests[1] { &digests[..1] } else { &digests };
        signature::check(policy, reference, known_by, resolved.sources.all()).await?;
        // Until the image is recorded, nothing names its layers and blobs.
        let _lease = AsyncLease::take(&self.store).await?;
        let layers = match self.known_layers(&resolved).await? {
            Some(layers) => layers,
            None => self.fetch_layers(&resolved, progress).await?,
        };
        let kept = match options.all_platforms {
            true => self.fetch_content(reference, &resolved, progress).await?,
            false => Content::default(),
        };
        let pulled = self.record(reference, &resolved, layers, kept, options.by_digest).await?;
        progress.event(ProgressEvent::line(format!("Digest: {}", pulled.digest)));
        Ok(pulled)
    }

    /// Brings in all else that the reference's index names, and the image's own blobs.
    async fn fetch_content(
        &self,
        reference: &Reference,
        resolved: &Resolved,
        progress: &dyn Progress,
    ) -> Result<Content, PullError> {
        let root = resolved.documents.first().ok_or(PullError::Stopped)?;
        let content = Content::of(&resolved.sources, reference, root).await?;
        let lacking = |blob: &&Descriptor| !self.store.blobs().has(&blob.digest);
        let jobs: Vec<LayerJob> =
            content.blobs.iter().filter(lacking).map(|blob| self.job(resolved, blob, &blob.digest)).collect();
        for job in &jobs {
            progress.event(ProgressEvent::status(job.descriptor.digest.short(), "Pulling fs layer"));
        }
        try_join_all(jobs.iter().map(|job| async move {
            let key = Key::Blob(job.descriptor.digest.clone());
            self.join(&key, job, |job, reporter| job.run_blob(reporter), progress).await
        }))
        .await?;
        Ok(content)
    }

    fn job(&self, resolved: &Resolved, descriptor: &Descriptor, diff_id: &Digest) -> LayerJob {
        LayerJob {
            store: self.store.clone(),
            transfers: self.transfers.clone(),
            sources: resolved.sources.clone(),
            descriptor: descriptor.clone(),
            diff_id: diff_id.clone(),
            below: None,
            retry: self.client.config().retry,
            least: self.client.config().pace.least,
        }
    }

    /// The layers of an image that is here already.
    async fn known_layers(&self, resolved: &Resolved) -> Result<Option<Vec<LayerId>>, PullError> {
        let (store, id) = (self.store.clone(), resolved.id.clone());
        let known = blocking(move || store.images().get(&id)).await??;
        Ok(known.map(|record| record.layers))
    }

    /// Brings in all layers, each once, and returns them bottom first.
    async fn fetch_layers(
        &self,
        resolved: &Resolved,
        progress: &dyn Progress,
    ) -> Result<Vec<LayerId>, PullError> {
        let mut jobs: Vec<LayerJob> = Vec::new();
        for (descriptor, diff_id) in resolved.manifest.layers.iter().zip(&resolved.config.rootfs.diff_ids) {
            let same = |job: &LayerJob| job.descriptor.digest == descriptor.digest && job.diff_id == *diff_id;
            if jobs.iter().any(same) {
                continue;
            }
            progress.event(ProgressEvent::status(descriptor.digest.short(), "Pulling fs layer"));
            jobs.push(self.job(resolved, descriptor, diff_id));
        }
        let fetched = try_join_all(jobs.iter().map(|job| async move {
            match self.fetch_layer(job, progress).await {
                Err(error) if error.needs_layers_below() => Ok(None),
                fetched => fetched.map(Some),
            }
        }))
        .await?;
        let mut by_diff_id: HashMap<&Digest, Option<LayerId>> =
            jobs.iter().map(|job| &job.diff_id).zip(fetched).collect();
        let mut layers = Vec::new();
        for diff_id in &resolved.config.rootfs.diff_ids {
            let job = jobs.iter().find(|job| job.diff_id == *diff_id).ok_or(PullError::Stopped)?;
            let layer = match by_diff_id.get(diff_id).copied().flatten() {
                Some(layer) => layer,
                None => self.unpack_upon(job, &layers, progress).await?,
            };
            by_diff_id.insert(diff_id, Some(layer));
            layers.push(layer);
        }
        Ok(layers)
    }

    /// Unpacks a layer that has hard links into those below it.
    async fn unpack_upon(
        &self,
        job: &LayerJob,
        below: &[LayerId],
        progress: &dyn Progress,
    ) -> Result<LayerId, PullError> {
        let below = self.store.layers().folders_of(below.iter().rev());
        self.fetch_layer(&LayerJob { below: Some(below), ..job.clone() }, progress).await
    }

    async fn fetch_layer(&self, job: &LayerJob, progress: &dyn Progress) -> Result<LayerId, PullError> {
        let key = Key::Layer(job.descriptor.digest.clone(), job.diff_id.clone());
        let layer = self.join(&key, job, |job, reporter| job.run(reporter), progress).await?;
        layer.ok_or(PullError::Stopped)
    }

    /// Joins or starts a transfer. If one that somebody else started fails, it is tried with our own sources and
    /// credentials.
    async fn join<F: Future<Output = ()> + Send + 'static>(
        &self,
        key: &Key,
        job: &LayerJob,
        run: impl Fn(LayerJob, Reporter) -> F,
        progress: &dyn Progress,
    ) -> Result<Option<LayerId>, PullError> {
        loop {
            let work = |reporter| run(job.clone(), reporter);
            let (transfer, ours) = self.transfers.join(key, job.descriptor.size, work);
            match watch_layer(transfer.state.clone(), key.blob(), progress).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) if ours => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, blob = %key.blob(), "shared transfer failed; own attempt")
                }
            }
        }
    }

    /// Makes it an image with its names, all at once.
    async fn record(
        &self,
        reference: &Reference,
        resolved: &Resolved,
        layers: Vec<LayerId>,
        kept: Content,
        by_digest: bool,
    ) -> Result<Pulled, PullError> {
        let store = self.store.clone();
        let documents = resolved.documents.clone();
        let descriptors = resolved.manifest.layers.clone();
        let name = reference.name();
        let mut record = ImageRecord {
            id: resolved.id.clone(),
            config: resolved.config_bytes.clone(),
            parent: None,
            manifest: Some(resolved.manifest_digest.clone()),
            created: resolved.config.created.clone().unwrap_or_else(|| "0001-01-01T00:00:00Z".into()),
            size: 0,
            layers,
            blobs: Vec::new(),
        };
        let pinned = reference.with_digest(resolved.digest.clone());
        let names = match reference.digest() {
            _ if by_digest => vec![reference.with_digest(resolved.manifest_digest.clone())],
            Some(_) => vec![pinned],
            None => vec![reference.clone(), pinned],
        };
        let (lookup, id, digest) = (names[0].clone(), resolved.id.clone(), resolved.digest.clone());
        let (image, root, own) = (id.clone(), digest.clone(), resolved.manifest_digest.clone());
        let before = blocking(move || {
            for document in documents.into_iter().chain(kept.documents) {
                record.blobs.push(store.blobs().put_relaxed(&document)?);
            }
            let blobs = descriptors.iter().chain(&kept.blobs);
            record.blobs.extend(blobs.filter(|b| store.blobs().has(&b.digest)).map(|b| b.digest.clone()));
            for layer in &record.layers {
                record.size += store.layers().get(*layer)?.size;
            }
            let before = store.tags().get(&lookup)?;
            store.images().put(&record, &names)?;
            // Also where nothing has changed.
            store.tags().renew(&names)?;
            for blob in descriptors.iter().chain(&kept.blobs) {
                origin::remember_repository(&store, &name, &blob.digest);
            }
            if root != own {
                origin::remember_index(&store, &image, &root);
            }
            Ok::<_, dray_store::Error>(before)
        })
        .await??;
        let changed = before.as_ref() != Some(&id);
        Ok(Pulled { reference: reference.clone(), image: id, digest, changed })
    }
}

/// What Docker says last.
fn closing_line(name: &str, changed: bool) -> String {
    match changed {
        true => format!("Status: Downloaded newer image for {name}"),
        false => format!("Status: Image is up to date for {name}"),
    }
}

/// A lease which is given back on a thread that may block: giving it back can start a collection.
pub(crate) struct AsyncLease(Option<Lease>);

impl AsyncLease {
    pub(crate) async fn take(store: &Store) -> Result<Self, PullError> {
        let store = store.clone();
        Ok(AsyncLease(Some(blocking(move || store.lease()).await?)))
    }
}

impl Drop for AsyncLease {
    fn drop(&mut self) {
        let Some(lease) = self.0.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(lease))),
            Err(_) => drop(lease),
        }
    }
}
