//! The folder a layer is unpacked into. Everything happens relative to descriptors of folders below its root;
//! the kernel resolves parents with that root as `/`, so that no link leads out of it.
//!
//! Descriptors of recent parents are kept: archives list a folder's files together, and a path of ten parts
//! resolved for each of 60,000 files is most of the time otherwise. Whatever could make a kept descriptor
//! stale (a folder or link removed) forgets all of them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    self as rfs, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use super::attribute::Of;
use super::entry::Entry;
use super::error::shown;
use super::name::{Name, split};
use super::{Attribute, LayerError, OPAQUE, Problem};

const MOST_KEPT: usize = 64;
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// The folder with what is known of it.
#[derive(Debug)]
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    kept: HashMap<Vec<u8>, Rc<OwnedFd>>,
    /// Files are made with the owner they mostly have; true if that is root.
    made_by_root: bool,
    /// A folder passes its group on to what is made in it.
    setgid_folders: bool,
    umask: u32,
    replaced: bool,
    below: Vec<OwnedFd>,
}

/// What stood in the way of a new file and was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    Whiteout,
    Other,
}

impl Tree {
    /// `below`: the unpacked layers below this one, topmost first.
    pub(super) fn open(root: &Path, below: &[PathBuf]) -> Result<Self, LayerError> {
        let open = |path: &Path| {
            rfs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(
                |errno| LayerError::Folder {
                    operation: "open the folder to unpack into",
                    source: errno.into(),
                },
            )
        };
        Ok(Self {
            root: Rc::new(open(root)?),
            kept: HashMap::new(),
            made_by_root: rustix::process::geteuid().is_root() && rustix::process::getegid().is_root(),
            setgid_folders: false,
            umask: umask(),
            replaced: false,
            below: below.iter().map(|path| open(path)).collect::<Result<_, _>>()?,
        })
    }

    /// The folder an entry goes into, made if it is not there.
    pub(super) fn parent(&mut self, name: &Name, entry: &[u8]) -> Result<Rc<OwnedFd>, LayerError> {
        self.folder(name.split().0, entry)
    }

