//! `/build`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::post;
use dray_api::build::BuildResult;
use dray_api::container::Ulimit;
use dray_api::progress::ProgressMessage;
use dray_build::classic::{ClassicText, Piece};
use dray_build::{BuildEvent, BuildEvents, Cancel, Entitlements, Resources, Secrets, Subrequest};
use dray_engine::build::{Options, PruneOptions, Service, Wishes};
use dray_image::ProgressEvent;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use crate::body::{Failure, JsonLines, messages, progress_message};
use crate::buildkit::{BuildKit, Caller};
use crate::credentials;
use crate::error::{ApiError, ApiResult, json};
use crate::extract::Params;
use crate::read_ahead;
use crate::state::App;
use crate::version::ApiVersion;

type Builds = State<Arc<Service>>;

/// The id of messages that carry the builder's events for `dray build`.
const EVENTS: &str = "dray.build";

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/build", post(build))
        .route("/build/prune", post(prune))
        .route("/build/cancel", post(cancel))
}

async fn build(
    State(builds): Builds,
    State(kit): State<Arc<BuildKit>>,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    let mut options = options(&params)?;
    if params.get("version") == "2" {
        return build_traced(kit, &builds, &params, options).await;
    }
    options.auths = credentials::of_registries(&headers);
    builds.check(&options)?;
    if let Some(question) = params.non_empty("call") {
        let question = question_of(question)?;
        return answer(builds, options, question, body).await;
    }
    let wishes = wishes(&kit, &params).await?;
    let telling = Telling {
        quiet: params.bool("q"),
        events: params.bool("dray"),
        remove: params.bool("forcerm") || params.non_empty("rm").is_none() || params.bool("rm"),
    };
    messages(move |lines, gone| async move {
        let cancel = Cancel::new();
        let raised = cancel.clone();
        let watch = tokio::spawn(async move {
            gone.cancelled().await;
            raised.cancel();
        });
        let _raise_when_dropped = gone_guard(&cancel);
        let asked = Asked { options, wishes, telling };
        let work = move || run(&builds, asked, body, &lines, cancel);
        let result = tokio::task::spawn_blocking(work).await;
        watch.abort();
        result.unwrap_or_else(|error| Err(ApiError::internal(error.to_string()).into()))
    })
    .await
}

/// BuildKit's way before buildx: everything comes over the client's session.
async fn build_traced(kit: Arc<BuildKit>, builds: &Service, params: &Params, options: Options) -> ApiResult {
    let session = params.get("session").to_owned();
    let refused = match params.get("remote") {
        "client-session" if !session.is_empty() => builds.check(&options).err().map(ApiError::from),
        _ => Some(ApiError::bad_request(
            "with BuildKit the context has to be a folder of the client: archives and remote contexts are for DOCKER_BUILDKIT=0",
        )),
    };
    if let Some(error) = refused {
        kit.sessions().end(&session);
        return Err(error);
    }
    let reference = params.non_empty("buildid").map_or_else(|| session.clone(), str::to_owned);
    messages(move |lines, gone| async move {
        tokio::select! {
            built = kit.build_traced(&session, &reference, options, &lines) => {
                built.map_err(|status| ApiError::internal(status.message).into())
            }
            () = gone.cancelled() => Ok(()),
        }
    })
    .await
}

/// What steps may ask the client for: `dray build` opens a session where it was given secrets or agents. Without
/// one, it has none, and only what a step cannot do without is an error.
async fn wishes(kit: &BuildKit, params: &Params) -> Result<Wishes, ApiError> {
    match params.non_empty("session") {
        Some(session) => {
            let session = kit.sessions().find(session).await;
            Ok(Caller::new(session.map_err(|status| ApiError::bad_request(status.message))?).wishes())
        }
        _ if params.bool("dray") => Ok(Wishes { secrets: Secrets::none(), ..Wishes::default() }),
        _ => Ok(Wishes::default()),
    }
}

/// The names that `--call` knows questions by, beside BuildKit's own.
fn question_of(name: &str) -> Result<Subrequest, ApiError> {
    let name = if name == "check" { "lint" } else { name };
    let full = format!("frontend.{name}");
    Subrequest::named(&full)
        .or_else(|| Subrequest::named(name))
        .ok_or_else(|| ApiError::bad_request(format!("unsupported request {full}")))
}

