//! What containers are on a machine whose cgroups are v2, as most machines are today: systemd has mounted one tree and
//! hands down some of its controllers.

use std::fs;
use std::path::{Path, PathBuf};

use dray_harness::client::eventually;
use dray_harness::{Client, Daemon};

const TREE: &str = "/sys/fs/cgroup";

/// The container's folder.
fn cgroup(client: &Client, container: &str) -> PathBuf {
    let id = client.run(["inspect", "-f", "{{.Id}}", container]).expect_success().stdout;
    Path::new(TREE).join("dray").join(id.trim())
}

fn read(folder: &Path, file: &str) -> String {
    let path = folder.join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

/// Runs a script in a container.
fn exec(client: &Client, container: &str, script: &str) -> dray_harness::Finished {
    client.run(["exec", container, "sh", "-c", script])
}

/// The disk of this machine that its root is on, `254:0`, and its node.
fn disk() -> (String, &'static str) {
    (read(Path::new("/sys/block/vda"), "dev"), "/dev/vda")
}

#[test]
#[ignore = "needs cgroup v2: runs in `cargo xtask vm`"]
fn limits_are_in_their_files() {
    let daemon = Daemon::start();
    let (number, node) = disk();
    for client in daemon.clients() {
        client.ok(&format!(
            "run -d --name box -m 64m --memory-swap 160m --memory-reservation 32m --cpus 0.5 --cpu-shares 512 \
             --cpuset-cpus 0 --cpuset-mems 0 --pids-limit 77 --blkio-weight 500 --device-read-bps {node}:1mb \
             --device-write-iops {node}:50 busybox sleep 1000"
        ));
        let folder = cgroup(&client, "box");
        for (file, value) in [
            ("memory.max", "67108864"),
            ("memory.swap.max", "100663296"),
            ("memory.low", "33554432"),
            ("cpu.max", "50000 100000"),
            ("cpu.weight", "20"),
            ("cpuset.cpus", "0"),
            ("cpuset.mems", "0"),
            ("pids.max", "77"),
            ("io.max", &format!("{number} rbps=1048576 wbps=max riops=max wiops=50")),
        ] {
            assert_eq!(read(&folder, file), value, "{file}");
            assert_eq!(client.ok(&format!("exec box cat /sys/fs/cgroup/{file}")), value, "{file}");
        }
        client.ok("rm -f box");
        client.ok("run -d --name box -m 64m busybox sleep 1000");
        let folder = cgroup(&client, "box");
        assert_eq!(read(&folder, "memory.swap.max"), "67108864", "as much swap as memory");
        assert_eq!(
            (read(&folder, "pids.max"), read(&folder, "cpu.max")),
            ("max".into(), "max 100000".into())
        );
        client.ok("rm -f box");
        assert!(!folder.exists());
    }
}

#[test]
#[ignore = "needs cgroup v2: runs in `cargo xtask vm`"]
fn limits_change_in_their_files() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name box -m 64m --memory-swap 128m --pids-limit 50 busybox sleep 1000");
        let folder = cgroup(&client, "box");
        let limits = || ["memory.max", "memory.swap.max"].map(|file| read(&folder, file)).join(" ");
        client.ok("update -m 256m --memory-swap 512m --cpus 1.5 --cpu-shares 1024 --cpuset-cpus 1 box");
        assert_eq!(limits(), "268435456 268435456");
        assert_eq!(
            (read(&folder, "cpu.max"), read(&folder, "cpu.weight")),
            ("150000 100000".into(), "39".into())
        );
        assert_eq!(read(&folder, "cpuset.cpus.effective"), "1");
        client.ok("update -m 32m --memory-swap 32m --memory-reservation 16m box");
        assert_eq!(limits(), "33554432 0");
        assert_eq!(read(&folder, "memory.low"), "16777216");
        client.ok("update -m 128m --memory-swap -1 --pids-limit -1 box");
        assert_eq!(limits(), "134217728 max");
        assert_eq!(read(&folder, "pids.max"), "max");
        client.ok("update --blkio-weight 300 box");
        // It still has its devices, and no others.
        exec(&client, "box", "echo x > /dev/null && mknod /tmp/d b 254 0 && ! cat /tmp/d").expect_success();
        client.ok("restart -t 0 box");
        assert_eq!(limits(), "134217728 max");
        client.ok("rm -f box");
    }
}

