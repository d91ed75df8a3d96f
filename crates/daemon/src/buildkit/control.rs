//! `moby.buildkit.v1.Control`.

use std::collections::HashMap;
use std::sync::Arc;

use dray_build::Built;
use dray_buildkit::grpc::{Call, Code, Reply, Status};
use dray_buildkit::proto::control::{
    DiskUsageRequest, Exporter, InfoResponse, ListWorkersResponse, PruneRequest, SolveRequest, SolveResponse,
    StatusRequest,
};
use dray_buildkit::proto::{BuildkitVersion, Platform, WorkerRecord};

use super::job::{Export, Job};
use super::{BuildKit, failure, unknown};

/// The one worker's id: it is the daemon.
const WORKER: &str = "dray";

impl BuildKit {
    pub(super) async fn control(self: Arc<Self>, method: &str, mut call: Call) -> Result<Reply, Status> {
        match method {
            "Info" => Ok(Reply::one(&InfoResponse { buildkit_version: Some(version()) })),
            "ListWorkers" => Ok(Reply::one(&ListWorkersResponse { record: vec![worker()] })),
            "Solve" => {
                let request = call.messages.only().await?;
                Ok(Reply::one(&self.solve_request(request).await?))
            }
            "Status" => {
                let request: StatusRequest = call.messages.only().await?;
                self.status(&request.reference).await
            }
            "Session" => self.session_stream(call),
            "DiskUsage" => {
                let request: DiskUsageRequest = call.messages.only().await?;
                Ok(Reply::one(&self.disk_usage(&request).await?))
            }
            "Prune" => {
                let request: PruneRequest = call.messages.only().await?;
                self.prune(request).await
            }
            _ => Err(unknown("moby.buildkit.v1.Control", method)),
        }
    }

    async fn solve_request(self: &Arc<Self>, request: SolveRequest) -> Result<SolveResponse, Status> {
        if request.definition.as_ref().is_some_and(|definition| !definition.def.is_empty()) {
            return Err(failure::definitions());
        }
        let export = export(&request);
        let (job, _ends) =
            self.jobs.begin(&request.reference, &request.session, export, request.entitlements.clone())?;
        if request.frontend.is_empty() {
            job.returned().await?;
        } else {
            let attrs = request.frontend_attrs;
            let inputs = !request.frontend_inputs.is_empty();
            self.solve(&job, &request.frontend, attrs, inputs).await?;
        }
        match job.take_built() {
            // The client only looked at what the daemon can do.
            None => Ok(SolveResponse::default()),
            Some(built) => self.export(&job, built).await,
        }
    }

    /// Gives the image its names, and tells about it.
    pub(super) async fn export(&self, job: &Arc<Job>, built: Built) -> Result<SolveResponse, Status> {
        let names = job.names(&self.builds)?;
        let id = built.image.to_string();
        let full: Vec<String> = names.iter().map(ToString::to_string).collect();
        let builds = Arc::clone(&self.builds);
        let naming = Arc::clone(job);
        let named = tokio::task::spawn_blocking(move || {
            let exporting = naming.progress.waiting().vertex("exporting to image");
            exporting.begin();
            exporting.note("exporting layers");
            exporting.note(&format!("writing image {}", built.image));
            let named = builds.name(&built, &names, &|_| {});
            names.iter().for_each(|name| exporting.note(&format!("naming to {name}")));
            exporting.end(named.as_ref().err().map(ToString::to_string));
            named
        });
        named.await.map_err(failure::internal)?.map_err(failure::engine)?;
        let mut response = HashMap::from([
            ("containerimage.digest".to_owned(), id.clone()),
            ("containerimage.config.digest".to_owned(), id),
        ]);
        if !full.is_empty() {
            response.insert("image.name".to_owned(), full.join(","));
        }
        Ok(SolveResponse { exporter_response: response })
    }

    async fn status(self: Arc<Self>, reference: &str) -> Result<Reply, Status> {
        let mut messages = self.jobs.messages(reference).await?;
        let (sender, reply) = Reply::many();
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    message = messages.recv() => message,
                    () = sender.closed() => return,
                };
                let Some(message) = message else { return };
                if !sender.send(&message).await {
                    return;
                }
            }
        });
        Ok(reply)
    }
}

/// What is to become of the result. Old clients have one exporter, in fields of its own.
fn export(request: &SolveRequest) -> Export {
    let mut exporters = request.exporters.clone();
    if exporters.is_empty() && !request.exporter_deprecated.is_empty() {
        exporters.push(Exporter {
            kind: request.exporter_deprecated.clone(),
            attrs: request.exporter_attrs_deprecated.clone(),
        });
    }
    Export::new(exporters)
}

fn version() -> BuildkitVersion {
    BuildkitVersion {
        package: env!("CARGO_PKG_REPOSITORY").trim_start_matches("https://").to_owned(),
        version: concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
        revision: String::new(),
    }
}

pub(super) fn worker() -> WorkerRecord {
    let host = dray_spec::Platform::host();
    WorkerRecord {
        id: WORKER.to_owned(),
        labels: HashMap::from([("org.mobyproject.buildkit.worker.executor".to_owned(), WORKER.to_owned())]),
        platforms: vec![Platform {
            architecture: host.architecture.clone(),
            os: host.os.clone(),
            variant: host.variant.clone().unwrap_or_default(),
        }],
        buildkit_version: Some(version()),
    }
}

/// A job that does not exist, or not any more.
pub(super) fn no_such_job(reference: &str) -> Status {
    Status::new(Code::NotFound, format!("no such job {reference}"))
}
