//! `/build`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::post;
use dray_api::build::{
    BUILD_RESULT_ID, BuildOutput, BuildResult, ContextFile, ContextFileKind, ContextListing, ContextMissing,
};
use dray_api::container::Ulimit;
use dray_api::progress::ProgressMessage;
use dray_build::classic::{ClassicText, Piece};
use dray_build::{
    BuildEvent, BuildEvents, Cancel, Entitlements, Facts, FileKind, Resources, Secrets, Subrequest,
};
use dray_buildkit::Session;
use dray_buildkit::grpc::Status;
use dray_engine::build::{
    Attests, CachePlace, Options, Output, OutputKind, PruneOptions, RemoteCache, Results, Service, Wishes,
    given_credentials,
};
use dray_image::ProgressEvent;
use dray_spec::{Platform, Reference};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use crate::body::{Failure, JsonLines, messages, progress_message};
use crate::buildkit::{
    Asked, BuildKit, CacheTransfer, Caller, ClassicBuild, ExportProgress, Exporter, LEFT_OUT, image_context,
    is_inline, layout_image, layout_place, platform_of, read_exports, read_imports, title,
};
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
        .route("/build/context", post(list_context))
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
    let outputs = outputs(&params, &builds.check(&options)?)?;
    options.unrecorded = !outputs.iter().any(|output| output.kind == OutputKind::Image);
    if params.get("version") == "2" {
        return build_traced(kit, &params, options, outputs).await;
    }
    options.auths = credentials::of_registries(&headers);
    let session = session(&kit, &params).await?;
    given(&builds, session.as_ref(), &mut options)
        .await
        .map_err(|status| ApiError::bad_request(status.message))?;
    if let Some(question) = params.non_empty("call") {
        let question = question_of(question)?;
        let secrets = wishes_of(session.as_ref(), &params, None).secrets;
        return answer(builds, options, question, secrets, body).await;
    }
    let refused = |status: Status| ApiError::bad_request(status.message);
    let imports = read_imports(from_json(&params, "cacheimports", "cache imports")?).map_err(refused)?;
    let caches = read_exports(from_json(&params, "cacheexports", "cache exports")?).map_err(refused)?;
    let registries = outputs.iter().flat_map(|output| &output.names).map(Reference::domain);
    let cache_registries = imports.iter().chain(&caches).filter_map(RemoteCache::registry);
    let known = |domain: &str| Some((domain.to_owned(), given_credentials(&options.auths, domain)?.clone()));
    let auths: BTreeMap<_, _> = registries.chain(cache_registries).filter_map(known).collect();
    let transfer =
        CacheTransfer { builds: Arc::clone(&builds), session: session.clone(), auths: auths.clone() };
    options.inline_cache = is_inline(&caches);
    let mut warnings = Vec::new();
    for cache in &imports {
        match transfer.import(cache).await {
            Ok(import) => options.cache_imports.push(Arc::new(import)),
            // A cache that cannot be had is none.
            Err(status) => warnings.push(format!("{}: {}", cache.import_title(), status.message)),
        }
    }
    let asked = Asked::by_request(params.get("buildid"), &options, &outputs, params.get("source"));
    let recorded = ClassicBuild::begin(builds.history(), asked);
    let wishes = wishes_of(session.as_ref(), &params, Some(&recorded));
    let exporter = Exporter::new(Arc::clone(&builds), session, auths);
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
        let exports = Exports { exporter, outputs, transfer, caches, warnings, handle: Handle::current() };
        let request = Request { options, wishes, telling, exports, recorded };
        let work = move || run(&builds, request, body, &lines, cancel);
        let result = tokio::task::spawn_blocking(work).await;
        watch.abort();
        result.unwrap_or_else(|error| Err(ApiError::internal(error.to_string()).into()))
    })
    .await
}

/// The largest list of a context: some millions of files.
const MAX_LISTING: usize = 1 << 30;

/// Compares a context with the last one from the same place; the build that follows is sent what is missing.
async fn list_context(State(builds): Builds, body: Body) -> ApiResult {
    let wrong = |error: &dyn std::fmt::Display| ApiError::bad_request(format!("list of a context: {error}"));
    let body = Limited::new(body, MAX_LISTING).collect().await.map_err(|error| wrong(&error))?.to_bytes();
    let work = move || {
        let listing: ContextListing = serde_json::from_slice(&body).map_err(|error| wrong(&error))?;
        drop(body);
        let files = listing.files.into_iter().map(|file| (file.path.clone(), facts(file)));
        let (id, missing) = builds.list_context(&listing.key, &listing.name, files)?;
        Ok::<_, ApiError>(ContextMissing { id, missing })
    };
    let missing = tokio::task::spawn_blocking(work).await;
    Ok(json(StatusCode::OK, &missing.map_err(|error| ApiError::internal(error.to_string()))??))
}

