//! Projects in registries: published, read, included and extended, against Docker Compose where it is built.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use dray_harness::client::Client;
use dray_harness::registry::Registry;
use dray_harness::{Daemon, http};
use serde_json::Value;

use super::pair::Pair;

/// A registry, and a folder from which it is used: `NAME` is a repository there.
struct Stage {
    registry: Registry,
    pair: Pair,
}

impl Stage {
    fn empty() -> Stage {
        let registry = Registry::start();
        let host = registry.host();
        let words = [("NAME", format!("{host}/app")), ("BESIDE", format!("{host}/beside")), ("HOST", host)];
        Stage { pair: Pair::new(&words), registry }
    }

    /// A registry with a project in it.
    fn new() -> Stage {
        let stage = Stage::empty();
        let text = "services:\n  far:\n    image: far:${WHICH:-none}\n    env_file: far.env\n    volumes: ['./data:/data']\n";
        stage.pair.write("published/compose.yaml", text);
        stage.pair.write("published/far.env", "FROM=registry\n");
        stage.pair.write(".env", "WHICH=here\n");
        stage
            .pair
            .ours(
                "--project-directory published -f published/compose.yaml publish -y --with-env NAME:v1",
                &[],
            )
            .expect_success();
        stage
    }

    fn put(&self, reference: &str, kind: &str, body: &str) {
        let mut connection = TcpStream::connect(self.registry.host()).expect("the registry");
        let head = format!(
            "PUT /v2/app/manifests/{reference} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all((head + body).as_bytes()).expect("a request");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }

    /// A manifest without what differs between two that are the same: its time, and who has made it.
    fn manifest(&self, repository: &str, reference: &str) -> Value {
        let mut manifest = self.registry.manifest(repository, reference);
        forget(&mut manifest);
        manifest
    }

    /// The digests that a repository has a manifest of.
    fn digests(&self, repository: &str) -> Vec<String> {
        self.registry.revisions(repository)
    }
}

fn forget(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for name in ["org.opencontainers.image.created", "com.docker.compose.version"] {
                assert_ne!(map.remove(name), Some(Value::Null), "{name}");
            }
            map.values_mut().for_each(forget);
        }
        Value::Array(list) => list.iter_mut().for_each(forget),
        _ => {}
    }
}

#[test]
fn a_registrys_project_is_included_and_extended() {
    let stage = Stage::new();
    let said = stage.pair.config("-f oci://NAME:v1");
    assert!(said.contains("image: far:here") && said.contains("FROM: registry"), "{said}");
    stage.pair.write("inc/compose.yaml", "include: ['oci://NAME:v1']\nservices: {own: {image: own}}\n");
    let said = stage.pair.config("-f inc/compose.yaml");
    assert!(said.contains("own:") && said.contains("FROM: registry"), "{said}");
    assert!(said.contains("source: CACHE/docker-compose/"), "its paths begin where it lies: {said}");
    let extends = "services: {own: {extends: {file: 'oci://NAME:v1', service: far}, init: true}}\n";
    stage.pair.write("ext/compose.yaml", extends);
    let said = stage.pair.config("-f ext/compose.yaml");
    assert!(said.contains("init: true") && said.contains("image: far:"), "{said}");
    assert_eq!(stage.pair.kept().len(), 1, "fetched once, no drafts");
}

#[test]
fn a_project_is_found_in_an_index() {
    let stage = Stage::new();
    let found = http::get_manifest(stage.registry.host(), "/v2/app/manifests/v1").expect("the manifest");
    let digest = found
        .head
        .lines()
        .find_map(|l| l.to_lowercase().strip_prefix("docker-content-digest: ").map(str::to_owned));
    let index = |artifact: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"{artifact}","digest":"{}","size":{}}}]}}"#,
            digest.as_deref().expect("a digest"),
            found.body.len()
        )
    };
    let kind = "application/vnd.oci.image.index.v1+json";
    stage.put("bundle", kind, &index("application/vnd.docker.compose.project"));
    assert!(stage.pair.config("-f oci://NAME:bundle").contains("far:here"));
    stage.put("other", kind, &index("application/x"));
    let said = stage.pair.refused("-f oci://NAME:other", &[]);
    assert!(said.contains("doesn't refer to compose artifacts"), "{said}");
}

