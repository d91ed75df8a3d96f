//! Unpacking a client's tar into a container.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::Error;
use crate::container::rootfs::open_in;

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnpackOptions {
    /// A folder does not replace a file, nor a file a folder.
    pub keep_kind: bool,
    /// Everything belongs to this user and group, instead of whom the archive says.
    pub owner: Option<(u32, u32)>,
}

/// What is done at the very end, so that what is written into a folder does not change it again.
struct Folder {
    fd: OwnedFd,
    times: Timestamps,
}

/// Unpacks into the folder `target` of `root`.
pub fn unpack(
    root: BorrowedFd<'_>,
    target: &Path,
    options: &UnpackOptions,
    archive: impl Read + Send,
) -> Result<(), Error> {
    let plain = dray_image::layer::decompress(archive).map_err(|error| Error::Archive(error.to_string()))?;
    let mut archive = Archive::new(plain);
    archive.set_ignore_zeros(false);
    let mut folders = Vec::new();
    let entries = archive.entries().map_err(broken)?;
    let mut unpacker = Unpacker { root, target, options, folders: &mut folders };
    for entry in entries {
        unpacker.entry(entry.map_err(broken)?)?;
    }
    for folder in folders.into_iter().rev() {
        // Times are the least of it.
        let _ = fs::futimens(&folder.fd, &folder.times);
    }
    Ok(())
}

fn broken(error: io::Error) -> Error {
    Error::Archive(format!("cannot read the archive: {error}"))
}

