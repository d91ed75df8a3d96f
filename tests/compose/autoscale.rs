//! Services whose number of containers follows what they have to do (`x-dray-autoscale`): under real load, over a restart of
//! the daemon, and without a client that stays.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dray_harness::client::eventually;
use dray_harness::registry::free_port;
use dray_harness::{Daemon, http};

use crate::project::Project;

/// A project with this file, and a token in its environment.
fn project(daemon: &Daemon, text: &str) -> Project {
    let project = Project::with_variables(daemon, &[("TOKEN", "secret")]);
    project.write(text);
    project
}

fn names_of(project: &Project, service: &str) -> BTreeSet<String> {
    let listed = project.ok(&["ps", "--format", "{{.Name}}", service]);
    listed.lines().map(str::to_owned).collect()
}

/// Waits for what takes its time by its nature: samples over seconds, on a machine that may be busy.
fn in_time(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Clients that ask all the time, each with one connection at once.
struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Clients {
    fn start(count: usize, port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match http::get(("127.0.0.1", port), "/cgi-bin/work") {
                        Ok(answer) if answer.status == 200 && answer.text() == "done secret\n" => {}
                        Ok(answer) => failures.push(format!("{}: {:?}", answer.status, answer.text())),
                        Err(error) => failures.push(error.to_string()),
                    }
                }
                failures
            })
        };
        let threads = (0..count).map(client).collect();
        Clients { stop, threads }
    }

    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect()
    }
}

fn web(port: u16) -> String {
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
        printf '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n"\nsleep 1\necho done $$(cat /run/secrets/token)\n' > /www/cgi-bin/work
        chmod +x /www/cgi-bin/work
        exec httpd -f -p 80 -h /www
    ports: ["{port}:80"]
    secrets: [token]
    stop_grace_period: 6s
    x-dray-autoscale: {{min: 1, max: 3, target: {{connections: 2}}, up_after: 1s, down_after: 3s}}
secrets: {{token: {{environment: TOKEN}}}}
"##
    )
}

#[test]
fn connections_bring_more_containers_and_their_end_takes_them_away() {
    let mut daemon = Daemon::spawn();
    let port = free_port();
    let project = project(&daemon, &web(port));
    project.ok(&["up", "-d", "--wait"]);
    eventually("it answers", || http::get(("127.0.0.1", port), "/").is_ok());
    let first = names_of(&project, "web");
    assert_eq!(first.len(), 1);
    let since = project.client.ok("info -f {{.SystemTime}}");

    let clients = Clients::start(6, port);
    in_time("the most that there may be", || names_of(&project, "web").len() == 3);
    let names: Vec<String> = names_of(&project, "web").into_iter().collect();
    assert_eq!(names, ["p-web-1", "p-web-2", "p-web-3"]);
    let shown = project.ok(&["autoscale"]);
    assert!(shown.starts_with("SERVICE") && shown.contains("web") && shown.contains("/2"), "{shown}");
    assert_eq!(project.ok(&["autoscale", "--format", "{{.Min}} {{.Max}}"]), "1 3\n");

    // The files say one; there is work for three.
    let ids = project.ok(&["ps", "-q"]);
    project.ok(&["up", "-d"]);
    assert_eq!(project.ok(&["ps", "-q"]), ids);
    // The next daemon goes on.
    daemon.kill();
    daemon.launch();
    assert_eq!(clients.end(), Vec::<String>::new());
    in_time("as few as there may be", || names_of(&project, "web").len() == 1);
    assert_eq!(names_of(&project, "web"), first);
    assert!(http::get(("127.0.0.1", port), "/").is_ok());
    let until = project.client.ok("info -f {{.SystemTime}}");
    let filter = ["--filter", "type=service", "--format", "{{json .Actor.Attributes}}"];
    let events =
        project.client.run([&["events", "--since", &since, "--until", &until], &filter[..]].concat());
    let events = events.expect_success().stdout;
    assert!(events.contains(r#""replicas.new":"1""#) && events.contains(r#""name":"p/web""#), "{events}");
    // By hand it goes as well, within the bounds.
    project.ok(&["scale", "web=3"]);
    in_time("nobody asks for three", || names_of(&project, "web").len() == 1);
    project.ok(&["down"]);
    assert_eq!(project.client.ok("ps -aq"), "");
    assert_eq!(project.ok(&["autoscale", "-q"]), "");
}

#[test]
fn processor_time_does_too() {
    let daemon = Daemon::start();
    let project = project(
        &daemon,
        r#"
name: p
services:
  burn:
    image: busybox
    command: sh -c "while :; do :; done"
    stop_grace_period: 0s
    deploy: {resources: {limits: {cpus: "0.2"}}}
    x-dray-autoscale: {max: 2, target: {cpu: 10%}, up_after: 1s, down_after: 1s}
  idle:
    image: busybox
    command: sleep 1000
    stop_grace_period: 0s
    deploy: {replicas: 2}
    x-dray-autoscale: {max: 2, target: {cpu: 10%}, up_after: 1s, down_after: 1s}
"#,
    );
    project.ok(&["up", "-d"]);
    in_time("one more burns", || names_of(&project, "burn").len() == 2);
    in_time("one less idles", || names_of(&project, "idle").len() == 1);
    // What is stopped by hand stays so.
    project.ok(&["stop", "burn"]);
    assert_eq!(names_of(&project, "burn").len(), 0);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(names_of(&project, "burn").len(), 0);
    project.ok(&["down"]);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place() {
    let daemon = Daemon::start();
    let web = |scale: &str, more: &str| {
        format!("name: p\nservices:\n  web:\n    image: busybox\n    x-dray-autoscale: {scale}\n{more}")
    };
    for (scale, more, error) in [
        ("{max: 3}", "", "target must be set: cpu or connections"),
        ("{target: {cpu: 5}}", "", "max must be set"),
        ("{min: 4, max: 3, target: {cpu: 5}}", "", "max must not be less than min"),
        ("{max: 3, target: {cpu: five}}", "", "not a percentage: \"five\""),
        ("{max: 3, target: {memory: 5}}", "", "additional properties 'memory' not allowed"),
        ("{max: 3, targets: {cpu: 5}}", "", "additional properties 'targets' not allowed"),
        ("{max: 3, target: {cpu: 5}}", "    container_name: web1\n", "container_name cannot be used"),
        ("{max: 3, target: {cpu: 5}}", "    post_start: [{command: [ls]}]\n", "post_start cannot be used"),
    ] {
        let project = project(&daemon, &web(scale, more));
        let refused = project.run(&["config", "-q"]).expect_code(1).stderr;
        assert!(refused.contains(error) && refused.contains("compose.yaml:"), "{scale}: {refused}");
    }
}
