//! `login` and `logout`: what is said and what is kept, by Docker's client first and by ours in the same words.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use dray_harness::Daemon;
use dray_harness::client::Client;
use dray_harness::registry::{DrayRegistry, Registry};

/// A client with a configuration and helpers of its own.
struct Desk {
    client: Client,
    folder: tempfile::TempDir,
    extra: Vec<(String, String)>,
}

impl Desk {
    fn new(client: Client) -> Self {
        Desk { client, folder: tempfile::tempdir().expect("a folder"), extra: Vec::new() }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config/config.json")
    }

    fn write_config(&self, text: &str) {
        std::fs::create_dir_all(self.config().parent().expect("its folder")).expect("its folder");
        std::fs::write(self.config(), text).expect("config.json");
    }

    fn kept(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.config()).unwrap_or_else(|_| "{}".into());
        serde_json::from_str(&text).expect("config.json")
    }

    /// Code and both streams, with what differs by place and name made equal.
    fn run(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let mut command = self.client.command(args);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("DOCKER_CONFIG", self.folder.path().join("config"))
            .env("PATH", format!("{}:{path}", self.folder.path().display()))
            .env("STORE", self.folder.path().join("store"))
            .env_remove("DOCKER_AUTH_CONFIG")
            .envs(self.extra.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the client");
        let _ = child.stdin.take().expect("its input").write_all(input.as_bytes());
        let out = child.wait_with_output().expect("the client");
        let folder = self.folder.path().display().to_string();
        let told = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes).replace(&folder, "FOLDER").replace("'dray ", "'docker ")
        };
        (out.status.code().unwrap_or(-1), told(&out.stdout), told(&out.stderr))
    }
}

/// A helper that keeps credentials in files of the folder `store`, as the protocol wants it.
fn write_helper(folder: &Path) {
    let program = folder.join("docker-credential-files");
    let script = r#"#!/bin/sh
mkdir -p "$STORE"
name() { printf %s "$1" | tr '/:' '__'; }
case $1 in
store) in=$(cat); url=$(printf %s "$in" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/'); printf %s "$in" >"$STORE/$(name "$url")" ;;
get) file="$STORE/$(name "$(cat)")"; [ -f "$file" ] && cat "$file" || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) url=$(cat); [ -f "$STORE/$(name "$url")" ] || { echo "nothing there"; exit 1; }; rm "$STORE/$(name "$url")" ;;
list) echo '{}' ;;
esac
"#;
    std::fs::write(&program, script).expect("the helper");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// Plays the same on both clients and compares; gives Dray's desk.
fn same(daemon: &Daemon, mut play: impl FnMut(&mut Desk) -> Vec<(i32, String, String)>) -> Desk {
    let (mut docker, mut dray) = (Desk::new(daemon.docker()), Desk::new(daemon.dray()));
    let (theirs, ours) = (play(&mut docker), play(&mut dray));
    for (step, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        assert_eq!(ours, theirs, "step {step}");
    }
    assert_eq!(dray.kept(), docker.kept(), "config.json");
    dray
}

