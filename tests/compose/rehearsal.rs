//! `--dry-run`: nothing is changed, and what would be done is told as Docker Compose tells it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use dray_harness::client::{Client, Finished, finish};
use dray_harness::{Daemon, compose, dray_binary};
use tempfile::TempDir;

const PROJECT: &str = r#"
name: p
services:
  web:
    image: busybox
    command: sleep 1000
    depends_on: {db: {condition: service_healthy}}
    networks: [front, back]
    volumes: ["www:/www"]
    stop_grace_period: 0s
    post_start: [{command: [touch, /hooked]}]
  db:
    image: busybox
    command: sh -c "touch /ready; exec sleep 1000"
    healthcheck: {test: [CMD, test, -f, /ready], interval: 1s, retries: 30}
    networks: [back]
    stop_grace_period: 0s
    scale: 2
  built:
    build: {context: ., dockerfile_inline: "FROM busybox"}
    command: sleep 1000
    stop_grace_period: 0s
networks: {front: {}, back: {internal: true}}
volumes: {www: {}}
"#;

struct Project {
    folder: TempDir,
    client: Client,
}

impl Project {
    fn run(&self, program: PathBuf, first: &[&str], args: &[&str]) -> Finished {
        let mut command = std::process::Command::new(program);
        for (name, value) in self.client.command(Vec::<&str>::new()).get_envs() {
            // As users have it: their builds are BuildKit's.
            if let Some(value) = value.filter(|_| name != "DOCKER_BUILDKIT") {
                command.env(name, value);
            }
        }
        command.args(first).args(args).current_dir(self.folder.path()).env("PWD", self.folder.path());
        finish(command, b"")
    }

    fn ours(&self, args: &[&str]) -> Finished {
        self.run(dray_binary(), &["compose"], args)
    }

    /// What is there: containers with their states, networks, volumes, images.
    fn there(&self) -> String {
        ["ps -a --format {{.ID}}{{.State}}", "network ls -q", "volume ls -q", "images -q"]
            .map(|line| self.client.ok(line))
            .join("\n")
    }
}

/// The lines of what is told. Those of builds have a number made up, and nothing else has an order.
fn told(finished: &Finished) -> BTreeSet<String> {
    let lines = finished.stderr.lines().filter(|line| line.contains("DRY-RUN MODE"));
    // Docker Compose names hooks too, and containers that would be made anew by the name that they have meanwhile.
    let lines = lines.filter(|line| !line.contains("Executing command"));
    let plain = |line: &str| match line.split_once("dryRun-") {
        Some((before, _)) => before.to_owned(),
        None => {
            let words = line.trim_end().split(' ').map(|word| match word.split_once('_') {
                Some((id, name)) if id.len() == 12 => name,
                _ => word,
            });
            // Theirs does not know that the containers would be gone.
            words.collect::<Vec<_>>().join(" ").replace("Resource is still in use", "Removed")
        }
    };
    lines.map(plain).collect()
}

#[test]
fn nothing_is_done_and_all_of_it_is_told() {
    let daemon = Daemon::start();
    let project =
        Project { folder: TempDir::with_prefix("dray-dry-").expect("a folder"), client: daemon.dray() };
    fs::write(project.folder.path().join("compose.yaml"), PROJECT).expect("compose.yaml");
    let theirs = compose::reference();
    let same = |args: &[&str]| {
        let before = project.there();
        let args = [&["--dry-run"], args].concat();
        let mine = project.ours(&args).expect_success();
        assert_eq!(project.there(), before, "{args:?} has changed something");
        let other = project.run(theirs.clone(), &[], &args).expect_success();
        assert_eq!(told(&mine), told(&other), "{args:?}\n{}\n{}", mine.output(), other.output());
        assert!(!told(&mine).is_empty(), "{args:?}: {}", mine.output());
    };
    same(&["build"]);
    same(&["create"]);
    same(&["up", "-d"]);
    same(&["up", "-d", "--wait"]);
    project.ours(&["up", "-d", "--wait"]).expect_success();
    same(&["up", "-d", "--scale", "db=3"]);
    same(&["up", "-d", "--force-recreate", "web"]);
    same(&["scale", "db=1"]);
    for command in ["stop", "restart", "kill", "pause", "down"] {
        same(&[command]);
    }
    project.ours(&["pause"]).expect_success();
    same(&["unpause"]);
    project.ours(&["unpause"]).expect_success();
    let refused = project.ours(&["--dry-run", "exec", "-T", "db", "true"]).expect_code(1);
    refused.expect_error("interactive exec is not supported in dry-run mode");
    project.ours(&["--dry-run", "down", "-v", "--rmi", "local"]).expect_success();
    project.ours(&["down", "-v", "--rmi", "local"]).expect_success();
    assert_eq!(project.client.ok("ps -aq"), "");
}
