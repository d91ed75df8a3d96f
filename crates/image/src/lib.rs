//! Images: pull, push, unpack, commit, archives.
//!
//! ```text
//! registry ──pull──┐                                  ┌──push──► registry
//! archive  ──load──┼─► store: layers, blobs, records ─┼──save──► archive
//! tar    ──import──┤        [Images] names them       └─► lowerdir of a container
//! upper  ──commit──┘
//! ```
//!
//! An image's ID is the digest of its configuration, so a configuration is kept byte by byte. A layer is
//! unpacked on its own, whatever lies below it ([`layer`]). What was pulled is kept as it came, so that a push
//! or save gives the same digests again.

mod archive;
mod claim;
pub mod error;
mod exact;
pub mod files;
pub mod filter;
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

pub use archive::{LoadOptions, Loaded};
pub use claim::Claim;
pub use error::{Error, ErrorKind, Result};
pub use filter::Filter;
pub use history::HistoryEntry;
pub use images::{Image, Images, NewImage};
pub use import::{Commit, Import};
pub use progress::{Progress, ProgressEvent, Silent};
pub use remove::{ContainerUse, Pruned, Removed};
pub use signature::{TrustGate, attach_signature, signatures_of};
