//! A directory tree that nothing leaves: paths are resolved inside it, as in a chroot.
//!
//! Symbolic links are followed with the tree's top as `/`, also where they lead to something that does not exist
//! yet (a file can be created behind a dangling link). The result of [`Tree::resolve`] has no links in it; it is
//! opened with `openat2` and `RESOLVE_IN_ROOT`, so that a tree that changes meanwhile cannot lead outside either.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// How many links one path may lead over, as in the kernel.
const MAX_LINKS: usize = 40;

/// A directory and everything below it.
#[derive(Debug)]
pub(crate) struct Tree {
    fd: OwnedFd,
}

/// User and group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Tree {
    /// The tree below the directory `path` of the host.
    pub(crate) fn open(path: &Path) -> io::Result<Tree> {
        let fd = rustix::fs::openat(
            CWD,
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
        Ok(Tree { fd })
    }

    /// The tree below an open directory.
    pub(crate) fn from_fd(fd: OwnedFd) -> Tree {
        Tree { fd }
    }

    /// The top directory.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Follows every link in `path` and gives the path without links, relative to the top (`.` for the top).
    /// Parts that do not exist stay as they are.
    pub(crate) fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.follow(path, true)
    }

    /// As [`Tree::resolve`], but a link at the end is not followed.
    pub(crate) fn resolve_parent(&self, path: &Path) -> io::Result<PathBuf> {
        self.follow(path, false)
    }

    fn follow(&self, path: &Path, last_too: bool) -> io::Result<PathBuf> {
        let mut pending: Vec<OsString> = parts(path);
        let mut resolved = PathBuf::new();
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == ".." {
                resolved.pop();
                continue;
            }
            let candidate = resolved.join(&part);
            if pending.is_empty() && !last_too {
                resolved = candidate;
                break;
            }
            match rustix::fs::readlinkat(&self.fd, &candidate, Vec::new()) {
                Ok(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                    if target.is_absolute() {
                        resolved = PathBuf::new();
                    }
                    pending.extend(parts(&target));
                }
                // No link, or nothing there, or a file where a directory should be: left to who uses the path.
                Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => resolved = candidate,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(if resolved.as_os_str().is_empty() { PathBuf::from(".") } else { resolved })
    }

    /// What is at a resolved path; links are not followed.
    pub(crate) fn stat(&self, resolved: &Path) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.fd, resolved, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// As [`Tree::stat`], with `None` if there is nothing.
    pub(crate) fn find(&self, resolved: &Path) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.fd, resolved, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether a resolved path is a directory.
    pub(crate) fn is_dir(&self, resolved: &Path) -> io::Result<bool> {
        Ok(self.find(resolved)?.is_some_and(|stat| is_dir(&stat)))
    }

    /// Opens a resolved path.
    pub(crate) fn open_at(&self, resolved: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat2(
            &self.fd,
            resolved,
            flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            mode,
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?)
    }

    /// Opens a resolved directory.
    pub(crate) fn open_dir(&self, resolved: &Path) -> io::Result<OwnedFd> {
        self.open_at(resolved, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// Opens a resolved file for reading. What is no file is refused, so that nothing blocks.
    pub(crate) fn open_file(&self, resolved: &Path) -> io::Result<std::fs::File> {
        let fd = self.open_at(resolved, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(fd.into()),
            FileType::Directory => Err(Errno::ISDIR.into()),
            _ => Err(Errno::INVAL.into()),
        }
    }

    /// Reads a resolved file of at most `limit` bytes.
    pub(crate) fn read(&self, resolved: &Path, limit: u64) -> io::Result<Vec<u8>> {
        use std::io::Read;
        let mut bytes = Vec::new();
        self.open_file(resolved)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Makes the directory at a resolved path and those above it that are missing, with mode 0755 and `owner`.
    /// Gives the directories made, topmost first.
    pub(crate) fn make_dirs(&self, resolved: &Path, owner: Owner) -> io::Result<Vec<PathBuf>> {
        let mut missing = Vec::new();
        let mut at = resolved;
        while at != Path::new(".") && !at.as_os_str().is_empty() && self.find(at)?.is_none() {
            missing.push(at.to_owned());
            at = at.parent().unwrap_or(Path::new("."));
        }
        missing.reverse();
        for dir in &missing {
            rustix::fs::mkdirat(&self.fd, dir, Mode::from_raw_mode(0o755))?;
            // The process's umask does not count.
            rustix::fs::chmodat(&self.fd, dir, Mode::from_raw_mode(0o755), AtFlags::empty())?;
            self.chown(dir, owner)?;
        }
        Ok(missing)
    }

    /// Sets the owner of a resolved path.
    pub(crate) fn chown(&self, resolved: &Path, owner: Owner) -> io::Result<()> {
        Ok(rustix::fs::chownat(
            &self.fd,
            resolved,
            Some(rustix::fs::Uid::from_raw(owner.uid)),
            Some(rustix::fs::Gid::from_raw(owner.gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Removes what is at a resolved path, with everything below it.
    pub(crate) fn remove(&self, resolved: &Path) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, resolved, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno.into()),
        }
        for name in names(self.open_dir(resolved)?)? {
            self.remove(&resolved.join(name))?;
        }
        Ok(rustix::fs::unlinkat(&self.fd, resolved, AtFlags::REMOVEDIR)?)
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(dir: OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether it is a directory.
pub(crate) fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// The parts of a path, last first; absolute or not makes no difference.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(part).collect()
}

/// A path from bytes.
pub(crate) fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_never_lead_outside() {
        let dir = tempfile::tempdir().expect("temp dir");
        let top = dir.path();
        fs::create_dir_all(top.join("a/b")).expect("dir");
        symlink("/etc", top.join("abs")).expect("link");
        symlink("../../../..", top.join("a/up")).expect("link");
        symlink("b/missing", top.join("a/dangling")).expect("link");
        symlink("loop", top.join("loop")).expect("link");
        symlink("/a", top.join("in")).expect("link");
        let tree = Tree::open(top).expect("tree");
        let resolve = |path: &str| tree.resolve(Path::new(path)).map(|p| p.to_string_lossy().into_owned());
        assert_eq!(resolve("abs/passwd").expect("resolves"), "etc/passwd");
        assert_eq!(resolve("a/up/etc").expect("resolves"), "etc");
        assert_eq!(resolve("a/dangling/x").expect("resolves"), "a/b/missing/x");
        assert_eq!(resolve("in/b/../..").expect("resolves"), ".");
        assert_eq!(resolve("../../x").expect("resolves"), "x");
        assert_eq!(resolve("/").expect("resolves"), ".");
        assert_eq!(resolve("loop/x").expect_err("loops").raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        assert_eq!(tree.resolve_parent(Path::new("in/up")).expect("resolves"), Path::new("a/up"));
    }

    #[test]
    fn trees_are_removed_without_following_links() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::create_dir_all(dir.path().join("tree/a/b")).expect("dir");
        fs::create_dir(dir.path().join("other")).expect("dir");
        fs::write(dir.path().join("other/keep"), "x").expect("file");
        symlink("../../other", dir.path().join("tree/a/link")).expect("link");
        let tree = Tree::open(&dir.path().join("tree")).expect("tree");
        tree.remove(Path::new("a")).expect("removed");
        assert!(!dir.path().join("tree/a").exists());
        assert!(dir.path().join("other/keep").exists());
    }
}
