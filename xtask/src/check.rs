//! Formatting, lints, documentation.

use anyhow::Result;

use crate::command::cargo;

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
