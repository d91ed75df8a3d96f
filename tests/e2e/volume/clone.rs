//! `volume clone` and `volume snapshot`.

use std::fs;

use dray_harness::Daemon;

/// Two files that say the same but for a moment.
const COUNTS: &str =
    "i=0; while :; do i=$((i+1)); echo $i > /d/t; mv /d/t /d/a; echo $i > /d/t; mv /d/t /d/z; done";

#[test]
fn a_clone_is_a_volume_of_its_own() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("volume create --label a=1 data");
    let fill = "mkdir /d/sub; echo one > /d/sub/file; chown 12:34 /d/sub/file; chmod 640 /d/sub/file; ln -s sub /d/link";
    client.run(["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", fill]).expect_success();
    assert_eq!(client.ok("volume clone --label b=2 data copy"), "copy");
    assert_eq!(
        client
            .run(["volume", "inspect", "-f", "{{json .Labels}}", "copy"])
            .expect_success()
            .stdout
            .replace([' ', '\n'], ""),
        r#"{"a":"1","b":"2"}"#
    );
    assert_eq!(client.ok("run --rm -v copy:/d busybox stat -c %u:%g:%a /d/sub/file"), "12:34:640");
    client
        .run(["run", "--rm", "-v", "copy:/d", "busybox", "sh", "-c", "echo two > /d/link/file"])
        .expect_success();
    assert_eq!(client.ok("run --rm -v data:/d busybox cat /d/sub/file"), "one");
    assert_eq!(client.ok("run --rm -v copy:/d busybox cat /d/sub/file"), "two");
    client
        .sh("volume clone data copy")
        .expect_code(1)
        .expect_error("clone copy: a volume with this name exists");
    client.sh("volume clone nosuch other").expect_code(1).expect_error("get nosuch: no such volume");
    client.sh("volume clone data ../x").expect_code(1).expect_error("invalid characters");
    let left = fs::read_dir(daemon.data_root().join("volumes")).expect("a folder").count();
    assert_eq!(left, 2, "nothing of what failed");
}

#[test]
fn what_writes_is_paused_for_the_copy_and_goes_on() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client
        .run(["run", "-d", "--name", "writes", "-v", "data:/d", "busybox", "sh", "-c", COUNTS])
        .expect_success();
    let number = |volume: &str, file: &str| {
        let path = daemon.data_root().join("volumes").join(volume).join("_data").join(file);
        fs::read_to_string(path).unwrap_or_default().trim().parse::<u64>().unwrap_or(0)
    };
    dray_harness::client::eventually("it counts", || number("data", "z") > 5);
    for clone in ["one", "two", "three"] {
        client.ok(&format!("volume clone data {clone}"));
        let (first, second) = (number(clone, "a"), number(clone, "z"));
        assert!(first == second || first == second + 1, "{first} and {second} are of two moments");
    }
    let after = number("data", "z");
    dray_harness::client::eventually("it goes on", || number("data", "z") > after + 5);
    assert_eq!(client.ok("inspect -f {{.State.Status}} writes"), "running");
    client.ok("rm -f writes");
}

#[test]
fn nobody_writes_to_a_snapshot() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("volume create data");
    client
        .run(["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/file"])
        .expect_success();
    let name = client.ok("volume snapshot data");
    assert!(name.starts_with("data-20"), "{name}");
    assert_eq!(client.ok("volume snapshot data before"), "before");
    let listed = client.ok("volume ls -q --filter label=dev.dray.volume.snapshot=data");
    assert_eq!(listed, format!("before\n{name}"));
    client.run(["run", "--rm", "-v", "data:/d", "busybox", "rm", "/d/file"]).expect_success();
    for client in daemon.clients() {
        assert_eq!(client.ok("run --rm -v before:/d busybox cat /d/file"), "kept");
        client.sh("run --rm -v before:/d busybox rm /d/file").expect_code(1).expect_error("Read-only");
        client
            .sh("run --rm --mount type=volume,src=before,dst=/d busybox touch /d/x")
            .expect_code(1)
            .expect_error("Read-only");
    }
    client.ok("volume clone before again");
    client
        .run(["run", "--rm", "-v", "again:/d", "busybox", "sh", "-c", "test -f /d/file && rm /d/file"])
        .expect_success();
    client.ok(&format!("volume rm before {name}"));
}
