//! What the kernel begins with: it brings the disks, and gives way to what is on them.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::kernel::Kernel;

/// The kernel's drivers for its disks; one that is missing is built in.
const MODULES: &[&str] = &[
    "virtio/virtio_ring",
    "virtio/virtio",
    "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci_modern_dev",
    "virtio/virtio_pci",
    "block/virtio_blk",
];

const INIT: &str = r#"#!/bin/busybox sh
for module in /modules/*; do /bin/busybox insmod $module; done
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mount -t ext4 /dev/vdb /root/load
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /load/init.sh
"#;

/// Writes it to `out`, with the help of an empty folder.
pub fn make(kernel: &Kernel, folder: &Path, out: &Path) -> Result<()> {
    for name in ["bin", "dev", "modules", "root"] {
        fs::create_dir_all(folder.join(name))?;
    }
    fs::copy("/bin/busybox", folder.join("bin/busybox")).context("/bin/busybox")?;
    let drivers = kernel.modules().join(kernel.version()?).join("kernel/drivers");
    for (number, name) in MODULES.iter().enumerate() {
        let from = drivers.join(format!("{name}.ko"));
        let to = format!("modules/{number}-{}.ko", name.rsplit('/').next().unwrap_or(name));
        if from.exists() {
            fs::copy(&from, folder.join(to)).with_context(|| from.display().to_string())?;
        }
    }
    fs::write(folder.join("init"), INIT)?;
    fs::set_permissions(folder.join("init"), fs::Permissions::from_mode(0o755))?;
    archive(folder, out)
}

/// Packs a folder as the kernel wants it.
fn archive(folder: &Path, out: &Path) -> Result<()> {
    let names = Command::new("find").arg(".").current_dir(folder).output().context("find")?;
    let mut cpio = Command::new("/bin/busybox")
        .args(["cpio", "-o", "-H", "newc"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(File::create(out)?)
        .stderr(Stdio::null())
        .spawn()
        .context("busybox cpio")?;
    cpio.stdin.take().context("its input")?.write_all(&names.stdout)?;
    let status = cpio.wait()?;
    ensure!(status.success(), "busybox cpio ended with {status}");
    Ok(())
}