fn facts(file: ContextFile) -> Facts {
    let kind = match file.kind {
        ContextFileKind::File => FileKind::File,
        ContextFileKind::Folder => FileKind::Folder,
        ContextFileKind::Symlink => FileKind::Symlink,
        ContextFileKind::Special => FileKind::Special,
    };
    let ContextFile { mode, size, modified, changed, link, .. } = file;
    Facts { kind: kind as i32, mode, size, modified, changed, link }
}

/// BuildKit's way before buildx: everything comes over the client's session.
async fn build_traced(
    kit: Arc<BuildKit>,
    params: &Params,
    options: Options,
    outputs: Vec<Output>,
) -> ApiResult {
    let session = params.get("session").to_owned();
    let refused = match params.get("remote") {
        "client-session" if !session.is_empty() => None,
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
            built = kit.build_traced(&session, &reference, options, outputs, &lines) => {
                built.map_err(|status| ApiError::internal(status.message).into())
            }
            () = gone.cancelled() => Ok(()),
        }
    })
    .await
}

/// Contexts in OCI layouts of the client become images that the build knows by their ids.
async fn given(
    builds: &Arc<Service>,
    session: Option<&Session>,
    options: &mut Options,
) -> Result<(), Status> {
    let platform = options.platform.clone();
    for (name, value) in &mut options.contexts {
        if let (Some(place), Some(session)) = (layout_place(value), session) {
            let image = layout_image(builds, session.clone(), place, &platform_of(name, &platform)?).await?;
            *value = image_context(&image);
            options.given.push(image);
        }
    }
    Ok(())
}

/// What steps may ask the client for: `dray build` opens a session where it was given secrets or agents. Without
/// one, it has none, and only what a step cannot do without is an error.
pub(super) fn wishes_of(
    session: Option<&Session>,
    params: &Params,
    recorded: Option<&ClassicBuild>,
) -> Wishes {
    let recording = recorded.map(|recorded| Arc::clone(recorded.recording()));
    match session {
        Some(session) => Caller::recorded(session.clone(), recording).wishes(),
        None if params.bool("dray") => Wishes { secrets: Secrets::none(), ..Wishes::default() },
        None => Wishes::default(),
    }
}

