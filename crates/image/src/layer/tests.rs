//! Layers unpacked and packed.

mod faithful;
mod hostile;
mod round_trip;
pub(crate) mod tars;

use std::path::Path;

use super::{LayerError, Options, Unpacked, unpack};

/// Unpacks a tar into a new folder.
fn unpacked(tar: &[u8]) -> (tempfile::TempDir, Unpacked) {
    let dir = tempfile::tempdir().unwrap();
    let unpacked = unpack(tar, dir.path(), &Options::default()).unwrap();
    (dir, unpacked)
}

/// What is wrong with a tar.
fn refused(tar: &[u8]) -> String {
    refused_with(tar, &Options::default())
}

fn refused_with(tar: &[u8], options: &Options) -> String {
    let outside = tempfile::tempdir().unwrap();
    let inside = outside.path().join("layer");
    std::fs::create_dir(&inside).unwrap();
    let error = unpack(tar, &inside, options).unwrap_err();
    assert!(error.is_hostile(), "{error}");
    assert_eq!(names(outside.path()), ["layer"], "{error}");
    error.to_string()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn message(result: Result<Unpacked, LayerError>) -> String {
    result.unwrap_err().to_string()
}
