//! The wire types of Docker's Engine API, versions 1.24 to 1.51: what the daemon answers and what
//! clients send, one file per noun.
//!
//! They serialise as Docker's Go structs do: a field is left out, `null` or zero where Docker's is,
//! so a Go slice or map that may be nil is an `Option` (`None` is `null`). They deserialise
//! leniently: a missing field, `null` and unknown fields are all fine. Both sides use the same types.
#![allow(missing_docs, reason = "fields carry the API's own names and are documented by it")]

#[macro_use]
mod json;
pub mod auth;
pub mod build;
pub mod container;
pub mod duration;
pub mod error;
pub mod event;
pub mod extension;
pub mod filters;
pub mod image;
pub mod network;
pub mod progress;
pub mod size;
pub mod system;
pub mod volume;

pub use filters::Filters;
pub use json::{Empty, Labels, StringSet, ZERO_TIME};

/// The newest Engine API version served.
pub const API_VERSION: &str = "1.51";
/// The oldest Engine API version served.
pub const MIN_API_VERSION: &str = "1.24";

/// Content type of an attached terminal: bytes as they are.
pub const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
/// Content type of attached pipes: frames with an 8-byte header.
pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";
