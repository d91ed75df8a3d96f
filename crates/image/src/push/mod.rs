//! Push: from an image in the store to a registry.
//!
//! ```text
//! layers, several at once: there already │ mounted │ uploaded │ packed and uploaded     layer.rs
//!    └─ configuration
//!         └─ manifest under the tag: the original bytes if nothing changed               manifest.rs
//! ```
//!
//! An image that was pulled with all that its index names goes out with the index: see whole.rs. The registry shows
//! nothing under the tag before all of it is there.

mod error;
pub(crate) mod gzip;
mod layer;
pub(crate) mod manifest;
#[cfg(test)]
mod tests;
mod unpacked;

use std::sync::Arc;

use dray_registry::{Auth, Client, Repository};
use dray_spec::{Descriptor, Digest, ImageConfig, Platform, Reference, media_type};
use dray_store::{ImageRecord, Store};
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

pub use error::{PushError, PushErrorKind};

use self::layer::{Carrier, LayerPush, UnderWay, blocking};
use self::manifest::{Original, document};
use crate::origin;
use crate::progress::{Progress, ProgressEvent};
use crate::pull::AsyncLease;
use crate::whole::{self, Document, Whole};

/// An image that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Under which name.
    pub reference: Reference,
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's size.
    pub size: u64,
}

/// Bounds of the work a daemon does at once.
#[derive(Debug, Clone, Copy)]
pub struct PushLimits {
    /// Layers uploaded at once (Docker's `max-concurrent-uploads`).
    pub uploads: usize,
}

impl Default for PushLimits {
    fn default() -> Self {
        PushLimits { uploads: 5 }
    }
}

/// Pushes images from a store. Clones share the bounds.
#[derive(Clone)]
pub struct Pusher {
    store: Store,
    client: Client,
    uploads: Arc<Semaphore>,
    under_way: UnderWay,
}

impl Pusher {
    /// One per daemon.
    pub fn new(store: Store, client: Client, limits: PushLimits) -> Self {
        Pusher {
            store,
            client,
            uploads: Arc::new(Semaphore::new(limits.uploads.max(1))),
            under_way: UnderWay::default(),
        }
    }

    /// Pushes the image named `reference`, or without a tag all tags of the repository, and tells `progress`
    /// what Docker would say.
    ///
    /// # Errors
    /// If there is no such image, or registry or disk fail.
    pub async fn push(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        auth: &Auth,
        progress: &dyn Progress,
    ) -> Result<Vec<Pushed>, PushError> {
        if reference.digest().is_some() {
            return Err(PushError::DigestReference);
        }
        let line = format!("The push refers to repository [{}]", reference.name());
        progress.event(ProgressEvent::line(line));
        let target = self.client.push_target(reference, auth)?;
        let mut pushed = Vec::new();
        for (name, image) in self.named(reference).await? {
            pushed.push(self.push_one(&target, name, image, platform, progress).await?);
        }
        Ok(pushed)
    }

    /// Pushes an image under a name by what was exported of it, byte for byte: a manifest or an index that is here
    /// with all that it names.
    ///
    /// # Errors
    /// If something of it is not here, or registry or disk fail.
    pub async fn push_exported(
        &self,
        name: &Reference,
        image: &Digest,
        root: &Descriptor,
        auth: &Auth,
        progress: &dyn Progress,
    ) -> Result<Pushed, PushError> {
        let pushed = self.push_content(name, root, auth, progress).await?;
        self.pin(name, &pushed.digest, image.clone()).await?;
        Ok(pushed)
    }

    /// Pushes a manifest or an index that is here with all that it names, whatever it is about.
    ///
    /// # Errors
    /// As [`Pusher::push_exported`].
    pub async fn push_content(
        &self,
        name: &Reference,
        root: &Descriptor,
        auth: &Auth,
        progress: &dyn Progress,
    ) -> Result<Pushed, PushError> {
        let _lease = AsyncLease::take(&self.store).await.map_err(|_| PushError::Stopped)?;
        let target = self.client.push_target(name, auth)?;
        let (store, wanted) = (self.store.clone(), root.clone());
        let whole = blocking(move || Whole::read(&store, &wanted.digest, &wanted.media_type)).await??;
        let whole = whole.filter(|whole| whole.lacking.is_empty());
        let whole = whole.ok_or_else(|| PushError::NoSuchImage(name.familiar_name()))?;
        self.push_whole(&target, name.clone(), whole, progress).await
    }

    /// Remembers that what has this digest in the registry is the image, if it is still here.
    async fn pin(&self, name: &Reference, digest: &Digest, image: Digest) -> Result<(), PushError> {
        let (store, pinned) = (self.store.clone(), name.with_digest(digest.clone()));
        blocking(move || match store.tags().set(&pinned, &image, None) {
            // Removed while it was pushed, which is done all the same.
            Err(dray_store::Error::ImageNotFound(_)) => Ok(()),
            set => set.map(|_| ()),
        })
        .await??;
        Ok(())
    }

