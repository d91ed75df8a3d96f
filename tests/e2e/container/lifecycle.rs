//! `create`, `start`, `restart`, `pause`, `rename`, `wait`: a container's life.

use dray_harness::Daemon;
use dray_harness::client::eventually;

#[test]
fn states_follow_the_commands() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let status = || client.ok("inspect -f {{.State.Status}} life");
        client.ok("create --name life busybox sleep 1000");
        assert_eq!(status(), "created");
        assert_eq!(client.ok("start life"), "life");
        assert_eq!(status(), "running");
        client.ok("pause life");
        assert_eq!(status(), "paused");
        client.sh("exec life true").expect_code(1).expect_error("is paused");
        client.ok("unpause life");
        assert_eq!(status(), "running");
        client.ok("restart -t 0 life");
        assert_eq!(status(), "running");
        client.ok("rename life afterlife");
        client.ok("stop -t 0 afterlife");
        assert_eq!(client.ok("inspect -f {{.State.Status}} afterlife"), "exited");
        client.ok("rm afterlife");
    }
}

#[test]
fn what_was_written_stays_between_starts() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client
        .run(["run", "--name", "keeps", "busybox", "sh", "-c", "echo x >> /file; wc -l < /file"])
        .expect_success();
    client.sh("start -a keeps").expect_success().expect_output("2");
    client.sh("start -a keeps").expect_success().expect_output("3");
}

#[test]
fn wait_gives_the_code() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client
            .run(["run", "-d", "--name", "short", "busybox", "sh", "-c", "sleep 0.3; exit 6"])
            .expect_success();
        assert_eq!(client.ok("wait short"), "6");
        assert_eq!(client.ok("wait short"), "6", "also when it ended before");
        client.ok("rm short");
    }
}

#[test]
fn start_attached_gives_output_and_code() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client
            .run(["create", "--name", "later", "busybox", "sh", "-c", "echo said; exit 8"])
            .expect_success();
        let done = client.sh("start -a later").expect_code(8);
        assert_eq!(done.stdout, "said\n");
        client.ok("rm later");
    }
}

#[test]
fn events_tell_of_it() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run --rm --name told busybox true");
        eventually("the removal is told", || {
            let events =
                client.ok("events --since 1h --until 0s --filter container=told --format {{.Action}}");
            events.lines().map(str::to_owned).collect::<Vec<_>>().ends_with(&["die".into(), "destroy".into()])
                || events.contains("destroy")
        });
        let events = client.ok("events --since 1h --until 0s --filter container=told --format {{.Action}}");
        for action in ["create", "start", "die", "destroy"] {
            assert!(events.lines().any(|line| line == action), "{action} is missing in {events}");
        }
    }
}
