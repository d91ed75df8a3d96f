//! A build of `POST /build` in the history: the builder's events become what BuildKit's clients would be shown.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dray_build::dockerfile::Dockerfile;
use dray_build::{BuildEvent, BuildEvents, StepInputs};
use dray_buildkit::grpc::{Code, Status};
use dray_engine::build::{History, Recording};

use super::{Asked, Recorded};
use crate::buildkit::progress::{Progress, VertexProgress};
use crate::buildkit::steps::Steps;

/// A build that is recorded.
pub(crate) struct ClassicBuild {
    recorded: Recorded,
    progress: Progress,
    steps: OnceLock<Steps>,
    exports: Mutex<BTreeMap<String, VertexProgress>>,
}

impl ClassicBuild {
    pub(crate) fn begin(history: &Arc<History>, asked: Asked) -> Self {
        let recorded = Recorded::begin(history, asked);
        // Nobody reads them but the log.
        let (progress, _) = Progress::new(recorded.recording().id());
        let progress = progress.logged(Some(recorded.log()));
        ClassicBuild { recorded, progress, steps: OnceLock::new(), exports: Mutex::default() }
    }

    pub(crate) fn recording(&self) -> &Arc<Recording> {
        self.recorded.recording()
    }

    /// Passes a build's events on, and records them.
    pub(crate) fn beside<'a>(&'a self, events: &'a dyn BuildEvents) -> Beside<'a> {
        Beside { build: self, events }
    }

    /// The end of the build; `cancelled` if its client has hung up.
    pub(crate) fn finish(&self, result: Result<&HashMap<String, String>, String>, cancelled: bool) {
        let failed = |message: String| match cancelled {
            true => Status::new(Code::Cancelled, "context canceled"),
            false => Status::new(Code::Unknown, message),
        };
        let status = result.as_ref().err().cloned().map(failed);
        if let Some(status) = &status
            && let Some(steps) = self.steps.get()
        {
            steps.failed(&status.message);
        }
        match (result, &status) {
            (Ok(told), None) => self.recorded.finish(Ok(told)),
            (_, Some(status)) => self.recorded.finish(Err(status)),
            (Err(_), None) => {}
        }
    }

    fn hear(&self, event: BuildEvent) {
        match (event, self.steps.get()) {
            (BuildEvent::Export { name, millis }, _) => {
                let mut exports = self.exports.lock().unwrap_or_else(PoisonError::into_inner);
                let vertex = exports.entry(name).or_insert_with_key(|name| self.progress.vertex(name));
                match millis {
                    None => vertex.begin(),
                    Some(_) => vertex.end(None),
                }
            }
            (event, Some(steps)) => steps.event(event),
            // A warning before there is a Dockerfile.
            (_, None) => {}
        }
    }

    fn read(&self, dockerfile: &Dockerfile) {
        let name = format!("[internal] load build definition from {}", dockerfile.name);
        let definition = self.progress.vertex(&name);
        definition.begin();
        definition.end(None);
        let _ = self.steps.set(Steps::new(&self.progress, dockerfile, definition));
    }
}

/// Hears a build for its record, beside who else does.
pub(crate) struct Beside<'a> {
    build: &'a ClassicBuild,
    events: &'a dyn BuildEvents,
}

impl BuildEvents for Beside<'_> {
    fn event(&self, event: BuildEvent) {
        self.build.hear(event.clone());
        self.events.event(event);
    }

    fn definition(&self, dockerfile: &Dockerfile) {
        self.build.read(dockerfile);
        self.events.definition(dockerfile);
    }

    fn wants_inputs(&self) -> bool {
        self.events.wants_inputs()
    }

    fn inputs(&self, n: usize, inputs: StepInputs) {
        self.events.inputs(n, inputs);
    }
}
