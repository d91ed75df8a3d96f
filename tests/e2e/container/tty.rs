//! Terminals: `-t`, sizes, detach keys, in a real pseudo-terminal (util-linux's `script`).

use std::process::Command;

use dray_harness::Daemon;
use dray_harness::client::{Client, finish};

/// Runs a client's line inside a terminal and gives what the terminal showed.
fn in_terminal(client: &Client, line: &str, keys: &[u8]) -> (i32, String) {
    let inner = client.command(Vec::<&str>::new());
    let program = inner.get_program().to_string_lossy().into_owned();
    let mut command = Command::new("script");
    command.args(["-qefc", &format!("stty rows 33 cols 101; {program} {line}"), "/dev/null"]);
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let done = finish(command, keys);
    (done.code, done.stdout)
}

#[test]
fn a_terminal_is_a_terminal() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let (code, shown) =
            in_terminal(&client, "run --rm -it busybox sh -c 'tty; sleep 0.3; stty size; exit 5'", b"");
        assert_eq!(code, 5, "{}: {shown}", client.name());
        assert!(shown.contains("/dev/pts/0"), "{shown}");
        assert!(shown.contains("33 101"), "{shown}");
    }
}

#[test]
fn exec_has_one_too() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name box busybox sleep 1000");
        let (code, shown) = in_terminal(&client, "exec -it box sh -c 'tty; exit 4'", b"");
        assert_eq!(code, 4, "{shown}");
        assert!(shown.contains("/dev/pts/"), "{shown}");
        client.ok("rm -f box");
    }
}

#[test]
fn without_a_terminal_t_is_refused() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.sh("run --rm -it busybox true").expect_code(1).expect_error("the input device is not a TTY");
    }
}

#[test]
fn detached_terminal_output_is_logged() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d -t --name tt busybox echo hello");
        client.ok("wait tt");
        assert_eq!(client.sh("logs tt").expect_success().stdout, "hello\r\n");
        client.ok("rm tt");
    }
}
