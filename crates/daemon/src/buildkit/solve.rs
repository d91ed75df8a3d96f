//! One build: what it needs is fetched from the client, then the builder works.
//!
//! Each fetch is a vertex, named as BuildKit names it, so that clients show what they are used to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dray_api::auth::AuthConfig;
use dray_build::dockerfile::{self, Dockerfile};
use dray_build::{
    CacheImport, Cancel, ContextDir, DockerfileSource, SecretContent, SecretError, SecretSource, Secrets,
};
use dray_buildkit::grpc::Status;
use dray_buildkit::{ArchiveReader, FileSyncError, Session, Wanted, copy_as_tar};
use dray_engine::build::{CredentialSource, Input, Options, OutputKind, RemoteCache};
use dray_spec::dockerignore::{self, Patterns};
use tokio::runtime::Handle;

use super::attrs::{Folder, Frontend, check_syntax};
use super::failure::{self, Source};
use super::job::Job;
use super::progress::VertexProgress;
use super::steps::Steps;
use super::{BuildKit, CacheTransfer, is_inline};

/// The host that Docker's clients know Docker Hub's registry by.
const DOCKER_HUB: &str = "registry-1.docker.io";

impl BuildKit {
    /// Builds for a job. Dropped, it stops.
    pub(super) async fn solve(
        &self,
        job: &Arc<Job>,
        frontend: &str,
        attrs: HashMap<String, String>,
        has_inputs: bool,
    ) -> Result<(), Status> {
        let wanted = Frontend::read(frontend, &attrs, &job.entitlements);
        let wanted = match has_inputs {
            true => Err(failure::unsupported("inputs of other builds are")),
            false => wanted,
        };
        let result = match wanted {
            Ok(wanted) => self.solve_frontend(job, wanted).await,
            Err(status) => Err(status),
        };
        if let Err(status) = &result {
            job.fail(status);
        }
        result
    }

