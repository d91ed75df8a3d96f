//! A build for several platforms: a plan for each, all carried out at the same time.
//!
//! ```text
//! Dockerfile ─ plan ─► linux/amd64  steps 1 …  ┐
//!            ─ plan ─► linux/arm64  steps … n  ┴─► a result each, in the order asked for
//! ```
//! They share context, named contexts and cache: what does not depend on the platform that is built for (a stage of
//! `--platform=$BUILDPLATFORM`) is one step of the cache, which one of them carries out while the others wait. Their
//! steps are numbered through, so that who hears the events sees one build.

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use dray_spec::Platform;

use crate::Cancel;
use crate::builder::{Builder, prepared};
use crate::definition;
use crate::dockerfile::Dockerfile;
use crate::dockerignore::Patterns;
use crate::error::BuildError;
use crate::event::{BuildEvent, BuildEvents, PlannedStage};
use crate::inputs::StepInputs;
use crate::lint::Linter;
use crate::plan::Plan;
use crate::request::{BuildRequest, Built};
use crate::solve::{self, named::Loaded};

impl Builder {
    /// Builds an image for each of these platforms; nothing is told of a result as a whole
    /// ([`BuildEvent::Built`]), that is up to who makes an index of them.
    ///
    /// # Errors
    /// The first failure, which ends all of them.
    pub fn build_platforms(
        &self,
        mut request: BuildRequest,
        platforms: &[Platform],
        events: &dyn BuildEvents,
    ) -> Result<Vec<Built>, BuildError> {
        let (dockerfile, ignore) = definition::read(&request)?;
        events.definition(&dockerfile);
        let together = Together::new(events, dockerfile.global_args.len());
        let mut members = Vec::new();
        for platform in platforms {
            let request = BuildRequest { platform: Some(platform.to_string()), ..request.clone() };
            let (plan, linter) = prepared(&dockerfile, &request, &together)?;
            members.push(Member { platform, request, plan, linter });
        }
        together.number(&mut members);
        // As for one platform: see Builder::build.
        let _lease = self.images.lease();
        let built = self.carry_out_all(members, &dockerfile, ignore.as_ref(), &together, &request.cancel);
        if let Some(context) = request.context.take() {
            context.remove_later();
        }
        built
    }

    fn carry_out_all(
        &self,
        members: Vec<Member<'_>>,
        dockerfile: &Dockerfile,
        ignore: Option<&Patterns>,
        together: &Together<'_>,
        given_up: &Cancel,
    ) -> Result<Vec<Built>, BuildError> {
        let cancel = Cancel::new();
        let raised = cancel.clone();
        let _guard = given_up.on_cancel(move || raised.cancel());
        let contexts = Loaded::default();
        let first_error = Mutex::new(None);
        let carry_out = |member: Member<'_>| {
            let Member { request, plan, linter, .. } = member;
            let request = BuildRequest { cancel: cancel.clone(), ..request };
            let checks = solve::Checks { dockerfile, linter, ignore: ignore.cloned(), contexts: &contexts };
            let built = solve::build(self, plan, request, checks, together);
            built.map_err(|error| note(&first_error, error, &cancel)).ok()
        };
        let carry_out = &carry_out;
        let built = std::thread::scope(|scope| {
            let start = |member| scope.spawn(move || carry_out(member));
            let running: Vec<_> = members.into_iter().map(start).collect();
            running.into_iter().map(|member| member.join().ok().flatten()).collect::<Option<Vec<_>>>()
        });
        let first_error = first_error.into_inner().unwrap_or_else(PoisonError::into_inner);
        built.ok_or_else(|| first_error.unwrap_or_else(|| BuildError::Panicked("of a platform".to_owned())))
    }
}

/// Notes an error, the first unless that was only the consequence of a stop, and stops the others.
fn note(first: &Mutex<Option<BuildError>>, error: BuildError, cancel: &Cancel) {
    let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
    if first.as_ref().is_none_or(BuildError::is_cancellation) {
        *first = Some(error);
    }
    drop(first);
    cancel.cancel();
}

/// The build for one platform.
struct Member<'a> {
    platform: &'a Platform,
    request: BuildRequest,
    plan: Plan,
    linter: Linter<'a>,
}

/// The events of all platforms as those of one build.
struct Together<'a> {
    events: &'a dyn BuildEvents,
    /// How many `ARG`s are before the first `FROM`: steps that all have.
    global: usize,
    plan: OnceLock<(usize, Vec<PlannedStage>)>,
    /// What is told once, whoever says it.
    told: Mutex<HashSet<String>>,
}

impl<'a> Together<'a> {
    fn new(events: &'a dyn BuildEvents, global: usize) -> Self {
        Together { events, global, plan: OnceLock::new(), told: Mutex::default() }
    }

    /// Numbers the steps of all plans through.
    fn number(&self, members: &mut [Member<'_>]) {
        let own = |member: &Member<'_>| member.plan.total - self.global;
        let total = self.global + members.iter().map(own).sum::<usize>();
        let mut stages = Vec::new();
        let mut before = 0;
        for member in members {
            let steps = member.plan.total - self.global;
            member.plan.renumber(before, total);
            before += steps;
            stages.extend(member.plan.planned().map(|stage| PlannedStage {
                platforms: member.plan.shown_platforms(stage.index, member.platform),
                ..stage
            }));
        }
        let _ = self.plan.set((total, stages));
    }

    fn is_new(&self, what: String) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(what)
    }

    /// The stage of a step as it is shown, with the platform before its name.
    fn stage_of(&self, n: usize, name: String) -> String {
        let stages = self.plan.get().map(|(_, stages)| stages.as_slice()).unwrap_or_default();
        let of = stages.iter().find(|stage| (stage.steps.0..stage.steps.1).contains(&n));
        let platform = of.and_then(|stage| stage.platforms.get(n - stage.steps.0));
        match platform {
            Some(platform) if name.bytes().all(|b| b.is_ascii_digit()) => platform.clone(),
            Some(platform) => format!("{platform} {name}"),
            None => name,
        }
    }
}

impl BuildEvents for Together<'_> {
    fn event(&self, event: BuildEvent) {
        let event = match event {
            BuildEvent::Plan { .. } => {
                let Some((total, stages)) = self.plan.get() else { return };
                if !self.is_new("plan".to_owned()) {
                    return;
                }
                BuildEvent::Plan { total: *total, stages: stages.clone() }
            }
            BuildEvent::Step { n, total, text, stage } => {
                if n <= self.global && !self.is_new(format!("step {n}")) {
                    return;
                }
                BuildEvent::Step { n, total, text, stage: self.stage_of(n, stage) }
            }
            BuildEvent::StepDone { n, .. } if n <= self.global && !self.is_new(format!("done {n}")) => return,
            BuildEvent::Check { ref rule, ref detail, lines, .. } => {
                if !self.is_new(format!("check {rule} {lines:?} {detail}")) {
                    return;
                }
                event
            }
            BuildEvent::Warning { ref message } if !self.is_new(format!("warning {message}")) => return,
            // Of each platform's image: what counts is what is made of all of them.
            BuildEvent::Built { .. } => return,
            event => event,
        };
        self.events.event(event);
    }

    fn wants_inputs(&self) -> bool {
        self.events.wants_inputs()
    }

    fn inputs(&self, n: usize, inputs: StepInputs) {
        self.events.inputs(n, inputs);
    }
}
