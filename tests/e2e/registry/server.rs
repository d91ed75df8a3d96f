//! `dray registry serve` as users meet it: pushes and pulls of both clients, logins, and a crash in the middle.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use dray_harness::client::Client;
use dray_harness::registry::DrayRegistry;
use dray_harness::{Daemon, dray_binary, http};

/// A client's `busybox`, which has this id, goes to a registry and comes back from there.
pub fn comes_back(client: &Client, registry: &DrayRegistry, id: &str) {
    let name = format!("{}/team/{}:v1", registry.host(), client.name());
    client.ok(&format!("tag busybox {name}"));
    client.ok(&format!("push {name}"));
    client.ok(&format!("rmi {name}"));
    client.ok("rmi busybox");
    client.ok(&format!("pull {name}"));
    assert_eq!(client.ok(&format!("images -q --no-trunc {name}")), id, "the same image came back");
    client.ok(&format!("run --rm {name} true"));
    client.ok(&format!("tag {name} busybox"));
    client.ok(&format!("rmi {name}"));
}

#[test]
fn what_is_pushed_is_pulled() {
    let daemon = Daemon::start();
    let registry = DrayRegistry::start(&[]);
    let id = daemon.dray().ok("images -q --no-trunc busybox");
    for client in daemon.clients() {
        comes_back(&client, &registry, &id);
    }
    let answer = http::get(("127.0.0.1", registry.port()), "/v2/_catalog").expect("the list");
    assert_eq!(answer.json()["repositories"].as_array().map(Vec::len), Some(2), "{}", answer.text());
}

#[test]
fn users_and_robots_log_in() {
    let daemon = Daemon::start();
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users");
    let line = Command::new("htpasswd").args(["-Bbn", "ann", "secret"]).output().expect("htpasswd").stdout;
    std::fs::write(&users, line).expect("the password file");
    let registry = DrayRegistry::start(&["--htpasswd", users.to_str().expect("a path"), "--anonymous-pull"]);
    let root = registry.root().join("data");
    let made = Command::new(dray_binary())
        .args(["registry", "robot", "add", "--scope", "repository:ci/*:pull,push", "robot", "--data-root"])
        .arg(&root)
        .output()
        .expect("dray");
    let secret = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    assert!(secret.starts_with("dray_"), "{}", String::from_utf8_lossy(&made.stderr));
    for client in daemon.clients() {
        let host = registry.host();
        let log_in = |user: &str, secret: &str| {
            client.run_with_input(["login", "-u", user, "--password-stdin", &host], secret.as_bytes())
        };
        let push = |name: &str| {
            let name = format!("{host}/{name}/{}:v1", client.name());
            client.ok(&format!("tag busybox {name}"));
            let done = client.sh(&format!("push {name}"));
            client.ok(&format!("rmi {name}"));
            done
        };
        assert_ne!(push("ci").code, 0, "strangers cannot push");
        log_in("ann", "wrong").expect_code(1);
        log_in("ann", "secret").expect_success();
        push("team").expect_success();
        client.ok(&format!("logout {host}"));
        client.ok(&format!("pull {host}/team/{}:v1", client.name()));
        log_in("robot", &secret).expect_success();
        push("ci").expect_success();
        assert_ne!(push("team").code, 0, "a robot has its own scopes only");
        client.ok(&format!("logout {host}"));
    }
}

/// Sends a request and leaves the connection open.
pub(super) fn send(port: u16, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the registry");
    stream.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n").as_bytes()).expect("head");
    stream.write_all(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes()).expect("head");
    stream.write_all(body).expect("body");
    stream
}

pub(super) fn answer(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).expect("an answer");
    String::from_utf8_lossy(&text).into_owned()
}

pub(super) fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let line = answer.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
    line.and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value.trim())
}

/// The server is killed after each acknowledged step, and in the middle of a chunk.
#[test]
fn what_is_acknowledged_survives_a_crash() {
    survive(&mut DrayRegistry::start(&[]), 1_000_000);
}

/// Sends a blob whose bytes come in three steps of this length; the server dies after each, and while more is coming.
pub(super) fn survive(registry: &mut DrayRegistry, step: usize) {
    let port = registry.port();
    let content: Vec<u8> = (0..step * 3).map(|at| (at * 31 + at / 251) as u8).collect();
    let digest = format!("sha256:{}", hex_of(&content));
    let begun = answer(send(port, "POST /v2/a/blobs/uploads/ HTTP/1.1", b""));
    let location = header(&begun, "location").to_owned();
    let mut at = 0;
    for next in [1_000, step, step * 2] {
        let sent = answer(send(port, &format!("PATCH {location} HTTP/1.1"), &content[at..next]));
        assert!(sent.starts_with("HTTP/1.1 202"), "{sent}");
        at = next;
        // More is under way when it dies.
        let hanging =
            send(port, &format!("PATCH {location} HTTP/1.1\r\nX-More: 1"), &content[at..at + step / 2]);
        registry.kill();
        drop(hanging);
        registry.start_again();
        let status = answer(send(port, &format!("GET {location} HTTP/1.1"), b""));
        let range = header(&status, "range");
        let reached: usize = range.strip_prefix("0-").and_then(|end| end.parse().ok()).expect("a range");
        assert!(reached + 1 >= at, "{range} though {at} bytes were acknowledged");
        at = reached + 1;
        if at >= step * 2 {
            break;
        }
    }
    let closed = answer(send(port, &format!("PUT {location}?digest={digest} HTTP/1.1"), &content[at..]));
    assert!(closed.starts_with("HTTP/1.1 201"), "{closed}");
    let config = format!("sha256:{}", hex_of(b"{}"));
    let small = answer(send(port, &format!("POST /v2/a/blobs/uploads/?digest={config} HTTP/1.1"), b"{}"));
    assert!(small.starts_with("HTTP/1.1 201"), "{small}");
    registry.kill();
    registry.start_again();
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":{}}}]}}"#,
        content.len()
    );
    let put = answer(send(port, "PUT /v2/a/manifests/v1 HTTP/1.1", manifest.as_bytes()));
    assert!(put.starts_with("HTTP/1.1 201"), "{put}");
    registry.kill();
    registry.start_again();
    let got = http::get(("127.0.0.1", port), "/v2/a/manifests/v1").expect("the manifest");
    assert_eq!(got.text(), manifest);
    let blob = http::get(("127.0.0.1", port), &format!("/v2/a/blobs/{digest}")).expect("the blob");
    assert!(blob.body == content);
}

pub(super) fn hex_of(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}

#[test]
fn the_command_line_is_helpful() {
    let run = |arguments: &[&str]| {
        let output = Command::new(dray_binary()).args(arguments).output().expect("dray");
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let (code, text) = run(&["registry", "serve", "--help"]);
    assert!(code == Some(0) && text.contains("--gc-interval"), "{text}");
    let (code, text) = run(&["registry", "serve", "--nonsense"]);
    assert!(code == Some(2) && text.contains("--nonsense"), "{text}");
    let (code, text) = run(&["registry", "serve", "--config", "/nonexistent.json"]);
    assert!(code == Some(1) && text.contains("/nonexistent.json"), "{text}");
    let (code, text) = run(&["registry", "serve", "--address", "nonsense", "--data-root", "/proc/nowhere"]);
    assert!(code == Some(1) && text.contains("/proc/nowhere"), "{text}");
}
