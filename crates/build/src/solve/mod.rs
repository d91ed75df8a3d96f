//! Carrying out a plan: stages that need each other one after the other, the others at the same time.
//!
//! ```text
//! build ── demand(target) ─► demand(what it needs) …          one thread per running stage
//!                │
//!                ├─ Stage: FROM, then each instruction ─► State { configuration, layers, keys }
//!                │
//!                └─ finish: digests of the layers (made meanwhile) ─► image
//! ```
//!
//! The first error raises the build's own cancel flag; the others stop at their next step.

mod agent;
mod copy;
mod expand;
mod finish;
pub(crate) mod git;
mod layers;
pub(crate) mod named;
mod remote;
mod run;
mod scan;
mod stage;
mod stubs;
mod upon;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use dray_image::ProgressEvent;
use dray_spec::Platform;
pub(crate) use expand::expanded;
pub(crate) use remote::{Fetch, Kind, kind};
pub(crate) use stage::State;

use crate::agent::Agents;
use crate::base::BaseImage;
use crate::builder::Builder;
use crate::cache::{CacheImport, Entry, Key, Times, Turn, Used};
use crate::capture::{Capture, Material};
use crate::context::ContextDir;
use crate::dockerfile::{Dockerfile, Mount, excerpt};
use crate::dockerignore::Patterns;
use crate::entitlement::Entitlements;
use crate::epoch;
use crate::error::BuildError;
use crate::event::{BuildEvent, BuildEvents};
use crate::lint::{Linter, Surroundings, walk};
use crate::named::Contexts;
use crate::plan::{Plan, StagePlan};
use crate::request::{BuildRequest, Built};
use crate::run::Resources;
use crate::secret::Secrets;
use crate::{Cancel, solve::finish::Digests};

/// A build in progress.
pub(crate) struct Build<'a> {
    builder: &'a Builder,
    plan: Plan,
    context: Option<ContextDir>,
    no_cache: bool,
    no_cache_stages: Vec<String>,
    pull: bool,
    network_mode: String,
    resources: Resources,
    secrets: Secrets,
    agents: Agents,
    contexts: Contexts,
    contexts_loaded: &'a named::Loaded,
    entitlements: Entitlements,
    dockerfile: &'a Dockerfile,
    linter: Linter<'a>,
    /// The checks were made before the build.
    checked: bool,
    /// What the context leaves out, for the checks.
    ignore: Option<Patterns>,
    /// The time of all that is made, in a reproducible build.
    epoch: Option<i64>,
    imports: Vec<Arc<CacheImport>>,
    inline_cache: bool,
    unrecorded: bool,
    strict_sources: bool,
    cancel: Cancel,
    events: &'a dyn BuildEvents,
    stages: Vec<Slot>,
    first_error: Mutex<Option<BuildError>>,
    images: Mutex<HashMap<(String, String), BaseImage>>,
    digests: Digests,
    capture: Mutex<Capture>,
    /// Results that were used, which the cache shall keep.
    used: Used,
    /// One of them is new.
    made: AtomicBool,
}

/// The result of a stage, when it has one.
#[derive(Default)]
struct Slot {
    progress: Mutex<Progress>,
    done: Condvar,
}

#[derive(Default)]
enum Progress {
    #[default]
    Idle,
    Running,
    Done(Arc<State>),
    Failed,
}

