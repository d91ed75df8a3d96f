//! `cargo xtask vm`: end-to-end tests on a machine of their own, with Debian's kernel and cgroup v2 as systemd mounts it.
//!
//! What the kernel of this machine may lack (cgroup v2, ipvlan, VLANs, project quotas, shares of NFS and SMB) is there.
//! QEMU emulates the machine in software, so that no KVM is needed; it has no way out. Nothing is mounted here: disks are
//! made of folders by mke2fs, and what is written to them goes with the machine.
//!
//! ```text
//! kernel   Debian's cloud kernel, unpacked            kept in the target folder
//! root     the first disk: Debian, from packages      kept in the target folder
//! initrd   finds the disks
//! load     the second disk: dray, the tests, Docker's client, test images
//! machine  QEMU: kernel messages on one serial line, tests on another, how they ended on a third
//! inside   what runs in there: the tests, and the proof that they left nothing
//! ```

mod disk;
mod initrd;
pub mod inside;
mod kernel;
mod load;
mod machine;
mod root;

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::command::{build_dray, cargo};
use crate::packages;
use machine::Machine;

/// What may be given to `cargo xtask vm`.
#[derive(Args)]
pub struct Options {
    /// Only tests whose name holds one of these [default: those that need this kernel]
    filters: Vec<String>,
}

/// What runs where nothing is named: tests that need this kernel, and those that meet cgroup v2.
const USUAL: &[&str] = &["container::cgroup::", "container::resources::"];

/// Builds, starts the machine, tells what the tests say.
pub fn run(options: &Options) -> Result<()> {
    packages::ensure_installed(packages::TEST)?;
    packages::ensure_installed(packages::VM)?;
    let dray = build_dray(false)?;
    let tests = build_tests()?;
    let usual = || USUAL.iter().map(|name| (*name).to_owned()).collect();
    let filters = if options.filters.is_empty() { usual() } else { options.filters.clone() };
    let kernel = kernel::kernel()?;
    let root = root::root(&kernel)?;
    let folder = tempfile::Builder::new().prefix("dray-vm-").tempdir().context("a folder for the machine")?;
    let scratch = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).map(|()| path)
    };
    let (initrd, load) = (folder.path().join("initrd"), folder.path().join("load"));
    initrd::make(&kernel, &scratch("initrd.files")?, &initrd)?;
    load::make(&dray, &tests, &filters, &scratch("load.files")?, &load)?;
    Machine { kernel: &kernel.image(), initrd: &initrd, root: &root, load: &load, folder: folder.path() }
        .run()
}

/// Builds the end-to-end tests and gives the program.
fn build_tests() -> Result<PathBuf> {
    let arguments = ["test", "--package", "dray-harness", "--test", "e2e", "--no-run"];
    let mut command = cargo(&arguments);
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    let program = output.stdout.split(|&byte| byte == b'\n').find_map(|line| {
        let message: Value = serde_json::from_slice(line).ok()?;
        let named = message["target"]["name"] == "e2e" && message["reason"] == "compiler-artifact";
        named.then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    program.context("cargo does not say where it put the end-to-end tests")
}
