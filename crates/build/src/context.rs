//! The build context: the directory that `COPY` and `ADD` read from.
//!
//! It comes as a tar from a client that nobody trusts, and lives in a temporary directory that goes away with the
//! [`ContextDir`]. Unpacking never leaves that directory: parents of an entry are resolved inside it, entries
//! with `..` and devices are refused, links are kept as links and resolved inside when they are read. While a
//! file is written its content is hashed, so that a cached `COPY` need not read it again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use sha2::{Digest as _, Sha256};

use crate::compression::decompressed;
use crate::dockerignore::{FolderMatch, Patterns};
use crate::tarball::{Entry, Kind, TarError, Tarball};
use crate::tree::{self, Tree, path_of};

/// How deep directories may nest: deeper ones cannot be removed without many open files.
const MAX_DEPTH: usize = 400;

/// An unpacked build context. Dropping it deletes the directory.
#[derive(Debug)]
pub struct ContextDir {
    path: PathBuf,
    /// Content digests by inode.
    hashes: HashMap<u64, [u8; 32]>,
}

impl ContextDir {
    /// Makes an empty context: a new directory inside `parent`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn create(parent: &Path) -> Result<ContextDir, ContextError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(parent)
            .map_err(|source| ContextError::Create { path: parent.to_owned(), source })?;
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("context-{}-{n}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(ContextDir { path, hashes: HashMap::new() }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(ContextError::Create { path, source }),
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The digest of the content of the file with this inode, if it was hashed while it was unpacked.
    pub(crate) fn hash_of(&self, inode: u64) -> Option<[u8; 32]> {
        self.hashes.get(&inode).copied()
    }

    /// Reads a file of the context, following links inside it; `None` if it is not there.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ContextError> {
        let failed = |source| ContextError::File { operation: "read", path: path.to_owned(), source };
        let tree = Tree::open(&self.path).map_err(failed)?;
        let resolved = tree.resolve(Path::new(path)).map_err(failed)?;
        if tree.find(&resolved).map_err(failed)?.is_none() {
            return Ok(None);
        }
        tree.read(&resolved, MAX_DOCKERFILE).map(Some).map_err(failed)
    }

    /// Removes what `patterns` ignore.
    pub(crate) fn remove_ignored(&self, patterns: &Patterns) -> Result<(), ContextError> {
        let tree = Tree::open(&self.path).map_err(|source| ContextError::File {
            operation: "open",
            path: ".".to_owned(),
            source,
        })?;
        filter(&tree, Path::new(""), patterns, &FolderMatch::default())?;
        Ok(())
    }
}

/// The most that a Dockerfile or an ignore file may hold.
const MAX_DOCKERFILE: u64 = 16 << 20;

/// Removes ignored entries below `folder`; says whether anything is left in it.
fn filter(
    tree: &Tree,
    folder: &Path,
    patterns: &Patterns,
    matched: &FolderMatch,
) -> Result<bool, ContextError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| ContextError::File { operation: "filter", path, source }
    };
    let dir = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let names = tree.open_dir(dir).and_then(tree::names).map_err(failed(folder))?;
    let mut any_left = false;
    for name in names {
        let path = folder.join(name);
        let (ignored, found) = patterns.ignores_within(&path.to_string_lossy(), matched);
        let is_dir = tree.is_dir(&path).map_err(failed(&path))?;
        let enter = is_dir && (!ignored || patterns.may_take_back_in(&path.to_string_lossy()));
        let kept = (enter && filter(tree, &path, patterns, &found)?) || !ignored;
        if !kept {
            tree.remove(&path).map_err(failed(&path))?;
        }
        any_left |= kept;
    }
    Ok(any_left)
}

impl Drop for ContextDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the build context");
        }
    }
}

/// What a context may at most hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of file content, after decompression.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { entries: 10_000_000, bytes: 256 << 30 }
    }
}

