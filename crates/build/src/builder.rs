//! The builder: takes requests and gives images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dray_image::Images;

use crate::Cancel;
use crate::base::BaseImages;
use crate::cache::Cache;
use crate::context::{
    self,
    remote::{Fetched, RemoteContextError},
};
use crate::dockerfile::{self, Dockerfile};
use crate::dockerignore::Patterns;
use crate::error::BuildError;
use crate::event::BuildEvents;
use crate::gate::Gate;
use crate::mounts::CacheDirs;
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

/// What the build cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUsage {
    /// Recorded steps.
    pub steps: usize,
    /// Layers that they keep, each counted once.
    pub layers: usize,
    /// Sum of these layers' sizes and of the cache mounts.
    pub bytes: u64,
}

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

    /// What the build cache holds.
    ///
    /// # Errors
    /// When the store fails.
    pub fn cache_usage(&self) -> Result<CacheUsage, BuildError> {
        let entries = self.cache.list()?;
        let layers: std::collections::BTreeSet<_> = entries.iter().filter_map(|(_, e)| e.layer).collect();
        let store = self.images.store();
        let sizes = layers.iter().filter_map(|layer| store.layers().get(*layer).ok());
        let bytes = sizes.map(|layer| layer.size).sum::<u64>() + self.cache_dirs.usage()?;
        Ok(CacheUsage { steps: entries.len(), layers: layers.len(), bytes })
    }

    /// Empties the build cache; gives what it held. Space that images share with it is not freed.
    ///
    /// # Errors
    /// When the store fails.
    pub fn prune_cache(&self) -> Result<CacheUsage, BuildError> {
        let usage = self.cache_usage()?;
        self.cache.clear()?;
        self.cache_dirs.clear()?;
        self.images.store().collect()?;
        Ok(usage)
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

/// Finds and parses the Dockerfile, then takes out of the context what the ignore file names.
fn read_dockerfile(request: &BuildRequest) -> Result<Dockerfile, BuildError> {
    let (name, text) = match &request.dockerfile {
        DockerfileSource::Text { name, text } => (name.clone(), text.clone()),
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