#[test]
#[ignore = "needs cgroup v2: runs in `cargo xtask vm`"]
fn a_namespace_of_its_own_or_the_hosts() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name own busybox sleep 1000");
        assert_eq!(client.ok("inspect -f {{.HostConfig.CgroupnsMode}} own"), "private");
        assert_eq!(client.ok("exec own cat /proc/1/cgroup /proc/self/cgroup"), "0::/\n0::/");
        let seen = client.ok("exec own cat /sys/fs/cgroup/cgroup.controllers");
        for controller in ["cpuset", "cpu", "io", "memory", "pids"] {
            assert!(seen.split(' ').any(|name| name == controller), "{controller} of {seen}");
        }
        assert!(!client.ok("exec own ls /sys/fs/cgroup").contains("init.scope"));
        exec(&client, "own", "mkdir /sys/fs/cgroup/x").expect_code(1).expect_error("Read-only file system");
        client.ok("run -d --name theirs --cgroupns host busybox sleep 1000");
        let path = cgroup(&client, "theirs");
        let path = path.strip_prefix(TREE).expect("a path").display().to_string();
        assert_eq!(
            client.ok("exec theirs cat /proc/1/cgroup /proc/self/cgroup"),
            format!("0::/{path}\n0::/{path}")
        );
        assert!(client.ok("exec theirs ls /sys/fs/cgroup").contains("init.scope"), "the whole tree");
        assert!(client.ok(&format!("exec theirs ls /sys/fs/cgroup/{path}")).contains("memory.max"));
        exec(&client, "theirs", "mkdir /sys/fs/cgroup/x")
            .expect_code(1)
            .expect_error("Read-only file system");
        client.ok("rm -f own theirs");
    }
}

#[test]
#[ignore = "needs cgroup v2: runs in `cargo xtask vm`"]
fn a_parent_may_be_named() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name box --cgroup-parent /tests/below -m 64m --cgroupns host busybox sleep 1000");
        let id = client.ok("inspect -f {{.Id}} box");
        assert_eq!(client.ok("exec box cat /proc/self/cgroup"), format!("0::/tests/below/{id}"));
        let folder = Path::new(TREE).join("tests/below").join(&id);
        assert_eq!(read(&folder, "memory.max"), "67108864", "controllers are handed down to it");
        client.ok("rm -f box");
        assert!(!folder.exists());
    }
    // Parents stay, as they do with Docker: others may have put theirs there.
    for parent in ["tests/below", "tests"] {
        fs::remove_dir(Path::new(TREE).join(parent)).expect("an empty parent");
    }
}

