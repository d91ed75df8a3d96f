//! What can go wrong in the store. Every variant names the thing it happened to.

use std::io;
use std::path::{Path, PathBuf};

use dray_spec::Digest;

use crate::LayerId;

/// The store's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be worked on.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The database refused.
    #[error("database: {operation}: {source}")]
    Database {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: rusqlite::Error,
    },
    /// The database was written by a later Dray.
    #[error("database {}: its schema is version {found}, this program knows up to {known}", path.display())]
    SchemaTooNew {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Another daemon uses this data root.
    #[error("data root {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// A document cannot be read or written as the type asked for.
    #[error("record {kind}/{id}: {source}")]
    Document {
        /// The record's kind.
        kind: String,
        /// The record's ID.
        id: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Another record of this kind has the name.
    #[error("{kind} name {name:?} is already in use by {holder}")]
    NameInUse {
        /// The record's kind.
        kind: String,
        /// The name.
        name: String,
        /// Who has it.
        holder: String,
    },
    /// There is no such record.
    #[error("no {kind} record {id}")]
    RecordNotFound {
        /// The record's kind.
        kind: String,
        /// The record's ID.
        id: String,
    },
    /// There is no such image, or no longer.
    #[error("image {0} is not in the store")]
    ImageNotFound(Digest),
    /// There is no such blob.
    #[error("blob {0} is not in the store")]
    BlobNotFound(Digest),
    /// There is no such layer.
    #[error("layer {0} is not in the store")]
    LayerNotFound(LayerId),
    /// The bytes are others than they should be.
    #[error("content has digest {actual}, expected {expected}")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// There are more or fewer bytes than there should be.
    #[error("content {digest} has {actual} bytes, expected {expected}")]
    SizeMismatch {
        /// What was asked for.
        digest: Digest,
        /// How long it should be.
        expected: u64,
        /// How long it is.
        actual: u64,
    },
}

/// What kind of failure it is, for those who answer to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The thing asked for is not there.
    NotFound,
    /// The thing cannot be made because of another.
    Conflict,
    /// Content is not what it claims to be.
    Corrupt,
    /// The disk is full.
    Full,
    /// Anything else: the system failed.
    System,
}

impl Error {
    /// The failure's kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::RecordNotFound { .. }
            | Self::ImageNotFound(_)
            | Self::BlobNotFound(_)
            | Self::LayerNotFound(_) => ErrorKind::NotFound,
            Self::NameInUse { .. } | Self::Locked(_) => ErrorKind::Conflict,
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => ErrorKind::Corrupt,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                _ => ErrorKind::System,
            },
            Self::Database { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => ErrorKind::Full,
                _ => ErrorKind::System,
            },
            Self::Document { .. } | Self::SchemaTooNew { .. } => ErrorKind::System,
        }
    }

    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_path_buf(), source }
    }

    pub(crate) fn db(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Database { operation, source }
    }
}
