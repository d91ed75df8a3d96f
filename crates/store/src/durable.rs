//! Durable changes of the directory tree: what has been renamed or removed stays so after a power cut.

use std::fs::{self, File};
use std::path::Path;

use crate::{Error, Result, remove_tree};

/// Brings a folder's entries to the disk.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|source| Error::io("sync", path, source))
}

/// What tells this run of the machine from any other.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".into(), |text| text.trim().to_string())
}

/// Removes a file, or a folder with everything in it; fine if it is gone already.
pub(crate) fn remove_all(path: &Path) -> Result<()> {
    remove_tree(path).map_err(|source| Error::io("remove", path, source))
}

/// The entries of a folder with their names; names that are not UTF-8 are none of ours and left out.
pub(crate) fn entries(path: &Path) -> Result<Vec<(String, fs::DirEntry)>> {
    let failed = |source| Error::io("list", path, source);
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            entries.push((name, entry));
        }
    }
    Ok(entries)
}
