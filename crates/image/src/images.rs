//! The images of a store: found by name or ID, named, and made.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dray_spec::{Digest, ImageConfig, Reference, RunConfig};
use dray_store::{ImageRecord, LayerId, Lease, Store};

use crate::claim::Claims;
use crate::{Error, Result, origin};

/// The images of a store; a clone is the same ones.
#[derive(Clone, Debug)]
pub struct Images {
    store: Store,
    pub(crate) pruning: Arc<AtomicBool>,
    pub(crate) claims: Claims,
}

/// An image.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    /// The configuration.
    pub config: ImageConfig,
    /// The configuration as it came, byte by byte.
    pub config_bytes: Vec<u8>,
    /// Bottom first.
    pub layers: Vec<LayerId>,
    /// Its names with a tag.
    pub tags: Vec<Reference>,
    /// Its names by manifest digest.
    pub repo_digests: Vec<Reference>,
    /// The image it was built or committed upon, here.
    pub parent: Option<Digest>,
    /// The manifest it was pulled by, if it was.
    pub manifest: Option<Digest>,
    /// The blobs kept for it as they came: manifest, compressed layers.
    pub blobs: Vec<Digest>,
    /// Sum of its layers' sizes.
    pub size: u64,
    /// RFC 3339.
    pub created: String,
}

/// What an image is made of.
#[derive(Debug, Clone, Default)]
pub struct NewImage {
    /// The configuration document; its digest becomes the ID.
    pub config: Vec<u8>,
    /// Bottom first; as many as the configuration has diff IDs.
    pub layers: Vec<LayerId>,
    /// The image it was made upon.
    pub parent: Option<Digest>,
    /// The manifest it came by; list it in `blobs` too.
    pub manifest: Option<Digest>,
    /// Blobs to keep for it: manifest, index, compressed layers.
    pub blobs: Vec<Digest>,
    /// Its names, taken from whoever has them.
    pub names: Vec<Reference>,
}

/// The kernel puts 500 folders upon each other in an overlay; a container has two more than its image has layers.
pub(crate) const MOST_LAYERS: usize = 490;

/// What Docker shows for an image without a date.
const NO_DATE: &str = "0001-01-01T00:00:00Z";

