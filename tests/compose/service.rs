//! What a service asks of the client that brings it up, the daemon's socket; and what the client says of a file.

use std::fs;
use std::path::Path;

use dray_harness::Daemon;
use dray_harness::client::{Client, Finished, finish};
use tempfile::TempDir;

use super::pair::Pair;

fn compose(at: &Client, folder: &Path, line: &str) -> Finished {
    let mut command = at.command(["compose"]);
    command.args(line.split(' ')).current_dir(folder);
    finish(command, b"")
}

#[test]
fn a_service_speaks_with_the_daemon_that_it_runs_on() {
    let daemon = Daemon::start();
    let at = daemon.dray();
    let folder = TempDir::with_prefix("dray-compose-").expect("a folder");
    let text = "services:\n  a: {image: busybox, command: sleep 1000, stop_grace_period: 0s, use_api_socket: true}\n";
    fs::write(folder.path().join("compose.yaml"), text).expect("a file");
    let auths = r#"{"auths":{"registry.test":{"auth":"YW5uOnB3"}},"currentContext":""}"#;
    fs::write(daemon.client_config().join("config.json"), auths).expect("the configuration");
    compose(&at, folder.path(), "up -d").expect_success();
    let seen = compose(&at, folder.path(), "exec -T a env").expect_success().stdout;
    assert!(seen.contains("DOCKER_CONFIG=/run/secrets/docker\n"), "{seen}");
    let seen = compose(&at, folder.path(), "exec -T a cat /run/secrets/docker/config.json");
    let wanted = "{\n\t\"auths\": {\n\t\t\"registry.test\": {\n\t\t\t\"auth\": \"YW5uOnB3\"\n\t\t}\n\t}\n}";
    assert_eq!(seen.stdout, wanted, "{}", seen.stderr);
    compose(&at, folder.path(), "exec -T a test -S /var/run/docker.sock").expect_success();
    let again = compose(&at, folder.path(), "up -d").expect_success().stderr;
    assert!(again.contains("Running") && !again.contains("Recreate"), "{again}");
    let once = compose(&at, folder.path(), "run --rm -T a cat /run/secrets/docker/config.json");
    assert_eq!(once.expect_success().stdout, wanted);
    compose(&at, folder.path(), "down").expect_success();
}

#[test]
fn what_is_old_or_unknown_is_warned_of() {
    let pair = Pair::new(&[]);
    pair.write("other.yaml", "services: {b: {image: b}}\n");
    pair.write(
        "compose.yaml",
        "services: {a: {image: a}}\nvolumes: {v: {external: {name: w}}}\nnetworks: {n: {external: {name: m}}}\n",
    );
    let warnings = |said: &str| {
        let mut lines: Vec<String> =
            said.lines().filter_map(|l| Some(l.split_once("level=warning ")?.1.to_owned())).collect();
        lines.sort();
        lines
    };
    let mine = warnings(&pair.ours("config", &[]).expect_success().stderr);
    let deprecated = |path: &str| {
        format!("msg=\"{path}: external.name is deprecated. Please set name and external: true\"")
    };
    assert_eq!(mine, [deprecated("networks.n"), deprecated("volumes.v")]);
    if let Some(theirs) = pair.theirs("config", &[]) {
        assert_eq!(warnings(&theirs.stderr), mine);
    }
    pair.write("compose.yaml", "include: [{path: other.yaml, env_files: x}]\nservices: {a: {image: a}}\n");
    assert!(pair.config("").contains("image: b"));
    let mine = pair.ours("config", &[]).stderr;
    assert!(
        mine.contains("compose.yaml:1: include has no attribute 'env_files', it will be ignored"),
        "{mine}"
    );
}
