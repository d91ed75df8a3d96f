//! Dockerfile to image: parser, step graph, cache.

mod cancel;
pub mod context;
mod event;
mod remote;
mod request;
mod run;

pub use cancel::{Cancel, CancelGuard};
pub use context::ContextDir;
pub use event::{BuildEvent, BuildEvents, PlannedStage};
pub use remote::{NoRemoteSource, RemoteError, RemoteFile, RemoteSource};
pub use request::{BuildRequest, DockerfileSource};
pub use run::{ExitStatus, OutputStream, Resources, RunError, RunStep, StepMount, StepOutput, StepRunner};
