//! What is shown of containers goes on where it stopped, whatever happens while nobody looks: the client is stopped
//! (SIGSTOP) until several runs of a container have come and gone.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};

use dray_harness::client::{Client, eventually, wait_within};
use dray_harness::peer::Dockerd;
use dray_harness::{Daemon, dray_binary, fixture};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Runs four times, the first time until the gate is open; each run says who it is.
const RUNS: &str = r#"
name: p
services:
  a:
    image: busybox
    tty: TTY
    restart: on-failure
    volumes: ["./gate:/gate"]
    command:
      - sh
      - -c
      - |
        n=$$(($$(cat /n 2>/dev/null || echo 0) + 1)); echo $$n > /n
        echo "run $$n begins"; echo "and writes" >&2
        until [ -e /gate/open ]; do sleep 0.1; done
        echo "run $$n ends"
        [ $$((n % 4)) -eq 0 ]
"#;

struct Stage {
    folder: TempDir,
    client: Client,
}

/// A Compose that shows something.
struct Shown {
    child: Child,
    log: PathBuf,
}

impl Stage {
    fn new(client: Client, text: &str) -> Stage {
        let folder = TempDir::with_prefix("dray-follow-").expect("a folder");
        fs::create_dir(folder.path().join("gate")).expect("a folder");
        fs::write(folder.path().join("compose.yaml"), text).expect("compose.yaml");
        Stage { folder, client }
    }

    fn command(&self, args: &[&str]) -> Command {
        // Its daemon may be one whose own client has no Compose.
        let mut command = Command::new(dray_binary());
        let like = self.client.command(Vec::<&str>::new());
        command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.arg("compose").args(args).current_dir(self.folder.path()).env("PWD", self.folder.path());
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        dray_harness::client::finish(self.command(args), b"").expect_success().stdout
    }

    fn show(&self, args: &[&str]) -> Shown {
        let log = self.folder.path().join("shown");
        let out = File::create(&log).expect("a log");
        let err = out.try_clone().expect("a log");
        Shown { child: self.command(args).stdout(out).stderr(err).spawn().expect("compose"), log }
    }

    fn ended(&self) -> bool {
        self.client.ok("inspect -f {{.State.Status}} p-a-1") == "exited"
    }
}

impl Shown {
    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).expect("a pid"), signal).expect("a signal");
    }

    fn finish(mut self) -> String {
        let done = wait_within(&mut self.child, std::time::Duration::from_secs(60));
        assert!(done.is_some_and(|status| status.success()), "{}", self.text());
        self.text()
    }
}

/// The lines of these runs, in any order between the two streams.
fn lines(runs: std::ops::RangeInclusive<u32>) -> Vec<String> {
    let mut all: Vec<String> = runs
        .flat_map(|n| [format!("run {n} begins"), "and writes".to_owned(), format!("run {n} ends")])
        .map(|line| format!("a-1  | {line}"))
        .collect();
    all.push("a-1 exited with code 0".to_owned());
    all.sort();
    all
}

/// Looks away from the first line on until the container's last run has ended.
fn looked_away(stage: &Stage, args: &[&str], first: &str) -> Vec<String> {
    let shown = stage.show(args);
    eventually("the first line is shown", || shown.text().contains(first));
    shown.signal(Signal::STOP);
    fs::write(stage.folder.path().join("gate/open"), "").expect("open the gate");
    eventually("the last run has ended", || stage.ended());
    shown.signal(Signal::CONT);
    let text = shown.finish();
    let mut lines: Vec<String> =
        text.lines().filter(|line| line.starts_with("a-1")).map(|line| line.trim_end().to_owned()).collect();
    lines.sort();
    lines
}

fn nothing_is_lost(client: Client, text: &str) {
    let stage = Stage::new(client, text);
    stage.ok(&["create"]);
    assert_eq!(looked_away(&stage, &["up"], "run 1 begins"), lines(1..=4), "up of what never ran");
    fs::remove_file(stage.folder.path().join("gate/open")).expect("close the gate");
    assert_eq!(looked_away(&stage, &["up"], "run 5 begins"), lines(5..=8), "up of what has run before");
    fs::remove_file(stage.folder.path().join("gate/open")).expect("close the gate");
    stage.ok(&["start"]);
    assert_eq!(looked_away(&stage, &["logs", "-f"], "run 9 begins"), lines(1..=12), "logs");
    stage.ok(&["down", "-t", "0"]);
}

#[test]
fn lines_of_runs_that_nobody_saw_are_shown_once() {
    let daemon = Daemon::start();
    nothing_is_lost(daemon.dray(), &RUNS.replace("TTY", "false"));
}

#[test]
fn lines_of_a_terminal_too() {
    let daemon = Daemon::start();
    nothing_is_lost(daemon.dray(), &RUNS.replace("TTY", "true"));
}

#[test]
fn and_those_of_dockers_daemon() {
    let dockerd = Dockerd::start();
    dockerd.load(&fixture::busybox());
    nothing_is_lost(dockerd.client(), &RUNS.replace("TTY", "false"));
}

#[test]
fn containers_that_come_meanwhile_are_shown_too() {
    let daemon = Daemon::start();
    let stage = Stage::new(
        daemon.dray(),
        "name: p\nservices:\n  a: {image: busybox, command: sh -c 'echo on $$HOSTNAME; exec sleep 1000', init: true}\n",
    );
    stage.ok(&["up", "-d"]);
    let shown = stage.show(&["logs", "-f"]);
    let count = |text: &str| shown.text().matches(text).count();
    eventually("the first one is shown", || count("a-1  | on ") == 1);
    stage.ok(&["up", "-d", "--force-recreate"]);
    eventually("the one in its place is shown", || count("a-1  | on ") == 2);
    stage.ok(&["restart", "-t", "0"]);
    eventually("it is shown again", || count("a-1  | on ") == 3);
    stage.ok(&["up", "-d", "--scale", "a=2"]);
    eventually("a second one is shown", || count("a-2  | on ") == 1);
    stage.ok(&["down", "-t", "0"]);
    let text = shown.finish();
    assert_eq!(text.matches("| on ").count(), 4, "{text}");
}
