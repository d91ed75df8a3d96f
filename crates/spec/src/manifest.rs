//! Manifests of one image, and indexes of many (OCI image-spec, manifest.md and image-index.md; Docker
//! image manifest V2, schema 2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::de::null_default;
use crate::{Descriptor, Platform, media_type};

/// The manifest of one image: its configuration and its layers, bottom first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Docker's manifests have it always, OCI's sometimes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The type of an artifact that is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, bottom first.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free notes.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An index (Docker: manifest list): the same image for several platforms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Docker's lists have it always, OCI's sometimes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The type of an artifact that is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests, or further indexes.
    #[serde(default, deserialize_with = "null_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest this index is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free notes.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a registry or an archive may hold under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, short-lived: a box would only be in the way")]
pub enum ManifestOrIndex {
    /// One image.
    Manifest(Manifest),
    /// Many.
    Index(Index),
}

/// Why bytes are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or a field is missing or wrong.
    #[error("invalid manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// Layers and manifests in one document: two readers would see two images.
    #[error("invalid manifest: both \"manifests\" and \"config\" or \"layers\" are present")]
    Ambiguous,
    /// Docker's schema 1 has no configuration and is no longer supported by Docker either.
    #[error("unsupported manifest: Docker image manifest version 2, schema 1 is no longer supported")]
    Schema1,
    /// A schema version other than 2.
    #[error("unsupported manifest: schemaVersion {0}")]
    SchemaVersion(u32),
    /// The document calls itself something that is neither manifest nor index.
    #[error("unsupported manifest media type {0:?}")]
    MediaType(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe<'a> {
    #[serde(default)]
    schema_version: Option<u32>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(borrow, default)]
    config: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    layers: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    manifests: Option<&'a serde_json::value::RawValue>,
}

impl ManifestOrIndex {
    /// Reads a manifest or an index. `hint` is the media type it came with (a `Content-Type`, a descriptor);
    /// it decides only where the document itself is silent.
    ///
    /// # Errors
    /// If the bytes are neither, or could be read as both.
    pub fn parse(hint: Option<&str>, bytes: &[u8]) -> Result<Self, ManifestError> {
        let probe: Probe<'_> = serde_json::from_slice(bytes)?;
        match probe.schema_version {
            Some(2) => {}
            Some(1) => return Err(ManifestError::Schema1),
            other => return Err(ManifestError::SchemaVersion(other.unwrap_or(0))),
        }
        if probe.manifests.is_some() && (probe.config.is_some() || probe.layers.is_some()) {
            return Err(ManifestError::Ambiguous);
        }
        let hint = hint.map(|hint| hint.split(';').next().unwrap_or(hint).trim());
        let is_index = match probe.media_type.as_deref() {
            Some(own) if media_type::is_index(own) => true,
            Some(own) if media_type::is_manifest(own) => false,
            Some(own) if !own.is_empty() => return Err(ManifestError::MediaType(own.into())),
            _ => match hint {
                Some(hint) if media_type::is_index(hint) => true,
                Some(hint) if media_type::is_manifest(hint) => false,
                _ => probe.manifests.is_some(),
            },
        };
        if is_index && (probe.config.is_some() || probe.layers.is_some()) {
            return Err(ManifestError::Ambiguous);
        }
        Ok(match is_index {
            true => Self::Index(serde_json::from_slice(bytes)?),
            false => Self::Manifest(serde_json::from_slice(bytes)?),
        })
    }
}

