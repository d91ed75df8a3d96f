//! The OCI image layout: `index.json` and the manifests below it. Pure reading, no image is touched.

use dray_spec::{Descriptor, Digest, Index, Manifest, ManifestOrIndex, Platform, Reference};

use super::spool::{Spool, missing};
use super::{IMAGE_NAME, LoadOptions, Plan, PlannedManifest, REF_NAME};
use crate::{Error, Result};

const INDEX: &str = "index.json";
/// Indexes within indexes.
const DEEPEST: usize = 4;

/// The images of the layout; none if the archive is not one.
pub(super) fn plan(spool: &Spool, options: &LoadOptions) -> Result<Option<Vec<Plan>>> {
    let Some(index) = index(spool)? else { return Ok(None) };
    let mut plans: Vec<(Digest, Plan)> = Vec::new();
    for descriptor in &index.manifests {
        for (chosen, manifest, bytes) in images(spool, descriptor, options, 0)? {
            let names: Vec<Reference> = name(descriptor).into_iter().collect();
            match plans.iter_mut().find(|(digest, _)| *digest == chosen) {
                // One image under several names.
                Some((_, plan)) => plan.names.extend(names),
                None => plans.push((chosen, image(spool, manifest, bytes, names)?)),
            }
        }
    }
    Ok(Some(plans.into_iter().map(|(_, plan)| plan).collect()))
}

/// The manifest in the layout whose configuration this is, so that an image that Docker's part names keeps
/// the manifest it came with.
pub(super) fn manifest_of(spool: &Spool, config: &Digest) -> Result<Option<PlannedManifest>> {
    let Some(index) = index(spool)? else { return Ok(None) };
    for descriptor in &index.manifests {
        for (_, manifest, bytes) in images(spool, descriptor, &LoadOptions::default(), 0)? {
            if manifest.config.digest == *config {
                return Ok(Some(PlannedManifest { bytes, layers: manifest.layers }));
            }
        }
    }
    Ok(None)
}

fn index(spool: &Spool) -> Result<Option<Index>> {
    let Some(bytes) = spool.document(INDEX)? else { return Ok(None) };
    match parse(INDEX, None, &bytes)? {
        ManifestOrIndex::Index(index) => Ok(Some(index)),
        ManifestOrIndex::Manifest(_) => Err(Error::Archive(format!("{INDEX} is not an index"))),
    }
}

fn parse(subject: &str, hint: Option<&str>, bytes: &[u8]) -> Result<ManifestOrIndex> {
    ManifestOrIndex::parse(hint, bytes).map_err(|source| Error::Manifest { subject: subject.into(), source })
}

type Found = (Digest, Manifest, Vec<u8>);

/// The images a descriptor leads to that are in the archive: itself, or of an index the one for the platform.
fn images(spool: &Spool, descriptor: &Descriptor, options: &LoadOptions, depth: usize) -> Result<Vec<Found>> {
    if descriptor.is_attestation() || depth > DEEPEST {
        return Ok(Vec::new());
    }
    let path = path(&descriptor.digest);
    // An index may name manifests for platforms that were not put into the archive.
    let Some(bytes) = spool.document(&path)? else { return Ok(Vec::new()) };
    match parse(&path, Some(&descriptor.media_type), &bytes)? {
        ManifestOrIndex::Manifest(manifest) => {
            let unwanted = options.platform.as_ref().zip(descriptor.platform.as_ref());
            let wanted = unwanted.is_none_or(|(wanted, platform)| wanted.accepts(platform));
            Ok(match manifest.is_image() && wanted {
                true => vec![(descriptor.digest.clone(), manifest, bytes)],
                false => Vec::new(),
            })
        }
        ManifestOrIndex::Index(index) => {
            let platform = options.platform.clone().unwrap_or_else(Platform::host);
            let here = Index { manifests: present(spool, &index), ..index };
            let best = here.select(&platform);
            let first = || here.manifests.first().filter(|_| options.platform.is_none());
            best.or_else(first).map_or(Ok(Vec::new()), |chosen| images(spool, chosen, options, depth + 1))
        }
    }
}

fn present(spool: &Spool, index: &Index) -> Vec<Descriptor> {
    let there =
        |descriptor: &&Descriptor| !descriptor.is_attestation() && spool.has(&path(&descriptor.digest));
    index.manifests.iter().filter(there).cloned().collect()
}

fn image(spool: &Spool, manifest: Manifest, bytes: Vec<u8>, names: Vec<Reference>) -> Result<Plan> {
    let config = path(&manifest.config.digest);
    let config = spool.document(&config)?.ok_or_else(|| missing(&config))?;
    let layers: Vec<String> = manifest.layers.iter().map(|layer| path(&layer.digest)).collect();
    if let Some(absent) = layers.iter().find(|layer| !spool.has(layer)) {
        return Err(missing(absent));
    }
    let manifest = Some(PlannedManifest { bytes, layers: manifest.layers });
    Ok(Plan { config, layers, names, parent: None, manifest })
}

/// The name an annotation gives; a bare tag is none.
fn name(descriptor: &Descriptor) -> Option<Reference> {
    let whole = descriptor.annotations.get(IMAGE_NAME);
    let called = descriptor.annotations.get(REF_NAME).filter(|text| text.contains([':', '/']));
    let name: Reference = whole.or(called)?.parse().ok()?;
    Some(match name.tag() {
        Some(tag) => name.with_tag(tag).ok()?,
        None => name.without_tag().tagged(),
    })
}

pub(super) fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}
