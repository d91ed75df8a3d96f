//! `attach`: no byte is lost, input goes in, and a client that goes away harms nobody.

use std::io::{BufRead, BufReader, Read, Write};

use dray_harness::client::eventually;
use dray_harness::{Daemon, http};

#[test]
fn attaches_both_ways() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d -i --name echo busybox cat");
        let mut child = client.spawn(["attach", "echo"]);
        let mut stdin = child.stdin.take().expect("piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdin.write_all(b"hello\n").expect("write");
        stdout.read_line(&mut line).expect("read");
        assert_eq!(line, "hello\n", "{}", client.name());
        client.ok("rm -f echo");
        assert!(child.wait().is_ok());
    }
}

#[test]
fn gives_the_exit_code() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client
            .run(["run", "-d", "-i", "--name", "ends", "busybox", "sh", "-c", "read x; exit 5"])
            .expect_success();
        client.run_with_input(["attach", "ends"], b"go\n").expect_code(5);
        client.ok("rm ends");
    }
}

#[test]
fn any_number_waits_for_the_start() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let id = client.ok("create --name one busybox echo hello");
    let socket = daemon.socket();
    let attach = || {
        let path = format!("/containers/{id}/attach?stream=1&stdout=1");
        http::unix_request(&socket, "POST", &path, None).expect("an answer").body
    };
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..40).map(|_| scope.spawn(attach)).collect();
        let attached = || client.ok("events --since 1h --until 0s --filter event=attach --format {{.ID}}");
        eventually("all have attached", || attached().lines().count() == 40);
        client.ok("start one");
        for heard in waiting {
            let heard = heard.join().expect("a client");
            assert_eq!(heard, b"\x01\0\0\0\0\0\0\x06hello\n");
        }
    });
}

#[test]
fn a_container_that_does_not_run_is_refused() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("create --name still busybox true");
        client.sh("attach still").expect_code(1).expect_error("attach to a stopped container");
        client.ok("rm still");
    }
}

#[test]
fn a_client_that_dies_leaves_the_container_running() {
    let daemon = Daemon::start();
    let client = daemon.docker();
    let mut child = client.spawn([
        "run",
        "--name",
        "goes-on",
        "busybox",
        "sh",
        "-c",
        "while echo tick; do sleep 0.05; done",
    ]);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("read");
    assert_eq!(line, "tick\n");
    child.kill().expect("kill the client");
    child.wait().expect("wait");
    drop(stdout);
    let ticks = || client.ok("logs goes-on").lines().count();
    let before = ticks();
    eventually("the container still writes", || ticks() > before + 3);
}

#[test]
fn a_browser_attaches_over_a_websocket() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client
        .run([
            "run",
            "-d",
            "-i",
            "--name",
            "echo",
            "busybox",
            "sh",
            "-c",
            "while read x; do echo $x; done; exit 4",
        ])
        .expect_success();
    let mut socket = std::os::unix::net::UnixStream::connect(daemon.socket()).expect("connect");
    let head = "GET /v1.47/containers/echo/attach/ws?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: d\r\n\
                Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(head.as_bytes()).expect("write");
    let mut reader = BufReader::new(socket.try_clone().expect("clone"));
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut answer).expect("head") > 0, "{answer}");
    }
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    // Masked with zeros, which is a mask too.
    socket.write_all(b"\x81\x86\0\0\0\0hello\n").expect("write");
    let mut message = [0; 8];
    reader.read_exact(&mut message).expect("a message");
    assert_eq!(&message, b"\x82\x06hello\n");
    let plain = dray_harness::http::unix_get(&daemon.socket(), "/containers/echo/attach/ws?stream=1");
    assert_eq!(plain.expect("an answer").status, 400);
    client.ok("rm -f echo");
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).expect("the end");
    assert_eq!(rest, b"\x88\x02\x03\xe8");
}
