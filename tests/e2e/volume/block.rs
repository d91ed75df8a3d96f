//! Volumes with a file system of their own: block devices (loop devices of the test's), and what a kernel without NFS
//! and CIFS says of those.

use dray_harness::client::eventually;
use dray_harness::disk::Disk;
use dray_harness::{Client, Daemon};

fn create(client: &Client, kind: &str, device: &str, options: &str, name: &str) {
    let options = if options.is_empty() { String::new() } else { format!("-o o={options} ") };
    client.ok(&format!("volume create -o type={kind} -o device={device} {options}{name}"));
}

#[test]
fn a_block_device_is_mounted_while_containers_use_it() {
    let daemon = Daemon::start();
    for (client, kind) in
        daemon.clients().into_iter().zip(["ext4", "xfs"]).chain([(daemon.docker(), "btrfs")])
    {
        let disk = Disk::with(kind);
        create(&client, kind, disk.device(), "noatime", "disk");
        assert_eq!(disk.mounts(), 0, "{kind}: not before it is used");
        client
            .run(["run", "--rm", "-v", "disk:/d", "busybox", "sh", "-c", "echo kept > /d/file"])
            .expect_success();
        assert_eq!(disk.mounts(), 0, "{kind}: not after it was used");

        let one = client.ok("run --name one -d -v disk:/d busybox sleep 1000");
        let two = client.ok("run --name two -d -v disk:/d busybox sleep 1000");
        assert_eq!(disk.mounts(), 1, "{kind}: once for both");
        assert_eq!(client.ok("exec two cat /d/file"), "kept");
        let mounts = client.ok("exec one cat /proc/mounts");
        let line = mounts.lines().find(|line| line.contains(" /d ")).expect("it is mounted");
        assert!(
            line.starts_with(&format!("{} /d {kind} ", disk.device())) && line.contains("noatime"),
            "{line}"
        );
        let row = daemon.dray().ok("volume df --format {{.Name}},{{.Links}},{{.Limit}}");
        assert!(row.starts_with("disk,2,") && row.ends_with("MB"), "{kind}: its own size: {row}");
        let kept =
            client.sh("volume rm disk").expect_code(1).expect_error("remove disk: volume is in use - [");
        assert!(kept.stderr.contains(&one) && kept.stderr.contains(&two), "{}", kept.stderr);
        client.ok("rm -f one");
        assert_eq!(disk.mounts(), 1, "{kind}: the other one has it");
        assert_eq!(client.ok("exec two cat /d/file"), "kept");
        client.ok("stop -t 0 two");
        eventually("it is unmounted with the last one", || disk.mounts() == 0);
        client.sh("volume rm disk").expect_code(1).expect_error("volume is in use");
        client.ok("start two");
        assert_eq!(client.ok("exec two cat /d/file"), "kept");
        client.ok("rm -f two");

        // A clone lies on the daemon's disk.
        daemon.dray().ok("volume clone disk copy");
        assert_eq!(client.ok("run --rm -v copy:/d busybox cat /d/file"), "kept");
        client.ok("volume rm disk copy");
        assert_eq!(disk.mounts(), 0);
        create(&client, kind, disk.device(), "ro", "disk");
        assert_eq!(
            client.ok("run --rm -v disk:/d busybox cat /d/file"),
            "kept",
            "{kind}: content is the device's"
        );
        client.sh("run --rm -v disk:/d busybox touch /d/x").expect_code(1).expect_error("Read-only");
        client.ok("volume rm disk");
    }
}

#[test]
fn it_stays_mounted_while_the_daemon_is_away() {
    let mut daemon = Daemon::spawn();
    let disk = Disk::with("ext4");
    let client = daemon.docker();
    create(&client, "ext4", disk.device(), "", "disk");
    client.ok("run --name one -d -v disk:/d busybox sleep 1000");
    client.ok("exec one touch /d/before");
    daemon.crash_and_restart();
    assert_eq!(disk.mounts(), 1);
    client.ok("exec one touch /d/after");
    assert_eq!(client.ok("run --rm -v disk:/d busybox ls /d").split_whitespace().count(), 3);
    assert_eq!(disk.mounts(), 1, "the first one has it still");
    client.ok("stop -t 0 one");
    eventually("unmounted by the next daemon", || disk.mounts() == 0);

    // Who ends while no daemon is there leaves nothing mounted.
    client.ok("start one");
    let pid = client.run(["inspect", "-f", "{{.State.Pid}}", "one"]).expect_success().stdout;
    daemon.kill();
    dray_harness::host::kill(pid.trim().parse().expect("a process"));
    eventually("it has ended", || {
        dray_harness::host::command_line(pid.trim().parse().expect("a process")).is_empty()
    });
    assert_eq!(disk.mounts(), 1);
    daemon.launch();
    eventually("what nobody uses is unmounted", || disk.mounts() == 0);
    client.ok("rm one");
    client.ok("volume rm disk");
}

