//! `exec`: a further process in a running container.

use dray_harness::Daemon;
use dray_harness::client::eventually;

#[test]
fn runs_in_the_container_and_gives_its_exit_code() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name box -e FROM=create -h box busybox sleep 1000");
        let done = client
            .run(["exec", "box", "sh", "-c", "hostname; echo $FROM; echo err >&2; exit 3"])
            .expect_code(3);
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("box\ncreate\n", "err\n"));
        let done = client.run_with_input(["exec", "-i", "box", "cat"], b"in and out").expect_success();
        assert_eq!(done.stdout, "in and out");
        let done = client.run([
            "exec",
            "-e",
            "A=b",
            "-w",
            "/tmp",
            "-u",
            "nobody",
            "box",
            "sh",
            "-c",
            "pwd; id -u; echo $A",
        ]);
        assert_eq!(done.expect_success().stdout, "/tmp\n65534\nb\n");
        client.ok("rm -f box");
    }
}

#[test]
fn missing_and_unexecutable_programs_have_their_codes() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name box busybox sleep 1000");
        client.sh("exec box nosuch").expect_code(127);
        client.sh("exec box /etc/passwd").expect_code(126);
        client.sh("exec nobox true").expect_code(1).expect_error("No such container: nobox");
        client.ok("rm -f box");
    }
}

#[test]
fn a_stopped_container_is_refused() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("create --name still busybox true");
        client.sh("exec still true").expect_code(1).expect_error("is not running");
        client.ok("rm still");
    }
}

#[test]
fn detached_goes_on_without_a_client() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name box busybox sleep 1000");
        client.run(["exec", "-d", "box", "sh", "-c", "sleep 0.2; touch /done"]).expect_success();
        eventually("the detached program ran", || client.sh("exec box ls /done").code == 0);
        client.ok("rm -f box");
    }
}

#[test]
fn it_is_confined_as_the_container_is() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("run -d --name box busybox sleep 1000");
    let own = client.run(["exec", "box", "grep", "-E", "CapEff|Seccomp:|NoNewPrivs", "/proc/self/status"]);
    let init = client.run(["exec", "box", "grep", "-E", "CapEff|Seccomp:|NoNewPrivs", "/proc/1/status"]);
    assert_eq!(own.expect_success().stdout, init.expect_success().stdout);
}

#[test]
fn many_at_once() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("run -d --name box busybox sleep 1000");
    let children: Vec<_> =
        (0..20).map(|n| (n, client.spawn(["exec", "box", "echo", &n.to_string()]))).collect();
    for (n, child) in children {
        let output = child.wait_with_output().expect("wait");
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{n}\n"));
    }
}
