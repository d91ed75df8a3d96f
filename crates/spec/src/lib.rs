//! OCI values: digest, reference, manifest, image configuration, runtime configuration.
//!
//! Nothing here touches the disk or the network: bytes go in, checked values come out. What a value cannot
//! be (a digest with a `/` in it, a reference with capital letters in its repository) cannot be built, so
//! that the crates above may put values into file names and URLs without looking again.
//!
//! | module | specification |
//! |---|---|
//! | [`digest`] | OCI image-spec, descriptor.md, "Digests" |
//! | [`reference`] | the grammar of Docker's image names |
//! | [`descriptor`], [`manifest`], [`media_type`] | OCI image-spec; Docker image manifest V2, schema 2 |
//! | [`config`] | OCI image-spec, config.md, with Docker's additions |
//! | [`glob`], [`dockerignore`] | Go's path patterns; Docker's ignore files, for client and builder alike |
//! | [`golang`] | texts and durations as Go writes them, in Docker's messages and files |
//! | [`platform`] | OCI image-spec, image-index.md, `platform` |
//! | [`runtime`] | OCI runtime-spec 1.2, config.md, config-linux.md, runtime.md |

pub mod config;
mod de;
pub mod descriptor;
pub mod digest;
pub mod dockerignore;
pub mod glob;
pub mod golang;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod runtime;

pub use config::{Healthcheck, History, ImageConfig, RootFs, RunConfig, chain_id};
pub use descriptor::Descriptor;
pub use digest::{Digest, DigestError, Hasher};
pub use manifest::{Index, Manifest, ManifestError, ManifestOrIndex};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
