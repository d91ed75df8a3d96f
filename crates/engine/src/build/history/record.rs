//! What is known of a build once it has begun, as it is kept.

use std::collections::BTreeMap;

use dray_build::{PlannedStage, StepInputs};
use dray_image::export::PREDICATE_TYPE;
use dray_spec::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::explain::Explanation;

/// A build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildRecord {
    /// Its reference.
    pub id: String,
    /// The frontend that was asked for; empty where the client drove the build itself.
    pub frontend: String,
    /// What the frontend was given, in BuildKit's names, without secrets.
    pub attrs: BTreeMap<String, String>,
    /// What was to become of the result.
    pub outputs: Vec<RecordedOutput>,
    /// When it began.
    pub created: Timestamp,
    /// When it ended; none while it runs.
    pub completed: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What the client was told of the result.
    pub told: BTreeMap<String, String>,
    /// Its steps as clients were shown them.
    pub counts: Counts,
    /// It stays whatever its age.
    pub pinned: bool,
    /// How often it was changed.
    pub generation: i32,
    /// Its log.
    pub log: Option<LogFile>,
    /// Its steps as an OpenTelemetry trace.
    pub spans: Option<LogFile>,
    /// What it was a build of.
    pub thing: Thing,
    /// The lists of files that its steps have read.
    pub lists: Vec<String>,
    /// Bytes that its lists take.
    pub lists_size: u64,
    /// What it gave, and what is said of that.
    pub attachments: Vec<Attachment>,
}

/// A document that belongs to a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What of the build it is.
    pub role: Role,
    /// Of which result, where the build has one for each platform.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// Its media type.
    pub media_type: String,
    /// Its annotations; for a statement the kind of its predicate.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

impl Attachment {
    /// What it is for people: the kind of a predicate, else the media type.
    #[must_use]
    pub fn shown_type(&self) -> &str {
        self.annotations.get(PREDICATE_TYPE).map_or(&self.media_type, String::as_str)
    }
}

/// What of a build a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// What is said of a result: the predicate alone.
    Statement,
    /// A manifest or an index that an output is.
    Result,
    /// A document that a result names.
    Part,
}

/// An output of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedOutput {
    /// `image`, `local`, …
    pub kind: String,
    /// Its attributes.
    pub attrs: BTreeMap<String, String>,
}

/// Why a build failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// gRPC's code.
    pub code: i32,
    /// What people were told.
    pub message: String,
    /// All of the status, as programs are told it, in base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
}

/// gRPC's code for what was given up.
const CANCELLED: i32 = 1;
/// And for what could not go on.
const ABORTED: i32 = 10;

impl Failure {
    /// A build that its client gave up.
    #[must_use]
    pub fn cancelled() -> Self {
        Failure { code: CANCELLED, message: "context canceled".to_owned(), status: String::new() }
    }

    /// A build that ended with the daemon.
    pub(super) fn of_daemon() -> Self {
        let message = "the daemon was stopped while it built".to_owned();
        Failure { code: ABORTED, message, status: String::new() }
    }
}

/// Steps of a build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All that were shown.
    pub total: i32,
    /// Those that ended.
    pub completed: i32,
    /// Those from the cache.
    pub cached: i32,
    /// Warnings.
    pub warnings: i32,
}

/// A file of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// The digest of the file.
    pub digest: String,
    /// Its bytes.
    pub size: u64,
}

/// What a build is of: two builds of the same thing are held against each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thing {
    /// Where the context comes from, as far as the client says.
    pub context: String,
    /// The names of the result.
    pub names: Vec<String>,
    /// The Dockerfile's name.
    pub file: String,
    /// `--target`
    pub target: String,
    /// `--platform`
    pub platform: String,
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It runs.
    Running,
    /// It gave what was asked for.
    Completed,
    /// It failed.
    Failed,
    /// Its client gave it up.
    Cancelled,
}

impl BuildRecord {
    /// How it ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match (&self.completed, &self.failure) {
            (None, _) => Outcome::Running,
            (_, None) => Outcome::Completed,
            (_, Some(failure)) if failure.message.contains("context canceled") => Outcome::Cancelled,
            _ => Outcome::Failed,
        }
    }

    /// Bytes that it takes beside its record.
    pub(super) fn bytes(&self) -> u64 {
        let files = [&self.log, &self.spans].into_iter().flatten();
        let attached = self.attachments.iter().map(|attachment| attachment.size);
        self.lists_size + files.map(|file| file.size).chain(attached).sum::<u64>()
    }
}

/// What the steps of a build did, and what came in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_cache_stages: Vec<String>,
    /// Runs of the builder: one per platform.
    pub runs: Vec<Run>,
    /// Why steps were carried out.
    pub explanation: Option<Explanation>,
}

/// What of a build does not come from the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoCache {
    /// Nothing does.
    pub all: bool,
    /// These stages do not.
    pub stages: Vec<String>,
}

/// The steps of one run of the builder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// The platform, where there are several.
    pub platform: String,
    /// The stages that were needed.
    pub stages: Vec<PlannedStage>,
    /// Its steps, in the order of their numbers.
    pub steps: Vec<TracedStep>,
}

/// A step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TracedStep {
    /// Its number.
    pub n: usize,
    /// The name of its stage, or its index.
    pub stage: String,
    /// The instruction.
    pub text: String,
    /// How long it took.
    pub millis: u64,
    /// What became of it.
    pub end: StepEnd,
    /// The lines of the Dockerfile that a failure is about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub excerpt: String,
    /// What came in.
    pub inputs: StepInputs,
    /// The list of the files that it read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub list: String,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// The build ended before it did.
    #[default]
    Open,
    /// It was carried out.
    Done,
    /// The cache had its result.
    Cached,
    /// It failed.
    Failed,
}
