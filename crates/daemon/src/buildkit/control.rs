//! `moby.buildkit.v1.Control`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dray_buildkit::grpc::{Call, Code, Reply, Status};
use dray_buildkit::proto::control::{
    BuildHistoryRequest, DiskUsageRequest, Exporter as Exporting, InfoResponse, ListWorkersResponse,
    PruneRequest, SolveRequest, SolveResponse, StatusRequest, UpdateBuildHistoryRequest,
};
use dray_buildkit::proto::{BuildkitVersion, Platform, WorkerRecord};
use dray_engine::build::{Output, Results};

use super::history::{Asked, Recorded};
use super::job::Job;
use super::remote_cache::exports;
use super::{BuildKit, CacheTransfer, Exporter, LEFT_OUT, failure, title, unknown};

/// The one worker's id: it is the daemon.
const WORKER: &str = "dray";

impl BuildKit {
    pub(super) async fn control(self: Arc<Self>, method: &str, mut call: Call) -> Result<Reply, Status> {
        match method {
            "Info" => Ok(Reply::one(&InfoResponse { buildkit_version: Some(version()) })),
            "ListWorkers" => Ok(Reply::one(&ListWorkersResponse { record: vec![self.worker()] })),
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
            "ListenBuildHistory" => {
                let request: BuildHistoryRequest = call.messages.only().await?;
                self.listen_history(request).await
            }
            "UpdateBuildHistory" => {
                let request: UpdateBuildHistoryRequest = call.messages.only().await?;
                self.update_history(request).await
            }
            _ => Err(unknown("moby.buildkit.v1.Control", method)),
        }
    }

    async fn solve_request(self: &Arc<Self>, request: SolveRequest) -> Result<SolveResponse, Status> {
        if request.definition.as_ref().is_some_and(|definition| !definition.def.is_empty()) {
            return Err(failure::definitions());
        }
        let outputs = outputs(&request)?;
        let cache_exports = exports(request.cache.as_ref().map_or(&[], |cache| &cache.exports))?;
        let asked = Asked::by_client(&request, &outputs);
        let record = || (!request.internal).then(|| Recorded::begin(self.history(), asked));
        let (job, _ends) = self.jobs.begin(
            &request.reference,
            &request.session,
            (outputs, cache_exports),
            request.entitlements.clone(),
            record,
        )?;
        let solved = self.solve_job(&job, request).await;
        job.record(solved.as_ref());
        solved
    }

    async fn solve_job(
        self: &Arc<Self>,
        job: &Arc<Job>,
        request: SolveRequest,
    ) -> Result<SolveResponse, Status> {
        if request.frontend.is_empty() {
            job.returned().await?;
        } else {
            let attrs = request.frontend_attrs;
            self.solve(job, &request.frontend, attrs, request.frontend_inputs).await?;
        }
        match job.built() {
            // The client only looked at what the daemon can do.
            None => Ok(SolveResponse::default()),
            Some(built) => self.export(job, built).await,
        }
    }

    /// Carries out the outputs, one after the other.
    pub(super) async fn export(&self, job: &Arc<Job>, results: Results) -> Result<SolveResponse, Status> {
        let session = match job.outputs.is_empty() && job.cache_exports.is_empty() {
            true => None,
            false => Some(self.sessions.find(&job.session).await?),
        };
        let exporter = Exporter::new(Arc::clone(&self.builds), session.clone(), BTreeMap::new());
        let transfer = CacheTransfer { builds: Arc::clone(&self.builds), session, auths: BTreeMap::new() };
        let mut told = HashMap::new();
        for (number, output) in job.outputs.iter().enumerate() {
            let vertex = job.progress.vertex(title(output.kind));
            vertex.begin();
            let exported = exporter.export(number, output, &results, &vertex).await;
            vertex.end(exported.as_ref().err().map(|status| status.message.clone()));
            told.extend(exported?);
        }
        self.record_results(job, &results, &told).await?;
        let for_cache = if job.cache_exports.is_empty() { None } else { results.for_cache() };
        for cache in &job.cache_exports {
            let Some(built) = &for_cache else { break };
            let vertex = job.progress.vertex(cache.export_title());
            vertex.begin();
            let exported = transfer.export(cache, built).await;
            vertex.end(exported.as_ref().err().map(|status| status.message.clone()));
            match exported {
                Ok(mut of_cache) => {
                    for message in of_cache.remove(LEFT_OUT).iter().flat_map(|all| all.lines()) {
                        vertex.warn(message.to_owned());
                    }
                    told.extend(of_cache);
                }
                Err(_) if cache.ignore_error => {}
                Err(status) => return Err(status),
            }
        }
        Ok(SolveResponse { exporter_response: told })
    }

    /// Keeps what was made in the history, before anything else can go wrong.
    async fn record_results(
        &self,
        job: &Arc<Job>,
        results: &Results,
        told: &HashMap<String, String>,
    ) -> Result<(), Status> {
        let (builds, job) = (Arc::clone(&self.builds), Arc::clone(job));
        let (results, told) = (results.clone(), told.clone());
        let work = move || {
            if let Some(recorded) = &job.recorded {
                builds.record_results(recorded.recording(), &results, &told);
            }
        };
        tokio::task::spawn_blocking(work).await.map_err(failure::internal)
    }

    async fn status(self: Arc<Self>, reference: &str) -> Result<Reply, Status> {
        if !self.jobs.has_messages(reference)
            && let Some(reply) = self.past_status(reference).await?
            // It may have begun meanwhile.
            && !self.jobs.has_messages(reference)
        {
            return Ok(reply);
        }
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
fn outputs(request: &SolveRequest) -> Result<Vec<Output>, Status> {
    let mut exporters = request.exporters.clone();
    if exporters.is_empty() && !request.exporter_deprecated.is_empty() {
        exporters.push(Exporting {
            kind: request.exporter_deprecated.clone(),
            attrs: request.exporter_attrs_deprecated.clone(),
        });
    }
    let read = |exporter: &Exporting| Output::read(&exporter.kind, &exporter.attrs);
    exporters.iter().map(read).collect::<Result<_, _>>().map_err(|error| failure::invalid(error.to_string()))
}

fn version() -> BuildkitVersion {
    BuildkitVersion {
        package: env!("CARGO_PKG_REPOSITORY").trim_start_matches("https://").to_owned(),
        version: concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
        revision: String::new(),
    }
}

impl BuildKit {
    pub(super) fn worker(&self) -> WorkerRecord {
        let platform = |platform: dray_spec::Platform| Platform {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant.unwrap_or_default(),
        };
        WorkerRecord {
            id: WORKER.to_owned(),
            labels: HashMap::from([
                ("org.mobyproject.buildkit.worker.executor".to_owned(), WORKER.to_owned()),
                // By this label buildx knows that the store keeps manifests: archives, pushes by the daemon.
                ("org.mobyproject.buildkit.worker.snapshotter".to_owned(), "overlayfs".to_owned()),
            ]),
            platforms: self.builds.platforms().into_iter().map(platform).collect(),
            buildkit_version: Some(version()),
        }
    }
}

/// A job that does not exist, or not any more.
pub(super) fn no_such_job(reference: &str) -> Status {
    Status::new(Code::NotFound, format!("no such job {reference}"))
}
