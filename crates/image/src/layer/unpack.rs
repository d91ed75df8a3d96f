//! Unpacking: entries become files.

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dray_spec::Digest;
use rustix::fs::{self as rfs, FileType, Mode};

use super::entry::{Entries, Entry, Keep, Kind};
use super::error::shown;
use super::name::Name;
use super::sparse::Segment;
use super::stream::{Chunks, through};
use super::tree::{Tree, os};
use super::{LayerError, Problem, WHITEOUT, WHITEOUT_META, WHITEOUT_OPAQUE};

/// How much a layer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the plain tar, and of all files together (a sparse file counts as long as it looks).
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

impl Default for Limits {
    /// No limits but what the disk has free.
    fn default() -> Self {
        Self { bytes: u64::MAX, entries: 16_000_000 }
    }
}

/// How a layer is unpacked.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How much it may be; never more than the disk has free.
    pub limits: Limits,
    /// The unpacked layers below it, topmost first, where they are known: for hard links to files there, and
    /// for the looks of folders that the archive does not name.
    pub below: Vec<PathBuf>,
}

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The digest of the plain tar.
    pub diff_id: Digest,
    /// Sum of the regular files' lengths.
    pub size: u64,
    /// How many entries there were.
    pub entries: u64,
    /// The length of the plain tar.
    pub tar_bytes: u64,
}

/// Unpacks a layer (plain, gzip or zstd) into an empty folder, in overlay form.
///
/// Kept: owners, modes with setuid, times with nanoseconds, hard links, devices, user attributes, file
/// capabilities and access control lists. A name given twice means the later one; names are relative to the
/// layer's root whether or not they begin with `/`.
///
/// # Errors
/// Refused, with the entry's name: names that lead out of the layer, hard links to what is not in it,
/// whiteouts of `.` and `..`, character devices 0:0, `trusted.` attributes, unknown types, malformed headers,
/// more bytes or entries than `options` or the disk allow. What was written until then stays in the folder;
/// the caller drops it as a whole.
pub fn unpack(reader: impl Read + Send, folder: &Path, options: &Options) -> Result<Unpacked, LayerError> {
    unpack_keeping(reader, folder, options, ()).map(|(unpacked, ..)| unpacked)
}

/// Unpacks as [`unpack`] does and lets `keep` see what the folder will not have. The flag says whether the
/// folder and what was kept are enough to make the same tar again: not if an entry took another's place.
pub(super) fn unpack_keeping<K: Keep>(
    reader: impl Read + Send,
    folder: &Path,
    options: &Options,
    keep: K,
) -> Result<(Unpacked, K, bool), LayerError> {
    let limits = within_free_space(folder, options.limits)?;
    // The tar is longer than its files by headers and padding.
    let stream_limit = limits.bytes.saturating_add(limits.entries.saturating_mul(2048));
    let ((size, entries, keep, complete), diff_id, tar_bytes) = through(reader, stream_limit, |chunks| {
        let mut unpacker = Unpacker {
            tree: Tree::open(folder, &options.below)?,
            limits,
            size: 0,
            entries: 0,
            folder_times: Vec::new(),
        };
        let keep = unpacker.all(chunks, keep)?;
        Ok((unpacker.size, unpacker.entries, keep, !unpacker.tree.has_replaced()))
    })?;
    Ok((Unpacked { diff_id, size, entries, tar_bytes }, keep, complete))
}

fn within_free_space(folder: &Path, limits: Limits) -> Result<Limits, LayerError> {
    let free = rfs::statvfs(folder)
        .map_err(|errno| LayerError::Folder { operation: "look for free space", source: errno.into() })?;
    let bytes = free.f_bavail.saturating_mul(free.f_frsize);
    // Some file systems do not count their inodes.
    let files = if free.f_files == 0 { u64::MAX } else { free.f_favail };
    Ok(Limits { bytes: limits.bytes.min(bytes), entries: limits.entries.min(files) })
}

struct Unpacker {
    tree: Tree,
    limits: Limits,
    size: u64,
    entries: u64,
    folder_times: Vec<(Vec<u8>, (i64, u32))>,
}

