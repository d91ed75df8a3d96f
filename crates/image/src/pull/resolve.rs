//! From a reference to the manifest and configuration of one image: which entry of an index suits the
//! platform, and whether it is an image at all.

use bytes::Bytes;
use dray_registry::{RawManifest, Repository};
use dray_spec::{
    Descriptor, Digest, ImageConfig, Index, Manifest, ManifestError, ManifestOrIndex, Platform, Reference,
    media_type,
};

use super::PullOptions;
use super::error::PullError;
use super::source::Sources;
use crate::images::MOST_LAYERS;

/// Indexes within indexes that are followed.
const MAX_DEPTH: usize = 4;
/// Entries of an index without a platform that are looked into.
const MAX_UNNAMED: usize = 8;
/// Largest image configuration accepted.
const MAX_CONFIG: u64 = 8 * 1024 * 1024;

/// One image at one source, everything known of it but its layers.
pub(crate) struct Resolved {
    pub(crate) sources: Sources,
    /// What the reference names: the index's digest where there is one.
    pub(crate) digest: Digest,
    /// The image's own manifest.
    pub(crate) manifest_digest: Digest,
    pub(crate) manifest: Manifest,
    /// What the reference names, then indexes and the manifest on the way to the image, as they came: to be kept.
    pub(crate) documents: Vec<Bytes>,
    /// The image's ID.
    pub(crate) id: Digest,
    pub(crate) config: ImageConfig,
    pub(crate) config_bytes: Vec<u8>,
}

/// What a tag or digest of a source turned out to be, before the platform is looked at.
pub(crate) struct Found {
    raw: RawManifest,
    parsed: ManifestOrIndex,
}

/// Asks a source for `reference`.
pub(crate) async fn find(source: &Repository, reference: &Reference) -> Result<Found, PullError> {
    let wanted = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => "latest".to_owned(),
    };
    let raw = source.manifest(&wanted).await.map_err(|error| PullError::for_manifest(reference, error))?;
    let parsed = parse(reference, &raw)?;
    Ok(Found { raw, parsed })
}

fn parse(reference: &Reference, raw: &RawManifest) -> Result<ManifestOrIndex, PullError> {
    let hint = (!raw.media_type.is_empty()).then_some(raw.media_type.as_str());
    ManifestOrIndex::parse(hint, &raw.bytes).map_err(|source| match source {
        ManifestError::Schema1 => PullError::Schema1(Box::new(reference.clone())),
        source => PullError::Manifest { reference: reference.familiar(), source },
    })
}

/// Goes from what was found down to one image for the platform.
pub(crate) async fn resolve(
    found: Found,
    sources: Sources,
    reference: &Reference,
    options: &PullOptions,
) -> Result<Resolved, PullError> {
    let Found { raw, parsed } = found;
    let wanted = options.platform.clone().unwrap_or_else(Platform::host);
    let digest = raw.digest.clone();
    let mut documents = vec![raw.bytes.clone()];
    let (manifest_digest, manifest) = match parsed {
        ManifestOrIndex::Manifest(manifest) => (digest.clone(), manifest),
        ManifestOrIndex::Index(index) => {
            choose(&sources, reference, index, &wanted, &mut documents, 1).await?
        }
    };
    check_kind(&manifest)?;
    let config_bytes = sources.small_blob(&manifest.config, MAX_CONFIG).await?;
    let config: ImageConfig = serde_json::from_slice(&config_bytes)
        .map_err(|source| PullError::Config { digest: manifest.config.digest.clone(), source })?;
    check_config(&manifest, &config, reference, options.platform.as_ref())?;
    let id = Digest::sha256_of(&config_bytes);
    Ok(Resolved { sources, digest, manifest_digest, manifest, documents, id, config, config_bytes })
}

/// Picks the entry for the platform, through indexes within indexes.
async fn choose(
    sources: &Sources,
    reference: &Reference,
    index: Index,
    wanted: &Platform,
    documents: &mut Vec<Bytes>,
    depth: usize,
) -> Result<(Digest, Manifest), PullError> {
    if depth > MAX_DEPTH {
        return Err(PullError::IndexTooDeep { reference: reference.familiar(), limit: MAX_DEPTH });
    }
    let mut failure = PullError::NoMatchingPlatform(Box::new(wanted.clone()));
    for entry in candidates(&index, wanted) {
        let raw = sources
            .manifest(&entry.digest, &entry.media_type)
            .await
            .map_err(|error| PullError::for_manifest(reference, error))?;
        let document = raw.bytes.clone();
        match parse(reference, &raw)? {
            ManifestOrIndex::Manifest(manifest) => {
                documents.push(document);
                return Ok((raw.digest, manifest));
            }
            ManifestOrIndex::Index(inner) => {
                let kept = documents.len();
                documents.push(document);
                let chosen = choose(sources, reference, inner, wanted, documents, depth + 1);
                match Box::pin(chosen).await {
                    Err(error @ PullError::NoMatchingPlatform(_)) => {
                        documents.truncate(kept);
                        failure = error;
                    }
                    decided => return decided,
                }
            }
        }
    }
    Err(failure)
}

/// The best entry by its platform; where none names one that suits, those that name none.
fn candidates<'a>(index: &'a Index, wanted: &Platform) -> Vec<&'a Descriptor> {
    if let Some(best) = index.select(wanted) {
        return vec![best];
    }
    let unnamed = |d: &&Descriptor| {
        let kind = d.media_type.as_str();
        let document = kind.is_empty() || media_type::is_manifest(kind) || media_type::is_index(kind);
        d.platform.is_none() && document && !d.is_attestation()
    };
    index.manifests.iter().filter(unnamed).take(MAX_UNNAMED).collect()
}

fn check_kind(manifest: &Manifest) -> Result<(), PullError> {
    let config = &manifest.config.media_type;
    if !config.is_empty() && !media_type::is_image_config(config) {
        return Err(PullError::NotAnImage(clean(config)));
    }
    match manifest.layers.iter().find(|layer| !media_type::is_layer(&layer.media_type)) {
        Some(layer) => Err(PullError::LayerType(clean(&layer.media_type))),
        None => Ok(()),
    }
}

/// A registry's words without what a terminal would obey.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn check_config(
    manifest: &Manifest,
    config: &ImageConfig,
    reference: &Reference,
    asked: Option<&Platform>,
) -> Result<(), PullError> {
    if !config.os.is_empty() && config.os != "linux" {
        return Err(PullError::OperatingSystem(clean(&config.os)));
    }
    let count = manifest.layers.len();
    if count > MOST_LAYERS {
        return Err(PullError::TooManyLayers { reference: reference.familiar(), count, limit: MOST_LAYERS });
    }
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(PullError::LayerCount);
    }
    match asked {
        Some(wanted) if !wanted.accepts(&config.platform()) => Err(PullError::PlatformMismatch {
            reference: reference.familiar(),
            wanted: Box::new(wanted.clone()),
            actual: Box::new(config.platform()),
        }),
        _ => Ok(()),
    }
}
