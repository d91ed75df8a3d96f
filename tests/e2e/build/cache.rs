//! What is built again and what is not.

use std::fs;

use dray_harness::{Client, Daemon};

use super::{build, context};

const DOCKERFILE: &str = "FROM busybox\nARG WHO=me\nCOPY one /one\nRUN cat /proc/sys/kernel/random/uuid > /first\nCOPY two /two\nRUN cat /proc/sys/kernel/random/uuid > /second && echo $WHO > /who\n";

fn stamps(client: &Client) -> (String, String) {
    (client.ok("run --rm cached cat /first"), client.ok("run --rm cached cat /second"))
}

#[test]
fn only_what_changed_and_what_follows_runs_again() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let folder = context(&daemon, &client.name(), DOCKERFILE, &[("one", "1"), ("two", "2")]);
        let again = |flags: &str| {
            build(&client, &folder, &format!("-t cached {flags}")).expect_success();
            stamps(&client)
        };
        let first = again("--no-cache");
        assert_eq!(again(""), first, "nothing changed");
        fs::write(folder.join("two"), "changed").expect("a file");
        let second = again("");
        assert!(second.0 == first.0 && second.1 != first.1, "only the second half runs again");
        fs::write(folder.join("one"), "changed").expect("a file");
        let third = again("");
        assert!(third.0 != second.0 && third.1 != second.1, "all runs again");
        let other = again("--build-arg WHO=you");
        assert!(other.1 != third.1, "an argument that a step uses matters");
        let fresh = again("--no-cache");
        assert!(fresh.0 != third.0);
    }
}

#[test]
fn touching_a_file_changes_nothing() {
    let daemon = Daemon::start();
    let client = daemon.docker();
    let folder = context(&daemon, "touch", DOCKERFILE, &[("one", "1"), ("two", "2")]);
    build(&client, &folder, "-t cached").expect_success();
    let before = stamps(&client);
    fs::write(folder.join("one"), "1").expect("a file");
    let shown = build(&client, &folder, "-t cached").expect_success();
    assert!(shown.stdout.contains("Using cache"), "{}", shown.stdout);
    assert_eq!(stamps(&client), before);
}

#[test]
fn the_cache_outlives_a_crash() {
    let mut daemon = Daemon::spawn();
    let client = daemon.dray();
    let folder = context(&daemon, "crash", DOCKERFILE, &[("one", "1"), ("two", "2")]);
    build(&client, &folder, "-t cached").expect_success();
    let before = stamps(&client);
    daemon.crash_and_restart();
    build(&client, &folder, "-t cached").expect_success();
    assert_eq!(stamps(&client), before);
}
