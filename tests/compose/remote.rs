//! Files in git repositories: what `config` says of them, against Docker Compose where it is built; and a project that
//! is nowhere else, built and run.

use std::fs;
use std::path::Path;
use std::process::Command;

use dray_harness::client::{Client, finish};
use dray_harness::git::GitServer;
use dray_harness::{Daemon, dray_binary};
use tempfile::TempDir;

use super::pair::Pair;

/// A repository, and a folder from which it is used: `GIT` is its address.
struct Remote {
    server: GitServer,
    pair: Pair,
}

impl Remote {
    fn new() -> Self {
        let server = GitServer::start();
        let deep = "services:\n  deep:\n    image: deep:${WHICH:-none}\n    build: ./ctx\n    volumes: ['./data:/data']\n";
        server.commit(
            "app.git",
            &[
                (
                    "compose.yaml",
                    "services: {root: {image: 'root:${WHICH:-none}', volumes: ['./data:/data']}}\n",
                ),
                (".env", "WHICH=repository\n"),
                ("sub/compose.yml", deep),
                ("sub/other.yaml", deep),
                ("sub/nested.yaml", "include: [other.yaml]\nservices: {more: {image: more}}\n"),
            ],
        );
        let pair = Pair::new(&[("GIT", server.address("app.git"))]);
        pair.write(".env", "WHICH=here\n");
        pair.write("local.yaml", "services: {local: {image: local, build: ./l}}\n");
        Self { server, pair }
    }

    fn commit(&self) -> String {
        let mut head = Command::new("git");
        head.arg("-C").arg(self.server.folder("app.git")).args(["rev-parse", "main"]);
        String::from_utf8_lossy(&head.output().expect("git").stdout).trim().to_owned()
    }
}

#[test]
fn a_project_is_read_from_a_repository() {
    let remote = Remote::new();
    let root = format!("CACHE/docker-compose/{}", remote.commit());
    let said = remote.pair.config("-f GIT");
    assert!(said.contains(&format!("source: {root}/data")), "{said}");
    assert!(said.contains("image: root:here"), "the user's variables, not the repository's: {said}");
    for line in ["-f GIT#main:sub", "-f GIT#:sub/other.yaml"] {
        let said = remote.pair.config(line);
        assert!(said.contains(&format!("context: {root}/sub/ctx")), "{line}: {said}");
    }
    let said = remote.pair.config("-f GIT#:sub/nested.yaml");
    assert!(said.contains("more:") && said.contains(&format!("source: {root}/sub/data")), "{said}");
    remote.pair.config("--project-directory /tmp -f GIT");
    remote.pair.config("-f local.yaml -f GIT");
    remote.pair.config("-f GIT -f local.yaml");
}

#[test]
fn files_of_a_repository_are_included_and_extended() {
    let remote = Remote::new();
    let root = format!("CACHE/docker-compose/{}", remote.commit());
    remote.pair.write("inc/compose.yaml", "include: ['GIT#main:sub']\nservices: {own: {image: own}}\n");
    let said = remote.pair.config("-f inc/compose.yaml");
    assert!(said.contains("own:") && said.contains(&format!("context: {root}/sub/ctx")), "{said}");
    let extends =
        "services: {own: {extends: {file: 'GIT#main:sub/other.yaml', service: deep}, init: true}}\n";
    remote.pair.write("ext/compose.yaml", extends);
    let said = remote.pair.config("-f ext/compose.yaml");
    assert!(said.contains("init: true") && said.contains("target: /data"), "{said}");
}

#[test]
fn a_branch_is_looked_up_each_time_and_a_commit_fetched_once() {
    let remote = Remote::new();
    let first = remote.commit();
    assert!(remote.pair.ours("-f GIT config --images", &[]).expect_success().stdout.contains("root:here"));
    remote.server.commit("app.git", &[("compose.yaml", "services: {root: {image: 'second'}}\n")]);
    assert_eq!(remote.pair.ours("-f GIT config --images", &[]).expect_success().stdout, "second\n");
    let old = format!("-f GIT#{first} config --images");
    assert!(remote.pair.ours(&old, &[]).expect_success().stdout.contains("root:here"));
    // It is there: nobody needs to be asked for it.
    let Remote { server, pair } = remote;
    drop(server);
    assert!(pair.ours(&old, &[]).expect_success().stdout.contains("root:here"));
    assert_eq!(pair.kept().len(), 2, "a folder for each commit, no drafts");
}

