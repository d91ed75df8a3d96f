//! Dockerfile to image: parser, step graph, cache.
//!
//! ```text
//! Dockerfile ─ dockerfile ─► stages ─ plan ─► needed stages ─ solve ─► layers + configuration ─► image
//! tar ─ context ─► directory ──────────────────────┘   │
//!                                      cache: key of a step → layer
//! ```
//!
//! The builder knows neither containers, registries nor HTTP: it runs steps through [`StepRunner`], finds images
//! through [`BaseImages`], fetches through [`RemoteSource`], and tells what happens as [`BuildEvent`]s, which
//! [`classic`] turns into the text of Docker's classic builder.

mod agent;
mod args;
mod base;
mod builder;
mod cache;
mod cancel;
mod capture;
pub mod classic;
mod compression;
pub mod config;
pub mod context;
mod copy;
mod definition;
pub mod dockerfile;
mod entitlement;
mod epoch;
mod error;
mod event;
pub mod expand;
mod gate;
mod http;
mod inputs;
mod lint;
mod mounts;
mod named;
mod plan;
mod platforms;
mod remote;
mod request;
mod run;
mod secret;
mod solve;
mod subrequest;
mod tarball;
mod tree;
mod unpack;

pub use dray_spec::dockerignore;
use dray_spec::glob;

pub use agent::{AgentError, AgentSource, Agents};
pub use base::{BaseImage, BaseImageError, BaseImages};
pub use builder::Builder;
pub use cache::{
    BlobSource, CACHE_CONFIG, CacheDocumentError, CacheExport, CacheImport, CacheMode, CachePrune,
    CachePruned, CacheRecord, INLINE_CACHE, MountChoice,
};
pub use cancel::{Cancel, CancelGuard};
pub use capture::{Capture, DoneStep, Material, Operation};
pub use context::kept::{ContextWriter, Facts, FileKind, KeptContexts, Receiving};
pub use context::remote::{Fetched, RemoteContextError, Repository};
pub use context::{ContextDir, ContextError, Limits, Unpacked};
pub use entitlement::{Entitlements, UnknownEntitlement};
pub use error::{BuildError, CopyError, ErrorKind, InstructionError};
pub use event::{BuildEvent, BuildEvents, PlannedStage};
pub use http::HttpSource;
pub use inputs::{InputFile, InputKind, StepInput, StepInputs};
pub use lint::{CheckOptions, CheckOptionsError, Rule, Warning};
pub use named::{ContextSource, Contexts, NamedContextError};
pub use remote::{NoRemoteSource, RemoteError, RemoteFile, RemoteSource};
pub use request::{BuildRequest, Built, DockerfileSource};
pub use run::{ExitStatus, OutputStream, Resources, RunError, RunStep, StepMount, StepOutput, StepRunner};
pub use secret::{SecretContent, SecretError, SecretSource, Secrets};
pub use subrequest::{Answer, Subrequest};
pub use tarball::TarError;
pub use unpack::UnpackError;
