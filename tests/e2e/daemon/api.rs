//! The Engine API's edges: versions, errors, permissions.

use std::os::unix::fs::PermissionsExt;

use dray_harness::{Daemon, http};

#[test]
fn ping_version_and_info_answer() {
    let daemon = Daemon::empty();
    let ping = http::unix_get(&daemon.socket(), "/_ping").expect("an answer");
    assert_eq!((ping.status, ping.text().as_str()), (200, "OK"));
    assert!(ping.head.to_ascii_lowercase().contains("api-version: 1."), "{}", ping.head);
    for client in daemon.clients() {
        let version = client.ok("version");
        assert!(version.contains("Server:") && version.contains("API version:"), "{version}");
        assert!(client.ok("info").contains("Containers: 0"));
    }
}

#[test]
fn the_socket_is_for_its_group_only() {
    let daemon = Daemon::empty();
    let mode = std::fs::metadata(daemon.socket()).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn errors_are_json_with_dockers_codes() {
    let daemon = Daemon::empty();
    let cases = [
        ("GET", "/v1.44/containers/nosuch/json", None, 404, "No such container: nosuch"),
        ("GET", "/v1.999/version", None, 400, "client version 1.999 is too new"),
        ("GET", "/nosuch", None, 404, "page not found"),
        ("POST", "/v1.44/containers/create", Some("{\"Image\":"), 400, ""),
        (
            "POST",
            "/v1.44/containers/create",
            Some("{\"Image\":\"nosuch\"}"),
            404,
            "No such image: nosuch:latest",
        ),
        ("POST", "/v1.44/containers/create", Some("{}"), 400, ""),
        ("GET", "/v1.44/containers/json?filters=x", None, 400, ""),
        ("DELETE", "/v1.44/networks/bridge", None, 403, "bridge"),
        ("GET", "/v1.44/volumes/nosuch", None, 404, "no such volume"),
        ("GET", "/v1.44/images/nosuch/json", None, 404, "No such image: nosuch"),
    ];
    for (method, path, body, status, text) in cases {
        let answer = http::unix_request(&daemon.socket(), method, path, body).expect("an answer");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        let message = answer.json()["message"].as_str().map(str::to_owned).unwrap_or_default();
        assert!(!message.is_empty() && message.contains(text), "{method} {path}: {message:?}");
    }
    // Clients of before 1.24 know errors as plain text only.
    let ancient = http::unix_get(&daemon.socket(), "/v1.1/version").expect("an answer");
    assert_eq!(ancient.status, 400);
    assert!(ancient.text().starts_with("client version 1.1 is too old"), "{}", ancient.text());
    assert_eq!(http::unix_get(&daemon.socket(), "/_ping").expect("an answer").status, 200);
}

#[test]
fn two_daemons_do_not_share_a_data_root() {
    let daemon = Daemon::empty();
    let scratch = daemon.scratch("second");
    let mut second = std::process::Command::new(dray_harness::dray_binary());
    second
        .arg("daemon")
        .arg("--data-root")
        .arg(daemon.data_root())
        .arg("--run-root")
        .arg(scratch.join("run"));
    second.arg("-H").arg(format!("unix://{}", scratch.join("sock").display()));
    let done = dray_harness::client::finish(second, b"");
    assert!(done.code != 0, "the second daemon came up");
    assert!(done.stderr.contains(&daemon.data_root().display().to_string()), "{}", done.stderr);
}

#[test]
fn tcp_without_tls_is_refused_unless_asked_for() {
    let daemon = Daemon::empty();
    let mut command = std::process::Command::new(dray_harness::dray_binary());
    let root = daemon.scratch("tcp");
    command.arg("daemon").arg("--data-root").arg(root.join("d")).arg("--run-root").arg(root.join("r"));
    command.args(["-H", "tcp://127.0.0.1:0"]);
    let done = dray_harness::client::finish(command, b"");
    assert!(done.code != 0 && done.stderr.contains("TLS"), "{}", done.stderr);
}
