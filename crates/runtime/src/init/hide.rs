//! Hiding paths and making them read-only, after the root has been switched.
//!
//! A hostile image or a container that shares the mounts may try to have something else in the place of
//! /proc or /dev/null (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881): what is covered is found from a
//! descriptor of a root that was checked to be procfs, without symlinks and without crossing a mount, and
//! what covers it is checked to be the null device.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use dray_sys::mount::{MountAttr, attr};
use rustix::fs::{FileType, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::At;
use super::tree::{Tree, is_dir, resolve};
use crate::error::{StartError, Step};

const PROC_MAGIC: u64 = 0x9fa0;

/// Covers each path: files with the null device, directories with an empty read-only tmpfs.
pub fn mask(root: &Tree, paths: &[String]) -> Result<(), StartError> {
    let mut null: Option<OwnedFd> = None;
    for path in paths {
        let Some(target) = find(root, path, Step::MaskPath)? else { continue };
        let cover = if is_dir(target.as_fd()).at(Step::MaskPath, path)? {
            dray_sys::mount::new_detached(
                "tmpfs",
                Some("tmpfs"),
                &["nr_blocks=1", "nr_inodes=1"],
                attr::RDONLY,
            )
            .map_err(|e| StartError::os(Step::MaskPath, path, e.errno))?
        } else {
            if null.is_none() {
                null = Some(null_device(root)?);
            }
            let Some(null) = &null else { continue };
            dray_sys::mount::clone_detached(null.as_fd(), Path::new(""), false).at(Step::MaskPath, path)?
        };
        dray_sys::mount::attach(cover.as_fd(), target.as_fd()).at(Step::MaskPath, path)?;
    }
    Ok(())
}

/// Covers each path with a read-only view of itself.
pub fn make_readonly(root: &Tree, paths: &[String]) -> Result<(), StartError> {
    for path in paths {
        let step = Step::ReadonlyPath;
        let Some(target) = find(root, path, step)? else { continue };
        let view = dray_sys::mount::clone_detached(target.as_fd(), Path::new(""), true).at(step, path)?;
        let change = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
        super::mounts::set_attr(view.as_fd(), change, true).at(step, path)?;
        dray_sys::mount::attach(view.as_fd(), target.as_fd()).at(step, path)?;
    }
    Ok(())
}

/// What is to be covered; `None` if there is no such thing.
fn find(root: &Tree, path: &str, step: Step) -> Result<Option<OwnedFd>, StartError> {
    let found = match path.strip_prefix("/proc/") {
        Some(below) => match proc_root(root) {
            Ok(proc) => resolve(
                proc.as_fd(),
                Path::new(below),
                OFlags::PATH,
                ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
            ),
            Err(errno) => Err(errno),
        },
        None => root.find(Path::new(path)),
    };
    match found {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        // Covered on purpose by a mount of the configuration.
        Err(Errno::XDEV) => Ok(None),
        Err(errno) => Err(StartError::os(step, path, errno)),
    }
}

fn proc_root(root: &Tree) -> rustix::io::Result<OwnedFd> {
    let proc = root.find_plain(Path::new("/proc"))?;
    if rustix::fs::fstatfs(&proc)?.f_type as u64 != PROC_MAGIC {
        // Not procfs: nothing of the kernel's is to be seen there.
        return Err(Errno::NOENT);
    }
    Ok(proc)
}

fn null_device(root: &Tree) -> Result<OwnedFd, StartError> {
    let subject = "/dev/null";
    let null = root.find_plain(Path::new(subject)).at(Step::MaskPath, subject)?;
    let stat = rustix::fs::fstat(&null).at(Step::MaskPath, subject)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null { Ok(null) } else { Err(StartError::because(Step::MaskPath, subject, "not the null device")) }
}