/// What a container's start says of a volume.
#[track_caller]
fn refused(daemon: &Daemon, client: &Client, [kind, device, options]: [&str; 3], code: i32, said: &str) {
    create(client, kind, device, options, "bad");
    let place = daemon.data_root().join("volumes/bad/_data");
    let place = place.display();
    let said = said.replace("PLACE", &place.to_string());
    client
        .sh("run --rm -v bad:/v busybox true")
        .expect_code(code)
        .expect_error(&format!("error while mounting volume '{place}': {said}"));
    client.ok("volume rm bad");
}

#[test]
fn what_cannot_be_mounted_is_told_in_dockers_words() {
    let daemon = Daemon::start();
    let disk = Disk::with("ext4");
    let device = disk.device();
    let folder = daemon.scratch("no-device");
    let folder = folder.to_str().expect("text");
    for client in daemon.clients() {
        let refused = |what, code, said: &str| refused(&daemon, &client, what, code, said);
        let mount = "failed to mount local volume: mount";
        refused(
            ["ext4", "/dev/nosuch", ""],
            127,
            &format!("{mount} /dev/nosuch:PLACE: no such file or directory"),
        );
        refused(
            ["xfs", device, ""],
            125,
            &format!("{mount} {device}:PLACE: invalid argument (no file system xfs is on this device"),
        );
        refused(
            ["ext4", device, "nosuch=1"],
            125,
            &format!("{mount} {device}:PLACE, data: nosuch=1: invalid argument"),
        );
        refused(
            ["ext4", folder, "ro"],
            125,
            &format!("{mount} {folder}:PLACE, flags: 0x1: block device required"),
        );
        refused(
            ["nosuchfs", device, ""],
            125,
            &format!("{mount} {device}:PLACE: no such device (this kernel has no file system nosuchfs)"),
        );
        assert_eq!(disk.mounts(), 0);
    }
}

#[test]
fn servers_names_are_resolved_as_far_as_the_kernel_goes() {
    let known = std::fs::read_to_string("/proc/filesystems").expect("file systems");
    let has = |kind: &str| known.lines().any(|line| line.split_whitespace().last() == Some(kind));
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let refused = |what, said: &str| refused(&daemon, &client, what, 125, said);
        let mount = "failed to mount local volume: mount";
        for kind in ["nfs", "nfs4"].into_iter().filter(|kind| !has(kind)) {
            let none = format!("no such device (this kernel has no file system {kind})");
            refused(
                [kind, ":/export", "addr=localhost,rw,nolock"],
                &format!("{mount} :/export:PLACE, data: addr=127.0.0.1,nolock: {none}"),
            );
            refused(
                [kind, "localhost:/export", "ro"],
                &format!("{mount} localhost:/export:PLACE, flags: 0x1, data: addr=127.0.0.1: {none}"),
            );
            refused(
                [kind, ":/export", "addr=nosuch.invalid"],
                "error resolving passed in network volume address: lookup nosuch.invalid: ",
            );
        }
        if !has("cifs") {
            let none = "no such device (this kernel has no file system cifs)";
            refused(
                ["cifs", "//localhost/share", "username=me,password=secret"],
                &format!("{mount} //127.0.0.1/share:PLACE, data: username=me,password=********: {none}"),
            );
            refused(
                ["cifs", "//nas/share", "addr=localhost,password=secret"],
                &format!("{mount} //nas/share:PLACE, data: addr=127.0.0.1,password=********: {none}"),
            );
        }
        client
            .sh("volume create -o type=cifs -o device=//nas:445/share bad")
            .expect_code(1)
            .expect_error("create bad: port not allowed in CIFS device URL, include 'port' in 'o='");
    }
}
