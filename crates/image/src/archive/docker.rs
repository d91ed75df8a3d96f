//! Docker's `manifest.json`: pure reading, no image is touched.

use std::collections::HashMap;

use dray_spec::{Digest, ImageConfig, Reference};

use super::spool::{Spool, missing};
use super::{ManifestItem, Plan, PlannedManifest, oci};
use crate::{Error, Result};

const MANIFEST: &str = "manifest.json";

/// The images that `manifest.json` names; none if the archive has no such file.
pub(super) fn plan(spool: &Spool) -> Result<Option<Vec<Plan>>> {
    let Some(bytes) = spool.document(MANIFEST)? else { return Ok(None) };
    let items: Option<Vec<ManifestItem>> = serde_json::from_slice(&bytes)
        .map_err(|error| Error::Archive(format!("failed to decode {MANIFEST}: {error}")))?;
    let Some(items) = items else {
        return Err(Error::Archive("manifest cannot be null (but can be [])".into()));
    };
    let manifests = oci::manifests(spool)?;
    items.into_iter().map(|item| image(spool, item, &manifests)).collect::<Result<Vec<_>>>().map(Some)
}

fn image(spool: &Spool, item: ManifestItem, manifests: &HashMap<Digest, PlannedManifest>) -> Result<Plan> {
    let config = spool.document(&item.config)?.ok_or_else(|| missing(&item.config))?;
    let layers = item.layers.unwrap_or_default();
    if let Some(absent) = layers.iter().find(|layer| !spool.has(layer)) {
        return Err(missing(absent));
    }
    let expected = diff_ids(&config)?;
    if layers.len() != expected {
        return Err(Error::Archive(format!(
            "layers length mismatch: expected {}, got {expected}",
            layers.len()
        )));
    }
    let names = item.repo_tags.unwrap_or_default();
    Ok(Plan {
        manifest: manifests.get(&Digest::sha256_of(&config)).cloned(),
        names: names.iter().map(|name| tagged(name)).collect::<Result<_>>()?,
        parent: item.parent.and_then(|parent| parent.parse().ok()),
        layers,
        config,
        by_manifest: false,
    })
}

fn diff_ids(config: &[u8]) -> Result<usize> {
    let parsed: ImageConfig = serde_json::from_slice(config)
        .map_err(|source| Error::Config { id: Digest::sha256_of(config), source })?;
    Ok(parsed.rootfs.diff_ids.len())
}

fn tagged(text: &str) -> Result<Reference> {
    let name = Reference::parse(text)?;
    match name.tag() {
        Some(_) if name.digest().is_none() => Ok(name),
        _ => Err(Error::Archive(format!("invalid tag {text:?}"))),
    }
}
