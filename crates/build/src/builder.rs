//! The builder: takes requests and gives images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dray_image::Images;

use crate::Cancel;
use crate::base::BaseImages;
use crate::cache::{Cache, CacheImport, CachePrune, CachePruned, CacheRecord};
use crate::capture::Material;
use crate::context::{
    ContextDir,
    kept::{KeptContexts, SOURCE_LOCAL},
    remote::{Fetched, Fetching, RemoteContextError, Repository},
};
use crate::copy::EarlierCopies;
use crate::definition;
use crate::dockerfile::{Dockerfile, Mount, excerpt};
use crate::error::BuildError;
use crate::event::{BuildEvent, BuildEvents};
use crate::gate::Gate;
use crate::lint::{CheckOptions, Linter, Warning};
use crate::mounts::{CACHE_MOUNT, CacheDirs};
use crate::plan::{GlobalArgs, Plan};
use crate::remote::RemoteSource;
use crate::request::{BuildRequest, Built};
use crate::run::StepRunner;
use crate::secret::Secrets;
use crate::solve::{self, named::Loaded};

/// Builds images. Builds may run at the same time; a clone is the same builder.
#[derive(Clone)]
pub struct Builder {
    pub(crate) images: Images,
    pub(crate) runner: Arc<dyn StepRunner>,
    pub(crate) bases: Arc<dyn BaseImages>,
    pub(crate) remote: Arc<dyn RemoteSource>,
    pub(crate) cache: Cache,
    pub(crate) cache_dirs: CacheDirs,
    pub(crate) earlier: EarlierCopies,
    kept: KeptContexts,
    /// Bounds how many steps of all builds are carried out at once.
    pub(crate) gate: Arc<Gate>,
}

/// Where contexts are unpacked, in the data root.
const CONTEXTS: &str = "build/contexts";
/// Where those are that stay for the next build.
const KEPT: &str = "build/kept";

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
            earlier: EarlierCopies::open(store.clone()),
            cache_dirs: CacheDirs::new(store.root().join("build")),
            kept: KeptContexts::open(store.root().join(KEPT), store.root().join(CONTEXTS)),
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

    /// Contexts that stay when their build has ended.
    pub fn kept_contexts(&self) -> &KeptContexts {
        &self.kept
    }

    /// Fetches the context that an address names: an archive or a Dockerfile behind a URL, or a git repository.
    ///
    /// # Errors
    /// [`RemoteContextError`] naming the address.
    pub fn fetch_context(
        &self,
        url: &str,
        dockerfile: &str,
        secrets: &Secrets,
        cancel: &Cancel,
    ) -> Result<Fetched, RemoteContextError> {
        self.fetching(secrets, cancel, |fetching| fetching.fetch(url, dockerfile))
    }

    /// Clones a repository.
    ///
    /// # Errors
    /// [`RemoteContextError`] naming the address.
    pub fn fetch_repository(
        &self,
        wanted: &Repository,
        secrets: &Secrets,
        cancel: &Cancel,
    ) -> Result<(ContextDir, Material), RemoteContextError> {
        self.fetching(secrets, cancel, |fetching| fetching.clone(wanted))
    }

    /// Fetches a file, which gets this name in a context of its own.
    ///
    /// # Errors
    /// [`RemoteContextError`] naming the address.
    pub fn fetch_file(
        &self,
        url: &str,
        name: &str,
        checksum: Option<&str>,
        cancel: &Cancel,
    ) -> Result<(ContextDir, Material), RemoteContextError> {
        self.fetching(&Secrets::default(), cancel, |fetching| fetching.file(url, name, checksum))
    }

    fn fetching<T>(&self, secrets: &Secrets, cancel: &Cancel, fetch: impl FnOnce(&Fetching<'_>) -> T) -> T {
        fetch(&Fetching { source: &*self.remote, secrets, parent: &self.context_parent(), cancel })
    }

    /// Builds an image, on the calling thread and some of its own; returns when it is stored, or nothing is
    /// left of the attempt but cached steps.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(&self, request: BuildRequest, events: &dyn BuildEvents) -> Result<Built, BuildError> {
        let (dockerfile, ignore) = definition::read(&request)?;
        events.definition(&dockerfile);
        let (plan, linter) = prepared(&dockerfile, &request, events)?;
        // Nothing that a step finds in the cache goes while the image that will name it is not recorded.
        let _lease = self.images.lease();
        let contexts = Loaded::default();
        let checks = solve::Checks { dockerfile: &dockerfile, linter, ignore, contexts: &contexts };
        solve::build(self, plan, request, checks, events)
    }

    /// What the build cache holds: results of steps that have a layer, directories of cache mounts, contexts.
    ///
    /// # Errors
    /// When the store fails.
    pub fn cache_records(&self) -> Result<Vec<CacheRecord>, BuildError> {
        let mut records = self.cache.records()?;
        records.extend(self.cache_dirs.records()?);
        records.extend(self.kept.records());
        Ok(records)
    }

    /// The directories of cache mounts by their ids, with what is known of them.
    ///
    /// # Errors
    /// When they cannot be looked at.
    pub fn cache_mounts(&self) -> Result<Vec<(String, CacheRecord)>, BuildError> {
        self.cache_dirs.ids()
    }

    /// Makes the directory of a cache mount from a cache, unless there is one; false if there is.
    ///
    /// # Errors
    /// When it cannot be had, or is not what it is said to be.
    pub fn import_mount(&self, import: &CacheImport, id: &str) -> Result<bool, BuildError> {
        if self.cache_dirs.has(id) {
            return Ok(false);
        }
        let mount = Mount::of_cache(id);
        self.cache_dirs.seed(&mount, |folder| import.unpack_mount(id, folder))
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
            let removed = match record.kind {
                CACHE_MOUNT => self.cache_dirs.remove(&record.id),
                SOURCE_LOCAL => self.kept.remove(&record.id),
                _ => true,
            };
            if removed {
                pruned.ids.push(record.id.clone());
            }
            removed
        });
        pruned.bytes = self.cache.remove(prune, &going)?.bytes;
        self.images.store().collect()?;
        self.earlier.sweep();
        Ok(pruned)
    }

    /// How large the disk is that the cache is on, in bytes.
    #[must_use]
    pub fn disk_size(&self) -> u64 {
        let found = rustix::fs::statvfs(self.images.store().root());
        found.map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize))
    }

    fn disk_free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.images.store().root());
        found.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

