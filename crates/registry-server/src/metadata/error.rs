//! Failures of the metadata's back ends.

use std::path::PathBuf;

use super::postgres::{self, explained};

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
    /// PostgreSQL.
    #[error("metadata: {operation}: {}", explained(source))]
    Postgres {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: tokio_postgres::Error,
    },
    /// Nobody answers, or nobody who lets us in.
    #[error("metadata: connect to {address}: {}", explained(source))]
    Connect {
        /// Where, without secrets.
        address: String,
        /// Why it failed.
        source: tokio_postgres::Error,
    },
    /// An address of a database that is none. It may hold a password, so it is not repeated.
    #[error("metadata: the database's address is wrong: {problem}")]
    Address {
        /// What is wrong.
        problem: String,
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

    /// Whether the work was taken back because of somebody else's, and may be done again.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Postgres { source, .. } if postgres::is_conflict(source))
    }

    /// Whether the database is away, for now at least.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Postgres { source, .. } | Self::Connect { source, .. } => postgres::is_unavailable(source),
            _ => false,
        }
    }

    /// Whether there is no room left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            Self::Postgres { source, .. } => postgres::is_full(source),
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}
