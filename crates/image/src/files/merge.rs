//! Layers put upon each other: what a container sees, where each file comes from, and what was covered on the way.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use rustix::fs::{FileType, Stat};

use super::walk::{Found, walk};
use crate::layer::LayerError;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

impl FileKind {
    fn of(stat: &Stat) -> Option<Self> {
        Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            FileType::CharacterDevice => Self::CharacterDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            // No tar has a socket, so no layer does.
            FileType::Socket | FileType::Unknown => return None,
        })
    }

    /// Its name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "directory",
            Self::Link => "symlink",
            Self::CharacterDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Fifo => "fifo",
        }
    }
}

/// A file as one layer has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: FileKind,
    /// Counted from the bottom.
    pub(super) layer: usize,
    /// Permission bits with setuid, setgid and sticky.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// A regular file's length.
    pub(super) size: u64,
    pub(super) mtime: (i64, i64),
    pub(super) device: u64,
    pub(super) inode: (u64, u64),
    /// Of a link.
    pub(super) target: Vec<u8>,
    /// A folder that hides what lies in it below the first of these layers.
    pub(super) opaque: bool,
    /// Bytes that it is counted with: none for further names of one file.
    pub(super) counted: u64,
}

/// What was covered: a file of one layer that another replaced or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) path: Vec<u8>,
    pub(super) layer: usize,
    pub(super) by: usize,
    pub(super) bytes: u64,
    /// Removed, rather than replaced.
    pub(super) removed: bool,
}

/// Layers as one tree.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// By path; the root is the empty one.
    pub(super) nodes: BTreeMap<Vec<u8>, Node>,
    /// What these layers hide of those below the first of them.
    pub(super) whiteouts: BTreeMap<Vec<u8>, usize>,
    pub(super) covered: Vec<Covered>,
    /// Files and bytes of each layer by itself.
    pub(super) added: Vec<(u64, u64)>,
}

impl Merged {
    /// Puts one more layer on top.
    ///
    /// # Errors
    /// If its folder cannot be read.
    pub(super) fn add(&mut self, folder: &Path, layer: usize) -> Result<(), LayerError> {
        let mut seen = HashSet::new();
        self.added.push((0, 0));
        walk(folder, &mut |path, found| self.entry(path, found, layer, &mut seen))
    }

    fn entry(&mut self, path: &[u8], found: Found<'_>, layer: usize, seen: &mut HashSet<(u64, u64)>) {
        match found {
            Found::Whiteout => {
                self.cover_with_content(path, layer, true);
                self.whiteouts.insert(path.to_vec(), layer);
            }
            Found::Folder { stat, opaque } => self.folder(path, stat, opaque, layer),
            Found::Other { stat, target } => {
                let Some(kind) = FileKind::of(stat) else { return };
                let replaces_folder = self.nodes.get(path).is_some_and(|old| old.kind == FileKind::Folder);
                self.cover_with_content(path, layer, replaces_folder);
                self.whiteouts.remove(path);
                let mut node = node(stat, kind, target, layer);
                if stat.st_nlink < 2 || seen.insert(node.inode) {
                    node.counted = node.size;
                }
                self.count(layer, node.counted);
                self.nodes.insert(path.to_vec(), node);
            }
        }
    }

    fn folder(&mut self, path: &[u8], stat: &Stat, opaque: bool, layer: usize) {
        let mut node = node(stat, FileKind::Folder, Vec::new(), layer);
        let was_hidden = self.whiteouts.remove(path).is_some();
        match self.nodes.get(path).map(|old| (old.kind, old.opaque)) {
            Some((FileKind::Folder, was_opaque)) => {
                if opaque {
                    self.cover_content(path, layer);
                }
                node.opaque = opaque || was_opaque;
            }
            Some(_) => {
                self.cover(path, layer, false);
                // What it was replaced, and so hid, whatever lies below.
                node.opaque = true;
            }
            None => node.opaque = opaque || was_hidden,
        }
        self.count(layer, 0);
        self.nodes.insert(path.to_vec(), node);
    }

    fn count(&mut self, layer: usize, bytes: u64) {
        if let Some((files, total)) = self.added.get_mut(layer) {
            *files += 1;
            *total += bytes;
        }
    }

    fn cover_with_content(&mut self, path: &[u8], layer: usize, removed: bool) {
        if self.cover(path, layer, removed) == Some(FileKind::Folder) {
            self.cover_content(path, layer);
        }
    }

    /// Takes a node away; says what it was.
    fn cover(&mut self, path: &[u8], by: usize, removed: bool) -> Option<FileKind> {
        let node = self.nodes.remove(path)?;
        if node.counted > 0 {
            let (path, layer, bytes) = (path.to_vec(), node.layer, node.counted);
            self.covered.push(Covered { path, layer, by, bytes, removed });
        }
        Some(node.kind)
    }

    fn cover_content(&mut self, path: &[u8], by: usize) {
        let start = if path.is_empty() { vec![0] } else { [path, b"/"].concat() };
        let within = |inner: &[u8]| path.is_empty() || inner.starts_with(&start);
        let inner: Vec<Vec<u8>> = self
            .nodes
            .range(start.clone()..)
            .map(|(path, _)| path.clone())
            .take_while(|p| within(p))
            .collect();
        for path in inner {
            self.cover(&path, by, true);
        }
        let hidden: Vec<Vec<u8>> = self
            .whiteouts
            .range(start.clone()..)
            .map(|(path, _)| path.clone())
            .take_while(|p| within(p))
            .collect();
        for path in hidden {
            self.whiteouts.remove(&path);
        }
    }
}

fn node(stat: &Stat, kind: FileKind, target: Vec<u8>, layer: usize) -> Node {
    Node {
        kind,
        layer,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: if kind == FileKind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
        mtime: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        device: stat.st_rdev,
        inode: (stat.st_dev, stat.st_ino),
        target,
        opaque: false,
        counted: 0,
    }
}
