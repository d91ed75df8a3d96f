//! `attach`: no byte is lost, input goes in, and a client that goes away harms nobody.

use std::io::{BufRead, BufReader, Write};

use dray_harness::Daemon;
use dray_harness::client::eventually;

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
