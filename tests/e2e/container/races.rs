//! Requests that meet: a stop, a kill or a removal while a start is under way, clients that hang up in the middle of one,
//! daemons that are killed in it. What a container is afterwards is what was asked for.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;

use dray_harness::client::{Client, eventually};
use dray_harness::{Daemon, http};

/// A start that does not get beyond its shim before it is let go: the container's log is a pipe that nobody reads.
struct HeldStart {
    pipe: PathBuf,
    run_dir: PathBuf,
}

impl HeldStart {
    /// Of a container that was created.
    fn of(daemon: &Daemon, id: &str) -> Self {
        let pipe = daemon.data_root().join("containers").join(id).join(format!("{id}-json.log"));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
        Self { pipe, run_dir: daemon.run_root().join("c").join(id) }
    }

    /// Starts the container; gives the client that waits for it.
    fn begin(&self, client: &Client, id: &str) -> Child {
        let starting = client.spawn(["start", id]);
        eventually("the start is under way", || self.run_dir.exists());
        starting
    }

    /// Lets the start go on; the log is read as long as this lives.
    fn release(&self) -> File {
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        File::options().read(true).custom_flags(flags).open(&self.pipe).expect("the log")
    }
}

fn succeeded(what: &str, child: Child) {
    let done = child.wait_with_output().expect("wait");
    assert!(done.status.success(), "{what}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn who_ends_a_container_waits_for_its_start() {
    let daemon = Daemon::spawn();
    for client in daemon.clients() {
        for (end, left) in [("stop -t 0", "exited"), ("kill", "exited"), ("rm -f", "")] {
            let id = client.ok("create --name meets busybox sleep 1000");
            let held = HeldStart::of(&daemon, &id);
            let starting = held.begin(&client, &id);
            let ending = client.spawn(end.split(' ').chain(["meets"]));
            // It is not through before it can be; if it comes late, it finds a container that runs.
            std::thread::sleep(std::time::Duration::from_millis(300));
            let _log = held.release();
            succeeded("start", starting);
            succeeded(end, ending);
            let status = client.sh("inspect -f {{.State.Status}} meets").stdout;
            assert_eq!(status.trim(), left, "{} {end}", client.name());
            client.sh("rm -f meets");
        }
    }
}

#[test]
fn a_restart_whose_client_hangs_up_comes_to_its_end() {
    let daemon = Daemon::spawn();
    let script = "trap 'echo ends; sleep 0.7; exit' TERM; echo begins; while :; do sleep 0.05; done";
    for client in daemon.clients() {
        client.run(["run", "-d", "--name", "again", "busybox", "sh", "-c", script]).expect_success();
        let said = |word: &str| client.ok("logs again").lines().filter(|line| *line == word).count();
        eventually("it can be asked to end", || said("begins") == 1);
        let mut restart = client.spawn(["restart", "again"]);
        eventually("it was asked to end", || said("ends") == 1);
        restart.kill().expect("kill");
        restart.wait().expect("wait");
        eventually("it runs again", || said("begins") == 2);
        client.ok("rm -f again");
    }
}

#[test]
fn a_removal_whose_client_hangs_up_comes_to_its_end() {
    let daemon = Daemon::spawn();
    let client = daemon.dray();
    for round in 0..10 {
        let name = format!("goes{round}");
        client.ok(&format!("run -d --name {name} busybox sleep 1000"));
        let mut connection = UnixStream::connect(daemon.socket()).expect("the daemon");
        let request = format!("DELETE /containers/{name}?force=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.write_all(request.as_bytes()).expect("a request");
        drop(connection);
        eventually("it can be removed", || {
            client.sh(&format!("rm -f {name}"));
            client.sh(&format!("inspect {name}")).code == 1
        });
    }
}

#[test]
fn a_removal_that_was_cut_off_takes_no_more_than_was_asked_for() {
    let mut daemon = Daemon::spawn();
    let client = daemon.dray();
    for (remove, volumes) in [("rm", 1), ("rm -v", 0)] {
        let id = client.ok("create -v /data busybox true");
        // Something is where its files would be put out of the way.
        let blocked = daemon.data_root().join("containers").join(format!(".removed-{id}"));
        std::fs::create_dir_all(blocked.join("in the way")).expect("a folder");
        client.sh(&format!("{remove} {id}")).expect_code(1);
        daemon.crash_and_restart();
        assert_eq!(client.ok("ps -aq"), "", "{remove}: finished by the next daemon");
        assert_eq!(client.ok("volume ls -q").lines().count(), volumes, "{remove}");
        client.ok("volume prune -f");
    }
}

#[test]
fn a_start_that_a_daemon_has_left_half_done_is_found_by_the_next() {
    let mut daemon = Daemon::spawn();
    let client = daemon.dray();
    let id = client.ok("create --name halfway busybox sleep 1000");
    let held = HeldStart::of(&daemon, &id);
    let mut starting = held.begin(&client, &id);
    eventually("its shim is at work", || !dray_harness::host::processes_naming(&id).is_empty());
    std::thread::sleep(std::time::Duration::from_millis(200));
    daemon.kill();
    starting.wait().expect("wait");
    std::thread::scope(|scope| {
        let release = scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(700));
            held.release()
        });
        daemon.launch();
        let log = release.join().expect("the pipe's reader");
        assert_eq!(client.ok("inspect -f {{.State.Running}} halfway"), "true");
        client.ok("exec halfway true");
        client.ok("rm -f halfway");
        drop(log);
    });
    assert_eq!(dray_harness::host::processes_naming(&id), Vec::<u32>::new());
}

