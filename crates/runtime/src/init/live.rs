//! Mounts of a container that runs: one more, or one less.
//!
//! ```text
//! shim                                child, in the shim's namespaces
//! opens the source, clones     ──►    joins the container's mount namespace, opens its root,
//! waits for Ready or Failed    ◄──    attaches or detaches, says so, ends
//! ```
//! The source is opened before the container's namespace is joined, the target after it: neither side's links lead to
//! the other's files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use dray_spec::runtime::{Mount, Spec};
use dray_sys::clone::{CloneError, Fork, Namespaces, clone3, exit_now};
use dray_sys::process as proc;
use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::mount::UnmountFlags;
use rustix::process::{WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use super::At;
use super::channel::{Channel, Note};
use super::launch::fail;
use super::mounts::{Prepared, make_all};
use super::tree::Tree;
use crate::error::{StartError, Step};

/// A change of a running container's mounts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum MountChange {
    /// This one comes on top of what is at its destination.
    Add(Box<Mount>),
    /// The topmost one here goes, at once for those who look, and altogether when nobody has it open any more.
    Remove(PathBuf),
}

/// Carries out a change. The caller must have no threads.
///
/// # Errors
/// In the words of a start; nothing is changed then.
pub fn change(init: BorrowedFd<'_>, change: &MountChange) -> Result<(), StartError> {
    let mounts = match change {
        MountChange::Add(mount) => vec![Mount::clone(mount)],
        MountChange::Remove(_) => Vec::new(),
    };
    let spec = Spec { mounts, ..Spec::default() };
    let prepared = Prepared::make(&spec, true)?;
    let (ours, theirs) = Channel::pair().at(Step::Mount, "socket")?;
    let forked = clone3(Namespaces::default(), None).map_err(|error| match error {
        CloneError::Kernel(error) => StartError::io(Step::Mount, "clone3", &error),
        threads @ CloneError::Threads => StartError::because(Step::Mount, "clone3", threads.to_string()),
    })?;
    match forked {
        Fork::Child => {
            drop(ours);
            match carry_out(init, change, &spec, &prepared) {
                Ok(()) => {
                    let said = theirs.say(&Note::Ready(Vec::new()), None);
                    exit_now(i32::from(said.is_err()))
                }
                Err(error) => fail(&theirs, error),
            }
        }
        Fork::Parent { pidfd, .. } => {
            drop((theirs, prepared));
            let heard = attend(&ours);
            reap(&pidfd);
            heard
        }
    }
}

fn carry_out(
    init: BorrowedFd<'_>,
    change: &MountChange,
    spec: &Spec,
    prepared: &Prepared,
) -> Result<(), StartError> {
    proc::not_dumpable().at(Step::Namespace, "dumpable")?;
    proc::setns(init, Namespaces::MOUNT).at(Step::Namespace, "join the container")?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = Tree::new(root.at(Step::Namespace, "root")?);
    match change {
        MountChange::Add(_) => make_all(&root, spec, prepared, None).map(drop),
        MountChange::Remove(path) => remove(&root, path),
    }
}

fn remove(root: &Tree, path: &Path) -> Result<(), StartError> {
    let subject = || path.display().to_string();
    let found = root.find(path).at(Step::Mount, subject())?;
    let stat = rustix::fs::statx(&found, "", AtFlags::EMPTY_PATH, StatxFlags::empty());
    if !stat.at(Step::Mount, subject())?.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Err(StartError::because(Step::Mount, subject(), "nothing is mounted there"));
    }
    // The root is the container's: the path cannot lead out of it.
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).at(Step::Mount, subject())
}

fn attend(channel: &Channel) -> Result<(), StartError> {
    match channel.hear().at(Step::Mount, "")? {
        Some((Note::Ready(_), _)) => Ok(()),
        Some((Note::Failed(error), _)) => Err(error),
        _ => Err(StartError::because(Step::Mount, "", "the work ended without an answer")),
    }
}

fn reap(pidfd: &OwnedFd) {
    // Whatever it ended with, it has said what became of the change.
    let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
}
