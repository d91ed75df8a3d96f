//! Disks of the test's own: files behind loop devices, with a file system on each.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A loop device; it goes with the value.
pub struct Disk {
    device: String,
    _folder: TempDir,
}

impl Disk {
    /// A disk with nothing on it.
    pub fn blank(megabytes: u64) -> Self {
        let folder = tempfile::Builder::new().prefix("dray-disk-").tempdir().expect("a folder for the disk");
        let file = folder.path().join("disk");
        let disk = std::fs::File::create(&file).expect("disk");
        disk.set_len(megabytes << 20).expect("disk");
        let device = run(Command::new("losetup").args(["--find", "--show"]).arg(&file));
        Self { device: device.trim().to_owned(), _folder: folder }
    }

    /// A disk with a file system: `ext4`, `xfs`, `btrfs`.
    pub fn with(file_system: &str) -> Self {
        Self::made(file_system, &[])
    }

    /// A disk with a file system that is made with further options.
    pub fn made(file_system: &str, options: &[&str]) -> Self {
        // The smallest that all of them take.
        let disk = Self::blank(320);
        let quiet = if file_system == "ext4" { "-qF" } else { "-qf" };
        run(Command::new(format!("mkfs.{file_system}")).arg(quiet).args(options).arg(&disk.device));
        disk
    }

    /// The device's path.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// How often it is mounted on this host.
    pub fn mounts(&self) -> usize {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        mounts.lines().filter(|line| line.contains(&format!(" {} ", self.device))).count()
    }

    /// Mounts it on a folder for as long as the value lives.
    pub fn mount(&self, folder: &Path, options: &str) -> Mounted {
        run(Command::new("mount").args(["-o", options, &self.device]).arg(folder));
        Mounted { folder: folder.to_owned() }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

/// A disk that is mounted.
pub struct Mounted {
    folder: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.folder, rustix::mount::UnmountFlags::DETACH);
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
