//! The distribution API: what each request does, and the answer.
//!
//! `route` says what a path means, `Registry::handle` who may do it, one module per noun does it, `problem` says how
//! it is refused.

mod accept;
mod blob;
mod catalog;
mod document;
mod ingest;
mod manifest;
mod operation;
mod problem;
mod range;
mod referrer;
mod registry;
mod route;
mod tag;
mod turn;
mod upload;

pub(crate) use document::whole;
pub(crate) use ingest::hash;
pub(crate) use manifest::{is_elsewhere, received};
pub use problem::Problem;
pub(crate) use registry::{Call, Link};
pub use registry::{Limits, Registry, RegistryParts};
pub use route::Route;

/// Now, in milliseconds since 1970.
#[must_use]
pub fn now() -> crate::metadata::Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
