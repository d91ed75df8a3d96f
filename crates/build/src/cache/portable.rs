//! The cache on the move: results of steps as a document that a registry, a folder or an image carries.
//!
//! ```text
//! layers    what steps wrote: blobs                                 ┐ BuildKit's cache configuration (v0), so that its
//! records   results by key, with the layers and what they need      ┘ tools can read the document
//! dray      the same as this cache has it: keys, times, aliases
//! ```
//! A key names everything that goes into a step, so a result is right wherever it comes from, as far as its origin is
//! trusted. What is read of a document is not trusted to be well-formed.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use dray_image::export::ImageFormat;
use dray_spec::{Descriptor, Digest, Manifest, media_type};
use serde::{Deserialize, Serialize};

use super::mount::{MountChoice, PortableMount};
use super::{Alias, Cache, Entry, Key, Times};
use crate::Builder;
use crate::error::BuildError;
use crate::request::Built;

/// The media type of a cache configuration.
pub const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";
/// The field of an image's configuration that holds its cache.
pub const INLINE_CACHE: &str = "moby.buildkit.cache.v0";

/// Which results leave the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Those that are part of the image.
    #[default]
    Min,
    /// All that the build had.
    Max,
}

/// Where the blobs of a cache come from.
pub trait BlobSource: Send + Sync {
    /// Opens a blob, packed in any way.
    ///
    /// # Errors
    /// If it cannot be had.
    fn open(&self, blob: &Descriptor) -> io::Result<Box<dyn Read + Send>>;
}