    /// The names to push and their images.
    async fn named(&self, reference: &Reference) -> Result<Vec<(Reference, ImageRecord)>, PushError> {
        let (store, name) = (self.store.clone(), reference.name());
        let found = blocking(move || {
            let mut found = Vec::new();
            for tag in store.tags().list()? {
                if tag.reference.name() == name && tag.reference.digest().is_none() {
                    found.extend(store.images().get(&tag.image)?.map(|image| (tag.reference, image)));
                }
            }
            Ok::<_, dray_store::Error>(found)
        })
        .await??;
        if found.is_empty() {
            return Err(PushError::NoSuchImage(reference.familiar_name()));
        }
        let Some(tag) = reference.tag() else { return Ok(found) };
        let chosen: Vec<_> = found.into_iter().filter(|(name, _)| name.tag() == Some(tag)).collect();
        if chosen.is_empty() { Err(PushError::NoSuchTag(reference.familiar())) } else { Ok(chosen) }
    }

    async fn push_one(
        &self,
        target: &Repository,
        name: Reference,
        image: ImageRecord,
        platform: Option<&Platform>,
        progress: &dyn Progress,
    ) -> Result<Pushed, PushError> {
        // What is packed on the way belongs to the image only when that is recorded.
        let _lease = AsyncLease::take(&self.store).await.map_err(|_| PushError::Stopped)?;
        if let Some(whole) = self.whole(target, &name, &image, platform).await? {
            let pushed = self.push_whole(target, name.clone(), whole, progress).await?;
            self.pin(&name, &pushed.digest, image.id).await?;
            return Ok(pushed);
        }
        let invalid = |source| PushError::Config { image: image.id.clone(), source };
        let config: ImageConfig = serde_json::from_slice(&image.config).map_err(invalid)?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != image.layers.len() {
            return Err(PushError::LayerCount(image.id));
        }
        let original = self.original(&image).await?;
        let layers = self.push_layers(target, &image, diff_ids, original.as_ref(), progress).await?;
        push_config(target, &image).await?;
        let document =
            document(original.as_ref(), (&image.id, image.config.len() as u64), &layers).map_err(invalid)?;
        let tag = name.tag().unwrap_or("latest").to_owned();
        target.put_manifest(&tag, &document.media_type, document.bytes.clone()).await?;
        let (digest, size) = (document.digest.clone(), document.bytes.len() as u64);
        self.record(&name, image, &document, &layers).await?;
        progress.event(ProgressEvent::line(format!("{tag}: digest: {digest} size: {size}")));
        Ok(Pushed { reference: name, digest, size })
    }

    /// What the image was pulled by and can go out as it came; none if its manifest alone is to be pushed.
    async fn whole(
        &self,
        target: &Repository,
        name: &Reference,
        image: &ImageRecord,
        platform: Option<&Platform>,
    ) -> Result<Option<Whole>, PushError> {
        let (store, image, wanted) = (self.store.clone(), image.clone(), platform.cloned());
        let candidates = blocking(move || candidates(&store, &image, wanted.as_ref())).await??;
        for whole in candidates {
            let mut complete = true;
            for digest in &whole.lacking {
                complete = complete && target.has_manifest(digest.as_str()).await.unwrap_or(false);
            }
            if complete {
                return Ok(Some(whole));
            }
        }
        match platform {
            Some(wanted) if !self.is_for(name, wanted).await? => {
                Err(PushError::Platform { reference: name.familiar(), wanted: Box::new(wanted.clone()) })
            }
            _ => Ok(None),
        }
    }

    /// Whether the image of this name is one for the platform.
    async fn is_for(&self, name: &Reference, wanted: &Platform) -> Result<bool, PushError> {
        let (store, name) = (self.store.clone(), name.clone());
        let config = blocking(move || {
            let image = store.tags().get(&name)?.map(|id| store.images().get(&id)).transpose()?.flatten();
            Ok::<_, dray_store::Error>(
                image.and_then(|i| serde_json::from_slice::<ImageConfig>(&i.config).ok()),
            )
        });
        Ok(config.await??.is_some_and(|config| wanted.accepts(&config.platform())))
    }

