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
    folder(&fd, &mut Vec::new(), visit)
}

fn folder(
    fd: &OwnedFd,
    path: &mut Vec<u8>,
    visit: &mut dyn FnMut(&[u8], Found<'_>),
) -> Result<(), LayerError> {
    let length = path.len();
    for name in names(fd, path)? {
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        entry(fd, &name, path, visit)?;
        path.truncate(length);
    }
    Ok(())
}

fn entry(
    parent: &OwnedFd,
    name: &CString,
    path: &mut Vec<u8>,
    visit: &mut dyn FnMut(&[u8], Found<'_>),
) -> Result<(), LayerError> {
    let stat =
        rfs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(LayerError::io(path, "look at"))?;
    if is_whiteout(&stat) {
        visit(path, Found::Whiteout);
        return Ok(());
    }
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rfs::openat(parent, name, flags, Mode::empty()).map_err(LayerError::io(path, "open"))?;
            visit(path, Found::Folder { stat: &stat, opaque: is_opaque(&fd, path)? });
            folder(&fd, path, visit)
        }
        FileType::Symlink => {
            let target =
                rfs::readlinkat(parent, name, Vec::new()).map_err(LayerError::io(path, "read link"))?;
            visit(path, Found::Other { stat: &stat, target: target.into_bytes() });
            Ok(())
        }
        _ => {
            visit(path, Found::Other { stat: &stat, target: Vec::new() });
            Ok(())
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
