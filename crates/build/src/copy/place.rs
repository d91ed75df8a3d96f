//! Writing what was selected into the new layer.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};

use super::{Item, ModeChange, Node, SourceTree, io_error, names_directory};
use crate::Cancel;
use crate::error::CopyError;
use crate::tree::{self, Owner, Tree, path_of};

/// Files up to this size pass through memory: two calls of the kernel instead of four.
const SMALL: usize = 32 << 10;
/// So many files at least are worth a second thread, and as many are taken at a time: about a directory's, so that two
/// threads seldom wait for the same one.
const SHARE: usize = 128;
const MAX_THREADS: usize = 4;

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
    /// Of a folder's nodes those that are copied; the others are there as they are in the source. `None` for all.
    pub(crate) only: Option<&'a [bool]>,
    pub(crate) cancel: &'a Cancel,
}

/// Copies an item to the destination. True if every file has come to where it is in the source, and nothing that was
/// there before is hidden but files by files: then the new layer shows all of the copy by itself.
pub(crate) fn place(
    destination: &Destination<'_>,
    placement: &Placement<'_>,
    source: &SourceTree<'_>,
    item: &Item,
) -> Result<bool, CopyError> {
    let tree = destination.tree;
    let dest = Path::new(destination.path);
    let failed = |operation| io_error(operation, dest);
    let mut target = tree.resolve(dest).map_err(failed("resolve"))?;
    if let Some(parents) = &item.parents {
        let name = if item.is_dir() { parents.join(&item.name) } else { parents.clone() };
        target = tree.resolve(&target.join(name)).map_err(failed("resolve"))?;
    }
    let is_dir = tree.is_dir(&target).map_err(failed("stat"))?;
    let copier = Copier { tree, placement, source, item, plain: AtomicBool::new(true) };
    if item.is_dir() {
        if !is_dir && tree.find(&target).map_err(failed("stat"))?.is_some() {
            return Err(CopyError::NotADirectory(destination.path.to_owned()));
        }
        copier.contents(&target, !is_dir)?;
        return Ok(copier.plain.into_inner());
    }
    if is_dir || item.parents.is_some() || names_directory(destination.path) {
        target = target.join(&item.name);
    }
    copier.single(&target)?;
    Ok(copier.plain.into_inner())
}

struct Copier<'a> {
    tree: &'a Tree,
    placement: &'a Placement<'a>,
    source: &'a SourceTree<'a>,
    item: &'a Item,
    plain: AtomicBool,
}

/// Copies of files with several names, by inode.
type Links = HashMap<(u64, u64), PathBuf>;

/// A file that can be copied at any time, and where to: into a directory of this copy's own, where nothing else is of
/// its name.
type Later<'a> = (&'a Node, PathBuf);

