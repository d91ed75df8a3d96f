//! Listens to one run of the builder for the history, and passes all of it on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dray_build::dockerfile::Dockerfile;
use dray_build::{BuildEvent, BuildEvents, InputFile, StepInputs};

use super::Recording;
use super::record::{Run, StepEnd, TracedStep};

/// A run that is listened to. What it has heard is the recording's when it is dropped.
pub struct Watch<'a> {
    recording: &'a Recording,
    inner: &'a dyn BuildEvents,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    run: Run,
    steps: BTreeMap<usize, Step>,
}

/// A step, and the files that it reads.
#[derive(Default)]
pub(super) struct Step {
    pub(super) step: TracedStep,
    pub(super) files: Vec<InputFile>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(recording: &'a Recording, platform: &str, inner: &'a dyn BuildEvents) -> Self {
        let run = Run { platform: platform.to_owned(), ..Run::default() };
        Watch { recording, inner, heard: Mutex::new(Heard { run, ..Heard::default() }) }
    }

    fn with<R>(&self, work: impl FnOnce(&mut Heard) -> R) -> R {
        work(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hear(&self, event: &BuildEvent) {
        match event {
            BuildEvent::Plan { stages, .. } => self.with(|heard| heard.run.stages.clone_from(stages)),
            BuildEvent::Step { n, text, stage, .. } => self.with(|heard| {
                let step = &mut heard.steps.entry(*n).or_default().step;
                (step.n, step.text, step.stage) = (*n, text.clone(), stage.clone());
            }),
            BuildEvent::StepDone { n, millis, cached, .. } => {
                self.end(*n, *millis, if *cached { StepEnd::Cached } else { StepEnd::Done });
            }
            BuildEvent::StepFailed { n, millis, excerpt, .. } if *n > 0 => {
                self.end(*n, *millis, StepEnd::Failed);
                self.with(|heard| heard.steps.entry(*n).or_default().step.excerpt.clone_from(excerpt));
            }
            _ => {}
        }
    }

    fn end(&self, n: usize, millis: u64, end: StepEnd) {
        self.with(|heard| {
            let step = &mut heard.steps.entry(n).or_default().step;
            (step.millis, step.end) = (millis, end);
        });
    }
}

impl BuildEvents for Watch<'_> {
    fn event(&self, event: BuildEvent) {
        self.hear(&event);
        self.inner.event(event);
    }

    fn definition(&self, dockerfile: &Dockerfile) {
        self.inner.definition(dockerfile);
    }

    fn wants_inputs(&self) -> bool {
        true
    }

    fn inputs(&self, n: usize, mut inputs: StepInputs) {
        self.with(|heard| {
            let step = heard.steps.entry(n).or_default();
            step.files.append(&mut inputs.files);
            let known = &mut step.step.inputs;
            if known.values.is_empty() && known.key.is_empty() {
                *known = inputs;
            } else {
                // Triggers of a base image are steps of its FROM.
                known.values.append(&mut inputs.values);
                known.key = inputs.key;
            }
        });
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let heard = self.with(std::mem::take);
        if !heard.steps.is_empty() {
            self.recording.add_run(heard.run, heard.steps.into_values().collect());
        }
    }
}
