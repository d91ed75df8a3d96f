//! Writing what was selected into the new layer.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};

use super::{Item, ModeChange, Node, SourceTree, io_error, names_directory};
use crate::Cancel;
use crate::error::CopyError;
use crate::tree::{self, Owner, Tree, path_of};

/// Where items go.
pub(crate) struct Destination<'a> {
    pub(crate) tree: &'a Tree,
    /// Absolute path in the image; its form says whether it has to be a directory.
    pub(crate) path: &'a str,
}

/// How items are written.
pub(crate) struct Placement<'a> {
    /// Owner of what is copied; `None` keeps the source's.
    pub(crate) owner: Option<Owner>,
    pub(crate) mode: Option<&'a ModeChange>,
    pub(crate) cancel: &'a Cancel,
}

/// Copies an item to the destination.
pub(crate) fn place(
    destination: &Destination<'_>,
    placement: &Placement<'_>,
    source: &SourceTree<'_>,
    item: &Item,
) -> Result<(), CopyError> {
    let tree = destination.tree;
    let dest = Path::new(destination.path);
    let failed = |operation| io_error(operation, dest);
    let mut target = tree.resolve(dest).map_err(failed("resolve"))?;
    if let Some(parents) = &item.parents {
        let name = if item.is_dir() { parents.join(&item.name) } else { parents.clone() };
        target = tree.resolve(&target.join(name)).map_err(failed("resolve"))?;
    }
    let is_dir = tree.is_dir(&target).map_err(failed("stat"))?;
    let copier = Copier { tree, placement, source, links: HashMap::new() };
    if item.is_dir() {
        if !is_dir && tree.find(&target).map_err(failed("stat"))?.is_some() {
            return Err(CopyError::NotADirectory(destination.path.to_owned()));
        }
        return copier.contents(item, &target);
    }
    if is_dir || item.parents.is_some() || names_directory(destination.path) {
        target = target.join(&item.name);
    }
    copier.single(item, &target)
}

