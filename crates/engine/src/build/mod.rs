//! Builds: requests of `POST /build`, carried out by the builder over this engine's images, networks
//! and containers.

mod base;
mod error;
mod prune;
mod step;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use dray_api::auth::AuthConfigs;
use dray_api::build::{BuildPruneReport, CacheRecord};
use dray_build::{
    BuildEvent, BuildEvents, BuildRequest, Builder, Cancel, DockerfileSource, HttpSource, Limits, Resources,
    context,
};
use dray_spec::{Digest, Reference};
use tokio::runtime::Handle;

use crate::{EventBus, ServiceError, image};
use base::{Bases, Credentials};
pub use error::Error;
pub use prune::PruneOptions;
pub use step::{Runner, RunnerConfig};

/// What to build and how: `POST /build` without HTTP.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The Dockerfile's path in the context.
    pub dockerfile: String,
    /// The Dockerfile's text, where it came without a context.
    pub text: Option<String>,
    /// The context's address, where it is not sent but fetched; empty otherwise.
    pub remote: String,
    /// `--cache-from`: images whose steps might be used.
    pub cache_from: Vec<String>,
    /// Names of the result.
    pub tags: Vec<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, Option<String>>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--target`.
    pub target: String,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--pull`.
    pub pull: bool,
    /// `--network`.
    pub network_mode: String,
    /// `--platform`.
    pub platform: String,
    /// Limits and settings of `RUN` steps.
    pub resources: Resources,
    /// Credentials for base images.
    pub auths: AuthConfigs,
}

/// Builds of one engine.
pub struct Service {
    builder: Builder,
    images: Arc<image::Service>,
    events: EventBus,
    handle: Handle,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("build::Service").finish_non_exhaustive()
    }
}

impl Service {
    /// The builds over these images and this runner of steps. Must be called inside a tokio runtime.
    #[must_use]
    pub fn open(images: Arc<image::Service>, runner: Runner, events: EventBus) -> Arc<Self> {
        let handle = Handle::current();
        let bases = Bases::new(Arc::clone(&images), handle.clone(), Credentials::default());
        let remote = HttpSource::new(images.client().clone(), handle.clone());
        let builder =
            Builder::new(images.images().clone(), Arc::new(runner), Arc::new(bases), Arc::new(remote));
        Arc::new(Service { builder, images, events, handle })
    }

    /// Checks what can be checked before anything is read: the names of the result.
    ///
    /// # Errors
    /// [`Error::Reference`].
    pub fn check(&self, options: &Options) -> Result<Vec<Reference>, Error> {
        let named = |tag: &String| {
            let reference = Reference::parse(tag)?;
            if reference.digest().is_some() { Err(Error::TagWithDigest) } else { Ok(reference.tagged()) }
        };
        let mut names = Vec::new();
        for tag in options.tags.iter().filter(|tag| !tag.is_empty()) {
            let reference = named(tag)?;
            if !names.contains(&reference) {
                names.push(reference);
            }
        }
        Ok(names)
    }

    /// Unpacks the context, builds and names the result. Blocks; `cancel` ends it early.
    ///
    /// # Errors
    /// What the builder says, in Docker's words.
    pub fn build(
        &self,
        options: Options,
        archive: impl Read + Send,
        events: &dyn BuildEvents,
        cancel: Cancel,
    ) -> Result<Digest, Error> {
        let names = self.check(&options)?;
        let credentials = Credentials::new(options.auths);
        let bases = Bases::new(Arc::clone(&self.images), self.handle.clone(), credentials);
        let (dockerfile, context) = match options.text {
            Some(text) => (DockerfileSource::Text { name: "Dockerfile".into(), text }, None),
            None if !options.remote.is_empty() => {
                self.builder.fetch_context(&options.remote, &options.dockerfile, &cancel)?
            }
            None => {
                let parent = self.builder.context_parent();
                let context = context::unpack(archive, &parent, &Limits::default())?;
                (DockerfileSource::InContext(options.dockerfile), Some(context))
            }
        };
        let request = BuildRequest {
            context,
            dockerfile,
            build_args: options.build_args,
            labels: options.labels,
            target: options.target,
            no_cache: options.no_cache,
            pull: options.pull,
            network_mode: options.network_mode,
            platform: Some(options.platform).filter(|platform| !platform.is_empty()),
            resources: options.resources,
            cancel,
        };
        let built = self.builder.with_bases(Arc::new(bases)).build(request, events)?;
        for name in names {
            self.images.tag(built.image.as_ref(), &name.familiar_name(), name.tag().unwrap_or_default())?;
            events.event(BuildEvent::Tagged { reference: name.familiar() });
        }
        Ok(built.image)
    }

    /// Removes what nobody uses of the build cache.
    ///
    /// # Errors
    /// For filters and bounds that are none, or if the store fails.
    pub fn prune(&self, options: &PruneOptions) -> Result<BuildPruneReport, Error> {
        let pruned = self.builder.prune_cache(&options.to_prune()?)?;
        let reclaimed = [("reclaimed".to_owned(), pruned.bytes.to_string())].into();
        self.events.publish("builder", "prune", "", reclaimed);
        let deleted = Some(pruned.ids).filter(|ids| !ids.is_empty());
        Ok(BuildPruneReport { caches_deleted: deleted, space_reclaimed: pruned.bytes })
    }

    /// What the cache holds, for `system df`.
    ///
    /// # Errors
    /// If the store fails.
    pub fn cache(&self) -> Result<Vec<CacheRecord>, ServiceError> {
        let records = self.builder.cache_records().map_err(Error::from)?;
        Ok(records.into_iter().map(prune::to_wire).collect())
    }
}
