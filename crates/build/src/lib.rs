//! Dockerfile to image: parser, step graph, cache.

mod cancel;
pub mod context;
pub mod dockerfile;
mod event;
pub mod expand;
mod remote;
mod request;
mod run;

pub use cancel::{Cancel, CancelGuard};
pub use context::ContextDir;
pub use event::{BuildEvent, BuildEvents, PlannedStage};
pub use remote::{NoRemoteSource, RemoteError, RemoteFile, RemoteSource};
pub use request::{BuildRequest, DockerfileSource};
pub use run::{ExitStatus, OutputStream, Resources, RunError, RunStep, StepMount, StepOutput, StepRunner};
