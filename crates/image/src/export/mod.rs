//! Export: an image gets a manifest of its own making, in the packing and with the notes that whoever reads it wants.
//!
//! ```text
//! image ─ layer.rs: each layer as a blob (kept, or packed anew) ─► manifest ─┬─► push, of the recorded image
//!                                            several manifests ─► index ─────┴─► layout.rs: OCI layout, Docker archive
//! rootfs.rs: the files as a container sees them ─► tar, folder of a client
//! ```
//! All that is made lies in the store as blobs. A lease keeps it until an image's record names it
//! ([`Images::keep_export`]).

mod attestation;
mod layer;
mod layout;
mod packing;
mod rootfs;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read;

use dray_spec::{Descriptor, Digest, Index, Platform, media_type};
use dray_store::LayerId;

use crate::layer::DiffId;
use crate::push::manifest;
use crate::{Error, Image, Images, Result, exact, origin};

pub use crate::layer::ExtraFile;
pub(crate) use attestation::promised_index;
pub use attestation::{PREDICATE_TYPE, Predicate, STATEMENT, Subject, image_purl};
pub use layout::Layout;
pub use packing::{Packing, PackingError};
pub use rootfs::{Rootfs, RootfsEntry};

/// How an image is written out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFormat {
    /// How layers are packed; without it layers stay as they came, and new ones are gzipped.
    pub packing: Option<Packing>,
    /// The packing's level; its usual one if none.
    pub level: Option<i32>,
    /// Pack anew also what came in another packing.
    pub force: bool,
    /// OCI's media types rather than Docker's. zstd and annotations have only OCI's.
    pub oci: bool,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Annotations of the manifest's entry in an index.
    pub entry_annotations: BTreeMap<String, String>,
}

impl ImageFormat {
    /// Whether nothing is asked for that a push would not do by itself.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == ImageFormat::default()
    }

    fn needs_oci(&self) -> bool {
        self.oci || self.packing == Some(Packing::Zstd) || !self.annotations.is_empty()
    }
}

/// An image that was written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Its manifest, with its platform.
    pub manifest: Descriptor,
    /// All blobs that the manifest names, and itself.
    pub blobs: Vec<Digest>,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
}

impl Images {
    /// Makes a manifest of an image. The lowest `kept` layers came from elsewhere: they stay as they came unless
    /// the format forces them. The caller holds a lease.
    ///
    /// # Errors
    /// If a layer cannot be packed, or the store fails.
    pub fn export(&self, image: &Image, kept: usize, format: &ImageFormat) -> Result<Exported> {
        let diff_ids = &image.config.rootfs.diff_ids;
        let mut layers = Vec::new();
        for (position, (diff_id, id)) in diff_ids.iter().zip(&image.layers).enumerate() {
            layers.push(layer::blob(self.store(), *id, diff_id, position < kept, format)?);
        }
        let config = self.store().blobs().put_relaxed(&image.config_bytes)?;
        let size = image.config_bytes.len() as u64;
        let oci = format.needs_oci() || manifest::needs_oci(&layers);
        let document = manifest::written(oci, (&config, size), &layers, format.annotations.clone())
            .map_err(|source| Error::Config { id: image.id.clone(), source })?;
        let digest = self.store().blobs().put_relaxed(&document.bytes)?;
        let mut blobs: Vec<Digest> = layers.iter().map(|layer| layer.digest.clone()).collect();
        blobs.extend([config, digest.clone()]);
        Ok(Exported {
            manifest: Descriptor {
                platform: Some(image.config.platform()),
                annotations: format.entry_annotations.clone(),
                ..Descriptor::new(document.media_type, digest, document.bytes.len() as u64)
            },
            blobs,
            layers,
        })
    }

    /// A layer as a blob of its own, with its diff ID; also one that no image has. The caller holds a lease.
    ///
    /// # Errors
    /// If the layer cannot be packed, or the store fails.
    pub fn export_layer(&self, id: LayerId, format: &ImageFormat) -> Result<(Descriptor, Digest)> {
        let layers = self.store().layers();
        let diff_id = match layers.get(id)?.diff_id {
            Some(known) => known,
            None => DiffId::of(layers.view(id)?.path()).map_err(Error::layer(format!("{id:?}")))?.diff_id,
        };
        let mut blob = layer::blob(self.store(), id, &diff_id, false, format)?;
        blob.media_type = Packing::of(&blob.media_type).layer_type(true).to_owned();
        Ok((blob, diff_id))
    }

    /// The layer of this diff ID: the one that is here, or unpacked from what `open` gives. The caller holds a lease.
    ///
    /// # Errors
    /// If it cannot be opened or unpacked, or has another diff ID; nothing of it stays then.
    pub fn unpack_layer(
        &self,
        diff_id: &Digest,
        open: impl FnOnce() -> std::io::Result<Box<dyn Read + Send>>,
    ) -> Result<LayerId> {
        if let Some(known) = self.store().layers().find(diff_id)? {
            return Ok(known);
        }
        let reader = open().map_err(Error::stream("read blob"))?;
        let check = |actual: &Digest| match actual == diff_id {
            true => Ok(()),
            false => Err(Error::DiffId { index: 0, expected: diff_id.clone(), actual: actual.clone() }),
        };
        let layer = exact::unpack(self.store(), reader, Vec::new(), diff_id.as_str(), true, check)?;
        // Its tar could not be made again, and what it came in is not kept.
        if layer.reproducible { Ok(layer.id) } else { Err(Error::LayerLost(diff_id.clone())) }
    }

    /// Makes an index of manifests, of OCI's type or Docker's.
    ///
    /// # Errors
    /// If the store fails.
    pub fn export_index(
        &self,
        manifests: Vec<Descriptor>,
        annotations: BTreeMap<String, String>,
        oci: bool,
    ) -> Result<Descriptor> {
        let kind = if oci { media_type::OCI_INDEX } else { media_type::DOCKER_MANIFEST_LIST };
        let index = Index { annotations, media_type: Some(kind.to_owned()), ..Index::oci(manifests) };
        let bytes = serde_json::to_vec(&index).map_err(|error| Error::Archive(error.to_string()))?;
        let digest = self.store().blobs().put_relaxed(&bytes)?;
        Ok(Descriptor::new(kind, digest, bytes.len() as u64))
    }

    /// Whether an index is known that an image is part of.
    #[must_use]
    pub fn has_index(&self, image: &Digest) -> bool {
        !origin::indexes_of(self.store(), image).is_empty()
    }

    /// From now on the image is pushed and saved by this manifest, or by the index that names it, and what they
    /// name is kept as long as the image.
    ///
    /// # Errors
    /// If there is no such image, or the store fails.
    pub fn keep_export(&self, image: &Digest, exported: &Exported, index: Option<&Descriptor>) -> Result<()> {
        let Some(mut record) = self.store().images().get(image)? else {
            return Err(Error::NotFound(image.to_string()));
        };
        record.manifest = Some(exported.manifest.digest.clone());
        record.blobs.clone_from(&exported.blobs);
        record.blobs.extend(index.map(|index| index.digest.clone()));
        if !self.store().images().amend(&record, &[])? {
            return Err(Error::NotFound(image.to_string()));
        }
        if let Some(index) = index {
            origin::remember_index(self.store(), image, &index.digest);
        }
        Ok(())
    }
}

/// Whether an image of this platform is meant by an annotation that names one.
#[must_use]
pub fn platform_matches(named: &str, platform: &Platform) -> bool {
    named.parse::<Platform>().is_ok_and(|named| named.accepts(platform))
}