/// Carries out a plan.
pub(crate) fn build<'a>(
    builder: &'a Builder,
    plan: Plan,
    request: BuildRequest,
    checks: Checks<'a>,
    events: &'a dyn BuildEvents,
) -> Result<Built, BuildError> {
    let epoch = epoch::of_request(&request)?;
    let scan = request.scan;
    let cancel = Cancel::new();
    let inner = cancel.clone();
    let _guard = request.cancel.on_cancel(move || inner.cancel());
    let mut build = Build {
        builder,
        stages: plan.stages.iter().map(|_| Slot::default()).collect(),
        plan,
        context: request.context,
        no_cache: request.no_cache,
        no_cache_stages: request.no_cache_stages,
        pull: request.pull,
        // Clients say the same in two ways; a step is the same one.
        network_mode: Some(request.network_mode).filter(|mode| mode != "default").unwrap_or_default(),
        resources: request.resources,
        secrets: request.secrets,
        agents: request.agents,
        contexts: request.contexts,
        contexts_loaded: checks.contexts,
        entitlements: request.entitlements,
        dockerfile: checks.dockerfile,
        linter: checks.linter,
        checked: false,
        ignore: checks.ignore,
        epoch,
        imports: request.cache_imports,
        inline_cache: request.inline_cache,
        unrecorded: request.unrecorded,
        strict_sources: request.strict_sources,
        cancel,
        events,
        first_error: Mutex::new(None),
        images: Mutex::default(),
        digests: Digests::default(),
        capture: Mutex::new(Capture { materials: request.materials, ..Capture::default() }),
        used: Used::default(),
        made: AtomicBool::new(false),
    };
    if build.linter.is_strict() {
        build.check_first()?;
        build.checked = true;
    }
    build.emit(build.plan.event());
    for (i, text) in build.plan.global_steps.iter().enumerate() {
        let (n, total) = (i + 1, build.plan.total);
        build.emit(BuildEvent::Step { n, total, text: text.clone(), stage: String::new() });
        build.emit(BuildEvent::StepDone { n, id: None, millis: 0, cached: false });
    }
    let result = std::thread::scope(|scope| {
        let state = build.run_stage(build.plan.target, scope)?;
        let built = finish::image(&build, &state)?;
        let scanned = if scan { scan::all(&build, &state, scope)? } else { Default::default() };
        Ok(Built { scanned: Arc::new(scanned), ..built })
    });
    let first_error = lock(&build.first_error).take();
    if let Some(context) = build.context {
        context.remove_later();
    }
    // What a failed build has done is of use to the next.
    let uses = builder.cache.settle(build.used, build.made.into_inner()).unwrap_or_else(|error| {
        tracing::warn!(%error, "the build cache may lose the layers of this build");
        None
    });
    match (first_error, result) {
        (Some(error), Err(_)) => Err(error),
        (_, result) => result.map(|built| Built { _uses: uses.map(Arc::new), ..built }),
    }
}

/// What belongs to the Dockerfile of a build: what holds it against the rules, and its contexts.
pub(crate) struct Checks<'a> {
    pub(crate) dockerfile: &'a Dockerfile,
    pub(crate) linter: Linter<'a>,
    /// What the context leaves out.
    pub(crate) ignore: Option<Patterns>,
    /// The named contexts, each fetched once for all platforms.
    pub(crate) contexts: &'a named::Loaded,
}

