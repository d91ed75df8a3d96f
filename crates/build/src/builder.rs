//! The builder: takes requests and gives images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dray_image::Images;

use crate::Cancel;
use crate::base::BaseImages;
use crate::cache::{Cache, CachePrune, CachePruned, CacheRecord};
use crate::context::{
    self,
    remote::{Fetched, RemoteContextError},
};
use crate::dockerfile::{self, Dockerfile};
use crate::dockerignore::Patterns;
use crate::error::BuildError;
use crate::event::BuildEvents;
use crate::gate::Gate;
use crate::mounts::{CACHE_MOUNT, CacheDirs};
use crate::plan::Plan;
use crate::remote::RemoteSource;
use crate::request::{BuildRequest, Built, DockerfileSource};
use crate::run::StepRunner;
use crate::solve;

/// Builds images. Builds may run at the same time; a clone is the same builder.
#[derive(Clone)]
pub struct Builder {
    pub(crate) images: Images,
    pub(crate) runner: Arc<dyn StepRunner>,
    pub(crate) bases: Arc<dyn BaseImages>,
    pub(crate) remote: Arc<dyn RemoteSource>,
    pub(crate) cache: Cache,
    pub(crate) cache_dirs: CacheDirs,
    /// Bounds how many steps of all builds are carried out at once.
    pub(crate) gate: Arc<Gate>,
}

/// Where contexts are unpacked, in the data root.
const CONTEXTS: &str = "build/contexts";

impl Builder {
    /// A builder that keeps layers, images and its cache in the store of `images`. Contexts that a killed process
    /// has left there are removed.
    pub fn new(
        images: Images,
        runner: Arc<dyn StepRunner>,
        bases: Arc<dyn BaseImages>,
        remote: Arc<dyn RemoteSource>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let store = images.store().clone();
        sweep(&store.root().join(CONTEXTS));
        Builder {
            cache_dirs: CacheDirs::new(store.root().join("build")),
            cache: Cache::new(store),
            gate: Arc::new(Gate::new(cores.max(4))),
            images,
            runner,
            bases,
            remote,
        }
    }

    /// The same builder, with its cache and bounds, finding base images elsewhere: with the credentials of
    /// one request.
    #[must_use]
    pub fn with_bases(&self, bases: Arc<dyn BaseImages>) -> Self {
        Builder { bases, ..self.clone() }
    }

    /// Where contexts are best unpacked: on the file system of the layers.
    pub fn context_parent(&self) -> PathBuf {
        self.images.store().root().join(CONTEXTS)
    }

    /// Fetches the context that an address names: an archive or a Dockerfile behind a URL, or a git repository.
    ///
    /// # Errors
    /// [`RemoteContextError`] naming the address.
    pub fn fetch_context(
        &self,
        url: &str,
        dockerfile: &str,
        cancel: &Cancel,
    ) -> Result<Fetched, RemoteContextError> {
        context::remote::fetch(url, dockerfile, &*self.remote, &self.context_parent(), cancel)
    }

    /// Builds an image, on the calling thread and some of its own; returns when it is stored, or nothing is
    /// left of the attempt but cached steps.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(&self, request: BuildRequest, events: &dyn BuildEvents) -> Result<Built, BuildError> {
        let dockerfile = read_dockerfile(&request)?;
        let plan = Plan::new(dockerfile, &request)?;
        // Nothing that a step finds in the cache goes while the image that will name it is not recorded.
        let _lease = self.images.lease();
        solve::build(self, plan, request, events)
    }

    /// What the build cache holds: results of steps that have a layer, and directories of cache mounts.
    ///
    /// # Errors
    /// When the store fails.
    pub fn cache_records(&self) -> Result<Vec<CacheRecord>, BuildError> {
        let mut records = self.cache.records()?;
        records.extend(self.cache_dirs.records()?);
        Ok(records)
    }

    /// Removes what nobody uses of the build cache, as far as `prune` asks for it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn prune_cache(&self, prune: &CachePrune) -> Result<CachePruned, BuildError> {
        let records = self.cache_records()?;
        let mut going = prune.choose(&records, self.disk_free());
        let mut pruned = CachePruned::default();
        going.retain(|record| {
            let removed = record.kind != CACHE_MOUNT || self.cache_dirs.remove(&record.id);
            if removed {
                pruned.ids.push(record.id.clone());
            }
            removed
        });
        pruned.bytes = self.cache.remove(prune, &going)?.bytes;
        self.images.store().collect()?;
        Ok(pruned)
    }

    fn disk_free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.images.store().root());
        found.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

fn sweep(contexts: &Path) {
    match std::fs::remove_dir_all(contexts) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %contexts.display(), %error, "cannot remove left-over build contexts");
        }
        _ => {}
    }
}

/// Finds and parses the Dockerfile. One that is in the context has an ignore file beside it: what that names is
/// taken out.
fn read_dockerfile(request: &BuildRequest) -> Result<Dockerfile, BuildError> {
    let (name, text) = match &request.dockerfile {
        DockerfileSource::Text { name, text } => return Ok(dockerfile::parse(text, name)?),
        DockerfileSource::InContext(path) => read_from_context(request, path)?,
    };
    let dockerfile = dockerfile::parse(&text, &name)?;
    if let Some(context) = &request.context {
        let own = context.read(&format!("{name}.dockerignore"))?;
        let ignore = match own {
            Some(bytes) => Some(bytes),
            None => context.read(".dockerignore")?,
        };
        let patterns = Patterns::parse(&String::from_utf8_lossy(&ignore.unwrap_or_default()));
        let patterns = patterns.map_err(BuildError::Ignore)?;
        if !patterns.is_empty() {
            context.remove_ignored(&patterns)?;
        }
    }
    Ok(dockerfile)
}

fn read_from_context(request: &BuildRequest, path: &str) -> Result<(String, String), BuildError> {
    let missing = || BuildError::NoDockerfile(path.to_owned());
    let context = request.context.as_ref().ok_or_else(missing)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if let Some(bytes) = context.read(path)? {
        return Ok((path.to_owned(), text(bytes)));
    }
    match path {
        "Dockerfile" => match context.read("dockerfile")? {
            Some(bytes) => Ok(("dockerfile".to_owned(), text(bytes))),
            None => Err(missing()),
        },
        _ => Err(missing()),
    }
}
