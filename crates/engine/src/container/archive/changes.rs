//! What an overlay's upper layer changes of those below it.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dray_api::container::FilesystemChange;
use dray_store::tree::{Visitor, walk};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2, statat};
use rustix::io::Errno;

const MODIFIED: u8 = 0;
const ADDED: u8 = 1;
const DELETED: u8 = 2;

/// The changes, by path.
pub fn changes(lower: &[PathBuf], upper: &Path) -> io::Result<Vec<FilesystemChange>> {
    let below = dray_sys::mount::overlay(&dray_sys::mount::Overlay { lower, upper: None, options: &[] })?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(upper, flags, Mode::empty())?;
    let mut comparison = Comparison { below: below.as_fd(), at: PathBuf::from("/"), found: Vec::new() };
    walk(root, &mut comparison).map_err(|stopped| stopped.source)?;
    let mut found = comparison.found;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The longest path that is told: the list of folders in folders without end would be as long as their number squared.
const LONGEST: usize = 4096;

struct Comparison<'a> {
    below: BorrowedFd<'a>,
    /// The folder that is being looked at.
    at: PathBuf,
    found: Vec<FilesystemChange>,
}

impl Visitor for Comparison<'_> {
    fn entry(&mut self, folder: BorrowedFd<'_>, name: &CStr, _: FileType) -> io::Result<bool> {
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            // It went while we looked: the container goes on running.
            Err(Errno::NOENT) => return Ok(false),
            other => other?,
        };
        let path = self.at.join(OsStr::from_bytes(name.to_bytes()));
        let kind = FileType::from_raw_mode(stat.st_mode);
        let removed = kind.is_char_device() && stat.st_rdev == 0;
        let change = match (removed, is_below(self.below, &path)) {
            (true, true) => DELETED,
            // Made and removed again, or hidden for a reason of our own.
            (true, false) => return Ok(false),
            (false, true) => MODIFIED,
            (false, false) => ADDED,
        };
        self.found.push(FilesystemChange { kind: change, path: path.to_string_lossy().into_owned() });
        Ok(kind.is_dir())
    }

    fn enter(&mut self, name: &CStr) -> io::Result<()> {
        self.at.push(OsStr::from_bytes(name.to_bytes()));
        match self.at.as_os_str().len() > LONGEST {
            true => Err(Errno::NAMETOOLONG.into()),
            false => Ok(()),
        }
    }

    fn done(&mut self, _: BorrowedFd<'_>, _: &CStr) -> io::Result<()> {
        self.at.pop();
        Ok(())
    }
}

fn is_below(below: BorrowedFd<'_>, path: &Path) -> bool {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(below, relative, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
        .is_ok()
}
