//! Images: pull, push, unpack, commit, archives.
//!
//! ```text
//! registry ──pull──┐                                  ┌──push──► registry
//! archive  ──load──┼─► store: layers, blobs, records ─┼──save──► archive
//! tar    ──import──┤        [Images] names them       └─► lowerdir of a container
//! upper  ──commit──┘             └──export─► manifest, OCI layout, files
//! ```
//!
//! An image's ID is the digest of its configuration, so a configuration is kept byte by byte. A layer is
//! unpacked on its own, whatever lies below it ([`layer`]). What was pulled is kept as it came, so that a push
//! or save gives the same digests again.

mod archive;
mod claim;
mod companion;
pub mod error;
mod exact;
pub mod export;
pub mod files;
pub mod filter;
mod follow;
mod history;
mod images;
mod import;
pub mod layer;
mod origin;
pub mod progress;
pub mod pull;
pub mod push;
mod remove;
mod signature;

mod whole;

pub use archive::{FilePart, GivenUp, LoadOptions, Loaded, SaveTarget};
pub use claim::Claim;
pub use error::{Error, ErrorKind, Result};
pub use filter::Filter;
pub use history::HistoryEntry;
pub use images::{Image, Images, NewImage};
pub use import::{Commit, Import};
pub use progress::{Progress, ProgressEvent, Silent};
pub use remove::{ContainerUse, Pruned, Removed};
pub use signature::{TrustGate, attach_signature, signatures_of};

/// What the fuzz targets look into.
#[cfg(fuzzing)]
pub mod fuzzing {
    use crate::layer::entry::Entries;

    /// Reads all entries of a plain tar and their data; gives how many of both.
    pub fn tar_entries(bytes: &[u8]) -> (usize, usize) {
        let mut entries = Entries::new(bytes, ());
        let (mut count, mut data) = (0, 0);
        while let Ok(Some(_)) = entries.next() {
            count += 1;
            let read = entries.for_each_piece(|piece| {
                data += piece.len();
                Ok(())
            });
            if read.is_err() {
                break;
            }
        }
        (count, data)
    }
}
