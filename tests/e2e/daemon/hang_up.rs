//! Clients that go away in the middle: what served them ends, and the container goes on.

use std::io::{BufRead, BufReader};

use dray_harness::Daemon;
use dray_harness::client::eventually;

/// Descriptors that the daemon has open: one for each connection, file and watch.
fn descriptors(daemon: &Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).map_or(usize::MAX, Iterator::count)
}

#[test]
fn what_served_a_client_ends_with_it() {
    let daemon = Daemon::spawn();
    daemon.dray().run([
        "run",
        "-d",
        "--name",
        "talks",
        "busybox",
        "sh",
        "-c",
        "while echo tick; do sleep 0.05; done",
    ]);
    for client in daemon.clients() {
        for line in ["logs -f talks", "attach --no-stdin talks", "events --since 1h", "stats talks"] {
            // Connections that were kept for the next request are gone after a while; the least seen is what there is.
            let before = descriptors(&daemon);
            let mut child = client.spawn(line.split(' '));
            let mut first = String::new();
            let mut output = BufReader::new(child.stdout.take().expect("piped"));
            output.read_line(&mut first).expect("a line");
            assert!(!first.is_empty(), "{line}: no output");
            child.kill().expect("kill");
            child.wait().expect("wait");
            drop(output);
            eventually(&format!("{} {line}: its descriptors are closed", client.name()), || {
                descriptors(&daemon) <= before
            });
        }
        assert_eq!(client.ok("inspect -f {{.State.Running}} talks"), "true");
    }
    // The log goes on as before.
    let count = || daemon.dray().ok("logs talks").lines().count();
    let so_far = count();
    eventually("the container still talks", || count() > so_far);
}

#[test]
fn a_wait_that_is_given_up_leaves_the_container() {
    let daemon = Daemon::start();
    let client = daemon.docker();
    client.ok("run -d --name long busybox sleep 1000");
    let mut child = client.spawn(["wait", "long"]);
    eventually("it waits", || child.try_wait().expect("a child").is_none());
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_eq!(client.ok("inspect -f {{.State.Running}} long"), "true");
}
