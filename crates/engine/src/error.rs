//! The kinds of failure that every service of the engine tells apart.
//!
//! Each noun has its own error enum; its `kind()` is one of these. What a kind means on the
//! wire (HTTP status) is decided in one file of the daemon.

/// What sort of failure an error is, whichever noun it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The thing named in the request does not exist (404).
    NotFound,
    /// The request contradicts the present state of the thing (409).
    Conflict,
    /// The request itself is wrong (400).
    InvalidParameter,
    /// The request is understood and refused (403).
    Forbidden,
    /// The thing already is as the request wants it (304).
    NotModified,
    /// Something this depends on cannot be reached now (503).
    Unavailable,
    /// Credentials are missing or wrong (401).
    Unauthorized,
    /// The feature asked for is not there (501).
    NotImplemented,
    /// Anything that is nobody's fault but ours or the machine's (500).
    System,
}

/// A failure of one service that another passes on: its own words, with their kind.
///
/// The traits between services ([`crate::container::ContainerNetworking`] and its like) fail with
/// this, so that neither side knows the other's error type.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct ServiceError {
    kind: ErrorKind,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl ServiceError {
    /// Wraps a service's own error.
    pub fn new(kind: ErrorKind, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind, source: source.into() }
    }

    /// The kind that the failing service gave it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
