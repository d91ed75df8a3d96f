//! Attestations of builds: how the result was made (SLSA provenance) and what it is made of (SBOM), asked for in
//! BuildKit's terms (`attest:provenance=mode=min`, `attest:sbom=`).
//!
//! ```text
//! options      attributes → what is wanted
//! provenance   what the build was asked for, what it took, its steps → predicate
//! sbom         files of the result, by dray-scan → predicate
//! ```

mod graph;
mod options;
mod provenance;
mod sbom;

use dray_image::export::Predicate;

pub use options::{Attests, ProvenanceMode, ProvenanceOptions, SbomOptions};
pub(super) use provenance::{Invocation, Told, provenance};
pub(super) use sbom::{Scanned, sboms, subjects};

/// Something that is said of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What.
    pub predicate: Predicate,
    /// The file that it is, where the result goes out as files.
    pub file: String,
    /// Only for images: files go without it.
    pub inline_only: bool,
}
