//! Failures of the metadata's back ends.

use std::path::PathBuf;

/// Why the metadata failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite.
    #[error("metadata: {operation}: {source}")]
    Sqlite {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// The database's file.
    #[error("metadata: {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The database is of a later version of this program.
    #[error("metadata: the database has schema {found}, this version of dray knows {known}")]
    SchemaTooNew {
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// No transaction could be begun.
    #[error("metadata: begin: {0}")]
    Begin(String),
    /// A commit of several operations failed.
    #[error("metadata: commit: {0}")]
    Commit(String),
    /// A record holds what none of ours has.
    #[error("metadata: the record of {what} is damaged: {value:?}")]
    Damaged {
        /// Which.
        what: &'static str,
        /// What stands there.
        value: String,
    },
    /// The thread that writes is gone.
    #[error("metadata: the writer has stopped")]
    Stopped,
}

impl Error {
    pub(crate) fn sqlite(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Sqlite { operation, source }
    }

    /// Whether there is no room left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}