    async fn push_whole(
        &self,
        target: &Repository,
        name: Reference,
        whole: Whole,
        progress: &dyn Progress,
    ) -> Result<Pushed, PushError> {
        let carriers: Vec<_> =
            whole.blobs.iter().map(|blob| (blob, self.carrier(target, &blob.digest))).collect();
        for (_, carrier) in &carriers {
            progress.event(ProgressEvent::status(&carrier.row, "Preparing"));
        }
        try_join_all(carriers.iter().map(|(blob, carrier)| carrier.bring(blob, progress))).await?;
        for document in &whole.documents {
            if !target.has_manifest(document.digest.as_str()).await? {
                let bytes = document.bytes.clone();
                target.put_manifest(document.digest.as_str(), &document.media_type, bytes).await?;
            }
        }
        let root = whole.root.ok_or(PushError::Stopped)?;
        let tag = match name.digest() {
            Some(digest) => digest.to_string(),
            None => name.tag().unwrap_or("latest").to_owned(),
        };
        target.put_manifest(&tag, &root.media_type, root.bytes.clone()).await?;
        let (digest, size) = (root.digest, root.bytes.len() as u64);
        progress.event(ProgressEvent::line(format!("{tag}: digest: {digest} size: {size}")));
        Ok(Pushed { reference: name, digest, size })
    }

    fn carrier<'a>(&'a self, target: &'a Repository, row: &Digest) -> Carrier<'a> {
        let uploads = self.uploads.clone();
        Carrier {
            store: &self.store,
            target,
            uploads,
            under_way: self.under_way.clone(),
            row: row.short().to_owned(),
        }
    }

    async fn original(&self, image: &ImageRecord) -> Result<Option<Original>, PushError> {
        let Some(digest) = image.manifest.clone() else { return Ok(None) };
        let store = self.store.clone();
        let bytes = blocking(move || store.blobs().read(&digest).ok().map(|bytes| (digest, bytes))).await?;
        Ok(bytes.and_then(|(digest, bytes)| Original::parse(&digest, bytes)))
    }

    /// Pushes each layer once, the top one first as Docker does; returns their blobs bottom first.
    async fn push_layers(
        &self,
        target: &Repository,
        image: &ImageRecord,
        diff_ids: &[Digest],
        original: Option<&Original>,
        progress: &dyn Progress,
    ) -> Result<Vec<Descriptor>, PushError> {
        let mut jobs: Vec<LayerPush<'_>> = Vec::new();
        for (position, (diff_id, layer)) in diff_ids.iter().zip(&image.layers).enumerate().rev() {
            if jobs.iter().any(|job| job.diff_id == *diff_id) {
                continue;
            }
            progress.event(ProgressEvent::status(diff_id.short(), "Preparing"));
            jobs.push(LayerPush {
                carrier: self.carrier(target, diff_id),
                diff_id: diff_id.clone(),
                layer: *layer,
                preferred: original.and_then(|original| original.layer(position, diff_ids.len())),
            });
        }
        let blobs = try_join_all(jobs.iter().map(|job| job.run(progress))).await?;
        let blob_of = |diff_id: &Digest| {
            let position = jobs.iter().position(|job| job.diff_id == *diff_id);
            position.and_then(|position| blobs.get(position).cloned()).ok_or(PushError::Stopped)
        };
        diff_ids.iter().map(blob_of).collect()
    }

    /// Remembers the manifest and the blobs that were made, and the name by digest.
    async fn record(
        &self,
        name: &Reference,
        mut image: ImageRecord,
        document: &Document,
        layers: &[Descriptor],
    ) -> Result<(), PushError> {
        let (store, bytes) = (self.store.clone(), document.bytes.clone());
        let pinned = name.with_digest(document.digest.clone());
        let layers: Vec<Digest> = layers.iter().map(|layer| layer.digest.clone()).collect();
        blocking(move || {
            let manifest = store.blobs().put_relaxed(&bytes)?;
            image.blobs = layers.into_iter().filter(|digest| store.blobs().has(digest)).collect();
            image.blobs.push(manifest.clone());
            image.manifest = Some(manifest);
            // One that was removed while it was pushed does not come back.
            store.images().amend(&image, &[pinned])
        })
        .await??;
        Ok(())
    }
}

/// The documents that may be pushed for an image as they are, the best first: its indexes, or their entry for a
/// platform.
fn candidates(
    store: &Store,
    image: &ImageRecord,
    platform: Option<&Platform>,
) -> Result<Vec<Whole>, PushError> {
    let mut all = Vec::new();
    for index in origin::indexes_of(store, &image.id) {
        let whole = match platform {
            None => unpacked::whole(store, &index, image)?,
            Some(wanted) => match whole::entry_for(store, &index, wanted) {
                // The image's own manifest goes the way of its layers.
                Some(entry) if Some(&entry.digest) == image.manifest.as_ref() => None,
                Some(entry) => Whole::read(store, &entry.digest, &entry.media_type)?,
                None => None,
            },
        };
        all.extend(whole);
    }
    Ok(all)
}

async fn push_config(target: &Repository, image: &ImageRecord) -> Result<(), PushError> {
    if !target.has_blob(&image.id).await? {
        let size = image.config.len() as u64;
        let descriptor = Descriptor::new(media_type::DOCKER_CONFIG, image.id.clone(), size);
        target.upload_bytes(&descriptor, image.config.clone().into()).await?;
    }
    Ok(())
}
