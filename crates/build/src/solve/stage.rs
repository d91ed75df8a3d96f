//! One stage: where it begins, and its instructions one after the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::Scope;
use std::time::Instant;

use dray_spec::{Digest, History, ImageConfig, Reference, RunConfig};
use dray_store::LayerId;

use super::expand::expanded;
use super::{Build, lock, random_id};
use crate::args::{BuildArgs, LineEnv};
use crate::base::BaseImage;
use crate::cache::{Entry, Key, KeyBuilder};
use crate::capture::{DoneStep, Operation};
use crate::config::{self, Edits};
use crate::dockerfile::{Command, Instruction, parse_trigger};
use crate::epoch;
use crate::error::BuildError;
use crate::event::BuildEvent;
use crate::expand::Expander;
use crate::inputs::{InputKind, StepInputs};
use crate::lint::StageView;
use crate::plan::{Base, StagePlan};
use crate::run::OutputStream;

/// What a stage has come to.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) config: ImageConfig,
    /// Bottom first.
    pub(crate) layers: Vec<LayerId>,
    /// The image it still is, before the first instruction.
    pub(crate) image: Option<Digest>,
    /// The image it was begun with, and how many layers that has.
    pub(crate) base: Option<(Digest, usize)>,
    /// Names the files.
    pub(crate) files: Key,
    /// Names every instruction.
    pub(crate) chain: Key,
    /// How the state is shown in the output.
    pub(crate) shown: String,
    edits: Edits,
    /// The arguments at its end: what begins with it has them too.
    pub(super) args: Option<Arc<BuildArgs>>,
    /// What the checks know of it.
    view: Arc<StageView>,
    /// What was done last to its files, among what the build has done.
    pub(crate) done: Option<usize>,
    /// Something of it was carried out anew, so that its keys do not tell what it is: what works on it is, too.
    pub(crate) anew: bool,
    /// The last step, whose end is told when the image is there.
    pub(crate) last_step: Option<LastStep>,
}

/// What is to be told about the end of the target's last step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastStep {
    pub(crate) n: usize,
    pub(crate) started: Instant,
    pub(crate) cached: bool,
}

impl State {
    pub(super) fn scratch(plan: &StagePlan) -> State {
        let mut config = ImageConfig::for_platform(&plan.platform);
        config.config.get_or_insert_default().working_dir = "/".to_owned();
        State {
            config,
            layers: Vec::new(),
            image: None,
            base: None,
            files: KeyBuilder::new("scratch").finish(),
            chain: KeyBuilder::new("scratch").field(plan.platform.to_string()).finish(),
            shown: String::new(),
            edits: Edits::default(),
            args: None,
            view: Arc::default(),
            done: None,
            anew: false,
            last_step: None,
        }
    }

    /// The state of an image.
    pub(crate) fn of_image(image: BaseImage, plan: &StagePlan) -> State {
        let key = KeyBuilder::new("image").field(image.id.as_str()).finish();
        State {
            files: key,
            chain: key,
            shown: image.id.short().to_owned(),
            base: Some((image.id.clone(), image.layers.len())),
            config: image.config,
            layers: image.layers,
            image: Some(image.id),
            ..State::scratch(plan)
        }
    }

    /// How containers of it run.
    pub(crate) fn run_config(&self) -> &RunConfig {
        static EMPTY: std::sync::OnceLock<RunConfig> = std::sync::OnceLock::new();
        self.config.config.as_ref().unwrap_or_else(|| EMPTY.get_or_init(RunConfig::default))
    }

    fn run_config_mut(&mut self) -> &mut RunConfig {
        self.config.config.get_or_insert_default()
    }

    /// The environment that `ENV` and the base have set.
    pub(crate) fn env(&self) -> &[String] {
        self.run_config().env.as_deref().unwrap_or_default()
    }

    /// Its layers' folders, top first.
    pub(crate) fn lower(&self, build: &Build<'_>) -> Vec<PathBuf> {
        build.builder.images.store().layers().folders_of(self.layers.iter().rev())
    }
}

