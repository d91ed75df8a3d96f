//! Volumes on shares of NFS, mounted by the kernel while containers use them.

use std::fs;
use std::path::Path;

use dray_harness::client::eventually;
use dray_harness::share::Nfs;
use dray_harness::{Client, Daemon};

/// What is mounted, by the start of its line in mountinfo's second half.
fn mounts(kind: &str) -> usize {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    mounts.lines().filter(|line| line.contains(&format!(" - {kind} "))).count()
}

/// A volume on the share is used by two containers, in turns and at once.
fn is_used(client: &Client, kind: &str, share: &Path) {
    assert_eq!(mounts(kind), 0, "not before it is used");
    client
        .run(["run", "--rm", "-v", "far:/d", "busybox", "sh", "-c", "echo kept > /d/file"])
        .expect_success();
    assert_eq!(fs::read_to_string(share.join("file")).expect("the file at the server"), "kept\n");
    assert_eq!(mounts(kind), 0, "not after it was used");
    client.ok("run -d --name one -v far:/d busybox sleep 1000");
    client.ok("run -d --name two -v far:/d:ro busybox sleep 1000");
    assert_eq!(mounts(kind), 1, "once for both");
    fs::write(share.join("new"), "from the server").expect("a file at the server");
    eventually("it is seen", || client.sh("exec two cat /d/new").stdout == "from the server");
    client.sh("exec two touch /d/x").expect_code(1).expect_error("Read-only");
    let line = client.ok("exec one cat /proc/mounts");
    assert!(line.lines().any(|line| line.contains(&format!(" /d {kind} "))), "{line}");
    client.ok("rm -f one two");
    eventually("it is unmounted with the last one", || mounts(kind) == 0);
    fs::remove_file(share.join("new")).expect("the file at the server");
    client.ok("volume rm far");
    assert_eq!(
        fs::read_to_string(share.join("file")).expect("the file at the server"),
        "kept\n",
        "it stays there"
    );
}

#[test]
#[ignore = "needs an NFS server in the kernel: runs in `cargo xtask vm`"]
fn a_volume_is_on_nfs() {
    let server = Nfs::start();
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("volume create -o type=nfs -o o=addr=127.0.0.1,rw,nfsvers=4 -o device=:/ far");
        is_used(&client, "nfs4", server.folder());
        // By the server's name in the device, as mount(8) takes it.
        client.ok("volume create -o type=nfs4 -o o=soft,timeo=50 -o device=localhost:/ far");
        is_used(&client, "nfs4", server.folder());
        client.ok("volume create -o type=nfs -o o=addr=127.0.0.1,nfsvers=4 -o device=:/nosuch far");
        client
            .sh("run --rm -v far:/d busybox true")
            .expect_code(127)
            .expect_error("no such file or directory");
        client.ok("volume rm far");
        let mount = "type=volume,dst=/d,volume-driver=local,volume-opt=type=nfs,volume-opt=device=:/,\"volume-opt=o=addr=127.0.0.1,nfsvers=4\"";
        let shown =
            client.run(["run", "--rm", "--mount", mount, "busybox", "cat", "/d/file"]).expect_success();
        assert_eq!(shown.stdout, "kept\n");
        fs::remove_file(server.folder().join("file")).expect("the file at the server");
    }
}