#[test]
#[ignore = "needs cgroup v2: runs in `cargo xtask vm`"]
fn an_init_system_inside_has_groups_of_its_own() {
    let daemon = Daemon::start();
    // What systemd does in a container: itself into a group, and controllers for all groups beside it. From then on
    // the kernel lets no process into the group above.
    let script = "cd /sys/fs/cgroup && mkdir init.scope && echo 1 > init.scope/cgroup.procs && \
                  echo '+memory +pids' > cgroup.subtree_control && mkdir app && echo ready && exec sleep 1000";
    for client in daemon.clients() {
        client
            .run(["run", "-d", "--name", "box", "--privileged", "busybox", "sh", "-c", script])
            .expect_success();
        eventually("it is ready", || client.ok("logs box") == "ready");
        assert_eq!(client.ok("exec box cat /proc/1/cgroup"), "0::/init.scope");
        assert_eq!(client.ok("exec box cat /proc/self/cgroup"), "0::/init.scope", "where its init is");
        client.ok("exec -d box sleep 999");
        let table = client.ok("top box");
        assert!(table.contains("sleep 1000") && table.contains("sleep 999"), "{table}");
        let stats = client.run(["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "box"]);
        assert!(stats.expect_success().stdout.starts_with("2 "), "both are counted");
        client.ok("pause box");
        client.ok("unpause box");
        let folder = cgroup(&client, "box");
        client.ok("stop -t 0 box");
        assert!(!folder.exists(), "groups below go too");
        client.ok("start box");
        eventually("it is ready again", || client.ok("logs box") == "ready\nready");
        client.ok("kill box");
        client.ok("rm -f box");
    }
}

#[test]
#[ignore = "needs cgroup v2: runs in `cargo xtask vm`"]
fn devices_are_let_through_by_rule() {
    let daemon = Daemon::start();
    let (number, node) = disk();
    let number = number.replace(':', " ");
    let make = format!("mknod /tmp/d b {number}");
    let read = format!("{make}; head -c 512 /tmp/d | wc -c");
    let write = format!("{make}; : >> /tmp/d");
    for client in daemon.clients() {
        let run = |flags: &[&str], script: &str| {
            client.run(["run", "--rm"].iter().chain(flags).chain(&["busybox", "sh", "-c", script]))
        };
        run(&[], &read).expect_error("Operation not permitted");
        run(
            &[],
            "for d in null zero full random urandom tty; do echo -n > /dev/$d || exit 1; done; : > /dev/ptmx",
        )
        .expect_error("/dev/tty: No such device");
        run(&[], "head -c 8 /dev/zero > /dev/null && echo x > /dev/full").expect_error("No space left");
        run(&["--device-cgroup-rule", "b *:* r"], &read).expect_success().expect_output("512");
        run(&["--device-cgroup-rule", "b *:* r"], &write).expect_error("Operation not permitted");
        run(&["--device", &format!("{node}:/dev/disk:r")], "head -c 512 /dev/disk | wc -c")
            .expect_output("512");
        run(&["--device", &format!("{node}:/dev/disk:r")], ": >> /dev/disk")
            .expect_error("Operation not permitted");
        run(&["--privileged"], &format!("{read}; : >> {node}")).expect_success().expect_output("512");
    }
}

#[test]
#[ignore = "needs cgroup v2: runs in `cargo xtask vm`"]
fn figures_are_of_the_container() {
    let daemon = Daemon::start();
    let script = "dd if=/dev/urandom of=/file bs=1M count=8; sync; cat /file > /dev/null; exec sleep 1000";
    for client in daemon.clients() {
        client
            .run([
                "run",
                "-d",
                "--name",
                "box",
                "-m",
                "64m",
                "--pids-limit",
                "9",
                "busybox",
                "sh",
                "-c",
                script,
            ])
            .expect_success();
        eventually("it sleeps", || client.ok("top box").contains("sleep 1000"));
        let line = "{{.Container}}|{{.MemUsage}}|{{.PIDs}}|{{.BlockIO}}|{{.CPUPerc}}";
        let shown = client.run(["stats", "--no-stream", "--format", line, "box"]).expect_success().stdout;
        let fields: Vec<&str> = shown.trim().split('|').collect();
        assert!(fields[1].ends_with("/ 64MiB") && !fields[1].starts_with("0B"), "{shown}");
        assert_eq!(fields[2], "1", "{shown}");
        assert!(fields[3].contains("8.") && fields[3].ends_with("MB"), "{shown}");
        let id = client.ok("inspect -f {{.Id}} box");
        let path = format!("/containers/{id}/stats?stream=false");
        let answer = dray_harness::http::unix_get(&daemon.socket(), &path).expect("stats").text();
        let stats: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(stats["memory_stats"]["limit"], 64 << 20);
        assert!(stats["memory_stats"]["stats"]["inactive_file"].is_u64(), "{answer}");
        assert!(stats["memory_stats"]["max_usage"].is_null(), "v2 does not say, nor does Docker: {answer}");
        assert!(stats["cpu_stats"]["cpu_usage"]["total_usage"].as_u64() > Some(0));
        assert!(stats["cpu_stats"]["cpu_usage"]["percpu_usage"].is_null());
        assert_eq!(stats["pids_stats"], serde_json::json!({ "current": 1, "limit": 9 }));
        assert!(answer.contains(r#""op":"write","value":8388608"#), "{answer}");
        client.ok("rm -f box");
    }
}

#[test]
#[ignore = "needs cgroup v2: runs in `cargo xtask vm`"]
fn what_is_paused_stands_still() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.run([
            "run",
            "-d",
            "--name",
            "box",
            "busybox",
            "sh",
            "-c",
            "while :; do echo x; sleep 0.1; done",
        ]);
        let folder = cgroup(&client, "box");
        client.ok("pause box");
        assert!(read(&folder, "cgroup.events").contains("frozen 1"));
        assert_eq!(client.ok("inspect -f {{.State.Status}} box"), "paused");
        client
            .sh("exec box true")
            .expect_code(1)
            .expect_error("is paused, unpause the container before exec");
        client.ok("update -m 64m --memory-swap 64m box");
        client.ok("unpause box");
        assert!(read(&folder, "cgroup.events").contains("frozen 0"));
        client.ok("pause box");
        client.ok("stop -t 1 box");
        client.ok("start box");
        client.ok("pause box");
        client.ok("rm -f box");
        assert!(!folder.exists());
    }
}

#[test]
#[ignore = "needs cgroup v2: runs in `cargo xtask vm`"]
fn the_daemon_says_what_it_has() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let line = "{{.CgroupVersion}} {{.CgroupDriver}} {{.MemoryLimit}} {{.SwapLimit}} {{.PidsLimit}} {{.CPUSet}} \
                    {{.CPUShares}} {{.CPUCfsQuota}} {{.OomKillDisable}}";
        let said = client.run(["info", "-f", line]).expect_success();
        assert_eq!(said.stdout.trim(), "2 cgroupfs true true true true true true false");
        let info = client.run(["info"]).expect_success();
        assert!(info.stdout.contains("  cgroupns\n"), "{}", info.stdout);
        assert!(!info.output().contains("WARNING: No "), "{}", info.output());
        let oom = client.run([
            "run",
            "--rm",
            "-m",
            "64m",
            "--oom-kill-disable",
            "--memory-swappiness",
            "5",
            "busybox",
            "true",
        ]);
        oom.expect_success()
            .expect_error("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
    }
}
