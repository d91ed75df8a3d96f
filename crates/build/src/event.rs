//! What a build tells while it runs. `dray build` draws its live display from these; [`crate::classic`] turns
//! them into the text stream of Docker's classic builder.

use serde::{Deserialize, Serialize};

use crate::dockerfile::Dockerfile;
use crate::inputs::StepInputs;
use crate::run::OutputStream;

/// Receives the events of a build, from several threads when stages run at once.
pub trait BuildEvents: Send + Sync {
    /// Called for each event. Events of one step come in order. Must not block for long.
    fn event(&self, event: BuildEvent);

    /// Called with the Dockerfile once it is read, before the first event.
    fn definition(&self, _dockerfile: &Dockerfile) {}

    /// Whether somebody listens to [`BuildEvents::inputs`].
    fn wants_inputs(&self) -> bool {
        false
    }

    /// Called with what goes into step `n` before it is looked for in the cache; more than once where a base image
    /// has triggers.
    fn inputs(&self, _n: usize, _inputs: StepInputs) {}
}

impl<F: Fn(BuildEvent) + Send + Sync> BuildEvents for F {
    fn event(&self, event: BuildEvent) {
        self(event);
    }
}

/// One event of a build. `n` is the step's number, from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BuildEvent {
    /// The steps that will be run, once, before the first of them.
    Plan {
        /// How many steps there are.
        total: usize,
        /// The stages that the target needs, in the order of the Dockerfile.
        stages: Vec<PlannedStage>,
    },
    /// A step begins.
    Step {
        /// Number of the step.
        n: usize,
        /// How many steps there are.
        total: usize,
        /// The instruction as written, continued lines joined.
        text: String,
        /// Name of the stage, or its index if it has none.
        stage: String,
    },
    /// The step's result was found in the cache.
    CacheHit {
        /// Number of the step.
        n: usize,
    },
    /// The step was not found in the cache and is carried out now.
    Running {
        /// Number of the step.
        n: usize,
        /// Short id of the step's container.
        container: String,
    },
    /// The step was carried out; its container is gone.
    Removed {
        /// Number of the step.
        n: usize,
        /// Short id of the step's container.
        container: String,
    },
    /// A piece of output of the step's process, or a note of the builder on it.
    Output {
        /// Number of the step.
        n: usize,
        /// Which output.
        stream: OutputStream,
        /// The text; bytes that are no UTF-8 are replaced.
        text: String,
    },
    /// Progress of fetching the step's base image.
    Pull {
        /// Number of the step.
        n: usize,
        /// Layer (short id) or tag that the line is about.
        id: String,
        /// Docker's word for what happens to it.
        status: String,
        /// Bytes done.
        current: Option<u64>,
        /// Bytes in all.
        total: Option<u64>,
    },
    /// The step is done.
    StepDone {
        /// Number of the step.
        n: usize,
        /// Short id of the result: the image for FROM and for the last step, else one that the same step always
        /// has; empty for `FROM scratch`, and none for an `ARG` before the first `FROM`.
        id: Option<String>,
        /// How long it took.
        millis: u64,
        /// Whether the result came from the cache.
        cached: bool,
    },
    /// The step failed; the build ends.
    StepFailed {
        /// Number of the step.
        n: usize,
        /// How long it took.
        millis: u64,
        /// The error's text.
        error: String,
        /// The lines of the Dockerfile that it is about, with those around them; empty for none.
        excerpt: String,
    },
    /// Something unwise in the Dockerfile.
    Check {
        /// The rule's name.
        rule: String,
        /// What the rule asks for.
        description: String,
        /// The page about the rule; empty for none.
        url: String,
        /// What was found.
        detail: String,
        /// First and last line, from 1.
        lines: (usize, usize),
        /// The lines with those around them.
        excerpt: String,
    },
    /// Something that deserves attention, but does not stop the build.
    Warning {
        /// The text, without `[Warning]`.
        message: String,
    },
    /// An output begins, or has ended.
    Export {
        /// What it is, as BuildKit names it.
        name: String,
        /// How long it took; none while it is under way.
        millis: Option<u64>,
    },
    /// The image is stored.
    Built {
        /// Its id, `sha256:…`.
        id: String,
    },
    /// The image has a name. Emitted by whoever tags it.
    Tagged {
        /// The name as Docker shows it.
        reference: String,
    },
}

/// A stage in [`BuildEvent::Plan`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStage {
    /// Index in the Dockerfile.
    pub index: usize,
    /// Name, or the index if it has none.
    pub name: String,
    /// Numbers of its steps: first and one past the last.
    pub steps: (usize, usize),
    /// In a build for several platforms the platform of each step, in BuildKit's form: `linux/amd64`, or
    /// `linux/amd64->arm64` where the step knows for which one it works.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
}
