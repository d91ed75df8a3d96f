//! What an overlay's upper layer changes of those below it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dray_api::container::FilesystemChange;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};

const MODIFIED: u8 = 0;
const ADDED: u8 = 1;
const DELETED: u8 = 2;

/// The changes, by path.
pub fn changes(lower: &[PathBuf], upper: &Path) -> io::Result<Vec<FilesystemChange>> {
    let below = dray_sys::mount::overlay(&dray_sys::mount::Overlay { lower, upper: None, options: &[] })?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(upper, flags, Mode::empty())?;
    let mut found = Vec::new();
    walk(below.as_fd(), root.as_fd(), Path::new("/"), &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(
    below: BorrowedFd<'_>,
    folder: BorrowedFd<'_>,
    at: &Path,
    found: &mut Vec<FilesystemChange>,
) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let path = at.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let kind = FileType::from_raw_mode(stat.st_mode);
        let removed = kind.is_char_device() && stat.st_rdev == 0;
        let change = match (removed, is_below(below, &path)) {
            (true, true) => DELETED,
            // Made and removed again, or hidden for a reason of our own.
            (true, false) => continue,
            (false, true) => MODIFIED,
            (false, false) => ADDED,
        };
        found.push(FilesystemChange { kind: change, path: path.to_string_lossy().into_owned() });
        if kind.is_dir() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let child = openat(folder, name, flags, Mode::empty())?;
            walk(below, child.as_fd(), &path, found)?;
        }
    }
    Ok(())
}

fn is_below(below: BorrowedFd<'_>, path: &Path) -> bool {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(below, relative, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
        .is_ok()
}
