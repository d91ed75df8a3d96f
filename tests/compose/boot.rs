//! What the daemon does with a project's containers by itself: their order when it starts, and those that are unhealthy.

use std::fs;

use dray_harness::Daemon;
use dray_harness::client::{eventually, finish};
use tempfile::TempDir;

const PROJECT: &str = r#"
name: p
services:
  web:
    image: busybox
    command: sleep 1000
    restart: always
    stop_grace_period: 0s
    depends_on: {db: {condition: service_healthy}}
  db:
    image: busybox
    command: sh -c "rm -f /ready; sleep 2; touch /ready; exec sleep 1000"
    restart: always
    stop_grace_period: 0s
    healthcheck: {test: [CMD, test, -f, /ready], interval: 200ms, retries: 100}
"#;

const UNHEALTHY: &str = r#"
name: p
services:
  web:
    image: busybox
    command: sh -c "echo started >> /log; exec sleep 1000"
    stop_grace_period: 0s
    healthcheck: {test: [CMD, test, "!", -f, /broken], interval: 200ms, retries: 2}
    x-dray-restart-unhealthy: true
"#;

fn up(daemon: &Daemon, folder: &TempDir, text: &str) {
    fs::write(folder.path().join("compose.yaml"), text).expect("compose.yaml");
    let mut command = daemon.dray().command(["compose", "up", "-d"]);
    command.current_dir(folder.path()).env("PWD", folder.path());
    finish(command, b"").expect_success();
}

#[test]
fn dependencies_come_first_when_the_daemon_starts() {
    let mut daemon = Daemon::spawn();
    let client = daemon.dray();
    let folder = TempDir::with_prefix("dray-boot-").expect("a folder");
    up(&daemon, &folder, PROJECT);
    // As a reboot does it: the daemon and all containers end at once.
    daemon.kill();
    for pid in daemon.processes() {
        dray_harness::host::kill(pid);
    }
    eventually("nothing runs", || daemon.processes().is_empty());
    daemon.launch();
    let running = |name: &str| client.ok(&format!("inspect -f {{{{.State.Running}}}} {name}")) == "true";
    eventually("both are back", || running("p-db-1") && running("p-web-1"));
    let ready = client.ok("exec p-db-1 stat -c %Y /ready").parse::<i64>().expect("seconds");
    let started = client.ok("inspect -f {{.State.StartedAt}} p-web-1");
    let started =
        client.run(["exec", "p-web-1", "date", "-u", "-d", &started.replace('T', " ")[..19], "+%s"]);
    let started = started.expect_success().stdout.trim().parse::<i64>().expect("seconds");
    assert!(started >= ready, "web started at {started}, the database was ready at {ready}");
    client.ok("rm -f p-web-1 p-db-1");
}

#[test]
fn what_is_unhealthy_is_restarted_where_that_is_wanted() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let folder = TempDir::with_prefix("dray-boot-").expect("a folder");
    up(&daemon, &folder, UNHEALTHY);
    client.ok("exec p-web-1 touch /broken");
    eventually("it is started again", || client.sh("exec p-web-1 cat /log").stdout.lines().count() > 1);
    client.ok("rm -f p-web-1");
    // Others stay as they are.
    let check = [
        "run",
        "-d",
        "--name",
        "stays",
        "--health-cmd",
        "false",
        "--health-interval",
        "200ms",
        "--health-retries",
        "1",
        "busybox",
        "sleep",
        "1000",
    ];
    client.run(check).expect_success();
    eventually("it is unhealthy", || client.ok("inspect -f {{.State.Health.Status}} stays") == "unhealthy");
    let started = client.ok("inspect -f {{.State.StartedAt}} stays");
    eventually("more checks have failed", || {
        client
            .ok("inspect -f {{.State.Health.FailingStreak}} stays")
            .parse::<u32>()
            .is_ok_and(|streak| streak > 4)
    });
    assert_eq!(client.ok("inspect -f {{.State.StartedAt}} stays"), started);
    client.ok("rm -f stays");
}