    /// The same, of what was read already.
    pub(super) async fn solve_frontend(&self, job: &Arc<Job>, wanted: Frontend) -> Result<(), Status> {
        let _stops = Stops(job.cancel.clone());
        let session = self.sessions.find(&job.session).await?;
        let definition = self.definition(job, &wanted).await?;
        let context = self.context(job, &wanted, definition.ignore.as_deref()).await?;
        let source = Source { name: wanted.filename, text: definition.text };
        let caller = Arc::new(Caller { session: session.clone(), handle: Handle::current() });
        let input = Input {
            dockerfile: DockerfileSource::Text { name: source.name.clone(), text: source.text.clone() },
            context: Some(context),
            secrets: Secrets::from_source(caller.clone()),
        };
        let cache_imports = self.cache_imports(job, &wanted.cache_imports, &session).await;
        let inline_cache = is_inline(&job.cache_exports);
        let unrecorded = !job.outputs.iter().any(|output| output.kind == OutputKind::Image);
        let options = Options { unrecorded, cache_imports, inline_cache, ..wanted.options };
        let (builds, job) = (Arc::clone(&self.builds), Arc::clone(job));
        let work = move || {
            let progress = job.progress.waiting();
            let steps = Steps::new(&progress, &definition.dockerfile, definition.vertex);
            match builds.build_input(options, input, caller, &steps, job.cancel.clone()) {
                Ok(built) => {
                    job.succeed(built);
                    Ok(())
                }
                Err(error) => {
                    let status = failure::engine(error);
                    Err(match steps.failed(&status.message) {
                        Some(lines) => source.at(lines, status),
                        None => status,
                    })
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

    /// The Dockerfile, and the ignore file of its own.
    async fn definition(&self, job: &Job, wanted: &Frontend) -> Result<Definition, Status> {
        let name = &wanted.filename;
        let vertex = job.progress.vertex(&format!("[internal] load build definition from {name}"));
        let ignore_name = format!("{name}.dockerignore");
        let lower = lower_case(name);
        let follow = [name.clone(), ignore_name.clone()].into_iter().chain(lower.clone()).collect();
        let files =
            self.fetch(job, &wanted.dockerfile, follow, Vec::new(), &vertex, "transferring dockerfile:");
        let files = files.await?;
        let found = read(&files, name)?.map(|text| (name.clone(), text));
        let found = match (found, lower) {
            (None, Some(lower)) => read(&files, &lower)?.map(|text| (lower, text)),
            (found, _) => found,
        };
        let Some((found_name, text)) = found else {
            return Err(failure::not_found(format!(
                "failed to read dockerfile: open {name}: no such file or directory"
            )));
        };
        let source = Source { name: found_name, text };
        let dockerfile =
            dockerfile::parse(&source.text, &source.name).map_err(|error| source.parse_error(&error))?;
        if let Some(syntax) = &dockerfile.syntax {
            check_syntax(syntax)?;
        }
        let ignore = read(&files, &ignore_name)?;
        Ok(Definition { dockerfile, text: source.text, ignore, vertex })
    }

    /// The context, without what its ignore file names.
    async fn context(&self, job: &Job, wanted: &Frontend, own: Option<&str>) -> Result<ContextDir, Status> {
        let ignore = match own {
            Some(text) => text.to_owned(),
            None => {
                let vertex = job.progress.vertex("[internal] load .dockerignore");
                let follow = vec![".dockerignore".to_owned()];
                let files = self
                    .fetch(job, &wanted.context, follow, Vec::new(), &vertex, "transferring context:")
                    .await?;
                read(&files, ".dockerignore")?.unwrap_or_default()
            }
        };
        let wrong = |error| failure::invalid(format!("failed to parse dockerignore: {error}"));
        Patterns::parse(&ignore).map_err(wrong)?;
        let exclude = dockerignore::lines(&ignore).collect();
        let vertex = job.progress.vertex("[internal] load build context");
        self.fetch(job, &wanted.context, Vec::new(), exclude, &vertex, "transferring context:").await
    }

    /// Fetches files of the client into a folder that goes away with its value.
    async fn fetch(
        &self,
        job: &Job,
        folder: &Folder,
        follow: Vec<String>,
        exclude: Vec<String>,
        vertex: &VertexProgress,
        what: &'static str,
    ) -> Result<ContextDir, Status> {
        vertex.begin();
        let session = self.sessions.find(folder.session.as_ref().unwrap_or(&job.session)).await?;
        let wanted = Wanted { folder: folder.name.clone(), exclude, follow };
        let (sender, reader) = ArchiveReader::pipe();
        let builds = Arc::clone(&self.builds);
        let unpacking = tokio::task::spawn_blocking(move || builds.unpack(reader));
        let copied = copy_as_tar(&session, &wanted, sender, vertex.counter(what)).await;
        let unpacked = unpacking.await.map_err(failure::internal)?;
        let files = match (copied, unpacked) {
            (Ok(bytes), Ok(files)) => {
                vertex.counted(what, bytes, 0, true);
                Ok(files)
            }
            (Err(FileSyncError::Unwanted) | Ok(_), Err(error)) => Err(failure::engine(error)),
            (Err(FileSyncError::Call(status)), _) => Err(status),
            (Err(error), _) => Err(failure::internal(error)),
        };
        vertex.end(files.as_ref().err().map(|status| status.message.clone()));
        files
    }
}

/// A Dockerfile and what belongs to it.
struct Definition {
    dockerfile: Dockerfile,
    text: String,
    /// Its own ignore file.
    ignore: Option<String>,
    vertex: VertexProgress,
}

/// `Dockerfile` may be written `dockerfile`.
fn lower_case(name: &str) -> Option<String> {
    let (folder, base) = name.rsplit_once('/').map_or(("", name), |(folder, base)| (folder, base));
    let joined = |base: &str| if folder.is_empty() { base.to_owned() } else { format!("{folder}/{base}") };
    (base == "Dockerfile").then(|| joined("dockerfile"))
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

/// The client, asked from the build's threads.
struct Caller {
    session: Session,
    handle: Handle,
}

impl SecretSource for Caller {
    fn secret(&self, id: &str) -> Result<Option<SecretContent>, SecretError> {
        let found = self.handle.block_on(self.session.secret(id));
        let failed = |status| SecretError::Source { id: id.to_owned(), source: Box::new(status) };
        Ok(found.map_err(failed)?.map(SecretContent))
    }
}

impl CredentialSource for Caller {
    fn credentials(&self, domain: &str) -> AuthConfig {
        self.handle.block_on(credentials(&self.session, domain))
    }
}

/// The client's credentials for a registry; what cannot be had counts as none.
pub(super) async fn credentials(session: &Session, domain: &str) -> AuthConfig {
    let host = if domain == "docker.io" { DOCKER_HUB } else { domain };
    match session.credentials(host).await {
        Ok(None) => AuthConfig::default(),
        Ok(Some(found)) if found.username.is_empty() => {
            AuthConfig { identitytoken: found.secret, ..AuthConfig::default() }
        }
        Ok(Some(found)) => {
            AuthConfig { username: found.username, password: found.secret, ..AuthConfig::default() }
        }
        Err(error) => {
            tracing::debug!(%error, domain, "a build client does not say its credentials");
            AuthConfig::default()
        }
    }
}
