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
fn one_stage_is_carried_out_anew() {
    let daemon = Daemon::start();
    let uuid = "cat /proc/sys/kernel/random/uuid";
    let dockerfile = format!(
        "FROM busybox AS one\nRUN {uuid} > /first\nFROM busybox AS two\nRUN {uuid} > /second\n\
         FROM busybox\nCOPY --from=one /first /\nCOPY --from=two /second /\n"
    );
    let folder = context(&daemon, "filtered", &dockerfile, &[]);
    let bake = r#"{"target":{"default":{"tags":["cached"],"no-cache-filter":["two"]}}}"#;
    fs::write(folder.join("docker-bake.json"), bake).expect("a file");
    let (dray, buildx) = (daemon.dray(), super::buildx(&daemon));
    let again = |client: &Client, flags: &str| {
        build(client, &folder, &format!("-t cached {flags}")).expect_success();
        stamps(&dray)
    };
    let mut before = again(&dray, "");
    for client in [&dray, &buildx] {
        let after = again(client, "--no-cache-filter two");
        assert!(after.0 == before.0 && after.1 != before.1, "only the second stage runs");
        assert_eq!(again(client, ""), after);
        before = after;
    }
    let explained = build(&dray, &folder, "-t cached --no-cache-filter ONE --explain").expect_success();
    assert!(explained.stderr.contains("--no-cache-filter: all steps of its stage"), "{}", explained.stderr);
    before = stamps(&dray);
    let mut baked = dray.command(["bake"]);
    baked.current_dir(&folder);
    dray_harness::client::finish(baked, b"").expect_success();
    let after = stamps(&dray);
    assert!(after.0 == before.0 && after.1 != before.1, "only the second stage runs");
    let both = build(&dray, &folder, "--no-cache --no-cache-filter one");
    both.expect_code(1).expect_error("cannot currently be used together");
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
