//! Disk images made of folders. Nothing is mounted, and bytes that nobody wrote take no room.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::command::run;

/// Writes an image of so many MiB with an ext4 that holds what the folder does.
pub fn ext4(image: &Path, megabytes: u32, folder: &Path) -> Result<()> {
    let mut command = Command::new("mke2fs");
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        // The journal would cost time and save nothing: no image outlives its machine.
        .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1", "-d"])
        .arg(folder)
        .arg(image)
        .arg(format!("{megabytes}M"))
        .stdout(Stdio::null());
    run(&mut command)
}
