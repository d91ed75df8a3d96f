//! Restart policies.

use dray_harness::Daemon;
use dray_harness::client::eventually;

#[test]
fn on_failure_stops_after_its_count() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client
        .run([
            "run",
            "-d",
            "--name",
            "fails",
            "--restart",
            "on-failure:2",
            "busybox",
            "sh",
            "-c",
            "echo try; exit 1",
        ])
        .expect_success();
    eventually("three tries", || client.ok("logs fails") == "try\ntry\ntry");
    eventually("then an end", || {
        client.ok("inspect -f {{.State.Status}}/{{.RestartCount}} fails") == "exited/2"
    });
}

#[test]
fn always_comes_back_until_stopped() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client
        .run(["run", "-d", "--name", "back", "--restart", "always", "busybox", "sleep", "1000"])
        .expect_success();
    let pid = || client.ok("inspect -f {{.State.Pid}} back").parse::<u32>().unwrap_or_default();
    let first = pid();
    dray_harness::host::kill(first);
    eventually("another process", || pid() != first && pid() != 0);
    client.ok("stop -t 0 back");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(client.ok("inspect -f {{.State.Status}} back"), "exited");
}

#[test]
fn a_policy_and_rm_exclude_each_other() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client
            .sh("run --rm --restart always busybox true")
            .expect_code(125)
            .expect_error("conflicting options");
    }
}
