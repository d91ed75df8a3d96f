//! The files of an image: its layers seen as one tree, as a container sees them.
//!
//! ```text
//! layer folders ──walk──► changes ──merge──► Merged: path → node (which layer, which inode, what it is)
//!                                               ├─► tree    what each layer adds, and what later ones waste of it
//!                                               ├─► diff    two images, file by file
//!                                               └─► squash  one layer with the same files
//! ```
//! But for [`diff`] no content is read, and nothing mounted but a layer that lies upon another one: layers are in overlay
//! form, so their folders say what they hide.

mod diff;
mod merge;
mod squash;
mod tree;
mod walk;

#[cfg(test)]
mod tests;

pub use diff::{Aspect, FileChange, FileState, Happened};
pub use merge::FileKind;
pub use squash::Squash;
pub use tree::{LayerTree, Replaced, Tree};

use dray_spec::Digest;
use dray_store::LayerId;

use crate::{Error, Image, Images, Result};
use merge::Merged;

impl Images {
    /// The image's files.
    fn merged(&self, image: &Image) -> Result<Merged> {
        self.merge(&image.layers, &image.config.rootfs.diff_ids)
    }

    fn merge(&self, layers: &[LayerId], diff_ids: &[Digest]) -> Result<Merged> {
        let mut merged = Merged::default();
        for (index, (layer, diff_id)) in layers.iter().zip(diff_ids).enumerate() {
            merged.add(self.store().layers().view(*layer)?.path(), index).map_err(Error::layer(diff_id))?;
        }
        Ok(merged)
    }
}
