//! One build: what it needs is fetched from the client, then the builder works.
//!
//! Each fetch is a vertex, named as BuildKit names it, so that clients show what they are used to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dray_build::dockerfile::Dockerfile;
use dray_build::{
    Answer, BuildEvents, CacheImport, Cancel, ContextDir, Contexts, DockerfileSource, Subrequest,
};
use dray_buildkit::grpc::Status;
use dray_buildkit::proto;
use dray_buildkit::{Session, Wanted};
use dray_engine::build::{Input, Options, OutputKind, RemoteCache};
use dray_spec::dockerignore::{self, Patterns};

use super::attrs::{Folder, Frontend};
use super::caller::Caller;
use super::failure::{self, Source};
use super::graph::CONTEXT;
use super::job::Job;
use super::progress::VertexProgress;
use super::steps::Steps;
use super::transfer::Transfer;
use super::{BuildKit, CacheTransfer, is_inline};

const IGNORE: &str = ".dockerignore";
/// What clients are told that a context does.
const TRANSFERRING: &str = "transferring context:";

impl BuildKit {
    /// Builds for a job, or answers what is asked instead. Dropped, it stops.
    pub(super) async fn solve(
        self: &Arc<Self>,
        job: &Arc<Job>,
        frontend: &str,
        attrs: HashMap<String, String>,
        inputs: HashMap<String, proto::Definition>,
    ) -> Result<Option<Answer>, Status> {
        let wanted = Frontend::read(frontend, &attrs, &job.entitlements);
        let result = match wanted {
            Ok(wanted) => self.solve_frontend(job, Frontend { inputs, ..wanted }).await,
            Err(status) => Err(status),
        };
        if let Err(status) = &result {
            job.fail(status);
        }
        result
    }

    /// The same, of what was read already.
    pub(super) async fn solve_frontend(
        self: &Arc<Self>,
        job: &Arc<Job>,
        mut wanted: Frontend,
    ) -> Result<Option<Answer>, Status> {
        let _stops = Stops(job.cancel.clone());
        let session = self.sessions.find(&job.session).await?;
        let recording = job.recorded.as_ref().map(|recorded| {
            recorded.comes_from(session.shared_key());
            Arc::clone(recorded.recording())
        });
        let caller = Caller::recorded(session.clone(), recording);
        let (named, given) = self.given(job, &mut wanted).await?;
        wanted.options.given = given;
        let contexts = Contexts::new(named, Some(self.folders(job, &wanted)));
        let (definition, mut input) = match (wanted.options.remote.as_str(), wanted.inputs.get(CONTEXT)) {
            ("", None) => self.offered(job, &wanted).await?,
            ("", Some(graph)) => self.graphed(job, &wanted, graph).await?,
            _ => self.fetched(job, &wanted, &caller).await?,
        };
        input.wishes = caller.wishes();
        input.contexts = contexts;
        input.materials.append(&mut wanted.materials);
        let source = Source { name: definition.dockerfile.name.clone(), text: definition.text };
        let builds = Arc::clone(&self.builds);
        if let Some(question) = wanted.question {
            let (options, job) = (wanted.options, Arc::clone(job));
            let work = move || builds.answer_input(question, options, input, caller, job.cancel.clone());
            let answer = tokio::task::spawn_blocking(work).await.map_err(failure::internal)?;
            return answer.map(Some).map_err(|error| source.failed(error));
        }
        let cache_imports = self.cache_imports(job, &wanted.cache_imports, &session).await;
        let inline_cache = is_inline(&job.cache_exports);
        let unrecorded = !job.outputs.iter().any(|output| output.kind == OutputKind::Image);
        let options = Options { unrecorded, cache_imports, inline_cache, ..wanted.options };
        let job = Arc::clone(job);
        let work = move || {
            let progress = job.progress.waiting();
            let steps = Steps::new(&progress, &definition.dockerfile, definition.vertex);
            let watch = job.recorded.as_ref().map(|recorded| recorded.recording().watch("", &steps));
            let events = watch.as_ref().map_or(&steps as &dyn BuildEvents, |watch| watch);
            match builds.build_input(options, input, caller, events, job.cancel.clone()) {
                Ok(built) => {
                    job.succeed(built);
                    Ok(None)
                }
                Err(error) => {
                    let status = source.failed(error);
                    let vertex = steps.failed(&status.message);
                    Err(vertex.map_or(status.clone(), |vertex| failure::of_vertex(status, vertex.digest())))
                }
            }
        };
        tokio::task::spawn_blocking(work).await.map_err(failure::internal)?
    }