/// Answers a question about the Dockerfile instead of building it: `POST /build?call=check`. The answer is an object
/// with texts by key.
async fn answer(builds: Arc<Service>, options: Options, question: Subrequest, body: Body) -> ApiResult {
    let cancel = Cancel::new();
    let raise = gone_guard(&cancel);
    let reader = read_ahead::reader(body);
    let work = move || builds.answer(question, options, reader, cancel);
    let answer = tokio::task::spawn_blocking(work).await;
    drop(raise);
    let answer = answer.map_err(|error| ApiError::internal(error.to_string()))??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let answer: BTreeMap<String, String> =
        answer.into_iter().map(|(key, value)| (key, text(value))).collect();
    Ok(json(StatusCode::OK, &answer))
}

/// Stops the build when the request's work is dropped.
fn gone_guard(cancel: &Cancel) -> impl Drop + use<> {
    struct Guard(Cancel);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.cancel();
        }
    }
    Guard(cancel.clone())
}

/// What of a build the client wants to hear.
#[derive(Clone, Copy)]
struct Telling {
    quiet: bool,
    events: bool,
    remove: bool,
}

/// What a request for a build asks for.
struct Asked {
    options: Options,
    wishes: Wishes,
    telling: Telling,
}

fn run(builds: &Service, asked: Asked, body: Body, lines: &JsonLines, cancel: Cancel) -> Result<(), Failure> {
    let Asked { mut options, wishes, telling } = asked;
    let hung_up = cancel.clone();
    let send = |message: ProgressMessage| {
        if lines.blocking_send(&message).is_err() {
            hung_up.cancel();
        }
    };
    let classic = ClassicText::new(telling.remove, |piece| {
        if !telling.quiet {
            send(message(piece));
        }
    });
    let events = |event: BuildEvent| {
        if telling.events {
            let aux = serde_json::to_value(&event).unwrap_or_default();
            send(ProgressMessage { id: EVENTS.to_owned(), ..ProgressMessage::aux(aux) });
        }
        classic.event(event);
    };
    let cache_from = std::mem::take(&mut options.cache_from);
    let built = builds.build(options, read_ahead::reader(body), wishes, &events, cancel.clone());
    if built.is_ok() && !cache_from.is_empty() && !telling.quiet {
        // Docker's builder would look into the history of these images; here a step is known by its content.
        send(ProgressMessage::stream(format!(
            "[Warning] --cache-from {} is not looked at: steps are cached by their content\n",
            cache_from.join(",")
        )));
    }
    let image = built.map_err(|error| Failure { code: error.code(), error: error.into() })?;
    if telling.quiet {
        send(ProgressMessage::stream(format!("{image}\n")));
    }
    Ok(())
}

fn message(piece: Piece) -> ProgressMessage {
    match piece {
        Piece::Text(text) => ProgressMessage::stream(text),
        Piece::Image(id) => {
            ProgressMessage::aux(serde_json::to_value(BuildResult { id }).unwrap_or_default())
        }
        Piece::Pull { id, status, current, total } => {
            progress_message(ProgressEvent { id, status, current, total })
        }
    }
}

/// Reads the query of `POST /build`.
fn options(params: &Params) -> Result<Options, ApiError> {
    refuse(params)?;
    let build_args = from_json::<BTreeMap<String, Option<String>>>(params, "buildargs", "build args")?;
    let labels = from_json::<BTreeMap<String, String>>(params, "labels", "labels")?;
    let dockerfile = params.non_empty("dockerfile").unwrap_or("Dockerfile");
    Ok(Options {
        dockerfile: dockerfile.to_owned(),
        remote: params
            .non_empty("remote")
            .filter(|remote| *remote != "client-session")
            .unwrap_or_default()
            .into(),
        cache_from: from_json::<Vec<String>>(params, "cachefrom", "cache-from")?,
        tags: params.all("t").map(str::to_owned).collect(),
        labels,
        target: params.get("target").to_owned(),
        no_cache: params.bool("nocache"),
        pull: params.bool("pull"),
        network_mode: params.get("networkmode").to_owned(),
        platform: params.get("platform").to_owned(),
        contexts: from_json(params, "contexts", "contexts")?,
        entitlements: Entitlements::parse(params.all("allow"))
            .map_err(|error| ApiError::bad_request(error.to_string()))?,
        check: build_args.get("BUILDKIT_DOCKERFILE_CHECK").cloned().flatten(),
        build_args,
        resources: resources(params)?,
        auths: Default::default(),
    })
}

/// What this builder does not do, said before anything is read.
fn refuse(params: &Params) -> Result<(), ApiError> {
    match params.get("version") {
        "" | "1" | "2" => {}
        other => return Err(ApiError::bad_request(format!("invalid version {other:?}"))),
    }
    if params.bool("squash") {
        return Err(ApiError::bad_request("squash is only supported with experimental mode"));
    }
    if params.non_empty("outputs").is_some_and(|outputs| outputs != "[]" && outputs != "null") {
        return Err(ApiError::bad_request("outputs are only supported with BuildKit"));
    }
    Ok(())
}

