//! Builds: requests of `POST /build`, carried out by the builder over this engine's images, networks
//! and containers.

mod actions;
mod attest;
mod base;
mod collect;
mod contexts;
mod error;
mod export;
mod given;
pub mod history;
mod listed;
mod mounts;
mod output;
mod prune;
mod remote_cache;
mod step;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, RwLock, Weak};

use dray_api::auth::AuthConfigs;
use dray_api::build::{BuildPruneReport, CacheRecord};
use dray_build::{
    Agents, Answer, BuildError, BuildEvent, BuildEvents, BuildRequest, Builder, Built, CacheImport, Cancel,
    ContextDir, ContextWriter, Contexts, DockerfileSource, Entitlements, Fetched, HttpSource, Limits,
    Material, Receiving, Repository, Resources, Secrets, Subrequest, Unpacked, context,
};
use dray_image::files::Squash;
use dray_spec::dockerignore::Patterns;
use dray_spec::{Platform, Reference};
use tokio::runtime::Handle;

use crate::emulator::Emulators;
use crate::{EventBus, ServiceError, image};
pub use actions::ActionsCache;
use attest::Invocation;
pub use attest::{Attests, ProvenanceMode, ProvenanceOptions, SbomOptions};
use base::{Bases, Credentials};
pub use base::{CredentialSource, given_credentials};
use collect::Collecting;
pub use collect::{GcPolicy, GcRule, Space};
pub use error::Error;
pub use export::{Export, Results};
pub use given::GivenImage;
pub use history::{History, HistoryLimits, Recording};
use listed::Listed;
pub use mounts::Imported;
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
    /// A fetched context has no Dockerfile: `dockerfile` is in the archive.
    pub dockerfile_beside: bool,
    /// The list by which the context comes, where a client has sent one; empty otherwise.
    pub listed: String,
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
    /// `--no-cache-filter`: stages that do not come from the cache.
    pub no_cache_stages: Vec<String>,
    /// `--pull`.
    pub pull: bool,
    /// `--network`.
    pub network_mode: String,
    /// `--platform`.
    pub platform: String,
    /// Several platforms, or one that shall be in an index: `platform` is not looked at then.
    pub platforms: Vec<Platform>,
    /// `--build-context`: contexts by name. `local:folder` is a folder of the archive, whose main context is then
    /// in `context/`.
    pub contexts: BTreeMap<String, String>,
    /// `--allow`.
    pub entitlements: Entitlements,
    /// Which checks count, in place of what the Dockerfile says.
    pub check: Option<String>,
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
    /// Sources of `COPY` as Docker's classic builder takes them.
    pub strict_sources: bool,
    /// What is to be said of the result.
    pub attests: Attests,

    /// What the frontend was asked for, in BuildKit's attributes, for what is said of how the result was made.
    pub asked: BTreeMap<String, String>,
    /// Where the context's files come from, by BuildKit's names without `vcs:`.
    pub vcs: BTreeMap<String, String>,
    /// Images of the client, which are found by their ids.
    pub given: Vec<GivenImage>,
}

/// What is built, where it does not come as one archive.
#[derive(Debug, Default)]
pub struct Input {
    /// The Dockerfile.
    pub dockerfile: DockerfileSource,
    /// The context, without what is to be ignored where the Dockerfile is a text.
    pub context: Option<ContextDir>,
    /// What steps may ask the client for.
    pub wishes: Wishes,
    /// Contexts by name.
    pub contexts: Contexts,
    /// What the context has left out already, where the Dockerfile is a text.
    pub ignore: Option<Patterns>,
    /// What of it was fetched.
    pub materials: Vec<Material>,
}

/// What an address leads to, for who reads files of it before there is a build.
#[derive(Debug)]
pub enum Place {
    /// The files of an archive or a repository.
    Folder(ContextDir),
    /// A text.
    File(String),
}

/// What steps may ask the client for.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// `RUN --mount=type=secret`
    pub secrets: Secrets,
    /// `RUN --mount=type=ssh`
    pub agents: Agents,
}

