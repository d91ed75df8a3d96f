//! Attestations: what is said of an image, kept beside it as BuildKit does (docs/attestations/attestation-storage.md
//! there).
//!
//! ```text
//! index ─┬─ manifest of the image
//!        └─ manifest of the attestations, platform unknown/unknown, annotated with the image's manifest
//!             └─ layers: a statement each (in-toto), of the kind that its annotation names
//! ```

use std::collections::BTreeMap;

use dray_spec::{Descriptor, Digest, Index, Manifest, Platform, Reference, media_type};
use dray_store::Store;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Exported, ImageFormat};
use crate::{Error, Image, Images, Result};

/// The media type of a statement.
pub const STATEMENT: &str = "application/vnd.in-toto+json";
/// What a statement calls itself.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of the manifest, as an artifact.
const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// The annotation of a statement with its kind.
pub const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// The annotations of the manifest's entry.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const REFERENCE: &str = "attestation-manifest";

/// `image-attestations/<image> → [predicate]`: what was promised.
const PROMISED: &str = "image-attestations";

/// What is said of an image or of files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predicate {
    /// Its kind: an address.
    pub kind: String,
    /// What it says.
    pub content: Value,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// Its name.
    pub name: String,
    digest: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    #[serde(rename = "predicateType")]
    predicate_kind: &'a str,
    subject: &'a [Subject],
    predicate: &'a Value,
}

impl Subject {
    /// Something with a digest.
    #[must_use]
    pub fn new(name: impl Into<String>, digest: &Digest) -> Self {
        let digest = [(digest.algorithm().to_string(), digest.hex().to_owned())].into();
        Subject { name: name.into(), digest }
    }
}

impl Predicate {
    /// The statement that it is true of these.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn statement(&self, subject: &[Subject]) -> Result<Vec<u8>> {
        let (predicate_kind, predicate) = (self.kind.as_str(), &self.content);
        let statement = Statement { kind: STATEMENT_TYPE, predicate_kind, subject, predicate };
        serde_json::to_vec(&statement).map_err(|error| Error::Archive(error.to_string()))
    }
}

impl Images {
    /// Makes the manifest of what is said of an exported image: its entry in the index, and all blobs. As an artifact it
    /// names the image's manifest as its subject; otherwise it looks like an image, for registries that know nothing
    /// else. The caller holds a lease.
    ///
    /// # Errors
    /// If the store fails.
    pub fn export_attestations(
        &self,
        target: &Descriptor,
        names: &[String],
        predicates: &[Predicate],
        artifact: bool,
    ) -> Result<Exported> {
        let mut blobs = Vec::new();
        let put = |kind: &str, bytes: Vec<u8>| {
            let document = self.put_document(kind, &bytes)?;
            blobs.push(document.digest.clone());
            Ok(document)
        };
        let (manifest, layers) = attestations(target, names, predicates, artifact, put)?;
        Ok(Exported { manifest, blobs, layers })
    }

    /// Remembers what is to be said of an image as soon as it has a manifest, which takes packing its layers: when it is
    /// pushed. In place of what was to be said before.
    ///
    /// # Errors
    /// If the store fails.
    pub fn promise_attestations(&self, image: &Digest, predicates: &[Predicate]) -> Result<()> {
        let records = self.store().records();
        if !predicates.is_empty() {
            records.put_relaxed(PROMISED, image.as_str(), None, &predicates)?;
        } else if records.get::<Value>(PROMISED, image.as_str())?.is_some() {
            records.delete(PROMISED, image.as_str())?;
        }
        Ok(())
    }

