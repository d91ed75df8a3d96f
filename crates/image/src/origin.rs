//! Where layers came from and how they are compressed: what a push needs to send nothing it doesn't have to.
//!
//! Six kinds of records: `layer-blob` (a diff ID's compressed blob), `layer-split` (what its folder lacks to
//! make its tar again), `layer-tar` (how long that tar is, once it has been made), `image-index` (the indexes an
//! image was pulled by), `blob-upload` (an upload under way) and `blob-origin` (the repositories a blob is known to
//! be in). The last two are hints: a push checks them, and losing them costs time only.

use dray_spec::{Descriptor, Digest};
use dray_store::Store;
use serde::{Deserialize, Serialize};

const LAYER_BLOB: &str = "layer-blob";
const LAYER_SPLIT: &str = "layer-split";
const LAYER_TAR: &str = "layer-tar";
const BLOB_ORIGIN: &str = "blob-origin";
const IMAGE_INDEX: &str = "image-index";
const BLOB_UPLOAD: &str = "blob-upload";
/// Indexes remembered for one image.
const MAX_INDEXES: usize = 8;
/// Repositories remembered for one blob.
const MAX_ORIGINS: usize = 20;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Origins {
    /// `domain/path`, the newest first.
    repositories: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TarLength {
    bytes: u64,
}

/// The compressed blob of a layer, if it is still here.
pub(crate) fn blob_of(store: &Store, diff_id: &Digest) -> Option<Descriptor> {
    let known: Descriptor = hint(store.records().get(LAYER_BLOB, diff_id.as_str()))?;
    store.blobs().has(&known.digest).then_some(known)
}

/// The split of a layer ([`crate::layer::unpack_with_split`]), if it has one.
pub(crate) fn split_of(store: &Store, diff_id: &Digest) -> Result<Option<Digest>, dray_store::Error> {
    let known: Option<Descriptor> = store.records().get(LAYER_SPLIT, diff_id.as_str())?;
    Ok(known.map(|known| known.digest).filter(|digest| store.blobs().has(digest)))
}

/// The blobs that are kept for a layer whatever image has it.
pub(crate) fn blobs_of(store: &Store, diff_id: &Digest) -> Vec<Digest> {
    let of = |kind| hint(store.records().get::<Descriptor>(kind, diff_id.as_str()));
    [LAYER_BLOB, LAYER_SPLIT].into_iter().filter_map(of).map(|known| known.digest).collect()
}

/// How long a layer's tar is, if it is known that it can be made of its folder and its split.
pub(crate) fn tar_length(store: &Store, diff_id: &Digest) -> Result<Option<u64>, dray_store::Error> {
    let known: Option<TarLength> = store.records().get(LAYER_TAR, diff_id.as_str())?;
    Ok(known.map(|known| known.bytes))
}

/// Remembers how long a layer's tar is.
pub(crate) fn remember_tar_length(store: &Store, diff_id: &Digest, bytes: u64) {
    hint(store.records().put_relaxed(LAYER_TAR, diff_id.as_str(), None, &TarLength { bytes }).map(Some));
}

/// Remembers the split of a layer.
pub(crate) fn remember_split(
    store: &Store,
    diff_id: &Digest,
    split: &Digest,
    size: u64,
) -> Result<(), dray_store::Error> {
    let split = Descriptor::new("application/vnd.dray.layer.split.v1+zstd", split.clone(), size);
    store.records().put_relaxed(LAYER_SPLIT, diff_id.as_str(), None, &split)
}

/// Remembers the compressed blob of a layer.
pub(crate) fn remember_blob(store: &Store, diff_id: &Digest, blob: &Descriptor) {
    // Only what is the same wherever the layer is used.
    let bare = Descriptor::new(blob.media_type.clone(), blob.digest.clone(), blob.size);
    let kept: Option<Descriptor> = hint(store.records().get(LAYER_BLOB, diff_id.as_str()));
    if kept.as_ref() != Some(&bare) {
        hint(store.records().put_relaxed(LAYER_BLOB, diff_id.as_str(), None, &bare).map(Some));
    }
}

/// The repositories that had a blob, the newest first.
pub(crate) fn repositories_of(store: &Store, blob: &Digest) -> Vec<String> {
    let origins: Option<Origins> = hint(store.records().get(BLOB_ORIGIN, blob.as_str()));
    origins.unwrap_or_default().repositories
}

/// Remembers that `repository` (`domain/path`) has a blob.
pub(crate) fn remember_repository(store: &Store, repository: &str, blob: &Digest) {
    let mut repositories = repositories_of(store, blob);
    if repositories.first().is_some_and(|first| first == repository) {
        return;
    }
    repositories.retain(|known| known != repository);
    repositories.insert(0, repository.to_owned());
    repositories.truncate(MAX_ORIGINS);
    let origins = Origins { repositories };
    hint(store.records().put_relaxed(BLOB_ORIGIN, blob.as_str(), None, &origins).map(Some));
}

/// The indexes an image was pulled by, the newest first, as far as they are here.
pub(crate) fn indexes_of(store: &Store, image: &Digest) -> Vec<Digest> {
    let known: Option<Vec<Digest>> = hint(store.records().get(IMAGE_INDEX, image.as_str()));
    known.unwrap_or_default().into_iter().filter(|index| store.blobs().has(index)).collect()
}

/// Remembers that an image was pulled by this index.
pub(crate) fn remember_index(store: &Store, image: &Digest, index: &Digest) {
    let mut indexes = indexes_of(store, image);
    if indexes.first() == Some(index) {
        return;
    }
    indexes.retain(|known| known != index);
    indexes.insert(0, index.clone());
    indexes.truncate(MAX_INDEXES);
    hint(store.records().put_relaxed(IMAGE_INDEX, image.as_str(), None, &indexes).map(Some));
}

/// Where an upload of a blob to a repository goes on, if one was broken off.
pub(crate) fn upload_of(store: &Store, repository: &str, blob: &Digest) -> Option<String> {
    hint(store.records().get(BLOB_UPLOAD, &upload_key(repository, blob)))
}

/// Remembers an upload under way; none when it has ended.
pub(crate) fn remember_upload(store: &Store, repository: &str, blob: &Digest, location: Option<&str>) {
    let key = upload_key(repository, blob);
    hint(match location {
        Some(location) => store.records().put_relaxed(BLOB_UPLOAD, &key, None, &location).map(Some),
        None => store.records().batch_relaxed(|tx| tx.delete(BLOB_UPLOAD, &key)).map(|_| None),
    });
}

fn upload_key(repository: &str, blob: &Digest) -> String {
    format!("{repository}@{blob}")
}

/// A hint that can't be read or written is none.
fn hint<T>(result: Result<Option<T>, dray_store::Error>) -> Option<T> {
    result.unwrap_or_else(|error| {
        tracing::debug!(%error, "layer origin");
        None
    })
}
