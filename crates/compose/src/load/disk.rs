//! The files that loading looks at, behind a trait: the real disk, or a tree in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::git::{self, GitError, Source};

/// What loading asks of a file system.
pub trait Disk {
    /// A file's text.
    ///
    /// # Errors
    /// It cannot be read, or is no text.
    fn read(&self, path: &str) -> io::Result<String>;
    /// Whether there is a file.
    fn is_file(&self, path: &str) -> bool;
    /// Whether there is a folder.
    fn is_dir(&self, path: &str) -> bool;
    /// A path without symbolic links, as far as it exists.
    fn real(&self, path: &str) -> String;
    /// Brings a repository here; gives the folder of its checkout.
    ///
    /// # Errors
    /// It cannot be had, or this disk fetches nothing.
    fn fetch(&self, source: &Source, _environment: &BTreeMap<String, String>) -> Result<String, GitError> {
        Err(GitError::Unsupported(source.written.clone()))
    }
}

/// The machine's own.
#[derive(Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn read(&self, path: &str) -> io::Result<String> {
        let bytes = std::fs::read(path)?;
        String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "invalid UTF-8"))
    }

    fn is_file(&self, path: &str) -> bool {
        Path::new(path).metadata().is_ok_and(|m| !m.is_dir())
    }

    fn is_dir(&self, path: &str) -> bool {
        Path::new(path).is_dir()
    }

    fn real(&self, path: &str) -> String {
        std::fs::canonicalize(path).map_or_else(|_| path.to_owned(), |p| p.display().to_string())
    }

    fn fetch(&self, source: &Source, environment: &BTreeMap<String, String>) -> Result<String, GitError> {
        git::checkout(source, environment).map(|folder| folder.display().to_string())
    }
}

/// Files in memory, for tests and fuzzing.
#[derive(Debug, Default)]
pub struct MemoryDisk(pub BTreeMap<String, String>);

impl Disk for MemoryDisk {
    fn read(&self, path: &str) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::Error::from_raw_os_error(2))
    }

    fn is_file(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    fn is_dir(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.0.keys().any(|p| p.starts_with(&folder))
    }

    fn real(&self, path: &str) -> String {
        path.to_owned()
    }
}
