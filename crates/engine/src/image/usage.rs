//! What images take on the disk, as `du` counts it: unpacked layers, and the blobs that are kept as they came.
//!
//! `docker images` shows the lengths of the files in an image; this is what the disk has set aside, so that the sum
//! of `system df` is what `du` says of the data root.

use std::collections::{HashMap, HashSet};

use dray_image::{Image, Images};
use dray_spec::Digest;
use dray_store::{LayerId, Store};

use super::Error;

/// The kind of the holds by which the build cache keeps layers.
const CACHE: &str = "build-cache";

/// A part of an image that others may have too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Layer(LayerId),
    Blob(Digest),
}

/// What each image takes, and what of it another one has too.
#[derive(Debug, Default)]
pub(super) struct Usage(HashMap<Digest, (i64, i64)>);

impl Usage {
    pub(super) fn of(images: &Images, all: &[Image]) -> Result<Self, Error> {
        let mut sizes: HashMap<Part, (u64, u32)> = HashMap::new();
        let mut parts_of = Vec::new();
        for image in all {
            let parts = parts(images, image);
            for part in &parts {
                if let Some((_, users)) = sizes.get_mut(part) {
                    *users += 1;
                    continue;
                }
                let size = match part {
                    Part::Layer(layer) => images.store().layers().allocated(*layer)?,
                    Part::Blob(blob) => images.store().blobs().allocated(blob).unwrap_or(0),
                };
                sizes.insert(part.clone(), (size, 1));
            }
            parts_of.push((image.id.clone(), parts));
        }
        let measure = |(id, parts): (Digest, HashSet<Part>)| {
            let of = |shared_only: bool| -> u64 {
                let sizes = parts.iter().filter_map(|part| sizes.get(part));
                sizes.filter(|(_, users)| !shared_only || *users > 1).map(|(size, _)| size).sum()
            };
            (id, (signed(of(false)), signed(of(true))))
        };
        Ok(Self(parts_of.into_iter().map(measure).collect()))
    }

    /// What an image takes, and what of it is shared.
    pub(super) fn image(&self, id: &Digest) -> Option<(i64, i64)> {
        self.0.get(id).copied()
    }
}

/// Each part once, though an image may have a layer twice.
fn parts(images: &Images, image: &Image) -> HashSet<Part> {
    let with_base = |layer: &LayerId| [*layer].into_iter().chain(images.store().layers().base(*layer));
    let layers = image.layers.iter().flat_map(with_base).map(Part::Layer);
    let kept = image.config.rootfs.diff_ids.iter().flat_map(|diff_id| images.blobs_of_layer(diff_id));
    layers.chain(image.blobs.iter().cloned().chain(kept).map(Part::Blob)).collect()
}

/// All layers but those that only the build cache has, all blobs, what is on its way to become one, and the store's frame.
pub(super) fn everything(store: &Store) -> Result<u64, Error> {
    let cached = store.layers().held_by(CACHE)?;
    let elsewhere = store.layers().used_besides(CACHE)?;
    let mut bytes = store.blobs().ingesting()? + store.frame_size()?;
    for layer in store.layers().list()? {
        if !cached.contains(&layer.id) || elsewhere.contains(&layer.id) {
            bytes += store.layers().allocated(layer.id)?;
        }
    }
    for blob in store.blobs().list()? {
        bytes += store.blobs().allocated(&blob).unwrap_or(0);
    }
    Ok(bytes)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
