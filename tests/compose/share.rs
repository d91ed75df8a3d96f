//! One published port over a service's replicas, and one address for them on their network: spread, drained, scaled and
//! rolled out while requests come in.

use std::collections::BTreeSet;
use std::process::Command;

use dray_harness::client::{eventually, finish};
use dray_harness::registry::free_port;
use dray_harness::{Daemon, compose, http};

use crate::load::Load;
use crate::project::Project;

/// A web server that takes its time, and says which one it is.
fn web(port: u16, replicas: u32, version: &str, deploy: &str) -> String {
    format!(
        r##"
name: p
services:
  web:
    image: busybox
    command:
      - sh
      - -c
      - |
        mkdir -p /www/cgi-bin
        printf '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n"\nsleep 0.1\necho {version} $$(cat /etc/hostname)\n' > /www/cgi-bin/who
        chmod +x /www/cgi-bin/who
        exec httpd -f -p 80 -h /www
    ports: ["{port}:80"]
    stop_grace_period: 4s
    healthcheck: {{test: "wget -qO- http://127.0.0.1/cgi-bin/who", interval: 300ms, retries: 3}}
    deploy: {{replicas: {replicas}, {deploy}}}
"##
    )
}

fn ids(project: &Project) -> BTreeSet<String> {
    project.ok(&["ps", "-q", "web"]).lines().map(|id| id[..12].to_owned()).collect()
}

fn ask(host: &str, port: u16) -> Result<String, String> {
    let answer = http::get((host, port), "/cgi-bin/who").map_err(|error| error.to_string())?;
    match answer.text().split_once(' ') {
        Some((version, name)) if answer.status == 200 => Ok(format!("{version} {}", name.trim())),
        _ => Err(format!("{}: {:?}", answer.status, answer.text())),
    }
}

/// Who answers, by the short ids that are the replicas' host names.
fn answering(host: &str, port: u16) -> BTreeSet<String> {
    let name = |_| ask(host, port).ok().and_then(|said| Some(said.split_once(' ')?.1.to_owned()));
    (0..40).filter_map(name).collect()
}

#[test]
fn replicas_share_a_port_and_no_request_fails_while_they_change() {
    let daemon = Daemon::start();
    let project = Project::new(&daemon);
    let port = free_port();
    project.write(&web(port, 3, "one", ""));
    project.ok(&["up", "-d", "--wait"]);
    let first = ids(&project);
    assert_eq!(first.len(), 3);
    for host in ["127.0.0.1", "::1"] {
        assert_eq!(answering(host, port), first, "{host}");
    }
    // What people look at says the same of each.
    for name in ["p-web-1", "p-web-2", "p-web-3"] {
        let shown = project.client.ok(&format!("port {name} 80"));
        assert!(shown.starts_with(&format!("0.0.0.0:{port}")), "{shown}");
    }
    assert!(project.ok(&["port", "--index", "2", "web", "80"]).starts_with(&format!("0.0.0.0:{port}")));
    let listed = project.ok(&["ps", "--format", "{{.Ports}}"]);
    assert_eq!(listed.matches(&format!("0.0.0.0:{port}->80/tcp")).count(), 3, "{listed}");

    let load = Load::start(&["127.0.0.1", "127.0.0.1", "::1"], port, "/cgi-bin/who");
    project.ok(&["scale", "web=5"]);
    eventually("the new ones answer", || answering("127.0.0.1", port).len() == 5);
    assert!(ids(&project).is_superset(&first), "the others are as they were");
    project.ok(&["up", "-d", "--scale", "web=2", "--wait"]);
    let left = ids(&project);
    assert!(left.len() == 2 && first.is_superset(&left));
    eventually("both that are left answer", || answering("::1", port) == left);
    // One that is stopped by hand, and one that is paused.
    project.client.ok("stop p-web-1");
    project.client.ok("start p-web-1");
    eventually("it is back", || answering("127.0.0.1", port).len() == 2);
    project.client.ok("pause p-web-2");
    assert_eq!(answering("127.0.0.1", port).len(), 1);
    project.client.ok("unpause p-web-2");
    // A roll: as many as are asked for, whichever version they are of.
    project.write(&web(port, 2, "two", "update_config: {order: start-first}"));
    project.ok(&["up", "-d", "--wait"]);
    assert!(ask("127.0.0.1", port).is_ok_and(|said| said.starts_with("two ")));
    // Whoever scales what has changed rolls it out too.
    project.write(&web(port, 2, "three", "update_config: {order: start-first}"));
    project.ok(&["scale", "web=3"]);
    eventually("all are new and answer", || {
        ids(&project) == answering("127.0.0.1", port) && ids(&project).len() == 3
    });
    load.expect_no_failure();
    assert!(ask("127.0.0.1", port).is_ok_and(|said| said.starts_with("three ")));
    project.ok(&["down"]);
    ask("127.0.0.1", port).expect_err("nobody is left");
}

