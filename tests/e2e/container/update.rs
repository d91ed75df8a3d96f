//! `container update` of ports and mounts while the container runs.

use std::fs;
use std::net::TcpListener;

use dray_harness::client::eventually;
use dray_harness::registry::free_port;
use dray_harness::{Daemon, http};

const SERVER: &str = "mkdir -p /www && echo hello > /www/index.html && exec httpd -f -p 80 -h /www";

fn answers(address: &str, port: u16) -> bool {
    http::get((address, port), "/").is_ok_and(|answer| answer.text() == "hello\n")
}

#[test]
fn ports_come_and_go() {
    let mut daemon = Daemon::spawn();
    let client = daemon.dray();
    let (first, second) = (free_port(), free_port());
    let publish = format!("{first}:80");
    client
        .run(["run", "-d", "--name", "web", "-p", &publish, "busybox", "sh", "-c", SERVER])
        .expect_success();
    eventually("it answers", || answers("127.0.0.1", first));
    let id = client.ok("inspect -f {{.Id}},{{.State.Pid}} web");
    assert_eq!(client.ok(&format!("update --publish-add {second}:80 web")), "web");
    for address in ["127.0.0.1", "::1"] {
        assert!(answers(address, second), "{address}");
        assert!(answers(address, first), "{address}");
    }
    assert_eq!(client.ok("inspect -f {{.Id}},{{.State.Pid}} web"), id, "the same program");
    for client in daemon.clients() {
        assert!(client.ok("port web").contains(&format!("80/tcp -> 0.0.0.0:{second}")));
    }
    // In one call one goes and another comes to its place.
    client.ok(&format!("update --publish-rm {first}:80 --publish-add {first}:81 web"));
    assert!(!answers("127.0.0.1", first) && answers("127.0.0.1", second));
    daemon.crash_and_restart();
    assert!(answers("127.0.0.1", second), "the next daemon knows");
    let ports = client.ok("port web");
    assert!(ports.contains(&format!("81/tcp -> 0.0.0.0:{first}")), "{ports}");
    assert!(!ports.contains(&format!("80/tcp -> 0.0.0.0:{first}")), "{ports}");
    // The container's port alone means wherever it is published.
    client.ok("update --publish-rm 80 web");
    assert!(!answers("127.0.0.1", second) && !answers("::1", second));
    TcpListener::bind(("127.0.0.1", second)).expect("the port is free");
    client.sh("update --publish-rm 80 web").expect_code(1).expect_error("port 80/tcp is not published");
    client.ok("restart -t 0 web");
    assert!(client.ok("port web").starts_with("81/tcp"), "a restart publishes what is asked for now");
    client.ok("rm -f web");
}

#[test]
fn mounts_come_and_go() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let folder = daemon.scratch("mounted");
    fs::write(folder.join("file"), "host").expect("a file");
    client.ok("run -d --name box busybox sleep 1000");
    let bind = format!("type=bind,src={},dst=/new/place,readonly", folder.display());
    client.ok(&format!("update --mount-add {bind} --mount-add type=volume,src=data,dst=/data box"));
    assert_eq!(client.ok("exec box cat /new/place/file"), "host");
    client.sh("exec box touch /new/place/x").expect_code(1).expect_error("Read-only");
    client.run(["exec", "box", "sh", "-c", "echo kept > /data/file"]).expect_success();
    let file = format!("type=bind,src={}/file,dst=/etc/one", folder.display());
    client.ok(&format!("update --mount-add {file} --mount-add type=tmpfs,dst=/t,tmpfs-size=64k box"));
    assert_eq!(client.ok("exec box cat /etc/one"), "host");
    assert!(client.ok("exec box df -k /t").contains(" 64 "));
    client.sh("volume rm data").expect_code(1).expect_error("volume is in use");
    for client in daemon.clients() {
        let mounts = client.run(["inspect", "-f", "{{range .Mounts}}{{.Destination}} {{end}}", "box"]);
        assert_eq!(mounts.expect_success().stdout.trim(), "/data /etc/one /new/place /t");
    }
    client.ok("update --mount-rm /data --mount-rm /new/place/ box");
    assert_eq!(client.ok("exec box ls /data /new/place").replace('\n', ""), "/data:/new/place:");
    client.sh("update --mount-rm /data box").expect_code(1).expect_error("nothing is mounted at /data");
    client.ok("volume clone data copy");
    client.ok("volume rm data");
    // What it has now it has after a restart too.
    client.ok("update --mount-add type=volume,src=copy,dst=/data box");
    client.ok("restart -t 0 box");
    assert_eq!(client.ok("exec box cat /data/file"), "kept");
    assert_eq!(client.ok("exec box cat /etc/one"), "host");
    client.sh("exec box ls /new/place/file").expect_code(1);
    client.ok("rm -f box");
}

