//! Descriptors: what one document says of another (OCI image-spec, descriptor.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::de::null_default;
use crate::{Digest, Platform};

/// A pointer to content: its type, name and length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is ([`crate::media_type`]).
    #[serde(default)]
    pub media_type: String,
    /// The content's name; verified whenever the content is read from outside.
    pub digest: Digest,
    /// The content's length in bytes; verified too.
    pub size: u64,
    /// Other places the content may be fetched from.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free notes.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What the image runs on; only in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The content itself in base64, where it is small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The type of an artifact that is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor without the optional parts.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            data: None,
            artifact_type: None,
        }
    }

    /// The descriptor of these bytes.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256_of(bytes), bytes.len() as u64)
    }

    /// True for the statements about an image (provenance, SBOM) that BuildKit puts beside it in an index.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest")
    }

    /// True for the statements about the manifest with this digest.
    #[must_use]
    pub fn attests(&self, manifest: &Digest) -> bool {
        let about = self.annotations.get("vnd.docker.reference.digest");
        self.is_attestation() && about.is_some_and(|about| about == manifest.as_str())
    }
}
