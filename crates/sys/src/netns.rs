//! Network namespaces of the calling thread: make a new one, look at it, move between them.
//!
//! A namespace belongs to a thread, not to the process; callers that leave their thread in another namespace than
//! they found it in must end that thread (or move back).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Moves the calling thread into a new, empty network namespace.
///
/// # Errors
/// The kernel's, `EPERM` without `CAP_SYS_ADMIN`.
pub fn unshare() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET alone changes no memory, file or signal state that the thread shares with others: only
    // which network stack its later system calls see. Sockets that are open stay in the namespace they were made in.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

/// The network namespace of the calling thread.
///
/// # Errors
/// `/proc` is not mounted.
pub fn current() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Moves the calling thread into a network namespace.
///
/// # Errors
/// The descriptor is no network namespace, or the caller lacks the right.
pub fn enter(namespace: impl AsFd) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Whether the calling thread is in this network namespace.
///
/// # Errors
/// `/proc` is not mounted, or the descriptor cannot be looked at.
pub fn is_current(namespace: impl AsFd) -> io::Result<bool> {
    let there = rustix::fs::fstat(namespace)?;
    let here = rustix::fs::stat("/proc/thread-self/ns/net")?;
    Ok(there.st_ino == here.st_ino && there.st_dev == here.st_dev)
}
