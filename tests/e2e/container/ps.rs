//! `ps`: columns, filters, formats.

use dray_harness::Daemon;

#[test]
fn columns_are_dockers() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let id = client.ok("run -d --name web -p 127.0.0.1:0:80 busybox sleep 1000");
        let table = client.ok("ps");
        let mut lines = table.lines();
        let head: Vec<&str> = lines.next().expect("a head").split_whitespace().collect();
        assert_eq!(head, ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
        let row = lines.next().expect("a row");
        assert!(row.starts_with(&id[..12]), "{row}");
        assert!(row.contains("\"sleep 1000\"") && row.contains("Up ") && row.ends_with("web"), "{row}");
        assert!(row.contains("->80/tcp") && row.contains("127.0.0.1:"), "{row}");
        client.ok("rm -f web");
    }
}

#[test]
fn filters_choose() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name one --label team=a busybox sleep 1000");
        client
            .run(["run", "--name", "two", "--label", "team=b", "busybox", "sh", "-c", "exit 3"])
            .expect_code(3);
        let names = |filter: &str| client.ok(&format!("ps -a --format {{{{.Names}}}} --filter {filter}"));
        assert_eq!(names("name=one"), "one");
        assert_eq!(names("label=team=b"), "two");
        assert_eq!(names("status=exited"), "two");
        assert_eq!(names("exited=3"), "two");
        assert_eq!(names("ancestor=busybox").lines().count(), 2);
        assert_eq!(client.ok("ps -aql --no-trunc").len(), 64);
        assert_eq!(client.ok("ps --format {{.Names}}:{{.State}}"), "one:running");
        client.sh("ps --filter nosuch=1").expect_code(1).expect_error("nosuch");
        client.ok("rm -f one two");
    }
}

#[test]
fn an_exit_is_shown_with_its_code() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.run(["run", "--name", "gone", "busybox", "sh", "-c", "exit 42"]).expect_code(42);
        let status = client.ok("ps -a --format {{.Status}}");
        assert!(status.starts_with("Exited (42) ") && status.ends_with(" ago"), "{status}");
        client.ok("rm gone");
    }
}
