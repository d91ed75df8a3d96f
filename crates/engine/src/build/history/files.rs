//! Lists of the files that steps have read: one file each, named by its content, so that builds that read the same
//! files share it.
//!
//! ```text
//! file*    shared: bytes that the path has in common with the one before; rest: length, bytes
//!          mode, user, group; all of these as varints                        content: 8 bytes
//! ```
//! What is read of a list is not trusted: a damaged one is none.

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::path::Path;

use dray_build::InputFile;
use dray_spec::Digest;
use serde::{Deserialize, Serialize};

/// Bits of a mode that say what a file is.
const KIND: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;

/// A file that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Its path.
    pub path: String,
    /// What happened to it.
    pub change: Change,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Other bytes, or another target of a link.
    Content,
    /// Another mode.
    Mode,
    /// Another user or group.
    Owner,
    /// Another type of file.
    Type,
}

/// Brings a list into its order.
pub(super) fn sorted(mut files: Vec<InputFile>) -> Vec<InputFile> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    files
}

/// Keeps a list (in its order) in a folder, if it is not there yet; gives its name and bytes.
pub(super) fn keep(folder: &Path, files: &[InputFile]) -> io::Result<(String, u64)> {
    let bytes = encoded(files);
    let name = Digest::sha256_of(&bytes).hex()[..32].to_owned();
    let path = folder.join(&name);
    if !path.exists() {
        fs::create_dir_all(folder)?;
        let draft = folder.join(format!("{name}.draft-{}", super::random_id(8)));
        fs::write(&draft, &bytes)?;
        fs::rename(&draft, &path)?;
    }
    Ok((name, bytes.len() as u64))
}

/// Reads a list; nothing if it is not there or damaged.
pub(super) fn read(folder: &Path, name: &str) -> Option<Vec<InputFile>> {
    decoded(&fs::read(folder.join(name)).ok()?)
}

fn encoded(files: &[InputFile]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(files.len() * 32);
    let mut before: &[u8] = b"";
    for file in files {
        let shared = before.iter().zip(&file.path).take_while(|(a, b)| a == b).count();
        let rest = &file.path[shared..];
        put(&mut bytes, shared as u64);
        put(&mut bytes, rest.len() as u64);
        bytes.extend_from_slice(rest);
        for number in [file.mode, file.owner.0, file.owner.1] {
            put(&mut bytes, number.into());
        }
        bytes.extend_from_slice(&file.content.to_be_bytes());
        before = &file.path;
    }
    bytes
}

fn decoded(mut bytes: &[u8]) -> Option<Vec<InputFile>> {
    let mut files: Vec<InputFile> = Vec::new();
    while !bytes.is_empty() {
        let shared = usize::try_from(take(&mut bytes)?).ok()?;
        let length = usize::try_from(take(&mut bytes)?).ok()?;
        let before = files.last().map_or(&[][..], |file| &file.path);
        let mut path = before.get(..shared)?.to_vec();
        path.extend_from_slice(bytes.get(..length)?);
        bytes = &bytes[length..];
        let mut number = || u32::try_from(take(&mut bytes)?).ok();
        let (mode, owner) = (number()?, (number()?, number()?));
        let (content, rest) = bytes.split_first_chunk::<8>()?;
        bytes = rest;
        files.push(InputFile { path, mode, owner, content: u64::from_be_bytes(*content) });
    }
    Some(files)
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// What of two lists (in their order) is not the same. A folder counts only where nothing else says it.
pub(super) fn changes(old: &[InputFile], new: &[InputFile]) -> Vec<FileChange> {
    let mut changes: Vec<(FileChange, bool)> = Vec::new();
    let mut add = |file: &InputFile, change: Change| {
        let path = String::from_utf8_lossy(&file.path).into_owned();
        let is_folder = file.mode & KIND == FOLDER && matches!(change, Change::Added | Change::Removed);
        changes.push((FileChange { path, change }, is_folder));
    };
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.path.cmp(&new.path),
        };
        match order {
            Ordering::Less => {
                if let Some(file) = old.next() {
                    add(file, Change::Removed);
                }
            }
            Ordering::Greater => {
                if let Some(file) = new.next() {
                    add(file, Change::Added);
                }
            }
            Ordering::Equal => {
                if let (Some(before), Some(file)) = (old.next(), new.next())
                    && let Some(change) = change(before, file)
                {
                    add(file, change);
                }
            }
        }
    }
    let only_folders = changes.iter().all(|(_, is_folder)| *is_folder);
    let said = changes.into_iter().filter(|(_, is_folder)| only_folders || !is_folder);
    said.map(|(change, _)| change).collect()
}

fn change(old: &InputFile, new: &InputFile) -> Option<Change> {
    if old.mode & KIND != new.mode & KIND {
        Some(Change::Type)
    } else if old.content != new.content {
        Some(Change::Content)
    } else if old.mode != new.mode {
        Some(Change::Mode)
    } else {
        (old.owner != new.owner).then_some(Change::Owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, mode: u32, content: u64) -> InputFile {
        InputFile { path: path.into(), mode, owner: (0, 100_000), content }
    }

    fn some() -> Vec<InputFile> {
        vec![
            file("app", 0o040_755, 0),
            file("app/main.rs", 0o100_644, 7),
            file("app/main.rs.orig", 0o100_644, u64::MAX),
            file("b\u{fffd}", 0o120_777, 1 << 63),
        ]
    }

    #[test]
    fn a_list_is_read_as_it_was_kept_and_kept_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (name, bytes) = keep(folder.path(), &some()).expect("kept");
        assert_eq!(read(folder.path(), &name), Some(some()));
        assert_eq!(keep(folder.path(), &some()).expect("kept"), (name, bytes));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        assert_eq!(read(folder.path(), "other"), None);
    }

    #[test]
    fn a_damaged_list_is_none() {
        let bytes = encoded(&some());
        for length in 1..bytes.len() {
            if let Some(files) = decoded(&bytes[..length]) {
                assert!(some().starts_with(&files), "{length}");
            }
        }
        assert_eq!(decoded(&[0xff; 40]), None);
        assert_eq!(decoded(&[5, 0, 0, 0, 0]), None, "a path that begins like none");
    }

    #[test]
    fn what_differs_is_told_file_by_file() {
        let old = sorted(vec![
            file("app", 0o040_755, 0),
            file("app/a", 0o100_644, 1),
            file("app/b", 0o100_644, 1),
            file("app/c", 0o100_644, 1),
            file("app/d", 0o100_644, 1),
        ]);
        let new = sorted(vec![
            file("app/new/x", 0o100_644, 1),
            file("app/new", 0o040_755, 0),
            file("app/d", 0o120_777, 1),
            file("app/c", 0o100_755, 1),
            file("app/b", 0o100_644, 2),
            file("app", 0o040_755, 0),
        ]);
        let told = |old, new| -> Vec<(String, Change)> {
            changes(old, new).into_iter().map(|change| (change.path, change.change)).collect()
        };
        let expected = [
            ("app/a", Change::Removed),
            ("app/b", Change::Content),
            ("app/c", Change::Mode),
            ("app/d", Change::Type),
            ("app/new/x", Change::Added),
        ];
        assert_eq!(told(&old, &new), expected.map(|(path, change)| (path.to_owned(), change)));
        assert_eq!(told(&old[..1], &[]), [("app".to_owned(), Change::Removed)]);
        assert!(told(&new, &new).is_empty());
    }
}