/// A document of results.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Document {
    #[serde(default)]
    layers: Vec<Layer>,
    #[serde(default)]
    records: Vec<Record>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dray: Option<Results>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Layer {
    blob: Digest,
    #[serde(default)]
    parent: i64,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Annotations {
    #[serde(default)]
    media_type: String,
    #[serde(rename = "diffID", default, skip_serializing_if = "Option::is_none")]
    diff_id: Option<Digest>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    created_at: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    digest: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<RecordLayer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<Vec<Input>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordLayer {
    layer: usize,
    created_at: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Input {
    link: usize,
}

/// Results as this cache has them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Results {
    entries: Vec<Portable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<PortableAlias>,
    /// Directories of cache mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<PortableMount>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Portable {
    key: String,
    created: String,
    /// Its place among the layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer: Option<usize>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(default)]
    times: Times,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct PortableAlias {
    quick: String,
    key: String,
    created_by: String,
}

/// A result that a build has used.
#[derive(Clone, Debug)]
pub(crate) struct UsedStep {
    pub(crate) key: String,
    pub(crate) entry: Entry,
    pub(crate) in_target: bool,
}

/// What a build has used of the cache.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsedSteps {
    pub(crate) steps: Vec<UsedStep>,
    /// Quick keys, what they stand for, and their line of history.
    pub(crate) aliases: Vec<(String, Key, String)>,
    /// Ids of the cache directories that its steps mount.
    pub(crate) mounts: Vec<String>,
}

impl UsedSteps {
    /// Adds what another build has used.
    pub(crate) fn merge(&mut self, other: &UsedSteps) {
        let places: HashMap<String, usize> =
            self.steps.iter().enumerate().map(|(place, step)| (step.key.clone(), place)).collect();
        for step in &other.steps {
            match places.get(&step.key) {
                Some(known) => self.steps[*known].in_target |= step.in_target,
                None => self.steps.push(step.clone()),
            }
        }
        let new = |alias: &&(String, Key, String)| !self.aliases.contains(alias);
        let aliases: Vec<_> = other.aliases.iter().filter(new).cloned().collect();
        self.aliases.extend(aliases);
    }

    fn of_mode(&self, mode: CacheMode) -> Vec<&UsedStep> {
        let mut steps: Vec<&UsedStep> =
            self.steps.iter().filter(|step| mode == CacheMode::Max || step.in_target).collect();
        steps.sort_by(|a, b| a.key.cmp(&b.key));
        steps
    }

    fn results(&self, steps: &[&UsedStep], layer_of: impl Fn(&UsedStep) -> Option<usize>) -> Results {
        let portable = |step: &&UsedStep| Portable {
            key: step.key.clone(),
            created: step.entry.created.clone(),
            layer: layer_of(step),
            description: step.entry.description.clone(),
            parent: step.entry.parent.clone(),
            times: step.entry.times,
        };
        let known = |key: &Key| steps.iter().any(|step| step.key == key.to_string());
        let mut aliases: Vec<PortableAlias> = self
            .aliases
            .iter()
            .filter(|(_, key, _)| known(key))
            .map(|(quick, key, created_by)| PortableAlias {
                quick: quick.clone(),
                key: key.to_string(),
                created_by: created_by.clone(),
            })
            .collect();
        aliases.sort_by(|a, b| a.quick.cmp(&b.quick));
        // A step that wrote something is of no use without its layer.
        let whole = |step: &&&UsedStep| step.entry.layer.is_none() || layer_of(step).is_some();
        let entries = steps.iter().filter(whole).map(portable).collect();
        Results { entries, aliases, mounts: Vec::new() }
    }

    /// The document that an image carries in its configuration: `place` tells which of the image's layers a step
    /// wrote. In a reproducible build nothing in it tells the time.
    pub(crate) fn inline(
        &self,
        place: impl Fn(&Entry) -> Option<usize>,
        epoch: Option<i64>,
    ) -> serde_json::Value {
        use base64::Engine as _;
        let steps = self.of_mode(CacheMode::Min);
        let mut results = self.results(&steps, |step| place(&step.entry));
        if let Some(epoch) = epoch {
            for entry in &mut results.entries {
                entry.created = crate::epoch::text(epoch);
                entry.times.began = entry.times.began.map(|_| epoch);
            }
        }
        let document = Document { dray: Some(results), ..Document::default() };
        let bytes = serde_json::to_vec(&document).unwrap_or_default();
        base64::engine::general_purpose::STANDARD.encode(bytes).into()
    }
}

/// A cache from elsewhere, whose results a build may use.
pub struct CacheImport {
    name: String,
    layers: Vec<Layer>,
    entries: HashMap<String, Portable>,
    aliases: HashMap<String, PortableAlias>,
    mounts: HashMap<String, PortableMount>,
    source: Arc<dyn BlobSource>,
}

impl std::fmt::Debug for CacheImport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheImport").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a document is no cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheDocumentError {
    /// It is no JSON of its shape.
    #[error("invalid cache configuration: {0}")]
    Json(#[from] serde_json::Error),
    /// An image whose configuration has no cache.
    #[error("the image has no inline cache")]
    NoInline,
    /// It was made by another builder.
    #[error("the cache was made by another builder, whose keys mean nothing here")]
    Foreign,
}

impl CacheImport {
    /// Reads a cache configuration. `name` is for messages.
    ///
    /// # Errors
    /// [`CacheDocumentError`].
    pub fn read(name: &str, config: &[u8], source: Arc<dyn BlobSource>) -> Result<Self, CacheDocumentError> {
        Self::of_document(name, serde_json::from_slice(config)?, source)
    }

    /// Reads the cache that an image carries.
    ///
    /// # Errors
    /// [`CacheDocumentError`].
    pub fn read_inline(
        name: &str,
        manifest: &Manifest,
        config: &[u8],
        source: Arc<dyn BlobSource>,
    ) -> Result<Self, CacheDocumentError> {
        use base64::Engine as _;
        let config: dray_spec::ImageConfig = serde_json::from_slice(config)?;
        let text = config.extra.get(INLINE_CACHE).and_then(serde_json::Value::as_str);
        let bytes = text.and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
        let mut document: Document = serde_json::from_slice(&bytes.ok_or(CacheDocumentError::NoInline)?)?;
        let layer = |(blob, diff_id): (&Descriptor, &Digest)| Layer {
            blob: blob.digest.clone(),
            parent: -1,
            annotations: Annotations {
                media_type: blob.media_type.clone(),
                diff_id: Some(diff_id.clone()),
                size: blob.size,
                created_at: String::new(),
            },
        };
        document.layers = manifest.layers.iter().zip(&config.rootfs.diff_ids).map(layer).collect();
        Self::of_document(name, document, source)
    }

    fn of_document(
        name: &str,
        document: Document,
        source: Arc<dyn BlobSource>,
    ) -> Result<Self, CacheDocumentError> {
        let results = document.dray.ok_or(CacheDocumentError::Foreign)?;
        let entries = results.entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        let aliases = results.aliases.into_iter().map(|alias| (alias.quick.clone(), alias)).collect();
        let mounts = results.mounts.into_iter().map(|mount| (mount.id.clone(), mount)).collect();
        Ok(CacheImport { name: name.to_owned(), layers: document.layers, entries, aliases, mounts, source })
    }

    /// The same with the cache mounts that are wanted of it; else it has none.
    #[must_use]
    pub fn with_mounts(mut self, wanted: &MountChoice) -> Self {
        self.mounts.retain(|id, mount| wanted.has(id) && mount.bytes <= wanted.most);
        self
    }

    /// The ids of its cache mounts.
    pub fn mounts(&self) -> impl Iterator<Item = &str> {
        self.mounts.keys().map(String::as_str)
    }

    /// Whether it has the cache mount of this id.
    pub(crate) fn has_mount(&self, id: &str) -> bool {
        self.mounts.contains_key(id)
    }

    /// Unpacks a cache mount into an empty folder, checked.
    pub(crate) fn unpack_mount(&self, id: &str, folder: &Path) -> Result<(), BuildError> {
        let Some(mount) = self.mounts.get(id) else { return Ok(()) };
        mount.unpack(folder, || self.source.open(&mount.blob))
    }

    /// Both caches as one; what the first has is taken from there. They have the same source.
    #[must_use]
    pub fn join(mut self, other: CacheImport) -> Self {
        let first = self.layers.len();
        self.layers.extend(other.layers);
        for (key, entry) in other.entries {
            let layer = entry.layer.map(|layer| layer + first);
            self.entries.entry(key).or_insert(Portable { layer, ..entry });
        }
        for (quick, alias) in other.aliases {
            self.aliases.entry(quick).or_insert(alias);
        }
        for (id, mount) in other.mounts {
            self.mounts.entry(id).or_insert(mount);
        }
        self
    }

    /// How many results it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where it comes from.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a quicker key stands for.
    pub(crate) fn alias(&self, quick: &Key) -> Option<(Key, String)> {
        let alias = self.aliases.get(&quick.to_string())?;
        let bytes = hex::decode(&alias.key).ok()?;
        Some((Key(bytes.try_into().ok()?), alias.created_by.clone()))
    }

    /// The result for a key, with its layer fetched and unpacked here; none if there is none.
    pub(crate) fn result(
        &self,
        key: &Key,
        images: &dray_image::Images,
    ) -> Result<Option<Entry>, dray_image::Error> {
        let Some(found) = self.entries.get(&key.to_string()) else { return Ok(None) };
        let layer = match found.layer {
            None => None,
            Some(place) => {
                let Some(layer) = self.layers.get(place) else { return Ok(None) };
                let Some(diff_id) = &layer.annotations.diff_id else { return Ok(None) };
                let kind = layer.annotations.media_type.clone();
                let blob = Descriptor::new(kind, layer.blob.clone(), layer.annotations.size);
                Some(images.unpack_layer(diff_id, || self.source.open(&blob))?)
            }
        };
        let entry = Entry::new(found.created.clone(), layer);
        Ok(Some(Entry { description: found.description.clone(), times: found.times, ..entry }))
    }
}

impl Cache {
    /// Records what a quicker key of elsewhere stands for.
    pub(crate) fn adopt_alias(&self, quick: &Key, key: &Key, created_by: &str) -> Result<(), BuildError> {
        let alias = Alias { key: key.to_string(), created_by: created_by.to_owned() };
        Ok(self.store.records().put_relaxed(super::ALIAS, &quick.to_string(), None, &alias)?)
    }
}

/// A cache that was made to go elsewhere.
#[derive(Clone, Debug)]
pub struct CacheExport {
    /// Its manifest, which is in the store with all that it names.
    pub root: Descriptor,
    /// How many results it has.
    pub results: usize,
    /// Cache mounts that it does not have, with the reason.
    pub left_out: Vec<String>,
}

impl Builder {
    /// Makes a document of the results that a build has used, and blobs of their layers. All of it stays as long as
    /// the build's claim; none if there is no result.
    ///
    /// # Errors
    /// If a layer cannot be packed, or the store fails.
    pub fn export_cache(
        &self,
        built: &Built,
        mode: CacheMode,
        format: &ImageFormat,
        mounts: &MountChoice,
    ) -> Result<Option<CacheExport>, BuildError> {
        let steps = built.steps.of_mode(mode);
        let mut document = Document::default();
        let mut blobs = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for step in &steps {
            let Some(layer) = step.entry.layer else { continue };
            let (blob, diff_id) = self.images.export_layer(layer, format)?;
            places.insert(&step.key, document.layers.len());
            document.layers.push(Layer {
                blob: blob.digest.clone(),
                parent: -1,
                annotations: Annotations {
                    media_type: blob.media_type.clone(),
                    diff_id: Some(diff_id),
                    size: blob.size,
                    created_at: step.entry.created.clone(),
                },
            });
            blobs.push(blob);
        }
        let place = |key: &str| places.get(key).copied();
        for step in &steps {
            let parent = step.entry.parent.as_deref();
            let layer = place(&step.key);
            // What a layer lies on, as far as it is a result too.
            if let (Some(layer), Some(below)) = (layer, parent.and_then(place)) {
                document.layers[layer].parent = i64::try_from(below).unwrap_or(-1);
            }
            let link = parent.and_then(|parent| steps.iter().position(|other| other.key == parent));
            document.records.push(Record {
                digest: format!("sha256:{}", step.key),
                layers: layer
                    .map(|layer| RecordLayer { layer, created_at: step.entry.created.clone() })
                    .into_iter()
                    .collect(),
                inputs: link.map(|link| vec![Input { link }]).into_iter().collect(),
            });
        }
        let ids = built.steps.mounts.iter().filter(|id| mounts.has(id));
        let packed = self.pack_mounts(ids.map(String::as_str), mounts.most)?;
        blobs.extend(packed.mounts.iter().map(|mount| mount.blob.clone()));
        let results = built.steps.results(&steps, |step| place(&step.key));
        document.dray = Some(Results { mounts: packed.mounts, ..results });
        if blobs.is_empty() && steps.is_empty() {
            return Ok(None);
        }
        let export = self.put_document(&document, blobs)?;
        Ok(Some(CacheExport { left_out: packed.left_out, ..export }))
    }

    /// Makes a document of cache mounts alone. All of it stays as long as a lease that the caller holds.
    ///
    /// # Errors
    /// If one cannot be packed, or the store fails.
    pub fn export_mounts<'a>(
        &self,
        ids: impl Iterator<Item = &'a str>,
        most: u64,
    ) -> Result<CacheExport, BuildError> {
        let packed = self.pack_mounts(ids, most)?;
        let blobs = packed.mounts.iter().map(|mount| mount.blob.clone()).collect();
        let results = Results { mounts: packed.mounts, ..Results::default() };
        let export = self.put_document(&Document { dray: Some(results), ..Document::default() }, blobs)?;
        Ok(CacheExport { left_out: packed.left_out, ..export })
    }

    fn put_document(
        &self,
        document: &Document,
        mut blobs: Vec<Descriptor>,
    ) -> Result<CacheExport, BuildError> {
        let store = self.images.store().blobs();
        let bytes = serde_json::to_vec(document).map_err(BuildError::CacheDocument)?;
        let config = Descriptor::new(CACHE_CONFIG, store.put_relaxed(&bytes)?, bytes.len() as u64);
        let mut seen = std::collections::HashSet::new();
        blobs.retain(|blob| seen.insert(blob.digest.clone()));
        let manifest =
            serde_json::to_vec(&Manifest::oci(config, blobs)).map_err(BuildError::CacheDocument)?;
        let digest = store.put_relaxed(&manifest)?;
        let root = Descriptor::new(media_type::OCI_MANIFEST, digest, manifest.len() as u64);
        Ok(CacheExport { root, results: document.records.len(), left_out: Vec::new() })
    }
}
