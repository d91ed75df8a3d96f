//! The files that loading looks at, behind a trait: the real disk, or a tree in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::git::{self, GitError, Source};
use super::registry::RegistryError;

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
    /// Brings a project from a registry here; gives the folder of its files.
    ///
    /// # Errors
    /// It cannot be had, or this disk fetches nothing.
    fn fetch_artifact(&self, reference: &str) -> Result<String, RegistryError> {
        Err(RegistryError::Unsupported(reference.to_owned()))
    }
    /// Brings a repository here; gives the folder of its checkout.
    ///
    /// # Errors
    /// It cannot be had, or this disk fetches nothing.
    fn fetch(&self, source: &Source, _environment: &BTreeMap<String, String>) -> Result<String, GitError> {
        Err(GitError::Unsupported(source.written.clone()))
    }
}

/// No file that is read is larger.
const MAX_FILE: u64 = 16 << 20;
/// So long somebody may take to open a pipe's other end.
const PATIENCE: i64 = 10;

/// The machine's own.
#[derive(Debug, Default)]
pub struct RealDisk {
    /// What pipes have said: they say it once.
    pipes: RefCell<BTreeMap<String, String>>,
}

impl Disk for RealDisk {
    fn read(&self, path: &str) -> io::Result<String> {
        if let Some(said) = self.pipes.borrow().get(path) {
            return Ok(said.clone());
        }
        // Opening a pipe would wait for its writer, without an end.
        let mut file = File::options().read(true).custom_flags(NONBLOCK).open(path)?;
        let is_pipe = file.metadata()?.file_type().is_fifo();
        let mut bytes = if is_pipe { first_bytes(&mut file)? } else { Vec::new() };
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            let text = format!("larger than {} MiB", MAX_FILE >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "invalid UTF-8");
        let text = String::from_utf8(bytes).map_err(invalid)?;
        if is_pipe {
            self.pipes.borrow_mut().insert(path.to_owned(), text.clone());
        }
        Ok(text)
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

const NONBLOCK: i32 = OFlags::NONBLOCK.bits().cast_signed();

/// What a pipe says at once. One that nobody has opened to write to is waited for; one that somebody has needs no
/// limit: it will speak, or end.
fn first_bytes(pipe: &mut File) -> io::Result<Vec<u8>> {
    let mut first = vec![0; 64 << 10];
    match pipe.read(&mut first) {
        Ok(0) => {}
        Ok(read) => {
            first.truncate(read);
            return Ok(first);
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
        Err(e) => return Err(e),
    }
    let limit = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
    match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&limit))? {
        0 => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody writes to this pipe")),
        _ => Ok(Vec::new()),
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
