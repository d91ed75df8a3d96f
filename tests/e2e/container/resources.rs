//! Limits: memory, processes, CPU, as the program inside meets them.

use dray_harness::Daemon;

#[test]
fn memory_over_the_limit_kills_and_says_so() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let done = client.run([
            "run",
            "--name",
            "greedy",
            "-m",
            "16m",
            "--memory-swap",
            "16m",
            "busybox",
            "sh",
            "-c",
            "x=a; while :; do x=$x$x; done",
        ]);
        done.expect_code(137);
        assert_eq!(client.ok("inspect -f {{.State.OOMKilled}} greedy"), "true");
        client.ok("rm greedy");
    }
}

#[test]
fn processes_are_counted() {
    let daemon = Daemon::start();
    let script = "i=0; while [ $i -lt 30 ]; do sleep 5 & i=$((i+1)); done; wait";
    let done = daemon.dray().run(["run", "--rm", "--pids-limit", "10", "busybox", "sh", "-c", script]);
    assert!(done.code != 0 && done.stderr.contains("fork"), "{} {}", done.code, done.stderr);
}

#[test]
fn limits_are_in_the_cgroup() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let line = "run --rm -m 64m --cpus 0.5 --cpu-shares 512 --cpuset-cpus 0 --pids-limit 77 busybox";
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/cpuset/cpuset.cpus /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpuset.cpus /sys/fs/cgroup/pids.max";
    let arguments: Vec<&str> = line.split(' ').chain(["sh", "-c", script]).collect();
    let seen = client.run(arguments).expect_success().stdout;
    let seen: Vec<&str> = seen.split_whitespace().collect();
    assert!(seen.contains(&"67108864") && seen.contains(&"50000") && seen.contains(&"77"), "{seen:?}");
}

#[test]
fn limits_change_while_it_runs() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name box -m 64m busybox sleep 1000");
        client.ok("update -m 128m --memory-swap 256m box");
        assert_eq!(client.ok("inspect -f {{.HostConfig.Memory}} box"), "134217728");
        client.ok("rm -f box");
    }
}
