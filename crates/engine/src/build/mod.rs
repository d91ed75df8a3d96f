//! Builds: requests of `POST /build`, carried out by the builder over this engine's images, networks
//! and containers.

mod base;
mod error;
mod export;
mod output;
mod prune;
mod remote_cache;
mod step;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use dray_api::auth::AuthConfigs;
use dray_api::build::{BuildPruneReport, CacheRecord};
use dray_build::{
    BuildEvent, BuildEvents, BuildRequest, Builder, Built, CacheImport, Cancel, ContextDir, DockerfileSource,
    HttpSource, Limits, Resources, Secrets, context,
};
use dray_image::files::Squash;
use dray_spec::Reference;
use tokio::runtime::Handle;

use crate::{EventBus, ServiceError, image};
use base::{Bases, Credentials};
pub use base::{CredentialSource, given_credentials};
pub use error::Error;
pub use export::{Export, Results};
pub use output::{Output, OutputKind};
pub use prune::PruneOptions;
pub use remote_cache::{CachePlace, RemoteCache};
pub use step::{Runner, RunnerConfig};

/// What to build and how: `POST /build` without HTTP.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The Dockerfile's path in the context.
    pub dockerfile: String,
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
    /// Caches from elsewhere.
    pub cache_imports: Vec<Arc<CacheImport>>,
    /// The image carries its own cache.
    pub inline_cache: bool,
    /// One layer of all that is new.
    pub squash: bool,
    /// The image gets no record: it goes elsewhere.
    pub unrecorded: bool,
}

/// What is built, where it does not come as one archive.
#[derive(Debug, Default)]
pub struct Input {
    /// The Dockerfile.
    pub dockerfile: DockerfileSource,
    /// The context, without what is to be ignored where the Dockerfile is a text.
    pub context: Option<ContextDir>,
    /// What steps may ask for.
    pub secrets: Secrets,
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

    /// Unpacks the context and builds; the result has no name yet (see [`Service::name`] and [`Service::export`]).
    /// Blocks; `cancel` ends it early.
    ///
    /// # Errors
    /// What the builder says, in Docker's words.
    pub fn build(
        &self,
        mut options: Options,
        archive: impl Read + Send,
        events: &dyn BuildEvents,
        cancel: Cancel,
    ) -> Result<Built, Error> {
        let credentials = Credentials::new(std::mem::take(&mut options.auths));
        let dockerfile = std::mem::take(&mut options.dockerfile);
        let (dockerfile, context) = match options.remote.as_str() {
            "" => (DockerfileSource::InContext(dockerfile), Some(self.unpack(archive)?)),
            remote => self.builder.fetch_context(remote, &dockerfile, &cancel)?,
        };
        let input = Input { dockerfile, context, secrets: Secrets::default() };
        self.carry_out(options, input, credentials, events, cancel)
    }

    /// Unpacks an archive of files, to be a context or to be read from. Blocks.
    ///
    /// # Errors
    /// [`Error::Context`].
    pub fn unpack(&self, archive: impl Read + Send) -> Result<ContextDir, Error> {
        Ok(context::unpack(archive, &self.builder.context_parent(), &Limits::default())?)
    }

    /// Builds what a client offers piece by piece; the result has no name yet (see [`Service::name`]). The
    /// options' own Dockerfile, tags and credentials are not looked at. Blocks; `cancel` ends it early.
    ///
    /// # Errors
    /// What the builder says, in Docker's words.
    pub fn build_input(
        &self,
        options: Options,
        input: Input,
        credentials: Arc<dyn CredentialSource>,
        events: &dyn BuildEvents,
        cancel: Cancel,
    ) -> Result<Built, Error> {
        self.carry_out(options, input, Credentials::Asked(credentials), events, cancel)
    }

    /// Names the result of a build.
    ///
    /// # Errors
    /// If the store fails.
    pub fn name(&self, built: &Built, names: &[Reference], events: &dyn BuildEvents) -> Result<(), Error> {
        for name in names {
            self.images.tag(built.image.as_ref(), &name.familiar_name(), name.tag().unwrap_or_default())?;
            events.event(BuildEvent::Tagged { reference: name.familiar() });
        }
        Ok(())
    }

    fn carry_out(
        &self,
        options: Options,
        input: Input,
        credentials: Credentials,
        events: &dyn BuildEvents,
        cancel: Cancel,
    ) -> Result<Built, Error> {
        let bases = Bases::new(Arc::clone(&self.images), self.handle.clone(), credentials);
        let (squash, epoch) =
            (options.squash, options.build_args.get("SOURCE_DATE_EPOCH").cloned().flatten());
        let request = BuildRequest {
            context: input.context,
            dockerfile: input.dockerfile,
            secrets: input.secrets,
            build_args: options.build_args,
            labels: options.labels,
            target: options.target,
            no_cache: options.no_cache,
            pull: options.pull,
            network_mode: options.network_mode,
            platform: Some(options.platform).filter(|platform| !platform.is_empty()),
            resources: options.resources,
            cache_imports: options.cache_imports,
            inline_cache: options.inline_cache,
            // The squashed one is recorded instead.
            unrecorded: options.unrecorded || squash,
            cancel,
        };
        let built = self.builder.with_bases(Arc::new(bases)).build(request, events)?;
        if !squash {
            return Ok(built);
        }
        let squashed = self.squash(built, epoch.is_some_and(|epoch| !epoch.is_empty()))?;
        events.event(BuildEvent::Built { id: squashed.image.to_string() });
        Ok(squashed)
    }

    /// Makes one layer of all that a build has added to its base.
    fn squash(&self, mut built: Built, reproducible: bool) -> Result<Built, Error> {
        let images = self.images.images();
        if built.base.as_ref().is_some_and(|(base, _)| *base == built.image) {
            return Ok(built);
        }
        let onto = match &built.base {
            Some((id, _)) => Some(images.resolve(id.as_str()).map_err(image::Error::from)?),
            None => None,
        };
        let created = if reproducible { built.content.config.created.clone() } else { None };
        let squash = Squash { onto, created, ..Squash::default() };
        let squashed = images.squash(&built.content, squash).map_err(image::Error::from)?;
        let (content, claim) = images.claim(squashed.id.as_str(), "a build").map_err(image::Error::from)?;
        (built.image, built.content, built.claim) = (content.id.clone(), content, claim);
        Ok(built)
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
