//! `system`: what takes space, and what frees it.

mod context;
mod df;
mod in_use;
mod prune;

use std::fs;
use std::path::Path;
use std::process::Command;

use dray_harness::Daemon;

/// What `du` says that a folder takes.
fn du(path: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "-B1"]).arg(path).output().expect("du");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("a number from du")
}

/// How many entries a folder of the data root has.
fn entries(daemon: &Daemon, folder: &str) -> usize {
    fs::read_dir(daemon.data_root().join(folder)).map_or(0, |entries| entries.flatten().count())
}

/// A file that no file system can make small.
fn noise(path: &Path, megabytes: u64) {
    let mut random = fs::File::open("/dev/urandom").expect("random");
    let mut file = fs::File::create(path).expect("a file");
    std::io::copy(&mut std::io::Read::take(&mut random, megabytes << 20), &mut file).expect("noise");
}
