//! What the engine asks of a shim and what comes back: plain values, JSON on the socket.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use dray_spec::runtime::{Process, Seccomp, Spec};
use serde::{Deserialize, Serialize};

/// Everything a shim needs to make one container.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ShimRequest {
    /// Container id.
    pub id: String,
    /// `<run-root>/c/<id>`; made if missing.
    pub run_dir: PathBuf,
    /// The OCI configuration. `root.path` is ignored in favour of `rootfs`, `linux.seccomp` of `seccomp`.
    pub spec: Spec,
    /// The root file system.
    pub rootfs: Rootfs,
    /// System call filter.
    pub seccomp: SeccompPolicy,
    /// Give the program a pseudo-terminal.
    pub tty: bool,
    /// Keep stdin open; otherwise it is /dev/null.
    pub open_stdin: bool,
    /// Close stdin for good when the first attachment with stdin has ended its own.
    pub stdin_once: bool,
    /// Where output is kept.
    pub log: LogTarget,
    /// Stream sockets attached before the program runs (all streams); they speak frames.
    #[serde(skip)]
    pub attach: Vec<OwnedFd>,
    /// First size of the terminal: rows, columns.
    pub console_size: Option<(u16, u16)>,
    /// Record how long each step takes.
    pub trace: bool,
}

/// The root file system of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// An overlay, mounted inside the container's own mount namespace.
    Overlay {
        /// Unpacked layers, the top one first.
        lower: Vec<PathBuf>,
        /// Read-write layer.
        upper: PathBuf,
        /// Work directory beside it.
        work: PathBuf,
    },
    /// A directory.
    Dir(PathBuf),
}

impl Default for Rootfs {
    fn default() -> Self {
        Rootfs::Dir(PathBuf::new())
    }
}

/// Which system calls the container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeccompPolicy {
    /// Docker's default profile for the capabilities of the process.
    #[default]
    Default,
    /// All of them.
    Unconfined,
    /// A profile of the caller's.
    Profile(Seccomp),
}

/// Where a container's output is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogTarget {
    /// Nowhere.
    #[default]
    None,
    /// Docker's json-file format.
    JsonFile {
        /// The current file; older ones are `<path>.1`, `<path>.2`, …
        path: PathBuf,
        /// Bytes after which the file is rotated.
        max_size: Option<u64>,
        /// How many files are kept, the current one included.
        max_file: u32,
        /// Whether older files are compressed to `<path>.1.gz`, ….
        compress: bool,
        /// Bytes that wait for the disk at most before output is dropped; without it the program waits.
        buffer: Option<u64>,
        /// Labels and variables put into every line as `attrs`.
        attrs: BTreeMap<String, String>,
    },
}

/// A container that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Process id of the shim.
    pub shim_pid: i32,
    /// Process id of the container's init on the host.
    pub init_pid: i32,
    /// Start time of the init in clock ticks since boot (`/proc/<pid>/stat`, field 22).
    pub init_start_time: u64,
    /// Steps and their durations, if asked for.
    pub trace: Vec<TraceStep>,
}

/// How long one step of a start took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// The step.
    pub step: String,
    /// Microseconds.
    pub micros: u64,
}

/// What a shim says of its container (`state.json`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimState {
    /// Container id.
    pub id: String,
    /// Process id of the shim.
    pub shim_pid: i32,
    /// Start time of the shim.
    pub shim_start_time: u64,
    /// Process id of the init on the host.
    pub init_pid: i32,
    /// Start time of the init.
    pub init_start_time: u64,
    /// Path of the container's cgroup below the cgroup root, as `/dray/<id>`.
    pub cgroup: String,
}

/// How a container or an exec ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// Exit code; 128 + signal for a program killed by a signal.
    pub code: i32,
    /// Whether the kernel killed one of its processes for lack of memory.
    pub oom_killed: bool,
    /// When, as RFC 3339 with nanoseconds.
    pub finished_at: String,
}

/// Which streams an attachment takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachStreams {
    /// May send stdin.
    pub stdin: bool,
    /// Gets stdout.
    pub stdout: bool,
    /// Gets stderr.
    pub stderr: bool,
}

impl AttachStreams {
    /// All three.
    pub const ALL: AttachStreams = AttachStreams { stdin: true, stdout: true, stderr: true };
    /// stdout and stderr.
    pub const OUTPUT: AttachStreams = AttachStreams { stdin: false, stdout: true, stderr: true };
    /// None.
    pub const NONE: AttachStreams = AttachStreams { stdin: false, stdout: false, stderr: false };
}

impl Default for AttachStreams {
    fn default() -> Self {
        AttachStreams::ALL
    }
}

/// A further program inside a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Id of the exec, by which it is resized and waited for.
    pub exec_id: String,
    /// The program; same fields as the container's own.
    pub process: Process,
    /// Give it a pseudo-terminal.
    pub tty: bool,
    /// Streams of the connection; a stream nobody asked for is /dev/null.
    pub streams: AttachStreams,
    /// No stream at all: the connection ends after the answer.
    pub detach: bool,
    /// First size of the terminal: rows, columns.
    pub console_size: Option<(u16, u16)>,
    /// The container's filter policy was `Unconfined`, or the exec is privileged: install no filter.
    pub unconfined: bool,
}