impl Images {
    /// The images of this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, pruning: Arc::default(), claims: Claims::default() }
    }

    /// The store they are in.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Keeps what nothing names yet; see [`Store::lease`]. Pull, load and build hold one while they work.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.store.lease()
    }

    /// Finds an image as a person names it: by name (`:latest` added), by digest, by ID or the beginning of
    /// an ID. A name goes before an ID.
    ///
    /// # Errors
    /// If there is none, or an ID's beginning fits several.
    pub fn resolve(&self, name_or_id: &str) -> Result<Image> {
        if let Some(id) = whole_id(name_or_id) {
            return self.get(&id)?.ok_or_else(|| Error::NotFound(name_or_id.into()));
        }
        let reference = Reference::parse(name_or_id);
        if let Ok(reference) = &reference
            && let Some(id) = self.store.tags().get(reference)?
            && let Some(image) = self.get(&id)?
        {
            return Ok(image);
        }
        if let Some(image) = self.by_prefix(name_or_id)? {
            return Ok(image);
        }
        Err(Error::NotFound(reference?.tagged().familiar()))
    }

    fn by_prefix(&self, text: &str) -> Result<Option<Image>> {
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        let plausible = !prefix.is_empty()
            && prefix.len() <= 64
            && prefix.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !plausible {
            return Ok(None);
        }
        match &self.store.images().find_prefix(prefix)?[..] {
            [] => Ok(None),
            [id] => self.get(id),
            _ => Err(Error::Ambiguous(text.into())),
        }
    }

    /// The image with this ID.
    ///
    /// # Errors
    /// If the store fails.
    pub fn get(&self, id: &Digest) -> Result<Option<Image>> {
        let Some(record) = self.store.images().get(id)? else { return Ok(None) };
        let names = self.store.tags().of(id)?;
        image(record, names).map(Some)
    }

    /// All images, the newest first.
    ///
    /// # Errors
    /// If the store fails.
    pub fn list(&self) -> Result<Vec<Image>> {
        self.list_with(image)
    }

    /// All images, the newest first, with nothing but the labels of their configurations: what a list shows. Reading
    /// a thousand configurations whole takes longer than all the rest of it.
    ///
    /// # Errors
    /// If the store fails.
    pub fn list_brief(&self) -> Result<Vec<Image>> {
        self.list_with(brief_image)
    }

    fn list_with(&self, image: fn(ImageRecord, Vec<Reference>) -> Result<Image>) -> Result<Vec<Image>> {
        let mut names: std::collections::HashMap<Digest, Vec<Reference>> = std::collections::HashMap::new();
        for tag in self.store.tags().list()? {
            names.entry(tag.image).or_default().push(tag.reference);
        }
        let records = self.store.images().list()?;
        records
            .into_iter()
            .map(|record| {
                let names = names.remove(&record.id).unwrap_or_default();
                image(record, names)
            })
            .collect()
    }

    /// The images made upon this one.
    ///
    /// # Errors
    /// If the store fails.
    pub fn children(&self, id: &Digest) -> Result<Vec<Digest>> {
        Ok(self.store.images().children(id)?)
    }

    /// Gives an image a name (`:latest` added), taking it from whoever had it; says who that was.
    ///
    /// # Errors
    /// If the name is one by digest, the image was removed meanwhile, or the store fails.
    pub fn tag(&self, image: &Image, name: &Reference) -> Result<Option<Digest>> {
        if name.digest().is_some() {
            return Err(Error::TagWithDigest);
        }
        let name = name.clone().tagged();
        match self.store.tags().set(&name, &image.id, None) {
            Err(dray_store::Error::ImageNotFound(id)) => Err(Error::NotFound(id.to_string())),
            set => {
                let before = set?;
                if before.as_ref() == Some(&image.id) {
                    self.store.tags().renew(&[name])?;
                }
                Ok(before)
            }
        }
    }

    /// Takes a name away; true if it was there.
    ///
    /// # Errors
    /// If the store fails.
    pub fn untag(&self, name: &Reference) -> Result<bool> {
        Ok(self.store.tags().remove(name)?)
    }

    /// Records an image. Durable when it returns; a prune beside it that takes the image at once does so afterwards.
    ///
    /// # Errors
    /// If the configuration cannot be read or names other layers than were given, or the store fails.
    pub fn create(&self, new: NewImage) -> Result<Image> {
        let _claims = self.claims.lock();
        self.create_locked(new)
    }

    /// As [`Images::create`], for who holds the lock of the claims: between the writing and the reading nobody removes
    /// it.
    pub(crate) fn create_locked(&self, new: NewImage) -> Result<Image> {
        let id = Digest::sha256_of(&new.config);
        let config: ImageConfig =
            serde_json::from_slice(&new.config).map_err(|source| Error::Config { id: id.clone(), source })?;
        let expected = config.rootfs.diff_ids.len();
        if expected != new.layers.len() {
            return Err(Error::LayerCount { id, expected, actual: new.layers.len() });
        }
        let mut size = 0;
        for layer in &new.layers {
            size += self.store.layers().get(*layer)?.size;
        }
        let record = ImageRecord {
            id: id.clone(),
            config: new.config,
            parent: new.parent,
            manifest: new.manifest,
            created: config.created.unwrap_or_else(|| NO_DATE.into()),
            size,
            layers: new.layers,
            blobs: new.blobs,
        };
        let names: Vec<Reference> = new.names.into_iter().map(Reference::tagged).collect();
        self.store.images().put(&record, &names)?;
        self.get(&id)?.ok_or_else(|| Error::NotFound(id.to_string()))
    }

    /// Records an image of a configuration made here, whose diff IDs are filled in.
    ///
    /// # Errors
    /// As [`Images::create`].
    pub fn create_from(&self, config: &ImageConfig, layers: Vec<LayerId>) -> Result<Image> {
        self.create(NewImage { config: config.to_bytes(), layers, ..NewImage::default() })
    }

    /// The blobs that are kept for a layer beside its folder: how it came, or what its tar has and the folder
    /// has not.
    #[must_use]
    pub fn blobs_of_layer(&self, diff_id: &Digest) -> Vec<Digest> {
        origin::blobs_of(&self.store, diff_id)
    }

    /// Remembers how long a layer's tar is, when it was just made of the layer's folder: a save need not make it to
    /// know.
    pub fn remember_tar(&self, diff_id: &Digest, bytes: u64) {
        origin::remember_tar_length(&self.store, diff_id, bytes);
    }

    /// The size of all layers of all images, each counted once.
    ///
    /// # Errors
    /// If the store fails.
    pub fn layers_size(&self) -> Result<u64> {
        Ok(self.store.layers().list()?.iter().map(|layer| layer.size).sum())
    }

    /// For each of `images`, how much of its size lies in layers that another one has too.
    ///
    /// # Errors
    /// If the store fails.
    pub fn shared_sizes(&self, images: &[Image]) -> Result<Vec<u64>> {
        let sizes: std::collections::HashMap<LayerId, u64> =
            self.store.layers().list()?.into_iter().map(|layer| (layer.id, layer.size)).collect();
        let mut users: std::collections::HashMap<LayerId, u32> = std::collections::HashMap::new();
        let distinct =
            |image: &Image| image.layers.iter().copied().collect::<std::collections::BTreeSet<_>>();
        for image in images {
            for layer in distinct(image) {
                *users.entry(layer).or_default() += 1;
            }
        }
        let shared = |layer: &LayerId| users.get(layer).is_some_and(|count| *count > 1);
        Ok(images
            .iter()
            .map(|image| {
                distinct(image)
                    .iter()
                    .filter(|layer| shared(layer))
                    .filter_map(|layer| sizes.get(layer))
                    .sum()
            })
            .collect())
    }
}