    /// Gives an image the index with its manifest and what was promised to be said of it, under its names; nothing if
    /// nothing was.
    ///
    /// # Errors
    /// If a layer cannot be packed, or the store fails.
    pub fn keep_promised(&self, image: &Image) -> Result<()> {
        let promised: Option<Vec<Predicate>> = self.store().records().get(PROMISED, image.id.as_str())?;
        let Some(predicates) = promised else { return Ok(()) };
        let _lease = self.lease();
        let format = ImageFormat { oci: true, ..ImageFormat::default() };
        let mut exported = self.export(image, image.layers.len(), &format)?;
        let platform = image.config.platform();
        let names: Vec<String> = image.tags.iter().map(|name| image_purl(name, &platform)).collect();
        let said = self.export_attestations(&exported.manifest, &names, &predicates, true)?;
        exported.blobs.extend(said.blobs);
        let manifests = vec![exported.manifest.clone(), said.manifest];
        let index = self.export_index(manifests, BTreeMap::new(), true)?;
        self.keep_export(&image.id, &exported, Some(&index))?;
        self.promise_attestations(&image.id, &[])
    }

    fn put_document(&self, kind: &str, bytes: &[u8]) -> Result<Descriptor> {
        let digest = self.store().blobs().put_relaxed(bytes)?;
        Ok(Descriptor::new(kind, digest, bytes.len() as u64))
    }
}

/// Makes the documents of what is said of a manifest, each given to `put`; gives the entry in the index, and the
/// statements.
fn attestations(
    target: &Descriptor,
    names: &[String],
    predicates: &[Predicate],
    artifact: bool,
    mut put: impl FnMut(&str, Vec<u8>) -> Result<Descriptor>,
) -> Result<(Descriptor, Vec<Descriptor>)> {
    let subjects: Vec<Subject> =
        names.iter().map(|name| Subject::new(name.clone(), &target.digest)).collect();
    let mut layers = Vec::new();
    for predicate in predicates {
        let mut layer = put(STATEMENT, predicate.statement(&subjects)?)?;
        layer.annotations.insert(PREDICATE_TYPE.to_owned(), predicate.kind.clone());
        layers.push(layer);
    }
    let config = match artifact {
        true => Descriptor { data: Some("e30=".to_owned()), ..put(media_type::OCI_EMPTY, b"{}".to_vec())? },
        false => put(media_type::OCI_CONFIG, seeming_config(&layers))?,
    };
    let bare = Descriptor::new(target.media_type.clone(), target.digest.clone(), target.size);
    let manifest = Manifest {
        artifact_type: artifact.then(|| ARTIFACT.to_owned()),
        subject: artifact.then_some(bare),
        ..Manifest::oci(config, layers.clone())
    };
    let bytes = serde_json::to_vec(&manifest).map_err(|error| Error::Archive(error.to_string()))?;
    let mut entry = put(media_type::OCI_MANIFEST, bytes)?;
    entry.platform = Some(unknown());
    entry.annotations = [
        (REFERENCE_DIGEST.to_owned(), target.digest.to_string()),
        (REFERENCE_TYPE.to_owned(), REFERENCE.to_owned()),
    ]
    .into();
    Ok((entry, layers))
}

/// The index of an image with what was promised to be said of it, about a manifest that was just made and is nowhere
/// kept: an archive's. Documents go to `put`. None if nothing was promised.
pub(crate) fn promised_index(
    store: &Store,
    image: &Image,
    manifest: &Descriptor,
    names: &[Reference],
    mut put: impl FnMut(&str, Vec<u8>) -> Result<Descriptor>,
) -> Result<Option<Descriptor>> {
    let promised: Option<Vec<Predicate>> = store.records().get(PROMISED, image.id.as_str())?;
    let Some(predicates) = promised.filter(|predicates| !predicates.is_empty()) else { return Ok(None) };
    let platform = image.config.platform();
    let names: Vec<String> = names.iter().map(|name| image_purl(name, &platform)).collect();
    let (said, _) = attestations(manifest, &names, &predicates, true, &mut put)?;
    let of_image = Descriptor { platform: Some(platform), ..manifest.clone() };
    let index = Index::oci(vec![of_image, said]);
    let bytes = serde_json::to_vec(&index).map_err(|error| Error::Archive(error.to_string()))?;
    put(media_type::OCI_INDEX, bytes).map(Some)
}

/// The configuration of what only looks like an image.
fn seeming_config(layers: &[Descriptor]) -> Vec<u8> {
    let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
    let config = serde_json::json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    config.to_string().into_bytes()
}

