//! The mount API by descriptors: overlays, detached views, attributes (fsopen(2), mount_setattr(2)).
//!
//! A mount made here belongs to no directory until it is moved to one, so nothing is left on the host when the
//! process that made it dies.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

/// Longest string fsconfig takes, the NUL not counted.
const MAX_CONFIG_STRING: usize = 255;

/// Attributes to set and to clear on a mount (`mount_setattr(2)`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`; 0 leaves it.
    pub propagation: u64,
    /// User namespace of an id-mapped mount.
    pub userns_fd: u64,
}

/// Bits of [`MountAttr`].
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// No set-user-id programs.
    pub const NOSUID: u64 = 0x2;
    /// No devices.
    pub const NODEV: u64 = 0x4;
    /// No programs.
    pub const NOEXEC: u64 = 0x8;
    /// Mask of the access time modes.
    pub const ATIME: u64 = 0x70;
    /// Access times are not kept.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always kept.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are not kept.
    pub const NODIRATIME: u64 = 0x80;
    /// Ids are mapped by a user namespace.
    pub const IDMAP: u64 = 0x0010_0000;
    /// Symlinks are not followed.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// Changes the attributes of the mount a descriptor is the root of.
///
/// # Errors
/// The errno of mount_setattr; `ENOSYS` before Linux 5.12.
pub fn set_attr(mount: BorrowedFd<'_>, change: MountAttr, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the empty path is NUL-terminated; the kernel reads `size_of::<MountAttr>()` bytes of `change`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const change,
            std::mem::size_of::<MountAttr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A new file system of type `kind`, attached nowhere. Options are `name` or `name=value`.
///
/// # Errors
/// The errno of the step, with the words the kernel leaves about it.
pub fn new_detached(
    kind: &str,
    source: Option<&str>,
    options: &[&str],
    attrs: u64,
) -> Result<OwnedFd, FsError> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| FsError::new(e, None))?;
    let explain = |e| FsError::new(e, Some(context.as_fd()));
    if let Some(source) = source {
        fsconfig_set_string(&context, "source", source).map_err(explain)?;
    }
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&context, key, value),
            None => fsconfig_set_flag(&context, *option),
        }
        .map_err(|e| FsError { option: Some((*option).to_owned()), ..explain(e) })?;
    }
    fsconfig_create(&context).map_err(explain)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attr_flags(attrs)).map_err(explain)
}

fn attr_flags(attrs: u64) -> MountAttrFlags {
    MountAttrFlags::from_bits_retain(attrs as u32)
}

/// A file system that could not be made.
#[derive(Debug, thiserror::Error)]
pub struct FsError {
    /// The refusal.
    pub errno: rustix::io::Errno,
    /// The option that was refused, if it was one.
    pub option: Option<String>,
    /// What the kernel said beyond the errno.
    pub log: Option<String>,
}

impl std::fmt::Display for FsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(option) = &self.option {
            write!(f, "option {option:?}: ")?;
        }
        match &self.log {
            Some(log) => write!(f, "{} ({log})", self.errno),
            None => write!(f, "{}", self.errno),
        }
    }
}

impl FsError {
    fn new(errno: rustix::io::Errno, context: Option<BorrowedFd<'_>>) -> FsError {
        let mut line = [0; 256];
        let log = context.and_then(|fd| rustix::io::read(fd, &mut line).ok()).map(|len| {
            let text = String::from_utf8_lossy(&line[..len]);
            text.trim_start_matches(|c: char| "ewi ".contains(c)).trim_end().to_owned()
        });
        FsError { errno, option: None, log }
    }
}

impl From<FsError> for io::Error {
    fn from(error: FsError) -> io::Error {
        match error.log {
            None if error.option.is_none() => error.errno.into(),
            _ => io::Error::new(io::Error::from(error.errno).kind(), error.to_string()),
        }
    }
}

/// A copy of the mount at a path, with what is mounted below it if `recursive`, attached nowhere.
///
/// # Errors
/// The errno of open_tree.
pub fn clone_detached(dir: BorrowedFd<'_>, path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(dir, path, flags)?)
}

/// Attaches a detached mount on top of what `target` is.
///
/// # Errors
/// The errno of move_mount.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

/// The directories of an overlay.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// Read-only layers, the top one first.
    pub lower: &'a [PathBuf],
    /// Read-write layer and its work directory; without them the overlay is read-only.
    pub upper: Option<(&'a Path, &'a Path)>,
    /// Further options, e.g. `volatile`.
    pub options: &'a [&'a str],
}

/// An overlay that is attached nowhere. With one layer and no upper it is a read-only view of that layer.
///
/// # Errors
/// The errno, and the words of the kernel where it has some.
pub fn overlay(overlay: &Overlay<'_>) -> io::Result<OwnedFd> {
    if let (None, [single]) = (overlay.upper, overlay.lower) {
        let view = clone_detached(CWD, single, false)?;
        set_attr(view.as_fd(), MountAttr { set: attr::RDONLY, ..MountAttr::default() }, false)?;
        return Ok(view);
    }
    // Asked by its version: kernels before 6.5 take any option there is a name for, and refuse all of them later.
    if crate::kernel::is_at_least("6.7") {
        return overlay_by_layer(overlay).map_err(io::Error::from);
    }
    match overlay.upper {
        Some((_, work)) => overlay_by_string(overlay, work),
        // No directory is this overlay's alone: it is mounted on its top layer, where nobody else sees it.
        None => std::thread::scope(|scope| {
            let alone = scope.spawn(|| {
                crate::process::unshare(crate::clone::Namespaces::MOUNT)?;
                let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
                rustix::mount::mount_change("/", private)?;
                overlay_by_string(overlay, overlay.lower.first().map_or(Path::new("/"), PathBuf::as_path))
            });
            alone.join().unwrap_or_else(|_| Err(io::Error::other("mounting an overlay panicked")))
        }),
    }
}

