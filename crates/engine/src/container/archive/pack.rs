//! Writing a tree as a tar.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use super::reopen;

/// Deepest nesting that is followed.
const DEEPEST: usize = 1024;

/// Writes what `fd` is, and all below it, under the name `at`.
pub fn node(fd: BorrowedFd<'_>, at: &Path, out: impl Write) -> io::Result<()> {
    let mut packer = Packer { builder: Builder::new(out), names: HashMap::new(), device: None };
    packer.node(fd, at, 0)?;
    packer.builder.into_inner()?.flush()
}

/// Writes what is in a folder, under names that begin there.
pub fn tree(root: BorrowedFd<'_>, out: impl Write) -> io::Result<()> {
    let mut packer = Packer { builder: Builder::new(out), names: HashMap::new(), device: None };
    packer.device = Some(rustix::fs::fstat(root)?.st_dev);
    packer.children(root, Path::new(""), 0)?;
    packer.builder.into_inner()?.flush()
}

struct Packer<W: Write> {
    builder: Builder<W>,
    /// First names of files that have several.
    names: HashMap<(u64, u64), PathBuf>,
    /// Only this file system, when set: what is mounted below is an empty folder.
    device: Option<u64>,
}

impl<W: Write> Packer<W> {
    fn children(&mut self, folder: BorrowedFd<'_>, at: &Path, depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(Errno::LOOP.into());
        }
        let readable = reopen(folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names: Vec<Vec<u8>> = Vec::new();
        for entry in Dir::read_from(&readable)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_bytes().to_vec());
            }
        }
        names.sort();
        for name in names {
            let name = OsStr::from_bytes(&name);
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(&readable, name, flags, Mode::empty()) {
                Ok(child) => self.node(child.as_fd(), &at.join(name), depth + 1)?,
                // Removed since the folder was read.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn node(&mut self, fd: BorrowedFd<'_>, at: &Path, depth: usize) -> io::Result<()> {
        let stat = rustix::fs::fstat(fd)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut header = header(&stat);
        if !kind.is_dir() && stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.names.get(&key) {
                header.set_entry_type(EntryType::Link);
                header.set_size(0);
                return self.builder.append_link(&mut header, at, first);
            }
            self.names.insert(key, at.to_owned());
        }
        match kind {
            FileType::Directory => {
                self.attributes(fd)?;
                header.set_entry_type(EntryType::Directory);
                let mut name = at.as_os_str().to_owned();
                name.push("/");
                self.builder.append_data(&mut header, &name, io::empty())?;
                match self.device {
                    Some(device) if device != stat.st_dev => Ok(()),
                    _ => self.children(fd, at, depth),
                }
            }
            FileType::RegularFile => self.file(fd, at, header),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(fd, "", Vec::new())?;
                header.set_entry_type(EntryType::Symlink);
                self.builder.append_link(&mut header, at, OsStr::from_bytes(target.to_bytes()))
            }
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                header.set_entry_type(match kind {
                    FileType::CharacterDevice => EntryType::Char,
                    FileType::BlockDevice => EntryType::Block,
                    _ => EntryType::Fifo,
                });
                header.set_device_major(rustix::fs::major(stat.st_rdev))?;
                header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
                self.builder.append_data(&mut header, at, io::empty())
            }
            // Sockets mean nothing elsewhere.
            _ => Ok(()),
        }
    }

    /// A file that grows or shrinks meanwhile is cut or filled up to the length it had.
    fn file(&mut self, fd: BorrowedFd<'_>, at: &Path, mut header: Header) -> io::Result<()> {
        let file = File::from(reopen(fd, OFlags::RDONLY | OFlags::NONBLOCK)?);
        self.attributes(file.as_fd())?;
        let size = file.metadata()?.len();
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        let padded = io::Read::chain(file, io::repeat(0));
        self.builder.append_data(&mut header, at, io::Read::take(padded, size))
    }

    /// Extended attributes worth keeping: file capabilities and the user's own.
    fn attributes(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        let mut names = vec![0_u8; 64 * 1024];
        let Ok(length) = rustix::fs::listxattr(path.as_str(), &mut names) else { return Ok(()) };
        let mut kept = Vec::new();
        for name in names[..length].split(|byte| *byte == 0) {
            if name != b"security.capability" && !name.starts_with(b"user.") {
                continue;
            }
            let mut value = vec![0_u8; 64 * 1024];
            if let Ok(size) = rustix::fs::getxattr(path.as_str(), OsStr::from_bytes(name), &mut value) {
                value.truncate(size);
                kept.push((format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)), value));
            }
        }
        match kept.is_empty() {
            true => Ok(()),
            false => self
                .builder
                .append_pax_extensions(kept.iter().map(|(name, value)| (name.as_str(), value.as_slice()))),
        }
    }
}

fn header(stat: &Stat) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(u64::from(stat.st_uid));
    header.set_gid(u64::from(stat.st_gid));
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}
