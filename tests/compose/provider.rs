//! Services that a program provides, and models.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use dray_harness::client::{Client, Finished, finish};
use dray_harness::{Daemon, compose, dray_binary};
use tempfile::TempDir;

/// Notes how it was called, and tells where the database is.
const PROGRAM: &str = r#"#!/bin/sh
echo "$@" >> "${0%/*}/calls"
echo '{"type":"info","message":"ready"}'
case "$*" in *" up "*) echo '{"type":"setenv","message":"URL=tcp://10.0.0.1"}' ;; esac
"#;

fn project(text: &str) -> TempDir {
    let folder = TempDir::with_prefix("dray-provider-").expect("a folder");
    fs::write(folder.path().join("compose.yaml"), text).expect("compose.yaml");
    let program = folder.path().join("cloud");
    fs::write(&program, PROGRAM).expect("the provider");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    folder
}

fn run(program: &Path, first: &[&str], client: &Client, folder: &Path, args: &[&str]) -> Finished {
    let mut command = std::process::Command::new(program);
    for (name, value) in client.command(Vec::<&str>::new()).get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    command.args(first).args(args).current_dir(folder).env("PWD", folder).env("PATH", path);
    finish(command, b"")
}

#[test]
fn what_a_provider_tells_reaches_those_that_depend_on_it() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let text = "name: p\nservices:\n  my-db:\n    provider: {type: cloud, options: {size: 2}}\n  web:\n    image: busybox\n    \
                command: sleep 1000\n    init: true\n    stop_grace_period: 0s\n    depends_on: [my-db]\n  other:\n    image: busybox\n    \
                command: sleep 1000\n    init: true\n    stop_grace_period: 0s\n";
    let mut seen = Vec::new();
    for (program, first) in [(dray_binary(), &["compose"][..]), (compose::reference(), &[])] {
        let folder = project(text);
        let ok = |args: &[&str]| run(&program, first, &client, folder.path(), args).expect_success().stdout;
        ok(&["up", "-d"]);
        let env = |service: &str| {
            let all = ok(&["exec", "-T", service, "env"]);
            let own: Vec<&str> = all.lines().filter(|line| line.contains("10.0.0.1")).collect();
            own.join(",")
        };
        let variables = (env("web"), env("other"));
        ok(&["down"]);
        // Docker Compose asks first which options there are.
        let calls = fs::read_to_string(folder.path().join("calls")).expect("calls");
        seen.push((variables, calls.replace("compose metadata\n", "")));
    }
    assert_eq!(seen[0], seen[1], "Docker Compose's comes second");
    assert!(seen[0].0.0.ends_with("_URL=tcp://10.0.0.1") && seen[0].0.1.is_empty(), "{seen:?}");
    // In a rehearsal it is left alone.
    let folder = project(text);
    run(&dray_binary(), &["compose"], &client, folder.path(), &["--dry-run", "up", "-d"]).expect_success();
    assert!(!folder.path().join("calls").exists());
}

#[test]
fn models_are_refused_with_what_is_missing() {
    let daemon = Daemon::start();
    let text =
        "name: p\nservices:\n  web: {image: busybox, models: [llm]}\nmodels: {llm: {model: ai/small}}\n";
    let folder = project(text);
    let refused =
        run(&dray_binary(), &["compose"], &daemon.dray(), folder.path(), &["up", "-d"]).expect_code(1);
    refused.expect_error("services.web.models: 'models' support requires Docker Model plugin");
    assert_eq!(daemon.dray().ok("ps -aq"), "");
}
