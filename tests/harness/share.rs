//! Servers of shares on this machine: the kernel's own, of NFS (4) and of SMB. The kernel has one of each.

use std::path::Path;
use std::process::{Child, Command};

use tempfile::TempDir;

use crate::client::{eventually, wait_within};
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

/// A folder that the kernel's SMB server gives to the user `tester`, whose password is `secret`, as
/// `//127.0.0.1/files`.
pub struct Smb {
    folder: TempDir,
    configuration: TempDir,
    mountd: Child,
}

impl Smb {
    /// Starts the server.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("dray-smb-").tempdir().expect("a folder to share");
        let configuration = tempfile::tempdir().expect("a folder for the server");
        let share = folder.path().display();
        let text = format!(
            "[global]\nserver string = test\n\
             [files]\npath = {share}\nread only = no\nforce user = root\nforce group = root\n"
        );
        let (file, users) = (configuration.path().join("smb.conf"), configuration.path().join("users"));
        std::fs::write(&file, text).expect("the server's configuration");
        std::fs::write(&users, "").expect("the server's users");
        let (file, users) = (file.display(), users.display());
        sh("modprobe ksmbd");
        sh(&format!("ksmbd.adduser -i {users} -a tester -p secret"));
        let mut mountd = Command::new("ksmbd.mountd");
        mountd.args(["--nodetach", "-c", &file.to_string(), "-u", &users.to_string()]);
        let server = Self { mountd: mountd.spawn().expect("ksmbd.mountd"), folder, configuration };
        eventually("the SMB server listens", listens);
        server
    }

    /// What is shared.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Smb {
    fn drop(&mut self) {
        let _ = Command::new("ksmbd.control").arg("-s").status();
        if let Some(pid) = rustix::process::Pid::from_raw(self.mountd.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = wait_within(&mut self.mountd, std::time::Duration::from_secs(20));
        let _ = self.configuration.path();
    }
}

/// Asked without a connection: the server takes one at a time of each client, and does not see at once that it ended.
fn listens() -> bool {
    let sockets =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    sockets
        .iter()
        .flat_map(|table| table.lines())
        .any(|line| line.contains(":01BD ") && line.contains(" 0A "))
}

#[track_caller]
fn sh(line: &str) {
    said(Command::new("sh").args(["-ec", line]), line);
}
