//! How much a folder takes.

use std::collections::HashSet;
use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use crate::tree::{Stopped, Visitor, walk};
use crate::{Error, Result};

/// What a tree of files takes on the disk. A file with several names counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sum of the regular files' lengths: what Docker calls size.
    pub bytes: u64,
    /// What the disk has set aside for it.
    pub allocated: u64,
    /// Files, folders and everything else.
    pub inodes: u64,
}

/// Measures the tree below `path`, without following links and without leaving its file system. What
/// vanishes meanwhile is left out.
///
/// # Errors
/// If a folder cannot be read.
pub fn usage(path: &Path) -> Result<Usage> {
    let failed = |errno: Errno| Error::io("measure", path, errno.into());
    let mut count = Count { usage: Usage::default(), seen: HashSet::new() };
    let stat = match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(count.usage),
        other => other.map_err(failed)?,
    };
    count.add(&stat);
    if is_folder(&stat) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = match openat(CWD, path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Usage::default()),
            other => other.map_err(failed)?,
        };
        walk(top, &mut count).map_err(|Stopped { path: inner, source }| {
            let place = if inner.as_os_str().is_empty() { path.to_owned() } else { path.join(inner) };
            Error::io("measure", &place, source)
        })?;
    }
    Ok(count.usage)
}

/// What has been counted so far.
struct Count {
    usage: Usage,
    /// Files with several names.
    seen: HashSet<(u64, u64)>,
}

impl Count {
    fn add(&mut self, stat: &Stat) {
        if stat.st_nlink > 1 && !is_folder(stat) && !self.seen.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        self.usage.inodes += 1;
        self.usage.allocated += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            self.usage.bytes += u64::try_from(stat.st_size).unwrap_or(0);
        }
    }
}

impl Visitor for Count {
    fn entry(&mut self, folder: BorrowedFd<'_>, name: &CStr, _: FileType) -> io::Result<bool> {
        match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                self.add(&stat);
                Ok(is_folder(&stat))
            }
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn hard_links_count_once_and_links_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/a"), [1; 1000]).unwrap();
        fs::hard_link(dir.path().join("d/a"), dir.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        let usage = usage(dir.path()).unwrap();
        assert_eq!(usage.bytes, 1000);
        assert_eq!(usage.inodes, 4);
        assert!(usage.allocated >= 1000);
        assert_eq!(super::usage(&dir.path().join("b")).unwrap().bytes, 1000, "a file alone");
    }

    #[test]
    fn nothing_there_takes_nothing() {
        assert_eq!(usage(Path::new("/nonexistent/x")).unwrap(), Usage::default());
    }
}
