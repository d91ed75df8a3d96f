//! Tells the binary which commit it is built of, for `dray version`: `DRAY_COMMIT` if it is set (packagers build without
//! a repository), else what git says, else nothing. Only this crate, the last to be compiled, depends on it, so that a
//! commit makes nobody else build again.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DRAY_COMMIT");
    let given = std::env::var("DRAY_COMMIT").ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = given.or_else(from_git) {
        println!("cargo::rustc-env=DRAY_COMMIT={commit}");
    }
}

/// The short id of the commit that is checked out; none without git or outside of a repository of this project.
fn from_git() -> Option<String> {
    // A repository around an unpacked source archive is somebody else's.
    if !Path::new("../../.git").exists() {
        return None;
    }
    let commit = git(&["rev-parse", "--short=7", "HEAD"])?;
    let head = git(&["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_default();
    for name in ["HEAD", &head, "packed-refs"].into_iter().filter(|name| !name.is_empty()) {
        // A path that is not there would make cargo run this at every build.
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    Some(commit)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
