//! Dockerfile to image: parser, step graph, cache.

mod args;
mod base;
mod builder;
mod cache;
mod cancel;
mod compression;
pub mod config;
pub mod context;
mod copy;
pub mod dockerfile;
pub mod dockerignore;
mod error;
mod event;
pub mod expand;
mod glob;
mod plan;
mod remote;
mod request;
mod run;
mod tarball;
mod tree;
mod unpack;

pub use base::{BaseImage, BaseImageError, BaseImages};
pub use builder::Builder;
pub use cancel::{Cancel, CancelGuard};
pub use context::{ContextDir, ContextError, Limits};
pub use error::{BuildError, CopyError, ErrorKind, InstructionError};
pub use event::{BuildEvent, BuildEvents, PlannedStage};
pub use remote::{NoRemoteSource, RemoteError, RemoteFile, RemoteSource};
pub use request::{BuildRequest, Built, DockerfileSource};
pub use run::{ExitStatus, OutputStream, Resources, RunError, RunStep, StepMount, StepOutput, StepRunner};
pub use tarball::TarError;
pub use unpack::UnpackError;
