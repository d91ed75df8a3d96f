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

use dray_spec::{Digest, Hasher};
use rustix::fs::{self as rfs, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::attribute::Of;
use super::header::BLOCK;
use super::tree::{is_whiteout, proc_path};
use super::{LayerError, OPAQUE, Problem, WHITEOUT, WHITEOUT_OPAQUE};

const BUFFER: usize = 256 * 1024;
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
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rfs::open(folder, flags, Mode::empty())
        .map_err(|errno| LayerError::Folder { operation: "open the folder to pack", source: errno.into() })?;
    let mut packer = Packer {
        out: Output { out, hasher: Hasher::new(), buffer: Vec::with_capacity(BUFFER), bytes: 0 },
        size: 0,
        linked: HashMap::new(),
        data: vec![0; BUFFER],
    };
    packer.folder(&root, &mut Vec::new())?;
    packer.out.write(&[0; 2 * BLOCK])?;
    let (diff_id, bytes) = packer.out.finish()?;
    Ok(Packed { diff_id, bytes, size: packer.size })
}

/// Where the tar goes: hashed and counted, in big writes.
struct Output<W> {
    out: W,
    hasher: Hasher,
    buffer: Vec<u8>,
    bytes: u64,
}

impl<W: Write> Output<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        match bytes.len() >= BUFFER {
            true => self.emit(bytes),
            false => {
                self.buffer.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> Result<(), LayerError> {
        let buffer = std::mem::take(&mut self.buffer);
        self.emit(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn emit(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(LayerError::Write)
    }

    fn pad(&mut self, written: u64) -> Result<(), LayerError> {
        let missing = written.next_multiple_of(BLOCK as u64) - written;
        self.write(&[0; BLOCK][..missing as usize])
    }

    fn finish(mut self) -> Result<(Digest, u64), LayerError> {
        self.flush()?;
        self.out.flush().map_err(LayerError::Write)?;
        Ok((self.hasher.finish(), self.bytes))
    }
}

struct Packer<W> {
    out: Output<W>,
    size: u64,
    /// The first name of each file that has several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    data: Vec<u8>,
}

impl<W: Write> Packer<W> {
    /// Everything in a folder; `path` is its name with a slash at the end, or nothing.
    fn folder(&mut self, folder: &OwnedFd, path: &mut Vec<u8>) -> Result<(), LayerError> {
        if is_opaque(folder, path)? {
            self.whiteout(&[path, WHITEOUT_OPAQUE].concat(), 0)?;
        }
        let length = path.len();
        for base in names(folder).map_err(LayerError::io(path, "list"))? {
            path.truncate(length);
            path.extend_from_slice(base.as_bytes());
            self.entry(folder, &base, path)?;
        }
        path.truncate(length);
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, base: &CString, path: &mut Vec<u8>) -> Result<(), LayerError> {
        let stat = match rfs::statat(folder, base, AtFlags::SYMLINK_NOFOLLOW) {
            // It went while we looked: a container that is being committed goes on running.
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(LayerError::io(path, "stat"))?,
        };
        if is_whiteout(&stat) {
            let (above, base) = super::name::split(path);
            let slash: &[u8] = if above.is_empty() { b"" } else { b"/" };
            return self.whiteout(&[above, slash, WHITEOUT, base].concat(), stat.st_mtime as i64);
        }
        if base.as_bytes().starts_with(WHITEOUT) {
            tracing::warn!(file = %String::from_utf8_lossy(path), "left out: named like a whiteout");
            return Ok(());
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd =
                    rfs::openat(folder, base, flags, Mode::empty()).map_err(LayerError::io(path, "open"))?;
                path.push(b'/');
                let attributes = attributes(Of::Open(&fd), path)?;
                self.header(&Meta::of(&stat, b'5'), path, b"", &attributes)?;
                self.folder(&fd, path)
            }
            FileType::RegularFile => self.file(folder, base, &stat, path),
            FileType::Socket | FileType::Unknown => Ok(()),
            kind => self.other(folder, base, &stat, kind, path),
        }
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
        self.header(&Meta { size, ..Meta::of(stat, b'0') }, path, b"", &attributes)?;
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
        self.header(&Meta::of(stat, flag), path, &target, &attributes(Of::Path(&proc_path), path)?)
    }

    /// Writes a hard link if the file has been packed under another name.
    fn is_linked(&mut self, stat: &Stat, path: &[u8]) -> Result<bool, LayerError> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.linked.get(&key).cloned() {
            self.header(&Meta::of(stat, b'1'), path, &first, &[])?;
            return Ok(true);
        }
        self.linked.insert(key, path.to_vec());
        Ok(false)
    }

    fn whiteout(&mut self, name: &[u8], mtime: i64) -> Result<(), LayerError> {
        let meta = Meta { kind: b'0', mode: 0, uid: 0, gid: 0, size: 0, mtime, device: (0, 0) };
        self.header(&meta, name, b"", &[])
    }

    fn header(
        &mut self,
        meta: &Meta,
        name: &[u8],
        link: &[u8],
        attributes: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), LayerError> {
        let mut block = [0; BLOCK];
        let mut records = Vec::new();
        meta.fill(&mut block, &mut records);
        fill_name(&mut block, &mut records, name);
        match link.len() <= 100 {
            true => block[157..157 + link.len()].copy_from_slice(link),
            false => record(&mut records, b"linkpath", link),
        }
        for (name, value) in attributes {
            record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        if !records.is_empty() {
            self.pax(&records)?;
        }
        sum(&mut block);
        self.out.write(&block)
    }

    fn pax(&mut self, records: &[u8]) -> Result<(), LayerError> {
        let mut block = [0; BLOCK];
        let size = records.len() as u64;
        let meta = Meta { kind: b'x', mode: 0o644, uid: 0, gid: 0, size, mtime: 0, device: (0, 0) };
        meta.fill(&mut block, &mut Vec::new());
        let name = b"PaxHeaders.0/entry";
        block[..name.len()].copy_from_slice(name);
        sum(&mut block);
        self.out.write(&block)?;
        self.out.write(records)?;
        self.out.pad(size)
    }
}

/// The numbers of a header.
struct Meta {
    kind: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    device: (u32, u32),
}

impl Meta {
    fn of(stat: &Stat, kind: u8) -> Self {
        let device = matches!(kind, b'3' | b'4');
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: 0,
            mtime: stat.st_mtime as i64,
            device: if device { (rfs::major(stat.st_rdev), rfs::minor(stat.st_rdev)) } else { (0, 0) },
        }
    }

    fn fill(&self, block: &mut [u8; BLOCK], records: &mut Vec<u8>) {
        block[156] = self.kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[100..108], self.mode.into());
        let number = |field: &mut [u8], key: &[u8], value: i64, records: &mut Vec<u8>| {
            let most = 1i64 << (3 * (field.len() - 1));
            match (0..most).contains(&value) {
                true => octal(field, value.unsigned_abs()),
                false => {
                    octal(field, 0);
                    record(records, key, value.to_string().as_bytes());
                }
            }
        };
        number(&mut block[108..116], b"uid", self.uid.into(), records);
        number(&mut block[116..124], b"gid", self.gid.into(), records);
        number(&mut block[124..136], b"size", i64::try_from(self.size).unwrap_or(i64::MAX), records);
        number(&mut block[136..148], b"mtime", self.mtime, records);
        octal(&mut block[329..337], self.device.0.into());
        octal(&mut block[337..345], self.device.1.into());
    }
}