/// The client's session, if it has one.
pub(super) async fn session(kit: &BuildKit, params: &Params) -> Result<Option<Session>, ApiError> {
    match params.non_empty("session") {
        None => Ok(None),
        Some(id) => {
            let found = kit.sessions().find(id).await;
            found.map(Some).map_err(|status| ApiError::bad_request(status.message))
        }
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
async fn answer(
    builds: Arc<Service>,
    options: Options,
    question: Subrequest,
    secrets: Secrets,
    body: Body,
) -> ApiResult {
    let cancel = Cancel::new();
    let raise = gone_guard(&cancel);
    let reader = read_ahead::reader(body);
    let work = move || builds.answer(question, options, reader, &secrets, cancel);
    let answer = tokio::task::spawn_blocking(work).await;
    drop(raise);
    let answer = answer.map_err(|error| ApiError::internal(error.to_string()))??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let answer: BTreeMap<String, String> =
        answer.into_iter().map(|(key, value)| (key, text(value))).collect();
    Ok(json(StatusCode::OK, &answer))
}

/// Stops the build when the request's work is dropped.
pub(super) fn gone_guard(cancel: &Cancel) -> impl Drop + use<> {
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
struct Request {
    options: Options,
    wishes: Wishes,
    telling: Telling,
    exports: Exports,
    recorded: ClassicBuild,
}

fn run(
    builds: &Service,
    request: Request,
    body: Body,
    lines: &JsonLines,
    cancel: Cancel,
) -> Result<(), Failure> {
    let Request { mut options, wishes, telling, exports, recorded } = request;
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
    let watched = recorded.beside(&events);
    let events = recorded.recording().watch("", &watched);
    for message in &exports.warnings {
        events.event(BuildEvent::Warning { message: message.clone() });
    }
    let cache_from = std::mem::take(&mut options.cache_from);
    let built = builds.build(options, read_ahead::reader(body), wishes, &events, cancel.clone());
    if built.is_ok() && !cache_from.is_empty() && !telling.quiet {
        // Docker's builder would look into the history of these images; here a step is known by its content.
        send(ProgressMessage::stream(format!(
            "[Warning] --cache-from {} is not looked at: steps are cached by their content\n",
            cache_from.join(",")
        )));
    }
    let built = built.map_err(|error| Failure { code: error.code(), error: error.into() });
    let put_out = built.and_then(|built| {
        let image = built.main().map(|main| main.image.to_string()).unwrap_or_default();
        let told = exports.carry_out(&built, &events)?;
        builds.record_results(recorded.recording(), &built, &told);
        Ok((image, told))
    });
    drop(events);
    let end = put_out.as_ref().map(|(_, told)| told).map_err(|failure| failure.error.message.clone());
    recorded.finish(end, cancel.is_cancelled());
    let (image, told) = put_out?;
    if telling.events {
        let aux = serde_json::to_value(&told).unwrap_or_default();
        send(ProgressMessage { id: BUILD_RESULT_ID.to_owned(), ..ProgressMessage::aux(aux) });
    }
    if telling.quiet {
        send(ProgressMessage::stream(format!("{image}\n")));
    }
    Ok(())
}

/// The outputs of a build, carried out from its thread.
struct Exports {
    exporter: Exporter,
    outputs: Vec<Output>,
    transfer: CacheTransfer,
    caches: Vec<RemoteCache>,
    /// What went wrong before the build began.
    warnings: Vec<String>,
    handle: Handle,
}

impl Exports {
    /// Carries out the outputs; gives what clients are told of them.
    fn carry_out(
        &self,
        results: &Results,
        events: &dyn BuildEvents,
    ) -> Result<HashMap<String, String>, Failure> {
        let mut told = HashMap::new();
        for (number, output) in self.outputs.iter().enumerate() {
            let plain = *output == Output::image(output.names.clone());
            let name = title(output.kind).to_owned();
            let started = Instant::now();
            if !plain {
                events.event(BuildEvent::Export { name: name.clone(), millis: None });
            }
            let exported = self.handle.block_on(self.exporter.export(number, output, results, &Unheard));
            told.extend(exported.map_err(|status| ApiError::internal(status.message))?);
            if !plain {
                let millis = u64::try_from(started.elapsed().as_millis()).ok();
                events.event(BuildEvent::Export { name, millis });
            }
            if output.kind == OutputKind::Image {
                for name in &output.names {
                    events.event(BuildEvent::Tagged { reference: name.familiar() });
                }
            }
        }
        let for_cache = if self.caches.is_empty() { None } else { results.for_cache() };
        for cache in self.caches.iter().filter(|cache| cache.place != CachePlace::Inline) {
            let Some(built) = &for_cache else { break };
            let started = Instant::now();
            let name = cache.export_title().to_owned();
            events.event(BuildEvent::Export { name: name.clone(), millis: None });
            match self.handle.block_on(self.transfer.export(cache, built)) {
                Ok(mut of_cache) => {
                    for message in of_cache.remove(LEFT_OUT).iter().flat_map(|all| all.lines()) {
                        events.event(BuildEvent::Warning { message: format!("{name}: {message}") });
                    }
                    told.extend(of_cache);
                }
                Err(status) if cache.ignore_error => {
                    events.event(BuildEvent::Warning { message: format!("{name}: {}", status.message) });
                }
                Err(status) => return Err(ApiError::internal(status.message).into()),
            }
            let millis = u64::try_from(started.elapsed().as_millis()).ok();
            events.event(BuildEvent::Export { name, millis });
        }
        Ok(told)
    }
}

/// What is done within an output is not told.
struct Unheard;

impl ExportProgress for Unheard {
    fn note(&self, _what: &str) {}
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
    let attests = from_json::<HashMap<String, String>>(params, "attests", "attestations")?;
    Ok(Options {
        dockerfile: dockerfile.to_owned(),
        remote: params
            .non_empty("remote")
            .filter(|remote| *remote != "client-session")
            .unwrap_or_default()
            .into(),
        dockerfile_beside: params.bool("dockerfilebeside"),
        listed: params.get("context").to_owned(),
        cache_from: from_json::<Vec<String>>(params, "cachefrom", "cache-from")?,
        tags: params.all("t").map(str::to_owned).collect(),
        labels,
        target: params.get("target").to_owned(),
        no_cache: params.bool("nocache"),
        no_cache_stages: params.all("nocachefilter").map(str::to_owned).collect(),
        pull: params.bool("pull"),
        network_mode: params.get("networkmode").to_owned(),
        platform: params.get("platform").split(',').next().unwrap_or_default().to_owned(),
        platforms: platforms(params)?,
        contexts: from_json(params, "contexts", "contexts")?,
        entitlements: Entitlements::parse(params.all("allow"))
            .map_err(|error| ApiError::bad_request(error.to_string()))?,
        check: build_args.get("BUILDKIT_DOCKERFILE_CHECK").cloned().flatten(),
        build_args,
        resources: resources(params)?,
        auths: Default::default(),
        squash: params.bool("squash"),
        unrecorded: false,
        strict_sources: !params.bool("dray"),
        given: Vec::new(),
        cache_imports: Vec::new(),
        inline_cache: false,
        asked: asked(params, &attests),
        vcs: from_json(params, "vcs", "vcs")?,
        attests: Attests::read(&attests)?,
    })
}

/// The request in BuildKit's attributes, for what is said of how the result was made; nothing if nothing is.
fn asked(params: &Params, attests: &HashMap<String, String>) -> BTreeMap<String, String> {
    if attests.is_empty() {
        return BTreeMap::new();
    }
    let mut asked = BTreeMap::new();
    let pairs = |name: &str| -> BTreeMap<String, Option<String>> {
        serde_json::from_str(params.get(name)).unwrap_or_default()
    };
    for (prefix, pairs) in [("build-arg", pairs("buildargs")), ("label", pairs("labels"))] {
        asked.extend(pairs.into_iter().filter_map(|(key, value)| Some((format!("{prefix}:{key}"), value?))));
    }
    let vcs: BTreeMap<String, String> = serde_json::from_str(params.get("vcs")).unwrap_or_default();
    asked.extend(vcs.into_iter().map(|(name, value)| (format!("vcs:{name}"), value)));
    for (name, param) in [("filename", "dockerfile"), ("target", "target"), ("context", "remote")] {
        asked.extend(params.non_empty(param).map(|value| (name.to_owned(), value.to_owned())));
    }
    asked
}

/// Several platforms, as `dray build` asks for them. Docker's own classic builder knows one.
fn platforms(params: &Params) -> Result<Vec<Platform>, ApiError> {
    let text = params.get("platform");
    if !text.contains(',') {
        return Ok(Vec::new());
    }
    let parse = |text: &str| Platform::parse(text).map_err(|error| ApiError::bad_request(error.to_string()));
    let mut platforms = Vec::new();
    for text in text.split(',').filter(|text| !text.is_empty()) {
        let platform = parse(text)?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// The outputs, as BuildKit's clients send them; without any, the image gets its names here.
fn outputs(params: &Params, names: &[Reference]) -> Result<Vec<Output>, ApiError> {
    let given = from_json::<Vec<BuildOutput>>(params, "outputs", "outputs")?;
    if given.is_empty() {
        return Ok(vec![Output::image(names.to_vec())]);
    }
    let joined = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut outputs = Vec::new();
    for output in given.into_iter().filter(|output| output.kind != "cacheonly") {
        let kind = if output.kind.is_empty() { "moby" } else { &output.kind };
        let mut attrs = output.attrs.unwrap_or_default();
        if !joined.is_empty() && !matches!(kind, "tar" | "local") {
            attrs.insert("name".to_owned(), joined.clone());
        }
        outputs.push(Output::read(kind, &attrs)?);
    }
    Ok(outputs)
}

/// What this builder does not do, said before anything is read.
fn refuse(params: &Params) -> Result<(), ApiError> {
    match params.get("version") {
        "" | "1" | "2" => {}
        other => return Err(ApiError::bad_request(format!("invalid version {other:?}"))),
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
        let outputs = |text: &str| {
            let query: String =
                url::form_urlencoded::Serializer::new(String::new()).append_pair("outputs", text).finish();
            outputs(&Params::parse(&query), &[]).map_err(|error| error.message)
        };
        assert!(outputs("[").unwrap_err().starts_with("error reading outputs: "));
        let message_of = |text: &str| outputs(text).unwrap_err();
        assert_eq!(message_of(r#"[{"Type":"x"}]"#), "exporter \"x\" could not be found");
        assert_eq!(outputs("null").unwrap(), [Output::image(Vec::new())]);
        assert!(outputs(r#"[{"Type":"cacheonly"}]"#).unwrap().is_empty());
        assert!(message("buildargs=%7B").starts_with("error reading build args: "));
        assert_eq!(message("version=9"), "invalid version \"9\"");
    }
}
