//! BuildKit's API over this daemon's builder: what `docker build` with the buildx plugin speaks.
//!
//! ```text
//! Control.Solve(ref)      ─► Job ─────────────────────────────┐  waits for Return, names the image, answers
//! Control.Status(ref)     ◄─ vertexes, logs (Progress)        │
//! LLBBridge.Solve (ref)   ─► solve: Dockerfile, ignore file, context from the session; build ─► Job
//! LLBBridge.Return (ref)  ─────────────────────────────────────┘
//! ```
//! A client that names the frontend in `Control.Solve` itself is built for there. Whatever a client's going away
//! drops raises the job's cancel flag: the build ends, and nothing of it stays but cached steps.

mod attrs;
mod cache;
mod caller;
mod control;
mod export;
mod failure;
mod folders;
mod gateway;
mod graph;
mod history;
mod inputs;
mod job;
mod layout;
mod progress;
mod remote_cache;
mod solve;
mod steps;
mod stream;
mod trace;
mod transfer;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub(crate) use caller::Caller;
use dray_buildkit::Sessions;
use dray_buildkit::grpc::{self, Call, Reply, Status};
use dray_engine::build::Service;

pub(crate) use inputs::{image_context, layout_place, platform_of};
pub(crate) use layout::image as layout_image;

pub(crate) use export::{ExportProgress, Exporter, title};
pub(crate) use history::{
    Asked, BundleError, ClassicBuild, Exports, LocalState, LogReader, filtered, read_bundle, write_bundle,
};
pub(crate) use remote_cache::{CacheTransfer, LEFT_OUT, is_inline, read_exports, read_imports};

use crate::hijack::HijackedStream;
use job::Jobs;

/// The header with a session's id.
pub(crate) const SESSION_ID: &str = "x-docker-expose-session-uuid";
/// The header with what a client calls the place that its files come from.
const SHARED_KEY: &str = "x-docker-expose-session-sharedkey";

/// The id and the shared key of a session; both may be empty.
pub(crate) fn named_session(headers: &http::HeaderMap) -> (String, String) {
    let get =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    (get(SESSION_ID), get(SHARED_KEY))
}

/// The builds and sessions of BuildKit's clients.
pub(crate) struct BuildKit {
    builds: Arc<Service>,
    sessions: Sessions,
    jobs: Jobs,
}

impl BuildKit {
    pub(crate) fn new(builds: Arc<Service>) -> Arc<Self> {
        Arc::new(BuildKit { builds, sessions: Sessions::default(), jobs: Jobs::default() })
    }

    /// The sessions that are open.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Serves the calls of a connection.
    pub(crate) async fn serve(self: Arc<Self>, connection: HijackedStream) {
        if let Err(error) = grpc::serve(connection, self).await {
            tracing::debug!(%error, "a build client's connection");
        }
    }

    async fn answer(self: Arc<Self>, call: Call) -> Result<Reply, Status> {
        let method = call.method.clone();
        let Some((service, name)) = method.trim_start_matches('/').split_once('/') else {
            return Err(Status::unimplemented(format!("malformed method name: {method:?}")));
        };
        match service {
            "moby.buildkit.v1.Control" => self.control(name, call).await,
            "moby.buildkit.v1.frontend.LLBBridge" => self.gateway(name, call).await,
            "containerd.services.content.v1.Content" => self.history_content(name, call).await,
            "grpc.health.v1.Health" if name == "Check" => Ok(Reply::one(&Health { status: SERVING })),
            _ => Err(unknown(service, name)),
        }
    }
}

impl grpc::Service for BuildKit {
    fn call(self: Arc<Self>, call: Call) -> Pin<Box<dyn Future<Output = Result<Reply, Status>> + Send>> {
        Box::pin(self.answer(call))
    }
}

/// In the words of gRPC's own servers.
fn unknown(service: &str, method: &str) -> Status {
    Status::unimplemented(format!("unknown method {method} for service {service}"))
}

const SERVING: i32 = 1;

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Health {
    #[prost(int32, tag = "1")]
    status: i32,
}
