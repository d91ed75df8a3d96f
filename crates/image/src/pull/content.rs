//! All that an index names: every platform's image, statements about them, artifacts of any other kind. Kept as it
//! is, so that the index can be pushed and saved as it came.

use std::collections::HashSet;

use bytes::Bytes;
use dray_spec::{Descriptor, Digest, Manifest, ManifestOrIndex, Reference};

use super::error::PullError;
use super::source::Sources;

/// Indexes within indexes that are followed.
const MAX_DEPTH: usize = 4;
/// Manifests and indexes of one index.
const MAX_DOCUMENTS: usize = 1000;
/// Bytes of them all: they are kept in memory until the image is recorded.
const MAX_DOCUMENT_BYTES: usize = 32 << 20;
/// Blobs of all of them.
const MAX_BLOBS: usize = 20_000;

/// What an index names, itself left out.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// Manifests and indexes as they came.
    pub(crate) documents: Vec<Bytes>,
    /// What they name in turn, each once.
    pub(crate) blobs: Vec<Descriptor>,
    seen: HashSet<Digest>,
}

impl Content {
    /// Reads all documents below the index `root`.
    pub(crate) async fn of(sources: &Sources, reference: &Reference, root: &[u8]) -> Result<Self, PullError> {
        let mut content = Content::default();
        let mut todo: Vec<(Descriptor, usize)> = Vec::new();
        let too_much = || PullError::IndexTooLarge { reference: reference.familiar() };
        let mut next = Some((Bytes::copy_from_slice(root), String::new(), 0));
        let mut read = 0;
        loop {
            if let Some((bytes, kind, depth)) = next.take() {
                read += bytes.len();
                // A document of a kind of its own is kept, but what it names is not known.
                match ManifestOrIndex::parse(Some(&kind), &bytes) {
                    Ok(ManifestOrIndex::Index(index))
                        if depth >= MAX_DEPTH && !index.manifests.is_empty() =>
                    {
                        return Err(PullError::IndexTooDeep {
                            reference: reference.familiar(),
                            limit: MAX_DEPTH,
                        });
                    }
                    Ok(ManifestOrIndex::Index(index)) => {
                        todo.extend(index.manifests.into_iter().rev().map(|entry| (entry, depth + 1)));
                    }
                    Ok(ManifestOrIndex::Manifest(manifest)) => content.name(&manifest),
                    Err(_) => {}
                }
                if depth > 0 {
                    content.documents.push(bytes);
                }
            }
            let Some((entry, depth)) = todo.pop() else { return Ok(content) };
            if !content.seen.insert(entry.digest.clone()) {
                continue;
            }
            let documents = content.documents.len() >= MAX_DOCUMENTS || read > MAX_DOCUMENT_BYTES;
            if documents || content.blobs.len() >= MAX_BLOBS {
                return Err(too_much());
            }
            let raw = sources.manifest(&entry.digest, &entry.media_type).await;
            let raw = raw.map_err(|error| PullError::for_manifest(reference, error))?;
            next = Some((raw.bytes, entry.media_type, depth));
        }
    }

    fn name(&mut self, manifest: &Manifest) {
        for blob in blobs_of(manifest) {
            if self.seen.insert(blob.digest.clone()) {
                self.blobs.push(blob.clone());
            }
        }
    }
}

/// The blobs that belong to a manifest. Layers that may not be distributed are not at registries.
pub(crate) fn blobs_of(manifest: &Manifest) -> impl Iterator<Item = &Descriptor> {
    let elsewhere = |blob: &&Descriptor| {
        blob.media_type.contains("nondistributable") || blob.media_type.contains(".foreign.")
    };
    std::iter::once(&manifest.config).chain(manifest.layers.iter().filter(move |blob| !elsewhere(blob)))
}