#[test]
fn what_cannot_be_had_is_named() {
    let stage = Stage::new();
    let refused = |line: &str, variables: &[(&str, &str)]| stage.pair.refused(line, variables);
    let switch = "COMPOSE_EXPERIMENTAL_OCI_REMOTE";
    let said = refused("-f oci://NAME:v1", &[(switch, "false")]);
    assert!(said.contains(&format!("OCI remote resource is disabled by \"{switch}\"")), "{said}");
    let said = refused("-f oci://NAME:v1", &[(switch, "maybe")]);
    assert!(said.contains(&format!("{switch} environment variable expects boolean value")), "{said}");
    stage.pair.write("inc/compose.yaml", "services: {own: {image: x}}\ninclude: ['oci://NAME:nope']\n");
    let said = refused("-f inc/compose.yaml", &[]);
    let text = "failed to pull OCI resource \"NAME:nope\"";
    assert!(said.contains(text) && said.contains("compose.yaml:2:"), "{said}");
    // Another's variable has no say: it is read where the user stands.
    stage.pair.write("inc/.env", &format!("{switch}=false\n"));
    stage.pair.write("inc/compose.yaml", "include: ['oci://NAME:v1']\n");
    assert!(Path::new(&stage.pair.folder().join("inc/.env")).exists());
    stage.pair.ours("--project-directory . -f inc/compose.yaml config", &[]).expect_success();
}

/// A project with all that an artifact can hold, of an image in the registry.
const PROJECT: &str = "
name: shop
services:
  web:
    image: HOST/busybox:1
    command: sh -c 'echo $$GREETING; exec sleep 1000'
    env_file: web.env
    stop_grace_period: 0s
    volumes: ['./data:/data']
  worker:
    extends:
      file: sub/base.yaml
      service: base
    image: HOST/busybox:1
    env_file:
      - path: none.env
        required: false
    profiles: [extra]
configs:
  home:
    environment: HOME
";

impl Stage {
    fn with_shop(daemon: &Daemon) -> Stage {
        let stage = Stage::empty();
        stage.pair.write("compose.yaml", PROJECT);
        stage.pair.write("compose.override.yaml", "services:\n  web:\n    labels:\n      over: it\n");
        stage.pair.write("web.env", "GREETING=hello\n");
        stage
            .pair
            .write("sub/base.yaml", "services:\n  base:\n    labels: {of: base}\n    command: sleep 1000\n");
        let image = stage.pair.filled("HOST/busybox:1");
        daemon.dray().run(["tag", "busybox", &image]).expect_success();
        daemon.dray().run(["push", "-q", &image]).expect_success();
        stage
    }

