//! `dray compose`: `config` against Docker Compose's own output, bad input, real stacks on Dray's daemon and on
//! Debian's dockerd, and Docker's own Compose on Dray's daemon.

mod alike;
mod artifact;
mod autoscale;
mod boot;
mod build;
mod config;
mod flags;
mod follow;
mod interrupted;
mod load;
mod menu;
mod pair;
mod project;
mod provider;
mod refused;
mod rehearsal;
mod remote;
mod roll;
mod service;
mod share;
mod shop;
mod stack;

use std::path::Path;
use std::process::Command;

use dray_harness::client::Finished;

/// `dray compose` in a folder, without a daemon.
fn compose(folder: &Path, args: &[&str]) -> Finished {
    run(Command::new(dray_harness::dray_binary()).arg("compose").args(args), folder)
}

/// Runs a command in a folder with a small environment of its own.
fn run(command: &mut Command, folder: &Path) -> Finished {
    let output = command
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/root")
        .env("PWD", folder)
        .output()
        .expect("the command runs");
    Finished {
        line: format!("{command:?}"),
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
