//! `cargo xtask test`: packages, images, every test, and the proof that the host is as it was.

use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;
use dray_harness::{fixture, host::Snapshot};

use crate::command::{self, build_dray, cargo};
use crate::{packages, rerun, vm};

/// What may be given to `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// Only tests whose name holds this
    filter: Option<String>,
}

/// Installs, builds, tests, and looks for what was left.
pub fn run(options: &Options) -> Result<()> {
    packages::ensure_installed(packages::TEST)?;
    packages::ensure_go()?;
    packages::ensure_npm()?;
    let dray = build_dray(false)?;
    println!("Making the test images (once; they are kept in the target folder)");
    fixture::busybox();
    fixture::debian();
    let before = Snapshot::take();
    let tested = test_workspace(&dray, options.filter.as_deref());
    let left = prove_nothing_left(&before);
    tested.and(left)?;
    if options.filter.is_none() { vm::run_usual(&dray) } else { Ok(()) }
}

fn test_workspace(dray: &Path, filter: Option<&str>) -> Result<()> {
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    if let Some(filter) = filter {
        command.arg("--").arg(filter);
    }
    rerun::run(command, |command| {
        command.env("DRAY_BIN", dray);
    })
}

/// One suite of `tests/`.
pub fn suite(name: &str, filter: Option<&str>) -> Result<()> {
    packages::ensure_installed(packages::TEST)?;
    packages::ensure_npm()?;
    let dray = build_dray(false)?;
    let before = Snapshot::take();
    let mut command = cargo(&["test", "--package", "dray-harness", "--test", name]);
    command.env("DRAY_BIN", dray);
    if let Some(filter) = filter {
        command.arg("--").arg(filter);
    }
    command::run(&mut command).and(prove_nothing_left(&before))
}

/// Fails, naming what is not as it was.
pub fn prove_nothing_left(before: &Snapshot) -> Result<()> {
    let after = Snapshot::take();
    let (added, missing) = (after.added_since(before), after.missing_since(before));
    for thing in &added {
        eprintln!("left behind: {thing}");
    }
    for thing in &missing {
        eprintln!("taken away: {thing}");
    }
    if added.is_empty() && missing.is_empty() {
        println!("The host is as it was: no mount, link, firewall table, cgroup or process left.");
        return Ok(());
    }
    bail!("the tests changed the host in {} ways", added.len() + missing.len())
}
