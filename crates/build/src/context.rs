//! The build context: the directory that `COPY` and `ADD` read from.
//!
//! It comes as a tar from a client that nobody trusts, and lives in a temporary directory that goes away with the
//! [`ContextDir`], or is kept for the next build from the same folder ([`kept`]). Unpacking never leaves that directory (see [`crate::UnpackError`] for what is refused).
//! While a file is written its content is hashed, so that a cached `COPY` need not read it again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kept::Kept;

use crate::compression::decompressed;
use crate::dockerignore::{FolderMatch, Patterns};
use crate::tarball::Tarball;
use crate::tree::{self, Tree};
use crate::unpack::{Owners, Policy, UnpackError, Unpacker};

/// An unpacked build context. Dropping it deletes the directory, unless a clone or another part of it is left.
#[derive(Clone, Debug)]
pub struct ContextDir {
    path: PathBuf,
    whole: Arc<Whole>,
    /// Content digests by inode.
    hashes: Arc<HashMap<u64, [u8; 32]>>,
}

/// What is deleted in the end, or given back: the directory, or that around it.
#[derive(Debug, Default)]
struct Whole {
    /// None for nothing.
    path: Option<PathBuf>,
    kept: Option<Kept>,
}

impl Whole {
    fn passing(path: PathBuf) -> Self {
        Whole { path: Some(path), kept: None }
    }

