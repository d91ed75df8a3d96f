//! Clients that go away in each phase of a build: nothing of it stays.

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};

use dray_harness::{Client, Daemon, client, host};

use super::{buildx, context, entries};

fn begin(client: &Client, folder: &Path) -> Child {
    let mut command = client.command(["build", "-t", "vanished"]);
    command.arg(folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a client")
}

fn vanish(mut child: Child) {
    child.kill().expect("kill");
    child.wait().expect("wait");
}

/// How many `sleep` with this argument run.
fn sleeping(argument: &str) -> usize {
    let named = host::processes_naming(argument).into_iter();
    named.filter(|pid| host::command_line(*pid).trim_start().starts_with("sleep")).count()
}

fn nothing_left(daemon: &Daemon) {
    let place = |name: &str| daemon.data_root().join("build").join(name);
    client::eventually("the context is gone", || entries(&place("contexts")) == 0);
    // One that came as a whole stays for the next build.
    client::eventually("the half of a context is gone", || {
        let kept = fs::read_dir(place("kept")).into_iter().flatten().flatten();
        kept.into_iter().all(|context| context.path().join("index").exists())
    });
    client::eventually("the step is gone", || entries(&daemon.run_root().join("b")) == 0);
    assert_eq!(daemon.docker().ok("images -q vanished"), "");
}

#[test]
fn a_client_goes_away_while_it_sends_its_context() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "large", "FROM busybox\nCOPY . /x\n", &[]);
    // Sparse here, and too much to have been sent when the first of it is seen.
    File::create(folder.join("large")).and_then(|file| file.set_len(64 << 30)).expect("a large file");
    let contexts = daemon.data_root().join("build/kept");
    for client in [daemon.dray(), buildx(&daemon)] {
        let child = begin(&client, &folder);
        client::eventually("the file arrives", || {
            let files = fs::read_dir(&contexts).into_iter().flatten().flatten();
            files.into_iter().any(|context| context.path().join("files/large").exists())
        });
        vanish(child);
        nothing_left(&daemon);
    }
}

#[test]
fn a_client_goes_away_while_its_base_is_pulled() {
    let daemon = Daemon::start();
    // A registry that never answers.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dockerfile = format!("FROM {}/base\n", listener.local_addr().expect("an address"));
    let folder = context(&daemon, "pulls", &dockerfile, &[]);
    for client in [daemon.dray(), buildx(&daemon)] {
        let child = begin(&client, &folder);
        let (mut asked, _) = listener.accept().expect("the daemon asks");
        vanish(child);
        // The daemon hangs up: its request is all that comes.
        asked.read_to_end(&mut Vec::new()).expect("the end of the request");
        nothing_left(&daemon);
    }
}

#[test]
fn a_client_goes_away_from_a_step_that_forks_for_ever() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox\nRUN sleep 86394 & while true; do (true &) & done\n";
    let folder = context(&daemon, "forking", dockerfile, &[]);
    for client in [daemon.dray(), buildx(&daemon)] {
        let child = begin(&client, &folder);
        client::eventually("the step runs", || sleeping("86394") == 1);
        vanish(child);
        client::eventually("all of the step is gone", || host::processes_naming("86394").is_empty());
        nothing_left(&daemon);
        assert_eq!(daemon.docker().ok("run --rm busybox echo works"), "works");
    }
}

#[test]
fn a_client_goes_away_from_a_step_that_ignores_signals_and_has_children() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox\nRUN trap '' TERM INT HUP; \
                      for i in $(seq 150); do (trap '' TERM INT HUP; exec sleep 86393) & done; \
                      setsid sleep 86393 & wait\n";
    let folder = context(&daemon, "stubborn", dockerfile, &[]);
    for client in [daemon.dray(), buildx(&daemon)] {
        let child = begin(&client, &folder);
        client::eventually("the step has its children", || sleeping("86393") >= 151);
        vanish(child);
        client::eventually("the step and its children are gone", || sleeping("86393") == 0);
        nothing_left(&daemon);
    }
}
