//! A container's file system as seen from the engine, running or not.
//!
//! Everything in it is hostile: paths are resolved by the kernel inside the root
//! (`RESOLVE_IN_ROOT`), never put together here.
//!
//! ```text
//! running   /proc/<pid>/root, held as a descriptor
//! stopped   the overlay mounted in a mount namespace of one thread's own, its volumes in it;
//!           when the thread ends nothing is left, whatever was killed
//! ```

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::Error;

/// The folders that make up a container's root.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// Read-only layers, the top one first; the last is our own with the mount points.
    pub lower: Vec<PathBuf>,
    /// What the container has written.
    pub upper: PathBuf,
    /// Overlay's work folder.
    pub work: PathBuf,
}

/// Something mounted into the root: source on the host and path in the container.
pub type Bind = (PathBuf, String);

/// Largest `passwd` or `group` that is read.
const LARGEST: u64 = 8 * 1024 * 1024;

/// Opens what `path` is inside `root`, links followed there.
pub fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT) {
            // The tree was moved about meanwhile.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

impl Layers {
    /// The root of a stopped container, attached nowhere: without volumes.
    pub fn detached(&self) -> Result<OwnedFd, Error> {
        dray_sys::mount::overlay_detached(&self.lower, &self.upper, &self.work)
            .map_err(Error::io("mount overlay", &self.upper))
    }

    /// A file of the root, read without mounting anything where that is possible: for `/etc/passwd`
    /// and `/etc/group` at each start. None if it is not there.
    pub fn read_file(&self, path: &str) -> Result<Option<String>, Error> {
        let layers = std::iter::once(&self.upper).chain(&self.lower);
        for layer in layers {
            match in_layer(layer, path) {
                Found::File(text) => return Ok(Some(text)),
                Found::Absent => return Ok(None),
                Found::Below => {}
                Found::Unclear => return read_in(self.detached()?.as_fd(), path),
            }
        }
        Ok(None)
    }
}

/// Reads a file inside a root; none if it is not there or no file.
pub fn read_in(root: BorrowedFd<'_>, path: &str) -> Result<Option<String>, Error> {
    let relative = Path::new(path.trim_start_matches('/'));
    match open_in(root, relative, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(file) => Ok(text_of(File::from(file))),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
        Err(errno) => Err(Error::io("open", path)(errno.into())),
    }
}

fn text_of(file: File) -> Option<String> {
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What one layer says of a path.
enum Found {
    File(String),
    /// Removed here: layers below do not count.
    Absent,
    /// Not here: look below.
    Below,
    /// A link or something else that only the whole tree answers.
    Unclear,
}

fn in_layer(layer: &Path, path: &str) -> Found {
    let strict = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let Ok(root) = rustix::fs::open(layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    else {
        return Found::Below;
    };
    let look = |path: &Path| openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), strict);
    let path = Path::new(path.trim_start_matches('/'));
    match look(path) {
        Ok(found) => {
            let kind = File::from(found).metadata().map(|meta| meta.file_type());
            match kind {
                Ok(kind) if kind.is_char_device() => Found::Absent,
                Ok(kind) if kind.is_file() => {
                    let opened =
                        openat2(&root, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), strict);
                    opened.ok().and_then(|file| text_of(File::from(file))).map_or(Found::Unclear, Found::File)
                }
                _ => Found::Unclear,
            }
        }
        Err(Errno::NOENT) => parent_in_layer(layer, path, &look),
        Err(_) => Found::Unclear,
    }
}

/// The path is not in the layer: whether its folder hides what is below.
fn parent_in_layer(layer: &Path, path: &Path, look: &dyn Fn(&Path) -> Result<OwnedFd, Errno>) -> Found {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Found::Below;
    };
    match look(parent) {
        Err(Errno::NOENT) => parent_in_layer(layer, parent, look),
        Err(_) => Found::Unclear,
        Ok(_) => {
            let mut value = [0_u8; 8];
            match rustix::fs::lgetxattr(layer.join(parent), "trusted.overlay.opaque", &mut value) {
                Ok(length) if value[..length] == *b"y" => Found::Absent,
                _ => Found::Below,
            }
        }
    }
}

/// The root of a running container. Its init must be the one meant: `start` is its start time.
pub fn of_running(pid: i32, start: u64) -> Result<OwnedFd, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/root"));
    let opened = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = opened.map_err(|errno| Error::io("open", &path)(errno.into()))?;
    if start != 0 && super::process::start_time(pid) != Some(start) {
        return Err(Error::io("open", &path)(Errno::SRCH.into()));
    }
    Ok(root)
}

/// Runs `work` with the root of a stopped container and its volumes in it.
///
/// `scratch` is an empty folder to mount on; only the thread that runs `work` sees it mounted.
pub fn of_stopped<T: Send>(
    layers: &Layers,
    binds: &[Bind],
    scratch: &Path,
    work: impl FnOnce(BorrowedFd<'_>) -> Result<T, Error> + Send,
) -> Result<T, Error> {
    if binds.is_empty() {
        return work(layers.detached()?.as_fd());
    }
    std::fs::create_dir_all(scratch).map_err(Error::io("create", scratch))?;
    let in_namespace = || {
        let root = assemble(layers, binds, scratch)?;
        work(root.as_fd())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("container-root".into());
        let running = thread.spawn_scoped(scope, in_namespace).map_err(Error::io("spawn", scratch))?;
        running.join().unwrap_or_else(|_| Err(Error::Interrupted("container root".into())))
    })
}

