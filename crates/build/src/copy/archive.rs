//! `ADD` of a local archive: its entries are unpacked at the destination.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use super::{Destination, Placement, io_error};
use crate::compression::decompressed;
use crate::error::CopyError;
use crate::tarball::Tarball;
use crate::unpack::{Owners, Policy, UnpackError, Unpacker};

/// Whether a file is a tar, plain or compressed, that can be read. Leaves the file at its beginning.
pub(crate) fn is_archive(file: &mut File) -> std::io::Result<bool> {
    let found = match decompressed(&*file) {
        Ok(reader) => matches!(Tarball::new(reader).next_entry(), Ok(Some(_))),
        Err(_) => false,
    };
    file.seek(SeekFrom::Start(0))?;
    Ok(found)
}

/// Unpacks an archive at the destination, which becomes a directory. Owners are the archive's unless the
/// placement has one.
pub(crate) fn unpack_archive(
    destination: &Destination<'_>,
    placement: &Placement<'_>,
    archive: File,
    shown: &str,
) -> Result<(), CopyError> {
    let failed = |source| CopyError::Archive { path: shown.to_owned(), source };
    let tree = destination.tree;
    let dest = Path::new(destination.path);
    let base = tree.resolve(dest).map_err(io_error("resolve", dest))?;
    if tree.find(&base).map_err(io_error("stat", dest))?.is_some_and(|stat| !crate::tree::is_dir(&stat)) {
        return Err(CopyError::NotADirectory(destination.path.to_owned()));
    }
    tree.make_dirs(&base, placement.owner.unwrap_or_default()).map_err(io_error("create", dest))?;
    let owners = placement.owner.map_or(Owners::Kept, Owners::Fixed);
    let mut unpacker = Unpacker::new(tree, Policy { base, owners, devices: true });
    let reader = decompressed(archive).map_err(|error| failed(UnpackError::read(error)))?;
    let mut tarball = Tarball::new(reader);
    while let Some(entry) = tarball.next_entry().map_err(|error| failed(UnpackError::Tar(error)))? {
        if placement.cancel.is_cancelled() {
            return Err(CopyError::Cancelled);
        }
        unpacker.entry(&entry, &mut tarball).map_err(failed)?;
    }
    unpacker.finish_dirs().map_err(failed)
}
