//! Failures of storage.

use std::io;

use object_store::client::{HttpError, HttpErrorKind};

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
    #[error("{operation} {path}: {}", told(source))]
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

    /// Whether the bucket's store is away or overloaded, for now at least.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        let Self::Object { source, .. } = self else { return false };
        let lost = causes(source)
            .find_map(|cause| cause.downcast_ref::<HttpError>())
            .is_some_and(|error| !matches!(error.kind(), HttpErrorKind::Unknown | HttpErrorKind::Decode));
        // The library keeps the status to itself.
        lost || ["status code: 5", "status code: 429"]
            .iter()
            .any(|status| source.to_string().contains(status))
    }
}

fn causes(error: &object_store::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
}

/// What went wrong with an object, in the store's words where it has answered (all of them answer in XML), else down
/// to the cause.
fn told(error: &object_store::Error) -> String {
    let text = error.to_string();
    let between = |open: &str, close: &str| {
        let (_, rest) = text.split_once(open)?;
        let (word, _) = rest.split_once(close)?;
        word.lines().next().map(|line| line.trim().to_owned())
    };
    match (between("<Code>", "</Code>"), between("<Message>", "</Message>")) {
        (Some(code), Some(message)) => format!("the store says {code}: {message}"),
        _ => causes(error).last().filter(|_| !text.contains("status code")).map_or(text.clone(), |cause| {
            let cause = cause.to_string();
            if text.contains(&cause) { text.clone() } else { format!("{text}: {cause}") }
        }),
    }
}
