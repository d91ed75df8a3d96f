//! /sys/fs/cgroup inside a container: its own cgroup of each hierarchy, read-only unless asked otherwise.
//!
//! The container's own directories are bound. Inside a cgroup namespace that looks like the root of each
//! hierarchy. Without one, a container of a v2 machine sees the whole tree, as its `/proc/self/cgroup` is a path in it;
//! on v1 it still sees nothing but itself.

use std::os::fd::AsFd;
use std::path::Path;

use dray_spec::runtime::Mount;
use dray_sys::mount::{MountAttr, attr};
use rustix::fs::{CWD, Mode};

use super::At;
use super::mounts::set_attr;
use super::options::Options;
use super::tree::Tree;
use crate::cgroup::{Cgroup, Layout};
use crate::error::{StartError, Step};

/// Makes the mount.
///
/// # Errors
/// Names the place.
pub fn make(
    root: &Tree,
    mount: &Mount,
    options: &Options,
    cgroup: &Cgroup,
    namespace: bool,
) -> Result<(), StartError> {
    let subject = || mount.destination.display().to_string();
    let target = root.make_dir(&mount.destination).at(Step::Mount, subject())?;
    let attrs = MountAttr { set: options.attrs.set, ..MountAttr::default() };
    if let Layout::V2 { root: tree } = cgroup.layout() {
        let dir = if namespace { cgroup.main_dir() } else { tree.clone() };
        let view = dray_sys::mount::clone_detached(CWD, &dir, false).at(Step::Mount, subject())?;
        set_attr(view.as_fd(), attrs, false).at(Step::Mount, subject())?;
        return dray_sys::mount::attach(view.as_fd(), target.as_fd()).at(Step::Mount, subject());
    }
    let flags = attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let top = dray_sys::mount::new_detached("tmpfs", Some("tmpfs"), &["mode=755"], flags)
        .map_err(|e| StartError::os(Step::Mount, subject(), e.errno))?;
    dray_sys::mount::attach(top.as_fd(), target.as_fd()).at(Step::Mount, subject())?;
    for (controller, dir) in cgroup.mounts() {
        let subject = || mount.destination.join(controller).display().to_string();
        rustix::fs::mkdirat(&top, controller, Mode::from_raw_mode(0o755)).at(Step::Mount, subject())?;
        let below = super::tree::resolve(
            top.as_fd(),
            Path::new(controller),
            rustix::fs::OFlags::PATH,
            rustix::fs::ResolveFlags::NO_SYMLINKS,
        )
        .at(Step::Mount, subject())?;
        let view = dray_sys::mount::clone_detached(CWD, &dir, false).at(Step::Mount, subject())?;
        set_attr(view.as_fd(), attrs, false).at(Step::Mount, subject())?;
        dray_sys::mount::attach(view.as_fd(), below.as_fd()).at(Step::Mount, subject())?;
    }
    let readonly = MountAttr { set: attrs.set & attr::RDONLY, ..MountAttr::default() };
    set_attr(top.as_fd(), readonly, false).at(Step::Mount, subject())
}
