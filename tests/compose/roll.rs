//! Changed services that are rolled out: `deploy.update_config`.

use std::process::Command;

use dray_harness::client::{Finished, eventually, finish};
use dray_harness::registry::free_port;
use dray_harness::{Daemon, http};

use crate::project::Project;

fn up(project: &Project, text: &str) -> Finished {
    finish(command(project, text, &["up", "-d"]), b"")
}

/// A command of the project that has this file from now on.
fn command(project: &Project, text: &str, args: &[&str]) -> Command {
    project.write(text);
    project.command(args)
}

/// Names, ids and states of all containers, the stopped ones too.
fn containers(project: &Project) -> Vec<String> {
    let format = "{{.Names}} {{.ID}} {{.State}}";
    let listed = project.client.run(["ps", "-a", "--format", format]).expect_success().stdout;
    let mut lines: Vec<String> = listed.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn names(project: &Project) -> Vec<String> {
    containers(project).iter().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

/// A web server that says its version; of version `bad` the health check fails.
fn web(port: u16, version: &str, update: &str) -> String {
    format!(
        r#"
name: p
services:
  web:
    image: busybox
    command: sh -c "mkdir -p /www; echo {version} > /www/index.html; exec httpd -f -p 80 -h /www"
    ports: ["127.0.0.1:{port}:80"]
    stop_grace_period: 1s
    healthcheck: {{test: "wget -qO- http://127.0.0.1/ | grep -v bad", interval: 300ms, retries: 3}}
    deploy: {{update_config: {{{update}}}}}
"#
    )
}

fn says(port: u16, version: &str) -> bool {
    http::get(("127.0.0.1", port), "/").is_ok_and(|answer| answer.text() == format!("{version}\n"))
}

#[test]
fn the_next_one_is_well_before_the_last_one_goes() {
    let daemon = Daemon::start();
    let project = Project::new(&daemon);
    let port = free_port();
    let start_first = "order: start-first, failure_action: rollback";
    up(&project, &web(port, "one", start_first)).expect_success();
    eventually("it answers", || says(port, "one"));
    let before = containers(&project);
    let since = project.client.ok("info -f {{.SystemTime}}");
    up(&project, &web(port, "two", start_first)).expect_success();
    assert!(says(port, "two"));
    assert_eq!(names(&project), ["p-web-1"]);
    assert_ne!(containers(&project), before);
    // The new one was healthy before the old one was asked to stop.
    let until = project.client.ok("info -f {{.SystemTime}}");
    let events = project.client.run([
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        "type=container",
        "--format",
        "{{.Action}}",
    ]);
    let events = events.expect_success().stdout;
    let at = |action: &str| events.lines().position(|line| line == action);
    let (healthy, killed) = (at("health_status: healthy"), at("kill"));
    assert!(healthy.is_some() && healthy < killed, "{events}");

    // What does not get well is taken back; the port answers as before.
    let before = containers(&project);
    let failed = up(&project, &web(port, "bad", start_first)).expect_code(1);
    failed.expect_error("service \"web\" is rolled back: container p-web-1 is unhealthy");
    assert_eq!(containers(&project), before, "the same container runs");
    assert!(says(port, "two"));
    // The port is not in the next one's way, and what was taken back is published after a restart too.
    project.client.ok("restart -t 0 p-web-1");
    eventually("it answers", || says(port, "two"));
    up(&project, &web(port, "three", start_first)).expect_success();
    assert!(says(port, "three"));
    finish(command(&project, &web(port, "three", start_first), &["down", "-t", "0"]), b"").expect_success();
}

#[test]
fn stop_first_comes_back_too() {
    let daemon = Daemon::start();
    let project = Project::new(&daemon);
    let port = free_port();
    up(&project, &web(port, "one", "failure_action: rollback")).expect_success();
    eventually("it answers", || says(port, "one"));
    let before = containers(&project);
    up(&project, &web(port, "bad", "failure_action: rollback")).expect_code(1).expect_error("is rolled back");
    assert_eq!(containers(&project), before);
    eventually("it answers", || says(port, "one"));
    up(&project, &web(port, "two", "failure_action: rollback")).expect_success();
    assert_eq!(names(&project), ["p-web-1"]);
    assert!(says(port, "two"));
    finish(command(&project, "name: p\nservices: {}\n", &["down", "-t", "0", "--remove-orphans"]), b"");
}

/// Three that note in a volume that they have started, and end at once if more than `limit` have.
fn three(limit: u32, update: &str) -> String {
    format!(
        r#"
name: p
services:
  job:
    image: busybox
    command: sh -c 'touch /s/$$HOSTNAME; [ $$(ls /s | wc -l) -le {limit} ] || exit 7; exec sleep 1000'
    volumes: ["starts:/s"]
    stop_grace_period: 0s
    deploy: {{replicas: 3, update_config: {{monitor: 500ms, {update}}}}}
volumes: {{starts: {{}}}}
"#
    )
}

#[test]
fn a_failure_stops_the_roll_or_takes_all_back() {
    let daemon = Daemon::start();
    let project = Project::new(&daemon);
    up(&project, &three(100, "parallelism: 1")).expect_success();
    let first = containers(&project);
    assert_eq!(names(&project), ["p-job-1", "p-job-2", "p-job-3"]);
    // The first new one is the fourth that starts, the second the fifth, and that is one too many.
    let failed = up(&project, &three(4, "parallelism: 1, failure_action: rollback")).expect_code(1);
    failed.expect_error("service \"job\" is rolled back: container p-job-2 exited (7)");
    assert_eq!(containers(&project), first, "all that were there run again");
    // Without a rollback those that are new stay.
    let failed = up(&project, &three(6, "parallelism: 1")).expect_code(1);
    failed.expect_error("service \"job\" is updated in part, 1 of 3 containers");
    let now = containers(&project);
    assert_eq!(now.iter().filter(|line| first.contains(line)).count(), 2, "{first:?} {now:?}");
    assert!(now.iter().all(|line| line.ends_with(" running")), "{now:?}");
    // The next one brings all of them there, two at a time.
    up(&project, &three(100, "parallelism: 2, delay: 10ms")).expect_success();
    assert_eq!(names(&project), ["p-job-1", "p-job-2", "p-job-3"]);
    assert!(!containers(&project).iter().any(|line| now.contains(line)));
    finish(command(&project, &three(100, "parallelism: 2"), &["down", "-v", "-t", "0"]), b"")
        .expect_success();
}

#[test]
fn a_roll_that_was_cut_off_is_done_again() {
    let daemon = Daemon::start();
    let project = Project::new(&daemon);
    let port = free_port();
    let start_first = "order: start-first";
    up(&project, &web(port, "one", start_first)).expect_success();
    let health = || project.client.ok("inspect -f {{.State.Health.Status}} p-web-1");
    eventually("it is healthy", || health() == "healthy");
    // Its health is not known for long.
    let slow = web(port, "two", start_first).replace("interval: 300ms", "interval: 1000s");
    let mut cut =
        command(&project, &slow, &["up", "-d"]).stderr(std::process::Stdio::null()).spawn().expect("dray");
    let is_interim = |line: &String| line.contains("_p-web-1 ") && line.ends_with(" running");
    eventually("the new one runs", || containers(&project).iter().any(is_interim));
    cut.kill().expect("it runs");
    cut.wait().expect("it ends");
    assert!(says(port, "one"));
    up(&project, &web(port, "three", start_first)).expect_success();
    assert_eq!(names(&project), ["p-web-1"]);
    assert!(says(port, "three"));
    finish(command(&project, &web(port, "three", start_first), &["down", "-t", "0"]), b"").expect_success();
}

#[test]
fn where_nothing_can_come_back_the_new_one_stays() {
    let daemon = Daemon::start();
    let project = Project::new(&daemon);
    let port = free_port();
    let update = "order: stop-first, failure_action: rollback";
    let text = |version: &str| web(port, version, update).replace("retries: 3", "retries: 20");
    up(&project, &text("one")).expect_success();
    let old = project.client.ok("ps -q");
    let mut command = command(&project, &text("bad"), &["up", "-d"]);
    let rolling = command.stderr(std::process::Stdio::piped()).spawn().expect("compose");
    eventually("the old one has stopped and the new one runs", || {
        containers(&project).iter().any(|line| line.contains(&old) && line.ends_with("exited"))
            && containers(&project).iter().any(|line| line.ends_with("running"))
    });
    project.client.ok(&format!("rm {old}"));
    let ended = rolling.wait_with_output().expect("compose ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("container p-web-1 is gone, so that its successor stays as it is"), "{said}");
    assert_eq!(names(&project), ["p-web-1"], "it has the name that it should have");
    up(&project, &text("three")).expect_success();
    assert_eq!(names(&project), ["p-web-1"]);
    project.ok(&["down"]);
}
