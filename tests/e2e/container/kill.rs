//! `kill`: signals by name and number.

use dray_harness::Daemon;

#[test]
fn signals_have_names_and_numbers() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        for signal in ["", "-s KILL", "-s SIGKILL", "-s 9"] {
            client.ok("run -d --name victim busybox sleep 100");
            client.ok(&format!("kill {signal} victim"));
            assert_eq!(client.ok("wait victim"), "137", "{signal}");
            client.ok("rm victim");
        }
    }
}

#[test]
fn bad_signals_and_stopped_containers_are_refused() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("create --name still busybox true");
        client.sh("kill still").expect_code(1).expect_error("is not running");
        client.ok("start still");
        client.sh("kill -s NOPE still").expect_code(1).expect_error("NOPE");
        client.ok("rm -f still");
    }
}
