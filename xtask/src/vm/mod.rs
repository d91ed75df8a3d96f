//! `cargo xtask vm`: end-to-end tests on a machine of their own, with Debian's kernel and cgroup v2 as systemd mounts it.
//!
//! What the kernel of this machine may lack (cgroup v2, ipvlan, VLANs, project quotas, an NFS server) is there.
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

use std::path::{Path, PathBuf};
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
    /// Only tests whose name holds one of these [default: what `cargo xtask test` runs there]
    filters: Vec<String>,
}

/// Tests that need this kernel, and those that meet cgroup v2.
const USUAL: &[&str] = &[
    "container::cgroup::",
    "container::resources::",
    "network::vlan::",
    "volume::quota::",
    "volume::share::",
];

/// Builds, starts the machine, tells what the tests say.
pub fn run(options: &Options) -> Result<()> {
    packages::ensure_installed(packages::TEST)?;
    let filters: Vec<&str> = options.filters.iter().map(String::as_str).collect();
    let dray = build_dray(false)?;
    test(&dray, &["--package", "dray-harness"], if filters.is_empty() { USUAL } else { &filters })
}

/// The part of `cargo xtask test` that is played in the machine. The workspace is built, as it was for the rest.
pub fn run_usual(dray: &Path) -> Result<()> {
    println!("Tests that need another kernel, in a virtual machine");
    test(dray, &["--workspace"], USUAL)
}

fn test(dray: &Path, packages: &[&str], filters: &[&str]) -> Result<()> {
    packages::ensure_installed(packages::VM)?;
    let tests = build_tests(packages)?;
    let kernel = kernel::kernel();
    let root = root::root(&kernel)?;
    let folder = tempfile::Builder::new().prefix("dray-vm-").tempdir().context("a folder for the machine")?;
    let scratch = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).map(|()| path)
    };
    let (initrd, load) = (folder.path().join("initrd"), folder.path().join("load"));
    initrd::make(&kernel, &scratch("initrd.files")?, &initrd)?;
    load::make(dray, &tests, filters, &scratch("load.files")?, &load)?;
    Machine { kernel: &kernel.image(), initrd: &initrd, root: &root, load: &load, folder: folder.path() }
        .run()
}

/// Builds the end-to-end tests, with these packages, and gives the program.
fn build_tests(packages: &[&str]) -> Result<PathBuf> {
    let mut command =
        cargo(&["test", "--test", "e2e", "--no-run", "--message-format=json-render-diagnostics"]);
    command.args(packages).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    let program = output.stdout.split(|&byte| byte == b'\n').find_map(|line| {
        let message: Value = serde_json::from_slice(line).ok()?;
        let named = message["target"]["name"] == "e2e" && message["reason"] == "compiler-artifact";
        named.then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    program.context("cargo does not say where it put the end-to-end tests")
}
