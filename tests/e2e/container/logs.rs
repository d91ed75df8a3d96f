//! `logs`: both streams, following, choosing, bounds.

use std::io::{BufRead, BufReader};

use dray_harness::Daemon;
use dray_harness::client::eventually;

#[test]
fn both_streams_come_back_apart() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client
            .run(["run", "--name", "talks", "busybox", "sh", "-c", "echo out; echo err >&2"])
            .expect_success();
        let done = client.sh("logs talks").expect_success();
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("out\n", "err\n"), "{}", client.name());
        client.ok("rm talks");
    }
}

#[test]
fn tail_since_and_timestamps_choose() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.run(["run", "--name", "counts", "busybox", "seq", "1", "1000"]).expect_success();
        assert_eq!(client.ok("logs -n 2 counts"), "999\n1000");
        assert_eq!(client.ok("logs --tail 0 counts"), "");
        assert_eq!(client.ok("logs --since 1h --tail 1 counts"), "1000");
        assert_eq!(client.ok("logs --until 1h counts"), "");
        let stamped = client.ok("logs -t -n 1 counts");
        let (time, text) = stamped.split_once(' ').expect("a time");
        assert!(time.ends_with('Z') && time.contains('T') && text == "1000", "{stamped}");
        client.ok("rm counts");
    }
}

#[test]
fn follow_ends_with_the_container() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client
            .run(["run", "-d", "-i", "--name", "slow", "busybox", "sh", "-c", "echo one; read x; echo two"])
            .expect_success();
        let mut child = client.spawn(["logs", "-f", "slow"]);
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "one");
        client.run_with_input(["attach", "slow"], b"go\n");
        assert_eq!(lines.next().expect("a line").expect("text"), "two");
        assert!(lines.next().is_none());
        assert!(child.wait().expect("wait").success());
        client.ok("rm slow");
    }
}

#[test]
fn a_long_line_comes_back_whole() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client
        .run(["run", "--name", "long", "busybox", "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x"])
        .expect_success();
    assert_eq!(client.ok("logs long").len(), 100_000);
}

#[test]
fn the_log_file_is_bounded() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let script = "seq 1 200000";
    client
        .run([
            "run",
            "--name",
            "chatty",
            "--log-opt",
            "max-size=100k",
            "--log-opt",
            "max-file=2",
            "busybox",
            "sh",
            "-c",
            script,
        ])
        .expect_success();
    let path = client.ok("inspect -f {{.LogPath}} chatty");
    let folder = std::path::Path::new(&path).parent().expect("a folder");
    let size: u64 = std::fs::read_dir(folder)
        .expect("the container's folder")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains("json.log"))
        .map(|entry| entry.metadata().map_or(0, |metadata| metadata.len()))
        .sum();
    assert!(size > 0 && size < 300_000, "{size} bytes of log");
    assert!(client.ok("logs chatty").ends_with("200000"));
}

#[test]
fn the_log_survives_a_restart_of_the_container() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.run(["run", "--name", "twice", "busybox", "echo", "again"]).expect_success();
    client.ok("start twice");
    eventually("both runs are logged", || client.ok("logs twice") == "again\nagain");
}

#[test]
fn a_container_without_log_says_so() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client
            .run(["run", "--name", "mute", "--log-driver", "none", "busybox", "echo", "x"])
            .expect_success();
        client
            .sh("logs mute")
            .expect_code(1)
            .expect_error("configured logging driver does not support reading");
        client.ok("rm mute");
    }
}

#[test]
fn older_files_are_compressed_and_still_read() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let all: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    for driver in ["json-file", "local"] {
        let line = format!(
            "run --name packed --log-driver {driver} --log-opt max-size=400k --log-opt max-file=8 --log-opt \
             compress=true busybox seq 1 20000"
        );
        client.ok(&line);
        let id = client.ok("inspect -f {{.Id}} packed");
        let folder = daemon.data_root().join("containers").join(&id);
        let folder = if driver == "local" { folder.join("local-logs") } else { folder };
        let packed = std::fs::read_dir(&folder)
            .expect("the container's folder")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(".gz"));
        assert!(packed.count() >= 2, "{driver}: no packed files in {}", folder.display());
        assert_eq!(client.sh("logs packed").expect_success().stdout, all, "{driver}");
        assert_eq!(client.ok("logs -n 2 packed"), "19999\n20000");
        client.ok("rm packed");
    }
}

#[test]
fn details_tell_what_the_options_chose() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client
            .run([
                "run",
                "--name",
                "told",
                "-l",
                "app=my web",
                "-l",
                "other=x",
                "-e",
                "MODE=fast",
                "--log-opt",
                "labels=app",
                "--log-opt",
                "env-regex=^MO",
                "--log-opt",
                "tag={{.Name}}/{{.ImageName}}",
                "busybox",
                "echo",
                "hello",
            ])
            .expect_success();
        let told = client.ok("logs --details told");
        assert_eq!(told, "MODE=fast,app=my+web,tag=told%2Fbusybox hello", "{}", client.name());
        assert_eq!(client.ok("logs told"), "hello");
        client.ok("rm told");
    }
}

#[test]
fn wrong_options_are_refused_in_dockers_words() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        for (options, words) in [
            ("--log-driver nosuch", "error looking up logging plugin nosuch: plugin \"nosuch\" not found"),
            ("--log-opt bad=1", "unknown log opt 'bad' for json-file log driver"),
            ("--log-opt mode=later", "logger: logging mode not supported: later"),
            (
                "--log-opt max-buffer-size=1m",
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            (
                "--log-opt max-size=1q",
                "failed to create task for container: failed to initialize logging driver: invalid suffix: 'q'",
            ),
            (
                "--log-driver local --log-opt max-file=1",
                "failed to create task for container: failed to initialize logging driver: compression cannot be enabled when max file count is 1",
            ),
        ] {
            client
                .sh(&format!("run --rm {options} busybox true"))
                .expect_code(125)
                .expect_error(&format!("Error response from daemon: {words}"));
        }
        assert_eq!(client.ok("ps -aq"), "", "nothing is left");
    }
}
