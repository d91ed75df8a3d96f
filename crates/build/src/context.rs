//! The build context: the directory that `COPY` and `ADD` read from.
//!
//! It comes as a tar from a client that nobody trusts, and lives in a temporary directory that goes away with the
//! [`ContextDir`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// An unpacked build context. Dropping it deletes the directory.
#[derive(Debug)]
pub struct ContextDir {
    path: PathBuf,
}

impl ContextDir {
    /// Makes an empty context: a new directory inside `parent`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn create(parent: &Path) -> Result<ContextDir, ContextError> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(parent)
            .map_err(|source| ContextError::Create { path: parent.to_owned(), source })?;
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("context-{}-{n}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(ContextDir { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(source) => return Err(ContextError::Create { path, source }),
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
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
        Limits { entries: 10_000_000, bytes: 1 << 40 }
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
}
