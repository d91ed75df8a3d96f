//! Writing the entries of a stranger's archive into a tree, which they cannot leave.
//!
//! Parents of an entry are resolved inside the tree, names that lead out are refused, a file replaces a link
//! instead of being written through it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use sha2::{Digest as _, Sha256};

use crate::tarball::{Entry, Kind, TarError, Tarball};
use crate::tree::{self, Owner, Tree, path_of};

/// How deep directories may nest: deeper ones cannot be removed without many open files.
const MAX_DEPTH: usize = 400;

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is broken.
    #[error("Error processing tar file: {0}")]
    Tar(TarError),
    /// An entry whose name leads out.
    #[error("Error processing tar file: {0:?} is outside of the build context")]
    Outside(String),
    /// A name that cannot be a file's.
    #[error("Error processing tar file: invalid name {0:?}")]
    Name(String),
    /// Directories nest too deeply.
    #[error("Error processing tar file: {0:?} nests too deeply")]
    TooDeep(String),
    /// A device where there must not be any.
    #[error("Error processing tar file: {0:?} is a device; devices are not allowed in a build context")]
    Device(String),
    /// A hard link to something that is not there.
    #[error("Error processing tar file: hard link {path:?} to {target:?}: {source}")]
    Hardlink {
        /// The link.
        path: String,
        /// What it shall be linked to.
        target: String,
        /// Why it cannot.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("unpacking: {operation} {path}: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The entry.
        path: String,
        /// What failed.
        source: io::Error,
    },
}

impl UnpackError {
    pub(crate) fn read(error: io::Error) -> Self {
        UnpackError::Tar(TarError::Read(error))
    }
}

/// Whom unpacked files belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owners {
    /// To who unpacks.
    Ignored,
    /// To whom the archive says.
    Kept,
    /// All to one.
    Fixed(Owner),
}

/// What is unpacked where.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Directory of the tree that is the archive's top.
    pub(crate) base: PathBuf,
    pub(crate) owners: Owners,
    /// Whether devices are made.
    pub(crate) devices: bool,
}

impl Policy {
    fn owner(&self, entry: &Entry) -> Option<Owner> {
        match self.owners {
            Owners::Ignored => None,
            Owners::Kept => Some(Owner { uid: entry.uid, gid: entry.gid }),
            Owners::Fixed(owner) => Some(owner),
        }
    }
}

