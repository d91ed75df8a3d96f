//! Copying a folder's content into a new volume, with owners, modes, times, links and attributes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::fs::{
    self, AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, mkdirat,
    mknodat, openat, readlinkat, statat, symlinkat,
};
use rustix::io::Errno;

/// Deepest nesting that is followed.
const DEEPEST: usize = 512;

/// Copies what is in `from` into the empty folder `to`, which gets owner and mode of `from` as well.
pub fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut copier = Copier { top: to, at: PathBuf::new(), linked: HashMap::new() };
    copier.folder(from, to, 0)?;
    let stat = fs::fstat(from)?;
    attributes(from, to, &stat)
}

/// Whether a folder has nothing in it.
pub fn is_empty(folder: BorrowedFd<'_>) -> io::Result<bool> {
    for entry in Dir::read_from(folder)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

struct Copier<'a> {
    top: BorrowedFd<'a>,
    /// The folder that is being copied, from the top.
    at: PathBuf,
    /// Files with several names: inode to the first copy's name from the top. Not as descriptors: of such files there
    /// may be more than a process may have open.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Copier<'_> {
    fn folder(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(Errno::LOOP.into());
        }
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let name = std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes());
            self.entry(from, to, name, &stat, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &OsStr,
        stat: &Stat,
        depth: usize,
    ) -> io::Result<()> {
        let mode = Mode::from_raw_mode(stat.st_mode);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let source = openat(from, name, DIRECTORY, Mode::empty())?;
                mkdirat(to, name, Mode::RWXU)?;
                let target = openat(to, name, DIRECTORY, Mode::empty())?;
                self.at.push(name);
                self.folder(source.as_fd(), target.as_fd(), depth + 1)?;
                self.at.pop();
                attributes(source.as_fd(), target.as_fd(), stat)
            }
            FileType::RegularFile => self.file(from, to, name, stat),
            FileType::Symlink => {
                symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
                owner_and_times(to, name, stat)
            }
            kind => {
                mknodat(to, name, kind, mode, stat.st_rdev)?;
                owner_and_times(to, name, stat)?;
                Ok(fs::chmodat(to, name, mode, AtFlags::empty())?)
            }
        }
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &OsStr,
        stat: &Stat,
    ) -> io::Result<()> {
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.linked.get(&key) {
            match fs::linkat(self.top, first, to, name, AtFlags::empty()) {
                // It lies deeper than a path can be long, or has as many names as a file can have.
                Err(Errno::NAMETOOLONG | Errno::MLINK) => {}
                linked => return Ok(linked?),
            }
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = openat(from, name, flags, Mode::empty())?;
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = openat(to, name, create, Mode::RUSR | Mode::WUSR)?;
        let (source, target) = (std::fs::File::from(source), std::fs::File::from(target));
        content(&source, &target, u64::try_from(stat.st_size).unwrap_or(0))?;
        attributes(source.as_fd(), target.as_fd(), stat)?;
        if stat.st_nlink > 1 {
            self.linked.insert(key, self.at.join(name));
        }
        Ok(())
    }
}

/// Copies a file's bytes: shared with the original where the file system can, else without its holes.
fn content(mut source: &std::fs::File, mut target: &std::fs::File, size: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    if size == 0 || fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    let mut end = 0;
    while end < size {
        let from = match fs::seek(source, fs::SeekFrom::Data(end)) {
            Ok(from) => from,
            Err(Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::NOTSUP) => end,
            Err(errno) => return Err(errno.into()),
        };
        end = match fs::seek(source, fs::SeekFrom::Hole(from)) {
            Ok(to) => to.min(size),
            Err(Errno::INVAL | Errno::NOTSUP) => size,
            Err(errno) => return Err(errno.into()),
        };
        source.seek(SeekFrom::Start(from))?;
        target.seek(SeekFrom::Start(from))?;
        io::copy(&mut source.take(end.saturating_sub(from)), &mut target)?;
    }
    target.set_len(size)
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn times(stat: &Stat) -> Timestamps {
    let time =
        |seconds: i64, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanos).unwrap_or(0) };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Owner first: changing it clears the set-id bits and capabilities that come after.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    extended(from, to)?;
    Ok(fs::futimens(to, &times(stat))?)
}

