//! `build` with all that the specification has: each key is seen to do what it says.

use std::fs;
use std::path::Path;

use dray_harness::Daemon;
use dray_harness::client::{Client, Finished, finish};
use tempfile::TempDir;

const PROJECT: &str = r#"
name: p
services:
  app:
    build:
      context: .
      dockerfile_inline: |
        # syntax=docker/dockerfile:1
        FROM base AS made
        ARG V
        COPY --from=data file /from-data
        RUN --mount=type=secret,id=token cat /run/secrets/token > /token
        RUN --mount=type=secret,id=other,target=/s cat /s > /other
        RUN grep custom /etc/hosts > /host; ulimit -n > /limit; ls /sys/class/net > /net; echo $$V > /v
        RUN df -m /dev/shm | tail -n 1 > /shm
        RUN --security=insecure grep CapEff /proc/self/status > /caps
        FROM made AS never
        RUN false
      args: {V: "${VALUE}"}
      additional_contexts: {base: "service:base", data: ./data}
      secrets: [token, {source: file, target: other}]
      extra_hosts: ["custom:10.1.2.3"]
      labels: {a: b}
      tags: ["p-extra:1"]
      network: none
      shm_size: 32m
      ulimits: {nofile: 777}
      cache_to: ["type=local,dest=./cache"]
      cache_from: ["type=local,src=./cache"]
      target: made
      privileged: true
      platforms: [linux/amd64]
      provenance: false
      sbom: false
    command: cat /base /from-data /token /other /limit /net /v
  base:
    build: {context: ., dockerfile_inline: "FROM busybox\nRUN echo base > /base\n"}
secrets: {token: {environment: TOKEN}, file: {file: ./secret}}
"#;

fn project(text: &str) -> TempDir {
    let folder = TempDir::with_prefix("dray-keys-").expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    write("compose.yaml", text);
    write("data/file", "data\n");
    write("secret", "of a file\n");
    write(".env", "TOKEN=of a variable\nVALUE=argument\n");
    folder
}

fn compose(client: &Client, folder: &Path, args: &[&str]) -> Finished {
    let mut command = client.command([&["compose"], args].concat());
    command.current_dir(folder).env("PWD", folder);
    finish(command, b"")
}

#[test]
fn every_key_does_what_it_says() {
    let daemon = Daemon::start();
    let (client, folder) = (daemon.dray(), project(PROJECT));
    compose(&client, folder.path(), &["build", "app"]).expect_success();
    let ran = compose(&client, folder.path(), &["run", "--rm", "-T", "app"]).expect_success().stdout;
    assert_eq!(ran, "base\ndata\nof a variableof a file\n777\nlo\nargument\n");
    let inside = |path: &str| client.ok(&format!("run --rm p-app cat {path}"));
    assert!(inside("/host").starts_with("10.1.2.3"), "{}", inside("/host"));
    assert!(inside("/shm").split_whitespace().any(|word| word == "32"), "{}", inside("/shm"));
    let usual = client.ok("run --rm busybox grep CapEff /proc/self/status");
    assert!(inside("/caps").starts_with("CapEff:") && inside("/caps") != usual, "{usual}");
    let label = client.run(["image", "inspect", "-f", "{{.Config.Labels.a}}", "p-extra:1"]);
    assert_eq!(label.expect_success().stdout, "b\n");
    assert!(folder.path().join("cache/index.json").exists(), "the cache was put out");
    // On another machine the cache is taken from there.
    let other = Daemon::start();
    let client = other.dray();
    compose(&client, folder.path(), &["build", "base"]).expect_success();
    let built = compose(&client, folder.path(), &["--progress", "plain", "build", "app"]).expect_success();
    assert!(built.output().contains("CACHED"), "{}", built.output());
    // Nothing of the secrets lies about.
    let left = fs::read_dir(std::env::temp_dir()).expect("the folder for such files").flatten();
    let left: Vec<_> = left
        .filter(|e| e.file_name().to_string_lossy().starts_with("dray-compose-") && e.path().is_file())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_cannot_be_built_is_told() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let build = |keys: &str| {
        let text = format!(
            "name: p\nservices:\n  app:\n    build: {{context: ., dockerfile_inline: \"FROM busybox\", {keys}}}\n  \
             image:\n    image: busybox\n  other:\n    build: {{context: ., additional_contexts: {{x: \
             \"service:app\"}}, dockerfile_inline: \"FROM busybox\"}}\nsecrets: {{token: {{environment: \
             NOT_SET_ANYWHERE}}}}\n"
        );
        let folder = project(&text);
        compose(&client, folder.path(), &["build"]).expect_code(1).stderr
    };
    for (keys, error) in [
        ("additional_contexts: {base: \"service:image\"}", "declares non-buildable service \"image\""),
        ("additional_contexts: {base: \"service:other\"}", "these are built on each other: app, other"),
        ("secrets: [token]", "needs the variable NOT_SET_ANYWHERE, which is not set"),
    ] {
        let said = build(keys);
        assert!(said.contains(error), "{keys}: {said}");
    }
}
