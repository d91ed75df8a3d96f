//! What a build is asked for and what it gives.

use std::collections::BTreeMap;

use crate::Cancel;
use crate::agent::Agents;
use crate::context::ContextDir;
use crate::dockerignore::Patterns;
use crate::entitlement::Entitlements;
use crate::named::Contexts;
use crate::run::Resources;
use crate::secret::Secrets;

/// A build, as `POST /build` describes it. Tagging the result is the caller's part.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// The unpacked context; `None` for a Dockerfile alone.
    pub context: Option<ContextDir>,
    /// Where the Dockerfile comes from.
    pub dockerfile: DockerfileSource,
    /// `--build-arg`: `None` takes over nothing (the client resolves names without value itself).
    pub build_args: BTreeMap<String, Option<String>>,
    /// `--label`, added to the target stage.
    pub labels: BTreeMap<String, String>,
    /// `--target`: name or index of a stage; empty for the last.
    pub target: String,
    /// `--no-cache`: carry out every step; results are still recorded.
    pub no_cache: bool,
    /// `--no-cache-filter`: stages whose steps are carried out, and those upon them.
    pub no_cache_stages: Vec<String>,
    /// `--pull`: ask the registry for each base image even if it is there.
    pub pull: bool,
    /// `--network`; empty for the default.
    pub network_mode: String,
    /// `--platform`; `None` for the host's.
    pub platform: Option<String>,
    /// Limits of `RUN` steps.
    pub resources: Resources,
    /// What `RUN --mount=type=secret` may ask for.
    pub secrets: Secrets,
    /// What `RUN --mount=type=ssh` may ask for.
    pub agents: Agents,
    /// `--build-context`: contexts by name.
    pub contexts: Contexts,
    /// `--allow`: what `RUN` may ask for beyond what any container has.
    pub entitlements: Entitlements,
    /// What was fetched for it already.
    pub materials: Vec<crate::Material>,
    /// What the context has left out already, where the Dockerfile is a text.
    pub ignore: Option<Patterns>,
    /// What of the Dockerfile is checked, in place of what its `check` directive says.
    pub check: Option<String>,
    /// Caches from elsewhere, asked in this order for what is not known here.
    pub cache_imports: Vec<std::sync::Arc<crate::CacheImport>>,
    /// The image carries its own cache.
    pub inline_cache: bool,
    /// Stages and the context are looked through where the Dockerfile asks for it (`BUILDKIT_SBOM_SCAN_STAGE`,
    /// `BUILDKIT_SBOM_SCAN_CONTEXT`).
    pub scan: bool,
    /// The image is not recorded: it goes elsewhere, as long as its claim is held.
    pub unrecorded: bool,
    /// Sources of `COPY` and `ADD` as Docker's classic builder takes them: wildcards that match nothing are an error, and
    /// if they match several files the destination has to end with a `/`.
    pub strict_sources: bool,
    /// Raised when the client goes away.
    pub cancel: Cancel,
}

/// Where the Dockerfile comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerfileSource {
    /// Path inside the context.
    InContext(String),
    /// The text itself, with the name that errors shall show. A context beside it comes without what is to be
    /// ignored: its ignore file is not looked for.
    Text {
        /// Name for messages.
        name: String,
        /// Content.
        text: String,
    },
}

impl Default for DockerfileSource {
    fn default() -> Self {
        DockerfileSource::InContext("Dockerfile".to_owned())
    }
}

/// The result of a build.
#[derive(Clone, Debug)]
pub struct Built {
    /// Id of the image.
    pub image: dray_spec::Digest,
    /// The image.
    pub content: dray_image::Image,
    /// The image it was built upon, with how many of its layers are that one's; none for `FROM scratch`.
    pub base: Option<(dray_spec::Digest, usize)>,
    /// Keeps the image until it has its names.
    pub claim: dray_image::Claim,
    /// How it was made.
    pub capture: std::sync::Arc<crate::Capture>,
    /// What further stages and the context are made of, by their names, as far as the Dockerfile asks for it.
    pub scanned: std::sync::Arc<std::collections::BTreeMap<String, dray_scan::Inventory>>,
    /// The results that it is made of, and those that the build had beside.
    pub(crate) steps: crate::cache::UsedSteps,
    /// What is counted once nobody waits for the build any more.
    pub(crate) _uses: Option<std::sync::Arc<crate::cache::LateUses>>,
}

impl Built {
    /// The same with what another build has used of the cache.
    #[must_use]
    pub fn with_steps_of(mut self, other: &Built) -> Self {
        self.steps.merge(&other.steps);
        self
    }
}