impl Unpacker {
    fn all<K: Keep>(&mut self, chunks: &mut Chunks, keep: K) -> Result<K, LayerError> {
        let mut entries = Entries::new(chunks, keep);
        while let Some(entry) = entries.next()? {
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(LayerError::Entries(self.limits.entries));
            }
            let name = Name::parse(&entry.name).map_err(|problem| LayerError::entry(&entry.name, problem))?;
            self.one(&entry, &name, &mut entries)?;
        }
        for (path, mtime) in std::mem::take(&mut self.folder_times) {
            self.tree.set_folder_time(&path, mtime)?;
        }
        entries.rest()
    }

    fn one<K: Keep>(
        &mut self,
        entry: &Entry,
        name: &Name,
        entries: &mut Entries<&mut Chunks, K>,
    ) -> Result<(), LayerError> {
        if name.is_root() {
            return self.root(entry);
        }
        let (_, base) = name.split();
        if name.bytes().split(|byte| *byte == b'/').any(|part| part.starts_with(WHITEOUT_META)) {
            return match base {
                WHITEOUT_OPAQUE => self.tree.opaque(name, &entry.name),
                _ => Ok(()),
            };
        }
        let parent = self.tree.parent(name, &entry.name)?;
        if let Some(hidden) = base.strip_prefix(WHITEOUT) {
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(LayerError::entry(&entry.name, Problem::Whiteout(shown(hidden))));
            }
            return self.tree.whiteout(&parent, hidden, entry);
        }
        match &entry.kind {
            Kind::File { size, map } => {
                self.count(entry, *size)?;
                let mut file = self.tree.file(&parent, base, entry)?;
                match map {
                    None => write_all(&mut file, name, entry, entries)?,
                    Some(map) => write_sparse(&file, *size, map, entry, entries)?,
                }
                self.tree.finish_file(&file, entry)
            }
            Kind::Folder => {
                self.folder_times.push((name.bytes().to_vec(), entry.mtime));
                self.tree.make_folder(&parent, base, entry)
            }
            Kind::HardLink(target) => {
                let target = Name::parse(target)
                    .map_err(|_| LayerError::entry(&entry.name, Problem::LinkEscapes(shown(target))))?;
                self.tree.hard_link(&parent, base, &entry.name, &target)
            }
            Kind::SymbolicLink(target) => {
                self.tree.make_other(&parent, base, &entry.name, || {
                    rfs::symlinkat(os(target), &*parent, os(base))
                })?;
                self.tree.finish_other(&parent, base, entry, true)
            }
            Kind::CharacterDevice(0, 0) => Err(LayerError::entry(&entry.name, Problem::WhiteoutDevice)),
            Kind::CharacterDevice(major, minor) => {
                self.node(&parent, base, entry, FileType::CharacterDevice, (*major, *minor))
            }
            Kind::BlockDevice(major, minor) => {
                self.node(&parent, base, entry, FileType::BlockDevice, (*major, *minor))
            }
            Kind::Fifo => self.node(&parent, base, entry, FileType::Fifo, (0, 0)),
        }
    }

    fn root(&mut self, entry: &Entry) -> Result<(), LayerError> {
        if entry.kind != Kind::Folder {
            return Err(LayerError::entry(&entry.name, Problem::Root));
        }
        let root = self.tree.parent(&Name::root(), &entry.name)?;
        self.folder_times.push((Vec::new(), entry.mtime));
        self.tree.finish_other(&root, b".", entry, false)
    }

    fn node(
        &mut self,
        parent: &std::os::fd::OwnedFd,
        base: &[u8],
        entry: &Entry,
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> Result<(), LayerError> {
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let device = rfs::makedev(major, minor);
        self.tree
            .make_other(parent, base, &entry.name, || rfs::mknodat(parent, os(base), kind, mode, device))?;
        self.tree.finish_other(parent, base, entry, true)
    }

    fn count(&mut self, entry: &Entry, size: u64) -> Result<(), LayerError> {
        let left = self.limits.bytes.saturating_sub(self.size);
        if size > left {
            return Err(LayerError::entry(&entry.name, Problem::TooBig { size, limit: left }));
        }
        self.size += size;
        Ok(())
    }
}

fn write_all<K: Keep>(
    file: &mut std::fs::File,
    name: &Name,
    entry: &Entry,
    entries: &mut Entries<&mut Chunks, K>,
) -> Result<(), LayerError> {
    entries.content(name.bytes(), |piece| {
        file.write_all(piece).map_err(LayerError::std_io(&entry.name, "write"))
    })
}

fn write_sparse<K: Keep>(
    file: &std::fs::File,
    size: u64,
    map: &[Segment],
    entry: &Entry,
    entries: &mut Entries<&mut Chunks, K>,
) -> Result<(), LayerError> {
    let failed = |source| LayerError::std_io(&entry.name, "write")(source);
    file.set_len(size).map_err(failed)?;
    let mut runs = map.iter().copied();
    let mut run = runs.next();
    entries.for_each_piece(|mut piece| {
        while let (Some(current), false) = (run, piece.is_empty()) {
            let count = piece.len().min(usize::try_from(current.length).unwrap_or(usize::MAX));
            file.write_all_at(&piece[..count], current.offset).map_err(failed)?;
            piece = &piece[count..];
            let (offset, length) = (current.offset + count as u64, current.length - count as u64);
            run = if length == 0 { runs.next() } else { Some(Segment { offset, length }) };
        }
        Ok(())
    })
}
