//! clone3: a child in new namespaces, straight inside a cgroup, known by a pidfd (clone(2)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Namespaces to make, as `CLONE_NEW*` bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Namespaces(pub u64);

impl Namespaces {
    /// Mounts.
    pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    /// Process ids.
    pub const PID: u64 = libc::CLONE_NEWPID as u64;
    /// Network.
    pub const NETWORK: u64 = libc::CLONE_NEWNET as u64;
    /// Host name.
    pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
    /// System V IPC, message queues.
    pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
    /// Root of the cgroup tree.
    pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    /// Users.
    pub const USER: u64 = libc::CLONE_NEWUSER as u64;
    /// Clocks.
    pub const TIME: u64 = 0x80;
}

/// The two sides of a clone.
#[derive(Debug)]
pub enum Fork {
    /// In the caller.
    Parent {
        /// Child, as the caller's pid namespace numbers it.
        pid: i32,
        /// Child.
        pidfd: OwnedFd,
    },
    /// In the child.
    Child,
}

/// Why there is no child.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// The caller has threads: a child of it could not even allocate memory safely.
    #[error("cannot clone a process that has threads")]
    Threads,
    /// The kernel refused.
    #[error("clone3: {0}")]
    Kernel(io::Error),
}

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Clones the calling process, which must not have threads, into new namespaces and, where given, into the
/// cgroup (v2) whose directory `cgroup` is.
///
/// # Errors
/// `Threads`, or the errno of clone3.
pub fn clone3(namespaces: Namespaces, cgroup: Option<BorrowedFd<'_>>) -> Result<Fork, CloneError> {
    if threads().map_err(CloneError::Kernel)? != 1 {
        return Err(CloneError::Threads);
    }
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: namespaces.0 | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: without CLONE_VM the child gets a copy of the address space and goes on on the same stack. The
    // process has one thread, so no lock of the copy is held by a thread that does not exist in it. `pidfd`
    // outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, std::mem::size_of::<CloneArgs>()) };
    match pid {
        0 => Ok(Fork::Child),
        pid if pid > 0 => {
            // SAFETY: the kernel has just stored a new descriptor there, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent { pid: i32::try_from(pid).unwrap_or(i32::MAX), pidfd })
        }
        _ => Err(CloneError::Kernel(io::Error::last_os_error())),
    }
}

/// Number of threads: the subdirectories of /proc/self/task.
fn threads() -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata("/proc/self/task")?.nlink().saturating_sub(2))
}

/// Ends the process at once, without running anything of the parent's that was copied.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory.
    unsafe { libc::_exit(code) }
}
