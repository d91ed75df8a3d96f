//! `POST /build?version=2`: how Docker's clients before 23.0 build with BuildKit. The context comes over their
//! session, as with buildx; the messages of [`super::progress`] travel as lines of JSON.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_api::build::BuildResult;
use dray_api::progress::ProgressMessage;
use dray_buildkit::grpc::Status;
use dray_buildkit::proto::control::{SolveResponse, StatusResponse};
use dray_engine::build::{Options, Output, OutputKind};
use prost::Message;

use super::BuildKit;
use super::attrs::Frontend;
use super::history::{Asked, Recorded};
use crate::body::JsonLines;

/// The id of messages that carry the build's progress, and of the one with its result.
const TRACE: &str = "moby.buildkit.trace";
const IMAGE: &str = "moby.image.id";

impl BuildKit {
    /// Builds what the session offers; the session ends with the build, as these clients expect.
    pub(crate) async fn build_traced(
        self: Arc<Self>,
        session: &str,
        reference: &str,
        options: Options,
        outputs: Vec<Output>,
        lines: &JsonLines,
    ) -> Result<(), Status> {
        let result = self.traced(session, reference, options, outputs, lines).await;
        self.sessions.end(session);
        result
    }

    async fn traced(
        self: &Arc<Self>,
        session: &str,
        reference: &str,
        options: Options,
        outputs: Vec<Output>,
        lines: &JsonLines,
    ) -> Result<(), Status> {
        let asked = Asked::by_request(reference, &options, &outputs, "");
        let record = || Some(Recorded::begin(self.history(), asked));
        let (job, ends) = self.jobs.begin(reference, session, (outputs, Vec::new()), Vec::new(), record)?;
        let mut messages = self.jobs.messages(reference).await?;
        let work = async {
            let frontend = Frontend::of_options(options);
            let built = self.solve_frontend(&job, frontend).await;
            let (exported, id) = match (built, job.built()) {
                (Err(status), _) => (Err(status), None),
                (Ok(_), Some(built)) => {
                    let id = built.main().map(|main| main.image.to_string()).unwrap_or_default();
                    let stored = job.outputs.iter().any(|output| output.kind == OutputKind::Image);
                    (self.export(&job, built).await, stored.then_some(id))
                }
                (Ok(_), None) => (Ok(SolveResponse::default()), None),
            };
            job.record(exported.as_ref());
            drop(ends);
            exported.map(|_| id)
        };
        let tell = async {
            while let Some(message) = messages.recv().await {
                if lines.send(&trace(&message)).await.is_err() {
                    return;
                }
            }
        };
        let (exported, ()) = tokio::join!(work, tell);
        if let Some(id) = exported? {
            let aux = serde_json::to_value(BuildResult { id }).unwrap_or_default();
            let _ = lines.send(&ProgressMessage { id: IMAGE.to_owned(), ..ProgressMessage::aux(aux) }).await;
        }
        Ok(())
    }
}

fn trace(message: &StatusResponse) -> ProgressMessage {
    let aux = STANDARD.encode(message.encode_to_vec()).into();
    ProgressMessage { id: TRACE.to_owned(), ..ProgressMessage::aux(aux) }
}
