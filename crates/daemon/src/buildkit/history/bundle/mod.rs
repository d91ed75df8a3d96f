//! Bundles of build records, `.dockerbuild` files: what `docker buildx history export` writes and Docker Desktop reads.
//!
//! ```text
//! gzip of a tar        an OCI layout
//!   index.json         the manifest of a record, or an index of several
//!   blobs/sha256/…     manifest: configuration: the record (JSON)
//!                                layers: trace, log, error, statements, results
//! ```
//! Results are named with a media type of their own, so that no program looks for the layers of images. Records of this
//! builder have a layer more, with their steps.

mod export;
mod import;
mod record;

use dray_engine::build::history::HistoryError;

pub(crate) use export::{Exports, write};
pub(crate) use import::read;
pub(crate) use record::LocalState;

/// The media type of a record.
const RECORD_TYPE: &str = "application/vnd.buildkit.historyrecord.v0";
/// Of the steps of a build, which no other builder tells.
const STEPS_TYPE: &str = "application/vnd.dray.build.steps.v1+json";
/// The annotation of a result with its true media type.
const TRUE_TYPE: &str = "vnd.export-build.descriptor.mediatype";
/// The annotation of a record's manifest with its reference, where there are several.
const REFERENCE: &str = "vnd.buildkit.history.reference";
/// What results are said to be.
const PLAIN_TYPE: &str = "application/json";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Why a bundle cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    /// The history.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// It cannot be written.
    #[error("write the bundle: {0}")]
    Write(#[source] std::io::Error),
    /// It cannot be kept here while it is read.
    #[error("keep the bundle: {0}")]
    Spool(#[source] std::io::Error),
    /// It is none, or it is damaged.
    #[error("invalid bundle of builds: {0}")]
    Invalid(String),
    /// It holds something else.
    #[error("no build records found in the bundle")]
    Empty,
}

impl BundleError {
    fn invalid(error: impl std::fmt::Display) -> Self {
        BundleError::Invalid(error.to_string())
    }
}