fn owner_and_times(folder: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fs::chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(fs::utimensat(folder, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Extended attributes but overlay's own. File systems without them are fine.
fn extended(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0_u8; 64 * 1024];
    let length = match fs::flistxattr(from, &mut names) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0_u8; 64 * 1024];
        let size = fs::fgetxattr(from, name, &mut value)?;
        match fs::fsetxattr(to, name, &value[..size], XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    /// A copy of many files with two names each, in a process that may have few files open.
    #[test]
    fn files_with_several_names_are_not_kept_open() {
        const CHILD: &str = "DRAY_TEST_COPY_OF_LINKS";
        if std::env::var_os(CHILD).is_none() {
            let test = "container::copy::tests::files_with_several_names_are_not_kept_open";
            let limited = format!("ulimit -n 64 && exec \"$0\" --exact {test}");
            let mut child = std::process::Command::new("sh");
            let child = child.args(["-c", &limited]).arg(std::env::current_exe().unwrap()).env(CHILD, "1");
            let done = child.output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("one/two")).unwrap();
        std::fs::create_dir(&to).unwrap();
        for n in 0..200 {
            let first = from.join(format!("one/two/{n}"));
            std::fs::write(&first, "x").unwrap();
            std::fs::hard_link(&first, from.join(format!("one/{n}"))).unwrap();
        }
        let open = |path: &std::path::Path| fs::open(path, DIRECTORY, Mode::empty()).unwrap();
        tree(open(&from).as_fd(), open(&to).as_fd()).unwrap();
        for n in 0..200 {
            let number = |name: String| std::fs::metadata(to.join(name)).unwrap().ino();
            assert_eq!(number(format!("one/{n}")), number(format!("one/two/{n}")));
        }
    }

    #[test]
    fn everything_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("sub")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("sub/file"), "content").unwrap();
        std::fs::hard_link(from.join("sub/file"), from.join("other")).unwrap();
        std::os::unix::fs::symlink("/etc/shadow", from.join("link")).unwrap();
        let sparse = std::fs::File::create(from.join("sparse")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 3 << 20).unwrap();
        sparse.set_len(8 << 20).unwrap();
        std::os::unix::fs::chown(from.join("sub"), Some(1234), Some(5678)).unwrap();
        std::fs::set_permissions(from.join("sub"), PermissionsExt::from_mode(0o1750)).unwrap();
        std::fs::set_permissions(&from, PermissionsExt::from_mode(0o700)).unwrap();
        let open = |path: &std::path::Path| fs::open(path, DIRECTORY, Mode::empty()).unwrap();
        assert!(is_empty(open(&to).as_fd()).unwrap());
        tree(open(&from).as_fd(), open(&to).as_fd()).unwrap();
        assert!(!is_empty(open(&to).as_fd()).unwrap());
        assert_eq!(std::fs::read_to_string(to.join("other")).unwrap(), "content");
        let meta = |path: &str| std::fs::symlink_metadata(to.join(path)).unwrap();
        assert!(std::fs::read(to.join("sparse")).unwrap() == std::fs::read(from.join("sparse")).unwrap());
        assert!(meta("sparse").blocks() * 512 < 1 << 20, "holes stay holes");
        assert_eq!(meta("sub/file").ino(), meta("other").ino());
        assert_eq!(std::fs::read_link(to.join("link")).unwrap().to_str(), Some("/etc/shadow"));
        assert_eq!((meta("sub").uid(), meta("sub").gid(), meta("sub").mode() & 0o7777), (1234, 5678, 0o1750));
        assert_eq!(std::fs::metadata(&to).unwrap().mode() & 0o7777, 0o700);
    }
}