fn unknown() -> Platform {
    let unknown = || "unknown".to_owned();
    Platform {
        architecture: unknown(),
        os: unknown(),
        os_version: None,
        os_features: Vec::new(),
        variant: None,
    }
}

/// What stands as it is in a package URL.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An image as a package URL, as BuildKit writes it (util/purl there): `pkg:docker/name@tag?platform=linux%2Famd64`.
#[must_use]
pub fn image_purl(name: &Reference, platform: &Platform) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
    let path: Vec<String> = name.familiar_name().split('/').map(encoded).collect();
    let mut qualifiers = Vec::new();
    let version = match name.digest() {
        Some(digest) => {
            qualifiers.push(format!("digest={}", encoded(digest.as_str())));
            name.tag().map(encoded)
        }
        None => Some(encoded(name.tag().unwrap_or("latest"))),
    };
    let version = version.map(|version| format!("@{version}")).unwrap_or_default();
    qualifiers.push(format!("platform={}", encoded(&platform.to_string())));
    format!("pkg:docker/{}{version}?{}", path.join("/"), qualifiers.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::tests::Fixture;

    #[test]
    fn images_are_named_as_buildkit_names_them() {
        let purl = |name: &str| image_purl(&name.parse().unwrap(), &Platform::new("linux", "amd64", None));
        assert_eq!(purl("alpine"), "pkg:docker/alpine@latest?platform=linux%2Famd64");
        assert_eq!(purl("localhost:5000/a/b:1"), "pkg:docker/localhost%3A5000/a/b@1?platform=linux%2Famd64");
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = format!("pkg:docker/alpine?digest=sha256%3A{}&platform=linux%2Famd64", "a".repeat(64));
        assert_eq!(purl(&format!("alpine@{digest}")), pinned);
    }

    #[test]
    fn a_promise_is_kept_once() {
        let fixture = Fixture::new();
        let images = &fixture.images;
        let image = crate::export::tests::image(&fixture, &["a"]);
        images.tag(&image, &"app".parse().unwrap()).unwrap();
        let image = images.get(&image.id).unwrap().unwrap();
        images.keep_promised(&image).unwrap();
        assert_eq!(images.get(&image.id).unwrap().unwrap().manifest, None);
        let content = serde_json::json!({ "a": 1 });
        let predicate = Predicate { kind: "https://slsa.dev/provenance/v1".into(), content };
        images.promise_attestations(&image.id, &[predicate]).unwrap();
        images.keep_promised(&image).unwrap();
        let kept = images.get(&image.id).unwrap().unwrap();
        let [index] = &crate::origin::indexes_of(images.store(), &image.id)[..] else { panic!("one index") };
        let index: dray_spec::Index =
            serde_json::from_slice(&images.store().blobs().read(index).unwrap()).unwrap();
        assert_eq!(Some(&index.manifests[0].digest), kept.manifest.as_ref());
        assert!(index.manifests[1].is_attestation());
        assert_eq!(index.manifests[1].annotations[REFERENCE_DIGEST], index.manifests[0].digest.as_str());
        let manifest = images.store().blobs().read(&index.manifests[1].digest).unwrap();
        let manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(manifest.subject.unwrap().digest, index.manifests[0].digest);
        let layer = &manifest.layers[0];
        assert_eq!(layer.annotations[PREDICATE_TYPE], "https://slsa.dev/provenance/v1");
        let said: Value =
            serde_json::from_slice(&images.store().blobs().read(&layer.digest).unwrap()).unwrap();
        assert_eq!(said["predicate"]["a"], 1);
        assert_eq!(said["subject"][0]["digest"]["sha256"], index.manifests[0].digest.hex());
        assert!(said["subject"][0]["name"].as_str().unwrap().starts_with("pkg:docker/app@latest?"));
        images.keep_promised(&image).unwrap();
        assert_eq!(crate::origin::indexes_of(images.store(), &image.id).len(), 1);
    }
}
