//! `--builder`, `BUILDX_BUILDER` and `buildx use`: where builds go. What is refused is refused in the words of buildx,
//! which is asked first.

use std::fs;
use std::path::Path;

use dray_harness::{Client, Daemon, Finished, dray_binary};

use super::{buildx, context};

/// A folder of a client's configuration with builders in it: of another daemon, and of a machine with BuildKit.
fn configured(daemon: &Daemon, other: &Daemon) -> std::path::PathBuf {
    let config = daemon.scratch("config");
    let instances = config.join("buildx/instances");
    fs::create_dir_all(&instances).expect("a folder");
    let keep = |name: &str, driver: &str, endpoint: &str| {
        let text = format!(
            r#"{{"Name":"{name}","Driver":"{driver}","Nodes":[{{"Name":"{name}0","Endpoint":"{endpoint}"}}]}}"#
        );
        fs::write(instances.join(name), text).expect("a builder");
    };
    keep("far", "remote", "tcp://127.0.0.1:1");
    keep("inside", "docker-container", "other");
    keep("there", "docker", "other");
    let docker = Client::new(dray_harness::docker_binary(), daemon.host(), &config);
    docker.ok(&format!("context create other --docker host={}", other.host()));
    config
}

fn build(client: &Client, first: &[&str], folder: &Path, variable: &str) -> Finished {
    let mut command = client.command(first);
    command.args(["-q".as_ref(), folder.as_os_str()]).env("BUILDX_BUILDER", variable);
    dray_harness::client::finish(command, b"")
}

fn has(daemon: &Daemon, image: &str) -> bool {
    !daemon.docker().ok(&format!("images -q {image}")).is_empty()
}

#[test]
fn a_build_goes_where_its_builder_is() {
    let (daemon, other) = (Daemon::start(), Daemon::start());
    let config = configured(&daemon, &other);
    let folder = context(&daemon, "app", "FROM busybox\nLABEL a=b\n", &[]);
    let dray = Client::new(dray_binary(), daemon.host(), &config);
    for (name, variable) in [("default", "far"), ("there", "far"), ("", "there")] {
        let flag = if name.is_empty() { String::new() } else { format!("--builder={name}") };
        let words: Vec<&str> = ["build", "-t", "app", &flag].into_iter().filter(|w| !w.is_empty()).collect();
        build(&dray, &words, &folder, variable).expect_success();
        let there = name != "default";
        assert_eq!((has(&daemon, "app"), has(&other, "app")), (!there, there), "{name} {variable}");
        for daemon in [&daemon, &other] {
            daemon.docker().sh("rmi -f app");
        }
    }
    let file = folder.join("docker-bake.hcl");
    fs::write(&file, "target \"default\" { tags = [\"app\"] }\n").expect("a bake file");
    let bake = |words: &[&str]| {
        let mut command = dray.command(words);
        command.current_dir(&folder);
        dray_harness::client::finish(command, b"").expect_success()
    };
    bake(&["bake", "--builder", "there"]);
    assert!(!has(&daemon, "app") && has(&other, "app"), "bake");
    other.docker().ok("rmi app");
    fs::write(folder.join("compose.yaml"), "services: {a: {build: ., image: app}}\n").expect("a file");
    bake(&["compose", "build", "--builder", "there"]);
    assert!(!has(&daemon, "app") && has(&other, "app"), "compose build");
    // What buildx has chosen is buildx's: `build` by itself goes to the daemon.
    bake(&["buildx", "use", "there"]);
    bake(&["build", "-q", "-t", "own", "."]);
    bake(&["buildx", "build", "-q", "-t", "chosen", "."]);
    assert!(has(&daemon, "own") && has(&other, "chosen"));
    let listed = bake(&["buildx", "ls"]).stdout;
    let parts = ["there*", " \\_ there0", " \\_ other", "running", "far "];
    assert!(parts.iter().all(|part| listed.contains(part)), "{listed}");
    bake(&["buildx", "use", "default"]);
    assert!(bake(&["buildx", "inspect"]).stdout.starts_with("Name:   default\nDriver: docker\n"));
}

#[test]
fn a_builder_that_is_none_is_named() {
    let (daemon, other) = (Daemon::start(), Daemon::empty());
    let config = configured(&daemon, &other);
    let folder = context(&daemon, "app", "FROM busybox\n", &[]);
    let dray = Client::new(dray_binary(), daemon.host(), &config);
    let reference = buildx(&daemon);
    for (name, said) in [
        ("nope", "no builder \"nope\" found"),
        ("../far", "no builder \"../far\" found"),
        ("other", "use `docker --context=other buildx` to switch to context \"other\""),
    ] {
        if name != "other" {
            let theirs = build(&reference, &["build", "--builder", name], &folder, "");
            assert_eq!((theirs.code, theirs.stderr.trim()), (1, &*format!("ERROR: {said}")));
        }
        for (flag, variable) in [(Some(name), ""), (None, name)] {
            let words: Vec<&str> =
                ["build"].into_iter().chain(flag.map(|_| "--builder")).chain(flag).collect();
            let mine = build(&dray, &words, &folder, variable);
            let said = said.replace("docker", "dray");
            assert_eq!((mine.code, mine.stderr.trim()), (1, said.as_str()), "{words:?}");
        }
    }
    for (name, driver) in [("far", "remote"), ("inside", "docker-container"), ("INSIDE", "docker-container")]
    {
        let mine = build(&dray, &["build", "--builder", name], &folder, "");
        assert_eq!(mine.code, 1);
        let part = format!("is of the driver {driver:?} at ");
        assert!(mine.stderr.contains(&part) && mine.stderr.contains("--builder default"), "{}", mine.stderr);
    }
    // Not the daemon that the containers run on.
    fs::write(folder.join("compose.yaml"), "services: {a: {build: .}}\n").expect("a file");
    let mut command = dray.command(["compose", "up", "-d", "--build"]);
    command.current_dir(&folder).env("BUILDX_BUILDER", "there");
    let mine = dray_harness::client::finish(command, b"");
    assert!(mine.code == 1 && mine.stderr.contains("another daemon than the one"), "{}", mine.stderr);
    let chosen = dray.sh("buildx use other");
    assert!(chosen.code == 1 && chosen.stderr.contains("context use other"), "{}", chosen.stderr);
    assert!(dray.sh("buildx use nope").stderr.contains("failed to find instance \"nope\""));
}
