//! Why a build failed.

use std::path::PathBuf;

use crate::agent::AgentError;
use crate::base::BaseImageError;
use crate::context::ContextError;
use crate::dockerfile::{MountError, ParseError, did_you_mean};
use crate::dockerignore::PatternError;
use crate::expand::ExpandError;
use crate::lint::CheckOptionsError;
use crate::named::NamedContextError;
use crate::remote::RemoteError;
use crate::run::RunError;
use crate::secret::SecretError;

/// Why a build failed. The text is what Docker says.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile is not in the context.
    #[error("Cannot locate specified Dockerfile: {0}")]
    NoDockerfile(String),
    /// The Dockerfile is wrong.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A `# syntax=` of another frontend.
    #[error("frontend image {0:?} is not supported by this builder")]
    Frontend(String),
    /// The `check` directive is wrong.
    #[error("failed to parse check options: {0}")]
    CheckOptions(#[from] CheckOptionsError),
    /// Warnings that shall end the build: the rules.
    #[error("lint violation found for rules: {}", .0.join(", "))]
    Checks(Vec<&'static str>),
    /// Something at these lines of the Dockerfile.
    #[error("{source}")]
    At {
        /// First and last line, from 1.
        lines: (usize, usize),
        /// What is wrong there.
        source: Box<BuildError>,
    },
    /// The context cannot be used.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The `.dockerignore` is wrong.
    #[error("error reading .dockerignore: {0}")]
    Ignore(#[source] PatternError),
    /// `--target` names nothing.
    #[error("target stage {target} could not be found{}", did_you_mean(.suggestion), target = crate::dockerfile::quoted(.target))]
    Target {
        /// As given.
        target: String,
        /// The stage that was probably meant.
        suggestion: Option<String>,
    },
    /// Stages that need each other.
    #[error("circular dependency detected on stage: {0}")]
    Circular(String),
    /// `COPY --from` of a stage that comes later.
    #[error("cannot copy from stage {from}, it needs to be defined before current stage {stage}", from = crate::dockerfile::quoted(.from), stage = crate::dockerfile::quoted(.stage))]
    CopyFromLater {
        /// As written.
        from: String,
        /// The stage of the instruction.
        stage: String,
    },
    /// `RUN --mount=from=` of a stage that comes later.
    #[error("cannot mount from stage {from} to {target}, stage needs to be defined before current command", from = crate::dockerfile::quoted(.from), target = crate::dockerfile::quoted(.target))]
    MountFromLater {
        /// As written.
        from: String,
        /// Where it shall be seen.
        target: String,
    },
    /// `COPY --from=3` where there are fewer stages.
    #[error("invalid stage index {0}")]
    StageIndex(i64),
    /// A variable in `COPY --from`.
    #[error(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround"
    )]
    FromVariable,
    /// `FROM --platform=$x` with an empty `x`.
    #[error("empty platform value from expression {0}")]
    BlankPlatform(String),
    /// A platform cannot be read.
    #[error("failed to parse platform {platform}: {source}")]
    Platform {
        /// As written.
        platform: String,
        /// What is wrong.
        source: dray_spec::PlatformError,
    },
    /// `SOURCE_DATE_EPOCH` is no number of seconds.
    #[error("invalid SOURCE_DATE_EPOCH: {0}")]
    Epoch(String),
    /// `FROM $x` with an empty `x`.
    #[error("base name ({0}) should not be blank")]
    BlankBase(String),
    /// An image cannot be had.
    #[error(transparent)]
    Base(#[from] BaseImageError),
    /// A variable cannot be expanded.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// A `RUN --mount` is wrong.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// An instruction's arguments are wrong.
    #[error(transparent)]
    Instruction(#[from] InstructionError),
    /// `COPY` or `ADD` failed.
    #[error("{}{source}", source.prefix(.instruction))]
    Copy {
        /// `COPY` or `ADD`.
        instruction: &'static str,
        /// What failed.
        source: CopyError,
    },
    /// The program of a `RUN` ended with an error.
    #[error("The command '{command}' returned a non-zero code: {code}{}", if *.oom_killed { ": out of memory" } else { "" })]
    Command {
        /// Program and arguments.
        command: String,
        /// Its exit code.
        code: i32,
        /// Whether the kernel killed it for memory.
        oom_killed: bool,
    },
    /// The program of a `RUN` could not be started.
    #[error(transparent)]
    Run(RunError),
    /// A named context.
    #[error(transparent)]
    NamedContext(#[from] NamedContextError),
    /// An agent that a step wants.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A secret that a step wants.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The client went away or asked to stop.
    #[error("Build cancelled")]
    Cancelled,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] dray_store::Error),
    /// A file of a layer could not be worked on.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What failed.
        source: std::io::Error,
    },
    /// A layer could not be packed, to find its digest.
    #[error(transparent)]
    Layer(#[from] dray_image::layer::LayerError),
    /// The image could not be recorded.
    #[error(transparent)]
    Image(#[from] dray_image::Error),
    /// A stage or the context cannot be looked through for what it is made of.
    #[error("scan {of}: {source}")]
    Scan {
        /// Of what.
        of: String,
        /// What failed.
        source: dray_scan::ScanError,
    },
    /// The cache cannot be written down.
    #[error("write the cache's configuration: {0}")]
    CacheDocument(#[source] serde_json::Error),
    /// There is nothing in the image.
    #[error("No image was generated. Is your Dockerfile empty?")]
    Nothing,
    /// A thread of the build broke down.
    #[error("internal error of the builder in stage {0}")]
    Panicked(String),
}

/// What kind of failure it is, for those who answer to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request, the Dockerfile or the context is wrong.
    InvalidParameter,
    /// The build was stopped.
    Cancelled,
    /// A step failed, or the system did.
    System,
}

impl BuildError {
    /// The failure's kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            BuildError::At { source, .. } => source.kind(),
            BuildError::NoDockerfile(_)
            | BuildError::Parse(_)
            | BuildError::Frontend(_)
            | BuildError::CheckOptions(_)
            | BuildError::Checks(_)
            | BuildError::Ignore(_)
            | BuildError::Epoch(_)
            | BuildError::Target { .. }
            | BuildError::Circular(_)
            | BuildError::CopyFromLater { .. }
            | BuildError::MountFromLater { .. }
            | BuildError::StageIndex(_)
            | BuildError::FromVariable
            | BuildError::BlankPlatform(_)
            | BuildError::Platform { .. } => ErrorKind::InvalidParameter,
            BuildError::Context(error) if !error.is_system() => ErrorKind::InvalidParameter,
            error if error.is_cancellation() => ErrorKind::Cancelled,
            _ => ErrorKind::System,
        }
    }

    /// The failure with the lines that it is about, unless it has some.
    #[must_use]
    pub(crate) fn at(self, lines: (usize, usize)) -> BuildError {
        match self {
            error @ BuildError::At { .. } => error,
            error if error.is_cancellation() || lines.0 == 0 => error,
            error => BuildError::At { lines, source: Box::new(error) },
        }
    }

    /// The failure without its lines.
    pub fn cause(&self) -> &BuildError {
        match self {
            BuildError::At { source, .. } => source.cause(),
            error => error,
        }
    }

    /// The lines of the Dockerfile that it is about, if it says some.
    pub fn lines(&self) -> Option<(usize, usize)> {
        match self {
            BuildError::At { lines, .. } => Some(*lines),
            BuildError::Parse(error) => error.lines(),
            _ => None,
        }
    }

    /// Whether it only says that the build was stopped.
    pub fn is_cancellation(&self) -> bool {
        matches!(
            self.cause(),
            BuildError::Cancelled
                | BuildError::Run(RunError::Cancelled)
                | BuildError::Copy { source: CopyError::Cancelled, .. }
        )
    }

    /// The code for `errorDetail`: the program's exit code for a failed `RUN`.
    pub fn code(&self) -> Option<i32> {
        match self.cause() {
            BuildError::Command { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// What is wrong with an instruction's arguments once variables are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstructionError {
    /// `EXPOSE` without a number.
    #[error("no port specified: {0}<empty>")]
    NoPort(String),
    /// `EXPOSE 80/x`.
    #[error("invalid proto: {0}")]
    Proto(String),
    /// `EXPOSE x`.
    #[error("invalid containerPort: {0}")]
    Port(String),
    /// `EXPOSE x:80`.
    #[error("invalid hostPort: {0}")]
    HostPort(String),
    /// `STOPSIGNAL x`.
    #[error("invalid signal: {0}")]
    Signal(String),
    /// `VOLUME $x` with an empty `x`.
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    /// A heredoc on a `RUN` in exec form.
    #[error("parsing produced an invalid run command: {0:?}")]
    HeredocCommand(Vec<String>),
    /// A `RUN --mount` of a kind that this builder does not have.
    #[error(
        "the --mount=type={0} option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled"
    )]
    MountKind(&'static str),
    /// `source=` of an agent.
    #[error("ssh does not support source")]
    SshSource,
    /// A device that a step needs.
    #[error("required device {0:?} is not registered")]
    Device(String),
    /// A `RUN` that asks for more than its build was given.
    #[error("{0} is not allowed")]
    NotAllowed(&'static str),
    /// A `RUN --mount` without target.
    #[error("invalid mount target {0:?}")]
    MountTarget(String),
}

impl CopyError {
    /// What Docker puts before the message: something only where a source could not be read.
    fn prefix(&self, instruction: &str) -> String {
        match self {
            CopyError::DestinationNotDir(_)
            | CopyError::Chown(_)
            | CopyError::NoUser(_)
            | CopyError::NoGroup(_)
            | CopyError::Chmod(_)
            | CopyError::Cancelled => String::new(),
            _ => format!("{instruction} failed: "),
        }
    }
}

/// Why files could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is no context.
    #[error("missing build context")]
    NoContext,
    /// A source that is not there.
    #[error("file not found in build context or excluded by .dockerignore: stat {0}: file does not exist")]
    NotFound(String),
    /// A source that is not there, in a stage or image.
    #[error("stat {0}: file does not exist")]
    NotFoundInImage(String),
    /// A path that leads out of the context.
    #[error("forbidden path outside the build context: {0} ()")]
    Outside(String),
    /// Wildcards that match nothing.
    #[error("no source files were specified")]
    NoSources,
    /// Several sources, but the destination is no directory.
    #[error(
        "When using {0} with more than one source file, the destination must be a directory and end with a /"
    )]
    DestinationNotDir(&'static str),
    /// A directory cannot replace a file.
    #[error("cannot copy to non-directory: {0}")]
    NotADirectory(String),
    /// A URL in `COPY`.
    #[error("source can't be a URL for COPY")]
    UrlInCopy,
    /// A URL without a file name, to a directory.
    #[error("cannot determine filename for source {0}")]
    NoFileName(String),
    /// A wildcard that cannot be read.
    #[error("{pattern}: {source}")]
    Pattern {
        /// As written.
        pattern: String,
        /// What is wrong.
        source: crate::glob::BadPattern,
    },
    /// An `--exclude` that cannot be read.
    #[error(transparent)]
    Exclude(#[from] PatternError),
    /// `--chown` with more than one colon.
    #[error("unable to convert uid/gid chown string to host mapping: invalid chown string format: {0}")]
    Chown(String),
    /// A user that the image does not have.
    #[error(
        "unable to convert uid/gid chown string to host mapping: can't find uid for user {0}: no such user: {0}"
    )]
    NoUser(String),
    /// A group that the image does not have.
    #[error(
        "unable to convert uid/gid chown string to host mapping: can't find gid for group {0}: no such group: {0}"
    )]
    NoGroup(String),
    /// `--chmod` with something else than a mode.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Chmod(String),
    /// `--checksum` of several sources.
    #[error("checksum can't be specified for multiple sources")]
    ChecksumSources,
    /// `--checksum` of something that is not fetched.
    #[error("checksum requires HTTP(S) or Git sources")]
    ChecksumSource,
    /// `--checksum` that is no digest.
    #[error("invalid checksum {0}: it has to be a digest, sha256:<hex>")]
    ChecksumFormat(String),
    /// Content that is not what `--checksum` says.
    #[error("digest mismatch {actual}: {expected}")]
    ChecksumMismatch {
        /// What the Dockerfile says.
        expected: String,
        /// What came.
        actual: String,
    },
    /// A remote source.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A git source.
    #[error("git {url}: {message}")]
    Git {
        /// As written.
        url: String,
        /// What git said.
        message: String,
    },
    /// A local archive.
    #[error("{path}: {source}")]
    Archive {
        /// The archive.
        path: String,
        /// What is wrong with it.
        source: crate::unpack::UnpackError,
    },
    /// A file could not be worked on.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what, as the Dockerfile sees it.
        path: String,
        /// What failed.
        source: std::io::Error,
    },
    /// The build was cancelled meanwhile.
    #[error("Build cancelled")]
    Cancelled,
}