    fn kept(path: PathBuf, kept: Kept) -> Self {
        Whole { path: Some(path), kept: Some(kept) }
    }
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
                Ok(()) => {
                    let whole = Arc::new(Whole::passing(path.clone()));
                    return Ok(ContextDir { whole, path, hashes: Arc::default() });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(ContextError::Create { path, source }),
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One of its folders as a context of its own. Links are followed inside of it.
    ///
    /// # Errors
    /// When the folder is not there.
    pub fn part(&self, folder: &str) -> Result<ContextDir, ContextError> {
        let failed = |source| ContextError::File { operation: "open", path: folder.to_owned(), source };
        let tree = Tree::open(&self.path).map_err(failed)?;
        let resolved = tree.resolve(Path::new(folder)).map_err(failed)?;
        if !tree.is_dir(&resolved).map_err(failed)? {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        let path = self.path.join(resolved);
        Ok(ContextDir { path, whole: Arc::clone(&self.whole), hashes: Arc::clone(&self.hashes) })
    }

    /// One of its files or folders alone, under its own name: it is moved there.
    ///
    /// # Errors
    /// When it is not there, or cannot be moved.
    pub fn alone(&self, path: &str, parent: &Path) -> Result<ContextDir, ContextError> {
        let failed = |source| ContextError::File { operation: "open", path: path.to_owned(), source };
        let tree = Tree::open(&self.path).map_err(failed)?;
        let resolved = tree.resolve(Path::new(path)).map_err(failed)?;
        let Some(name) = Path::new(path).file_name() else { return Ok(self.clone()) };
        let moved = ContextDir::create(parent)?;
        fs::rename(self.path.join(&resolved), moved.path.join(name)).map_err(failed)?;
        Ok(ContextDir { hashes: Arc::clone(&self.hashes), ..moved })
    }

    /// What is in one of its files, unpacked; none if that is no archive.
    ///
    /// # Errors
    /// When it cannot be read, or is broken or hostile.
    pub fn unpacked(&self, path: &str, parent: &Path) -> Result<Option<ContextDir>, ContextError> {
        let failed = |source| ContextError::File { operation: "open", path: path.to_owned(), source };
        let tree = Tree::open(&self.path).map_err(failed)?;
        let resolved = tree.resolve(Path::new(path)).map_err(failed)?;
        if tree.is_dir(&resolved).map_err(failed)? {
            return Ok(None);
        }
        let mut file = tree.open_file(&resolved).map_err(failed)?;
        let mut head = Vec::with_capacity(remote::HEAD);
        (&mut file).take(remote::HEAD as u64).read_to_end(&mut head).map_err(failed)?;
        if !remote::is_archive(&head) {
            return Ok(None);
        }
        unpack(io::Cursor::new(head).chain(file), parent, &Limits::default()).map(Some)
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

    /// What is said of a file or folder of the context, links inside it followed; `None` if it is not there.
    ///
    /// # Errors
    /// When the context cannot be read.
    pub fn metadata(&self, path: &str) -> Result<Option<fs::Metadata>, ContextError> {
        let failed = |source| ContextError::File { operation: "lstat", path: path.to_owned(), source };
        let tree = Tree::open(&self.path).map_err(failed)?;
        let resolved = tree.resolve(Path::new(path)).map_err(failed)?;
        match fs::symlink_metadata(self.path.join(resolved)) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Whether it stays for another build: nothing may be moved out of it.
    pub(crate) fn is_kept(&self) -> bool {
        self.whole.kept.is_some()
    }

    /// Removes what `patterns` ignore.
    pub(crate) fn remove_ignored(&self, patterns: &Patterns) -> Result<(), ContextError> {
        let tree = Tree::open(&self.path).map_err(|source| ContextError::File {
            operation: "open",
            path: ".".to_owned(),
            source,
        })?;
        let mut removed = HashSet::new();
        filter(&tree, Path::new(""), patterns, &FolderMatch::default(), &mut removed)?;
        if let Some(kept) = &self.whole.kept {
            kept.forget(&removed);
        }
        Ok(())
    }
}

/// The most that a Dockerfile or an ignore file may hold.
const MAX_DOCKERFILE: u64 = 16 << 20;

/// Removes ignored entries below `folder`, and notes them; says whether anything is left in it.
fn filter(
    tree: &Tree,
    folder: &Path,
    patterns: &Patterns,
    matched: &FolderMatch,
    removed: &mut HashSet<String>,
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
        let kept = (enter && filter(tree, &path, patterns, &found, removed)?) || !ignored;
        if !kept {
            tree.remove(&path).map_err(failed(&path))?;
            removed.insert(path.to_string_lossy().into_owned());
        }
        any_left |= kept;
    }
    Ok(any_left)
}

impl ContextDir {
    /// Removes the context, or gives it back, on a thread of its own: nobody waits for many files to go. What a daemon
    /// that ends in between leaves goes with the next start.
    pub(crate) fn remove_later(self) {
        if let Some(kept) = &self.whole.kept {
            kept.returning();
        }
        // Without a thread it is removed here: the closure is dropped with it.
        let _ = std::thread::Builder::new().name("build-context".into()).spawn(move || drop(self));
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Some(kept) = &self.kept {
            return kept.give_back();
        }
        if let Some(path) = &self.path
            && let Err(error) = dray_store::remove_tree(path)
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove the build context");
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
    /// The archive is broken, hostile, or does not fit onto the disk.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// Too many entries.
    #[error("the build context has more than {0} entries")]
    TooManyEntries(u64),
    /// Too much content.
    #[error("the build context is larger than {0} bytes")]
    TooLarge(u64),
    /// What the client says of its files is not what it sends.
    #[error("build context: {0:?} is not as it was listed")]
    Listing(String),
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
        match self {
            ContextError::Create { .. } | ContextError::File { .. } => true,
            ContextError::Unpack(error) => matches!(error, UnpackError::File { .. }),
            _ => false,
        }
    }
}

/// Unpacks a tar, plain or compressed, into a new directory inside `parent`.
///
/// # Errors
/// When the archive is broken or hostile, exceeds `limits`, or does not fit onto the disk.
pub fn unpack(reader: impl Read + Send, parent: &Path, limits: &Limits) -> Result<ContextDir, ContextError> {
    let context = ContextDir::create(parent)?;
    let Unpacked(files) = unpack_into(reader, &context.path, limits)?;
    Ok(ContextDir { hashes: Arc::new(files.into_values().collect()), ..context })
}

/// The files that came out of an archive: inodes and digests of their contents, by path.
#[derive(Debug, Default)]
pub struct Unpacked(HashMap<String, (u64, [u8; 32])>);

/// Unpacks into a directory.
fn unpack_into(reader: impl Read + Send, dir: &Path, limits: &Limits) -> Result<Unpacked, ContextError> {
    let tree = Tree::open(dir).map_err(|source| ContextError::Create { path: dir.to_owned(), source })?;
    let reader = decompressed(reader).map_err(UnpackError::read)?;
    let policy = Policy { base: PathBuf::new(), owners: Owners::Ignored, devices: false };
    let mut unpacker = Unpacker::new(&tree, policy);
    let mut tarball = Tarball::new(reader);
    let (mut entries, mut bytes) = (0, 0_u64);
    let mut files = HashMap::new();
    while let Some(entry) = tarball.next_entry().map_err(UnpackError::Tar)? {
        entries += 1;
        bytes = bytes.saturating_add(entry.size);
        if entries > limits.entries {
            return Err(ContextError::TooManyEntries(limits.entries));
        }
        if bytes > limits.bytes {
            return Err(ContextError::TooLarge(limits.bytes));
        }
        if let Some(file) = unpacker.entry(&entry, &mut tarball)? {
            files.insert(String::from_utf8_lossy(&entry.path).into_owned(), file);
        }
    }
    unpacker.finish_dirs()?;
    Ok(Unpacked(files))
}

pub mod kept;
pub mod remote;

#[cfg(test)]
mod tests;
