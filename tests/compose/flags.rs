//! Commands and their flags, against Docker Compose's own help; and what only some of them take.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use dray_harness::compose;
use tempfile::TempDir;

use super::{compose as ours, run};

/// What has no place here: Docker's own cloud and plug-ins, and flags that mean nothing to this daemon.
const ABSENT: &[&str] = &["bridge", "build --builder", "publish --app"];

fn theirs(folder: &Path, args: &[&str]) -> String {
    run(Command::new(compose::reference()).args(args), folder).stdout
}

/// The flags of a help text, with their short names and kinds.
fn flags(help: &str) -> BTreeSet<String> {
    // Further in are the ends of long descriptions.
    let begins = |line: &&str| line.len() - line.trim_start().len() < 8;
    let lines = help.lines().filter(begins).map(str::trim_start).filter(|line| line.starts_with('-'));
    lines.map(|line| line.split("  ").next().unwrap_or(line).trim().to_owned()).collect()
}

#[test]
fn every_command_has_docker_composes_flags() {
    let folder = TempDir::with_prefix("dray-compose-").expect("a folder");
    let top = theirs(folder.path(), &["--help"]);
    let commands = top.rsplit("Commands:").next().expect("commands").lines();
    let mut names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    names.retain(|name| name.chars().all(|c| c.is_ascii_lowercase()) && !ABSENT.contains(name));
    assert!(names.len() > 30, "{top}");
    let mut missing = Vec::new();
    for command in std::iter::once(None).chain(names.into_iter().map(Some)) {
        let args: Vec<&str> = command.into_iter().chain(["--help"]).collect();
        let known = flags(&ours(folder.path(), &args).stdout);
        let lacks = flags(&theirs(folder.path(), &args)).into_iter().filter(|flag| !known.contains(flag));
        missing.extend(lacks.map(|flag| format!("{} {flag}", command.unwrap_or_default())));
    }
    missing.retain(|flag| !ABSENT.iter().any(|absent| flag.starts_with(absent)));
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn old_names_of_flags_are_taken() {
    let folder = TempDir::with_prefix("dray-compose-").expect("a folder");
    for line in [
        "--no-ansi version",
        "pull --parallel --no-parallel --help",
        "build --parallel --compress --force-rm --no-rm --builder default --help",
        "run --volumes a:/a --labels b --help",
        "up --y --help",
        "create --y --help",
        "publish --y --help",
        "rm -a --help",
        "convert --help",
        "up --dry-run --help",
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        ours(folder.path(), &args).expect_success();
    }
}

/// The reference names the targets of its group in any order.
fn sorted(text: &str) -> serde_json::Value {
    let mut file: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let group = file.pointer_mut("/group/default/targets").and_then(|targets| targets.as_array_mut());
    group.expect("a group").sort_by_key(ToString::to_string);
    file
}

const BUILDS: &str = r#"
name: p
services:
  a.b:
    image: img
    build:
      context: ./ctx
      dockerfile: D
      args: {X: "1 < 2 & $$ ${HOME}", Y: }
      labels: {l: m}
      tags: [t1, t2]
      cache_from: [c]
      cache_to: [type=inline]
      target: tgt
      secrets: [s, {source: e, target: f}]
      ssh: ["k=/p"]
      platforms: [linux/amd64, linux/arm64]
      network: host
      shm_size: 64m
      ulimits: {nofile: {soft: 1, hard: 2}}
      entitlements: [network.host]
      privileged: true
      extra_hosts: ["a:1.2.3.4"]
      additional_contexts: {other: "service:c", x: ./y}
      provenance: "mode=max"
      sbom: true
  c:
    build: {context: ., dockerfile_inline: "FROM x\nRUN echo $${A}\n", no_cache: true}
  d: {image: x}
secrets: {s: {file: ./s}, e: {environment: HOME}}
"#;

#[test]
fn builds_are_printed_as_a_bake_file() {
    let folder = TempDir::with_prefix("dray-compose-").expect("a folder");
    fs::write(folder.path().join("compose.yaml"), BUILDS).expect("a file");
    fs::create_dir(folder.path().join("ctx")).expect("a folder");
    for line in [
        "build --print a.b",
        "build --print --push a.b",
        "build --print --check --build-arg Z=1 --build-arg HOME --no-cache --pull --ssh q=/z c",
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        let mine = ours(folder.path(), &args).expect_success().stdout;
        // The reference is built without a version of its own.
        let version = mine.split("compose.version\": \"").nth(1).and_then(|rest| rest.split('"').next());
        let version = format!("compose.version\": \"{}\"", version.expect("a version"));
        let (mine, theirs) =
            (mine.replace(&version, "compose.version\": \"\""), theirs(folder.path(), &args));
        if line.ends_with('c') {
            assert_eq!(mine, theirs, "{line}");
        }
        assert_eq!(sorted(&mine), sorted(&theirs), "{line}");
    }
}
