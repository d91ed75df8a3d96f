//! Formatting, lints, documentation, fuzzing.

use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{cargo, workspace};

/// What CI looks at before the tests.
pub fn run() -> Result<()> {
    run_cargo(&["fmt", "--all", "--", "--check"])?;
    run_cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-Dwarnings"])
}

/// Formats the workspace.
pub fn format() -> Result<()> {
    run_cargo(&["fmt", "--all"])
}

/// Documentation of the workspace's own crates.
pub fn docs() -> Result<()> {
    run_cargo(&["doc", "--workspace", "--no-deps"])
}

fn run_cargo(arguments: &[&str]) -> Result<()> {
    crate::command::run(&mut cargo(arguments))
}

/// Every fuzz target for `seconds` each. cargo-fuzz needs a nightly toolchain; it is installed when missing.
pub fn fuzz(seconds: u64) -> Result<()> {
    let folder = workspace().join("fuzz");
    if Command::new("cargo")
        .args(["fuzz", "--version"])
        .output()
        .map_or(true, |output| !output.status.success())
    {
        run_cargo(&["install", "cargo-fuzz"])?;
    }
    let list = Command::new("cargo").args(["+nightly", "fuzz", "list"]).current_dir(&folder).output();
    let list = list.with_context(|| format!("cargo fuzz list in {}", folder.display()))?;
    for target in String::from_utf8_lossy(&list.stdout).lines() {
        println!("fuzzing {target} for {seconds} s");
        let limit = format!("-max_total_time={seconds}");
        let mut command = Command::new("cargo");
        command.args(["+nightly", "fuzz", "run", target, "--", &limit]).current_dir(&folder);
        crate::command::run(&mut command)?;
    }
    Ok(())
}
