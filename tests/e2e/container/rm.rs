//! `rm` and `container prune`: what goes, what is refused.

use std::path::Path;

use dray_harness::Daemon;
use rustix::fs::{Mode, OFlags, mkdirat, open, openat};

#[test]
fn a_running_container_needs_force() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name runs busybox sleep 1000");
        client.sh("rm runs").expect_code(1).expect_error("container is running");
        assert_eq!(client.ok("rm -f runs"), "runs");
        client.sh("rm runs").expect_code(1).expect_error("No such container: runs");
        client.sh("rm -f runs").expect_success();
    }
}

#[test]
fn anonymous_volumes_go_when_asked() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run --name vols -v /data busybox true");
        assert_eq!(client.ok("volume ls -q").lines().count(), 1);
        client.ok("rm -v vols");
        assert_eq!(client.ok("volume ls -q"), "");
    }
}

#[test]
fn anonymous_volumes_go_though_the_daemon_is_killed() {
    let mut daemon = Daemon::spawn();
    let client = daemon.dray();
    let volumes: Vec<String> = (0..60).flat_map(|n| ["-v".to_owned(), format!("/v{n}")]).collect();
    let line = ["create", "--name", "many"].map(str::to_owned).into_iter().chain(volumes);
    client.run(line.chain(["busybox", "true"].map(str::to_owned))).expect_success();
    let folder = daemon.data_root().join("volumes");
    let left = || std::fs::read_dir(&folder).expect("a folder").count();
    assert_eq!(left(), 60);
    let mut removal = client.spawn(["rm", "-v", "many"]);
    while left() == 60 {
        std::thread::yield_now();
    }
    daemon.kill();
    let _ = removal.wait();
    daemon.launch();
    assert_eq!((client.ok("ps -aq"), client.ok("volume ls -q")), (String::new(), String::new()));
}

#[test]
fn nothing_of_it_stays_on_disk() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let id = client.ok("run -d busybox sleep 1000");
    client.ok(&format!("rm -f {id}"));
    let folder = daemon.data_root().join("containers").join(&id);
    dray_harness::client::eventually("the container's folder is gone", || !folder.exists());
    let run = daemon.run_root().join("c").join(&id);
    dray_harness::client::eventually("its run folder is gone", || !run.exists());
}

#[test]
fn prune_takes_the_stopped() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name stays busybox sleep 1000");
        let gone = client.ok("create busybox true");
        let done = client.sh("container prune -f").expect_success();
        assert!(
            done.stdout.contains(&gone) && done.stdout.contains("Total reclaimed space:"),
            "{}",
            done.stdout
        );
        assert_eq!(client.ok("ps -a --format {{.Names}}"), "stays");
        client.ok("rm -f stays");
    }
}

/// As a program in a container makes them that goes down one by one: deeper than a path can be long.
fn nested(top: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut folder = open(top, flags, Mode::empty()).expect("a folder");
    for _ in 0..15_000 {
        mkdirat(&folder, "d", Mode::RWXU).expect("a folder in it");
        folder = openat(&folder, "d", flags, Mode::empty()).expect("the folder");
    }
}

#[test]
fn folders_in_folders_do_not_end_the_daemon() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let id = client.ok("create --name deep -v deep:/data busybox true");
    let folder = daemon.data_root().join("containers").join(&id);
    let volume = daemon.data_root().join("volumes/deep");
    nested(&folder.join("upper"));
    nested(&volume.join("_data"));
    client.ok("system df -v");
    client.ok("ps -a -s");
    // More than anybody could read.
    client.sh("diff deep").expect_code(1);
    client.ok("rm deep");
    client.ok("volume rm deep");
    dray_harness::client::eventually("its folders are gone", || !folder.exists() && !volume.exists());
    assert_eq!(client.ok("ps -a -q"), "");
}
