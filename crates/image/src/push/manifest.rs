//! The manifest that is pushed: the one the image came with if its blobs are the same, else a new one in
//! the same family (Docker schema 2, or OCI where the image or a layer is OCI's).

use std::collections::BTreeMap;

use bytes::Bytes;
use dray_spec::{Descriptor, Digest, Manifest, ManifestOrIndex, media_type};
use serde::Serialize;

use crate::export::Packing;
use crate::whole::Document;

/// The manifest an image came with.
#[derive(Debug, Clone)]
pub(crate) struct Original {
    document: Document,
    manifest: Manifest,
}

impl Original {
    /// Reads it; `None` for what isn't an image's manifest.
    pub(crate) fn parse(digest: &Digest, bytes: Vec<u8>) -> Option<Self> {
        let Ok(ManifestOrIndex::Manifest(manifest)) = ManifestOrIndex::parse(None, &bytes) else {
            return None;
        };
        let media_type = manifest.media_type.clone().unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned());
        let document = Document { media_type, bytes: bytes.into(), digest: digest.clone() };
        Some(Original { document, manifest })
    }

    /// The blob of the layer at `position`, if the manifest has `count` layers at all.
    pub(crate) fn layer(&self, position: usize, count: usize) -> Option<Descriptor> {
        let layers = &self.manifest.layers;
        layers.get(position).filter(|_| layers.len() == count).cloned()
    }

    fn is_oci(&self) -> bool {
        self.document.media_type == media_type::OCI_MANIFEST
    }

    fn fits(&self, config: &Digest, layers: &[Descriptor]) -> bool {
        let ours = self.manifest.layers.iter().map(|layer| &layer.digest);
        self.manifest.config.digest == *config && ours.eq(layers.iter().map(|layer| &layer.digest))
    }
}

/// The document for an image with this configuration (digest and size) and these blobs.
///
/// # Errors
/// If it can't be written as JSON.
pub(crate) fn document(
    original: Option<&Original>,
    config: (&Digest, u64),
    layers: &[Descriptor],
) -> Result<Document, serde_json::Error> {
    if let Some(original) = original.filter(|original| original.fits(config.0, layers)) {
        return Ok(original.document.clone());
    }
    let oci = needs_oci(layers) || original.is_some_and(Original::is_oci);
    written(oci, config, layers, BTreeMap::new())
}

/// Whether a layer is packed in a way that only OCI has a type for.
pub(crate) fn needs_oci(layers: &[Descriptor]) -> bool {
    layers.iter().any(|layer| Packing::of(&layer.media_type) == Packing::Zstd)
}

/// A new manifest of these parts, layers named in its own family of types.
///
/// # Errors
/// If it can't be written as JSON.
pub(crate) fn written(
    oci: bool,
    config: (&Digest, u64),
    layers: &[Descriptor],
    annotations: BTreeMap<String, String>,
) -> Result<Document, serde_json::Error> {
    let (config_type, manifest_type) = match oci {
        true => (media_type::OCI_CONFIG, media_type::OCI_MANIFEST),
        false => (media_type::DOCKER_CONFIG, media_type::DOCKER_MANIFEST),
    };
    let config = Descriptor::new(config_type, config.0.clone(), config.1);
    let layers = layers
        .iter()
        .map(|l| Descriptor::new(Packing::of(&l.media_type).layer_type(oci), l.digest.clone(), l.size))
        .collect();
    let manifest = if oci { Manifest::oci(config, layers) } else { Manifest::docker(config, layers) };
    let bytes = indented(&Manifest { annotations, ..manifest })?;
    Ok(Document { media_type: manifest_type.to_owned(), digest: Digest::sha256_of(&bytes), bytes })
}

/// Docker writes manifests indented by three spaces, and people compare digests.
fn indented(manifest: &Manifest) -> Result<Bytes, serde_json::Error> {
    let mut bytes = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    manifest.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, format))?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(kind: &str, seed: &str) -> Descriptor {
        Descriptor::new(kind, Digest::sha256_of(seed.as_bytes()), 7)
    }

    fn config() -> (Digest, u64) {
        (Digest::sha256_of(b"config"), 6)
    }

    #[test]
    fn what_came_goes_out_byte_for_byte() {
        let (digest, size) = config();
        let layers = [layer(media_type::OCI_LAYER_GZIP, "a")];
        let config = Descriptor::new(media_type::OCI_CONFIG, digest.clone(), size);
        let mut bytes = serde_json::to_vec(&Manifest::oci(config, layers.to_vec())).unwrap();
        bytes.extend(b"\n\n");
        let own = Digest::sha256_of(&bytes);
        let original = Original::parse(&own, bytes.clone()).unwrap();
        let same = document(Some(&original), (&digest, size), &layers).unwrap();
        assert_eq!((same.bytes.as_ref(), &same.digest), (bytes.as_slice(), &own));
        let other = [layer(media_type::DOCKER_LAYER_GZIP, "b")];
        let new = document(Some(&original), (&digest, size), &other).unwrap();
        assert_eq!(new.media_type, media_type::OCI_MANIFEST);
        assert!(String::from_utf8_lossy(&new.bytes).contains(media_type::OCI_LAYER_GZIP));
    }

    #[test]
    fn docker_schema_2_by_default_and_oci_for_zstd() {
        let (digest, size) = config();
        let gzip = layer(media_type::OCI_LAYER_GZIP, "a");
        let docker = document(None, (&digest, size), std::slice::from_ref(&gzip)).unwrap();
        assert_eq!(docker.media_type, media_type::DOCKER_MANIFEST);
        let text = String::from_utf8_lossy(&docker.bytes).into_owned();
        assert!(text.starts_with("{\n   \"schemaVersion\": 2,\n   \"mediaType\""), "{text}");
        assert!(text.contains(media_type::DOCKER_LAYER_GZIP));
        let both = [gzip, layer(media_type::OCI_LAYER_ZSTD, "b")];
        let zstd = document(None, (&digest, size), &both).unwrap();
        assert_eq!(zstd.media_type, media_type::OCI_MANIFEST);
    }
}