#[test]
fn any_number_of_execs_may_run_in_the_background() {
    let daemon = Daemon::spawn();
    let client = daemon.dray();
    client.ok("run -d --name busy busybox sleep 1000");
    let post = |path: &str, body: &str| {
        let answer = http::unix_request(&daemon.socket(), "POST", path, Some(body)).expect("an answer");
        assert!(answer.status < 300, "{}", answer.text());
        answer
    };
    for _ in 0..270 {
        let made = post("/containers/busy/exec", r#"{"Cmd":["sleep","1000"]}"#).json();
        let id = made["Id"].as_str().expect("an id");
        post(&format!("/exec/{id}/start"), r#"{"Detach":true}"#);
    }
    assert_eq!(client.ok("run --rm busybox echo still here"), "still here");
    client.ok("rm -f busy");
}

#[test]
fn an_exec_whose_client_hangs_up_comes_to_its_end() {
    let daemon = Daemon::spawn();
    let client = daemon.dray();
    let container = client.ok("run -d --name holds busybox sleep 1000");
    let body = r#"{"Cmd":["sh","-c","exit 4"]}"#;
    let made = http::unix_request(&daemon.socket(), "POST", "/containers/holds/exec", Some(body));
    let id = made.expect("an answer").json()["Id"].as_str().expect("an id").to_owned();
    let exec = || http::unix_get(&daemon.socket(), &format!("/exec/{id}/json")).expect("an answer").json();
    let shim = dray_harness::host::processes_naming(&container);
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill").args([name, &shim[0].to_string()]).status();
        assert!(sent.expect("kill").success());
    };
    // The shim does not answer until the client is gone.
    signal("-STOP");
    let mut connection = UnixStream::connect(daemon.socket()).expect("the daemon");
    // As clients do; the first request of a connection could take it over.
    connection.write_all(b"GET /_ping HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    assert!(connection.read(&mut [0; 4096]).expect("an answer") > 0);
    let body = r#"{"Detach":true}"#;
    let head = format!("POST /exec/{id}/start HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json");
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    connection.write_all(request.as_bytes()).expect("a request");
    eventually("it is being started", || exec()["Running"] == true);
    drop(connection);
    std::thread::sleep(std::time::Duration::from_millis(200));
    signal("-CONT");
    eventually("its end is known", || exec()["ExitCode"] == 4 && exec()["Running"] == false);
}