/// Builds of one engine.
pub struct Service {
    builder: Builder,
    images: Arc<image::Service>,
    events: EventBus,
    handle: Handle,
    policy: RwLock<GcPolicy>,
    collecting: Collecting,
    history: Arc<History>,
    emulators: Arc<Emulators>,
    listed: Listed,
    this: Weak<Service>,
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
        let emulators = Arc::clone(runner.emulators());
        let builder =
            Builder::new(images.images().clone(), Arc::new(runner), Arc::new(bases), Arc::new(remote));
        let (policy, collecting) = (RwLock::default(), Collecting::default());
        let history = History::open(images.images().store().clone());
        let service = |this: &Weak<Service>| Service {
            builder,
            images,
            events,
            handle,
            policy,
            collecting,
            history: Arc::clone(&history),
            emulators,
            listed: Listed::default(),
            this: this.clone(),
        };
        Arc::new_cyclic(service)
    }

    /// What was built, and how it went.
    #[must_use]
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// The platforms whose steps can be carried out, this machine's first.
    #[must_use]
    pub fn platforms(&self) -> Vec<Platform> {
        self.emulators.platforms()
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
        wishes: Wishes,
        events: &dyn BuildEvents,
        cancel: Cancel,
    ) -> Result<Results, Error> {
        let credentials = Credentials::new(std::mem::take(&mut options.auths));
        let received = self.received(&mut options, archive, &wishes.secrets, &cancel)?;
        let input = Input { wishes, ..received };
        self.carry_out(options, input, credentials, events, cancel)
    }

    /// Answers a question about a Dockerfile, which comes as for a build. Blocks.
    ///
    /// # Errors
    /// If there is no Dockerfile, or the question cannot be answered.
    pub fn answer(
        &self,
        question: Subrequest,
        mut options: Options,
        archive: impl Read + Send,
        secrets: &Secrets,
        cancel: Cancel,
    ) -> Result<Answer, Error> {
        let credentials = Credentials::new(std::mem::take(&mut options.auths));
        let input = self.received(&mut options, archive, secrets, &cancel)?;
        let (builder, request) = self.request(options, input, credentials, cancel);
        Ok(builder.answer(question, &request)?)
    }

    /// The same for what a client offers piece by piece.
    ///
    /// # Errors
    /// As [`Service::answer`].
    pub fn answer_input(
        &self,
        question: Subrequest,
        options: Options,
        input: Input,
        credentials: Arc<dyn CredentialSource>,
        cancel: Cancel,
    ) -> Result<Answer, Error> {
        let (builder, request) = self.request(options, input, Credentials::Asked(credentials), cancel);
        Ok(builder.answer(question, &request)?)
    }

    /// Fetches a context that has an address. Blocks.
    ///
    /// # Errors
    /// [`Error::Remote`].
    pub fn fetch(
        &self,
        address: &str,
        dockerfile: &str,
        secrets: &Secrets,
        cancel: &Cancel,
    ) -> Result<Input, Error> {
        let Fetched { dockerfile, context, material } =
            self.builder.fetch_context(address, dockerfile, secrets, cancel)?;
        Ok(Input { dockerfile, context, materials: vec![material], ..Input::default() })
    }

    /// Fetches what an address leads to. Blocks.
    ///
    /// # Errors
    /// [`Error::Remote`].
    pub fn look_at(&self, address: &str, secrets: &Secrets, cancel: &Cancel) -> Result<Place, Error> {
        let fetched = self.builder.fetch_context(address, "", secrets, cancel)?;
        Ok(match (fetched.context, fetched.dockerfile) {
            (Some(folder), _) => Place::Folder(folder),
            (None, DockerfileSource::Text { text, .. }) => Place::File(text),
            (None, DockerfileSource::InContext(_)) => Place::File(String::new()),
        })
    }

    /// Clones a repository, for a graph that names one. Blocks.
    ///
    /// # Errors
    /// [`Error::Remote`].
    pub fn clone_repository(
        &self,
        wanted: &Repository,
        secrets: &Secrets,
        cancel: &Cancel,
    ) -> Result<(ContextDir, Material), Error> {
        Ok(self.builder.fetch_repository(wanted, secrets, cancel)?)
    }

    /// Fetches a file into a folder of its own, for a graph that names one. Blocks.
    ///
    /// # Errors
    /// [`Error::Remote`].
    pub fn fetch_file(
        &self,
        url: &str,
        name: &str,
        checksum: Option<&str>,
        cancel: &Cancel,
    ) -> Result<(ContextDir, Material), Error> {
        Ok(self.builder.fetch_file(url, name, checksum, cancel)?)
    }

    /// A part of a folder in place of it: one of its folders, or with `alone` a file or folder under its own name.
    ///
    /// # Errors
    /// [`Error::Context`].
    pub fn part(&self, folder: &ContextDir, path: &str, alone: bool) -> Result<ContextDir, Error> {
        Ok(match alone {
            true => folder.alone(path, &self.builder.context_parent())?,
            false => folder.part(path)?,
        })
    }

    /// What is in an archive in a folder; none if it is not one. Blocks.
    ///
    /// # Errors
    /// [`Error::Context`].
    pub fn unpack_part(&self, folder: &ContextDir, path: &str) -> Result<Option<ContextDir>, Error> {
        Ok(folder.unpacked(path, &self.builder.context_parent())?)
    }

    /// What comes in one archive, or has to be fetched.
    fn received(
        &self,
        options: &mut Options,
        archive: impl Read + Send,
        secrets: &Secrets,
        cancel: &Cancel,
    ) -> Result<Input, Error> {
        let dockerfile = std::mem::take(&mut options.dockerfile);
        let named = std::mem::take(&mut options.contexts);
        if !options.remote.is_empty() {
            let fetched = self.fetch(&options.remote, &dockerfile, secrets, cancel)?;
            let unpack = |archive| self.unpack(archive);
            if !options.dockerfile_beside {
                let contexts = contexts::beside(named, archive, unpack)?;
                return Ok(Input { contexts, ..fetched });
            }
            let beside = unpack(archive)?;
            let text = beside.read(&dockerfile)?.ok_or(BuildError::NoDockerfile(dockerfile))?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let dockerfile = DockerfileSource::Text { name: "Dockerfile".to_owned(), text };
            return Ok(Input { dockerfile, contexts: contexts::of_parts(named, beside), ..fetched });
        }
        let whole = match options.listed.as_str() {
            "" => self.unpack(archive)?,
            list => self.listed_context(list, archive)?,
        };
        let (context, contexts) = contexts::parted(named, whole)?;
        let dockerfile = DockerfileSource::InContext(dockerfile);
        Ok(Input { dockerfile, context: Some(context), contexts, ..Input::default() })
    }

    /// Unpacks an archive of files, to be a context or to be read from. Blocks.
    ///
    /// # Errors
    /// [`Error::Context`].
    pub fn unpack(&self, archive: impl Read + Send) -> Result<ContextDir, Error> {
        Ok(context::unpack(archive, &self.builder.context_parent(), &Limits::default())?)
    }

    /// Begins to receive a context that stays for the next build; `key` says where it comes from, `description` is for
    /// people. Blocks.
    ///
    /// # Errors
    /// [`Error::Context`].
    pub fn receive(&self, key: &str, description: &str) -> Result<Receiving, Error> {
        Ok(self.builder.kept_contexts().begin(key, description)?)
    }

    /// Unpacks what of such a context has to come. Blocks.
    ///
    /// # Errors
    /// [`Error::Context`].
    pub fn unpack_missing(
        &self,
        writer: ContextWriter,
        archive: impl Read + Send,
    ) -> Result<Unpacked, Error> {
        Ok(writer.unpack(archive, &Limits::default())?)
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
    ) -> Result<Results, Error> {
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
        mut options: Options,
        input: Input,
        credentials: Credentials,
        events: &dyn BuildEvents,
        cancel: Cancel,
    ) -> Result<Results, Error> {
        let epoch = options.build_args.get("SOURCE_DATE_EPOCH").cloned().flatten();
        let platforms = std::mem::take(&mut options.platforms);
        // Else the builder has told of it.
        let told_here = options.squash || (!platforms.is_empty() && !options.unrecorded);
        let squash = options.squash;
        let attests = std::mem::take(&mut options.attests);
        let mut invocation = Invocation::begin(std::mem::take(&mut options.asked));
        let (builder, mut request) = self.request(options, input, credentials, cancel);
        request.scan = attests.sbom.is_some();
        let built = match platforms.is_empty() {
            true => builder.build(request, events).map(Results::from),
            false => builder
                .build_platforms(request, &platforms, events)
                .map(|built| Results::of_platforms(platforms.into_iter().zip(built).collect())),
        };
        self.collect_soon();
        let mut results = built?;
        if squash {
            let reproducible = epoch.is_some_and(|epoch| !epoch.is_empty());
            results = results.map(|built| self.squash(built, reproducible))?;
        }
        if let Some(main) = results.main().filter(|_| told_here) {
            events.event(BuildEvent::Built { id: main.image.to_string() });
        }
        invocation.end();
        self.attest(results, attests, invocation)
    }

    /// The builder for one request, and the request as it takes it.
    fn request(
        &self,
        options: Options,
        input: Input,
        credentials: Credentials,
        cancel: Cancel,
    ) -> (Builder, BuildRequest) {
        let bases =
            Bases::new(Arc::clone(&self.images), self.handle.clone(), credentials).with(options.given);
        let request = BuildRequest {
            context: input.context,
            dockerfile: input.dockerfile,
            secrets: input.wishes.secrets,
            agents: input.wishes.agents,
            contexts: input.contexts,
            ignore: input.ignore,
            materials: input.materials,
            entitlements: options.entitlements,
            check: options.check,
            build_args: options.build_args,
            labels: options.labels,
            target: options.target,
            no_cache: options.no_cache,
            no_cache_stages: options.no_cache_stages,
            pull: options.pull,
            network_mode: options.network_mode,
            platform: Some(options.platform).filter(|platform| !platform.is_empty()),
            resources: options.resources,
            cache_imports: options.cache_imports,
            inline_cache: options.inline_cache,
            // The squashed one is recorded instead.
            scan: false,
            unrecorded: options.unrecorded || options.squash,
            strict_sources: options.strict_sources,
            cancel,
        };
        (self.builder.with_bases(Arc::new(bases)), request)
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