fn sweep(contexts: &Path) {
    if let Err(error) = dray_store::remove_tree(contexts) {
        tracing::warn!(path = %contexts.display(), %error, "cannot remove left-over build contexts");
    }
}

/// Plans a build, and tells what is unwise in its text.
pub(crate) fn prepared<'a>(
    dockerfile: &'a Dockerfile,
    request: &BuildRequest,
    events: &'a dyn BuildEvents,
) -> Result<(Plan, Linter<'a>), BuildError> {
    let tell = |warning: Warning| events.event(check_event(dockerfile, warning));
    let linter = Linter::new(check_options(dockerfile, request)?, tell);
    linter.file(dockerfile);
    let plan = planned(dockerfile, request, &linter).inspect_err(|error| {
        if let Some(lines) = error.lines() {
            let excerpt = excerpt(&dockerfile.name, &dockerfile.text, lines);
            // Of no step, since there are none yet.
            let error = error.to_string();
            events.event(BuildEvent::StepFailed { n: 0, millis: 0, error, excerpt });
        }
    })?;
    Ok((plan, linter))
}

/// Plans a build, and checks what its stages begin with.
pub(crate) fn planned(
    dockerfile: &Dockerfile,
    request: &BuildRequest,
    linter: &Linter<'_>,
) -> Result<Plan, BuildError> {
    let args = GlobalArgs::new(dockerfile, request)?;
    linter.bases(dockerfile, &args, args.defaults(dockerfile).as_ref());
    Plan::new(dockerfile, request)
}

/// What of the Dockerfile is checked: what the request says, else what it says itself.
pub(crate) fn check_options(
    dockerfile: &Dockerfile,
    request: &BuildRequest,
) -> Result<CheckOptions, BuildError> {
    let text = request.check.as_deref().or(dockerfile.check.as_deref());
    Ok(CheckOptions::parse(text.unwrap_or_default())?)
}

fn check_event(dockerfile: &Dockerfile, warning: Warning) -> BuildEvent {
    let Warning { rule, detail, lines } = warning;
    BuildEvent::Check {
        rule: rule.name.to_owned(),
        description: rule.description.to_owned(),
        url: rule.url(),
        detail,
        lines,
        excerpt: excerpt(&dockerfile.name, &dockerfile.text, lines),
    }
}
