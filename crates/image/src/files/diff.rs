//! Two images, file by file. Files of a layer that both have are the same without a look at them; others are compared
//! by what they are, by their attributes, and where these agree by content. Times do not count: two builds of the
//! same files differ in them and in nothing else.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use dray_store::{LayerId, LayerView};

use super::merge::{FileKind, Node};

use crate::layer::LayerError;
use crate::layer::overlay::{attribute_list, os};
use crate::{Error, Image, Images, Result};

/// What happened to a file between two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// Only the second image has it.
    Added,
    /// Both have it, differently.
    Changed,
    /// Only the first image has it.
    Removed,
}

/// In what two files differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// What it is.
    Kind,
    /// Bytes, or their number.
    Content,
    /// Permissions.
    Mode,
    /// User or group.
    Owner,
    /// Where a link leads.
    Target,
    /// Which device it stands for.
    Device,
    /// Extended attributes: capabilities, access control lists.
    Attributes,
}

impl Aspect {
    /// Its name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kind => "type",
            Self::Content => "content",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Target => "target",
            Self::Device => "device",
            Self::Attributes => "attributes",
        }
    }
}

/// A file in one of the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileState {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// A regular file's length.
    pub size: u64,
}

/// A file that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// From the root, with a slash.
    pub path: Vec<u8>,
    /// What happened.
    pub happened: Happened,
    /// In the first image.
    pub old: Option<FileState>,
    /// In the second.
    pub new: Option<FileState>,
    /// In what they differ, if both have it.
    pub aspects: Vec<Aspect>,
}

impl Images {
    /// Compares two images; what differs, by path.
    ///
    /// # Errors
    /// If a layer cannot be read.
    pub fn diff(&self, first: &Image, second: &Image) -> Result<Vec<FileChange>> {
        let (old, new) = (self.merged(first)?, self.merged(second)?);
        let sides = Sides { old: self.views(&first.layers)?, new: self.views(&second.layers)? };
        let mut changes = Vec::new();
        for (path, node) in &old.nodes {
            match new.nodes.get(path) {
                None => changes.push(change(path, Happened::Removed, Some(node), None, Vec::new())),
                Some(other) if node.inode == other.inode => {}
                Some(other) => {
                    let aspects = sides.compare(path, node, other).map_err(Error::layer(&second.id))?;
                    if !aspects.is_empty() {
                        changes.push(change(path, Happened::Changed, Some(node), Some(other), aspects));
                    }
                }
            }
        }
        for (path, node) in new.nodes.iter().filter(|(path, _)| !old.nodes.contains_key(*path)) {
            changes.push(change(path, Happened::Added, None, Some(node), Vec::new()));
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(changes)
    }

    /// The files of layers, one by one.
    pub(super) fn views(&self, layers: &[LayerId]) -> Result<Vec<LayerView>> {
        Ok(layers.iter().map(|layer| self.store().layers().view(*layer)).collect::<Result<_, _>>()?)
    }
}

fn change(
    path: &[u8],
    happened: Happened,
    old: Option<&Node>,
    new: Option<&Node>,
    aspects: Vec<Aspect>,
) -> FileChange {
    let state = |node: &Node| FileState {
        kind: node.kind,
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        size: node.size,
    };
    let path = [b"/", path].concat();
    FileChange { path, happened, old: old.map(state), new: new.map(state), aspects }
}

/// The files of both images' layers.
struct Sides {
    old: Vec<LayerView>,
    new: Vec<LayerView>,
}

impl Sides {
    fn compare(&self, path: &[u8], old: &Node, new: &Node) -> Result<Vec<Aspect>, LayerError> {
        if old.kind != new.kind {
            return Ok(vec![Aspect::Kind]);
        }
        let mut aspects = Vec::new();
        let mut note = |differs: bool, aspect| {
            if differs {
                aspects.push(aspect);
            }
        };
        let (old_path, new_path) =
            (at(self.old[old.layer].path(), path), at(self.new[new.layer].path(), path));
        note(old.mode != new.mode && old.kind != FileKind::Link, Aspect::Mode);
        note((old.uid, old.gid) != (new.uid, new.gid), Aspect::Owner);
        note(old.target != new.target, Aspect::Target);
        let device = matches!(old.kind, FileKind::CharacterDevice | FileKind::BlockDevice);
        note(device && old.device != new.device, Aspect::Device);
        note(attribute_list(&old_path, path)? != attribute_list(&new_path, path)?, Aspect::Attributes);
        let content = old.kind == FileKind::File
            && (old.size != new.size
                || !same_content(&old_path, &new_path).map_err(LayerError::std_io(path, "compare"))?);
        note(content, Aspect::Content);
        Ok(aspects)
    }
}

/// Parents in a layer's folder are folders, never links; the file itself is not followed.
fn at(folder: &Path, path: &[u8]) -> PathBuf {
    folder.join(os(path))
}

fn same_content(a: &Path, b: &Path) -> std::io::Result<bool> {
    const PIECE: usize = 64 * 1024;
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut left, mut right) = (Vec::with_capacity(PIECE), Vec::with_capacity(PIECE));
    loop {
        left.clear();
        right.clear();
        (&mut a).take(PIECE as u64).read_to_end(&mut left)?;
        (&mut b).take(PIECE as u64).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}
