//! Names: containers find each other on user-defined networks.

use dray_harness::Daemon;

#[test]
fn names_aliases_and_ids_resolve() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("network create app");
    let id = client.ok("run -d --name db --network app --network-alias database busybox sleep 1000");
    let address =
        client.run(["inspect", "-f", "{{.NetworkSettings.Networks.app.IPAddress}}", "db"]).expect_success();
    let address = address.stdout.trim();
    for name in ["db", "database", &id[..12]] {
        let found = client.ok(&format!("run --rm --network app busybox nslookup {name}"));
        assert!(found.contains(address), "{name}: {found}");
    }
    client.sh("run --rm --network app busybox nslookup nosuch-name").expect_code(1);
    assert!(
        client.ok("run --rm --network app busybox cat /etc/resolv.conf").contains("nameserver 127.0.0.11")
    );
}

#[test]
fn a_restarted_daemon_still_answers() {
    let mut daemon = Daemon::spawn();
    let client = daemon.dray();
    client.ok("network create app");
    client.ok("run -d --name asks --network app busybox sleep 1000");
    client.ok("run -d --name db --network app busybox sleep 1000");
    client.ok("exec asks nslookup db");
    daemon.crash_and_restart();
    client.ok("exec asks nslookup db");
}

#[test]
fn a_container_may_listen_on_port_53_itself() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("network create app");
    client.ok("run -d --name own --network app busybox nc -ll -p 53 -e echo mine");
    let address =
        client.run(["inspect", "-f", "{{.NetworkSettings.Networks.app.IPAddress}}", "own"]).expect_success();
    let line = format!("run --rm --network app busybox nc -w 2 {} 53", address.stdout.trim());
    assert_eq!(client.ok(&line), "mine");
    client.ok("exec own nslookup own");
}
