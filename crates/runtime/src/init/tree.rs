//! Paths inside a container's root. An image may hold any symlink: everything goes through
//! `openat2(RESOLVE_IN_ROOT)`, never through a joined path.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// Most dangling symlinks followed while a mount point is made.
const MAX_LINKS: u32 = 16;

/// A directory that is the root of all paths below it.
#[derive(Debug)]
pub struct Tree(OwnedFd);

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Tree {
    /// A tree from its root.
    pub fn new(root: OwnedFd) -> Tree {
        Tree(root)
    }

    /// Opens a path without being able to read it (`O_PATH`).
    pub fn find(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        self.open(path, OFlags::PATH)
    }

    /// The same, refusing symlinks in any part of the path.
    pub fn find_plain(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        resolve(self.as_fd(), path, OFlags::PATH, ResolveFlags::NO_SYMLINKS)
    }

    /// Opens a path.
    pub fn open(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        resolve(self.as_fd(), path, flags, ResolveFlags::empty())
    }

    /// Opens a directory, making what is missing with mode 0755.
    pub fn make_dir(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        self.make_dir_following(path, 0)
    }

    fn make_dir_following(&self, path: &Path, links: u32) -> rustix::io::Result<OwnedFd> {
        match self.find(path) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::NOENT) };
        let dir = self.make_dir_following(parent, links)?;
        match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => self.find(path),
            Err(Errno::EXIST) if links < MAX_LINKS => {
                // A symlink to nothing, or another maker was faster.
                match self.target_of(parent, &dir, Path::new(name)) {
                    Some(target) => self.make_dir_following(&target, links + 1),
                    None => self.find(path),
                }
            }
            Err(errno) => Err(errno),
        }
    }

    /// Opens a file for a mount on top of it, making an empty one if it is missing.
    pub fn make_file(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        match self.find(path) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { break };
            let dir = self.make_dir(parent)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o644)) {
                Ok(_) => return self.find(&path),
                Err(Errno::EXIST) => match self.target_of(parent, &dir, Path::new(name)) {
                    Some(target) => path = target,
                    None => return self.find(&path),
                },
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::LOOP)
    }

    /// Where a symlink leads, as a path of this tree.
    fn target_of(&self, parent: &Path, dir: &OwnedFd, name: &Path) -> Option<PathBuf> {
        let target = rustix::fs::readlinkat(dir, name, Vec::new()).ok()?;
        let target = PathBuf::from(std::ffi::OsString::from(target.to_string_lossy().into_owned()));
        Some(normal(&parent.join(target)))
    }
}

/// A path without `.` and `..`, lexically.
pub fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(name) => parts.push(name),
            _ => {}
        }
    }
    parts
}

/// Opens a path below a directory that is its root.
pub fn resolve(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    more: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
    let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
    loop {
        // EAGAIN: something was renamed or mounted while the path was walked.
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Whether a descriptor is a directory.
pub fn is_dir(fd: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory)
}

/// Owner of what a descriptor is.
pub fn chown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree(name: &str) -> (PathBuf, Tree) {
        let dir = std::env::temp_dir().join(format!("runtime-tree-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        let fd = rustix::fs::open(&dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, Tree::new(fd))
    }

    #[test]
    fn mount_points_stay_inside_whatever_links_say() {
        let (dir, tree) = tree("links");
        symlink("/", dir.join("root")).unwrap();
        symlink("../../../../../../..", dir.join("up")).unwrap();
        symlink("/run", dir.join("dangling")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        tree.make_dir(Path::new("/root/a/b")).unwrap();
        tree.make_file(Path::new("/up/c/file")).unwrap();
        tree.make_file(Path::new("/dangling/sock")).unwrap();
        assert!(dir.join("a/b").is_dir());
        assert!(dir.join("c/file").is_file());
        assert!(dir.join("run/sock").is_file());
        assert!(!Path::new("/a/b").exists() && !Path::new("/c/file").exists());
        assert!(tree.make_dir(Path::new("/loop/x")).is_err());
        assert_eq!(tree.find_plain(Path::new("/root/a")).unwrap_err(), Errno::LOOP);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
