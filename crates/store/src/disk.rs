//! How much a folder takes.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

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
    let failed =
        |operation: &'static str, path: &Path, errno: Errno| Error::io(operation, path, errno.into());
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let root = match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(usage),
        Err(errno) => return Err(failed("stat", path, errno)),
    };
    let is_dir = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let mut folders = if is_dir(&root) { vec![path.to_path_buf()] } else { Vec::new() };
    count(&root, &mut usage, &mut seen);
    while let Some(folder) = folders.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Names are looked up from their folder: the way there is gone only once.
        let opened = match openat(CWD, &folder, flags, Mode::empty()) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(failed("list", &folder, errno)),
        };
        for entry in Dir::read_from(&opened).map_err(|errno| failed("list", &folder, errno))? {
            let entry = entry.map_err(|errno| failed("list", &folder, errno))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let below = || folder.join(OsStr::from_bytes(name.to_bytes()));
            let stat = match statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(failed("stat", &below(), errno)),
            };
            count(&stat, &mut usage, &mut seen);
            if is_dir(&stat) && stat.st_dev == root.st_dev {
                folders.push(below());
            }
        }
    }
    Ok(usage)
}

fn count(stat: &Stat, usage: &mut Usage, seen: &mut HashSet<(u64, u64)>) {
    let kind = FileType::from_raw_mode(stat.st_mode);
    if stat.st_nlink > 1 && kind != FileType::Directory && !seen.insert((stat.st_dev, stat.st_ino)) {
        return;
    }
    usage.inodes += 1;
    usage.allocated += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
    if kind == FileType::RegularFile {
        usage.bytes += u64::try_from(stat.st_size).unwrap_or(0);
    }
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