    /// The caches that a build reads from. One that cannot be had is none.
    async fn cache_imports(
        &self,
        job: &Job,
        caches: &[RemoteCache],
        session: &Session,
    ) -> Vec<Arc<CacheImport>> {
        let session = Some(session.clone());
        let transfer = CacheTransfer { builds: Arc::clone(&self.builds), session, auths: BTreeMap::new() };
        let mut imports = Vec::new();
        for cache in caches {
            let vertex = job.progress.vertex(&cache.import_title());
            vertex.begin();
            let import = transfer.import(cache).await;
            vertex.end(import.as_ref().err().map(|status| status.message.clone()));
            imports.extend(import.ok().map(Arc::new));
        }
        imports
    }

    /// What the client offers over its session. For a question the files of the context are not needed.
    async fn offered(&self, job: &Job, wanted: &Frontend) -> Result<(Loaded, Input), Status> {
        let definition = self.definition(job, wanted).await?;
        let ignore = self.ignore(job, wanted, definition.ignore.as_deref()).await?;
        let wrong = |error| failure::invalid(format!("failed to parse dockerignore: {error}"));
        let patterns = Patterns::parse(&ignore).map_err(wrong)?;
        let context = match wanted.question {
            Some(_) => None,
            None => {
                let vertex = "[internal] load build context";
                Some(self.fetch_context(job, &wanted.context, &ignore, vertex).await?)
            }
        };
        let (name, text) = (definition.dockerfile.name.clone(), definition.text.clone());
        let input = Input {
            dockerfile: DockerfileSource::Text { name, text },
            context,
            ignore: Some(patterns).filter(|patterns| !patterns.is_empty()),
            ..Input::default()
        };
        Ok((definition, input))
    }

    /// A context that is an archive, a Dockerfile or a repository somewhere.
    async fn fetched(
        &self,
        job: &Job,
        wanted: &Frontend,
        caller: &Arc<Caller>,
    ) -> Result<(Loaded, Input), Status> {
        let vertex = job.progress.vertex("[internal] load remote build context");
        vertex.begin();
        let (builds, cancel) = (Arc::clone(&self.builds), job.cancel.clone());
        let (address, name) = (wanted.options.remote.clone(), wanted.filename.clone());
        let secrets = caller.wishes().secrets;
        let fetch = move || builds.fetch(&address, &name, &secrets, &cancel);
        let fetched = tokio::task::spawn_blocking(fetch).await.map_err(failure::internal)?;
        vertex.end(fetched.as_ref().err().map(ToString::to_string));
        let mut input = fetched.map_err(failure::engine)?;
        if wanted.own_dockerfile {
            let definition = self.definition(job, wanted).await?;
            let (name, text) = (definition.dockerfile.name.clone(), definition.text.clone());
            input.dockerfile = DockerfileSource::Text { name, text };
            return Ok((definition, input));
        }
        let (name, text) = match (&input.dockerfile, &input.context) {
            (DockerfileSource::Text { name, text }, _) => (name.clone(), text.clone()),
            (DockerfileSource::InContext(name), Some(files)) => read_definition(files, name)?,
            (DockerfileSource::InContext(name), None) => return Err(no_dockerfile(name)),
        };
        let source = Source { name, text };
        let dockerfile = source.parsed()?;
        Ok((Loaded { dockerfile, text: source.text, ignore: None, vertex }, input))
    }