#[test]
fn what_fails_leaves_all_as_it_was() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let folder = daemon.scratch("mounted");
    fs::write(folder.join("file"), "host").expect("a file");
    let (port, taken) = (free_port(), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let publish = format!("{port}:80");
    let line = ["run", "-d", "--name", "web", "-p", &publish, "-v", "data:/d", "busybox", "sh", "-c", SERVER];
    client.run(line).expect_success();
    eventually("it answers", || answers("127.0.0.1", port));
    let state = || {
        client
            .run([
                "inspect",
                "-f",
                "{{json .HostConfig}}{{json .Mounts}}{{json .NetworkSettings.Ports}}{{json .Config}}",
                "web",
            ])
            .stdout
    };
    let before = state();
    let bind = format!("type=bind,src={},dst=/m", folder.display());
    let in_use = taken.local_addr().expect("an address");
    // The last step fails: a port that another program has.
    client
        .sh(&format!(
            "update --memory 64m --mount-rm /d --mount-add {bind} --mount-add type=volume,dst=/anonymous \
             --publish-rm {port}:80 --publish-add {in_use}:80 web"
        ))
        .expect_code(1)
        .expect_error("address already in use");
    assert!(answers("127.0.0.1", port), "it is published again");
    assert_eq!(client.ok("exec web ls /m"), "", "what came is gone");
    client.run(["exec", "web", "sh", "-c", "echo kept > /d/file"]).expect_success();
    assert!(daemon.data_root().join("volumes/data/_data/file").exists(), "what went is back");
    // The first step fails: a place below /proc.
    client
        .sh(&format!("update --mount-add type=bind,src={},dst=/proc/x --publish-rm 80 web", folder.display()))
        .expect_code(1)
        .expect_error("nothing can be mounted inside /proc");
    client
        .sh(&format!("update --mount-add {bind} --mount-add {bind} web"))
        .expect_code(1)
        .expect_error("Duplicate mount point: /m");
    client
        .sh("update --mount-add type=bind,src=/no/such,dst=/x web")
        .expect_code(1)
        .expect_error("bind source path does not exist");
    // Limits that cannot be.
    client
        .sh(&format!("update --memory 64m --memory-swap 32m --mount-add {bind} --publish-rm 80 web"))
        .expect_code(1);
    assert!(answers("127.0.0.1", port));
    assert_eq!(client.ok("exec web ls /m"), "");
    assert_eq!(state(), before);
    assert_eq!(client.ok("volume ls -q"), "data");
    client.ok("run -d --name alone --network none busybox sleep 1000");
    client
        .sh("update --publish-add 80 alone")
        .expect_code(1)
        .expect_error("a container without a network of its own publishes no ports");
    client.ok("rm -f web alone");
}

#[test]
fn a_container_that_does_not_run_starts_with_the_change() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let port = free_port();
    client.run(["create", "--name", "web", "busybox", "sh", "-c", SERVER]).expect_success();
    client.ok(&format!(
        "update --publish-add 127.0.0.1:{port}:80 --mount-add type=volume,src=data,dst=/v --cpus 0.5 web"
    ));
    assert_eq!(client.ok("inspect -f {{.HostConfig.NanoCpus}} web"), "500000000");
    client.ok("start web");
    eventually("it answers", || answers("127.0.0.1", port));
    client.ok("exec web touch /v/file");
    client.ok("rm -f web");
}