impl Copier<'_> {
    fn make_dirs(&self, dir: &Path) -> Result<(), CopyError> {
        let owner = self.placement.owner.unwrap_or_default();
        self.tree.make_dirs(dir, owner).map(|_| ()).map_err(io_error("create", dir))
    }

    fn single(&self, target: &Path) -> Result<(), CopyError> {
        let Some(node) = self.item.nodes.first() else { return Ok(()) };
        self.make_dirs(target.parent().unwrap_or(Path::new(".")))?;
        self.node(&mut Links::new(), node, target)
    }

    /// Copies what is in a directory into `target`, which is `fresh` if nothing is there yet.
    fn contents(&self, target: &Path, fresh: bool) -> Result<(), CopyError> {
        self.make_dirs(target)?;
        let mut links = Links::new();
        let mut dirs: Vec<(PathBuf, &Node)> = Vec::new();
        // Directories of the source that are links to directories at the destination.
        let mut moved: HashMap<PathBuf, PathBuf> = HashMap::new();
        let mut own: HashSet<PathBuf> = fresh.then(|| target.to_owned()).into_iter().collect();
        let mut later: Vec<Later<'_>> = Vec::new();
        for (place, node) in self.item.nodes.iter().enumerate().skip(1) {
            if self.placement.only.is_some_and(|only| only.get(place) != Some(&true)) {
                continue;
            }
            if self.placement.cancel.is_cancelled() {
                return Err(CopyError::Cancelled);
            }
            let parent = node.path.parent().unwrap_or(Path::new(""));
            let parent = moved.get(parent).cloned().unwrap_or_else(|| target.join(parent));
            let mut to = parent.join(node.path.file_name().unwrap_or_default());
            if node.kind() == FileType::Directory {
                let made;
                (to, made) = self.directory(node, &to)?;
                if made {
                    own.insert(to.clone());
                } else if own.remove(&to) {
                    // Two of the source's lead here by links: the one that comes last counts.
                    self.files(&std::mem::take(&mut later))?;
                }
                moved.insert(node.path.clone(), to.clone());
                dirs.push((to, node));
            } else if own.contains(&parent) {
                match node.kind() {
                    FileType::RegularFile if node.stat.st_nlink == 1 => later.push((node, to)),
                    _ => self.make(&mut links, node, &to)?,
                }
            } else {
                if !self.tree.is_dir(&parent).map_err(io_error("stat", &parent))? {
                    self.make_dirs(&parent)?;
                }
                self.node(&mut links, node, &to)?;
            }
        }
        self.files(&later)?;
        for (dir, node) in dirs.iter().rev() {
            self.set_times(dir, node)?;
        }
        Ok(())
    }

    /// Copies files on several threads; an error is that of the first one that fails.
    fn files(&self, all: &[Later<'_>]) -> Result<(), CopyError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = all.len().div_ceil(SHARE).min(cores).min(MAX_THREADS);
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<(usize, CopyError)>> = Mutex::new(None);
        let work = || {
            let mut buffer = vec![0; SMALL];
            loop {
                let first = next.fetch_add(SHARE, Ordering::Relaxed);
                for (n, (node, to)) in all.iter().enumerate().skip(first).take(SHARE) {
                    let done = match self.placement.cancel.is_cancelled() {
                        true => Err(CopyError::Cancelled),
                        false => self.file(node, to, &mut buffer),
                    };
                    if let Err(error) = done {
                        // Nobody begins anything more.
                        next.store(all.len(), Ordering::Relaxed);
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        if failed.as_ref().is_none_or(|(before, _)| n < *before) {
                            *failed = Some((n, error));
                        }
                        return;
                    }
                }
                if first >= all.len() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // Where there is no thread to be had, this one does it all.
                let _ = std::thread::Builder::new().name("copy".into()).spawn_scoped(scope, work);
            }
            work();
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Makes a directory, or takes the one that is there, also through a link; gives where it is, and whether it was
    /// made.
    fn directory(&self, node: &Node, to: &Path) -> Result<(PathBuf, bool), CopyError> {
        let resolved = self.tree.resolve(to).map_err(io_error("resolve", to))?;
        let found = self.tree.is_dir(&resolved).map_err(io_error("stat", to))?;
        if resolved != to || !found && self.tree.find(to).map_err(io_error("stat", to))?.is_some() {
            self.plain.store(false, Ordering::Relaxed);
        }
        let to = if found {
            resolved
        } else {
            self.tree.remove(to).map_err(io_error("replace", to))?;
            self.make_dirs(to)?;
            to.to_owned()
        };
        self.tree.chown(&to, self.owner(node)).map_err(io_error("chown", &to))?;
        rustix::fs::chmodat(self.tree.fd(), &to, self.mode(node), AtFlags::empty())
            .map_err(|errno| io_error("chmod", &to)(errno.into()))?;
        Ok((to, !found))
    }

    /// Copies a file, link or special file, replacing what is there.
    fn node(&self, links: &mut Links, node: &Node, to: &Path) -> Result<(), CopyError> {
        if self.tree.find(to).map_err(io_error("stat", to))?.is_some() {
            self.tree.remove(to).map_err(io_error("replace", to))?;
        }
        self.make(links, node, to)
    }

    /// Copies a file, link or special file to where nothing is.
    fn make(&self, links: &mut Links, node: &Node, to: &Path) -> Result<(), CopyError> {
        match node.kind() {
            FileType::RegularFile => {
                if node.stat.st_nlink > 1 {
                    let inode = (node.stat.st_dev, node.stat.st_ino);
                    if let Some(first) = links.get(&inode) {
                        return rustix::fs::linkat(
                            self.tree.fd(),
                            first,
                            self.tree.fd(),
                            to,
                            AtFlags::empty(),
                        )
                        .map_err(|errno| io_error("link", to)(errno.into()));
                    }
                    links.insert(inode, to.to_owned());
                }
                self.file(node, to, &mut vec![0; SMALL])
            }
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

    /// Copies a file; the buffer is for its content.
    fn file(&self, node: &Node, to: &Path, buffer: &mut [u8]) -> Result<(), CopyError> {
        let path = self.item.path_of(node);
        let from = self.source.tree.open_file(&path).map_err(io_error("open", &path))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file =
            self.tree.open_at(to, flags, Mode::from_raw_mode(0o600)).map_err(io_error("create", to))?;
        let file = File::from(file);
        let copied = match usize::try_from(node.stat.st_size) {
            Ok(size) if size < buffer.len() => copy_small(&from, &file, size, buffer),
            _ => copy_content(&from, &file),
        };
        copied.map_err(io_error("write", to))?;
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

/// Copies the bytes of a file that fits the buffer, unless it has grown.
fn copy_small(mut from: &File, mut to: &File, size: usize, buffer: &mut [u8]) -> io::Result<()> {
    let read = from.read(buffer)?;
    to.write_all(&buffer[..read])?;
    if read == size { Ok(()) } else { io::copy(&mut from, &mut to).map(drop) }
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
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(dir.as_fd(), name.as_bytes(), flags, Mode::from_raw_mode(0o600))?;
    let mut file = File::from(file);
    file.write_all(content)?;
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
}
