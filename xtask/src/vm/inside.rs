//! `cargo xtask inside`: what runs in the virtual machine.

use std::process::Command;

use anyhow::{Context, Result};
use dray_harness::host::Snapshot;

use crate::command;
use crate::test::prove_nothing_left;

/// Where the second disk is.
const LOAD: &str = "/load";

/// Runs the tests, and looks for what they left.
pub fn run() -> Result<()> {
    let arguments = std::fs::read_to_string(format!("{LOAD}/arguments")).context("the tests' arguments")?;
    std::os::unix::fs::symlink(format!("{LOAD}/docker"), "/usr/local/bin/docker")
        .context("Docker's client")?;
    let before = Snapshot::take();
    let mut tests = Command::new(format!("{LOAD}/e2e"));
    tests
        .args(arguments.lines())
        // Those that are left out elsewhere too: here they have to pass.
        .args(["--include-ignored", "--test-threads=2"])
        .env("DRAY_BIN", format!("{LOAD}/dray"))
        .env("CARGO_TARGET_DIR", format!("{LOAD}/target"));
    command::run(&mut tests).and(prove_nothing_left(&before))
}