/// A text that can only be an ID: 64 hexadecimal digits, with or without `sha256:`.
fn whole_id(text: &str) -> Option<Digest> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    Digest::from_sha256_hex(hex).ok()
}

fn image(record: ImageRecord, names: Vec<Reference>) -> Result<Image> {
    let config: ImageConfig = serde_json::from_slice(&record.config)
        .map_err(|source| Error::Config { id: record.id.clone(), source })?;
    Ok(image_with(config, record, names))
}

fn brief_image(record: ImageRecord, names: Vec<Reference>) -> Result<Image> {
    #[derive(serde::Deserialize)]
    struct Brief {
        config: Option<BriefRun>,
    }
    #[derive(serde::Deserialize)]
    struct BriefRun {
        #[serde(rename = "Labels")]
        labels: Option<std::collections::BTreeMap<String, String>>,
    }
    let brief: Brief = serde_json::from_slice(&record.config)
        .map_err(|source| Error::Config { id: record.id.clone(), source })?;
    let run = brief.config.map(|run| RunConfig { labels: run.labels, ..RunConfig::default() });
    Ok(image_with(ImageConfig { config: run, ..ImageConfig::default() }, record, names))
}

fn image_with(config: ImageConfig, record: ImageRecord, names: Vec<Reference>) -> Image {
    let (repo_digests, tags) = names.into_iter().partition(|name| name.digest().is_some());
    Image {
        id: record.id,
        config,
        config_bytes: record.config,
        layers: record.layers,
        tags,
        repo_digests,
        parent: record.parent,
        manifest: record.manifest,
        blobs: record.blobs,
        size: record.size,
        created: record.created,
    }
}

#[cfg(test)]
pub(crate) mod tests;
