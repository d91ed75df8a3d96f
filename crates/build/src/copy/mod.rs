//! `COPY` and `ADD`: files from a context, a stage or a URL into a new layer, without a container.
//!
//! ```text
//! select   paths and wildcards → items: what is copied, each with all files below it     (reads only)
//! digest   items → what the cache compares: names, modes, owners, bytes; never times
//! place    items → files, in an overlay of the stage's layers and the new one
//! earlier  what an earlier copy was made of: only what differs from it need be placed
//! ```
//!
//! The destination is the merged view of the overlay, so links of lower layers lead where they would in a
//! container, but never outside; what is written ends up in the new layer.

mod archive;
mod chmod;
mod digest;
mod earlier;
mod owner;
mod place;
mod select;

use std::ffi::OsString;
use std::path::PathBuf;

use rustix::fs::{FileType, Stat};

pub(crate) use archive::{is_archive, unpack_archive};
pub(crate) use chmod::ModeChange;
pub(crate) use digest::{item_digest, source_text};
pub(crate) use earlier::{Difference, EarlierCopies, Listing};
pub(crate) use owner::{ChownSpec, parse_chown};
pub(crate) use place::{Destination, Placement, place, write_file};
pub(crate) use select::{Selection, item_at, select};

use crate::context::ContextDir;
use crate::error::CopyError;
use crate::tree::Tree;

/// Where files are copied from.
pub(crate) struct SourceTree<'a> {
    pub(crate) tree: Tree,
    /// The context that the tree is, which knows the digests of its files; `None` for a stage or an image.
    pub(crate) context: Option<&'a ContextDir>,
}

/// One source: a file, or a directory whose contents are copied.
#[derive(Debug)]
pub(crate) struct Item {
    /// Last part of the path as written: the file's name in a destination directory.
    pub(crate) name: OsString,
    /// Path of its parent to keep, with `--parents`.
    pub(crate) parents: Option<PathBuf>,
    /// Where it is in the tree, links followed.
    pub(crate) root: PathBuf,
    /// The source itself, then everything below it, parents first.
    pub(crate) nodes: Vec<Node>,
}

/// A file, directory or link.
#[derive(Debug)]
pub(crate) struct Node {
    /// Path below the item's root; empty for the root.
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
    /// Target of a symbolic link.
    pub(crate) link: Option<Vec<u8>>,
}

impl Node {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    pub(crate) fn mode(&self) -> u32 {
        self.stat.st_mode & 0o7777
    }
}

impl Item {
    pub(crate) fn is_dir(&self) -> bool {
        self.nodes.first().is_some_and(|node| node.kind() == FileType::Directory)
    }

    /// Where a node is in the tree.
    pub(crate) fn path_of(&self, node: &Node) -> PathBuf {
        if node.path.as_os_str().is_empty() { self.root.clone() } else { self.root.join(&node.path) }
    }
}

/// Whether a destination names a directory by its form.
pub(crate) fn names_directory(dest: &str) -> bool {
    dest.ends_with('/') || matches!(dest.rsplit('/').next(), Some("." | ".."))
}

/// Wraps an I/O error with what was tried on which path.
pub(crate) fn io_error(
    operation: &'static str,
    path: impl AsRef<std::path::Path>,
) -> impl FnOnce(std::io::Error) -> CopyError {
    let path = path.as_ref().display().to_string();
    move |source| CopyError::Io { operation, path, source }
}
