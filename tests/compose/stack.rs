//! A stack of services with dependencies, health, secrets, configs, networks, volumes and hooks: brought up, used,
//! changed, scaled and taken down, by `dray compose` and by Docker's own, on Dray's daemon and on Debian's dockerd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dray_harness::client::{Client, Finished, eventually, finish, wait_within};
use dray_harness::peer::Dockerd;
use dray_harness::{Daemon, compose, dray_binary, fixture};
use tempfile::TempDir;

const STACK: &str = r#"
name: shop
services:
  web:
    image: busybox
    command: httpd -f -p 80 -h /www
    ports: ["80"]
    depends_on: {db: {condition: service_healthy}, init: {condition: service_completed_successfully}}
    volumes: ["www:/www", "./conf:/conf:ro", /cache]
    networks: [front, back]
    secrets: [token]
    configs: [{source: settings, target: /etc/settings}]
    environment: {GREETING: "${GREETING:-hello}"}
    healthcheck: {test: "wget -q -O- http://127.0.0.1/ || exit 1", interval: 1s, retries: 30}
    post_start: [{command: [sh, -c, "echo hooked > /tmp/hook"]}]
    stop_grace_period: 1s
  db:
    image: busybox
    command: sh -c "touch /ready; exec sleep 1000"
    healthcheck: {test: [CMD, test, -f, /ready], interval: 1s, retries: 30}
    networks: {back: {aliases: [database]}}
    stop_grace_period: 1s
    deploy: {resources: {limits: {memory: 64M}}}
  init:
    image: busybox
    command: sh -c "echo hello > /www/index.html"
    volumes: [www:/www]
    network_mode: none
  worker:
    image: busybox
    command: sh -c "echo working; exec sleep 1000"
    scale: 2
    networks: [back]
    depends_on: [db]
    stop_grace_period: 1s
networks: {front: {}, back: {internal: true}}
volumes: {www: {}}
secrets: {token: {environment: TOKEN}}
configs: {settings: {content: "a=$${b}"}}
"#;

/// A project in a folder of its own.
struct Project {
    folder: TempDir,
}

impl Project {
    fn new(text: &str) -> Project {
        let folder = TempDir::with_prefix("dray-compose-").expect("a folder");
        fs::create_dir(folder.path().join("conf")).expect("a folder");
        let project = Project { folder };
        project.write(text);
        project
    }

    fn write(&self, text: &str) {
        fs::write(self.folder.path().join("compose.yaml"), text).expect("compose.yaml");
    }

    /// Runs a Compose at a daemon: `program` with `first` words before the line's.
    fn run(&self, by: &By, at: &Client, args: &[&str]) -> Finished {
        let mut command = Command::new(&by.program);
        let like = at.command(Vec::<&str>::new());
        for (name, value) in like.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .args(by.first)
            .args(args)
            .current_dir(self.path())
            .env("TOKEN", "secret")
            .env("PWD", self.path());
        finish(command, b"")
    }