impl Manifest {
    /// An OCI manifest of these parts.
    #[must_use]
    pub fn oci(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.into()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// A Docker schema 2 manifest of these parts.
    #[must_use]
    pub fn docker(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { media_type: Some(media_type::DOCKER_MANIFEST.into()), ..Self::oci(config, layers) }
    }

    /// True if this is an image that can be run (an artifact of another kind has another configuration).
    #[must_use]
    pub fn is_image(&self) -> bool {
        media_type::is_image_config(&self.config.media_type)
            && self.layers.iter().all(|layer| media_type::is_layer(&layer.media_type))
    }
}

impl Index {
    /// An OCI index of these manifests.
    #[must_use]
    pub fn oci(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.into()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The manifest that suits `wanted` best: its own variant first, else a lower one that runs on it; the
    /// first listed wins among equals. Statements about images are never chosen.
    #[must_use]
    pub fn select(&self, wanted: &Platform) -> Option<&Descriptor> {
        let mut best: Option<(u32, &Descriptor)> = None;
        for descriptor in self.manifests.iter().filter(|descriptor| !descriptor.is_attestation()) {
            let Some(platform) = &descriptor.platform else { continue };
            let Some(distance) = wanted.distance(platform) else { continue };
            if best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, descriptor));
            }
        }
        best.map(|(_, descriptor)| descriptor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn descriptor(kind: &str, seed: &str) -> Descriptor {
        Descriptor::new(kind, Digest::sha256_of(seed.as_bytes()), 7)
    }

    fn for_platform(seed: &str, platform: &str) -> Descriptor {
        Descriptor { platform: Some(platform.parse().unwrap()), ..descriptor(media_type::OCI_MANIFEST, seed) }
    }

    #[test]
    fn manifest_round_trips() {
        let manifest = Manifest::docker(
            descriptor(media_type::DOCKER_CONFIG, "c"),
            vec![descriptor(media_type::DOCKER_LAYER_GZIP, "l")],
        );
        let bytes = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(ManifestOrIndex::parse(None, &bytes).unwrap(), ManifestOrIndex::Manifest(manifest));
    }

    #[test]
    fn go_null_lists_are_empty() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{}","size":2}},"layers":null}}"#,
            media_type::OCI_CONFIG,
            Digest::sha256_of(b"")
        );
        match ManifestOrIndex::parse(Some(media_type::OCI_MANIFEST), text.as_bytes()).unwrap() {
            ManifestOrIndex::Manifest(manifest) => assert!(manifest.layers.is_empty()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_document_that_could_be_both_is_refused() {
        let index = Index::oci(vec![descriptor(media_type::OCI_MANIFEST, "m")]);
        let mut value = serde_json::to_value(&index).unwrap();
        value["layers"] = serde_json::json!([]);
        let error = ManifestOrIndex::parse(None, value.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, ManifestError::Ambiguous), "{error}");
    }

    #[test]
    fn nonsense_gets_its_own_error() {
        let cases: [(&str, &str); 5] = [
            ("<html>", "invalid manifest: expected value"),
            ("{}", "unsupported manifest: schemaVersion 0"),
            (r#"{"schemaVersion":1}"#, "schema 1 is no longer supported"),
            (
                r#"{"schemaVersion":2,"mediaType":"text/plain"}"#,
                "unsupported manifest media type \"text/plain\"",
            ),
            (r#"{"schemaVersion":2}"#, "missing field `config`"),
        ];
        for (text, expected) in cases {
            let error = ManifestOrIndex::parse(None, text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn selects_the_variant_wanted_or_the_next_lower() {
        let mut attestation = for_platform("a", "linux/amd64");
        attestation.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
        let index = Index::oci(vec![
            attestation,
            for_platform("amd64", "linux/amd64"),
            for_platform("v6", "linux/arm/v6"),
            for_platform("v7", "linux/arm/v7"),
            for_platform("arm64", "linux/arm64/v8"),
            for_platform("win", "windows/amd64"),
        ]);
        let chosen =
            |wanted: &str| index.select(&wanted.parse().unwrap()).map(|descriptor| descriptor.digest.clone());
        for (wanted, seed) in [
            ("linux/amd64", "amd64"),
            ("linux/arm64", "arm64"),
            ("linux/arm/v7", "v7"),
            ("linux/arm/v6", "v6"),
            ("windows/amd64", "win"),
        ] {
            assert_eq!(chosen(wanted), Some(Digest::sha256_of(seed.as_bytes())), "{wanted}");
        }
        assert_eq!(chosen("linux/arm/v5"), None);
        assert_eq!(chosen("linux/s390x"), None);
    }
}