/// A stage being carried out.
pub(crate) struct Stage<'scope, 'env, 'b> {
    pub(crate) build: &'scope Build<'b>,
    pub(crate) plan: &'scope StagePlan,
    pub(crate) scope: &'scope Scope<'scope, 'env>,
    pub(crate) state: State,
    pub(crate) args: BuildArgs,
    /// Number of the current step.
    pub(crate) n: usize,
    /// Whether everything of the current step came from the cache.
    pub(crate) cached: bool,
    /// The lines of the current step.
    pub(crate) lines: (usize, usize),
}

/// Carries out a stage.
pub(crate) fn run<'scope, 'env, 'b>(
    build: &'scope Build<'b>,
    plan: &'scope StagePlan,
    scope: &'scope Scope<'scope, 'env>,
) -> Result<State, BuildError> {
    let mut stage = Stage {
        build,
        plan,
        scope,
        state: State::scratch(plan),
        args: build.plan.args.for_stage(),
        n: plan.first_step,
        cached: false,
        lines: (plan.stage.line, plan.stage.last_line),
    };
    let steps = plan.stage.instructions.len();
    let at = |error: BuildError| error.at((plan.stage.line, plan.stage.last_line));
    stage.step(&plan.stage.text, steps == 0, |stage| stage.begin().map_err(at))?;
    for (i, instruction) in plan.stage.instructions.iter().enumerate() {
        stage.n += 1;
        stage.lines = (instruction.line, instruction.last_line);
        let at = |error: BuildError| error.at((instruction.line, instruction.last_line));
        stage.step(&instruction.text, i + 1 == steps, |stage| stage.instruction(instruction).map_err(at))?;
    }
    stage.state.args = Some(Arc::new(stage.args));
    Ok(stage.state)
}

