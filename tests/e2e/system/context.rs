//! Contexts: made by either client, used by both.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use dray_harness::client::{Finished, finish};
use dray_harness::{Daemon, docker_binary, dray_binary};
use serde_json::Value;

/// Both clients with one folder of configuration, and no daemon named.
struct Clients {
    config: tempfile::TempDir,
}

impl Clients {
    fn new() -> Self {
        Self { config: tempfile::tempdir().expect("a folder") }
    }

    fn command(&self, program: &Path, line: &str) -> Command {
        let mut command = Command::new(program);
        command.args(line.split_whitespace()).current_dir(self.config.path());
        command.env("DOCKER_CONFIG", self.config.path()).env("DRAY_RUN_ROOT", "/nowhere");
        for name in ["DOCKER_HOST", "DRAY_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
            command.env_remove(name);
        }
        command
    }

    fn dray(&self, line: &str) -> Finished {
        finish(self.command(&dray_binary(), line), b"")
    }

    fn docker(&self, line: &str) -> Finished {
        finish(self.command(&docker_binary(), line), b"")
    }

    fn inspect(&self, name: &str) -> Value {
        let [ours, theirs] =
            [self.dray(&format!("context inspect {name}")), self.docker(&format!("context inspect {name}"))];
        assert_eq!(ours.stdout, theirs.stdout);
        serde_json::from_str::<Value>(&ours.expect_success().stdout).expect("JSON")[0].take()
    }
}

#[test]
fn contexts_of_one_client_are_the_other_s() {
    let daemon = Daemon::start();
    let clients = Clients::new();
    let host = daemon.host();
    let made = clients.dray(&format!("context create here --docker host={host} --description tests"));
    assert_eq!(made.stdout, "here\n");
    assert_eq!(made.expect_success().stderr, "Successfully created context \"here\"\n");
    clients.docker(&format!("context create there --docker host={host}")).expect_success();
    assert_eq!(clients.inspect("here")["Metadata"]["Description"], "tests");
    assert_eq!(clients.inspect("there")["Endpoints"]["docker"]["Host"], host.as_str());
    for (chooses, name) in [(true, "there"), (false, "here")] {
        let line = format!("context use {name}");
        let used = if chooses { clients.dray(&line) } else { clients.docker(&line) }.expect_success();
        assert_eq!(
            (used.stdout.trim(), used.stderr.trim()),
            (name, &*format!("Current context is now {name:?}"))
        );
        for done in [clients.dray("images -q"), clients.docker("images -q")] {
            assert_eq!(done.expect_success().stdout.lines().count(), 1, "{name}");
        }
        assert_eq!(clients.dray("context show").stdout.trim(), name);
        assert_eq!(clients.docker("context show").stdout.trim(), name);
    }
    let listed = clients.dray("context ls");
    let names: Vec<&str> =
        listed.stdout.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["default", "here", "there"]);
    assert!(listed.stdout.contains("here *"), "{}", listed.stdout);
    clients.dray("context rm here").expect_error("context \"here\" is in use, set -f flag to force remove");
    assert_eq!(clients.dray("context rm -f here nope").expect_success().stdout, "here\nnope\n");
    assert_eq!(clients.docker("context show").stdout.trim(), "default");
    assert_eq!(clients.dray("context use default").expect_success().stdout, "default\n");
}

#[test]
fn certificates_go_with_a_context_and_stay_its_owner_s() {
    let clients = Clients::new();
    for name in ["ca", "cert", "key"] {
        std::fs::write(clients.config.path().join(format!("my-{name}")), name).expect("a file");
    }
    let files = "ca=my-ca,cert=my-cert,key=my-key,skip-tls-verify=true";
    clients.dray(&format!("context create tls --docker host=tcp://h:2376,{files}")).expect_success();
    let tls = clients.inspect("tls");
    assert_eq!(tls["TLSMaterial"]["docker"], serde_json::json!(["ca.pem", "cert.pem", "key.pem"]));
    assert_eq!(tls["Endpoints"]["docker"]["SkipTLSVerify"], true);
    let key = Path::new(tls["Storage"]["TLSPath"].as_str().expect("a path")).join("docker/key.pem");
    assert_eq!(std::fs::metadata(&key).expect("the key").permissions().mode() & 0o777, 0o600);
    // Through an archive of each to the other, and by --from.
    clients.dray("context export tls ours").expect_success();
    clients.docker("context export tls theirs").expect_success();
    clients.docker("context import one ours").expect_success();
    clients.dray("context import two theirs").expect_success();
    clients.dray("context create three --from tls --description copied").expect_success();
    for name in ["one", "two", "three"] {
        let mut copy = clients.inspect(name);
        assert_eq!(copy["TLSMaterial"], tls["TLSMaterial"], "{name}");
        assert_eq!(copy["Endpoints"], tls["Endpoints"], "{name}");
        let path = copy["Storage"]["TLSPath"].take();
        let cert = Path::new(path.as_str().expect("a path")).join("docker/cert.pem");
        assert_eq!(std::fs::read(cert).expect("a certificate"), b"cert");
    }
    // Another daemon has no certificates of the old one.
    clients.dray("context update tls --docker host=tcp://other:1 --description new").expect_success();
    let updated = clients.inspect("tls");
    assert_eq!(
        (&updated["Endpoints"]["docker"]["Host"], &updated["Metadata"]["Description"]),
        (&"tcp://other:1".into(), &"new".into())
    );
    assert_eq!(updated["TLSMaterial"], serde_json::json!({}));
    assert!(!key.exists());
}