    fn ok(&self, by: &By, at: &Client, args: &[&str]) -> String {
        self.run(by, at, args).expect_success().stdout
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A Compose.
struct By {
    program: PathBuf,
    first: &'static [&'static str],
}

fn ours() -> By {
    By { program: dray_binary(), first: &["compose"] }
}

fn theirs() -> By {
    By { program: compose::reference(), first: &[] }
}

fn ids(project: &Project, by: &By, at: &Client) -> Vec<String> {
    let mut ids: Vec<String> = project.ok(by, at, &["ps", "-q"]).lines().map(str::to_owned).collect();
    ids.sort();
    ids
}

/// What a stack must do once it is up.
fn works(project: &Project, by: &By, at: &Client) {
    let inside = |args: &[&str]| project.ok(by, at, &[&["exec", "-T", "web"], args].concat());
    assert_eq!(inside(&["wget", "-qO-", "http://web/"]), "hello\n");
    assert_eq!(inside(&["cat", "/run/secrets/token", "/etc/settings", "/tmp/hook"]), "secreta=${b}hooked\n");
    inside(&["ping", "-c1", "-W5", "database"]);
    let ports = project.ok(by, at, &["port", "web", "80"]);
    assert!(ports.starts_with("0.0.0.0:"), "{ports}");
    let names = project.ok(by, at, &["ps", "--format", "{{.Name}}"]);
    assert_eq!(names, "shop-db-1\nshop-web-1\nshop-worker-1\nshop-worker-2\n");
    let log = project.ok(by, at, &["logs", "worker"]);
    assert!(log.contains("worker-1  | working") && log.contains("worker-2  | working"), "{log}");
}

fn nothing_left(at: &Client) {
    assert_eq!(at.ok("ps -aq --filter label=com.docker.compose.project=shop"), "");
    assert_eq!(at.ok("network ls -q --filter label=com.docker.compose.project=shop"), "");
    assert_eq!(at.ok("volume ls -q --filter label=com.docker.compose.project=shop"), "");
}

#[test]
fn a_stack_lives_on_dray() {
    let daemon = Daemon::start();
    let (at, by, project) = (daemon.dray(), ours(), Project::new(STACK));
    project.ok(&by, &at, &["up", "-d", "--wait"]);
    works(&project, &by, &at);
    let first = ids(&project, &by, &at);
    project.ok(&by, &at, &["up", "-d"]);
    assert_eq!(ids(&project, &by, &at), first, "nothing changed, so nothing is made anew");

    project.ok(&by, &at, &["exec", "-T", "web", "sh", "-c", "echo kept > /cache/x"]);
    project.write(&STACK.replace(":-hello", ":-bye"));
    project.ok(&by, &at, &["up", "-d", "--wait"]);
    let second = ids(&project, &by, &at);
    assert_eq!(second.iter().filter(|id| first.contains(id)).count(), 3, "web alone is made anew");
    assert_eq!(project.ok(&by, &at, &["exec", "-T", "web", "cat", "/cache/x"]), "kept\n");

    project.ok(&by, &at, &["up", "-d", "--scale", "worker=3", "--no-deps", "worker"]);
    assert_eq!(project.ok(&by, &at, &["ps", "-q", "worker"]).lines().count(), 3);
    project.ok(&by, &at, &["scale", "worker=1"]);
    assert_eq!(project.ok(&by, &at, &["ps", "--format", "{{.Name}}", "worker"]), "shop-worker-1\n");

    let ran =
        project.run(&by, &at, &["run", "--rm", "-T", "-e", "A=b", "worker", "sh", "-c", "echo $A; exit 7"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (7, "b\n"), "{}", ran.stderr);

    project.ok(&by, &at, &["stop", "-t", "1", "worker"]);
    assert_eq!(project.ok(&by, &at, &["ps", "-q", "worker"]), "");
    project.ok(&by, &at, &["start", "worker"]);
    project.ok(&by, &at, &["restart", "-t", "1", "worker"]);
    project.ok(&by, &at, &["pause", "worker"]);
    assert!(project.ok(&by, &at, &["ps", "--status", "paused", "-q"]).lines().count() == 1);
    project.ok(&by, &at, &["unpause", "worker"]);
    project.ok(&by, &at, &["kill", "worker"]);
    project.ok(&by, &at, &["rm", "-f", "worker"]);
    assert_eq!(project.ok(&by, &at, &["ps", "-aq", "worker"]), "");

    project.ok(&by, &at, &["down", "-v", "-t", "1"]);
    nothing_left(&at);
}

#[test]
fn a_stack_lives_on_dockerd() {
    let dockerd = Dockerd::start();
    dockerd.load(&fixture::busybox());
    let (at, by, project) = (dockerd.client(), ours(), Project::new(STACK));
    project.ok(&by, &at, &["up", "-d", "--wait"]);
    works(&project, &by, &at);
    let first = ids(&project, &by, &at);
    project.ok(&by, &at, &["up", "-d"]);
    assert_eq!(ids(&project, &by, &at), first, "nothing changed, so nothing is made anew");
    project.ok(&by, &at, &["down", "-v", "-t", "1"]);
    nothing_left(&at);
}

#[test]
fn each_compose_manages_what_the_other_started() {
    let theirs = theirs();
    let daemon = Daemon::start();
    let (at, project) = (daemon.dray(), Project::new(STACK));
    for (starts, goes_on) in [(&theirs, &ours()), (&ours(), &theirs)] {
        project.ok(starts, &at, &["up", "-d", "--wait"]);
        works(&project, starts, &at);
        let first = ids(&project, starts, &at);
        project.ok(goes_on, &at, &["up", "-d"]);
        assert_eq!(ids(&project, goes_on, &at), first, "the other's containers are taken as they are");
        works(&project, goes_on, &at);
        project.ok(goes_on, &at, &["down", "-v", "-t", "1"]);
        nothing_left(&at);
    }
}

#[test]
fn a_dependency_that_stays_unhealthy_is_told_of_with_its_last_words() {
    let daemon = Daemon::start();
    let (at, by) = (daemon.dray(), ours());
    let project = Project::new(
        "services:\n  db:\n    image: busybox\n    command: sleep 1000\n    init: true\n    healthcheck: {test: 'echo no luck; exit 4', interval: 1s, retries: 1}\n  web:\n    image: busybox\n    depends_on: {db: {condition: service_healthy}}\n",
    );
    let said = project.run(&by, &at, &["up", "-d"]).expect_code(1).stderr;
    assert!(said.contains("dependency failed to start: container"), "{said}");
    assert!(
        said.contains("is unhealthy") && said.contains("no luck") && said.contains("exited with 4"),
        "{said}"
    );
    project.ok(&by, &at, &["down", "-t", "1"]);
}

#[test]
fn attached_it_shows_all_output_and_ends_with_the_asked_for_code() {
    let daemon = Daemon::start();
    let (at, by) = (daemon.dray(), ours());
    let project = Project::new(
        "services:\n  a: {image: busybox, command: sh -c 'echo one; sleep 1; exit 3'}\n  b: {image: busybox, command: sh -c 'echo two; exec sleep 1000', stop_grace_period: 1s}\n",
    );
    let ended = project.run(&by, &at, &["up", "--exit-code-from", "a"]).expect_code(3);
    for text in ["a-1  | one", "b-1  | two", "a-1 exited with code 3", "b-1 exited with code 137"] {
        assert!(ended.stdout.contains(text), "{text:?} is not in:\n{}", ended.stdout);
    }
    project.ok(&by, &at, &["down"]);
}

#[test]
fn attached_it_ends_though_some_were_never_started() {
    let daemon = Daemon::start();
    let (at, by) = (daemon.dray(), ours());
    let project = Project::new(
        "services:\n  first: {image: busybox, command: sh -c 'sleep 1; exit 7'}\n  web:\n    image: busybox\n    command: echo never\n    depends_on: {slow: {condition: service_healthy}}\n  slow:\n    image: busybox\n    command: sleep 1000\n    stop_grace_period: 0s\n    healthcheck: {test: 'false', interval: 1s, retries: 100000}\n",
    );
    let ended = project.run(&by, &at, &["up", "--abort-on-container-exit"]).expect_code(7);
    assert!(!ended.stdout.contains("never"), "{}", ended.stdout);
    // What never ran has not ended well.
    project.run(&by, &at, &["up", "--exit-code-from", "web"]).expect_code(1);
    let mut up = at.command(["compose", "up", "slow", "web"]);
    let log = fs::File::create(project.path().join("log")).expect("a log");
    let mut up = up.current_dir(project.path()).stdout(log).spawn().expect("compose");
    eventually("the one that the other waits for runs", || {
        project.ok(&by, &at, &["ps", "-q", "slow"]).lines().count() == 1
    });
    let pid = rustix::process::Pid::from_raw(up.id().cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("interrupt");
    let ended = wait_within(&mut up, std::time::Duration::from_secs(60)).and_then(|status| status.code());
    assert_eq!(ended, Some(130));
    project.ok(&by, &at, &["down"]);
}

#[test]
fn services_find_one_another_after_their_network_was_made_anew() {
    let daemon = Daemon::start();
    let (at, by) = (daemon.dray(), ours());
    let text = |label: &str| {
        format!(
            "services:\n  a: &a {{image: busybox, command: sleep 1000, stop_grace_period: 0s, networks: {{n: {{aliases: [other]}}}}}}\n  b: {{image: busybox, command: sleep 1000, stop_grace_period: 0s, networks: [n]}}\nnetworks: {{n: {{labels: {{l: {label}}}}}}}\n"
        )
    };
    let project = Project::new(&text("one"));
    let found = |name: &str| {
        project.ok(&by, &at, &["exec", "-T", "b", "nslookup", name]);
    };
    project.ok(&by, &at, &["up", "-d"]);
    found("a");
    project.write(&text("two"));
    project.ok(&by, &at, &["up", "-d"]);
    found("a");
    found("other");
    let before = ids(&project, &by, &at);
    project.ok(&by, &at, &["stop"]);
    project.ok(&by, &at, &["up", "-d"]);
    assert_eq!(ids(&project, &by, &at), before);
    project.ok(&by, &at, &["down"]);
}

#[test]
fn images_are_built_and_go_with_the_project() {
    let daemon = Daemon::start();
    let (at, by) = (daemon.dray(), ours());
    let project = Project::new(
        "name: built\nservices:\n  a:\n    build: {context: ., dockerfile_inline: \"FROM busybox\\nARG V\\nRUN echo $$V > /v\\n\", args: {V: one}}\n    command: cat /v\n",
    );
    assert_eq!(
        project.ok(&by, &at, &["run", "--rm", "-T", "--quiet-build", "a"]).lines().last(),
        Some("one")
    );
    assert_eq!(at.ok("images -q built-a").lines().count(), 1);
    project.ok(&by, &at, &["down", "--rmi", "local"]);
    assert_eq!(at.ok("images -q built-a"), "");
}

#[test]
fn a_project_that_was_killed_half_made_is_mended() {
    let daemon = Daemon::start();
    let (at, by, project) = (daemon.dray(), ours(), Project::new(STACK));
    for _ in 0..3 {
        let mut command = at.command(["compose", "up", "-d", "--wait"]);
        command.current_dir(project.path()).env("TOKEN", "secret").stderr(std::process::Stdio::null());
        let mut child = command.spawn().expect("compose");
        eventually("something of the project is there", || {
            !at.ok("ps -aq --filter label=com.docker.compose.project=shop").is_empty()
        });
        child.kill().expect("kill compose");
        child.wait().expect("wait for compose");
    }
    project.ok(&by, &at, &["up", "-d", "--wait"]);
    works(&project, &by, &at);
    project.ok(&by, &at, &["down", "-v", "-t", "1"]);
    nothing_left(&at);
}

#[test]
fn changed_files_reach_the_containers() {
    let daemon = Daemon::start();
    let (at, by) = (daemon.dray(), ours());
    let project = Project::new(
        r#"
name: watched
services:
  a:
    image: busybox
    command: sh -c "echo up; exec sleep 1000"
    stop_grace_period: 1s
    develop:
      watch:
        - {path: ./src, action: sync, target: /app, ignore: [skipped], initial_sync: true}
        - {path: ./etc/conf, action: sync+restart, target: /conf}
  b:
    build: {context: ./img}
    command: sleep 1000
    stop_grace_period: 1s
    develop: {watch: [{path: ./img, action: rebuild}]}
"#,
    );
    let write = |name: &str, text: &str| {
        let path = project.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    write("src/one", "1");
    write("etc/conf", "c");
    write("img/Dockerfile", "FROM busybox\nCOPY x /x\n");
    write("img/x", "first");
    let log = fs::File::create(project.path().join("log")).expect("a log");
    let mut watching = at
        .command(["compose", "watch"])
        .current_dir(project.path())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("compose");
    let inside =
        |service: &str, path: &str| project.run(&by, &at, &["exec", "-T", service, "cat", path]).stdout;
    let said = || fs::read_to_string(project.path().join("log")).unwrap_or_default();
    eventually("it watches", || said().contains("Watch enabled"));
    assert_eq!(inside("a", "/app/one"), "1", "{}", said());
    write("src/skipped", "no");
    write("src/deep/er/two", "2");
    eventually("a new file in new folders is there", || inside("a", "/app/deep/er/two") == "2");
    assert_eq!(inside("a", "/app/skipped"), "");
    fs::remove_file(project.path().join("src/one")).expect("remove");
    eventually("a file that is gone is gone there too", || inside("a", "/app/one").is_empty());
    write("etc/conf", "changed");
    eventually("the service is restarted", || {
        project.ok(&by, &at, &["logs", "--no-log-prefix", "a"]) == "up\nup\n"
            && inside("a", "/conf") == "changed"
    });
    write("img/x", "second");
    eventually("the service is built anew", || inside("b", "/x") == "second");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(watching.id().cast_signed()).expect("a pid"),
        rustix::process::Signal::INT,
    )
    .expect("interrupt");
    watching.wait().expect("compose ends");
    project.ok(&by, &at, &["down", "--rmi", "local"]);
}

#[test]
fn a_project_goes_through_a_registry() {
    let daemon = Daemon::start();
    let registry = dray_harness::registry::Registry::start();
    let (at, by) = (daemon.dray(), ours());
    let project = Project::new(
        "services:\n  a:\n    image: busybox\n    command: [sh, -c, \"echo $$A\"]\n    env_file: a.env\n",
    );
    fs::write(project.path().join("a.env"), "A=through\n").expect("a.env");
    let name = format!("{}/app:v1", registry.host());
    let refused = project.run(&by, &at, &["publish", &name]).expect_code(1);
    assert!(refused.stderr.contains("--with-env"), "{}", refused.stderr);
    let said = project.run(&by, &at, &["publish", "-y", "--with-env", &name]).expect_success().stderr;
    assert!(said.contains(&format!("{name} published")), "{said}");
    let elsewhere = Project::new("");
    let from = format!("oci://{name}");
    let cache = elsewhere.path().join("cache");
    let get = |by: &By, args: &[&str]| {
        let mut command = Command::new(&by.program);
        for (name, value) in at.command(Vec::<&str>::new()).get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.args(by.first).args(["-f", &from]).args(args).env("XDG_CACHE_HOME", &cache);
        // Docker Compose speaks HTTP with a registry in its own tests only.
        command.current_dir(elsewhere.path()).env("__TEST__INSECURE__REGISTRY__", "1");
        finish(command, b"").expect_success().stdout
    };
    assert_eq!(get(&by, &["run", "--rm", "-T", "a"]), "through\n");
    get(&by, &["down"]);
    assert_eq!(
        get(&theirs(), &["config", "--images"]),
        "busybox\n",
        "Docker Compose takes what is published"
    );
    fs::write(elsewhere.path().join(".env"), "COMPOSE_PROFILES=x\n").expect(".env");
    let config = get(&by, &["config"]);
    assert_eq!(config, get(&theirs(), &["config"]), "name and paths are the same");
}