/// An overlay of `lower` (top first) with a read-write layer, attached nowhere: for copying into and out of a
/// container that does not run.
///
/// # Errors
/// As [`overlay`].
pub fn overlay_detached(lower: &[PathBuf], upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    self::overlay(&Overlay { lower, upper: Some((upper, work)), options: &[] })
}

/// Options every overlay gets: a layer must never hold what only makes sense beside its neighbours.
const PLAIN: [(&str, &str); 3] = [("redirect_dir", "nofollow"), ("index", "off"), ("metacopy", "off")];

/// From Linux 6.7: one option for each layer, no limit on their number but the kernel's 500.
fn overlay_by_layer(overlay: &Overlay<'_>) -> Result<OwnedFd, FsError> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| FsError::new(e, None))?;
    let mut held = Vec::new();
    let mut set = |key: &str, path: &Path| -> Result<(), FsError> {
        let short = short_path(path, &mut held).map_err(|errno| FsError {
            errno,
            option: Some(path.display().to_string()),
            log: None,
        })?;
        fsconfig_set_string(&context, key, short.as_path()).map_err(|e| FsError {
            option: Some(format!("{key}={}", path.display())),
            ..FsError::new(e, Some(context.as_fd()))
        })
    };
    for layer in overlay.lower {
        set("lowerdir+", layer)?;
    }
    if let Some((upper, work)) = overlay.upper {
        set("upperdir", upper)?;
        set("workdir", work)?;
    }
    let explain = |e| FsError::new(e, Some(context.as_fd()));
    for (key, value) in PLAIN {
        // A kernel built without the feature does not know the option.
        let _ = fsconfig_set_string(&context, key, value);
    }
    for option in overlay.options {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&context, key, value),
            None => fsconfig_set_flag(&context, *option),
        }
        .map_err(explain)?;
    }
    fsconfig_create(&context).map_err(explain)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(explain)
}

/// A path fsconfig can take: a long one goes through a descriptor.
fn short_path(path: &Path, held: &mut Vec<OwnedFd>) -> rustix::io::Result<PathBuf> {
    if path.as_os_str().len() <= MAX_CONFIG_STRING {
        return Ok(path.to_owned());
    }
    let dir = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    held.push(dir);
    Ok(short)
}

/// Before Linux 6.7: all layers in the one page mount(2) takes. Each is named through a descriptor, so that
/// 128 of them fit whatever their paths are. It is mounted on a directory for a moment, in a namespace
/// that is the caller's own business, and taken off it as a detached mount.
fn overlay_by_string(overlay: &Overlay<'_>, target: &Path) -> io::Result<OwnedFd> {
    let mut held = Vec::new();
    let mut name = |path: &Path| -> io::Result<String> {
        let dir = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let name = format!("/proc/self/fd/{}", dir.as_raw_fd());
        held.push(dir);
        Ok(name)
    };
    let lower = overlay.lower.iter().map(|p| name(p)).collect::<io::Result<Vec<_>>>()?;
    let mut data = format!("lowerdir={}", lower.join(":"));
    if let Some((upper, work)) = overlay.upper {
        data.push_str(&format!(",upperdir={},workdir={}", name(upper)?, name(work)?));
    }
    for (key, value) in PLAIN {
        data.push_str(&format!(",{key}={value}"));
    }
    for option in overlay.options {
        data.push_str(&format!(",{option}"));
    }
    let data = CString::new(data)?;
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("overlay", target, "overlay", flags, Some(data.as_c_str()))?;
    let detached = clone_detached(CWD, target, false);
    rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH)?;
    detached
}

/// A user namespace with the given id maps (as of `/proc/<pid>/uid_map`), for an id-mapped mount. A child makes
/// it and ends at once; the caller must not have threads.
///
/// # Errors
/// Of the clone or of the maps.
pub fn user_namespace(uid_map: &str, gid_map: &str) -> io::Result<OwnedFd> {
    use crate::clone::{Fork, Namespaces, clone3, exit_now};
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match clone3(Namespaces(Namespaces::USER), None).map_err(io::Error::other)? {
        Fork::Child => {
            drop(theirs);
            let _ = rustix::io::read(&ours, &mut [0; 1]);
            exit_now(0)
        }
        Fork::Parent { pid, pidfd } => {
            let made = std::fs::write(format!("/proc/{pid}/uid_map"), uid_map)
                .and_then(|()| std::fs::write(format!("/proc/{pid}/gid_map"), gid_map))
                .and_then(|()| std::fs::File::open(format!("/proc/{pid}/ns/user")));
            drop(theirs);
            let _ = rustix::process::waitid(
                rustix::process::WaitId::PidFd(pidfd.as_fd()),
                rustix::process::WaitIdOptions::EXITED,
            );
            Ok(made?.into())
        }
    }
}

/// Whether a path's bytes are safe in an option string (no comma, colon or backslash).
pub fn is_plain(path: &Path) -> bool {
    !path.as_os_str().as_bytes().iter().any(|b| b",:\\".contains(b))
}
