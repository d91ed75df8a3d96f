//! How much a folder takes.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::{Error, Result};

/// What a tree of files takes on the disk. A file with several names counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sum of the regular files' lengths: what Docker calls size.
    pub bytes: u64,
    /// What the disk has set aside for it.
    pub allocated: u64,
    /// Files, folders and everything else.
    pub inodes: u64,
}

/// Measures the tree below `path`, without following links and without leaving its file system. What
/// vanishes meanwhile is left out.
///
/// # Errors
/// If a folder cannot be read.
pub fn usage(path: &Path) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let Some(root) = stat(path)? else { return Ok(usage) };
    let mut folders = if root.is_dir() { vec![path.to_path_buf()] } else { Vec::new() };
    count(&root, &mut usage, &mut seen);
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(Error::io("list", &folder, error)),
        };
        for entry in entries {
            let path = entry.map_err(|source| Error::io("list", &folder, source))?.path();
            let Some(metadata) = stat(&path)? else { continue };
            count(&metadata, &mut usage, &mut seen);
            if metadata.is_dir() && metadata.dev() == root.dev() {
                folders.push(path);
            }
        }
    }
    Ok(usage)
}

fn count(metadata: &fs::Metadata, usage: &mut Usage, seen: &mut HashSet<(u64, u64)>) {
    if metadata.nlink() > 1 && !metadata.is_dir() && !seen.insert((metadata.dev(), metadata.ino())) {
        return;
    }
    usage.inodes += 1;
    usage.allocated += metadata.blocks() * 512;
    if metadata.is_file() {
        usage.bytes += metadata.len();
    }
}

fn stat(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if gone(&error) => Ok(None),
        Err(error) => Err(Error::io("stat", path, error)),
    }
}

fn gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_links_count_once_and_links_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/a"), [1; 1000]).unwrap();
        fs::hard_link(dir.path().join("d/a"), dir.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        let usage = usage(dir.path()).unwrap();
        assert_eq!(usage.bytes, 1000);
        assert_eq!(usage.inodes, 4);
        assert!(usage.allocated >= 1000);
        assert_eq!(super::usage(&dir.path().join("b")).unwrap().bytes, 1000, "a file alone");
    }

    #[test]
    fn nothing_there_takes_nothing() {
        assert_eq!(usage(Path::new("/nonexistent/x")).unwrap(), Usage::default());
    }
}