    /// A folder, made with those above it if it is not there. From the top down: by recursion, a long name would use
    /// up the stack.
    fn folder(&mut self, path: &[u8], entry: &[u8]) -> Result<Rc<OwnedFd>, LayerError> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        if let Some(fd) = self.kept.get(path) {
            return Ok(fd.clone());
        }
        if matches!(self.open_folder(path), Err(Errno::NOENT | Errno::NOTDIR)) {
            for end in (0..path.len()).filter(|at| path[*at] == b'/') {
                self.folder_in_folder(&path[..end], entry)?;
            }
        }
        self.folder_in_folder(path, entry)
    }

    /// A folder, made if it is not there; the one that it is in is.
    fn folder_in_folder(&mut self, path: &[u8], entry: &[u8]) -> Result<Rc<OwnedFd>, LayerError> {
        if let Some(fd) = self.kept.get(path) {
            return Ok(fd.clone());
        }
        let fd = match self.open_folder(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => {
                self.make_implied(path, entry)?;
                self.open_folder(path)
            }
            other => other,
        };
        let fd = Rc::new(fd.map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => LayerError::entry(entry, Problem::Parent(shown(path))),
            errno => LayerError::io(entry, "open its parent")(errno),
        })?);
        if self.kept.len() >= MOST_KEPT {
            self.kept.clear();
        }
        self.kept.insert(path.to_vec(), fd.clone());
        Ok(fd)
    }

    fn open_folder(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rfs::openat2(&*self.root, os(path), flags, Mode::empty(), INSIDE)
    }

    /// Makes a folder that the archive has not named; where lower layers are known it looks like theirs.
    fn make_implied(&mut self, path: &[u8], entry: &[u8]) -> Result<(), LayerError> {
        let (above, base) = split(path);
        let parent = self.folder(above, entry)?;
        let mut opaque = false;
        match rfs::mkdirat(&*parent, os(base), Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => {
                let whiteout = stat(&parent, base).is_ok_and(|stat| is_whiteout(&stat));
                if !whiteout {
                    // A folder after all (made through a link), or something that is none: opening tells.
                    return Ok(());
                }
                self.make_room(&parent, base, entry)?;
                rfs::mkdirat(&*parent, os(base), Mode::from_raw_mode(0o755))
                    .map_err(LayerError::io(entry, "make its parent"))?;
                opaque = true;
            }
            other => other.map_err(LayerError::io(entry, "make its parent"))?,
        }
        match self.find_below(path) {
            Some((folder, stat)) if is_folder(&stat) && !opaque => {
                copy_metadata(&folder, &stat, &parent, base)
                    .map_err(LayerError::std_io(entry, "make its parent"))
            }
            _ => chmod(&parent, base, 0o755).map_err(LayerError::io(entry, "make its parent")),
        }?;
        if opaque { set_opaque(&parent, base, entry) } else { Ok(()) }
    }

    /// Makes a regular file, for writing.
    pub(super) fn file(&mut self, parent: &OwnedFd, base: &[u8], entry: &Entry) -> Result<File, LayerError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let fd = match rfs::openat(parent, os(base), flags, mode) {
            Err(Errno::EXIST) => {
                self.make_room(parent, base, &entry.name)?;
                rfs::openat(parent, os(base), flags, mode)
            }
            other => other,
        };
        Ok(File::from(fd.map_err(LayerError::io(&entry.name, "create"))?))
    }

    /// Gives a file made by [`Tree::file`] its owner, mode, attributes and time.
    pub(super) fn finish_file(&self, file: &File, entry: &Entry) -> Result<(), LayerError> {
        let failed = |operation| LayerError::io(&entry.name, operation);
        if !self.owner_is_right(entry) {
            rfs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
                .map_err(failed("change owner"))?;
        }
        // A change of owner has taken these bits; the process's mask may have taken others.
        if entry.mode & 0o7000 != 0 || entry.mode & self.umask != 0 {
            rfs::fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(failed("change mode"))?;
        }
        for (name, value) in allowed(entry)? {
            match rfs::fsetxattr(file, os(name), value, XattrFlags::empty()) {
                Err(Errno::NOTSUP) | Ok(()) => {}
                Err(errno) => return Err(failed("set extended attribute")(errno)),
            }
        }
        rfs::futimens(file, &times(entry.mtime)).map_err(failed("set time"))
    }

    /// Makes a folder, or takes the one that is there. Its time is set at the very end, by
    /// [`Tree::set_folder_time`].
    pub(super) fn make_folder(
        &mut self,
        parent: &OwnedFd,
        base: &[u8],
        entry: &Entry,
    ) -> Result<(), LayerError> {
        let mode = Mode::from_raw_mode(0o700);
        match rfs::mkdirat(parent, os(base), mode) {
            Err(Errno::EXIST) => {
                if !stat(parent, base).is_ok_and(|stat| is_folder(&stat)) {
                    let was = self.make_room(parent, base, &entry.name)?;
                    rfs::mkdirat(parent, os(base), mode).map_err(LayerError::io(&entry.name, "create"))?;
                    if was == Was::Whiteout {
                        set_opaque(parent, base, &entry.name)?;
                    }
                }
            }
            other => other.map_err(LayerError::io(&entry.name, "create"))?,
        }
        self.finish_other(parent, base, entry, false)
    }

    /// Gives anything but a regular file its owner, mode and attributes, and its time if `timed`.
    pub(super) fn finish_other(
        &mut self,
        parent: &OwnedFd,
        base: &[u8],
        entry: &Entry,
        timed: bool,
    ) -> Result<(), LayerError> {
        let failed = |operation| LayerError::io(&entry.name, operation);
        let link = matches!(entry.kind, super::entry::Kind::SymbolicLink(_));
        self.setgid_folders |= entry.mode & 0o2000 != 0;
        let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        if !self.owner_is_right(entry) || !timed {
            rfs::chownat(parent, os(base), uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed("change owner"))?;
        }
        if !link {
            chmod(parent, base, entry.mode).map_err(failed("change mode"))?;
        }
        let attributes = allowed(entry)?;
        if !attributes.is_empty() {
            let path = proc_path(parent, base);
            for (name, value) in attributes {
                match rfs::lsetxattr(&path, os(name), value, XattrFlags::empty()) {
                    Err(Errno::NOTSUP) | Ok(()) => {}
                    // User attributes are for files and folders alone.
                    Err(Errno::PERM) if link => {}
                    Err(errno) => return Err(failed("set extended attribute")(errno)),
                }
            }
        }
        if timed {
            rfs::utimensat(parent, os(base), &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed("set time"))?;
        }
        Ok(())
    }

    /// Sets a folder's time, if it still is one.
    pub(super) fn set_folder_time(&self, path: &[u8], mtime: (i64, u32)) -> Result<(), LayerError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path_or_root = if path.is_empty() { &b"."[..] } else { path };
        match rfs::openat2(&*self.root, os(path_or_root), flags, Mode::empty(), INSIDE) {
            Ok(fd) => rfs::futimens(fd, &times(mtime)).map_err(LayerError::io(path, "set time")),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(errno) => Err(LayerError::io(path, "set time")(errno)),
        }
    }

    /// Makes something that is neither file nor folder, with `make`; what is in its place goes.
    pub(super) fn make_other(
        &mut self,
        parent: &OwnedFd,
        base: &[u8],
        entry: &[u8],
        make: impl Fn() -> Result<(), Errno>,
    ) -> Result<(), LayerError> {
        match make() {
            Err(Errno::EXIST) => {
                self.make_room(parent, base, entry)?;
                make().map_err(LayerError::io(entry, "create"))
            }
            other => other.map_err(LayerError::io(entry, "create")),
        }
    }

    /// Makes a hard link; its target is in the layer, or is copied up from a layer below.
    pub(super) fn hard_link(
        &mut self,
        parent: &OwnedFd,
        base: &[u8],
        entry: &[u8],
        target: &Name,
    ) -> Result<(), LayerError> {
        let (target_folder, target_base) = target.split();
        let missing = || LayerError::entry(entry, Problem::LinkTarget(shown(target.bytes())));
        if target.is_root() {
            return Err(missing());
        }
        let found = match self.open_folder_or_root(target_folder) {
            Ok(folder) => stat(&folder, target_base).ok().filter(|stat| !is_whiteout(stat)).map(|_| folder),
            Err(_) => None,
        };
        let folder = match found {
            Some(folder) => folder,
            None => {
                self.copy_up(target, entry)?.ok_or_else(missing)?;
                self.folder(target_folder, entry)?
            }
        };
        let same = |a: &Stat, b: &Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        if let (Ok(old), Ok(new)) = (stat(parent, base), stat(&folder, target_base))
            && same(&old, &new)
        {
            // Linked already (or to itself): removing the name could remove the file.
            return Ok(());
        }
        self.make_other(parent, base, entry, || {
            rfs::linkat(&*folder, os(target_base), parent, os(base), AtFlags::empty())
        })
    }

    /// Hides what lies below a name. What this layer itself has there stays and is shown.
    pub(super) fn whiteout(
        &mut self,
        parent: &OwnedFd,
        base: &[u8],
        entry: &Entry,
    ) -> Result<(), LayerError> {
        let (device, failed) = (rfs::makedev(0, 0), || LayerError::io(&entry.name, "make a whiteout"));
        match rfs::mknodat(parent, os(base), FileType::CharacterDevice, Mode::empty(), device) {
            Err(Errno::EXIST) if stat(parent, base).is_ok_and(|stat| is_folder(&stat)) => {
                set_opaque(parent, base, &entry.name)
            }
            Err(Errno::EXIST) => Ok(()),
            // Its time means nothing but makes the tar the same when it is packed again.
            Ok(()) => rfs::utimensat(parent, os(base), &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed()),
            Err(errno) => Err(failed()(errno)),
        }
    }

    /// Hides what lies below a folder.
    pub(super) fn opaque(&mut self, name: &Name, entry: &[u8]) -> Result<(), LayerError> {
        let (folder, _) = name.split();
        let fd = self.folder(folder, entry)?;
        set_opaque(&fd, b".", entry)
    }

    /// Removes what is in the way.
    fn make_room(&mut self, parent: &OwnedFd, base: &[u8], entry: &[u8]) -> Result<Was, LayerError> {
        let stat = stat(parent, base).map_err(LayerError::io(entry, "look at what is there"))?;
        let removed = match is_folder(&stat) {
            true => dray_store::remove_tree_at(parent, os(base)),
            false => rfs::unlinkat(parent, os(base), AtFlags::empty()).map_err(io::Error::from),
        };
        removed.map_err(LayerError::std_io(entry, "replace what is there"))?;
        self.replaced = true;
        if is_folder(&stat) || FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            self.kept.clear();
        }
        Ok(if is_whiteout(&stat) { Was::Whiteout } else { Was::Other })
    }

    fn open_folder_or_root(&self, path: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        match path.is_empty() {
            true => Ok(self.root.clone()),
            false => self.open_folder(path).map(Rc::new),
        }
    }

    /// The file or folder of this name in the layers below, as a container would see it.
    fn find_below(&self, path: &[u8]) -> Option<(Rc<OwnedFd>, Stat)> {
        for layer in &self.below {
            let mut hidden = false;
            let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
            for end in slashes.chain([path.len()]) {
                let prefix = &path[..end];
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let Ok(fd) = rfs::openat2(layer, os(prefix), flags, Mode::empty(), INSIDE) else { break };
                let stat = rfs::fstat(&fd).ok()?;
                if is_whiteout(&stat) {
                    return None;
                }
                hidden |= is_folder(&stat) && is_opaque(&fd);
                if end == path.len() {
                    return Some((Rc::new(fd), stat));
                }
            }
            if hidden {
                return None;
            }
        }
        None
    }

    /// Copies a file from the layers below to the same name here; none if it is nowhere.
    fn copy_up(&mut self, target: &Name, entry: &[u8]) -> Result<Option<()>, LayerError> {
        let Some((source, stat)) = self.find_below(target.bytes()) else { return Ok(None) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let parent = self.parent(target, entry)?;
        let base = target.split().1;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = match rfs::openat(&*parent, os(base), flags, Mode::from_raw_mode(0o600)) {
            Ok(fd) => fd,
            // A whiteout of this very layer: the target is gone.
            Err(Errno::EXIST) => return Ok(None),
            Err(errno) => return Err(LayerError::io(entry, "copy its target up")(errno)),
        };
        let mut from = File::open(format!("/proc/self/fd/{}", source.as_raw_fd()))
            .map_err(LayerError::std_io(entry, "copy its target up"))?;
        io::copy(&mut from, &mut File::from(new))
            .and_then(|_| copy_metadata(&source, &stat, &parent, base))
            .map_err(LayerError::std_io(entry, "copy its target up"))?;
        Ok(Some(()))
    }

    /// True if anything made has been removed again.
    pub(super) fn has_replaced(&self) -> bool {
        self.replaced
    }

    fn owner_is_right(&self, entry: &Entry) -> bool {
        self.made_by_root && !self.setgid_folders && entry.uid == 0 && entry.gid == 0
    }
}

