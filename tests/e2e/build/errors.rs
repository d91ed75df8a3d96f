//! Wrong Dockerfiles and failing steps: each error names the place, and nothing is left.

use dray_harness::Daemon;

use super::{build, context};

#[test]
fn parse_errors_show_the_place() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let folder = context(&daemon, &client.name(), "FROM busybox\n\nCOPPY a b\n", &[]);
        let done = build(&client, &folder, "").expect_code(1);
        assert!(done.stderr.contains("line 3") && done.stderr.contains("COPPY"), "{}", done.stderr);
        let done = build(&daemon.dray(), &folder, "").expect_code(1);
        assert!(done.stderr.contains('^'), "no caret in\n{}", done.stderr);
    }
}

#[test]
fn a_failing_step_gives_its_code() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let folder = context(&daemon, &client.name(), "FROM busybox\nRUN echo before && exit 3\n", &[]);
        let done = build(&client, &folder, "-t never");
        let shown = done.output();
        assert!(done.code != 0 && shown.contains("before"), "{shown}");
        assert!(
            shown.contains("The command '/bin/sh -c echo before && exit 3' returned a non-zero code: 3"),
            "{shown}"
        );
        assert_eq!(client.ok("images -q never"), "");
    }
}

#[test]
fn missing_files_and_ways_out_are_named() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        for (name, line, text) in [
            ("missing", "COPY nosuch /x", "nosuch"),
            ("outside", "COPY ../outside /x", "outside"),
            ("stage", "COPY --from=nosuchstage /a /b", "nosuchstage"),
            ("user", "COPY --chown=nosuchuser Dockerfile /b", "nosuchuser"),
            ("arguments", "COPY onlyone", "COPY requires at least two arguments"),
            ("expansion", "ENV A=${B", "B"),
        ] {
            let folder = context(
                &daemon,
                &format!("{name}-{}", client.name()),
                &format!("FROM busybox\n{line}\n"),
                &[],
            );
            let done = build(&client, &folder, "");
            assert!(done.code != 0 && done.output().contains(text), "{name}: {}", done.output());
        }
        let folder = context(&daemon, &format!("empty-{}", client.name()), "", &[]);
        build(&client, &folder, "").expect_code(1).expect_error("cannot be empty");
    }
}

#[test]
fn a_failed_build_leaves_nothing_running_or_mounted() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let before = (dray_harness::host::mounts(), daemon.processes().len());
    let folder = context(&daemon, "fails", "FROM busybox\nRUN sleep 100 & false\n", &[]);
    let done = build(&client, &folder, "");
    assert!(done.code != 0);
    dray_harness::client::eventually("no process is left", || daemon.processes().len() == before.1);
    let mounts = dray_harness::host::mounts();
    let root = daemon.data_root().display().to_string();
    assert!(!mounts.iter().any(|mount| mount.contains(&root)), "{mounts:?}");
}

#[test]
fn a_client_that_hangs_up_cancels_the_build() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let folder = context(&daemon, "cancel", "FROM busybox\nRUN echo started; sleep 1000\n", &[]);
    let idle = daemon.processes().len();
    let mut child = client.spawn(["build", &folder.to_string_lossy()]);
    dray_harness::client::eventually("the step runs", || daemon.processes().len() > idle + 1);
    child.kill().expect("kill");
    child.wait().expect("wait");
    dray_harness::client::eventually("the step is gone", || daemon.processes().len() == idle);
}
