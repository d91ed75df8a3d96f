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

#[test]
fn links_on_a_network_are_ones_own_names() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("network create app");
        client.ok("run -d --name db --network app busybox sleep 1000");
        let address = client
            .run(["inspect", "-f", "{{.NetworkSettings.Networks.app.IPAddress}}", "db"])
            .expect_success();
        let found = client.ok("run --rm --network app --link db:database busybox nslookup database");
        assert!(found.contains(address.stdout.trim()), "{found}");
        client.sh("run --rm --network app busybox nslookup database").expect_code(1);
        client.ok("rm -f db");
        client.ok("network rm app");
    }
}

#[test]
fn options_of_an_endpoint_hold_in_the_container() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("network create app");
        let options = "driver-opt=com.docker.network.endpoint.ifname=front0,\
                       \"driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1\"";
        let network = format!("name=app,{options}");
        let script = "ip addr show front0; cat /proc/sys/net/ipv4/conf/front0/log_martians";
        let shown = client.run(["run", "--rm", "--network", &network, "busybox", "sh", "-c", script]);
        let shown = shown.expect_success().stdout;
        assert_eq!(shown.lines().last(), Some("1"), "{shown}");
        client.ok("run -d --name box busybox sleep 1000");
        client.ok("network connect --link-local-ip 169.254.7.7 app box");
        assert!(client.ok("exec box ip addr show eth1").contains("169.254.7.7/16"));
        client.ok("rm -f box");
        client.ok("network rm app");
    }
}