impl Stage<'_, '_, '_> {
    pub(crate) fn emit(&self, event: BuildEvent) {
        // A stage that only an ONBUILD trigger asks for has no steps of its own.
        if self.plan.needed {
            self.build.emit(event);
        }
    }

    pub(crate) fn note(&self, text: String) {
        self.emit(BuildEvent::Output { n: self.n, stream: OutputStream::Stdout, text });
    }

    /// A place for what goes into the current step, if somebody wants to know.
    pub(crate) fn listened(&self) -> Option<StepInputs> {
        (self.plan.needed && self.build.events.wants_inputs()).then(StepInputs::default)
    }

    /// Tells what goes into the current step.
    pub(crate) fn tell(&self, inputs: StepInputs) {
        self.build.events.inputs(self.n, inputs);
    }

    /// Carries out a step and tells of its beginning and end.
    fn step(
        &mut self,
        text: &str,
        is_last: bool,
        work: impl FnOnce(&mut Self) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        self.build.check_cancelled()?;
        let (n, started) = (self.n, Instant::now());
        let millis = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.cached = false;
        self.emit(BuildEvent::Step {
            n,
            total: self.build.plan.total,
            text: text.to_owned(),
            stage: self.plan.name.clone(),
        });
        if let Err(error) = work(self) {
            if !error.is_cancellation() {
                let excerpt = error.lines().map(|lines| self.build.excerpt(lines)).unwrap_or_default();
                self.emit(BuildEvent::StepFailed { n, millis: millis(), error: error.to_string(), excerpt });
            }
            return Err(error);
        }
        let cached = self.cached;
        if is_last && self.plan.index == self.build.plan.target {
            self.state.last_step = Some(LastStep { n, started, cached });
        } else {
            let id = Some(self.state.shown.clone());
            self.emit(BuildEvent::StepDone { n, id, millis: millis(), cached });
        }
        Ok(())
    }

    /// `FROM`, and the triggers of the base.
    fn begin(&mut self) -> Result<(), BuildError> {
        let view = match &self.plan.base {
            Base::Scratch => StageView::of_image(None),
            Base::Stage(index) => {
                let base = self.build.stage(*index, self.scope)?;
                if let Some(args) = &base.args {
                    self.args = BuildArgs::clone(args);
                }
                self.state = State { edits: Edits::default(), last_step: None, ..State::clone(&base) };
                StageView::clone(&base.view)
            }
            Base::Image(name) => {
                let image = self.build.image(name, &self.plan.platform, Some(self.n))?;
                self.build.linter.base_platform(self.plan, name, &image.config);
                if let Some(mut inputs) = self.listened() {
                    inputs.add(InputKind::Image, name, image.id.as_str());
                    self.tell(inputs);
                }
                self.state = State::of_image(image, self.plan);
                self.state.done = Some(self.brought_in(image_identifier(name)));
                StageView::of_image(Some(&self.state.config))
            }
            Base::Context(name) => {
                self.state = self.context_state(name)?;
                if let Some(mut inputs) = self.listened() {
                    inputs.add(InputKind::From, name, self.state.files.to_string());
                    self.tell(inputs);
                }
                StageView::of_image(None)
            }
        };
        self.state.anew |= self.build.is_anew(self.plan);
        self.check(view);
        if self.plan.in_target {
            self.build.digests.start(self.build, &self.state.layers, self.scope);
        }
        let config = self.state.run_config_mut();
        config::begin_stage(config);
        match config.on_build.take().filter(|triggers| !triggers.is_empty()) {
            None => Ok(()),
            Some(triggers) => self.triggers(&triggers),
        }
    }

    /// Notes that something was brought in; gives its place among what the build has done.
    pub(super) fn brought_in(&self, identifier: String) -> usize {
        self.note_step(Operation::Source { identifier }, Vec::new(), None)
    }

    /// Notes what was done to the files, with the places of what was read beside them.
    pub(super) fn did(&mut self, operation: Operation, read: Vec<usize>, layers_before: usize) {
        let inputs: Vec<usize> = self.state.done.into_iter().chain(read).collect();
        let layer = self.state.layers.get(layers_before).copied();
        self.state.done = Some(self.note_step(operation, inputs, layer));
    }

    fn note_step(&self, operation: Operation, inputs: Vec<usize>, layer: Option<LayerId>) -> usize {
        let platform = self.plan.platform.clone();
        // What the client sends is of no line.
        let of_client =
            matches!(&operation, Operation::Source { identifier } if identifier.starts_with("local://"));
        let lines = Some(self.lines).filter(|lines| lines.0 > 0 && !of_client).into_iter().collect();
        let is_upon = self.state.done.is_some() && !inputs.is_empty();
        lock(&self.build.capture).step(DoneStep { operation, platform, inputs, is_upon, lines, layer })
    }

    /// Tells what is unwise in the stage.
    fn check(&mut self, view: StageView) {
        if self.build.checked {
            return;
        }
        // What cannot be carried out is an error of its step.
        let build = self.build;
        if let Ok(view) = build.linter.stage(&self.plan.stage, view, build.surroundings()) {
            self.state.view = Arc::new(view);
        }
    }

    fn triggers(&mut self, triggers: &[String]) -> Result<(), BuildError> {
        let plural = if triggers.len() > 1 { "s" } else { "" };
        self.note(format!("# Executing {} build trigger{plural}\n", triggers.len()));
        for trigger in triggers {
            let instruction = parse_trigger(trigger)?;
            self.instruction(&instruction)?;
        }
        self.cached = false;
        Ok(())
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), BuildError> {
        self.build.check_cancelled()?;
        let expander = Expander::new(self.build.plan.escape);
        let env = LineEnv::new(self.state.env(), &self.args);
        let command = expanded(&instruction.command, &expander, &env)?;
        match &command {
            Command::Arg(pairs) => {
                let mut comment = "ARG".to_owned();
                for pair in pairs {
                    let default = pair.value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
                    comment.push_str(&format!(" {}{default}", pair.key));
                    self.args.declare(&pair.key, pair.value.clone());
                }
                let created_by = config::nop(self.state.run_config(), &comment);
                self.metadata(created_by)
            }
            Command::Run(run) => self.run(run),
            Command::Copy(copy) => self.copy(copy.into()),
            Command::Add(add) => self.copy(add.into()),
            other => {
                let mut edits = std::mem::take(&mut self.state.edits);
                let comment = edits.apply(self.state.run_config_mut(), other);
                self.state.edits = edits;
                let comment = comment?.unwrap_or_default();
                if let Command::Maintainer(author) = other {
                    self.state.config.author.clone_from(author);
                }
                if let Command::Env(pairs) = other {
                    pairs.iter().for_each(|pair| self.args.hide(&pair.key));
                }
                if matches!(other, Command::Workdir(_)) {
                    return self.workdir(&comment);
                }
                let created_by = config::nop(self.state.run_config(), &comment);
                self.metadata(created_by)
            }
        }
    }

    /// Ends an instruction that makes no files.
    fn metadata(&mut self, created_by: String) -> Result<(), BuildError> {
        let chain =
            KeyBuilder::new("instruction").field(self.state.chain.bytes()).field(&created_by).finish();
        if let Some(mut inputs) = self.listened() {
            inputs.add(InputKind::Instruction, "", &created_by);
            self.tell(inputs.named(&chain, Some(&self.state.chain)));
        }
        let known = if self.state.anew { None } else { self.build.known(&chain)? };
        let entry = match known {
            Some(entry) => {
                self.hit();
                entry
            }
            None => {
                let container = self.running(None);
                let entry = Entry::new(now(), None);
                self.build.record(&chain, &entry)?;
                self.ran(container);
                entry
            }
        };
        self.build.used(&chain, &entry, &created_by, &self.state.chain);
        self.note_target(&chain);
        self.advance(chain, entry.created, created_by, true);
        Ok(())
    }

    /// Ends an instruction that works on files: `files` names what they are now.
    pub(crate) fn files_done(
        &mut self,
        files: Key,
        entry: Entry,
        created_by: String,
    ) -> Result<(), BuildError> {
        let entry = self.build.stamped(&files, entry)?;
        let chain = KeyBuilder::new("files")
            .field(self.state.chain.bytes())
            .field(&created_by)
            .field(files.bytes())
            .finish();
        self.build.used(&files, &entry, &created_by, &self.state.files);
        self.note_target(&files);
        self.state.files = files;
        if let Some(layer) = entry.layer {
            self.state.layers.push(layer);
            if self.plan.in_target {
                self.build.digests.start(self.build, &[layer], self.scope);
            }
        }
        self.advance(chain, entry.created, created_by, entry.layer.is_none());
        Ok(())
    }

    fn advance(&mut self, chain: Key, created: String, created_by: String, empty_layer: bool) {
        let created = self.build.epoch.map_or(created, epoch::text);
        let state = &mut self.state;
        state.chain = chain;
        state.shown = chain.short();
        state.image = None;
        state.config.created = Some(created.clone());
        state.config.history.push(History {
            created: Some(created),
            created_by,
            author: state.config.author.clone(),
            comment: String::new(),
            empty_layer,
        });
    }

    /// Notes a result that is part of the image.
    fn note_target(&self, key: &Key) {
        if self.plan.in_target {
            self.build.used.in_target(key);
        }
    }

    pub(crate) fn hit(&mut self) {
        self.cached = true;
        self.emit(BuildEvent::CacheHit { n: self.n });
    }

    /// Tells that the step is carried out; gives the container's id, a new one unless there is one.
    pub(crate) fn running(&mut self, id: Option<String>) -> String {
        self.cached = false;
        let id = id.unwrap_or_else(|| random_id(32));
        self.emit(BuildEvent::Running { n: self.n, container: id[..12].to_owned() });
        id
    }

    /// Tells that the step's container is gone.
    pub(crate) fn ran(&self, container: String) {
        self.emit(BuildEvent::Removed { n: self.n, container: container[..12].to_owned() });
    }
}

/// An image as a source.
pub(super) fn image_identifier(name: &str) -> String {
    let name = Reference::parse(name).map_or_else(|_| name.to_owned(), |name| name.tagged().to_string());
    format!("docker-image://{name}")
}

/// The time at which a step begins, for [`crate::cache::Times`]. Files get their times from a clock that may be a tick
/// behind.
pub(crate) fn began() -> i64 {
    jiff::Timestamp::now().as_second() - 1
}

/// The time as images carry it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}
