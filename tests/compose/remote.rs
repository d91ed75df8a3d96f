//! Files in git repositories: what `config` says of them, against Docker Compose where it is built; and a project that
//! is nowhere else, built and run.

use std::fs;
use std::path::Path;
use std::process::Command;

use dray_harness::client::{Client, Finished, finish};
use dray_harness::git::GitServer;
use dray_harness::{Daemon, compose, dray_binary};
use tempfile::TempDir;

/// A repository, and a folder from which it is used.
struct Remote {
    server: GitServer,
    folder: TempDir,
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
        let folder = TempDir::with_prefix("dray-compose-").expect("a folder");
        let remote = Self { server, folder };
        remote.write(".env", "WHICH=here\n");
        remote.write("local.yaml", "services: {local: {image: local, build: ./l}}\n");
        remote
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text.replace("GIT", &self.server.address("app.git"))).expect("a file");
    }

    /// Asks a program; `GIT` stands for the repository, and the paths of the cache are the same for all.
    fn ask(&self, program: &mut Command, line: &str, variables: &[(&str, &str)]) -> Finished {
        let cache = self.folder.path().join(format!("cache-{}", program.get_args().count()));
        let line = line.replace("GIT", &self.server.address("app.git"));
        let command = program
            .args(line.split(' '))
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("PWD", self.folder.path())
            .env("XDG_CACHE_HOME", &cache)
            .envs(variables.iter().copied());
        let output = command.output().expect("compose");
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).replace(&*cache.to_string_lossy(), "CACHE");
            text.replace(&self.server.address("app.git"), "GIT")
        };
        Finished {
            line,
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    fn ours(&self, line: &str, variables: &[(&str, &str)]) -> Finished {
        self.ask(Command::new(dray_binary()).arg("compose"), line, variables)
    }

    /// What `config` prints, which is what Docker Compose prints.
    fn config(&self, line: &str) -> String {
        let line = format!("{line} config");
        let mine = self.ours(&line, &[]).expect_success().stdout;
        if let Some(reference) = compose::reference_if_built() {
            assert_eq!(self.ask(&mut Command::new(reference), &line, &[]).stdout, mine, "{line}");
        }
        mine
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
    let said = remote.config("-f GIT");
    assert!(said.contains(&format!("source: {root}/data")), "{said}");
    assert!(said.contains("image: root:here"), "the user's variables, not the repository's: {said}");
    for line in ["-f GIT#main:sub", "-f GIT#:sub/other.yaml"] {
        let said = remote.config(line);
        assert!(said.contains(&format!("context: {root}/sub/ctx")), "{line}: {said}");
    }
    let said = remote.config("-f GIT#:sub/nested.yaml");
    assert!(said.contains("more:") && said.contains(&format!("source: {root}/sub/data")), "{said}");
    remote.config("--project-directory /tmp -f GIT");
    remote.config("-f local.yaml -f GIT");
    remote.config("-f GIT -f local.yaml");
}

#[test]
fn files_of_a_repository_are_included_and_extended() {
    let remote = Remote::new();
    let root = format!("CACHE/docker-compose/{}", remote.commit());
    remote.write("inc/compose.yaml", "include: ['GIT#main:sub']\nservices: {own: {image: own}}\n");
    let said = remote.config("-f inc/compose.yaml");
    assert!(said.contains("own:") && said.contains(&format!("context: {root}/sub/ctx")), "{said}");
    let extends =
        "services: {own: {extends: {file: 'GIT#main:sub/other.yaml', service: deep}, init: true}}\n";
    remote.write("ext/compose.yaml", extends);
    let said = remote.config("-f ext/compose.yaml");
    assert!(said.contains("init: true") && said.contains("target: /data"), "{said}");
}

#[test]
fn a_branch_is_looked_up_each_time_and_a_commit_fetched_once() {
    let remote = Remote::new();
    let first = remote.commit();
    assert!(remote.ours("-f GIT config --images", &[]).expect_success().stdout.contains("root:here"));
    remote.server.commit("app.git", &[("compose.yaml", "services: {root: {image: 'second'}}\n")]);
    assert_eq!(remote.ours("-f GIT config --images", &[]).expect_success().stdout, "second\n");
    let old = format!("-f GIT#{first} config --images");
    assert!(remote.ours(&old, &[]).expect_success().stdout.contains("root:here"));
    // It is there: nobody needs to be asked for it.
    let Remote { server, folder } = remote;
    let old = old.replace("GIT", &server.address("app.git"));
    drop(server);
    let cache = folder.path().join("cache-1");
    let mut command = Command::new(dray_binary());
    command.arg("compose").args(old.split(' ')).current_dir(folder.path()).env("XDG_CACHE_HOME", &cache);
    assert!(finish(command, b"").expect_success().stdout.contains("root:here"));
    let kept = fs::read_dir(cache.join("docker-compose")).expect("the cache").count();
    assert_eq!(kept, 2, "a folder for each commit, no drafts");
}

#[test]
fn what_cannot_be_had_is_named() {
    let remote = Remote::new();
    let refused = |line: &str, variables: &[(&str, &str)]| {
        let said = remote.ours(&format!("{line} config"), variables);
        assert_eq!(said.code, 1, "{line}: {}", said.stdout);
        said.stderr
    };
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
    remote.write("inc/compose.yaml", "services: {own: {image: x}}\ninclude: ['GIT#nope']\n");
    let said = refused("-f inc/compose.yaml", &[]);
    assert!(said.contains("does not contain ref GIT#nope") && said.contains("compose.yaml:2:"), "{said}");
}

#[test]
fn a_link_does_not_lead_out_of_the_repository() {
    let remote = Remote::new();
    let outside = remote.folder.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    fs::write(outside.join("compose.yaml"), "services: {a: {image: stolen}}\n").expect("a file");
    remote.server.commit("app.git", &[("keep", "")]);
    std::os::unix::fs::symlink(&outside, remote.server.folder("app.git.work").join("way")).expect("a link");
    remote.server.commit("app.git", &[("keep", "more")]);
    let said = remote.ours("-f GIT#main:way config", &[]);
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
