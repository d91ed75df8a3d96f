//! The builder: its events, cache records and prune report. The query of `POST /build` is the daemon's.

use crate::json::{Labels, empty};

wire! {
    /// A record of the build cache.
    #[serde(rename_all = "PascalCase")]
    pub struct CacheRecord {
        #[serde(rename = "ID")]
        pub id: String,
        #[serde(skip_serializing_if = "empty")]
        pub parents: Vec<String>,
        #[serde(rename = "Type")]
        pub kind: String,
        pub description: String,
        pub in_use: bool,
        pub shared: bool,
        pub size: i64,
        #[serde(serialize_with = "crate::json::time")]
        pub created_at: String,
        pub last_used_at: Option<String>,
        pub usage_count: i64,
    }

    /// An output in the query of `POST /build`.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildOutput {
        #[serde(rename = "Type")]
        pub kind: String,
        pub attrs: Option<std::collections::HashMap<String, String>>,
    }

    /// Answer of `POST /build/prune`.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildPruneReport {
        pub caches_deleted: Option<Vec<String>>,
        pub space_reclaimed: u64,
    }

    /// The `aux` of the last message of a build.
    pub struct BuildResult {
        #[serde(rename = "ID")]
        pub id: String,
    }
}

wire! {
    /// What a client has of a context, for `POST /build/context`.
    #[serde(rename_all = "PascalCase")]
    pub struct ContextListing {
        /// Where it comes from: lists of the same key are compared.
        pub key: String,
        /// For people.
        pub name: String,
        /// Folders before what is in them.
        pub files: Vec<ContextFile>,
    }

    /// Something in a context; there may be very many.
    pub struct ContextFile {
        #[serde(rename = "p")]
        pub path: String,
        #[serde(rename = "k")]
        pub kind: ContextFileKind,
        #[serde(rename = "m")]
        pub mode: u32,
        #[serde(rename = "s")]
        pub size: u64,
        /// Nanoseconds since 1970.
        #[serde(rename = "t")]
        pub modified: i64,
        #[serde(rename = "c")]
        pub changed: i64,
        /// Where a symbolic link leads to.
        #[serde(rename = "l", skip_serializing_if = "String::is_empty")]
        pub link: String,
    }

    /// The answer to a [`ContextListing`].
    #[serde(rename_all = "PascalCase")]
    pub struct ContextMissing {
        /// The value of `context` in the query of `POST /build`.
        #[serde(rename = "ID")]
        pub id: String,
        /// Which files have to come beside all folders, by their places in the list.
        pub missing: Vec<u64>,
    }
}

/// What something in a context is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ContextFileKind {
    #[default]
    #[serde(rename = "f")]
    File,
    #[serde(rename = "d")]
    Folder,
    #[serde(rename = "l")]
    Symlink,
    #[serde(rename = "s")]
    Special,
}

