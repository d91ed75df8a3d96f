//! Records as the API shows them.

use dray_api::build::{
    BuildAttachment, BuildDetail, BuildExplanation, BuildFailure, BuildFileChange, BuildOutput, BuildReason,
    BuildStep, BuildSummary, ExplainedStep,
};
use dray_build::InputKind;

use super::explain::{Explained, Explanation, Reason};
use super::files::{Change, FileChange};
use super::record::{Attachment, BuildRecord, Outcome, StepEnd, Trace};

/// A build in a list.
#[must_use]
pub fn summary(record: BuildRecord) -> BuildSummary {
    let status = match record.outcome() {
        Outcome::Running => "running",
        Outcome::Completed => "completed",
        Outcome::Failed => "error",
        Outcome::Cancelled => "canceled",
    };
    let output = |output: super::record::RecordedOutput| BuildOutput {
        kind: output.kind,
        attrs: Some(output.attrs.into_iter().collect()),
    };
    BuildSummary {
        r#ref: record.id,
        frontend: record.frontend,
        attrs: record.attrs,
        names: record.thing.names,
        outputs: record.outputs.into_iter().map(output).collect(),
        created_at: record.created.to_string(),
        completed_at: record.completed.map(|time| time.to_string()),
        status: status.to_owned(),
        error: record.failure.map(|failure| BuildFailure { code: failure.code, message: failure.message }),
        response: record.told,
        total_steps: record.counts.total,
        completed_steps: record.counts.completed,
        cached_steps: record.counts.cached,
        warnings: record.counts.warnings,
        pinned: record.pinned,
    }
}

/// All of a build.
#[must_use]
pub fn detail(record: BuildRecord, trace: Trace) -> BuildDetail {
    let mut steps = Vec::new();
    let completed = record.completed.is_some();
    for run in trace.runs {
        steps.extend(run.steps.into_iter().map(|step| {
            BuildStep {
                platform: run.platform.clone(),
                step: number(step.n),
                stage: step.stage,
                instruction: step.text,
                excerpt: step.excerpt,
                result: match step.end {
                    StepEnd::Open => "open",
                    StepEnd::Done => "done",
                    StepEnd::Cached => "cached",
                    StepEnd::Failed => "failed",
                }
                .to_owned(),
                millis: i64::try_from(step.millis).unwrap_or(i64::MAX),
            }
        }));
    }
    let explanation = trace.explanation.map(explained).or_else(|| completed.then(Default::default));
    let attachments = attachments(&record);
    BuildDetail { steps, explanation, attachments, summary: summary(record) }
}

/// Results and what is said of them, as buildx orders them: by platform, then by type.
fn attachments(record: &BuildRecord) -> Vec<BuildAttachment> {
    let shown = |attachment: &Attachment| BuildAttachment {
        digest: attachment.digest.to_string(),
        platform: attachment.platform.clone(),
        kind: attachment.shown_type().to_owned(),
    };
    let mut all: Vec<BuildAttachment> = record.attachments.iter().map(shown).collect();
    all.sort_by(|a, b| a.platform.cmp(&b.platform).then_with(|| a.kind.cmp(&b.kind)));
    all
}

fn explained(explanation: Explanation) -> BuildExplanation {
    BuildExplanation {
        against: explanation.against.unwrap_or_default(),
        steps: explanation.steps.into_iter().map(step).collect(),
    }
}

fn step(step: Explained) -> ExplainedStep {
    ExplainedStep {
        platform: step.platform,
        step: number(step.n),
        stage: step.stage,
        instruction: step.text,
        reasons: step.reasons.into_iter().map(reason).collect(),
    }
}

fn reason(reason: Reason) -> BuildReason {
    let of_kind = |kind: &str| BuildReason { kind: kind.to_owned(), ..BuildReason::default() };
    match reason {
        Reason::NoCache => of_kind("no-cache"),
        Reason::NoCacheOfStage => of_kind("no-cache-filter"),
        Reason::First => of_kind("first"),
        Reason::New => of_kind("new"),
        Reason::NotDone => of_kind("not-done"),
        Reason::Gone => of_kind("gone"),
        Reason::Other => of_kind("other"),
        Reason::Value { input, name, old, new } => BuildReason { name, old, new, ..of_kind(kind(input)) },
        Reason::Files { changes, more } => BuildReason {
            files: changes.into_iter().map(change).collect(),
            more: number(more),
            ..of_kind("files")
        },
        Reason::Earlier { n, text } => {
            BuildReason { step: number(n), instruction: text, ..of_kind("earlier") }
        }
    }
}

fn kind(input: InputKind) -> &'static str {
    match input {
        InputKind::Instruction => "instruction",
        InputKind::Argument => "argument",
        InputKind::Variable => "variable",
        InputKind::User => "user",
        InputKind::Directory => "directory",
        InputKind::Network => "network",
        InputKind::Privilege => "privilege",
        InputKind::Script => "script",
        InputKind::Mount => "mount",
        InputKind::Image => "image",
        InputKind::From => "from",
        InputKind::Option => "option",
    }
}

fn change(change: FileChange) -> BuildFileChange {
    let word = match change.change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Content => "content",
        Change::Mode => "mode",
        Change::Owner => "owner",
        Change::Type => "type",
    };
    BuildFileChange { path: change.path, change: word.to_owned() }
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
