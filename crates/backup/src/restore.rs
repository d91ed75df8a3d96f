//! Restoring: the tree's files are made empty, then each pack is read once, in whatever order packs come, and its chunks
//! are written wherever they belong. Owners, modes, attributes and times come last, since writing changes them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use dray_spec::Digest;
use rustix::fs::{self as sys, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::node::{Kind, Node, Time};
use crate::tree::Tree;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A chunk's place: its number, the file's node, the offset there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    chunk: u32,
    node: u32,
    offset: u64,
}

/// A volume being restored.
pub struct Restore {
    root: OwnedFd,
    tree: Tree,
    /// By chunk.
    places: Vec<Place>,
    /// Where each pack's chunks begin.
    starts: Vec<u32>,
    /// Packs by their digest.
    numbers: HashMap<Digest, usize>,
    /// Packs that have not come yet.
    missing: HashSet<usize>,
    /// The file written last.
    open: Option<(u32, File)>,
}

impl Restore {
    /// Makes everything but the files' bytes in an empty folder that nobody else works in.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn begin(root: &Path, mut tree: Tree) -> Result<Self, Error> {
        let opened = sys::open(root, FOLDER, Mode::empty());
        let root = opened.map_err(|errno| Error::file("open", root)(errno.into()))?;
        let mut places = Vec::new();
        for (number, node) in tree.nodes.iter_mut().enumerate() {
            let node_number = number as u32;
            let of_file = std::mem::take(&mut node.chunks).into_iter();
            places.extend(of_file.map(|(offset, chunk)| Place { chunk, node: node_number, offset }));
        }
        places.sort_unstable();
        let numbers = tree.packs.iter().enumerate().map(|(number, pack)| (pack.digest.clone(), number));
        let restore = Restore {
            root,
            places,
            starts: tree.starts(),
            numbers: numbers.collect(),
            missing: (0..tree.packs.len()).collect(),
            open: None,
            tree,
        };
        restore.make_all()?;
        Ok(restore)
    }

    /// The packs that have not come yet, by digest and size.
    pub fn wanted(&self) -> Vec<(Digest, u64)> {
        let packs = self.tree.packs.iter().enumerate();
        let missing = packs.filter(|(number, _)| self.missing.contains(number));
        missing.map(|(_, pack)| (pack.digest.clone(), pack.size)).collect()
    }

    /// Whether it is a pack that has not come yet.
    #[must_use]
    pub fn wants(&self, digest: &Digest) -> bool {
        self.numbers.get(digest).is_some_and(|number| self.missing.contains(number))
    }

    /// Takes a pack. One that is not wanted is not read.
    ///
    /// # Errors
    /// If it is damaged, or the disk fails.
    pub fn pack(&mut self, digest: &Digest, blob: impl Read) -> Result<(), Error> {
        let Some(&number) = self.numbers.get(digest) else { return Ok(()) };
        if !self.missing.contains(&number) {
            return Ok(());
        }
        let pack = self.tree.packs[number].clone();
        let start = self.starts[number];
        pack.read(blob, |place, bytes| self.write(start + place as u32, bytes))?;
        self.missing.remove(&number);
        Ok(())
    }

    /// Sets what writing would have changed, and writes all of it to the disk.
    ///
    /// # Errors
    /// [`Error::MissingPacks`], or if the disk fails.
    pub fn finish(mut self) -> Result<(), Error> {
        if !self.missing.is_empty() {
            let (missing, all) = (self.missing.len(), self.tree.packs.len());
            return Err(Error::MissingPacks { missing, all });
        }
        self.open = None;
        // Folders after what is in them, whose making changes their times.
        for node in self.tree.nodes.iter().rev().filter(|node| node.first.is_none()) {
            self.settle(node).map_err(Error::file("restore", node.path.path()))?;
        }
        sys::syncfs(&self.root).map_err(|errno| Error::file("write back", ".")(errno.into()))
    }

    fn make_all(&self) -> Result<(), Error> {
        let mut parent: (Vec<u8>, Option<OwnedFd>) = (Vec::new(), None);
        for node in self.tree.nodes.iter().skip(1) {
            let failed = Error::file("restore", node.path.path());
            let Some((folder, name)) = node.path.split() else { continue };
            let made = (|| {
                if parent.1.is_none() || parent.0 != folder {
                    parent = (folder.to_vec(), Some(self.folder(folder)?));
                }
                let Some(folder) = parent.1.as_ref() else { return Ok(()) };
                self.make(node, folder, name)
            })();
            made.map_err(failed)?;
        }
        Ok(())
    }

    fn make(&self, node: &Node, folder: &OwnedFd, name: &[u8]) -> io::Result<()> {
        if let Some(first) = node.first {
            let first = &self.tree.nodes[first as usize].path;
            let Some((other, other_name)) = first.split() else { return Err(Errno::INVAL.into()) };
            let other = self.folder(other)?;
            return Ok(sys::linkat(&other, other_name, folder, name, AtFlags::empty())?);
        }
        match node.kind {
            Kind::Dir => sys::mkdirat(folder, name, Mode::RWXU)?,
            Kind::File => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = sys::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
                sys::ftruncate(&file, node.size)?;
            }
            Kind::Symlink => {
                let target = node.target.clone().unwrap_or_default();
                sys::symlinkat(target.0.as_slice(), folder, name)?;
            }
            Kind::Char | Kind::Block | Kind::Fifo => {
                let kind = match node.kind {
                    Kind::Char => FileType::CharacterDevice,
                    Kind::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let (major, minor) = node.device.unwrap_or_default();
                sys::mknodat(folder, name, kind, Mode::RUSR | Mode::WUSR, sys::makedev(major, minor))?;
            }
        }
        Ok(())
    }

    /// Opens a folder of the volume, name by name, through no link.
    fn folder(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let mut folder = self.root.try_clone()?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            folder = sys::openat(&folder, name, FOLDER, Mode::empty())?;
        }
        Ok(folder)
    }

    fn write(&mut self, chunk: u32, bytes: &[u8]) -> Result<(), Error> {
        let from = self.places.partition_point(|place| place.chunk < chunk);
        let mut at = from;
        while let Some(place) = self.places.get(at).copied().filter(|place| place.chunk == chunk) {
            let path = &self.tree.nodes[place.node as usize].path;
            let failed = Error::file("write", path.path());
            let file = match self.open.take() {
                Some((node, file)) if node == place.node => Ok(file),
                _ => self.open_file(place.node),
            };
            let written = file.and_then(|file| file.write_all_at(bytes, place.offset).map(|()| file));
            self.open = Some((place.node, written.map_err(failed)?));
            at += 1;
        }
        Ok(())
    }

    fn open_file(&self, node: u32) -> io::Result<File> {
        let Some((folder, name)) = self.tree.nodes[node as usize].path.split() else {
            return Err(Errno::INVAL.into());
        };
        let folder = self.folder(folder)?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(sys::openat(&folder, name, flags, Mode::empty())?.into())
    }

    /// Owner first: changing it clears the set-id bits and capabilities that come after.
    fn settle(&self, node: &Node) -> io::Result<()> {
        let owner = (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)));
        let mode = Mode::from_raw_mode(node.mode);
        let opened = match (node.kind, node.path.split()) {
            (Kind::Dir, _) => Some(self.folder(&node.path.0)?),
            (Kind::File, Some((folder, name))) => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                Some(sys::openat(self.folder(folder)?, name, flags, Mode::empty())?)
            }
            _ => None,
        };
        if let Some(file) = opened {
            sys::fchown(&file, owner.0, owner.1)?;
            sys::fchmod(&file, mode)?;
            for (name, value) in &node.xattrs {
                match sys::fsetxattr(file.as_fd(), name.0.as_slice(), &value.0, XattrFlags::empty()) {
                    Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            return Ok(sys::futimens(&file, &times(node.mtime))?);
        }
        let Some((folder, name)) = node.path.split() else { return Ok(()) };
        let folder = self.folder(folder)?;
        sys::chownat(&folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        if node.kind != Kind::Symlink {
            sys::chmodat(&folder, name, mode, AtFlags::empty())?;
        }
        Ok(sys::utimensat(&folder, name, &times(node.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn times(modified: Time) -> Timestamps {
    let time = Timespec { tv_sec: modified.0, tv_nsec: modified.1.min(999_999_999).into() };
    Timestamps { last_access: time, last_modification: time }
}
