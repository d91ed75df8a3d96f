//! What daemon.json and its flags decide: for new containers, for the daemon's end, and again at SIGHUP.

use std::path::Path;
use std::process::Command;

use dray_harness::Daemon;
use dray_harness::client::eventually;

fn write_config(daemon: &Daemon, text: &str) {
    let path = daemon.data_root().with_file_name("daemon.json");
    std::fs::write(path, text).expect("daemon.json");
}

fn hang_up(daemon: &Daemon) {
    let status = Command::new("kill").args(["-HUP", &daemon.pid().to_string()]).status();
    assert!(status.expect("kill").success());
}

#[test]
fn a_hang_up_reads_the_configuration_again() {
    let daemon = Daemon::spawn();
    let client = daemon.docker();
    client.ok("run -d --name stays busybox sleep 1000");
    write_config(
        &daemon,
        r#"{"labels":["zone=a"],"debug":true,"insecure-registries":["plain.example:5000"],
            "registry-mirrors":["https://mirror.example/"],"live-restore":false,"data-root":"/nowhere"}"#,
    );
    hang_up(&daemon);
    // A flag stands against the file, as at the start: nothing changes, and it is said.
    eventually("the refusal is logged", || daemon.log().contains("specified both as a flag"));
    let info =
        |format: &str| client.run(["info", "-f", format]).expect_success().stdout.trim_end().to_owned();
    assert_eq!(info("{{json .Labels}}"), "[]");

    write_config(
        &daemon,
        r#"{"labels":["zone=a"],"debug":true,"insecure-registries":["plain.example:5000"],
            "registry-mirrors":["https://mirror.example/"],"live-restore":false}"#,
    );
    hang_up(&daemon);
    eventually("labels are there", || info("{{json .Labels}}") == r#"["zone=a"]"#);
    assert_eq!(info("{{.Debug}}/{{.LiveRestoreEnabled}}"), "true/false");
    let registries = info("{{json .RegistryConfig}}");
    assert!(
        registries.contains("plain.example:5000") && registries.contains("mirror.example"),
        "{registries}"
    );
    // An end in this very second leaves out what happened in it.
    eventually("the reload is told", || {
        client.ok("events --since 10m --until 0s --filter type=daemon --format {{.Action}}") == "reload"
    });
    assert_eq!(client.ok("ps --format {{.Names}}"), "stays", "containers do not notice");
}

#[test]
fn without_live_restore_containers_stop_with_the_daemon() {
    let mut daemon = Daemon::spawn_with_flags(&["--live-restore=false"]);
    daemon.load(&dray_harness::fixture::busybox());
    let client = daemon.dray();
    let trap = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    for (name, flags) in
        [("ends", &[][..]), ("returns", &["--restart", "unless-stopped"]), ("gone", &["--rm"])]
    {
        let run = [&["run", "-d", "--name", name], flags, &["busybox", "sh", "-c", trap]].concat();
        client.run(run).expect_success();
        eventually("it can be asked to end", || client.ok(&format!("logs {name}")) == "ready");
    }
    daemon.stop();
    assert_eq!(daemon.processes(), Vec::<u32>::new(), "no process is left");
    daemon.launch();
    eventually("what shall return returns", || client.ok("ps --format {{.Names}}") == "returns");
    assert_eq!(client.ok("inspect -f {{.State.Status}}/{{.State.ExitCode}} ends"), "exited/3");
    assert_eq!(client.ok("ps -a --filter name=gone -q"), "");
}

#[test]
fn containers_get_what_the_daemon_is_told() {
    let daemon = Daemon::with_flags(&[
        "--init",
        "--default-ulimit",
        "nofile=100:200",
        "--default-shm-size",
        "8m",
        "--no-new-privileges",
        "--default-ipc-mode",
        "shareable",
        "--cgroup-parent",
        "/dray-test-parent",
    ]);
    daemon.load(&dray_harness::fixture::busybox());
    let client = daemon.docker();
    let script =
        "cat /proc/1/comm; ulimit -Sn; ulimit -Hn; df -k /dev/shm | tail -1; grep NoNewPrivs /proc/1/status";
    let said = client.run(["run", "--rm", "busybox", "sh", "-c", script]).expect_success().stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..3], ["docker-init", "100", "200"], "{said}");
    assert!(lines[3].split_whitespace().any(|word| word == "8192"), "{said}");
    assert!(lines[4].ends_with('1'), "{said}");
    let own =
        "run --rm --init=false --ulimit nofile=50:60 --security-opt no-new-privileges=false busybox sh -c";
    let own = own.split(' ').chain(["ulimit -Hn; grep NoNewPrivs /proc/1/status"]);
    let said = client.run(own).expect_success().stdout;
    assert!(said.starts_with("60\n") && said.trim_end().ends_with('0'), "{said}");
    client.ok("create --name made busybox");
    assert_eq!(client.ok("inspect -f {{.HostConfig.IpcMode}} made"), "shareable");
}

#[test]
fn a_parent_of_cgroups_that_the_daemon_made_goes_with_it() {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let root = Path::new(if v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" });
    let (ours, theirs) = (root.join("dray-test-made"), root.join("dray-test-given"));
    std::fs::create_dir(&theirs).expect("a cgroup");
    for (parent, below) in [(&ours, "dray-test-made/deep"), (&theirs, "dray-test-given")] {
        let mut daemon = Daemon::with_flags(&["--cgroup-parent", below]);
        daemon.load(&dray_harness::fixture::busybox());
        daemon.docker().ok("run --rm busybox true");
        assert!(parent.exists());
        daemon.stop();
        assert_eq!(parent.exists(), parent == &theirs, "{}", parent.display());
    }
    std::fs::remove_dir(&theirs).expect("an empty cgroup");
}

#[test]
fn a_wrong_configuration_is_said_with_its_file() {
    let daemon = Daemon::empty();
    for (text, words) in [
        ("{", "EOF while parsing"),
        (r#"{"nope":1}"#, "the following directives don't match any configuration option: nope"),
        (r#"{"exec-opts":["native.cgroupdriver=systemd"]}"#, "native.cgroupdriver=systemd"),
        (r#"{"log-driver":"json-file","log-opts":{"max-sise":"1m"}}"#, "max-sise"),
        (r#"{"debug":"yes"}"#, "debug: expected a boolean"),
    ] {
        write_config(&daemon, text);
        let done = dray_harness::client::finish(daemon.command(), b"");
        done.expect_code(1).expect_error("failed to start daemon: ").expect_error(words);
    }
}