/// Puts the name into the header: whole, split at a slash, or into a record.
fn fill_name(block: &mut [u8; BLOCK], records: &mut Vec<u8>, name: &[u8]) {
    if name.len() <= 100 {
        block[..name.len()].copy_from_slice(name);
        return;
    }
    let split = (0..name.len().min(156))
        .rev()
        .find(|index| name[*index] == b'/' && *index > 0 && *index + 1 < name.len())
        .filter(|index| name.len() - index - 1 <= 100);
    match split {
        Some(slash) => {
            block[345..345 + slash].copy_from_slice(&name[..slash]);
            block[..name.len() - slash - 1].copy_from_slice(&name[slash + 1..]);
        }
        None => {
            block[..100].copy_from_slice(&name[..100]);
            record(records, b"path", name);
        }
    }
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    for (index, byte) in field[..digits].iter_mut().enumerate() {
        *byte = b'0' + ((value >> (3 * (digits - 1 - index))) & 7) as u8;
    }
    field[digits] = 0;
}

fn sum(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..155], sum);
    block[155] = b' ';
}

/// Adds `<length> <key>=<value>\n`, where the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
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

fn is_opaque(folder: &OwnedFd, path: &[u8]) -> Result<bool, LayerError> {
    let mut value = [0; 8];
    match rfs::fgetxattr(folder, OPAQUE, &mut value[..]) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(LayerError::io(path, "read extended attribute")(errno)),
    }
}

/// The attributes that belong into a layer, by name.
fn attributes(of: Of<'_>, path: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, LayerError> {
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
