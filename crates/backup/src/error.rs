//! What can go wrong with a backup.

use std::io;
use std::path::PathBuf;

use dray_spec::Digest;

/// A backup that could not be taken, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the volume, or of the archive, could not be worked on.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what; in a volume relative to it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive could not be written.
    #[error("write the backup: {0}")]
    Write(#[source] io::Error),
    /// The archive could not be read.
    #[error("read the backup: {0}")]
    Read(#[source] io::Error),
    /// It is none, or is broken.
    #[error("not a backup of a volume: {0}")]
    Invalid(String),
    /// A blob has other bytes than its digest says.
    #[error("the backup is damaged: {0} has another content")]
    Damaged(Digest),
    /// Bytes that the backup takes from an earlier one.
    #[error(
        "{missing} of {all} packs are not in the archive: give the earlier archives that it is based on, too"
    )]
    MissingPacks {
        /// How many are not there.
        missing: usize,
        /// Of how many.
        all: usize,
    },
}

impl Error {
    pub(crate) fn file(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::File { operation, path, source }
    }

    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Error::Invalid(why.into())
    }

    /// Whether the archive is to blame, and not the disk.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        matches!(self, Error::Invalid(_) | Error::Damaged(_) | Error::MissingPacks { .. })
    }
}
