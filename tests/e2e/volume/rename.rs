//! `volume rename`.

use dray_harness::Daemon;

#[test]
fn a_volume_gets_another_name() {
    let mut daemon = Daemon::spawn();
    let client = daemon.dray();
    client.ok("volume create --label kept=yes old");
    client
        .run(["run", "--rm", "-v", "old:/d", "busybox", "sh", "-c", "echo data > /d/file"])
        .expect_success();
    client.ok("create --name holds -v old:/d busybox true");
    client.sh("volume rename old new").expect_code(1).expect_error("rename old: volume is in use - [");
    client.ok("rm holds");
    client.ok("volume create taken");
    client.sh("volume rename old taken").expect_code(1).expect_error("exists already");
    client.sh("volume rename old x").expect_code(1).expect_error("volume name is too short");
    client.sh("volume rename nosuch new").expect_code(1).expect_error("get nosuch: no such volume");
    client.ok("volume rename old new");
    assert_eq!(client.ok("run --rm -v new:/d:ro busybox cat /d/file"), "data");
    assert_eq!(client.ok("volume inspect -f {{.Name}},{{.Labels.kept}} new"), "new,yes");
    client.sh("volume inspect old").expect_code(1).expect_error("no such volume");
    // The old name is free, and the new one is known to the next daemon.
    client.ok("volume create old");
    assert_eq!(client.ok("run --rm -v old:/d busybox ls /d"), "");
    daemon.crash_and_restart();
    assert_eq!(client.ok("run --rm -v new:/d:ro busybox cat /d/file"), "data");
    assert_eq!(client.ok("volume ls -q"), "new\nold\ntaken");
}
