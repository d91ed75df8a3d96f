//! The second disk: what is tested, made anew for each machine.
//!
//! ```text
//! init.sh   the first process       xtask    what runs the tests
//! dray      under test              e2e      the tests; `arguments` has a line for each of theirs
//! docker    Docker's client         target/  CARGO_TARGET_DIR: the test images
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use dray_harness::{cache_dir, docker_binary, fixture};

use super::disk;
use crate::command::run;

/// Room for the files and no more: tests write to the first disk.
const MEGABYTES: u32 = 1 << 10;

/// Makes the disk, of files that are put into an empty folder, and leaves none there.
pub fn make(dray: &Path, tests: &Path, arguments: &[&str], files: &Path, out: &Path) -> Result<()> {
    fs::create_dir_all(files.join("target/test-fixtures"))?;
    strip(dray, &files.join("dray"))?;
    strip(tests, &files.join("e2e"))?;
    strip(&std::env::current_exe()?, &files.join("xtask"))?;
    fs::copy(docker_binary(), files.join("docker")).context("Docker's client")?;
    fs::write(files.join("arguments"), arguments.join("\n"))?;
    let init = files.join("init.sh");
    fs::write(&init, include_str!("init.sh"))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    for fixture in [fixture::busybox(), fixture::debian()] {
        let name = fixture.strip_prefix(cache_dir())?;
        run(Command::new("cp").arg("-a").arg(&fixture).arg(files.join("target/test-fixtures").join(name)))?;
    }
    disk::ext4(out, MEGABYTES, files)?;
    fs::remove_dir_all(files).context("the files of the disk")
}

/// Copies a program without what debuggers need, which is most of it.
fn strip(program: &Path, to: &Path) -> Result<()> {
    run(Command::new("strip").arg("-o").arg(to).arg(program))
}
