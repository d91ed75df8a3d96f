//! A server of shares on this machine: the kernel's own, of NFS (4). The kernel has one.

use std::path::Path;
use std::process::{Child, Command};

use tempfile::TempDir;

use crate::machine::said;

/// A folder that the kernel's NFS server gives to this machine, as `127.0.0.1:/`.
pub struct Nfs {
    folder: TempDir,
    mountd: Child,
}

impl Nfs {
    /// Starts the server.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("dray-nfs-").tempdir().expect("a folder to share");
        sh("modprobe nfsd && mkdir -p /var/lib/nfs && touch /var/lib/nfs/etab /var/lib/nfs/rmtab");
        sh("mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd");
        // Who opens a file waits until those of before a crash have had their time: there are none.
        sh("echo 10 > /proc/fs/nfsd/nfsv4leasetime; echo 1 > /proc/fs/nfsd/nfsv4gracetime || true");
        let mountd = Command::new("rpc.mountd").args(["--foreground", "--no-nfs-version", "3"]).spawn();
        let server = Self { folder, mountd: mountd.expect("rpc.mountd") };
        let share = server.folder().display();
        sh(&format!("exportfs -o rw,fsid=0,no_root_squash,no_subtree_check,insecure 127.0.0.1:{share}"));
        sh("rpc.nfsd --no-udp --no-nfs-version 3 2 && echo Y > /proc/fs/nfsd/v4_end_grace");
        server
    }

    /// What is shared.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Nfs {
    fn drop(&mut self) {
        let _ = Command::new("sh").args(["-c", "rpc.nfsd 0; exportfs -ua; umount /proc/fs/nfsd"]).status();
        let _ = self.mountd.kill();
        let _ = self.mountd.wait();
    }
}

#[track_caller]
fn sh(line: &str) {
    said(Command::new("sh").args(["-ec", line]), line);
}
