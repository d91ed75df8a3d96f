//! Dockerfile to image: parser, step graph, cache.

mod cancel;
mod compression;
pub mod context;
pub mod dockerfile;
pub mod dockerignore;
mod event;
pub mod expand;
mod glob;
mod remote;
mod request;
mod run;
mod tarball;
mod tree;

pub use cancel::{Cancel, CancelGuard};
pub use context::{ContextDir, ContextError, Limits};
pub use event::{BuildEvent, BuildEvents, PlannedStage};
pub use remote::{NoRemoteSource, RemoteError, RemoteFile, RemoteSource};
pub use request::{BuildRequest, DockerfileSource};
pub use run::{ExitStatus, OutputStream, Resources, RunError, RunStep, StepMount, StepOutput, StepRunner};
pub use tarball::TarError;