/// The attributes of an entry that may be set. Those that would change how an overlay reads the layer are an
/// error; those of security modules other than capabilities belong to the machine they were made on and are
/// left out, as are unknown ones.
fn allowed(entry: &Entry) -> Result<Vec<&Attribute>, LayerError> {
    let mut attributes = Vec::new();
    for attribute @ (name, _) in &entry.attributes {
        if name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") || name.contains(&0) {
            return Err(LayerError::entry(&entry.name, Problem::Attribute(shown(name))));
        }
        let kept = name.starts_with(b"user.")
            || matches!(
                &name[..],
                b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
            );
        if kept {
            attributes.push(attribute);
        }
    }
    Ok(attributes)
}

fn set_opaque(parent: &OwnedFd, base: &[u8], entry: &[u8]) -> Result<(), LayerError> {
    rfs::lsetxattr(proc_path(parent, base), OPAQUE, b"y", XattrFlags::empty())
        .map_err(LayerError::io(entry, "make its folder opaque"))
}

/// Hides what lies in a folder below.
pub(crate) fn set_opaque_at(folder: &Path) -> Result<(), Errno> {
    rfs::lsetxattr(folder, OPAQUE, b"y", XattrFlags::empty())
}

fn is_opaque(fd: &OwnedFd) -> bool {
    let mut value = [0; 1];
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    matches!(rfs::getxattr(path, OPAQUE, &mut value[..]), Ok(1)) && value == *b"y"
}

