//! Files that are never half written.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::command_error::Error;

/// Writes a file beside the old one and renames it.
///
/// # Errors
/// The disk fails.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let draft = path.with_extension(format!("draft{}", std::process::id()));
    let mut open = std::fs::OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(mode);
    let mut file = open.open(&draft).map_err(Error::file("open", &draft))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::file("write", &draft))?;
    std::fs::rename(&draft, path).map_err(Error::file("rename", path))
}