fn resources(params: &Params) -> Result<Resources, ApiError> {
    let ulimits = from_json::<Vec<Ulimit>>(params, "ulimits", "ulimit settings")?;
    Ok(Resources {
        memory: params.int_or_zero("memory"),
        memory_swap: params.int_or_zero("memswap"),
        cpu_shares: params.int_or_zero("cpushares"),
        cpu_period: params.int_or_zero("cpuperiod"),
        cpu_quota: params.int_or_zero("cpuquota"),
        cpuset_cpus: params.get("cpusetcpus").to_owned(),
        cpuset_mems: params.get("cpusetmems").to_owned(),
        cgroup_parent: params.get("cgroupparent").to_owned(),
        shm_size: params.int("shmsize")?.unwrap_or(0),
        ulimits: ulimits.into_iter().map(|limit| (limit.name, (limit.soft, limit.hard))).collect(),
        extra_hosts: params.all("extrahosts").map(str::to_owned).collect(),
        security_opt: params.all("securityopt").map(str::to_owned).collect(),
    })
}

fn from_json<T: DeserializeOwned + Default>(params: &Params, name: &str, what: &str) -> Result<T, ApiError> {
    let Some(text) = params.non_empty(name) else { return Ok(T::default()) };
    let read: Option<T> = serde_json::from_str(text)
        .map_err(|error| ApiError::bad_request(format!("error reading {what}: {error}")))?;
    Ok(read.unwrap_or_default())
}

async fn prune(State(builds): Builds, version: ApiVersion, params: Params) -> ApiResult {
    let bytes = |name: &str| bytes_of(&params, name);
    let mut prune =
        PruneOptions { all: params.bool("all"), filters: params.filters()?, ..Default::default() };
    if version.at_least(48) {
        prune.reserved_space = bytes("reserved-space")?;
        prune.max_used_space = bytes("max-used-space")?;
        prune.min_free_space = bytes("min-free-space")?;
    }
    if prune.reserved_space == 0 {
        prune.reserved_space = bytes("keep-storage")?;
    }
    Ok(json(StatusCode::OK, &crate::blocking::call(move || builds.prune(&prune)).await?))
}

fn bytes_of(params: &Params, name: &str) -> Result<u64, ApiError> {
    let Some(text) = params.non_empty(name) else { return Ok(0) };
    let wrong = || ApiError::bad_request(format!("{name} is in bytes and expects an integer, got {text}"));
    // A negative bound is none.
    text.parse::<i64>().map(|bytes| u64::try_from(bytes).unwrap_or(0)).map_err(|_| wrong())
}

/// Builds end when their client hangs up; ids are BuildKit's.
async fn cancel(params: Params) -> ApiResult {
    if params.get("id").is_empty() {
        return Err(ApiError::bad_request("build ID not provided"));
    }
    Ok(StatusCode::OK.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_options() {
        let query = "t=a&t=b%3Av1&dockerfile=x%2FDockerfile&nocache=1&buildargs=%7B%22A%22%3A%22b%22%2C%22C%22%3Anull%7D\
                     &labels=%7B%22l%22%3A%22m%22%7D&shmsize=1024&networkmode=host&target=t&memory=4096\
                     &ulimits=%5B%7B%22Name%22%3A%22nofile%22%2C%22Hard%22%3A2%2C%22Soft%22%3A1%7D%5D&extrahosts=h%3A1.2.3.4\
                     &cachefrom=%5B%5D&rm=1&version=1";
        let options = options(&Params::parse(query)).unwrap();
        assert_eq!(options.tags, ["a", "b:v1"]);
        assert_eq!(options.dockerfile, "x/Dockerfile");
        assert!(options.no_cache && !options.pull);
        assert_eq!(options.build_args["A"].as_deref(), Some("b"));
        assert_eq!(options.build_args["C"], None);
        assert_eq!(options.labels["l"], "m");
        assert_eq!((options.resources.shm_size, options.resources.memory), (1024, 4096));
        assert_eq!(options.resources.ulimits["nofile"], (1, 2));
        assert_eq!(options.resources.extra_hosts, ["h:1.2.3.4"]);
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let message = |query: &str| options(&Params::parse(query)).unwrap_err().message;
        assert_eq!(message("squash=1"), "squash is only supported with experimental mode");
        assert!(message("buildargs=%7B").starts_with("error reading build args: "));
        assert_eq!(message("version=9"), "invalid version \"9\"");
    }
}