struct Copier<'a> {
    tree: &'a Tree,
    placement: &'a Placement<'a>,
    source: &'a SourceTree<'a>,
    /// Copies of files with several names, by inode.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copier<'_> {
    fn make_dirs(&self, dir: &Path) -> Result<(), CopyError> {
        let owner = self.placement.owner.unwrap_or_default();
        self.tree.make_dirs(dir, owner).map(|_| ()).map_err(io_error("create", dir))
    }

    fn single(mut self, item: &Item, target: &Path) -> Result<(), CopyError> {
        let Some(node) = item.nodes.first() else { return Ok(()) };
        self.make_dirs(target.parent().unwrap_or(Path::new(".")))?;
        self.node(item, node, target)
    }

    /// Copies what is in a directory into `target`.
    fn contents(mut self, item: &Item, target: &Path) -> Result<(), CopyError> {
        self.make_dirs(target)?;
        let mut dirs: Vec<(PathBuf, &Node)> = Vec::new();
        // Directories of the source that are links to directories at the destination.
        let mut moved: HashMap<PathBuf, PathBuf> = HashMap::new();
        for node in item.nodes.iter().skip(1) {
            if self.placement.cancel.is_cancelled() {
                return Err(CopyError::Cancelled);
            }
            let parent = node.path.parent().unwrap_or(Path::new(""));
            let parent = moved.get(parent).cloned().unwrap_or_else(|| target.join(parent));
            let mut to = parent.join(node.path.file_name().unwrap_or_default());
            if node.kind() == FileType::Directory {
                to = self.directory(node, &to)?;
                moved.insert(node.path.clone(), to.clone());
                dirs.push((to, node));
            } else {
                if !self.tree.is_dir(&parent).map_err(io_error("stat", &parent))? {
                    self.make_dirs(&parent)?;
                }
                self.node(item, node, &to)?;
            }
        }
        for (dir, node) in dirs.iter().rev() {
            self.set_times(dir, node)?;
        }
        Ok(())
    }

    /// Makes a directory, or takes the one that is there, also through a link; gives where it is.
    fn directory(&self, node: &Node, to: &Path) -> Result<PathBuf, CopyError> {
        let resolved = self.tree.resolve(to).map_err(io_error("resolve", to))?;
        let to = if self.tree.is_dir(&resolved).map_err(io_error("stat", to))? {
            resolved
        } else {
            self.tree.remove(to).map_err(io_error("replace", to))?;
            self.make_dirs(to)?;
            to.to_owned()
        };
        self.tree.chown(&to, self.owner(node)).map_err(io_error("chown", &to))?;
        rustix::fs::chmodat(self.tree.fd(), &to, self.mode(node), AtFlags::empty())
            .map_err(|errno| io_error("chmod", &to)(errno.into()))?;
        Ok(to)
    }

    /// Copies a file, link or special file, replacing what is there.
    fn node(&mut self, item: &Item, node: &Node, to: &Path) -> Result<(), CopyError> {
        if self.tree.find(to).map_err(io_error("stat", to))?.is_some() {
            self.tree.remove(to).map_err(io_error("replace", to))?;
        }
        match node.kind() {
            FileType::RegularFile => self.file(item, node, to),
            FileType::Symlink => {
                let target = path_of(node.link.as_deref().unwrap_or_default());
                rustix::fs::symlinkat(target, self.tree.fd(), to)
                    .map_err(|errno| io_error("create", to)(errno.into()))?;
                self.tree.chown(to, self.owner(node)).map_err(io_error("chown", to))?;
                self.set_times(to, node)
            }
            kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => {
                rustix::fs::mknodat(self.tree.fd(), to, kind, self.mode(node), node.stat.st_rdev)
                    .map_err(|errno| io_error("create", to)(errno.into()))?;
                self.tree.chown(to, self.owner(node)).map_err(io_error("chown", to))?;
                rustix::fs::chmodat(self.tree.fd(), to, self.mode(node), AtFlags::empty())
                    .map_err(|errno| io_error("chmod", to)(errno.into()))?;
                self.set_times(to, node)
            }
            _ => Ok(()),
        }
    }

    fn file(&mut self, item: &Item, node: &Node, to: &Path) -> Result<(), CopyError> {
        let inode = (node.stat.st_dev, node.stat.st_ino);
        if node.stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&inode) {
                return rustix::fs::linkat(self.tree.fd(), first, self.tree.fd(), to, AtFlags::empty())
                    .map_err(|errno| io_error("link", to)(errno.into()));
            }
            self.links.insert(inode, to.to_owned());
        }
        let path = item.path_of(node);
        let from = self.source.tree.open_file(&path).map_err(io_error("open", &path))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file =
            self.tree.open_at(to, flags, Mode::from_raw_mode(0o600)).map_err(io_error("create", to))?;
        let file = File::from(file);
        copy_content(&from, &file).map_err(io_error("write", to))?;
        let owner = self.owner(node);
        let (uid, gid) = (rustix::fs::Uid::from_raw(owner.uid), rustix::fs::Gid::from_raw(owner.gid));
        rustix::fs::fchown(&file, Some(uid), Some(gid))
            .map_err(|errno| io_error("chown", to)(errno.into()))?;
        rustix::fs::fchmod(&file, self.mode(node)).map_err(|errno| io_error("chmod", to)(errno.into()))?;
        copy_capability(&from, &file).map_err(io_error("set capabilities of", to))?;
        rustix::fs::futimens(&file, &times(node)).map_err(|errno| io_error("set times of", to)(errno.into()))
    }

    fn owner(&self, node: &Node) -> Owner {
        self.placement.owner.unwrap_or(Owner { uid: node.stat.st_uid, gid: node.stat.st_gid })
    }

    fn mode(&self, node: &Node) -> Mode {
        let mode = node.mode();
        let changed = self.placement.mode.map(|change| change.apply(mode, tree::is_dir(&node.stat)));
        Mode::from_raw_mode(changed.unwrap_or(mode))
    }

    fn set_times(&self, path: &Path, node: &Node) -> Result<(), CopyError> {
        rustix::fs::utimensat(self.tree.fd(), path, &times(node), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| io_error("set times of", path)(errno.into()))
    }
}

fn times(node: &Node) -> Timestamps {
    let time = Timespec { tv_sec: node.stat.st_mtime, tv_nsec: node.stat.st_mtime_nsec as _ };
    Timestamps { last_access: time, last_modification: time }
}

/// Copies a file's bytes in the kernel: shared where the file system can, without a detour through memory
/// elsewhere.
pub(crate) fn copy_content(from: &File, to: &File) -> io::Result<()> {
    use rustix::io::Errno;
    let mut any = false;
    loop {
        match rustix::fs::copy_file_range(from, None, to, None, 1 << 30) {
            Ok(0) if any => return Ok(()),
            // A file of no length, or one whose length the kernel does not tell.
            Ok(0) => break,
            Ok(_) => any = true,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if !any => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    let (mut from, mut to) = (from, to);
    io::copy(&mut from, &mut to).map(|_| ())
}

const CAPABILITY: &str = "security.capability";

fn copy_capability(from: &File, to: &File) -> io::Result<()> {
    let mut value = [0; 256];
    match rustix::fs::fgetxattr(from, CAPABILITY, &mut value) {
        Ok(length) => {
            let flags = rustix::fs::XattrFlags::empty();
            Ok(rustix::fs::fsetxattr(to, CAPABILITY, &value[..length], flags)?)
        }
        // None, or a file system without attributes.
        Err(_) => Ok(()),
    }
}

/// Makes a file with this content at a resolved path, as the heredocs of `COPY` ask for.
pub(crate) fn write_file(dir: &OwnedFd, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
    use std::io::Write;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(dir.as_fd(), name.as_bytes(), flags, Mode::from_raw_mode(0o600))?;
    let mut file = File::from(file);
    file.write_all(content)?;
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
}
