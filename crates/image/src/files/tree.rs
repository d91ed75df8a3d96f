//! What each layer of an image adds, what later layers replace or remove of it, and the instruction that made it:
//! what one looks at to make an image smaller.

use dray_spec::Digest;

use super::merge::Merged;
use crate::{Error, Image, Images, Result};

/// An image, layer by layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// The image.
    pub id: Digest,
    /// Steps, the first one at the beginning; those without a layer too.
    pub layers: Vec<LayerTree>,
    /// Sum of the layers' sizes.
    pub size: u64,
    /// What of it a container does not see.
    pub wasted: u64,
    /// The files that waste most, the worst first.
    pub replaced: Vec<Replaced>,
}

/// A step of an image's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerTree {
    /// Its layer; none if it changed no files.
    pub diff_id: Option<Digest>,
    /// The instruction.
    pub created_by: String,
    /// RFC 3339.
    pub created: String,
    /// Bytes in its files.
    pub size: u64,
    /// Entries: files, folders and the rest.
    pub files: u64,
    /// Bytes of it that later layers replace or remove.
    pub wasted: u64,
    /// Bytes of earlier layers that it replaces or removes.
    pub hides: u64,
}

/// A path whose earlier contents are still in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// From the root, with a slash.
    pub path: Vec<u8>,
    /// How often it was replaced or removed.
    pub times: u64,
    /// Bytes that nobody sees.
    pub bytes: u64,
    /// Nothing is left of it.
    pub removed: bool,
}

impl Tree {
    /// The share of the bytes that a container sees, from 0 to 1.
    #[must_use]
    pub fn efficiency(&self) -> f64 {
        if self.size == 0 { 1.0 } else { (self.size - self.wasted.min(self.size)) as f64 / self.size as f64 }
    }
}

impl Images {
    /// Looks at an image layer by layer.
    ///
    /// # Errors
    /// If its history names more layers than there are, or a layer cannot be read.
    pub fn tree(&self, image: &Image) -> Result<Tree> {
        let merged = self.merged(image)?;
        let layers = steps(image, &merged)?;
        let covered = || merged.covered.iter();
        Ok(Tree {
            id: image.id.clone(),
            size: merged.added.iter().map(|(_, bytes)| bytes).sum(),
            wasted: covered().map(|covered| covered.bytes).sum(),
            replaced: replaced(&merged),
            layers,
        })
    }
}

fn steps(image: &Image, merged: &Merged) -> Result<Vec<LayerTree>> {
    let diff_ids = &image.config.rootfs.diff_ids;
    let mut steps = Vec::new();
    let mut next = 0;
    for step in &image.config.history {
        let mut entry = LayerTree {
            diff_id: None,
            created_by: step.created_by.clone(),
            created: step.created.clone().unwrap_or_default(),
            size: 0,
            files: 0,
            wasted: 0,
            hides: 0,
        };
        if !step.empty_layer {
            if next == diff_ids.len() {
                return Err(Error::History);
            }
            fill(&mut entry, &diff_ids[next], next, merged);
            next += 1;
        }
        steps.push(entry);
    }
    // Some builders write no history, or not all of it.
    for (index, diff_id) in diff_ids.iter().enumerate().skip(next) {
        let (created_by, created) = (String::new(), String::new());
        let mut entry =
            LayerTree { diff_id: None, created_by, created, size: 0, files: 0, wasted: 0, hides: 0 };
        fill(&mut entry, diff_id, index, merged);
        steps.push(entry);
    }
    Ok(steps)
}

fn fill(entry: &mut LayerTree, diff_id: &Digest, index: usize, merged: &Merged) {
    let covered = || merged.covered.iter();
    entry.diff_id = Some(diff_id.clone());
    (entry.files, entry.size) = merged.added.get(index).copied().unwrap_or_default();
    // The root is an entry of the folder, and of most tars not.
    entry.files = entry.files.saturating_sub(1);
    entry.wasted = covered().filter(|covered| covered.layer == index).map(|covered| covered.bytes).sum();
    entry.hides = covered().filter(|covered| covered.by == index).map(|covered| covered.bytes).sum();
}

fn replaced(merged: &Merged) -> Vec<Replaced> {
    let mut paths: std::collections::BTreeMap<&[u8], Replaced> = std::collections::BTreeMap::new();
    for covered in &merged.covered {
        let path = [b"/", &covered.path[..]].concat();
        let removed = !merged.nodes.contains_key(&covered.path);
        let entry = paths.entry(&covered.path).or_insert(Replaced { path, times: 0, bytes: 0, removed });
        entry.times += 1;
        entry.bytes += covered.bytes;
    }
    let mut replaced: Vec<Replaced> = paths.into_values().collect();
    replaced.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    replaced
}
