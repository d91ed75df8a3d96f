//! Layers: tars of changes to a file system, and the folders they are unpacked into.
//!
//! ```text
//! tar (plain, gzip, zstd) ──unpack──► folder in overlay form ──tar──► tar (plain, always the same bytes)
//!   .wh.<name>                          <name>: character device 0:0
//!   .wh..wh..opq                        trusted.overlay.opaque=y on its folder
//! ```
//!
//! A layer is unpacked on its own, without the layers below it, so that all layers of an image unpack at the
//! same time. The one thing that may need lower layers is a hard link to a file that is not in the layer
//! itself; [`Options::below`] says where to look then.
//!
//! A layer comes from anywhere and is read as hostile. Whatever it says, nothing is written outside the
//! folder: every parent is resolved by the kernel with the folder as root (openat2, `RESOLVE_IN_ROOT`), so a
//! symbolic link in a parent is followed inside the layer only, whatever it points to. See [`unpack`] for
//! what is refused.
//!
//! OCI image-spec, layer.md; POSIX pax; GNU tar's long names and sparse files.

mod attribute;
mod compression;
pub(crate) mod entry;
mod error;
mod header;
pub(crate) mod name;
mod pack;
mod pax;
mod sparse;
mod split;
mod stream;
mod tree;
mod unpack;
pub(crate) mod write;

/// Reading and copying what is in overlay form.
pub(crate) mod overlay {
    pub(crate) use super::pack::{attribute_list, is_opaque};
    pub(crate) use super::tree::{copy_metadata, is_whiteout, os, set_opaque_at};
}

pub use compression::{Compression, decompress};
pub use error::{LayerError, Problem};
pub(crate) use header::is_tar;
pub use pack::{DiffId, Packed, tar, tar_at, tar_folders};
pub use split::{join, unpack_with_split};
pub use unpack::{Limits, Options, Unpacked, unpack};

/// An extended attribute's name and value.
type Attribute = (Vec<u8>, Vec<u8>);

/// The extended attribute that hides what lies below a folder.
const OPAQUE: &str = "trusted.overlay.opaque";

/// The beginning of the names that hide something below.
const WHITEOUT: &[u8] = b".wh.";

/// The name that hides everything below its folder.
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";

/// The beginning of the names that mean something to aufs alone.
const WHITEOUT_META: &[u8] = b".wh..wh.";

#[cfg(test)]
pub(crate) mod tests;