/// Why a context could not be unpacked. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The temporary directory could not be made.
    #[error("cannot create the directory for the build context, {path}: {source}")]
    Create {
        /// The directory.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The archive is broken.
    #[error("Error processing tar file: {0}")]
    Tar(#[from] TarError),
    /// An entry whose name leads out of the context.
    #[error("Error processing tar file: {0:?} is outside of the build context")]
    Outside(String),
    /// A name that cannot be a file's.
    #[error("Error processing tar file: invalid name {0:?}")]
    Name(String),
    /// Directories nest too deeply.
    #[error("Error processing tar file: {0:?} nests too deeply")]
    TooDeep(String),
    /// A device.
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
    /// Too many entries.
    #[error("the build context has more than {0} entries")]
    TooManyEntries(u64),
    /// Too much content.
    #[error("the build context is larger than {0} bytes")]
    TooLarge(u64),
    /// A file could not be written or read.
    #[error("build context: {operation} {path}: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// Path in the context.
        path: String,
        /// What failed.
        source: io::Error,
    },
}

impl ContextError {
    /// Whether the disk is to blame, not the client.
    pub fn is_system(&self) -> bool {
        matches!(self, ContextError::Create { .. } | ContextError::File { .. })
    }
}

/// Unpacks a tar, plain or compressed, into a new directory inside `parent`.
///
/// # Errors
/// When the archive is broken or hostile, exceeds `limits`, or does not fit onto the disk.
pub fn unpack(reader: impl Read + Send, parent: &Path, limits: &Limits) -> Result<ContextDir, ContextError> {
    let mut context = ContextDir::create(parent)?;
    let tree = Tree::open(&context.path)
        .map_err(|source| ContextError::Create { path: context.path.clone(), source })?;
    let reader = decompressed(reader).map_err(TarError::Read)?;
    let mut unpacker = Unpacker { tree: &tree, parent: None, dirs: Vec::new(), buffer: vec![0; 256 * 1024] };
    let mut tarball = Tarball::new(reader);
    let (mut entries, mut bytes) = (0, 0_u64);
    while let Some(entry) = tarball.next_entry()? {
        entries += 1;
        bytes = bytes.saturating_add(entry.size);
        if entries > limits.entries {
            return Err(ContextError::TooManyEntries(limits.entries));
        }
        if bytes > limits.bytes {
            return Err(ContextError::TooLarge(limits.bytes));
        }
        if let Some((inode, hash)) = unpacker.entry(&entry, &mut tarball)? {
            context.hashes.insert(inode, hash);
        }
    }
    unpacker.finish_dirs()?;
    Ok(context)
}

