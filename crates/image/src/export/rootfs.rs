//! The files of an image as a container sees them: its layers as a read-only overlay that is mounted nowhere.

use std::ffi::{CString, OsStr};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dray_store::{LayerDraft, LayerId};
use rustix::fs::{self as rfs, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};

use super::ExtraFile;
use crate::layer::{self, LayerError, Packed};
use crate::{Error, Image, Images, Result};

/// The files of an image.
#[derive(Debug)]
pub struct Rootfs {
    top: OwnedFd,
    /// What stands for an image without layers.
    _empty: Option<LayerDraft>,
}

/// A folder on the way from the top to where a walk is.
struct Level {
    fd: OwnedFd,
    path: PathBuf,
    /// What is still to be visited of it.
    names: std::vec::IntoIter<CString>,
}

/// A file, folder or link below the top.
#[derive(Debug, Clone)]
pub struct RootfsEntry {
    /// Relative to the top.
    pub path: PathBuf,
    /// What it is.
    pub stat: Stat,
    /// Target of a symbolic link.
    pub target: Vec<u8>,
}

impl Images {
    /// The files of an image. The caller keeps its layers.
    ///
    /// # Errors
    /// If the layers cannot be put together.
    pub fn rootfs(&self, image: &Image) -> Result<Rootfs> {
        self.rootfs_of(&image.layers, &image.id)
    }

    /// The files that layers make, bottom first, of what errors call `subject`. The caller keeps them.
    ///
    /// # Errors
    /// If they cannot be put together.
    pub fn rootfs_of(&self, layers: &[LayerId], subject: impl Display) -> Result<Rootfs> {
        let failed = |source: io::Error| {
            Error::layer(subject)(LayerError::Folder { operation: "put together the layers", source })
        };
        let known = self.store().layers();
        let mut lower = known.folders_of(layers.iter().rev());
        let empty = if lower.is_empty() { Some(known.begin()?) } else { None };
        lower.extend(empty.as_ref().map(|draft| draft.path().to_owned()));
        let overlay = dray_sys::mount::Overlay { lower: &lower, upper: None, options: &[] };
        let top = dray_sys::mount::overlay(&overlay).map_err(failed)?;
        Ok(Rootfs { top, _empty: empty })
    }
}

impl Rootfs {
    /// Writes all files as one tar.
    ///
    /// # Errors
    /// If a file cannot be read, or `out` fails.
    pub fn tar(&self, out: impl Write) -> Result<Packed, LayerError> {
        layer::tar(&self.path(), out)
    }

    /// Writes the files of several as one tar, each in a folder of the name that comes with it, with further files.
    ///
    /// # Errors
    /// As [`Rootfs::tar`].
    pub fn tar_all<'a>(
        all: impl IntoIterator<Item = (&'a str, &'a Rootfs, &'a [ExtraFile])>,
        out: impl Write,
    ) -> Result<Packed, LayerError> {
        let paths: Vec<(&str, PathBuf, &[ExtraFile])> =
            all.into_iter().map(|(name, rootfs, extra)| (name, rootfs.path(), extra)).collect();
        layer::tar_folders(paths.iter().map(|(name, path, extra)| (*name, path.as_path(), *extra)), out)
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.top.as_raw_fd()).into()
    }

    /// Visits all files, each folder before what is in it, names in the order of their bytes.
    ///
    /// # Errors
    /// If a folder cannot be read, or the visitor's own.
    pub fn walk(&self, visit: &mut dyn FnMut(RootfsEntry) -> io::Result<()>) -> io::Result<()> {
        // Not by recursion: folders may lie as deep in each other as names are long.
        let mut levels = vec![self.level(PathBuf::new())?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                levels.pop();
                continue;
            };
            let stat = rfs::statat(&level.fd, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            let target = match kind {
                FileType::Symlink => rfs::readlinkat(&level.fd, &name, Vec::new())?.into_bytes(),
                _ => Vec::new(),
            };
            let path = level.path.join(OsStr::from_bytes(name.as_bytes()));
            visit(RootfsEntry { path: path.clone(), stat, target })?;
            if kind == FileType::Directory {
                levels.push(self.level(path)?);
            }
        }
        Ok(())
    }

    fn level(&self, path: PathBuf) -> io::Result<Level> {
        let fd = self.open_as(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort_unstable();
        Ok(Level { fd, path, names: names.into_iter() })
    }

    /// Its top, to be looked through.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// Opens a file that [`Rootfs::walk`] has named.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.open_as(path, OFlags::RDONLY | OFlags::NONBLOCK).map(File::from)
    }

    fn open_as(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rfs::openat2(&self.top, path, flags, Mode::empty(), ResolveFlags::BENEATH)?)
    }
}
