//! Projects in registries: read, included and extended, against Docker Compose where it is built.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use dray_harness::client::Finished;
use dray_harness::registry::Registry;
use dray_harness::{compose, dray_binary, http};
use tempfile::TempDir;

struct Stage {
    registry: Registry,
    folder: TempDir,
}

impl Stage {
    /// A registry with a project in it.
    fn new() -> Stage {
        let stage = Stage {
            registry: Registry::start(),
            folder: TempDir::with_prefix("dray-oci-").expect("a folder"),
        };
        let text = "services:\n  far:\n    image: far:${WHICH:-none}\n    env_file: far.env\n    volumes: ['./data:/data']\n";
        stage.write("published/compose.yaml", text);
        stage.write("published/far.env", "FROM=registry\n");
        stage.write(".env", "WHICH=here\n");
        stage
            .ours(
                "--project-directory published -f published/compose.yaml publish -y --with-env NAME:v1",
                &[],
            )
            .expect_success();
        stage
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, self.named(text)).expect("a file");
    }

    /// `NAME` stands for the repository.
    fn named(&self, text: &str) -> String {
        text.replace("NAME", &format!("{}/app", self.registry.host()))
    }

    fn ask(&self, program: &mut Command, line: &str, variables: &[(&str, &str)]) -> Finished {
        let cache = self.folder.path().join(format!("cache-{}", program.get_args().count()));
        let command = program
            .args(self.named(line).split(' '))
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("PWD", self.folder.path())
            .env("XDG_CACHE_HOME", &cache)
            // Docker Compose speaks HTTP with a registry in its own tests only.
            .env("__TEST__INSECURE__REGISTRY__", "1")
            .envs(variables.iter().copied());
        let output = command.output().expect("compose");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*cache.to_string_lossy(), "CACHE");
        Finished {
            line: line.to_owned(),
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

    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("cache-1/docker-compose")).expect("the cache");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
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
}

#[test]
fn a_registrys_project_is_included_and_extended() {
    let stage = Stage::new();
    let said = stage.config("-f oci://NAME:v1");
    assert!(said.contains("image: far:here") && said.contains("FROM: registry"), "{said}");
    stage.write("inc/compose.yaml", "include: ['oci://NAME:v1']\nservices: {own: {image: own}}\n");
    let said = stage.config("-f inc/compose.yaml");
    assert!(said.contains("own:") && said.contains("FROM: registry"), "{said}");
    assert!(said.contains("source: CACHE/docker-compose/"), "its paths begin where it lies: {said}");
    let extends = "services: {own: {extends: {file: 'oci://NAME:v1', service: far}, init: true}}\n";
    stage.write("ext/compose.yaml", extends);
    let said = stage.config("-f ext/compose.yaml");
    assert!(said.contains("init: true") && said.contains("image: far:"), "{said}");
    assert_eq!(stage.kept().len(), 1, "fetched once, no drafts");
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
    assert!(stage.config("-f oci://NAME:bundle").contains("far:here"));
    stage.put("other", kind, &index("application/x"));
    let said = stage.ours("-f oci://NAME:other config", &[]).stderr;
    assert!(said.contains("doesn't refer to compose artifacts"), "{said}");
}

#[test]
fn what_cannot_be_had_is_named() {
    let stage = Stage::new();
    let refused = |line: &str, variables: &[(&str, &str)]| {
        let said = stage.ours(&format!("{line} config"), variables);
        assert_eq!(said.code, 1, "{line}: {}", said.stdout);
        said.stderr
    };
    let switch = "COMPOSE_EXPERIMENTAL_OCI_REMOTE";
    let said = refused("-f oci://NAME:v1", &[(switch, "false")]);
    assert!(said.contains(&format!("OCI remote resource is disabled by \"{switch}\"")), "{said}");
    let said = refused("-f oci://NAME:v1", &[(switch, "maybe")]);
    assert!(said.contains(&format!("{switch} environment variable expects boolean value")), "{said}");
    stage.write("inc/compose.yaml", "services: {own: {image: x}}\ninclude: ['oci://NAME:nope']\n");
    let said = refused("-f inc/compose.yaml", &[]);
    let text = stage.named("failed to pull OCI resource \"NAME:nope\"");
    assert!(said.contains(&text) && said.contains("compose.yaml:2:"), "{said}");
    // Another's variable has no say: it is read where the user stands.
    stage.write("inc/.env", &format!("{switch}=false\n"));
    stage.write("inc/compose.yaml", "include: ['oci://NAME:v1']\n");
    assert!(Path::new(&stage.folder.path().join("inc/.env")).exists());
    stage.ours("--project-directory . -f inc/compose.yaml config", &[]).expect_success();
}
