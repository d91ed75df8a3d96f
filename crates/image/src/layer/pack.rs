//! Packing: a folder in overlay form becomes a tar, the same bytes each time.
//!
//! A folder comes before what is in it, names are in the order of their bytes, times are whole seconds, and a
//! pax header stands only where a plain one cannot say it: long names, big numbers, extended attributes.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use dray_spec::Digest;
use rustix::fs::{self as rfs, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::attribute::Of;
use super::name::LONGEST;
use super::tree::{is_whiteout, proc_path};
use super::write::{BUFFER, Meta, TarWriter};
use super::{Attribute, LayerError, OPAQUE, Problem, WHITEOUT, WHITEOUT_OPAQUE};

const OVERLAY: &[u8] = b"trusted.overlay.";

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The digest of the tar.
    pub diff_id: Digest,
    /// The tar's length.
    pub bytes: u64,
    /// Sum of the regular files' lengths.
    pub size: u64,
}

/// The diff ID of a folder.
#[derive(Debug, Clone, Copy)]
pub struct DiffId;

impl DiffId {
    /// What [`tar`] would make, without keeping it.
    ///
    /// # Errors
    /// As [`tar`].
    pub fn of(folder: &Path) -> Result<Packed, LayerError> {
        tar(folder, io::sink())
    }
}

/// Packs a layer's folder (or the upper folder of an overlay) into a plain tar. Sockets are left out, as are
/// files that are named like a whiteout.
///
/// # Errors
/// If a file cannot be read, refers to a lower layer (`redirect_dir`, `metacopy`), or `out` fails.
pub fn tar(folder: &Path, out: impl Write) -> Result<Packed, LayerError> {
    tar_at(folder, out, &|time| time)
}

/// As [`tar`], with other times: `times` is given each file's, in seconds since 1970.
///
/// # Errors
/// As [`tar`].
pub fn tar_at(folder: &Path, out: impl Write, times: &dyn Fn(i64) -> i64) -> Result<Packed, LayerError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rfs::open(folder, flags, Mode::empty())
        .map_err(|errno| LayerError::Folder { operation: "open the folder to pack", source: errno.into() })?;
    let mut packer =
        Packer { out: TarWriter::new(out), size: 0, linked: HashMap::new(), data: vec![0; BUFFER], times };
    packer.folder(root, &mut Vec::new())?;
    let (diff_id, bytes) = packer.out.end()?;
    Ok(Packed { diff_id, bytes, size: packer.size })
}

/// A file beside those of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraFile {
    /// Its name.
    pub name: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// Writes several folders as one tar, each as a folder of the name that comes with it, with further files at its top;
/// without a name its files are at the top.
///
/// # Errors
/// As [`tar`].
pub fn tar_folders<'a>(
    folders: impl IntoIterator<Item = (&'a str, &'a Path, &'a [ExtraFile])>,
    out: impl Write,
) -> Result<Packed, LayerError> {
    let mut packer = Packer {
        out: TarWriter::new(out),
        size: 0,
        linked: HashMap::new(),
        data: vec![0; BUFFER],
        times: &|time| time,
    };
    for (name, folder, extra) in folders {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let failed =
            |errno: Errno| LayerError::Folder { operation: "open the folder to pack", source: errno.into() };
        let root = rfs::open(folder, flags, Mode::empty()).map_err(failed)?;
        let mut path = Vec::new();
        if !name.is_empty() {
            path = format!("{name}/").into_bytes();
            let stat = rfs::fstat(&root).map_err(failed)?;
            packer.out.header(&packer.meta(&stat, b'5'), &path, b"", &[])?;
        }
        // What two folders have in common is a file in each.
        packer.linked.clear();
        packer.folder(root, &mut path)?;
        for file in extra {
            let (size, inner) = (file.content.len() as u64, [&path[..], file.name.as_bytes()].concat());
            let meta = Meta { kind: b'0', mode: 0o600, uid: 0, gid: 0, size, mtime: 0, device: (0, 0) };
            packer.out.header(&meta, &inner, b"", &[])?;
            packer.out.write(&file.content)?;
            packer.out.pad(size)?;
        }
    }
    let (diff_id, bytes) = packer.out.end()?;
    Ok(Packed { diff_id, bytes, size: packer.size })
}

