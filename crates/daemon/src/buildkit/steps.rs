//! The builder's events as vertexes. BuildKit shows a vertex for what makes files (`FROM` of an image, `RUN`,
//! `COPY`, `ADD`, `WORKDIR`), numbered within its stage.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use dray_build::dockerfile::{Command, Dockerfile, Stage};
use dray_build::{BuildEvent, BuildEvents, OutputStream, PlannedStage};

use dray_buildkit::proto::control::VertexWarning;
use dray_buildkit::proto::{Range, SourceInfo};

use super::progress::{Progress, VertexProgress};

/// A warning brings the whole Dockerfile along, unless it is longer: there may be as many warnings as lines.
const MAX_SOURCE: usize = 256 << 10;

/// Turns the events of one build into messages.
pub(super) struct Steps {
    progress: Progress,
    dockerfile: Dockerfile,
    /// The vertex that warnings belong to.
    definition: VertexProgress,
    by_number: OnceLock<BTreeMap<usize, Arc<Step>>>,
    failed: Mutex<Option<usize>>,
}

/// A step that is shown. One that the builds for several platforms have in common is shown once.
struct Step {
    vertex: VertexProgress,
    ended: AtomicBool,
}

impl Step {
    fn end(&self, cached: bool) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        // Another platform's build may be at it, whose result this one has waited for.
        if cached && !self.vertex.has_begun() { self.vertex.end_cached() } else { self.vertex.end(None) }
    }
}

impl Steps {
    pub fn new(progress: &Progress, dockerfile: &Dockerfile, definition: VertexProgress) -> Self {
        let (progress, dockerfile) = (progress.clone(), dockerfile.clone());
        Steps { progress, dockerfile, definition, by_number: OnceLock::new(), failed: Mutex::new(None) }
    }

    /// Tells that the step that failed has ended; gives its vertex.
    pub fn failed(&self, error: &str) -> Option<&VertexProgress> {
        let failed = *self.failed_step();
        let step = failed.and_then(|n| self.step(n))?;
        step.vertex.end(Some(error.to_owned()));
        Some(&step.vertex)
    }

    fn failed_step(&self) -> MutexGuard<'_, Option<usize>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn planned(&self, stages: &[PlannedStage]) -> BTreeMap<usize, Arc<Step>> {
        let mut steps = BTreeMap::new();
        let mut by_name: HashMap<String, Arc<Step>> = HashMap::new();
        for planned in stages {
            let Some(stage) = self.dockerfile.stages.get(planned.index) else { continue };
            let shown = self.shown(planned.index, stage);
            let total = shown.iter().filter(|shown| **shown).count();
            let width = total.to_string().len();
            let mut number = 0;
            for (n, (i, shown)) in (planned.steps.0..planned.steps.1).zip(shown.into_iter().enumerate()) {
                number += usize::from(shown);
                let text = match i.checked_sub(1).and_then(|i| stage.instructions.get(i)) {
                    None => from_text(stage),
                    Some(instruction) => instruction.text.clone(),
                };
                if !shown {
                    continue;
                }
                let platform = planned.platforms.get(i).map(|platform| format!("{platform} "));
                let prefix = platform.unwrap_or_default() + &self.prefix(planned, stage);
                let name = format!("[{prefix}{number:>width$}/{total}] {text}");
                let step = by_name.entry(name).or_insert_with_key(|name| {
                    Arc::new(Step { vertex: self.progress.vertex(name), ended: AtomicBool::new(false) })
                });
                steps.insert(n, Arc::clone(step));
            }
        }
        steps
    }

    /// Which of a stage's steps are shown: `FROM` first.
    fn shown(&self, index: usize, stage: &Stage) -> Vec<bool> {
        let earlier = &self.dockerfile.stages[..index];
        let of_stage = earlier
            .iter()
            .any(|earlier| earlier.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(&stage.base)));
        let mut shown = vec![!of_stage && stage.base != "scratch"];
        shown.extend(stage.instructions.iter().map(|instruction| {
            matches!(
                instruction.command,
                Command::Run(_) | Command::Copy(_) | Command::Add(_) | Command::Workdir(_)
            )
        }));
        shown
    }

    fn prefix(&self, planned: &PlannedStage, stage: &Stage) -> String {
        match (&stage.name, self.dockerfile.stages.len()) {
            (Some(name), _) => format!("{name} "),
            (None, 1) => String::new(),
            (None, _) => format!("stage-{} ", planned.index),
        }
    }

    fn step(&self, n: usize) -> Option<&Step> {
        self.by_number.get()?.get(&n).map(Arc::as_ref)
    }

    fn vertex(&self, n: usize) -> Option<&VertexProgress> {
        self.step(n).map(|step| &step.vertex)
    }
}

