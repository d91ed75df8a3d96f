//! Debian's kernel for virtual machines: fetched as a package, unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use dray_harness::fixture;

use crate::command::run;

/// The package that names the newest one.
const NEWEST: &str =
    if cfg!(target_arch = "aarch64") { "linux-image-cloud-arm64" } else { "linux-image-cloud-amd64" };

/// A kernel's files.
pub struct Kernel {
    folder: PathBuf,
}

impl Kernel {
    /// What is booted.
    pub fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The folder of the modules of each version: it has one.
    pub fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules")
    }

    /// The version, as `uname -r` says it.
    pub fn version(&self) -> Result<String> {
        let modules = only(&self.modules(), "")?;
        Ok(modules.file_name().context("a version")?.to_string_lossy().into_owned())
    }
}

/// The kernel that Debian has now, or had when it was fetched first.
pub fn kernel() -> Kernel {
    let folder = fixture::make("vm-kernel", |folder| {
        let package = download(folder)?;
        let unpacked = folder.join("package");
        run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked))?;
        fs::remove_file(&package)?;
        fs::rename(only(&unpacked.join("boot"), "vmlinuz-")?, folder.join("vmlinuz"))?;
        fs::rename(unpacked.join("lib"), folder.join("lib"))?;
        Ok(fs::remove_dir_all(&unpacked)?)
    });
    Kernel { folder }
}

/// The newest kernel's package.
fn download(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let name = newest().or_else(|_| {
        // A machine whose lists are old, or not there.
        run(Command::new("apt-get").args(["update", "-qq"])).and_then(|()| newest())
    })?;
    let fetch = || {
        let mut apt = Command::new("apt-get");
        apt.args(["-qq", "-o", "APT::Sandbox::User=root", "download", &name]).current_dir(folder);
        run(&mut apt)
    };
    fetch().or_else(|_| run(Command::new("apt-get").args(["update", "-qq"])).and_then(|()| fetch()))?;
    only(folder, "linux-image-")
}

fn newest() -> Result<String> {
    let output = Command::new("apt-cache")
        .args(["depends", NEWEST])
        .stderr(Stdio::null())
        .output()
        .context("apt-cache")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let name = text.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    Ok(format!("linux-image-{}", name.with_context(|| format!("apt knows no {NEWEST}"))?))
}

fn only(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut found = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    found.next().map(|entry| entry.path()).with_context(|| format!("no {prefix}… in {}", folder.display()))
}