struct Packer<'a, W> {
    out: TarWriter<W>,
    size: u64,
    /// The first name of each file that has several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    data: Vec<u8>,
    times: &'a dyn Fn(i64) -> i64,
}

/// A folder on the way from the top to what is being packed.
struct Level {
    folder: OwnedFd,
    /// What is still to be packed of it.
    names: std::vec::IntoIter<CString>,
    /// The length of its own name.
    length: usize,
}

impl<W: Write> Packer<'_, W> {
    fn meta(&self, stat: &Stat, kind: u8) -> Meta {
        let meta = Meta::of(stat, kind);
        Meta { mtime: (self.times)(meta.mtime), ..meta }
    }

    /// Everything in a folder; `path` is its name with a slash at the end, or nothing. Not by recursion: a container
    /// can make folders in folders until the stack is used up.
    fn folder(&mut self, folder: OwnedFd, path: &mut Vec<u8>) -> Result<(), LayerError> {
        let mut levels = vec![self.level(folder, path)?];
        while let Some(level) = levels.last_mut() {
            path.truncate(level.length);
            let Some(base) = level.names.next() else {
                levels.pop();
                continue;
            };
            path.extend_from_slice(base.as_bytes());
            if let Some(inner) = self.entry(&level.folder, &base, path)? {
                levels.push(self.level(inner, path)?);
            }
        }
        Ok(())
    }

    /// Begins with a folder. What has a longer name than any that is unpacked is refused.
    fn level(&mut self, folder: OwnedFd, path: &[u8]) -> Result<Level, LayerError> {
        if path.len() > LONGEST {
            return Err(LayerError::entry(&path[..LONGEST], Problem::NameTooLong(path.len())));
        }
        if is_opaque(&folder, path)? {
            self.whiteout(&[path, WHITEOUT_OPAQUE].concat(), 0)?;
        }
        let names = names(&folder).map_err(LayerError::io(path, "list"))?.into_iter();
        Ok(Level { folder, names, length: path.len() })
    }

    /// Packs an entry; a folder is given back, to go on with what is in it.
    fn entry(
        &mut self,
        folder: &OwnedFd,
        base: &CString,
        path: &mut Vec<u8>,
    ) -> Result<Option<OwnedFd>, LayerError> {
        let stat = match rfs::statat(folder, base, AtFlags::SYMLINK_NOFOLLOW) {
            // It went while we looked: a container that is being committed goes on running.
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(LayerError::io(path, "stat"))?,
        };
        if is_whiteout(&stat) {
            let (above, base) = super::name::split(path);
            let slash: &[u8] = if above.is_empty() { b"" } else { b"/" };
            self.whiteout(&[above, slash, WHITEOUT, base].concat(), (self.times)(stat.st_mtime as i64))?;
            return Ok(None);
        }
        if base.as_bytes().starts_with(WHITEOUT) {
            tracing::warn!(file = %String::from_utf8_lossy(path), "left out: named like a whiteout");
            return Ok(None);
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd =
                    rfs::openat(folder, base, flags, Mode::empty()).map_err(LayerError::io(path, "open"))?;
                path.push(b'/');
                let attributes = attributes(Of::Open(&fd), path)?;
                self.out.header(&self.meta(&stat, b'5'), path, b"", &attributes)?;
                return Ok(Some(fd));
            }
            FileType::RegularFile => self.file(folder, base, &stat, path)?,
            FileType::Socket | FileType::Unknown => {}
            kind => self.other(folder, base, &stat, kind, path)?,
        }
        Ok(None)
    }

    fn file(&mut self, folder: &OwnedFd, base: &CString, stat: &Stat, path: &[u8]) -> Result<(), LayerError> {
        if self.is_linked(stat, path)? {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rfs::openat(folder, base, flags | OFlags::NOATIME, Mode::empty())
            .or_else(|_| rfs::openat(folder, base, flags, Mode::empty()))
            .map_err(LayerError::io(path, "open"))?;
        let attributes = attributes(Of::Open(&fd), path)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.out.header(&Meta { size, ..self.meta(stat, b'0') }, path, b"", &attributes)?;
        self.size += size;
        self.content(File::from(fd), size, path)
    }

    /// The file's content, exactly as long as the header says, whatever happens to it meanwhile.
    fn content(&mut self, mut file: File, size: u64, path: &[u8]) -> Result<(), LayerError> {
        let mut left = size;
        while left > 0 {
            let most = self.data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = match file.read(&mut self.data[..most]) {
                Ok(0) => {
                    self.data[..most].fill(0);
                    most
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(LayerError::std_io(path, "read")(error)),
            };
            self.out.write(&self.data[..count])?;
            left -= count as u64;
        }
        self.out.pad(size)
    }

    fn other(
        &mut self,
        folder: &OwnedFd,
        base: &CString,
        stat: &Stat,
        kind: FileType,
        path: &[u8],
    ) -> Result<(), LayerError> {
        if self.is_linked(stat, path)? {
            return Ok(());
        }
        let flag = match kind {
            FileType::Symlink => b'2',
            FileType::CharacterDevice => b'3',
            FileType::BlockDevice => b'4',
            _ => b'6',
        };
        let target = match kind {
            FileType::Symlink => rfs::readlinkat(folder, base, Vec::new())
                .map_err(LayerError::io(path, "read link"))?
                .into_bytes(),
            _ => Vec::new(),
        };
        let proc_path = proc_path(folder, base.as_bytes());
        self.out.header(&self.meta(stat, flag), path, &target, &attributes(Of::Path(&proc_path), path)?)
    }

    /// Writes a hard link if the file has been packed under another name.
    fn is_linked(&mut self, stat: &Stat, path: &[u8]) -> Result<bool, LayerError> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.linked.get(&key).cloned() {
            self.out.header(&self.meta(stat, b'1'), path, &first, &[])?;
            return Ok(true);
        }
        self.linked.insert(key, path.to_vec());
        Ok(false)
    }

    fn whiteout(&mut self, name: &[u8], mtime: i64) -> Result<(), LayerError> {
        let meta = Meta { kind: b'0', mode: 0, uid: 0, gid: 0, size: 0, mtime, device: (0, 0) };
        self.out.header(&meta, name, b"", &[])
    }
}