fn from_text(stage: &Stage) -> String {
    format!("FROM {}", stage.base)
}

impl BuildEvents for Steps {
    fn event(&self, event: BuildEvent) {
        match event {
            BuildEvent::Plan { stages, .. } => {
                let _ = self.by_number.set(self.planned(&stages));
            }
            // Not before it is known that the cache does not have it: clients show what began as run.
            BuildEvent::Running { n, .. } => {
                if let Some(vertex) = self.vertex(n) {
                    vertex.begin();
                }
            }
            BuildEvent::Output { n, stream, text } => {
                if let Some(vertex) = self.vertex(n) {
                    vertex.log(if stream == OutputStream::Stderr { 2 } else { 1 }, text);
                }
            }
            BuildEvent::Pull { n, id, status, current, total } => {
                if let Some(vertex) = self.vertex(n) {
                    let done = current.is_none() && status.to_lowercase().ends_with("complete");
                    let what = if id.is_empty() { status } else { format!("{status} {id}") };
                    vertex.counted(
                        &what,
                        current.unwrap_or(0),
                        total.unwrap_or(0),
                        done || current.is_none(),
                    );
                }
            }
            BuildEvent::StepDone { n, cached, .. } => {
                if let Some(step) = self.step(n) {
                    step.end(cached);
                }
            }
            BuildEvent::StepFailed { n, .. } => {
                self.failed_step().get_or_insert(n);
            }
            BuildEvent::Warning { message } => self.definition.warn(message),
            BuildEvent::Check { rule, description, url, detail, lines, .. } => {
                let short = format!("{rule}: {detail} (line {})", lines.0);
                let text = &self.dockerfile.text;
                let info = (text.len() <= MAX_SOURCE).then(|| SourceInfo {
                    filename: self.dockerfile.name.clone(),
                    data: text.as_bytes().to_vec(),
                    language: "Dockerfile".to_owned(),
                });
                self.definition.warned(VertexWarning {
                    short: short.into_bytes(),
                    detail: vec![description.into_bytes()],
                    url,
                    info,
                    ranges: (lines.0..=lines.1).map(Range::of_line).collect(),
                    ..VertexWarning::default()
                });
            }
            BuildEvent::Step { .. }
            | BuildEvent::CacheHit { .. }
            | BuildEvent::Removed { .. }
            | BuildEvent::Export { .. }
            | BuildEvent::Built { .. }
            | BuildEvent::Tagged { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "FROM busybox AS one\nENV A=1\nRUN a\nFROM one\nWORKDIR /w\nCOPY \\\n  --from=one x y\n";

    #[test]
    fn steps_are_numbered_within_their_stages() {
        let dockerfile = dray_build::dockerfile::parse(FILE, "Dockerfile").expect("parses");
        let (progress, mut messages) = Progress::new("r");
        let steps = Steps::new(&progress, &dockerfile, progress.vertex("definition"));
        let stage = |index: usize, name: &str, steps| PlannedStage {
            index,
            name: name.into(),
            steps,
            platforms: Vec::new(),
        };
        steps.event(BuildEvent::Plan {
            total: 6,
            stages: vec![stage(0, "one", (1, 4)), stage(1, "1", (4, 7))],
        });
        for n in 1..7 {
            steps.event(BuildEvent::Running { n, container: String::new() });
        }
        steps.event(BuildEvent::StepFailed { n: 6, millis: 1, error: "x".into(), excerpt: String::new() });
        steps.failed("broken");
        let mut names = Vec::new();
        while let Ok(message) = messages.try_recv() {
            names.extend(message.vertexes.into_iter().map(|vertex| (vertex.name, vertex.error)));
        }
        let copy = "[stage-1 2/2] COPY   --from=one x y";
        let names: Vec<_> = names.iter().map(|(name, error)| (name.as_str(), error.as_str())).collect();
        assert_eq!(
            names,
            [
                ("[one 1/2] FROM busybox", ""),
                ("[one 2/2] RUN a", ""),
                ("[stage-1 1/2] WORKDIR /w", ""),
                (copy, ""),
                (copy, "broken"),
            ]
        );
    }
}
