//! Walking through a layer's folder: every entry with what the file system knows of it, folders before what is in
//! them, names in the order of their bytes.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self as rfs, AtFlags, Dir, FileType, Mode, OFlags, Stat};

use crate::layer::LayerError;
use crate::layer::overlay::{is_opaque, is_whiteout};

/// An entry of a layer.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// Hides what has this name below.
    Whiteout,
    /// A folder; an opaque one hides what lies in it below.
    Folder { stat: &'a Stat, opaque: bool },
    /// Anything else, with the link's target where it is one.
    Other { stat: &'a Stat, target: Vec<u8> },
}

/// Calls `visit` with the path (no slash at either end) of every entry. The root itself comes first, as the empty
/// path.
///
/// # Errors
/// If a folder cannot be read.
pub(super) fn walk(root: &Path, visit: &mut dyn FnMut(&[u8], Found<'_>)) -> Result<(), LayerError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |errno: rustix::io::Errno| LayerError::Folder {
        operation: "open the layer's folder",
        source: errno.into(),
    };
    let fd = rfs::open(root, flags, Mode::empty()).map_err(failed)?;
    let stat = rfs::fstat(&fd).map_err(failed)?;
    visit(b"", Found::Folder { stat: &stat, opaque: is_opaque(&fd, b"")? });
    all_in(fd, visit)
}

/// A folder on the way from the root to where the walk is.
struct Level {
    fd: OwnedFd,
    names: std::vec::IntoIter<CString>,
    /// The length of its path.
    length: usize,
}

/// Not by recursion: a layer's folders may lie as deep in each other as names are long.
fn all_in(root: OwnedFd, visit: &mut dyn FnMut(&[u8], Found<'_>)) -> Result<(), LayerError> {
    let mut path = Vec::new();
    let mut levels = vec![level(root, &path)?];
    while let Some(within) = levels.last_mut() {
        path.truncate(within.length);
        let Some(name) = within.names.next() else {
            levels.pop();
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        if let Some(inner) = entry(&within.fd, &name, &path, visit)? {
            levels.push(level(inner, &path)?);
        }
    }
    Ok(())
}

fn level(fd: OwnedFd, path: &[u8]) -> Result<Level, LayerError> {
    let names = names(&fd, path)?.into_iter();
    Ok(Level { fd, names, length: path.len() })
}

/// Visits an entry; a folder is given back, to go on with what is in it.
fn entry(
    parent: &OwnedFd,
    name: &CString,
    path: &[u8],
    visit: &mut dyn FnMut(&[u8], Found<'_>),
) -> Result<Option<OwnedFd>, LayerError> {
    let stat =
        rfs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(LayerError::io(path, "look at"))?;
    if is_whiteout(&stat) {
        visit(path, Found::Whiteout);
        return Ok(None);
    }
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rfs::openat(parent, name, flags, Mode::empty()).map_err(LayerError::io(path, "open"))?;
            visit(path, Found::Folder { stat: &stat, opaque: is_opaque(&fd, path)? });
            Ok(Some(fd))
        }
        FileType::Symlink => {
            let target =
                rfs::readlinkat(parent, name, Vec::new()).map_err(LayerError::io(path, "read link"))?;
            visit(path, Found::Other { stat: &stat, target: target.into_bytes() });
            Ok(None)
        }
        _ => {
            visit(path, Found::Other { stat: &stat, target: Vec::new() });
            Ok(None)
        }
    }
}

fn names(fd: &OwnedFd, path: &[u8]) -> Result<Vec<CString>, LayerError> {
    let failed = || LayerError::io(path, "list");
    let mut names = Vec::new();
    for entry in Dir::read_from(fd).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}