struct Unpacker<'a> {
    tree: &'a Tree,
    /// The directory of the entry before: entries come folder by folder.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Directories whose times are set at the end, when nothing changes them any more.
    dirs: Vec<(PathBuf, Timestamps)>,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    /// Makes one entry; for a file, gives its inode and the digest of its content.
    fn entry<R: Read>(
        &mut self,
        entry: &Entry,
        tarball: &mut Tarball<R>,
    ) -> Result<Option<(u64, [u8; 32])>, ContextError> {
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        let path = inner_path(&entry.path, &shown)?;
        let Some(name) = path.file_name() else {
            // The top itself: only its times and mode count.
            return Ok(None);
        };
        if entry.kind == Kind::Device {
            return Err(ContextError::Device(shown));
        }
        let failed = |operation| {
            let path = shown.clone();
            move |source: io::Error| ContextError::File { operation, path, source }
        };
        let parent = self.parent(path.parent().unwrap_or(Path::new("")), &shown)?;
        let target = parent.join(name);
        self.clear_way(&target, entry.kind == Kind::Dir).map_err(failed("replace"))?;
        let dir = match &self.parent {
            Some((_, dir)) => dir,
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
                self.dirs.push((target, times));
            }
            Kind::Symlink => {
                rustix::fs::symlinkat(path_of(&entry.link), dir, name)
                    .map_err(|errno| failed("create")(errno.into()))?;
                rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|errno| failed("set times of")(errno.into()))?;
            }
            Kind::Hardlink => self.hardlink(entry, &target, &shown)?,
            Kind::Fifo => {
                rustix::fs::mknodat(
                    dir,
                    name,
                    rustix::fs::FileType::Fifo,
                    Mode::from_raw_mode(entry.mode),
                    0,
                )
                .map_err(|errno| failed("create")(errno.into()))?;
            }
            Kind::Device => {}
        }
        Ok(None)
    }

    fn hardlink(&self, entry: &Entry, target: &Path, shown: &str) -> Result<(), ContextError> {
        let link = String::from_utf8_lossy(&entry.link).into_owned();
        let to = inner_path(&entry.link, &link)?;
        let failed = |source| ContextError::Hardlink { path: shown.to_owned(), target: link.clone(), source };
        let to = self.tree.resolve_parent(&to).map_err(failed)?;
        rustix::fs::linkat(self.tree.fd(), &to, self.tree.fd(), target, AtFlags::empty())
            .map_err(|errno| failed(errno.into()))
    }

    /// Opens the directory of an entry, making what is missing of it; gives its path without links.
    fn parent(&mut self, path: &Path, shown: &str) -> Result<PathBuf, ContextError> {
        if let Some((known, _)) = &self.parent {
            if known == path {
                return Ok(known.clone());
            }
        }
        let failed = |source| ContextError::File { operation: "create", path: shown.to_owned(), source };
        let resolved = self.tree.resolve(path).map_err(failed)?;
        if resolved.components().count() > MAX_DEPTH {
            return Err(ContextError::TooDeep(shown.to_owned()));
        }
        if self.tree.find(&resolved).map_err(failed)?.is_some_and(|stat| !tree::is_dir(&stat)) {
            self.tree.remove(&resolved).map_err(failed)?;
        }
        self.tree.make_dirs(&resolved, tree::Owner::default()).map_err(failed)?;
        let dir = self.tree.open_dir(&resolved).map_err(failed)?;
        let resolved = if resolved == Path::new(".") { PathBuf::new() } else { resolved };
        self.parent = Some((resolved.clone(), dir));
        Ok(resolved)
    }

    /// Removes what is in the way of an entry. A directory stays if a directory comes.
    fn clear_way(&mut self, target: &Path, dir_comes: bool) -> io::Result<()> {
        if let Some(stat) = self.tree.find(target)? {
            if !(dir_comes && tree::is_dir(&stat)) {
                self.tree.remove(target)?;
                // The directories noted below it are gone with it.
                self.dirs.retain(|(dir, _)| !dir.starts_with(target));
            }
        }
        Ok(())
    }

    fn finish_dirs(&self) -> Result<(), ContextError> {
        for (dir, times) in self.dirs.iter().rev() {
            let result = rustix::fs::utimensat(self.tree.fd(), dir, times, AtFlags::SYMLINK_NOFOLLOW);
            result.map_err(|errno| ContextError::File {
                operation: "set times of",
                path: dir.display().to_string(),
                source: errno.into(),
            })?;
        }
        Ok(())
    }
}

fn write_content<R: Read, F: FnOnce(io::Error) -> ContextError>(
    mut file: &File,
    entry: &Entry,
    tarball: &mut Tarball<R>,
    buffer: &mut [u8],
    failed: &dyn Fn(&'static str) -> F,
) -> Result<[u8; 32], ContextError> {
    let mut hasher = Sha256::new();
    let mut content = tarball.content();
    let mut left = entry.size;
    while left > 0 {
        let got = content.read(buffer).map_err(TarError::Read)?;
        if got == 0 {
            return Err(TarError::Truncated.into());
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
    if let Some(value) = entry.xattrs.get(NAME) {
        if let Err(error) = rustix::fs::fsetxattr(file, NAME, value, rustix::fs::XattrFlags::empty()) {
            tracing::debug!(%error, "cannot keep the capabilities of a file of the build context");
        }
    }
}

/// A name in an archive as a path below the top, without `.`.
fn inner_path(name: &[u8], shown: &str) -> Result<PathBuf, ContextError> {
    if name.contains(&0) {
        return Err(ContextError::Name(shown.to_owned()));
    }
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if !path.pop() => return Err(ContextError::Outside(shown.to_owned())),
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

#[cfg(test)]
mod tests;
