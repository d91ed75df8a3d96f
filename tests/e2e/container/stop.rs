//! `stop`: the stop signal, patience, then SIGKILL.

use dray_harness::Daemon;

#[test]
fn the_program_is_asked_first() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let script = "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done";
        client.run(["run", "-d", "--name", "polite", "busybox", "sh", "-c", script]).expect_success();
        dray_harness::client::eventually("up", || client.ok("logs polite") == "up");
        assert_eq!(client.ok("stop polite"), "polite");
        assert_eq!(client.ok("inspect -f {{.State.ExitCode}}/{{.State.Status}} polite"), "9/exited");
        assert_eq!(client.ok("logs polite"), "up\nbye");
        client.ok("rm polite");
    }
}

#[test]
fn a_program_that_ignores_it_is_killed() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client
            .run([
                "run",
                "-d",
                "--name",
                "deaf",
                "busybox",
                "sh",
                "-c",
                "trap '' TERM; while :; do sleep 0.1; done",
            ])
            .expect_success();
        client.ok("stop -t 1 deaf");
        assert_eq!(client.ok("inspect -f {{.State.ExitCode}} deaf"), "137");
        client.ok("rm deaf");
    }
}

#[test]
fn the_images_signal_is_used() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let script = "trap 'exit 4' USR1; while :; do sleep 0.05; done";
    client
        .run(["run", "-d", "--name", "usr", "--stop-signal", "USR1", "busybox", "sh", "-c", script])
        .expect_success();
    std::thread::sleep(std::time::Duration::from_millis(300));
    client.ok("stop usr");
    assert_eq!(client.ok("inspect -f {{.State.ExitCode}} usr"), "4");
}

#[test]
fn stopping_twice_is_fine_and_unknown_is_named() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name once busybox sleep 100");
        client.ok("stop -t 0 once");
        client.ok("stop once");
        client.sh("stop nosuch").expect_code(1).expect_error("No such container: nosuch");
        client.ok("rm once");
    }
}
