//! The first disk: a Debian of this machine's release, with what the tests call and the kernel's modules.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use dray_harness::fixture;
use sha2::{Digest, Sha256};

use super::disk;
use super::kernel::Kernel;
use crate::command::{run, workspace};

/// What the tests call in there, beside what every Debian has.
const PACKAGES: &[&str] = &[
    "btrfs-progs",
    "ca-certificates",
    "curl",
    "e2fsprogs",
    "git",
    "iproute2",
    "iptables",
    "kmod",
    "nfs-kernel-server", // what tells the kernel's NFS server what to share
    "nftables",
    "openssl",
    "procps",
    "xfsprogs",
];

/// Room for what tests write.
const MEGABYTES: u32 = 12 << 10;

/// The disk's image. It is never written to; another list of packages, or another kernel, is another image.
pub fn root(kernel: &Kernel) -> Result<PathBuf> {
    let version = kernel.version()?;
    let what = hex::encode(Sha256::digest(format!("{version} {}", PACKAGES.join(" "))));
    Ok(fixture::make(&format!("vm-root-{}", &what[..12]), |image| {
        println!("Making the disk of the virtual machine (once; it is kept in the target folder)");
        let folder = tempfile::tempdir_in(image.parent().context("a folder")?)?;
        debian(folder.path())?;
        add_modules(folder.path(), kernel, &version)?;
        fs::create_dir(folder.path().join("load"))?;
        disk::ext4(image, MEGABYTES, folder.path())
    }))
}

fn debian(root: &Path) -> Result<()> {
    let tar = root.with_extension("tar");
    let made = run(Command::new(workspace().join("examples/base-image.sh"))
        .arg("debian")
        .args(PACKAGES)
        .stdout(File::create(&tar)?));
    let unpacked = made.and_then(|()| run(Command::new("tar").arg("-xpf").arg(&tar).arg("-C").arg(root)));
    let _ = fs::remove_file(&tar);
    unpacked
}

fn add_modules(root: &Path, kernel: &Kernel, version: &str) -> Result<()> {
    run(Command::new("cp").arg("-a").arg(kernel.modules()).arg(root.join("lib/")))?;
    run(Command::new("chroot").arg(root).args(["/usr/sbin/depmod", version]))
}