/// Writes the entries of one archive.
pub(crate) struct Unpacker<'a> {
    tree: &'a Tree,
    policy: Policy,
    /// The directory of the entry before, as named, without links, and open: entries come folder by folder.
    parent: Option<(PathBuf, PathBuf, OwnedFd)>,
    /// Directories whose times are set at the end, when nothing changes them any more.
    dirs: Vec<(PathBuf, Timestamps)>,
    buffer: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    pub(crate) fn new(tree: &'a Tree, policy: Policy) -> Self {
        Unpacker { tree, policy, parent: None, dirs: Vec::new(), buffer: vec![0; 64 * 1024] }
    }

    /// Makes one entry; for a file, gives its inode and the digest of its content.
    pub(crate) fn entry<R: Read>(
        &mut self,
        entry: &Entry,
        tarball: &mut Tarball<R>,
    ) -> Result<Option<(u64, [u8; 32])>, UnpackError> {
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        let path = inner_path(&entry.path, &shown)?;
        let Some(name) = path.file_name() else {
            // The top itself: only its times and mode count.
            return Ok(None);
        };
        if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) && !self.policy.devices {
            return Err(UnpackError::Device(shown));
        }
        let failed = |operation| {
            let path = shown.clone();
            move |source: io::Error| UnpackError::File { operation, path, source }
        };
        let parent = self.parent(path.parent().unwrap_or(Path::new("")), &shown)?;
        let target = parent.join(name);
        self.clear_way(&target, entry.kind == Kind::Dir).map_err(failed("replace"))?;
        let dir = match &self.parent {
            Some((_, _, dir)) => dir,
            None => return Err(failed("open")(io::ErrorKind::NotFound.into())),
        };
        let times = times_of(entry.mtime);
        match entry.kind {
            Kind::File => {
                let file = rustix::fs::openat(
                    dir,
                    name,
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::from_raw_mode(0o600),
                );
                let file = File::from(file.map_err(|errno| failed("create")(errno.into()))?);
                let hash = write_content(&file, entry, tarball, &mut self.buffer, &failed)?;
                let stat = rustix::fs::fstat(&file).map_err(|errno| failed("stat")(errno.into()))?;
                if let Some(owner) = self.policy.owner(entry) {
                    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
                    rustix::fs::fchown(&file, Some(uid), Some(gid))
                        .map_err(|errno| failed("chown")(errno.into()))?;
                }
                rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode))
                    .map_err(|errno| failed("chmod")(errno.into()))?;
                keep_capability(&file, entry);
                rustix::fs::futimens(&file, &times).map_err(|errno| failed("set times of")(errno.into()))?;
                return Ok(Some((stat.st_ino, hash)));
            }
            Kind::Dir => {
                match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(errno) => return Err(failed("create")(errno.into())),
                }
                rustix::fs::chmodat(dir, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
                    .map_err(|errno| failed("chmod")(errno.into()))?;
                self.dirs.push((target.clone(), times));
            }
            Kind::Symlink => {
                rustix::fs::symlinkat(path_of(&entry.link), dir, name)
                    .map_err(|errno| failed("create")(errno.into()))?;
                rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|errno| failed("set times of")(errno.into()))?;
            }
            Kind::Hardlink => self.hardlink(entry, &target, &shown)?,
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {
                let kind = match entry.kind {
                    Kind::CharDevice => FileType::CharacterDevice,
                    Kind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(entry.mode), entry.device)
                    .map_err(|errno| failed("create")(errno.into()))?;
            }
        }
        if let Some(owner) = self.policy.owner(entry).filter(|_| entry.kind != Kind::Hardlink) {
            self.tree.chown(&target, owner).map_err(failed("chown"))?;
            // The owner's change takes set-user-id off.
            if !matches!(entry.kind, Kind::Symlink) {
                rustix::fs::chmodat(dir, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
                    .map_err(|errno| failed("chmod")(errno.into()))?;
            }
        }
        Ok(None)
    }

    fn hardlink(&self, entry: &Entry, target: &Path, shown: &str) -> Result<(), UnpackError> {
        let link = String::from_utf8_lossy(&entry.link).into_owned();
        let to = self.policy.base.join(inner_path(&entry.link, &link)?);
        let failed = |source| UnpackError::Hardlink { path: shown.to_owned(), target: link.clone(), source };
        let to = self.tree.resolve_parent(&to).map_err(failed)?;
        rustix::fs::linkat(self.tree.fd(), &to, self.tree.fd(), target, AtFlags::empty())
            .map_err(|errno| failed(errno.into()))
    }

    /// Opens the directory of an entry, making what is missing of it; gives its path without links.
    fn parent(&mut self, path: &Path, shown: &str) -> Result<PathBuf, UnpackError> {
        if let Some((known, resolved, _)) = &self.parent
            && known == path
        {
            return Ok(resolved.clone());
        }
        let failed = |source| UnpackError::File { operation: "create", path: shown.to_owned(), source };
        let resolved = self.tree.resolve(&self.policy.base.join(path)).map_err(failed)?;
        if resolved.components().count() > MAX_DEPTH {
            return Err(UnpackError::TooDeep(shown.to_owned()));
        }
        if self.tree.find(&resolved).map_err(failed)?.is_some_and(|stat| !tree::is_dir(&stat)) {
            self.tree.remove(&resolved).map_err(failed)?;
        }
        self.tree.make_dirs(&resolved, tree::Owner::default()).map_err(failed)?;
        let dir = self.tree.open_dir(&resolved).map_err(failed)?;
        let resolved = if resolved == Path::new(".") { PathBuf::new() } else { resolved };
        self.parent = Some((path.to_owned(), resolved.clone(), dir));
        Ok(resolved)
    }

    /// Removes what is in the way of an entry. A directory stays if a directory comes.
    fn clear_way(&mut self, target: &Path, dir_comes: bool) -> io::Result<()> {
        if let Some(stat) = self.tree.find(target)?
            && !(dir_comes && tree::is_dir(&stat))
        {
            self.tree.remove(target)?;
            // It may have been, or have led to, the directory that is open.
            self.parent = self.parent.take().filter(|(_, parent, _)| target.parent() == Some(parent));
            // The directories noted below it are gone with it.
            self.dirs.retain(|(dir, _)| !dir.starts_with(target));
        }
        Ok(())
    }

    pub(crate) fn finish_dirs(&self) -> Result<(), UnpackError> {
        for (dir, times) in self.dirs.iter().rev() {
            let result = rustix::fs::utimensat(self.tree.fd(), dir, times, AtFlags::SYMLINK_NOFOLLOW);
            result.map_err(|errno| UnpackError::File {
                operation: "set times of",
                path: dir.display().to_string(),
                source: errno.into(),
            })?;
        }
        Ok(())
    }
}

fn write_content<R: Read, F: FnOnce(io::Error) -> UnpackError>(
    mut file: &File,
    entry: &Entry,
    tarball: &mut Tarball<R>,
    buffer: &mut [u8],
    failed: &dyn Fn(&'static str) -> F,
) -> Result<[u8; 32], UnpackError> {
    let mut hasher = Sha256::new();
    let mut content = tarball.content();
    let mut left = entry.size;
    while left > 0 {
        let got = content.read(buffer).map_err(UnpackError::read)?;
        if got == 0 {
            return Err(UnpackError::Tar(TarError::Truncated));
        }
        hasher.update(&buffer[..got]);
        file.write_all(&buffer[..got]).map_err(failed("write"))?;
        left -= got as u64;
    }
    Ok(hasher.finalize().into())
}

/// File capabilities are the one attribute that clients send and images need. Without the privilege to set them
/// the file is still of use.
fn keep_capability(file: &File, entry: &Entry) {
    const NAME: &str = "security.capability";
    if let Some(value) = entry.xattrs.get(NAME)
        && let Err(error) = rustix::fs::fsetxattr(file, NAME, value, rustix::fs::XattrFlags::empty())
    {
        tracing::debug!(%error, "cannot keep the capabilities of a file of the build context");
    }
}

/// A name in an archive as a path below the top, without `.`.
fn inner_path(name: &[u8], shown: &str) -> Result<PathBuf, UnpackError> {
    if name.contains(&0) {
        return Err(UnpackError::Name(shown.to_owned()));
    }
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if !path.pop() => return Err(UnpackError::Outside(shown.to_owned())),
            b".." => {}
            part => path.push(path_of(part)),
        }
    }
    Ok(path)
}

pub(crate) fn times_of((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
