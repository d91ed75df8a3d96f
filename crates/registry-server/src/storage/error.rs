//! Failures of storage.

use std::io;

use crate::name::Key;

/// Why storage failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The bucket.
    #[error("{operation} {path}: {source}")]
    Object {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        source: Box<object_store::Error>,
    },
    /// An address that names no bucket.
    #[error("storage {address}: {problem}")]
    Address {
        /// As given.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What is under the key is not what the upload's record says.
    #[error("object {key} has {found} bytes, its upload recorded {recorded}")]
    Lost {
        /// The object.
        key: Key,
        /// Its length.
        found: u64,
        /// What was acknowledged.
        recorded: u64,
    },
    /// A thread of ours is gone.
    #[error("{operation}: the work was abandoned")]
    Abandoned {
        /// What was tried.
        operation: &'static str,
    },
}

impl Error {
    /// Whether there is no room left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let kind = match self {
            Self::Io { source, .. } => source.kind(),
            _ => return false,
        };
        matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}