struct Unpacker<'a> {
    root: BorrowedFd<'a>,
    target: &'a Path,
    options: &'a UnpackOptions,
    folders: &'a mut Vec<Folder>,
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), Error> {
        let raw = entry.path().map_err(broken)?.into_owned();
        let inside = inside(&raw)?;
        let failed = |errno: Errno| Error::io("unpack", &raw)(errno.into());
        let Some(name) = inside.file_name().map(ToOwned::to_owned) else {
            // The target itself: only what is in it is wanted.
            return Ok(());
        };
        let parent = self.parent(&inside).map_err(failed)?;
        let kind = entry.header().entry_type();
        let old = fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let old_is_folder = old.map(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
        if self.options.keep_kind && old_is_folder.is_some_and(|folder| folder != kind.is_dir()) {
            return Err(Error::Archive(match kind.is_dir() {
                true => format!("cannot overwrite non-directory {raw:?} with directory {raw:?}"),
                false => format!("cannot overwrite directory {raw:?} with non-directory {raw:?}"),
            }));
        }
        if old.is_some() && !(kind.is_dir() && old_is_folder == Some(true)) {
            remove(parent.as_fd(), &name, old_is_folder == Some(true)).map_err(failed)?;
        }
        let place = Place { parent: parent.as_fd(), name: &name };
        let attributes = self.attributes(&mut entry)?;
        match kind {
            EntryType::Directory => {
                if old_is_folder != Some(true) {
                    fs::mkdirat(place.parent, place.name, Mode::RWXU).map_err(failed)?;
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = fs::openat(place.parent, place.name, flags, Mode::empty()).map_err(failed)?;
                attributes.put(fd.as_fd()).map_err(failed)?;
                self.folders.push(Folder { fd, times: attributes.times });
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd =
                    fs::openat(place.parent, place.name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
                let mut file = File::from(fd);
                io::copy(&mut entry, &mut file).map_err(Error::io("unpack", &raw))?;
                attributes.put(file.as_fd()).map_err(failed)?;
                fs::futimens(&file, &attributes.times).map_err(failed)?;
            }
            EntryType::Symlink => {
                let link = entry.link_name().map_err(broken)?.unwrap_or_default().into_owned();
                fs::symlinkat(&link, place.parent, place.name).map_err(failed)?;
                attributes.put_at(&place).map_err(failed)?;
            }
            EntryType::Link => {
                let link = entry.link_name().map_err(broken)?.unwrap_or_default().into_owned();
                self.hard_link(&link, &place).map_err(failed)?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let kind = match kind {
                    EntryType::Char => FileType::CharacterDevice,
                    EntryType::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let header = entry.header();
                let number = |part: io::Result<Option<u32>>| part.ok().flatten().unwrap_or(0);
                let device = fs::makedev(number(header.device_major()), number(header.device_minor()));
                fs::mknodat(place.parent, place.name, kind, attributes.mode, device).map_err(failed)?;
                attributes.put_at(&place).map_err(failed)?;
            }
            // Headers of other archivers that say nothing of a file.
            _ => {}
        }
        Ok(())
    }

    /// The folder that an entry goes into, made if it is missing. Links of the container are followed
    /// inside its root.
    fn parent(&self, inside: &Path) -> Result<OwnedFd, Errno> {
        let folder = inside.parent().unwrap_or(Path::new(""));
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let at = |part: &Path| {
            let path = self.target.join(part);
            let relative = path.strip_prefix("/").unwrap_or(&path).to_owned();
            open_in(self.root, &relative, flags)
        };
        match at(folder) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let mut made = PathBuf::new();
        let mut current = at(&made)?;
        for part in folder.components() {
            made.push(part);
            current = match at(&made) {
                Err(Errno::NOENT) => {
                    let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
                    fs::mkdirat(&current, part.as_os_str(), mode)?;
                    at(&made)?
                }
                other => other?,
            };
        }
        Ok(current)
    }

    fn hard_link(&self, link: &Path, place: &Place<'_>) -> Result<(), Errno> {
        let inside = inside(link).map_err(|_| Errno::INVAL)?;
        let name = inside.file_name().ok_or(Errno::INVAL)?;
        let from = self.parent(&inside)?;
        fs::linkat(&from, name, place.parent, place.name, AtFlags::empty())
    }

    fn attributes<R: Read>(&self, entry: &mut Entry<'_, R>) -> Result<Attributes, Error> {
        let mut xattrs = Vec::new();
        if let Some(extensions) = entry.pax_extensions().map_err(broken)? {
            for extension in extensions {
                let extension = extension.map_err(broken)?;
                if let Some(name) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") {
                    xattrs.push((name.to_vec(), extension.value_bytes().to_vec()));
                }
            }
        }
        let header = entry.header();
        let id = |raw: io::Result<u64>| raw.ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
        let (uid, gid) = self.options.owner.unwrap_or_else(|| (id(header.uid()), id(header.gid())));
        let seconds = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        Ok(Attributes {
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
            mode: Mode::from_raw_mode(header.mode().unwrap_or(0o644) & 0o7777),
            times: Timestamps { last_access: time, last_modification: time },
            xattrs,
        })
    }
}

/// A name in a folder.
struct Place<'a> {
    parent: BorrowedFd<'a>,
    name: &'a std::ffi::OsStr,
}

struct Attributes {
    uid: Uid,
    gid: Gid,
    mode: Mode,
    times: Timestamps,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    /// Owner first: changing it clears the set-id bits and capabilities that come after.
    fn put(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        fs::fchown(fd, Some(self.uid), Some(self.gid))?;
        fs::fchmod(fd, self.mode)?;
        for (name, value) in &self.xattrs {
            match fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
                Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn put_at(&self, place: &Place<'_>) -> Result<(), Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        fs::chownat(place.parent, place.name, Some(self.uid), Some(self.gid), flags)?;
        fs::utimensat(place.parent, place.name, &self.times, flags)
    }
}

/// An entry's path below the target; one that would leave it is refused.
fn inside(raw: &Path) -> Result<PathBuf, Error> {
    let mut inside = PathBuf::new();
    for part in raw.components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::Archive(format!("{raw:?} is outside of the extraction point")));
            }
        }
    }
    Ok(inside)
}

fn remove(parent: BorrowedFd<'_>, name: &std::ffi::OsStr, folder: bool) -> Result<(), Errno> {
    if !folder {
        return fs::unlinkat(parent, name, AtFlags::empty());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = fs::openat(parent, name, flags, Mode::empty())?;
    for entry in fs::Dir::read_from(&opened)? {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let child = std::os::unix::ffi::OsStrExt::from_bytes(entry.file_name().to_bytes());
        let stat = fs::statat(&opened, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
        remove(opened.as_fd(), child, FileType::from_raw_mode(stat.st_mode).is_dir())?;
    }
    fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}
