//! Processes: an OCI runtime and the shim that keeps a container's stdio and exit status.
//!
//! Two faces over one container init:
//!
//! ```text
//! engine ── start(), Shim ──▶ dray-runtime shim ──┐
//!                                                 ├─ clone3 ▶ init (mounts, pivot, drop rights) ▶ exec
//! containerd, podman ──▶ dray-runtime create/… ───┘
//! ```
//!
//! `shim` owns the long-lived process and its protocol, `init` what happens between clone and exec, `cgroup`
//! the limits, `seccomp` the filters, `oci` the command line other engines call. Nothing here knows of images,
//! networks or Docker; nothing here starts a thread in the shim or the init.

mod clock;
mod error;
mod exec;
mod init;
mod oci;
mod pid1;
mod sealed;
mod shim;

pub mod cgroup;
pub mod seccomp;

use std::ffi::OsString;
use std::process::ExitCode;

pub use error::{ErrorKind, StartError, Step};
pub use init::live::MountChange;
pub use pid1::main as pid1_main;
pub use shim::client::{ExecStarted, ExitWait, Shim, ShimError, await_start, exit_status, reap_lost, start};
pub use shim::frame::{FRAME_HEADER, Frame, StreamKind};
pub use shim::request::{
    AttachStreams, ExecRequest, ExitStatus, LogTarget, Rootfs, SeccompPolicy, ShimRequest, ShimState,
    Started, TraceStep,
};

/// The OCI runtime's command line, `dray-runtime shim`, and the processes that work for a shim's log.
#[must_use]
pub fn main(args: Vec<OsString>) -> ExitCode {
    if args.get(1).is_some_and(|word| word == "shim") {
        return shim::server::main(&args);
    }
    if let Some(code) = shim::log::main(&args) {
        return code;
    }
    oci::main(args)
}