impl Build<'_> {
    /// Checks all that will be built, before anything is: for a Dockerfile whose warnings end the build.
    fn check_first(&self) -> Result<(), BuildError> {
        let wanted = |stage: &StagePlan| stage.needed;
        let base = |name: &str, platform: &Platform| Ok(self.image(name, platform, None)?.config);
        walk(&self.linter, &self.plan, self.surroundings(), wanted, base)?;
        self.linter.verdict()
    }

    /// The lines of the Dockerfile with those around them.
    fn excerpt(&self, lines: (usize, usize)) -> String {
        excerpt(&self.dockerfile.name, &self.dockerfile.text, lines)
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings { escape: self.plan.escape, args: &self.plan.args, ignore: self.ignore.as_ref() }
    }

    fn emit(&self, event: BuildEvent) {
        self.events.event(event);
    }

    /// Records the result of a step.
    fn record(&self, key: &Key, entry: &Entry) -> Result<(), BuildError> {
        self.made.store(true, Ordering::Relaxed);
        self.builder.cache.put(key, entry)
    }

    /// Whether a stage is carried out anew.
    fn is_anew(&self, stage: &StagePlan) -> bool {
        let named = |name: &String| stage.stage.name.as_ref().is_some_and(|of| of.eq_ignore_ascii_case(name));
        self.no_cache || self.no_cache_stages.iter().any(named)
    }

    /// The result of a step, from here or from an imported cache, or the right to carry it out; `anew` for one that
    /// must not come from a cache.
    fn turn(&self, key: &Key, anew: bool) -> Result<Turn, BuildError> {
        match self.builder.cache.turn(key, !anew, &self.cancel)? {
            Turn::Yours(guard) if anew => Ok(Turn::Yours(guard)),
            Turn::Yours(guard) => Ok(self.imported(key)?.map_or(Turn::Yours(guard), Turn::Known)),
            known => Ok(known),
        }
    }

    /// The result for a key, from here or from an imported cache.
    fn known(&self, key: &Key) -> Result<Option<Entry>, BuildError> {
        match self.builder.cache.get(key)? {
            Some(entry) => Ok(Some(entry)),
            None => self.imported(key),
        }
    }

    /// A result of an imported cache, which is one of this cache from then on. One that cannot be had is none.
    fn imported(&self, key: &Key) -> Result<Option<Entry>, BuildError> {
        for import in &self.imports {
            match import.result(key, &self.builder.images) {
                Ok(None) => {}
                Ok(Some(entry)) => {
                    self.record(key, &entry)?;
                    return Ok(Some(entry));
                }
                Err(error) => {
                    let message = format!("cache {}: {error}", import.name());
                    self.emit(BuildEvent::Warning { message });
                }
            }
        }
        Ok(None)
    }

    /// Fills the directory of a cache mount from an imported cache, if there is none here. One that cannot be had is
    /// none.
    fn seed(&self, mount: &Mount) {
        let id = mount.id.as_deref().unwrap_or(&mount.target);
        let dirs = &self.builder.cache_dirs;
        for import in self.imports.iter().filter(|import| import.has_mount(id)) {
            if dirs.has(id) {
                return;
            }
            if let Err(error) = dirs.seed(mount, |folder| import.unpack_mount(id, folder)) {
                let message = format!("cache {}: cache mount {id}: {error}", import.name());
                self.emit(BuildEvent::Warning { message });
            }
        }
    }

    /// What a quicker key stands for, here or in an imported cache.
    fn alias(&self, quick: &Key) -> Result<Option<(Key, String)>, BuildError> {
        if let Some(known) = self.builder.cache.get_alias(quick)? {
            return Ok(Some(known));
        }
        let found = self.imports.iter().find_map(|import| import.alias(quick));
        if let Some((key, created_by)) = &found {
            self.builder.cache.adopt_alias(quick, key, created_by)?;
        }
        Ok(found)
    }

    /// Notes that a result is part of this build; `before` is the key of what it worked on.
    fn used(&self, key: &Key, entry: &Entry, created_by: &str, before: &Key) {
        self.builder.cache.used(&self.used, key, entry, created_by, Some(before));
    }

    /// Sets the times of what a step has written, which began at `began` (see [`Times`]).
    fn stamp(&self, folder: &Path, began: Option<i64>) -> Result<Times, BuildError> {
        if let Some(epoch) = self.epoch {
            let times = Times { began, epoch: None };
            epoch::stamp(folder, epoch, &times).map_err(layers::failed("set times in", folder))?;
        }
        Ok(Times { began, epoch: self.epoch })
    }

    /// A result whose files have the times of this build's epoch.
    fn stamped(&self, key: &Key, entry: Entry) -> Result<Entry, BuildError> {
        let (Some(epoch), Some(layer)) = (self.epoch, entry.layer) else { return Ok(entry) };
        if entry.times.epoch == Some(epoch) {
            return Ok(entry);
        }
        let times = entry.times;
        let layer = self.builder.images.with_times(layer, &|time| times.at(epoch, time))?;
        let entry = Entry { layer, times: Times { epoch: Some(epoch), ..times }, ..entry };
        self.record(key, &entry)?;
        Ok(entry)
    }

    fn check_cancelled(&self) -> Result<(), BuildError> {
        if self.cancel.is_cancelled() { Err(BuildError::Cancelled) } else { Ok(()) }
    }

    /// Sees to it that a stage is carried out, on a thread of its own.
    fn demand<'scope>(&'scope self, index: usize, scope: &'scope Scope<'scope, '_>) {
        let mut progress = lock(&self.stages[index].progress);
        if matches!(*progress, Progress::Idle) {
            *progress = Progress::Running;
            drop(progress);
            scope.spawn(move || {
                // The result is in the slot.
                let _ = self.run_stage(index, scope);
            });
        }
    }

    /// Waits for a stage that is demanded here if nobody has yet.
    fn stage<'scope>(
        &'scope self,
        index: usize,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<Arc<State>, BuildError> {
        self.demand(index, scope);
        let slot = &self.stages[index];
        let mut progress = lock(&slot.progress);
        loop {
            match &*progress {
                Progress::Done(state) => return Ok(state.clone()),
                Progress::Failed => return Err(BuildError::Cancelled),
                _ => progress = slot.done.wait(progress).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Carries out a stage on this thread and notes its result.
    fn run_stage<'scope>(
        &'scope self,
        index: usize,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<Arc<State>, BuildError> {
        let plan = &self.plan.stages[index];
        for needed in &plan.needs {
            self.demand(*needed, scope);
        }
        // A panic must not leave the others waiting for this stage.
        let run = std::panic::AssertUnwindSafe(|| stage::run(self, plan, scope));
        let result = std::panic::catch_unwind(run)
            .unwrap_or_else(|_| Err(BuildError::Panicked(plan.name.clone())))
            .map(Arc::new);
        let mut progress = lock(&self.stages[index].progress);
        match result {
            Ok(state) => {
                *progress = Progress::Done(state.clone());
                self.stages[index].done.notify_all();
                Ok(state)
            }
            Err(error) => {
                *progress = Progress::Failed;
                self.stages[index].done.notify_all();
                drop(progress);
                self.fail(error);
                Err(BuildError::Cancelled)
            }
        }
    }

    /// Notes an error, the first unless that was only the consequence of a stop, and stops the build.
    fn fail(&self, error: BuildError) {
        let mut first = lock(&self.first_error);
        if first.as_ref().is_none_or(|known| known.is_cancellation()) {
            *first = Some(error);
        }
        drop(first);
        self.cancel.cancel();
    }

    /// The image `name`, asked for once per build; step `n` tells of the progress.
    fn image(&self, name: &str, platform: &Platform, n: Option<usize>) -> Result<BaseImage, BuildError> {
        let key = (name.to_owned(), platform.to_string());
        if let Some(image) = lock(&self.images).get(&key) {
            return Ok(image.clone());
        }
        let progress = |event: ProgressEvent| {
            let ProgressEvent { id, status, current, total } = event;
            if let Some(n) = n {
                self.emit(BuildEvent::Pull { n, id, status, current, total });
            }
        };
        let image = self.builder.bases.resolve(name, platform, self.pull, &progress, &self.cancel)?;
        lock(&self.capture).material(Material::Image {
            name: name.to_owned(),
            platform: platform.clone(),
            digest: image.digest.clone().or_else(|| Some(image.id.clone())),
        });
        lock(&self.images).insert(key, image.clone());
        Ok(image)
    }
}

/// Random hexadecimal digits.
pub(crate) fn random_id(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    // The kernel's generator is there and ready on every system that runs containers.
    if rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).is_err() {
        tracing::warn!("no random numbers");
    }
    hex::encode(random)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