/// Mounts the overlay and what belongs into it, in a mount namespace of this thread's own.
fn assemble(layers: &Layers, binds: &[Bind], scratch: &Path) -> Result<OwnedFd, Error> {
    const NEW_NAMESPACE: u64 = 0x0002_0000;
    let failed = |operation| Error::io(operation, scratch);
    dray_sys::process::unshare(NEW_NAMESPACE).map_err(failed("unshare mounts for"))?;
    let slave = rustix::mount::MountPropagationFlags::DOWNSTREAM | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave)
        .map_err(|errno| failed("make mounts private for")(errno.into()))?;
    let target = open_path(scratch)?;
    let overlay = layers.detached()?;
    dray_sys::mount::attach(overlay.as_fd(), target.as_fd()).map_err(failed("mount overlay on"))?;
    let root = open_path(scratch)?;
    for (source, destination) in binds {
        attach_bind(root.as_fd(), source, destination)?;
    }
    Ok(root)
}

fn open_path(path: &Path) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::io("open", path)(errno.into()))
}

/// A source or destination that is not there is left out: copying does not make mount points.
fn attach_bind(root: BorrowedFd<'_>, source: &Path, destination: &str) -> Result<(), Error> {
    let inside = Path::new(destination.trim_start_matches('/'));
    let Ok(target) = open_in(root, inside, OFlags::PATH) else { return Ok(()) };
    if !source.exists() {
        return Ok(());
    }
    let failed = Error::io("bind", source);
    let mount = dray_sys::mount::clone_detached(rustix::fs::CWD, source, true);
    mount.and_then(|mount| dray_sys::mount::attach(mount.as_fd(), target.as_fd())).map_err(failed)
}

/// The layer at the very bottom of each container: mount points that images may lack, so that making
/// them is no change of the container's. Made once.
pub fn make_base_layer(folder: &Path) -> Result<(), Error> {
    if folder.join(".dockerenv").exists() {
        return Ok(());
    }
    for name in ["dev/pts", "dev/shm", "etc", "proc", "sys"] {
        let path = folder.join(name);
        std::fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
    }
    for name in ["dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"] {
        let path = folder.join(name);
        File::create(&path).map_err(Error::io("create", &path))?;
    }
    let link = folder.join("etc/mtab");
    match std::os::unix::fs::symlink("/proc/mounts", &link) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io("create", &link)(error));
        }
        _ => {}
    }
    let mark = folder.join(".dockerenv");
    File::create(&mark).map(drop).map_err(Error::io("create", &mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn layers(dir: &Path) -> Layers {
        for name in ["top/etc", "bottom/etc", "upper", "work", "scratch"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        fs::write(dir.join("bottom/etc/passwd"), "old").unwrap();
        let lower = vec![dir.join("top"), dir.join("bottom")];
        Layers { lower, upper: dir.join("upper"), work: dir.join("work") }
    }

    #[test]
    fn files_are_read_through_the_layers() {
        let dir = tempfile::tempdir().unwrap();
        let layers = layers(dir.path());
        assert_eq!(layers.read_file("/etc/passwd").unwrap().as_deref(), Some("old"));
        assert_eq!(layers.read_file("/etc/nosuch").unwrap(), None);
        fs::write(dir.path().join("top/etc/passwd"), "new").unwrap();
        assert_eq!(layers.read_file("/etc/passwd").unwrap().as_deref(), Some("new"));
    }

    #[test]
    fn links_are_followed_in_the_root_only() {
        let dir = tempfile::tempdir().unwrap();
        let layers = layers(dir.path());
        std::os::unix::fs::symlink("/data/users", dir.path().join("top/etc/passwd")).unwrap();
        fs::create_dir(dir.path().join("bottom/data")).unwrap();
        fs::write(dir.path().join("bottom/data/users"), "linked").unwrap();
        assert_eq!(layers.read_file("/etc/passwd").unwrap().as_deref(), Some("linked"));
        fs::remove_file(dir.path().join("top/etc/passwd")).unwrap();
        std::os::unix::fs::symlink("../../../../../etc/hostname", dir.path().join("top/etc/passwd")).unwrap();
        assert_eq!(layers.read_file("/etc/passwd").unwrap(), None);
    }

    #[test]
    fn volumes_are_in_the_root_and_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let layers = layers(dir.path());
        fs::create_dir(dir.path().join("bottom/data")).unwrap();
        let volume = dir.path().join("volume");
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("f"), "in volume").unwrap();
        let scratch = dir.path().join("scratch");
        let read =
            of_stopped(&layers, &[(volume, "/data".into())], &scratch, |root| read_in(root, "/data/f"));
        assert_eq!(read.unwrap().as_deref(), Some("in volume"));
        assert!(fs::read_dir(&scratch).unwrap().next().is_none());
    }
}
