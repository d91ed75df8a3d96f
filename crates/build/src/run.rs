//! The seam to whatever runs a `RUN` step: the builder prepares directories and mounts, the engine starts a
//! container on them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dray_spec::Platform;

use crate::Cancel;
use crate::secret::SecretContent;

/// Starts the process of a `RUN` step and waits for its end.
///
/// Called on a blocking thread, several at once from independent stages. The container has ended when `run`
/// returns, whatever the result, and nothing of it is left but the content of [`RunStep::upper`].
pub trait StepRunner: Send + Sync {
    /// Runs one step to its end.
    ///
    /// # Errors
    /// When the process could not be started or was cancelled. A program that ran and failed is an [`ExitStatus`].
    fn run(&self, step: &RunStep<'_>) -> Result<ExitStatus, RunError>;

    /// The names of the devices that `RUN --device` means by this one; none if it is not known.
    fn devices(&self, _name: &str) -> Vec<String> {
        Vec::new()
    }
}

/// Everything that the container of a `RUN` step needs.
pub struct RunStep<'a> {
    /// 64 hex digits, the container's id: the one that ` ---> Running in` shows.
    pub id: &'a str,
    /// Layers of the root file system, top first. Empty when the step has no base (`FROM scratch`).
    pub layers: Vec<PathBuf>,
    /// Empty directory, on the same file system as `work`, that receives what the step writes.
    pub upper: PathBuf,
    /// Empty directory for overlayfs.
    pub work: PathBuf,
    /// Program and arguments, the shell already in front.
    pub argv: Vec<String>,
    /// Environment as `NAME=value`.
    pub env: Vec<String>,
    /// Working directory; it exists.
    pub cwd: String,
    /// User as in `USER`: empty for root, `name`, `uid`, `name:group` or `uid:gid`; to be resolved in the root
    /// file system.
    pub user: String,
    /// Network mode as in the API: `default`, `bridge`, `host`, `none`, `container:<id>` or a network's name.
    pub network: String,
    /// `RUN --security=insecure`: without the restrictions of a container.
    pub privileged: bool,
    /// Devices of `RUN --device`, by the names that [`StepRunner::devices`] has given.
    pub devices: Vec<String>,
    /// Mounts of `RUN --mount`, in order.
    pub mounts: Vec<StepMount>,
    /// The platform of its programs.
    pub platform: &'a Platform,
    /// Limits and other settings of the build request.
    pub resources: &'a Resources,
    /// Receives what the process writes.
    pub output: &'a dyn StepOutput,
    /// Raised when the step shall be killed.
    pub cancel: &'a Cancel,
}

/// A mount of `RUN --mount`, resolved to directories of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepMount {
    /// Host directory or file, seen at `target`.
    Bind {
        /// Absolute path on the host. It has been resolved and does not leave its context, stage or cache.
        source: PathBuf,
        /// Absolute path in the container.
        target: String,
        /// Whether the step may write.
        readonly: bool,
    },
    /// A directory made of layers (another stage or image), seen at `target` without leaving writes behind.
    Layers {
        /// Layers, top first.
        layers: Vec<PathBuf>,
        /// Path inside these layers, relative to their root and without `..`.
        subpath: String,
        /// Absolute path in the container.
        target: String,
        /// Scratch directory for an upper and a work directory if the step may write.
        writable: Option<PathBuf>,
    },
    /// Fresh tmpfs at `target`.
    Tmpfs {
        /// Absolute path in the container.
        target: String,
        /// Size limit in bytes.
        size: Option<u64>,
    },
    /// A file in memory at `target`, which the step cannot write, and which is on no disk.
    Secret {
        /// What it holds.
        content: SecretContent,
        /// Absolute path in the container.
        target: String,
        /// Owner and group.
        owner: (u32, u32),
        /// Permissions.
        mode: u32,
    },
}

/// Settings of the build request that hold for every `RUN` step (the API's names).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// `memory`: limit in bytes; 0 for none.
    pub memory: i64,
    /// `memswap`: memory plus swap in bytes; -1 for unlimited, 0 for unset.
    pub memory_swap: i64,
    /// `cpushares`.
    pub cpu_shares: i64,
    /// `cpuperiod`, microseconds.
    pub cpu_period: i64,
    /// `cpuquota`, microseconds.
    pub cpu_quota: i64,
    /// `cpusetcpus`.
    pub cpuset_cpus: String,
    /// `cpusetmems`.
    pub cpuset_mems: String,
    /// `cgroupparent`.
    pub cgroup_parent: String,
    /// `shmsize` in bytes; 0 for the default.
    pub shm_size: i64,
    /// `ulimits`: name → (soft, hard).
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// `extrahosts`: `name:address`.
    pub extra_hosts: Vec<String>,
    /// `securityopt`.
    pub security_opt: Vec<String>,
}

/// Receives the output of a `RUN` step as it comes.
pub trait StepOutput: Send + Sync {
    /// Called for each piece, in the order written. Must not block for long.
    fn write(&self, stream: OutputStream, bytes: &[u8]);
}

/// Which of its two outputs a process wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How the process of a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// Exit code as a shell counts it: 128 + signal for a killed process.
    pub code: i32,
    /// Whether the kernel killed it because memory ran out.
    pub oom_killed: bool,
}

/// Why the process of a step could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The build was cancelled; the process has been killed.
    #[error("build cancelled")]
    Cancelled,
    /// The container could not be started. The source's text is the whole message ("exec: \"foo\": executable
    /// file not found in $PATH").
    #[error(transparent)]
    Start(Box<dyn std::error::Error + Send + Sync>),
}
