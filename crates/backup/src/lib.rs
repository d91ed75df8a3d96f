//! A volume as a backup: what is in the folder, and its files' bytes as chunks that are kept once.
//!
//! ```text
//! manifest            OCI image manifest, artifactType application/vnd.dray.volume.v1
//! ├── config          name, labels and options of the volume; when it was taken        (JSON)
//! └── layers
//!     ├── tree        packs with their chunks, then the files                          (JSON lines, zstd)
//!     └── pack …      chunks one after the other                                       (zstd)
//! ```
//! Files are cut where their content says ([`chunk`]), so what an insertion does not touch keeps its chunks. A chunk
//! is known by its SHA-256 and lies in one pack. A backup that has a *base* names the base's packs for what it has in
//! common with it and brings new packs for the rest: its manifest is whole, only the bytes are elsewhere. In a registry
//! they are in the same repository already; in files one needs the earlier archive too.
//!
//! As a file it is a tar of an OCI image layout. The tree is known only when everything was read, so it stands at the
//! archive's end; who restores reads it first ([`Archive::in_order`]).
//!
//! This crate knows folders and bytes, nothing of containers, HTTP or registries.

mod archive;
mod chunk;
mod document;
mod error;
mod node;
mod pack;
mod restore;
mod take;
mod tree;

pub use archive::{Archive, Incoming, LayoutWriter};
pub use document::{ARTIFACT_TYPE, Documents, VolumeConfig};
pub use error::Error;
pub use node::{Kind, Node, PathText, Seen, Time};
pub use pack::{Chunk, ChunkId, Pack};
pub use restore::Restore;
pub use take::{Sink, Taking};
pub use tree::Tree;

#[cfg(test)]
mod tests;
