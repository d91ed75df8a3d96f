//! Images as the API shows them.

use std::collections::HashMap;

use dray_api::Labels;
use dray_api::container::DriverData;
use dray_api::image::{HistoryItem, ImageInspect, ImageMetadata, ImageRunConfig, ImageSummary, RootFs};
use dray_image::{HistoryEntry, Image, Images};
use dray_spec::Reference;
use dray_store::LayerId;
use jiff::Timestamp;

use super::Error;
use crate::timestamp;

/// A line of `docker images`, under these of its names.
pub(super) fn summary<'a>(image: &Image, names: impl Iterator<Item = &'a Reference>) -> ImageSummary {
    let (digests, tags): (Vec<_>, Vec<_>) = names.partition(|name| name.digest().is_some());
    ImageSummary {
        containers: -1,
        created: unix(&image.created),
        id: image.id.to_string(),
        labels: image.config.labels().cloned(),
        parent_id: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        repo_digests: familiar(&digests),
        repo_tags: familiar(&tags),
        shared_size: -1,
        size: size(image.size),
        virtual_size: None,
    }
}

fn familiar(names: &[&Reference]) -> Vec<String> {
    names.iter().map(|name| name.familiar()).collect()
}

/// Answer of inspect.
pub(super) fn inspect(images: &Images, image: &Image) -> ImageInspect {
    let config = &image.config;
    // The image's own document has the wire's names; only what the API knows is kept.
    let run = config.config.as_ref().and_then(|run| serde_json::to_value(run).ok());
    let run: ImageRunConfig = run.and_then(|run| serde_json::from_value(run).ok()).unwrap_or_default();
    let all = |names: &[Reference]| names.iter().map(Reference::familiar).collect();
    let last = config.history.last();
    ImageInspect {
        id: image.id.to_string(),
        repo_tags: all(&image.tags),
        repo_digests: all(&image.repo_digests),
        parent: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        comment: last.map(|step| step.comment.clone()).unwrap_or_default(),
        created: image.created.clone(),
        docker_version: String::new(),
        author: config.author.clone(),
        config: run,
        architecture: config.architecture.clone(),
        variant: config.variant.clone().unwrap_or_default(),
        os: config.os.clone(),
        os_version: String::new(),
        size: size(image.size),
        virtual_size: None,
        graph_driver: graph_driver(images, &image.layers),
        root_fs: RootFs {
            kind: "layers".into(),
            layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        },
        metadata: ImageMetadata { last_tag_time: last_tag_time(images, image) },
    }
}

/// When the image was last pulled, built or tagged under a name that it has; empty where nobody knows.
fn last_tag_time(images: &Images, image: &Image) -> String {
    let nanoseconds = images.store().tags().last_given(&image.id).ok().flatten();
    let time = nanoseconds.and_then(|nanoseconds| Timestamp::from_nanosecond(nanoseconds.into()).ok());
    time.map(timestamp::rfc3339).unwrap_or_default()
}

/// Where the layers lie: the top one as upper, those below it as lower.
fn graph_driver(images: &Images, layers: &[LayerId]) -> DriverData {
    let folders = images.store().layers().folders_of(layers.iter().rev());
    let mut paths = folders.iter().map(|folder| folder.display().to_string());
    let mut data = Labels::new();
    if let Some(top) = paths.next() {
        data.insert("UpperDir".into(), top);
        let below: Vec<String> = paths.collect();
        if !below.is_empty() {
            data.insert("LowerDir".into(), below.join(":"));
        }
    }
    DriverData { name: "overlay2".into(), data: Some(data) }
}

/// A line of `docker history`.
pub(super) fn history_item(entry: HistoryEntry) -> HistoryItem {
    HistoryItem {
        comment: entry.comment,
        created: unix(&entry.created),
        created_by: entry.created_by,
        id: entry.id,
        size: size(entry.size),
        tags: (!entry.tags.is_empty()).then_some(entry.tags),
    }
}

/// How many images have each layer.
pub(super) struct Sharing(HashMap<LayerId, usize>);

impl Sharing {
    pub fn of(images: &[Image]) -> Self {
        let mut count = HashMap::new();
        for layer in images.iter().flat_map(|image| &image.layers) {
            *count.entry(*layer).or_insert(0) += 1;
        }
        Sharing(count)
    }

    /// What an image shares with others.
    pub fn shared(&self, images: &Images, image: &Image) -> Result<i64, Error> {
        let mut shared = 0;
        for layer in image.layers.iter().filter(|layer| self.0.get(layer).is_some_and(|n| *n > 1)) {
            shared += images.store().layers().get(*layer)?.size;
        }
        Ok(size(shared))
    }
}

fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn unix(time: &str) -> i64 {
    // Docker counts a missing date from the year 1.
    time.parse::<Timestamp>().map_or(-62_135_596_800, Timestamp::as_second)
}
