//! `kill -9` of the daemon, of a shim, of an init: nothing that was acknowledged is lost.

use dray_harness::client::eventually;
use dray_harness::registry::free_port;
use dray_harness::{Daemon, http};

#[test]
fn containers_go_on_and_are_found_again() {
    let mut daemon = Daemon::spawn();
    let client = daemon.dray();
    let port = free_port();
    let script = "mkdir /www; echo hello > /www/index.html; httpd -p 80 -h /www; i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done";
    client
        .run(["run", "-d", "--name", "web", "-p", &format!("{port}:80"), "busybox", "sh", "-c", script])
        .expect_success();
    eventually("it answers", || http::get(("127.0.0.1", port), "/").is_ok());
    let pid = client.ok("inspect -f {{.State.Pid}} web");
    daemon.kill();
    assert!(
        http::get(("127.0.0.1", port), "/").is_ok_and(|a| a.text() == "hello\n"),
        "reachable without a daemon"
    );
    std::thread::sleep(std::time::Duration::from_millis(300));
    daemon.launch();
    assert_eq!(client.ok("inspect -f {{.State.Pid}}/{{.State.Status}} web"), format!("{pid}/running"));
    assert!(http::get(("127.0.0.1", port), "/").is_ok_and(|answer| answer.text() == "hello\n"));
    let log: Vec<u64> = client.ok("logs web").lines().filter_map(|line| line.parse().ok()).collect();
    assert!(log.windows(2).all(|pair| pair[1] == pair[0] + 1), "a line is missing from the log");
    client.ok("exec web true");
    client.ok("stop -t 0 web");
    assert_eq!(client.ok("ps -q"), "");
}

#[test]
fn an_exit_during_the_outage_is_seen() {
    let mut daemon = Daemon::spawn();
    let client = daemon.dray();
    client.run(["run", "-d", "--name", "ends", "busybox", "sh", "-c", "sleep 0.5; exit 9"]).expect_success();
    client.run(["run", "-d", "--rm", "--name", "vanishes", "busybox", "sleep", "0.5"]).expect_success();
    daemon.kill();
    std::thread::sleep(std::time::Duration::from_millis(900));
    daemon.launch();
    eventually("its code is known", || {
        client.ok("inspect -f {{.State.ExitCode}}/{{.State.Status}} ends") == "9/exited"
    });
    eventually("--rm is honoured", || client.sh("inspect vanishes").code == 1);
}

#[test]
fn records_survive() {
    let mut daemon = Daemon::spawn();
    let client = daemon.dray();
    client.ok("network create kept");
    client.ok("volume create kept");
    client.ok("tag busybox kept:v1");
    client.ok("create --name kept --network kept -v kept:/d busybox true");
    daemon.crash_and_restart();
    assert_eq!(client.ok("ps -a --format {{.Names}}"), "kept");
    assert!(client.ok("network ls --format {{.Name}}").contains("kept"));
    assert_eq!(client.ok("volume ls -q"), "kept");
    assert_eq!(client.ok("images -q kept:v1").len(), 12);
    client.ok("start -a kept");
}

#[test]
fn a_killed_shim_takes_its_container_along_and_is_noticed() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let id = client.ok("run -d --name orphan busybox sleep 1000");
    let shim =
        daemon.processes().into_iter().find(|pid| dray_harness::host::command_line(*pid).contains(&id));
    dray_harness::host::kill(shim.expect("a shim that names its container"));
    eventually("the container is seen to be gone", || {
        client.ok("inspect -f {{.State.Status}} orphan") == "exited"
    });
    assert_eq!(client.ok("inspect -f {{.State.ExitCode}} orphan"), "137");
    client.ok("start orphan");
    assert_eq!(client.ok("inspect -f {{.State.Status}} orphan"), "running");
}

#[test]
fn a_killed_init_is_an_exit_with_137() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("run -d --name killed busybox sleep 1000");
    let pid = client.ok("inspect -f {{.State.Pid}} killed").parse().expect("a pid");
    dray_harness::host::kill(pid);
    assert_eq!(client.ok("wait killed"), "137");
}

#[test]
fn a_daemon_killed_again_and_again_loses_nothing_it_acknowledged() {
    let mut daemon = Daemon::spawn();
    let client = daemon.dray();
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let names: Vec<String> = (0..20).map(|n| format!("c{round}-{n}")).collect();
        let children: Vec<_> =
            names.iter().map(|name| client.spawn(["create", "--name", name, "busybox", "true"])).collect();
        std::thread::sleep(std::time::Duration::from_millis(15 * (round + 1)));
        daemon.kill();
        for (name, child) in names.into_iter().zip(children) {
            if child.wait_with_output().expect("wait").status.success() {
                acknowledged.push(name);
            }
        }
        daemon.launch();
        let known = client.ok("ps -a --format {{.Names}}");
        let known: Vec<&str> = known.lines().collect();
        for name in &acknowledged {
            assert!(known.contains(&name.as_str()), "{name} was acknowledged and is lost");
        }
    }
    assert!(!acknowledged.is_empty(), "no round acknowledged anything: the test proves nothing");
}