    /// Publishes with both programs, each into a repository of its own; what ours says.
    fn publish(&self, at: &Client, flags: &str, tag: &str) -> String {
        let host = at.command(Vec::<&str>::new()).get_envs().find_map(|(name, value)| {
            (name == "DOCKER_HOST").then(|| value.expect("a host").to_string_lossy().into_owned())
        });
        let host = host.expect("a daemon");
        let variables = [("DOCKER_HOST", host.as_str())];
        let said = self.pair.ours(&format!("publish -y {flags} NAME:{tag}"), &variables).expect_success();
        let theirs = self.pair.theirs(&format!("publish -y {flags} BESIDE:{tag}"), &variables);
        if let Some(theirs) = theirs {
            let sorted = |text: &str| {
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            let theirs = theirs.expect_success().stderr.replace("BESIDE", "NAME");
            assert_eq!(sorted(&said.stderr), sorted(&theirs), "{flags}");
        }
        said.stderr
    }
}

#[test]
fn an_artifact_is_the_one_that_docker_compose_publishes() {
    let daemon = Daemon::start();
    let stage = Stage::with_shop(&daemon);
    let at = daemon.dray();
    for (tag, flags) in [
        ("plain", ""),
        ("env", "--with-env"),
        ("old", "--oci-version 1.0"),
        ("new", "--oci-version 1.1"),
        ("pinned", "--resolve-image-digests"),
        ("app", "--app --with-env"),
    ] {
        let said = stage.publish(&at, flags, tag);
        assert!(said.contains("NAME:") && said.contains("published"), "{said}");
        if dray_harness::compose::reference_if_built().is_some() {
            assert_eq!(stage.manifest("app", tag), stage.manifest("beside", tag), "{flags}");
        }
    }
    let images = |repository: &str| -> Vec<Value> {
        let all = stage.digests(repository);
        let manifests = all.iter().map(|digest| stage.manifest(repository, digest));
        manifests.filter(|m| m["manifests"].is_array()).collect()
    };
    let mine = images("app");
    assert_eq!(mine.len(), 1, "only an application has images");
    assert_eq!(mine[0]["manifests"].as_array().map(Vec::len), Some(2), "of both services: {}", mine[0]);
    assert_eq!(mine[0]["subject"]["artifactType"], "application/vnd.docker.compose.project");
    let image = mine[0]["manifests"][0]["digest"].as_str().expect("a digest");
    assert_eq!(stage.registry.manifest("app", image), stage.registry.manifest("busybox", "1"));
    if dray_harness::compose::reference_if_built().is_some() {
        let mut theirs = images("beside");
        // It is about another manifest: that has another time.
        theirs[0]["subject"]["digest"] = mine[0]["subject"]["digest"].clone();
        theirs[0]["subject"]["size"] = mine[0]["subject"]["size"].clone();
        assert_eq!(mine, theirs);
    }
    assert!(stage.publish(&at, "--app --dry-run", "dry").contains("DRY-RUN MODE -  NAME:dry published"));
    let tags = stage.registry.get("/v2/app/tags/list").text();
    assert!(tags.contains("\"app\"") && !tags.contains("\"dry\""), "nothing goes out in a dry run: {tags}");
}

#[test]
fn an_application_runs_where_nothing_else_is() {
    let daemon = Daemon::start();
    let stage = Stage::with_shop(&daemon);
    stage.publish(&daemon.dray(), "--app --with-env", "v1");
    daemon.dray().run(["rmi", &stage.pair.filled("HOST/busybox:1")]).expect_success();
    let host = daemon.host();
    let at = [("DOCKER_HOST", host.as_str())];
    let config = stage.pair.config("-f oci://NAME:v1 --profile extra");
    assert!(
        config.contains("of: base") && config.contains("over: it") && config.contains("@sha256:"),
        "{config}"
    );
    stage.pair.ours("-f oci://NAME:v1 up -d", &at).expect_success();
    let said = stage.pair.ours("-f oci://NAME:v1 logs --no-log-prefix web", &at).expect_success().stdout;
    assert_eq!(said, "hello\n");
    stage.pair.ours("-f oci://NAME:v1 down", &at).expect_success();
}

#[test]
fn what_must_not_get_out_is_asked_for_first() {
    let stage = Stage::empty();
    let both = |line: &str, part: &str| {
        let said = stage.pair.ours(line, &[]);
        assert!(said.code == 1 && said.stderr.contains(part), "{line}: {} {}", said.code, said.stderr);
        if let Some(theirs) = stage.pair.theirs(line, &[]) {
            assert_eq!((theirs.code, theirs.stderr), (said.code, said.stderr), "{line}");
        }
    };
    stage.pair.write("compose.yaml", "services: {a: {image: x, environment: {A: b}}}\n");
    both("publish NAME", "service \"a\" has environment variable(s) declared.\nTo avoid leaking");
    stage.pair.write("compose.yaml", "services: {a: {build: .}}\n");
    both("publish NAME", "only contains a build section for service(s):\n- \"a\"\n");
    stage.pair.write("compose.yaml", "include: [inc.yaml]\nservices: {a: {image: x}}\n");
    stage.pair.write("inc.yaml", "services: {b: {image: x}}\n");
    both("publish NAME", "cannot publish compose file with local includes");
    // Nobody answers: nothing is published, which is no mistake.
    stage.pair.write("compose.yaml", "services: {a: {image: x, volumes: ['/etc:/e:ro']}}\n");
    let said = stage.pair.ours("publish NAME", &[]);
    assert!(said.code == 0 && said.stdout.contains("\na/etc:/e:ro\n"), "{}", said.stdout);
    let secret =
        "services:\n  a:\n    image: x\n    command: run --token\n    labels: {api_key: q1w2e3r4t5y6}\n";
    stage.pair.write("compose.yaml", secret);
    let said = stage.pair.ours("publish NAME", &[]);
    assert!(said.code == 0 && said.stdout.contains("\"api_key\": q1w2e3r4t5y6\n"), "{}", said.stdout);
    assert_eq!(stage.registry.get("/v2/app/tags/list").status, 404, "nothing has been published");
}