    /// The Dockerfile, and the ignore file of its own.
    pub(super) async fn definition(&self, job: &Job, wanted: &Frontend) -> Result<Loaded, Status> {
        let name = &wanted.filename;
        let vertex = job.progress.vertex(&format!("[internal] load build definition from {name}"));
        let ignore_name = format!("{name}.dockerignore");
        let lower = lower_case(name);
        let follow = [name.clone(), ignore_name.clone()].into_iter().chain(lower.clone()).collect();
        let files =
            self.fetch(job, &wanted.dockerfile, follow, Vec::new(), &vertex, "transferring dockerfile:");
        let files = files.await?;
        let (name, text) = read_definition(&files, name)?;
        let source = Source { name, text };
        let dockerfile = match (source.parsed(), wanted.question) {
            // What is wrong with it is part of the answer.
            (Err(_), Some(Subrequest::Lint)) => Dockerfile::unreadable(&source.name, &source.text),
            (parsed, _) => parsed?,
        };
        let ignore = read(&files, &ignore_name)?;
        Ok(Loaded { dockerfile, text: source.text, ignore, vertex })
    }

    /// The text of the ignore file that counts.
    async fn ignore(&self, job: &Job, wanted: &Frontend, own: Option<&str>) -> Result<String, Status> {
        match own {
            Some(text) => Ok(text.to_owned()),
            None => self.fetch_ignore(job, &wanted.context, "[internal] load .dockerignore").await,
        }
    }

    /// The ignore file of a folder of the client.
    pub(super) async fn fetch_ignore(
        &self,
        job: &Job,
        folder: &Folder,
        vertex: &str,
    ) -> Result<String, Status> {
        let vertex = job.progress.vertex(vertex);
        let follow = vec![IGNORE.to_owned()];
        let files = self.fetch(job, folder, follow, Vec::new(), &vertex, TRANSFERRING).await?;
        Ok(read(&files, IGNORE)?.unwrap_or_default())
    }

    /// Fetches files of the client into a folder that goes away with its value.
    pub(super) async fn fetch(
        &self,
        job: &Job,
        folder: &Folder,
        follow: Vec<String>,
        exclude: Vec<String>,
        vertex: &VertexProgress,
        what: &'static str,
    ) -> Result<ContextDir, Status> {
        let wanted = Wanted { folder: folder.name.clone(), exclude, follow };
        self.transfer(job, Transfer { folder, wanted, vertex, what }).await
    }

    /// Fetches a context of the client, of which only what has changed since an earlier build comes.
    pub(super) async fn fetch_context(
        &self,
        job: &Job,
        folder: &Folder,
        ignore: &str,
        vertex: &str,
    ) -> Result<ContextDir, Status> {
        let vertex = &job.progress.vertex(vertex);
        let exclude = dockerignore::lines(ignore).collect();
        let wanted = Wanted { folder: folder.name.clone(), exclude, follow: Vec::new() };
        self.transfer_changes(job, Transfer { folder, wanted, vertex, what: TRANSFERRING }).await
    }
}

/// A Dockerfile and what belongs to it.
pub(super) struct Loaded {
    pub dockerfile: Dockerfile,
    pub text: String,
    /// Its own ignore file.
    pub ignore: Option<String>,
    pub vertex: VertexProgress,
}

/// `Dockerfile` may be written `dockerfile`.
fn lower_case(name: &str) -> Option<String> {
    let (folder, base) = name.rsplit_once('/').map_or(("", name), |(folder, base)| (folder, base));
    let joined = |base: &str| if folder.is_empty() { base.to_owned() } else { format!("{folder}/{base}") };
    (base == "Dockerfile").then(|| joined("dockerfile"))
}

/// The Dockerfile among files, and the name it has there.
pub(super) fn read_definition(files: &ContextDir, name: &str) -> Result<(String, String), Status> {
    let found = read(files, name)?.map(|text| (name.to_owned(), text));
    let found = match (found, lower_case(name)) {
        (None, Some(lower)) => read(files, &lower)?.map(|text| (lower, text)),
        (found, _) => found,
    };
    found.ok_or_else(|| no_dockerfile(name))
}

fn no_dockerfile(name: &str) -> Status {
    failure::not_found(format!("failed to read dockerfile: open {name}: no such file or directory"))
}

fn read(files: &ContextDir, path: &str) -> Result<Option<String>, Status> {
    let bytes = files.read(path).map_err(|error| failure::internal(format!("read {path}: {error}")))?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Raises the flag when the work it stands for is over, one way or the other.
struct Stops(Cancel);

impl Drop for Stops {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
