//! A project goes into a registry; and what says which images belong to it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dray_registry::Repository;
use dray_spec::{Descriptor, Digest, Index, Manifest, media_type};

use super::{
    EMPTY, ENV_FILE, ENV_FILE_NAME, EXTENDS, Error, FILE, FILE_NAME, Kind, OLD_CONFIG, PROJECT, Part,
};
use crate::plan::label;

const CREATED: &str = "org.opencontainers.image.created";
/// No registry has to take a larger manifest (OCI distribution-spec).
const MAX_MANIFEST: usize = 4 << 20;

/// The form of OCI's specification that an artifact has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The type is the config's.
    V1_0,
    /// The manifest has a type.
    V1_1,
}

/// Pushes a project under a tag; the manifest's descriptor. Without a version it is the newer one, and the older where
/// the registry does not take that.
///
/// # Errors
/// The registry refuses.
pub async fn publish(
    to: &Repository,
    tag: &str,
    parts: &[Part],
    version: Option<Version>,
    created: &str,
) -> Result<Descriptor, Error> {
    let config = Bytes::from_static(b"{}");
    to.upload_bytes(&Descriptor::of(EMPTY, &config), config).await?;
    for part in parts {
        to.upload_bytes(&layer(part), Bytes::copy_from_slice(&part.content)).await?;
    }
    match put(to, tag, parts, version.unwrap_or(Version::V1_1), created).await {
        Err(Error::Registry(error)) if version.is_none() && does_not_take(&error) => {
            put(to, tag, parts, Version::V1_0, created).await
        }
        other => other,
    }
}

/// Whether a registry has understood the request and does not want what is in it.
fn does_not_take(error: &dray_registry::Error) -> bool {
    use dray_registry::Error as E;
    let (E::Api { status, .. } | E::UnexpectedStatus { status, .. }) = error else { return false };
    status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 407)
}

async fn put(
    to: &Repository,
    tag: &str,
    parts: &[Part],
    version: Version,
    created: &str,
) -> Result<Descriptor, Error> {
    let failed = |source| Error::Manifest { name: to.name(), source };
    let mut manifest = manifest(parts, version, created);
    let mut text = serde_json::to_vec(&manifest).map_err(failed)?;
    if text.len() > MAX_MANIFEST {
        // The layers have it, too.
        manifest.layers.iter_mut().for_each(|layer| layer.data = None);
        text = serde_json::to_vec(&manifest).map_err(failed)?;
    }
    let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, &text);
    descriptor.annotations = of_compose();
    descriptor.artifact_type = manifest.artifact_type;
    to.put_manifest(tag, media_type::OCI_MANIFEST, text.into()).await?;
    Ok(descriptor)
}

fn manifest(parts: &[Part], version: Version, created: &str) -> Manifest {
    let (config, artifact_type) = match version {
        Version::V1_0 => (OLD_CONFIG, None),
        Version::V1_1 => (EMPTY, Some(PROJECT.to_owned())),
    };
    let mut manifest =
        Manifest::oci(with_data(Descriptor::of(config, b"{}"), b"{}"), parts.iter().map(layer).collect());
    manifest.artifact_type = artifact_type;
    manifest.annotations.insert(CREATED.into(), created.to_owned());
    manifest
}

fn of_compose() -> BTreeMap<String, String> {
    BTreeMap::from([(label::VERSION.to_owned(), label::COMPOSE_VERSION.to_owned())])
}

fn layer(part: &Part) -> Descriptor {
    let (kind, name) = match part.kind {
        Kind::Env => (ENV_FILE, ENV_FILE_NAME),
        Kind::File | Kind::Extended => (FILE, FILE_NAME),
    };
    let mut layer = Descriptor::of(kind, &part.content);
    layer.annotations = of_compose();
    layer.annotations.insert(name.into(), part.name.clone());
    if part.kind == Kind::Extended {
        layer.annotations.insert(EXTENDS.into(), "true".into());
    }
    with_data(layer, &part.content)
}

fn with_data(mut descriptor: Descriptor, content: &[u8]) -> Descriptor {
    descriptor.data = Some(STANDARD.encode(content));
    descriptor
}

/// Pushes the index of a project's images, which are in the repository: it has no tag, and is about the project.
///
/// # Errors
/// The registry refuses.
pub async fn publish_images(
    to: &Repository,
    project: Descriptor,
    images: Vec<Descriptor>,
) -> Result<Digest, Error> {
    let mut index = Index::oci(images);
    index.subject = Some(project);
    index.annotations = of_compose();
    let text = serde_json::to_vec(&index).map_err(|source| Error::Manifest { name: to.name(), source })?;
    let digest = Digest::sha256_of(&text);
    to.put_manifest(digest.as_str(), media_type::OCI_INDEX, text.into()).await?;
    Ok(digest)
}
