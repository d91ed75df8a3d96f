//! Files below a root that is not trusted: nothing leads out of it, only plain files are read, and only so much of
//! them.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, statat};

/// Why a root cannot be looked through.
#[derive(Debug, thiserror::Error)]
#[error("look through {}: {source}", path.display())]
pub struct ScanError {
    /// The folder.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// How deep folders are followed.
const MAX_DEPTH: usize = 64;
/// Folders of a running system's own, which no image has anything in.
const SKIPPED: [&str; 3] = ["proc", "sys", "dev"];

/// A root.
#[derive(Debug)]
pub(crate) struct Root<'a>(BorrowedFd<'a>);

impl<'a> Root<'a> {
    pub fn new(root: BorrowedFd<'a>) -> Self {
        Root(root)
    }

    /// Opens a plain file, links followed within the root.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let file = self.open_as(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(file.into()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn open_as(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }

    /// The text of a file, if it is there and no longer than `most`.
    pub fn text(&self, path: impl AsRef<Path>, most: u64) -> Option<String> {
        let mut bytes = Vec::new();
        self.open(path.as_ref()).ok()?.take(most + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= most).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Visits all plain files, by their paths from the root. Links are not followed.
    pub fn walk(&self, visit: &mut dyn FnMut(&Path, &Stat)) -> Result<(), ScanError> {
        self.folder(Path::new(""), 0, visit)
    }

    fn folder(
        &self,
        path: &Path,
        depth: usize,
        visit: &mut dyn FnMut(&Path, &Stat),
    ) -> Result<(), ScanError> {
        let failed = |source: io::Error| ScanError { path: path.to_owned(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd = self.open_as(path, flags).map_err(failed)?;
        for name in names(&fd).map_err(failed)? {
            let Ok(stat) = statat(&fd, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let inner = path.join(OsStr::from_bytes(name.as_bytes()));
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => visit(&inner, &stat),
                FileType::Directory if depth < MAX_DEPTH && !is_skipped(&inner) => {
                    self.folder(&inner, depth + 1, visit)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_skipped(path: &Path) -> bool {
    SKIPPED.iter().any(|skipped| path == Path::new(skipped))
}

fn names(folder: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder.as_fd())? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}