wire! {
    /// An item of the answer of `GET /dray/builds/mounts`: a directory of a cache mount.
    #[serde(rename_all = "PascalCase")]
    pub struct CacheMountRecord {
        /// Its name as a record of the build cache.
        #[serde(rename = "ID")]
        pub id: String,
        /// The `id` of the mount, else its target.
        pub mount: String,
        /// Where it was mounted last.
        pub target: String,
        pub in_use: bool,
        pub size: i64,
        pub created_at: String,
        pub last_used_at: Option<String>,
        pub usage_count: i64,
    }

    /// Answer of `POST /dray/builds/mounts/import`: ids of the directories of an archive.
    #[serde(rename_all = "PascalCase")]
    pub struct CacheMountImport {
        pub imported: Vec<String>,
        /// Those that were there already, and stay as they are.
        pub existing: Vec<String>,
    }

    /// An item of the answer of `GET /dray/builds`: a build of the history.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildSummary {
        pub r#ref: String,
        pub frontend: String,
        /// What was asked for, in BuildKit's names.
        pub attrs: Labels,
        /// Names of the result.
        pub names: Vec<String>,
        pub outputs: Vec<BuildOutput>,
        pub created_at: String,
        pub completed_at: Option<String>,
        /// `running`, `completed`, `error` or `canceled`.
        pub status: String,
        pub error: Option<BuildFailure>,
        /// What the client was told of the result.
        pub response: Labels,
        pub total_steps: i32,
        pub completed_steps: i32,
        pub cached_steps: i32,
        pub warnings: i32,
        pub pinned: bool,
    }

    /// Body of `POST /dray/builds/export`: the last build without anything.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildExport {
        /// References, their beginnings, or `^1`.
        pub builds: Vec<String>,
        /// All that have ended.
        pub all: bool,
        /// Where builds were of, by reference, as far as the client knows.
        pub local: std::collections::BTreeMap<String, BuildLocal>,
    }

    /// Where a build was of, on the machine of its client.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildLocal {
        pub target: String,
        pub local_path: String,
        pub dockerfile_path: String,
    }

    /// Answer of `POST /dray/builds/import`: references.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildImport {
        pub imported: Vec<String>,
        /// Those that were there already, and stay as they are.
        pub existing: Vec<String>,
    }

    /// A document that belongs to a build.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildAttachment {
        pub digest: String,
        /// Of which result, where the build has one for each platform.
        pub platform: String,
        /// The kind of a predicate, else a media type.
        #[serde(rename = "Type")]
        pub kind: String,
    }

    /// Why a build failed.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildFailure {
        /// gRPC's code.
        pub code: i32,
        pub message: String,
    }

    /// Answer of `GET /dray/builds/inspect`.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildDetail {
        pub steps: Vec<BuildStep>,
        /// None while the build runs.
        pub explanation: Option<BuildExplanation>,
        /// Results, and what is said of them.
        pub attachments: Vec<BuildAttachment>,
    }
    flatten {
        pub summary: BuildSummary,
    }

    /// A step of a build.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildStep {
        pub platform: String,
        pub step: i64,
        pub stage: String,
        pub instruction: String,
        /// `done`, `cached`, `failed`, or `open` for one that was not come to.
        pub result: String,
        pub millis: i64,
        /// The lines of the Dockerfile that a failure is about.
        pub excerpt: String,
    }

    /// Why steps were carried out.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildExplanation {
        /// The build of the same thing that it was held against; empty if there was none.
        pub against: String,
        pub steps: Vec<ExplainedStep>,
    }

    /// A step that the cache did not have.
    #[serde(rename_all = "PascalCase")]
    pub struct ExplainedStep {
        pub platform: String,
        pub step: i64,
        pub stage: String,
        pub instruction: String,
        pub reasons: Vec<BuildReason>,
    }

    /// Why a step was carried out.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildReason {
        /// `no-cache`, `no-cache-filter`, `first`, `new`, `not-done`, `files`, `earlier`, `gone`, `other`, or what has another value:
        /// `instruction`, `argument`, `variable`, `user`, `directory`, `network`, `privilege`, `script`, `mount`,
        /// `image`, `from`, `option`.
        pub kind: String,
        /// The name of what has another value, where there are several of the kind.
        pub name: String,
        pub old: Option<String>,
        pub new: Option<String>,
        /// The earlier step; 0 if it is not known.
        pub step: i64,
        pub instruction: String,
        pub files: Vec<BuildFileChange>,
        /// How many more files there are.
        pub more: i64,
    }

    /// A file that is not what it was.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildFileChange {
        pub path: String,
        /// `added`, `removed`, `content`, `mode`, `owner` or `type`.
        pub change: String,
    }
}

/// What a build tells with the query `dray=1`, in messages with this id.
pub const BUILD_EVENT_ID: &str = "dray.build";

wire! {
    /// Answer of `GET /dray/builds/place`: what an address leads to.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildPlace {
        pub kind: BuildPlaceKind,
        /// The files that were asked for and are there; of a lone file, it.
        pub files: Vec<BuildPlaceFile>,
    }

    /// A text file.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildPlaceFile {
        pub name: String,
        pub text: String,
    }
}

/// What an address leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildPlaceKind {
    /// A repository or an archive.
    #[default]
    Folder,
    /// A text.
    File,
}

/// The id of the message that tells a `dray=1` client of its outputs, by BuildKit's names.
pub const BUILD_RESULT_ID: &str = "dray.build.result";

/// One event of a build, in the `aux` of a message. `n` is the step's number, from 1. A mirror of the builder's own
/// type; kinds that a client does not know are [`BuildEvent::Unknown`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BuildEvent {
    /// The steps that will be run, once, before the first of them.
    Plan { total: usize },
    /// A step begins.
    Step { n: usize, total: usize, text: String, stage: String },
    /// The step's result was found in the cache.
    CacheHit { n: usize },
    /// The step was not found in the cache and is carried out now.
    Running { n: usize, container: String },
    /// A piece of output of the step's process.
    Output { n: usize, stream: String, text: String },
    /// Progress of fetching the step's base image.
    Pull { n: usize, id: String, status: String, current: Option<u64>, total: Option<u64> },
    /// The step is done.
    StepDone {
        n: usize,
        /// None for an `ARG` before the first `FROM`.
        #[serde(default, deserialize_with = "crate::json::nullable")]
        id: String,
        millis: u64,
        cached: bool,
    },
    /// The step failed; the build ends.
    StepFailed {
        n: usize,
        millis: u64,
        error: String,
        #[serde(default)]
        excerpt: String,
    },
    /// Something unwise in the Dockerfile.
    Check {
        rule: String,
        description: String,
        url: String,
        detail: String,
        lines: (usize, usize),
        excerpt: String,
    },
    /// Something that deserves attention, but does not stop the build.
    Warning { message: String },
    /// An output begins, or has ended after so long.
    Export { name: String, millis: Option<u64> },
    /// The image is stored.
    Built { id: String },
    /// The image has a name.
    Tagged { reference: String },
    /// Something newer than this client.
    #[serde(other)]
    Unknown,
}
