//! The index that an image of an archive came by: kept with what it names, as a pull of all platforms keeps it, so that
//! it is saved and pushed as it came. Statements about the image (provenance, SBOM) are in no other place.
//!
//! What the archive has not is left out: not every archive has all that its index names.

use std::collections::HashSet;

use dray_spec::{Descriptor, Digest, ManifestOrIndex};
use dray_store::Store;

use super::oci::{DEEPEST, check_size, path};
use super::spool::{LONGEST_DOCUMENT, Spool};
use super::{LoadOptions, Plan};
use crate::pull::blobs_of;
use crate::{Result, exact};

/// Keeps the indexes of an image whose own layers are kept already; gives their digests, and all blobs. Where one
/// platform was asked for, only what is said of that image is kept beside it.
pub(super) fn keep(
    store: &Store,
    spool: &mut Spool,
    plan: &Plan,
    options: &LoadOptions,
) -> Result<(Vec<Digest>, Vec<Digest>)> {
    let Some(manifest) = plan.manifest.as_ref().filter(|manifest| !manifest.indexes.is_empty()) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let own = Digest::sha256_of(&manifest.bytes);
    let all = options.platform.is_none();
    let mut keeper = Keeper { store, spool, own: &own, all, seen: HashSet::new(), blobs: Vec::new() };
    let mut indexes: Vec<Digest> = Vec::new();
    for index in &manifest.indexes {
        keeper.document(index, 0)?;
        if keeper.blobs.contains(&index.digest) && !indexes.contains(&index.digest) {
            indexes.push(index.digest.clone());
        }
    }
    let mut blobs = keeper.blobs;
    // Whoever pushes the index reads it there.
    blobs.push(store.blobs().put_relaxed(&plan.config)?);
    Ok((indexes, blobs))
}

struct Keeper<'a> {
    store: &'a Store,
    spool: &'a mut Spool,
    /// The image's manifest, which is kept already.
    own: &'a Digest,
    all: bool,
    seen: HashSet<Digest>,
    blobs: Vec<Digest>,
}

impl Keeper<'_> {
    /// Keeps a manifest or an index, and what it names.
    fn document(&mut self, entry: &Descriptor, depth: usize) -> Result<()> {
        let file = path(&entry.digest);
        let Some(length) = self.spool.length(&file).filter(|_| *self.own != entry.digest) else {
            return Ok(());
        };
        if depth > DEEPEST || length > LONGEST_DOCUMENT || !self.seen.insert(entry.digest.clone()) {
            return Ok(());
        }
        check_size(entry, length)?;
        let Some(bytes) = self.spool.document(&file)? else { return Ok(()) };
        // A document of a kind of its own is kept, but what it names is not known.
        let parsed = ManifestOrIndex::parse(Some(&entry.media_type), &bytes).ok();
        match parsed {
            Some(ManifestOrIndex::Index(index)) => {
                for child in &index.manifests {
                    self.document(child, depth + 1)?;
                }
            }
            Some(ManifestOrIndex::Manifest(_)) if !self.all && !entry.attests(self.own) => return Ok(()),
            Some(ManifestOrIndex::Manifest(manifest)) => {
                for blob in blobs_of(&manifest) {
                    self.blob(blob)?;
                }
            }
            None if !self.all => return Ok(()),
            None => {}
        }
        self.blobs.push(self.store.blobs().put_relaxed(&bytes)?);
        Ok(())
    }

    fn blob(&mut self, blob: &Descriptor) -> Result<()> {
        let file = path(&blob.digest);
        let Some(length) = self.spool.length(&file).filter(|_| self.seen.insert(blob.digest.clone())) else {
            return Ok(());
        };
        check_size(blob, length)?;
        // Of a layer that is here the archive's bytes were only looked at.
        if self.spool.present(&file).is_none() {
            self.blobs.push(self.spool.keep(self.store, &file)?.0);
        } else if let Some(id) = self.store.layers().find(&blob.digest)?
            && exact::keep_tar(self.store, id, &blob.digest)?
        {
            self.blobs.push(blob.digest.clone());
        }
        Ok(())
    }
}
