//! The OCI image layout: `index.json` and the manifests below it. Pure reading, no image is touched.

use std::collections::HashMap;

use dray_spec::{Descriptor, Digest, Index, Manifest, ManifestOrIndex, Platform, Reference, media_type};

use super::spool::{Spool, missing};
use super::{IMAGE_NAME, LoadOptions, Plan, PlannedManifest, REF_NAME};
use crate::{Error, Result};

const INDEX: &str = "index.json";
/// Indexes within indexes.
pub(super) const DEEPEST: usize = 4;

/// The images of the layout; none if the archive is not one.
pub(super) fn plan(spool: &Spool, options: &LoadOptions) -> Result<Option<Vec<Plan>>> {
    let Some(index) = index(spool)? else { return Ok(None) };
    let mut plans: Vec<(Digest, Plan)> = Vec::new();
    for descriptor in &index.manifests {
        for (chosen, manifest, bytes) in images(spool, descriptor, options, 0)? {
            let names: Vec<Reference> = name(descriptor).into_iter().collect();
            let indexes = way(descriptor, &chosen);
            match plans.iter_mut().find(|(digest, _)| *digest == chosen) {
                // One image under several names.
                Some((_, plan)) => {
                    plan.names.extend(names);
                    plan.manifest.iter_mut().for_each(|manifest| manifest.indexes.extend(indexes.clone()));
                }
                None => plans.push((chosen, image(spool, (manifest, bytes), indexes, names)?)),
            }
        }
    }
    Ok(Some(plans.into_iter().map(|(_, plan)| plan).collect()))
}

/// The manifests in the layout by their configuration, so that an image that Docker's part names keeps the
/// manifest it came with.
pub(super) fn manifests(spool: &Spool) -> Result<HashMap<Digest, PlannedManifest>> {
    let mut manifests: HashMap<Digest, PlannedManifest> = HashMap::new();
    let Some(index) = index(spool)? else { return Ok(manifests) };
    for descriptor in &index.manifests {
        for (chosen, manifest, bytes) in images(spool, descriptor, &LoadOptions::default(), 0)? {
            let planned = PlannedManifest { bytes, layers: manifest.layers, indexes: Vec::new() };
            let known = manifests.entry(manifest.config.digest).or_insert(planned);
            if chosen.verifies(&known.bytes) {
                known.indexes.extend(way(descriptor, &chosen));
            }
        }
    }
    Ok(manifests)
}

/// The index by which an entry of `index.json` leads to a manifest; none if it is the manifest.
fn way(entry: &Descriptor, manifest: &Digest) -> Option<Descriptor> {
    (entry.digest != *manifest).then(|| entry.clone())
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
    if descriptor.is_attestation() {
        return Ok(Vec::new());
    }
    if depth > DEEPEST {
        let digest = &descriptor.digest;
        return Err(Error::Archive(format!("{digest}: indexes lie deeper in each other than {DEEPEST}")));
    }
    let path = path(&descriptor.digest);
    // An index may name manifests for platforms that were not put into the archive.
    let Some(bytes) = spool.document(&path)? else { return Ok(Vec::new()) };
    check_size(descriptor, bytes.len() as u64)?;
    let parsed = parse(&path, Some(&descriptor.media_type), &bytes)?;
    let is_index = matches!(parsed, ManifestOrIndex::Index(_));
    let says = &descriptor.media_type;
    if (is_index && media_type::is_manifest(says)) || (!is_index && media_type::is_index(says)) {
        return Err(Error::Archive(format!("{} is not what its media type says: {says}", descriptor.digest)));
    }
    match parsed {
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

fn image(
    spool: &Spool,
    (manifest, bytes): (Manifest, Vec<u8>),
    index: Option<Descriptor>,
    names: Vec<Reference>,
) -> Result<Plan> {
    let config = path(&manifest.config.digest);
    let config = spool.document(&config)?.ok_or_else(|| missing(&config))?;
    check_size(&manifest.config, config.len() as u64)?;
    let layers: Vec<String> = manifest.layers.iter().map(|layer| path(&layer.digest)).collect();
    for (layer, name) in manifest.layers.iter().zip(&layers) {
        check_size(layer, spool.length(name).ok_or_else(|| missing(name))?)?;
    }
    let indexes = index.into_iter().collect();
    let manifest = Some(PlannedManifest { bytes, layers: manifest.layers, indexes });
    Ok(Plan { config, layers, names, parent: None, manifest, by_manifest: true })
}

/// A descriptor says how long its content is, or it is not believed.
pub(super) fn check_size(descriptor: &Descriptor, actual: u64) -> Result<()> {
    let Descriptor { digest, size, .. } = descriptor;
    match *size == actual {
        true => Ok(()),
        false => Err(Error::Archive(format!("{digest} has {actual} bytes, its descriptor says {size}"))),
    }
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