#[test]
fn the_next_daemon_spreads_as_the_last_one_did() {
    let mut daemon = Daemon::spawn();
    let project = Project::new(&daemon);
    let port = free_port();
    project.write(&web(port, 2, "one", ""));
    project.ok(&["up", "-d", "--wait"]);
    let both = ids(&project);
    daemon.kill();
    assert_eq!(answering("127.0.0.1", port), both, "without a daemon");
    daemon.launch();
    assert_eq!(answering("127.0.0.1", port), both);
    assert_eq!(answering("::1", port), both);
    // Killed without a word: its place is taken.
    project.client.ok("kill p-web-1");
    assert_eq!(answering("127.0.0.1", port).len(), 1);
    // Unhealthy: the same, and back when it is well.
    project.client.ok("start p-web-1");
    eventually("it is back", || answering("127.0.0.1", port).len() == 2);
    project.client.ok("exec p-web-2 mv /www/cgi-bin /www/broken");
    eventually("it gets none", || answering("127.0.0.1", port).len() == 1);
    project.client.ok("exec p-web-2 mv /www/broken /www/cgi-bin");
    eventually("it is well again", || answering("127.0.0.1", port).len() == 2);
    project.ok(&["down"]);
}

#[test]
fn who_says_nothing_of_sharing_gets_what_docker_gives() {
    let daemon = Daemon::start();
    let project = Project::new(&daemon);
    let port = free_port();
    project.write(&web(port, 2, "one", ""));
    let mut theirs = Command::new(compose::reference());
    for (name, value) in project.client.command(Vec::<&str>::new()).get_envs() {
        if let Some(value) = value {
            theirs.env(name, value);
        }
    }
    theirs.args(["up", "-d"]).current_dir(project.folder.path());
    let refused = finish(theirs, b"").expect_code(1);
    assert!(refused.stderr.contains(&format!("Bind for 0.0.0.0:{port} failed: port is already allocated")));
    project.ok(&["down"]);
    // By hand the label is enough.
    for name in ["one", "two"] {
        let label = "--label dev.dray.share-ports=mine";
        project.client.ok(&format!("run -d --name {name} {label} -p {port}:80 busybox sleep 1000"));
    }
    let taken = project.client.sh(&format!("run --name three -p {port}:80 busybox true")).expect_code(125);
    taken.expect_error("port is already allocated");
    let label = "--label dev.dray.share-ports=others";
    let taken =
        project.client.sh(&format!("run --name four {label} -p {port}:80 busybox true")).expect_code(125);
    taken.expect_error("port is already allocated");
    project.client.ok("rm -f one two three four");
}

#[test]
fn a_service_has_one_address_where_it_asks_for_it() {
    let daemon = Daemon::start();
    let project = Project::new(&daemon);
    let text = |mode: &str| {
        let client = "  client: {image: busybox, command: sleep 1000, init: true, networks: [back]}\n";
        let networks = "networks: {back: {internal: true}}\n";
        let web = web(free_port(), 3, "one", &format!("endpoint_mode: {mode}"));
        let web = web.lines().filter(|line| !line.contains("ports:")).collect::<Vec<_>>().join("\n");
        format!("{web}\n    networks: [back]\n{client}{networks}")
    };
    let inside = |line: &str| project.ok(&["exec", "-T", "client", "sh", "-c", line]);
    let addresses = |name: &str| -> BTreeSet<String> {
        let found = inside(&format!("nslookup {name} 127.0.0.11 | sed -n '/^Name:/,$s/^Address.*: //p'"));
        found.lines().map(|line| line.trim().to_owned()).collect()
    };
    let answers = || -> BTreeSet<String> {
        let many = "for i in $(seq 40); do wget -qO- http://web/cgi-bin/who; done";
        inside(many).lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
    };
    project.write(&text("dnsrr"));
    project.ok(&["up", "-d", "--wait"]);
    assert_eq!(addresses("web").len(), 3);
    project.write(&text("vip"));
    project.ok(&["up", "-d", "--wait"]);
    let address = addresses("web");
    assert_eq!((address.len(), addresses("tasks.web").len()), (1, 3));
    assert_eq!(answers(), ids(&project));
    project.ok(&["scale", "web=1"]);
    assert_eq!(answers(), ids(&project));
    assert_eq!(addresses("web"), address, "it stays as it is");
    project.ok(&["down", "-t", "0"]);
}