/// Owner, mode, attributes and time of another file, for a copy of it.
pub(crate) fn copy_metadata(source: &OwnedFd, stat: &Stat, parent: &OwnedFd, base: &[u8]) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    rfs::chownat(parent, os(base), uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    chmod(parent, base, stat.st_mode & 0o7777)?;
    let from = format!("/proc/self/fd/{}", source.as_raw_fd());
    let to = proc_path(parent, base);
    let attributes = Of::Followed(Path::new(&from));
    for name in attributes.names()? {
        if !name.starts_with(b"trusted.") {
            let value = attributes.value(&name)?;
            rfs::lsetxattr(&to, os(&name), &value, XattrFlags::empty())?;
        }
    }
    let mtime = (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
    rfs::utimensat(parent, os(base), &times(mtime), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn chmod(parent: &OwnedFd, base: &[u8], mode: u32) -> Result<(), Errno> {
    rfs::chmodat(parent, os(base), Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
}

fn stat(parent: &OwnedFd, base: &[u8]) -> Result<Stat, Errno> {
    rfs::statat(parent, os(base), AtFlags::SYMLINK_NOFOLLOW)
}

fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Whether it is what overlayfs takes for a whiteout.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Bytes as a path.
pub(crate) fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// A path to what has no descriptor for extended attributes. The last part is never followed.
pub(super) fn proc_path(parent: &OwnedFd, base: &[u8]) -> PathBuf {
    Path::new("/proc/self/fd").join(parent.as_fd().as_raw_fd().to_string()).join(os(base))
}

/// The process's file mode mask, read without changing it.
fn umask() -> u32 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        })
        // Unknown: as if it took everything, so that modes are always set.
        .unwrap_or(0o777)
}