#[test]
fn what_is_wrong_is_named_in_docker_s_words() {
    let clients = Clients::new();
    clients.dray("context create known --docker host=tcp://h:1").expect_success();
    let name = r#"is invalid, names are validated against regexp "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$""#;
    for (line, error) in [
        ("context create a", &*format!("context name \"a\" {name}")),
        ("context create a/../b", &format!("context name \"a/../b\" {name}")),
        ("context create default", "\"default\" is a reserved context name"),
        ("context create known", "context \"known\" already exists"),
        (
            "context create xx --docker foo=1",
            "unable to create docker endpoint config: unrecognized config key: foo",
        ),
        (
            "context create xx --docker skip-tls-verify=maybe,host=tcp://h:1",
            "unable to create docker endpoint config: skip-tls-verify: parsing \"maybe\": invalid syntax",
        ),
        (
            "context create xx --docker host=tcp://h:1,ca=/nope",
            "unable to create docker endpoint config: open /nope: no such file or directory",
        ),
        (
            "context create xx --docker host=bogus",
            "unable to create docker endpoint config: unable to apply docker endpoint options: unable to parse docker host `bogus`",
        ),
        (
            "context create xx --from known --docker host=tcp://h:1",
            "cannot use --docker flag when --from is set",
        ),
        ("context rm default", "context \"default\" cannot be removed"),
        ("context rm nope", "context \"nope\" does not exist"),
        ("context update default", "\"default\" is a reserved context name"),
        ("context import default f", "\"default\" is a reserved context name"),
        ("context import xx nope", "open nope: no such file or directory"),
    ] {
        clients.dray(line).expect_code(1).expect_error(error);
    }
    for line in
        ["context use nope", "context inspect nope", "context update nope", "context create xx --from nope"]
    {
        clients.dray(line).expect_code(1).expect_error("context \"nope\": context not found: open ");
    }
}

#[test]
fn hostile_archives_are_refused() {
    let clients = Clients::new();
    let at = |name: &str| clients.config.path().join(name);
    let archive = |name: &str, files: &[(&str, &[u8])]| {
        let mut tar = tar::Builder::new(std::fs::File::create(at(name)).expect("a file"));
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, *content).expect("an entry");
        }
        tar.into_inner().expect("a tar");
    };
    let meta: (&str, &[u8]) = ("meta.json", br#"{"Name":"x","Endpoints":{}}"#);
    archive("none", &[("tls/docker/ca.pem", b"x")]);
    archive("climbs", &[meta, ("tls/../../evil", b"x")]);
    archive("climbs-too", &[meta, ("tls/docker/../../evil", b"x")]);
    archive("deep", &[meta, ("tls/a/b/c", b"x")]);
    archive("other", &[meta, ("config.json", b"x")]);
    archive("broken", &[("meta.json", b"{")]);
    std::fs::write(at("noise"), vec![7; 3_000]).expect("a file");
    std::fs::write(at("long"), vec![0; 11 << 20]).expect("a file");
    for (file, error) in [
        ("none", "invalid context: no metadata found"),
        ("climbs", "tls/../../evil: unexpected context file"),
        ("climbs-too", "tls/docker/../../evil: unexpected context file"),
        ("deep", "tls/a/b/c: unexpected context file"),
        ("other", "config.json: unexpected context file"),
        ("broken", "meta.json: "),
        ("noise", ""),
        ("long", "read exceeds the defined limit"),
    ] {
        clients.dray(&format!("context import xx {file}")).expect_code(1).expect_error(error);
        assert!(!at("contexts").exists() && !at("evil").exists(), "{file}");
    }
}