/// The names in a folder, in the order of their bytes.
fn names(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a folder hides what lies in it below.
pub(crate) fn is_opaque(folder: &OwnedFd, path: &[u8]) -> Result<bool, LayerError> {
    let mut value = [0; 8];
    match rfs::fgetxattr(folder, OPAQUE, &mut value[..]) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(LayerError::io(path, "read extended attribute")(errno)),
    }
}

/// The attributes of what has this path, links not followed, as far as they belong into a layer; `path` is for
/// messages.
pub(crate) fn attribute_list(file: &Path, path: &[u8]) -> Result<Vec<Attribute>, LayerError> {
    attributes(Of::Path(file), path)
}

/// The attributes that belong into a layer, by name.
fn attributes(of: Of<'_>, path: &[u8]) -> Result<Vec<Attribute>, LayerError> {
    const WHAT: &str = "read extended attribute";
    let mut attributes = Vec::new();
    for name in of.names().map_err(LayerError::io(path, WHAT))? {
        match name.strip_prefix(OVERLAY) {
            Some(b"redirect") => return Err(LayerError::entry(path, Problem::Redirected("redirect"))),
            Some(b"metacopy") => return Err(LayerError::entry(path, Problem::Redirected("metacopy"))),
            _ => {}
        }
        let kept = name.starts_with(b"user.")
            || matches!(
                &name[..],
                b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
            );
        if kept && !name.starts_with(b"user.overlay.") {
            let value = of.value(&name).map_err(LayerError::io(path, WHAT))?;
            attributes.push((name, value));
        }
    }
    attributes.sort_unstable();
    Ok(attributes)
}
