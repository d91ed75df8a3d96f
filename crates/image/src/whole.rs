//! An image as it was pulled: with the index it came by, every platform and every statement in it.
//!
//! So it is pushed and saved where all that the index names is here (`--all-platforms`); a push also counts what the
//! registry has already. Else the image's own manifest goes out alone, as Docker does it.

use std::collections::HashSet;

use bytes::Bytes;
use dray_spec::{Descriptor, Digest, ManifestOrIndex, Platform, media_type};
use dray_store::Store;

use crate::pull::blobs_of;

/// Indexes within indexes that are followed.
const MAX_DEPTH: usize = 4;
/// Manifests and indexes are not longer. An index can name any blob as one, also a layer of gigabytes.
const LONGEST_DOCUMENT: u64 = 8 << 20;

/// A manifest or index, byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
}

/// A document with all that it names.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    /// The document itself.
    pub(crate) root: Option<Document>,
    /// What it names, each before what names it.
    pub(crate) documents: Vec<Document>,
    pub(crate) blobs: Vec<Descriptor>,
    /// Manifests that are not here, or not all that they name.
    pub(crate) lacking: Vec<Digest>,
    /// The manifest whose blobs are not looked for.
    given: Option<Digest>,
}

impl Whole {
    /// Reads the document `root` and what it names; none if it is not here.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn read(store: &Store, root: &Digest, kind: &str) -> Result<Option<Self>, dray_store::Error> {
        Whole::read_around(store, root, kind, None)
    }

    /// As [`Whole::read`], but one manifest's blobs are the caller's to give: they are not looked for.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn read_around(
        store: &Store,
        root: &Digest,
        kind: &str,
        given: Option<&Digest>,
    ) -> Result<Option<Self>, dray_store::Error> {
        if !store.blobs().has(root) {
            return Ok(None);
        }
        let mut whole = Whole { given: given.cloned(), ..Whole::default() };
        let mut seen = HashSet::new();
        whole.take_in(store, &Descriptor::new(kind, root.clone(), 0), 0, &mut seen)?;
        whole.root = whole.documents.pop().filter(|document| document.digest == *root);
        Ok(whole.root.is_some().then_some(whole))
    }

    fn take_in(
        &mut self,
        store: &Store,
        entry: &Descriptor,
        depth: usize,
        seen: &mut HashSet<Digest>,
    ) -> Result<(), dray_store::Error> {
        if !seen.insert(entry.digest.clone()) {
            return Ok(());
        }
        let is_here = store.blobs().size(&entry.digest).is_some_and(|bytes| bytes <= LONGEST_DOCUMENT);
        if depth > MAX_DEPTH || !is_here {
            self.lacking.push(entry.digest.clone());
            return Ok(());
        }
        let bytes: Bytes = store.blobs().read(&entry.digest)?.into();
        let kind = match ManifestOrIndex::parse(Some(&entry.media_type), &bytes) {
            Ok(ManifestOrIndex::Index(index)) => {
                for child in &index.manifests {
                    self.take_in(store, child, depth + 1, seen)?;
                }
                index.media_type.unwrap_or_else(|| media_type::OCI_INDEX.to_owned())
            }
            Ok(ManifestOrIndex::Manifest(manifest)) if self.given.as_ref() == Some(&entry.digest) => {
                manifest.media_type.unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned())
            }
            Ok(ManifestOrIndex::Manifest(manifest)) => {
                let blobs: Vec<&Descriptor> = blobs_of(&manifest).collect();
                if !blobs.iter().all(|blob| store.blobs().has(&blob.digest)) {
                    self.lacking.push(entry.digest.clone());
                    return Ok(());
                }
                self.blobs.extend(blobs.into_iter().filter(|blob| seen.insert(blob.digest.clone())).cloned());
                manifest.media_type.unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned())
            }
            // A document of a kind of its own.
            Err(_) => entry.media_type.clone(),
        };
        self.documents.push(Document { media_type: kind, bytes, digest: entry.digest.clone() });
        Ok(())
    }
}

/// The entry of the index `root` that suits a platform; none if there is no such index here.
pub(crate) fn entry_for(store: &Store, root: &Digest, wanted: &Platform) -> Option<Descriptor> {
    let bytes = store.blobs().read(root).ok()?;
    match ManifestOrIndex::parse(None, &bytes) {
        Ok(ManifestOrIndex::Index(index)) => index.select(wanted).cloned(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use dray_spec::Index;

    use super::*;

    #[test]
    fn a_layer_that_an_index_calls_a_manifest_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let layer = store.blobs().put(&vec![0; (8 << 20) + 1]).unwrap();
        let entry = Descriptor::new(media_type::OCI_MANIFEST, layer.clone(), 7);
        let index = serde_json::to_vec(&Index::oci(vec![entry])).unwrap();
        let root = store.blobs().put(&index).unwrap();
        let whole = Whole::read(&store, &root, media_type::OCI_INDEX).unwrap().unwrap();
        assert!(whole.documents.is_empty());
        assert_eq!(whole.lacking, [layer]);
    }
}