#[test]
fn what_cannot_be_had_is_named() {
    let remote = Remote::new();
    let refused = |line: &str, variables: &[(&str, &str)]| remote.pair.refused(line, variables);
    for (line, expected) in [
        ("-f GIT#nope", "repository does not contain ref GIT#nope"),
        ("-f GIT#main:nope", "GIT#main:nope: no configuration file in the repository at \"nope\""),
        ("-f GIT#main:../x", "git subdirectory path traversal detected: ../x"),
        ("-f GITx", "failed to access repository at GITx:\n"),
        ("-f GIT#--upload-pack=x", "GIT#--upload-pack=x: invalid reference"),
    ] {
        let said = refused(line, &[]);
        assert!(said.contains(expected), "{line}: {said}");
    }
    let said = refused("-f GIT", &[("COMPOSE_EXPERIMENTAL_GIT_REMOTE", "false")]);
    assert!(
        said.contains("git remote resource is disabled by \"COMPOSE_EXPERIMENTAL_GIT_REMOTE\""),
        "{said}"
    );
    let said = refused("-f GIT", &[("COMPOSE_EXPERIMENTAL_GIT_REMOTE", "maybe")]);
    assert!(said.contains("expects boolean value"), "{said}");
    remote.pair.write("inc/compose.yaml", "services: {own: {image: x}}\ninclude: ['GIT#nope']\n");
    let said = refused("-f inc/compose.yaml", &[]);
    assert!(said.contains("does not contain ref GIT#nope") && said.contains("compose.yaml:2:"), "{said}");
}

#[test]
fn a_link_does_not_lead_out_of_the_repository() {
    let remote = Remote::new();
    let outside = remote.pair.folder().join("outside");
    fs::create_dir(&outside).expect("a folder");
    fs::write(outside.join("compose.yaml"), "services: {a: {image: stolen}}\n").expect("a file");
    remote.server.commit("app.git", &[("keep", "")]);
    std::os::unix::fs::symlink(&outside, remote.server.folder("app.git.work").join("way")).expect("a link");
    remote.server.commit("app.git", &[("keep", "more")]);
    let said = remote.pair.ours("-f GIT#main:way config", &[]);
    assert!(said.code == 1 && said.stderr.contains("path traversal detected: way"), "{}", said.stderr);
}

/// `dray compose` in a folder, on a daemon.
fn on(at: &Client, folder: &Path, line: &str) -> String {
    let mut command = Command::new(dray_binary());
    for (name, value) in at.command(Vec::<&str>::new()).get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
        .arg("compose")
        .args(line.split(' '))
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder.join("cache"));
    finish(command, b"").expect_success().stdout
}

#[test]
fn a_project_of_a_repository_is_built_and_run() {
    let daemon = Daemon::start();
    let at = daemon.dray();
    let server = GitServer::start();
    server
        .commit("lib.git", &[("img/Dockerfile", "FROM busybox\nCOPY word /\n"), ("img/word", "from lib\n")]);
    let text = format!(
        "services:\n  a:\n    image: a\n    build: ./a\n    command: cat /word\n  b:\n    image: b\n    build: '{}#main:img'\n    command: cat /word\n",
        server.address("lib.git")
    );
    let own =
        [("compose.yaml", &*text), ("a/Dockerfile", "FROM busybox\nCOPY word /\n"), ("a/word", "from app\n")];
    server.commit("app.git", &own);
    let folder = TempDir::with_prefix("dray-compose-").expect("a folder");
    let run = |line: &str| on(&at, folder.path(), &format!("-p app -f {} {line}", server.address("app.git")));
    run("build -q");
    assert_eq!(run("run --rm -T a"), "from app\n");
    assert_eq!(run("run --rm -T b"), "from lib\n");
    run("down --rmi all");
}
