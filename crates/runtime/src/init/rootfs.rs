//! The root file system: mounted, attached in the container's own mount namespace, switched to.

use std::os::fd::AsFd;
use std::path::Path;

use dray_spec::runtime::Linux;
use dray_sys::mount::{MountAttr, Overlay, attr};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use super::tree::Tree;
use super::{At, options};
use crate::error::{StartError, Step};
use crate::shim::request::Rootfs;

/// Cuts the tree of this namespace off from the host's mount events. By default nothing goes either way;
/// a configuration that shares mounts asks for it by `rootfsPropagation`.
pub fn isolate(linux: &Linux) -> Result<(), StartError> {
    let (bits, _) = linux.rootfs_propagation.map_or((1 << 18, true), options::root_propagation);
    // Never shared here: what the container mounts must not reach the host by way of the root.
    let flags = if bits == 1 << 18 || bits == 1 << 17 {
        MountPropagationFlags::PRIVATE
    } else {
        MountPropagationFlags::DOWNSTREAM
    };
    rustix::mount::mount_change("/", flags | MountPropagationFlags::REC).at(Step::Rootfs, "/")
}

/// A root mount that is attached nowhere yet.
pub fn detached(rootfs: &Rootfs) -> Result<std::os::fd::OwnedFd, StartError> {
    match rootfs {
        Rootfs::Overlay { lower, upper, work } => {
            let overlay = Overlay { lower, upper: Some((upper, work)), options: &[] };
            dray_sys::mount::overlay(&overlay).map_err(|error| {
                let missing = lower.iter().chain([upper, work]).find(|path| !path.is_dir());
                match missing {
                    Some(path) => StartError::because(
                        Step::Rootfs,
                        "overlay",
                        format!("{} is not a directory", path.display()),
                    ),
                    None => StartError::io(Step::Rootfs, "overlay", &error).with_detail(error.to_string()),
                }
            })
        }
        Rootfs::Dir(path) => {
            dray_sys::mount::clone_detached(CWD, path, true).at(Step::Rootfs, path.display().to_string())
        }
    }
}

/// Attaches the root on `staging`, a directory of the host that only this namespace sees covered.
pub fn attach(root: std::os::fd::OwnedFd, staging: &Path) -> Result<Tree, StartError> {
    let subject = || staging.display().to_string();
    let target = rustix::fs::open(staging, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Rootfs, subject())?;
    dray_sys::mount::attach(root.as_fd(), target.as_fd()).at(Step::Rootfs, subject())?;
    Ok(Tree::new(root))
}

/// Makes the root the root of this process and lets go of the old one.
pub fn switch(root: &Tree, pivot: bool) -> Result<(), StartError> {
    let step = Step::PivotRoot;
    if !pivot {
        rustix::process::fchdir(root).at(step, "")?;
        rustix::mount::mount_move(".", "/").at(step, "/")?;
        rustix::process::chroot(".").at(step, "/")?;
        return rustix::process::chdir("/").at(step, "/");
    }
    let old = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(step, "/")?;
    rustix::process::fchdir(root).at(step, "")?;
    rustix::process::pivot_root(".", ".").at(step, "")?;
    // The old root now lies under the new one; the working directory tells which of the two is meant.
    rustix::process::fchdir(&old).at(step, "")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).at(step, "old root")?;
    rustix::process::chdir("/").at(step, "/")
}

/// Makes the root read-only, not what is mounted on it.
pub fn make_readonly(root: &Tree) -> Result<(), StartError> {
    let change = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
    super::mounts::set_attr(root.as_fd(), change, false).at(Step::Rootfs, "read-only /")
}

/// Gives the new root the propagation the configuration asks for.
pub fn share(root: &Tree, linux: &Linux) -> Result<(), StartError> {
    let Some(kind) = linux.rootfs_propagation else { return Ok(()) };
    let (bits, recursive) = options::root_propagation(kind);
    let change = MountAttr { propagation: bits, ..MountAttr::default() };
    super::mounts::set_attr(root.as_fd(), change, recursive).at(Step::Rootfs, "propagation of /")
}
