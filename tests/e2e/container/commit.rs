//! `commit` while the container does as it likes.

use std::fs;

use dray_harness::Daemon;
use dray_harness::client::eventually;
use rustix::process::{Pid, Signal, kill_process};

/// Whether a process's cgroup is frozen.
fn is_frozen(pid: &str) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.lines().any(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return false };
        let read = |file: String| fs::read_to_string(file).unwrap_or_default();
        match controllers {
            "" => read(format!("/sys/fs/cgroup{path}/cgroup.events")).contains("frozen 1"),
            "freezer" => read(format!("/sys/fs/cgroup/freezer{path}/freezer.state")).contains("FROZEN"),
            _ => false,
        }
    })
}

#[test]
fn a_container_that_is_killed_meanwhile_is_committed() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let script = "dd if=/dev/urandom of=/big bs=1M count=48; echo ready; exec sleep 1000";
    client.run(["run", "-d", "--name", "big", "busybox", "sh", "-c", script]).expect_success();
    eventually("it has written", || client.ok("logs big").contains("ready"));
    let pid = client.ok("inspect -f {{.State.Pid}} big");
    let commit = client.spawn(["commit", "big", "big:v1"]);
    eventually("it is frozen", || is_frozen(&pid));
    let init = Pid::from_raw(pid.parse().expect("a number")).expect("a pid");
    kill_process(init, Signal::KILL).expect("kill");
    let made = commit.wait_with_output().expect("dray");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    eventually("its end is seen", || client.ok("inspect -f {{.State.Status}} big") == "exited");
    assert_eq!(client.ok("run --rm big:v1 stat -c %s /big"), (48 << 20).to_string());
}