#[test]
fn a_login_is_said_and_kept_in_docker_s_words() {
    let daemon = Daemon::empty();
    let registry = Registry::with_user("ann", "secret");
    let host = registry.host();
    same(&daemon, |desk| {
        let mut seen = vec![
            desk.run(&["login", "--password-stdin", &host], "secret"),
            desk.run(&["login", "-u", "ann", "-p", "x", "--password-stdin", &host], ""),
            desk.run(&["login", "-u", "", "-p", "x", &host], ""),
            desk.run(&["login", "-u", "ann", "-p", "", &host], ""),
            desk.run(&["login", &host], ""),
            desk.run(&["login", "-u", "ann", "-p", "guess", &host], ""),
            desk.run(&["login", "-u", "ann", "--password-stdin", &host], "secret\n"),
            // The same again changes nothing and warns of nothing.
            desk.run(&["login", "-u", "ann", "-p", "secret", &format!("http://{host}/v2/")], ""),
            desk.run(&["login", &host], ""),
        ];
        let kept = desk.kept();
        assert_eq!(kept["auths"][&host]["auth"], "YW5uOnNlY3JldA==", "{kept}");
        desk.write_config(&format!(r#"{{"auths":{{"{host}":{{"auth":"YW5uOndyb25n"}}}}}}"#));
        seen.push(desk.run(&["login", &host], ""));
        seen.push(desk.run(&["logout", &format!("https://{host}")], ""));
        seen.push(desk.run(&["logout", &host], ""));
        seen
    });
}

#[test]
fn helpers_keep_what_the_file_does_not() {
    let daemon = Daemon::empty();
    let registry = Registry::with_user("ann", "secret");
    let host = registry.host();
    for config in [
        r#"{"auths":{},"credsStore":"files"}"#.to_owned(),
        format!(r#"{{"auths":{{}},"credHelpers":{{"{host}":"files"}}}}"#),
    ] {
        same(&daemon, |desk| {
            write_helper(desk.folder.path());
            desk.write_config(&config);
            let mut seen = vec![desk.run(&["login", "-u", "ann", "--password-stdin", &host], "secret")];
            let kept = std::fs::read_to_string(desk.folder.path().join("store").join(host.replace(':', "_")));
            assert!(kept.expect("what the helper keeps").contains(r#""Secret":"secret""#));
            assert_eq!(desk.kept()["auths"][&host], serde_json::json!({}));
            seen.push(desk.run(&["login", &host], ""));
            seen.push(desk.run(&["pull", "-q", &format!("{host}/none")], ""));
            seen.push(desk.run(&["logout", &host], ""));
            seen
        });
    }
    // A helper that is not there, and one that fails.
    same(&daemon, |desk| {
        desk.write_config(r#"{"auths":{},"credsStore":"nowhere"}"#);
        vec![
            desk.run(&["login", "-u", "ann", "-p", "secret", &host], ""),
            desk.run(&["pull", "-q", &format!("{host}/none")], ""),
            desk.run(&["logout", &host], ""),
        ]
    });
}

#[test]
fn a_registry_with_tokens_is_logged_in_to_pushed_to_and_pulled_from() {
    let daemon = Daemon::start();
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users");
    let made =
        std::process::Command::new("htpasswd").args(["-Bbn", "ann", "secret"]).output().expect("htpasswd");
    std::fs::write(&users, made.stdout).expect("users");
    let config = folder.path().join("registry.json");
    let text = format!(r#"{{"challenge":"token","htpasswd":"{}"}}"#, users.display());
    std::fs::write(&config, text).expect("configuration");
    let registry = DrayRegistry::start(&["--config", config.to_str().expect("a path")]);
    let host = registry.host();
    for client in daemon.clients() {
        let name = format!("{host}/team/{}:v1", client.name());
        client.ok(&format!("tag busybox {name}"));
        client.sh(&format!("push {name}")).expect_code(1);
        let login = |password: &[u8]| {
            client.run_with_input(["login", "-u", "ann", "--password-stdin", &host], password)
        };
        login(b"wrong").expect_code(1).expect_error("unauthorized");
        assert!(login(b"secret").expect_success().stdout.contains("Login Succeeded"));
        client.ok(&format!("push {name}"));
        client.ok(&format!("rmi {name}"));
        client.ok(&format!("pull {name}"));
        client.ok(&format!("logout {host}"));
        client.sh(&format!("pull {name}")).expect_code(1);
        client.ok(&format!("rmi {name}"));
    }
}

#[test]
fn the_variable_goes_before_the_file() {
    let daemon = Daemon::start();
    let registry = Registry::with_user("ann", "secret");
    let host = registry.host();
    let mut desk = Desk::new(daemon.dray());
    daemon.dray().ok(&format!("tag busybox {host}/x"));
    let refused = desk.run(&["push", &format!("{host}/x")], "");
    assert!(refused.2.contains("no basic auth credentials"), "{refused:?}");
    let auths = format!(r#"{{"auths":{{"{host}":{{"auth":"YW5uOnNlY3JldA=="}}}}}}"#);
    desk.extra.push(("DOCKER_AUTH_CONFIG".into(), auths));
    assert_eq!(desk.run(&["push", &format!("{host}/x")], "").0, 0);
}

/// What a terminal shows of a line, with these answers typed in.
fn in_terminal(desk: &Desk, line: &str, keys: &[u8]) -> (i32, String) {
    let inner = desk.client.command(Vec::<&str>::new());
    let program = inner.get_program().to_string_lossy().into_owned();
    let mut command = std::process::Command::new("script");
    command.args(["-qefc", &format!("{program} {line}"), "/dev/null"]);
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("DOCKER_CONFIG", desk.folder.path().join("config")).env("TERM", "dumb");
    let done = dray_harness::client::finish(command, keys);
    (done.code, done.stdout.replace(&desk.folder.path().display().to_string(), "FOLDER"))
}

#[test]
fn user_and_password_are_asked_for_at_a_terminal() {
    let daemon = Daemon::empty();
    let registry = Registry::with_user("ann", "secret");
    let host = registry.host();
    for client in daemon.clients() {
        let desk = Desk::new(client);
        let (code, shown) = in_terminal(&desk, &format!("login {host}"), b"ann\nsecret\n");
        assert_eq!(code, 0, "{shown}");
        assert!(shown.contains("Username: "), "{shown}");
        assert!(shown.contains("Password: "), "{shown}");
        assert!(shown.contains("Login Succeeded"), "{shown}");
        desk.write_config(&format!(r#"{{"auths":{{"{host}":{{"auth":"Ym9iOnVua25vd24="}}}}}}"#));
        let (code, shown) = in_terminal(&desk, &format!("login {host}"), b"\nsecret\n");
        assert_eq!(code, 1, "{shown}");
        assert!(shown.contains("Username (bob): "), "{shown}");
        let (code, shown) = in_terminal(&desk, &format!("login -u ann {host}"), b"\n");
        assert_eq!(code, 1, "{shown}");
        assert!(shown.contains("Error: Password Required"), "{shown}");
    }
}
