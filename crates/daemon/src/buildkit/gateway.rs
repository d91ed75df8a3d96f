//! `moby.buildkit.v1.frontend.LLBBridge`: the calls with which a client drives its build.
//!
//! Results are whole images already, so that a client has nothing to read from them or to evaluate. Of graphs that stand
//! for files ([`super::graph`]) it can.

use std::sync::Arc;

use dray_build::Built;
use dray_buildkit::grpc::{Call, Reply, Status};
use dray_buildkit::proto::Definition;
use dray_buildkit::proto::control::Empty;
use dray_buildkit::proto::gateway::{
    ApiCap, PongResponse, ReadFileRequest, Ref, RefMap, Refs, ReturnRequest, SolveRequest, SolveResponse,
    Solved, StatFileRequest,
};
use dray_engine::build::Results;
use dray_spec::Platform;
use serde_json::json;

use super::job::Job;
use super::{BuildKit, failure, graph, inputs, unknown};

/// The header that says which build a call belongs to.
const BUILD_ID: &str = "buildkit-controlapi-buildid";
/// Which platforms the results are for, among what is said of them.
const PLATFORMS: &str = "refs.platforms";
/// What of the gateway there is.
const GATEWAY_CAPS: [&str; 11] = [
    "solve.base",
    "solve.inlinereturn",
    "return",
    "returnmap",
    "proto.refarray",
    "reference.output",
    "readfile",
    "statfile",
    "frontend.inputs",
    "gateway.evaluate",
    "gateway.solve.evaluate",
];
/// What of the graph's operations a Dockerfile can use here, in BuildKit's names.
const LLB_CAPS: [&str; 20] = [
    "source.image",
    "source.local",
    "source.git",
    "source.git.keepgitdir",
    "source.git.fullurl",
    "source.git.httpauth",
    "source.git.subdir",
    "source.git.checksum",
    "source.git.skipsubmodules",
    "source.http",
    "source.http.checksum",
    "constraints",
    "platform",
    "meta.description",
    "meta.ignorecache",
    "meta.exportcache",
    "file.base",
    "exporter.multiple",
    "exporter.image.attestations",
    "cache.gha",
];

impl BuildKit {
    pub(super) async fn gateway(self: Arc<Self>, method: &str, mut call: Call) -> Result<Reply, Status> {
        let job = self.jobs.find(&build_id(&call)?).await?;
        match method {
            "Ping" => Ok(Reply::one(&self.pong())),
            "Solve" => {
                let request: SolveRequest = call.messages.only().await?;
                Ok(Reply::one(&self.gateway_solve(&job, request).await?))
            }
            "Evaluate" => Ok(Reply::one(&Empty {})),
            "StatFile" => {
                let request: StatFileRequest = call.messages.only().await?;
                Ok(Reply::one(&Self::stat_file(&job, &request)?))
            }
            "ReadFile" => {
                let request: ReadFileRequest = call.messages.only().await?;
                Ok(Reply::one(&Self::read_file(&job, &request)?))
            }
            "Return" => {
                let request: ReturnRequest = call.messages.only().await?;
                job.give_back(request);
                Ok(Reply::one(&Empty {}))
            }
            _ => Err(unknown("moby.buildkit.v1.frontend.LLBBridge", method)),
        }
    }

    async fn gateway_solve(
        self: &Arc<Self>,
        job: &Arc<Job>,
        request: SolveRequest,
    ) -> Result<SolveResponse, Status> {
        if request.frontend.is_empty() {
            return self.solve_graph(job, &request.definition.unwrap_or_default()).await;
        }
        let inputs = request.frontend_inputs;
        let answer = self.solve(job, &request.frontend, request.frontend_opt, inputs).await?;
        let result = match answer {
            Some(answer) => Solved { result: None, metadata: answer.into_iter().collect() },
            None => solved(job),
        };
        Ok(SolveResponse { result: Some(result) })
    }

    /// Fetches the files that a graph stands for, for the client to look into.
    async fn solve_graph(&self, job: &Arc<Job>, graph: &Definition) -> Result<SolveResponse, Status> {
        let solved = async {
            let (folder, _) = self.fetch_files(job, graph::files(graph)?).await?;
            let reference = Ref { id: job.keep(folder), def: Some(graph.clone()) };
            Ok(SolveResponse {
                result: Some(Solved { result: Some(Refs::One(reference)), ..Solved::default() }),
            })
        };
        let solved = solved.await;
        if let Err(status) = &solved {
            job.fail(status);
        }
        solved
    }
}

/// What a client is told of the results: one, or one for each platform.
fn solved(job: &Job) -> Solved {
    let results = job.built();
    let reference = |built: Option<&Built>| Ref {
        id: job.reference.clone(),
        def: built.map(|built| inputs::definition(&built.image)),
    };
    let Some(results) = results.as_ref().filter(|results| results.is_index()) else {
        let built = reference(results.as_ref().and_then(Results::main));
        return Solved { result: Some(Refs::One(built)), ..Solved::default() };
    };
    let named = |(platform, built): (&Platform, &Built)| (platform.to_string(), reference(Some(built)));
    let refs = RefMap { refs: results.each().map(named).collect() };
    let platforms: Vec<&Platform> = results.each().map(|(platform, _)| platform).collect();
    let described = |platform: &&Platform| json!({ "ID": platform.to_string(), "Platform": platform });
    let told = json!({ "Platforms": platforms.iter().map(described).collect::<Vec<_>>() });
    Solved {
        result: Some(Refs::Many(refs)),
        metadata: [(PLATFORMS.to_owned(), told.to_string().into_bytes())].into(),
    }
}

/// Which build a call belongs to.
fn build_id(call: &Call) -> Result<String, Status> {
    let id = call.metadata.get(BUILD_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
    id.ok_or_else(|| failure::invalid("no buildid found in context"))
}

impl BuildKit {
    fn pong(&self) -> PongResponse {
        let caps =
            |ids: &[&str]| ids.iter().map(|id| ApiCap { id: (*id).to_owned(), enabled: true }).collect();
        PongResponse {
            frontend_api_caps: caps(&GATEWAY_CAPS),
            llb_caps: caps(&LLB_CAPS),
            workers: vec![self.worker()],
        }
    }
}
