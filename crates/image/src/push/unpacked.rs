//! An image whose manifest names plain tars, which are here as unpacked layers alone: one that came in an archive of
//! ours with what is said of it. The statements are about that manifest, so it goes out as it is, and not compressed.

use dray_spec::{Digest, Manifest, ManifestOrIndex, media_type};
use dray_store::{ImageRecord, LayerId, Store};

use super::PushError;
use crate::layer::LayerError;
use crate::whole::Whole;
use crate::{Error, exact};

/// An index of the image with all that it names. Where nothing lacks but blobs that the image's layers can be made to,
/// those are made; the caller's lease keeps them as long as they are needed.
pub(super) fn whole(store: &Store, index: &Digest, image: &ImageRecord) -> Result<Option<Whole>, PushError> {
    let read = || Whole::read(store, index, media_type::OCI_INDEX);
    let whole = read()?;
    match (&whole, &image.manifest) {
        (Some(Whole { lacking, .. }), Some(own)) if *lacking == [own.clone()] && pack(store, own, image)? => {
            Ok(read()?)
        }
        _ => Ok(whole),
    }
}

/// Makes the blobs that the image's manifest names of its layers; false if they are others.
fn pack(store: &Store, manifest: &Digest, image: &ImageRecord) -> Result<bool, PushError> {
    let Some(manifest) = own(store, manifest, image)? else { return Ok(false) };
    for (layer, id) in manifest.layers.iter().zip(&image.layers) {
        if store.blobs().has(&layer.digest) {
            continue;
        }
        let is_tar = store.layers().get(*id)?.diff_id.as_ref() == Some(&layer.digest);
        if !is_tar || !tar(store, *id, &layer.digest)? {
            return Ok(false);
        }
    }
    store.blobs().put_relaxed(&image.config)?;
    Ok(true)
}

fn tar(store: &Store, id: LayerId, diff_id: &Digest) -> Result<bool, PushError> {
    exact::keep_tar(store, id, diff_id).map_err(|error| match error {
        Error::Store(error) => PushError::Store(error),
        Error::Layer { source, .. } => PushError::Pack { diff_id: diff_id.clone(), source },
        other => {
            let source = LayerError::Stream(std::io::Error::other(other));
            PushError::Pack { diff_id: diff_id.clone(), source }
        }
    })
}

fn own(store: &Store, manifest: &Digest, image: &ImageRecord) -> Result<Option<Manifest>, dray_store::Error> {
    if !store.blobs().has(manifest) {
        return Ok(None);
    }
    let bytes = store.blobs().read(manifest)?;
    Ok(match ManifestOrIndex::parse(None, &bytes) {
        Ok(ManifestOrIndex::Manifest(manifest)) => Some(manifest)
            .filter(|manifest| manifest.config.digest == image.id)
            .filter(|manifest| manifest.layers.len() == image.layers.len()),
        _ => None,
    })
}
