//! `network create/ls/inspect/connect/disconnect/rm`, and what separates networks.

use dray_harness::Daemon;

#[test]
fn networks_come_and_go() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let id = client.ok("network create mynet");
        assert_eq!(id.len(), 64);
        let table = client.ok("network ls");
        let head: Vec<&str> = table.lines().next().expect("a head").split_whitespace().collect();
        assert_eq!(head, ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]);
        for name in ["bridge", "host", "none", "mynet"] {
            assert!(table.contains(name), "{table}");
        }
        client
            .sh("network create mynet")
            .expect_code(1)
            .expect_error("network with name mynet already exists");
        client.ok("network rm mynet");
        client.sh("network inspect mynet").expect_code(1).expect_error("mynet");
        client
            .sh("network rm bridge")
            .expect_code(1)
            .expect_error("bridge is a pre-defined network and cannot be removed");
    }
}

#[test]
fn a_network_in_use_is_kept() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("network create used");
        client.ok("run -d --name holds --network used busybox sleep 1000");
        client.sh("network rm used").expect_code(1).expect_error("has active endpoints");
        client.ok("rm -f holds");
        client.ok("network rm used");
    }
}

#[test]
fn connect_and_disconnect_a_running_container() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("network create --subnet 10.219.7.0/24 second");
        client.ok("run -d --name box busybox sleep 1000");
        client.ok("network connect --ip 10.219.7.77 second box");
        assert!(client.ok("exec box ip addr").contains("10.219.7.77/24"));
        client.ok("network disconnect second box");
        assert!(!client.ok("exec box ip addr").contains("10.219.7.77"));
        client.ok("rm -f box");
        client.ok("network rm second");
    }
}

#[test]
fn a_mac_goes_with_the_address_and_stays_where_it_was_asked_for() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("network create macs");
        let run = |name: &str, flags: &str| {
            client.ok(&format!("run -d --name {name} --network macs {flags} busybox sleep 1000"))
        };
        let of = |name: &str| {
            let format =
                "{{.NetworkSettings.Networks.macs.MacAddress}} {{.NetworkSettings.Networks.macs.IPAddress}}";
            let text = client.run(["inspect", "-f", format, name]).expect_success().output();
            let (mac, ip) = text.trim().split_once(' ').expect("two words");
            (mac.to_owned(), ip.to_owned())
        };
        run("first", "");
        run("second", "");
        run("asked", "--mac-address 02:42:00:00:be:ef");
        let (_, of_first) = of("first");
        let (_, of_second) = of("second");
        client.ok("stop -t 0 first second asked");
        // It has the first's address now, and the third what was its own.
        client.ok("start second");
        run("third", "");
        client.ok("start asked");
        assert_eq!((of("second").1, of("third").1), (of_first, of_second));
        for name in ["second", "third"] {
            let (mac, ip) = of(name);
            let octets: Vec<String> =
                ip.split('.').map(|n| format!("{:02x}", n.parse::<u8>().expect("a number"))).collect();
            assert_eq!(mac, format!("02:42:{}", octets.join(":")), "{name}");
        }
        assert_eq!(of("asked").0, "02:42:00:00:be:ef");
        client.ok("rm -f first second third asked");
        client.ok("network rm macs");
    }
}

#[test]
fn modes_host_none_and_container() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    assert_eq!(client.ok("run --rm --network none busybox ls /sys/class/net"), "lo");
    assert!(client.ok("run --rm --network host busybox ls /sys/class/net").contains(&daemon.bridge()));
    client.ok("run -d --name first busybox sleep 1000");
    let own = client.ok("exec first ip addr show eth0");
    let shared = client.ok("run --rm --network container:first busybox ip addr show eth0");
    assert_eq!(own, shared);
}

#[test]
fn bridges_do_not_reach_each_other() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("network create one");
    client.ok("network create two");
    client.ok("run -d --name server --network one busybox nc -ll -p 7000 -e echo reached");
    let address = client
        .run(["inspect", "-f", "{{.NetworkSettings.Networks.one.IPAddress}}", "server"])
        .expect_success();
    let address = address.stdout.trim();
    let from = |network: &str| {
        client.run(["run", "--rm", "--network", network, "busybox", "nc", "-w", "2", address, "7000"])
    };
    assert!(from("one").stdout.contains("reached"));
    assert!(!from("two").stdout.contains("reached"), "network two reached network one");
    assert!(!from("bridge").stdout.contains("reached"), "the default bridge reached network one");
}

#[test]
fn an_internal_network_has_no_outside() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("network create --internal inside");
    let routes = client.ok("run --rm --network inside busybox ip route");
    assert!(!routes.contains("default"), "{routes}");
}

#[test]
fn overlapping_subnets_are_refused() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("network create --subnet 10.219.8.0/24 here");
        client.sh("network create --subnet 10.219.8.0/25 there").expect_code(1).expect_error("overlaps");
        client.sh("network create --subnet 300.1.1.0/24 bad").expect_code(1).expect_error("300.1.1.0/24");
        client.ok("network rm here");
    }
}

#[test]
fn of_two_that_remove_one_is_told_that_it_is_gone() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    for _ in 0..5 {
        client.ok("network create --subnet 10.99.0.0/24 once");
        let removals: Vec<_> = (0..4).map(|_| client.spawn(["network", "rm", "once"])).collect();
        let ended: Vec<_> =
            removals.into_iter().map(|child| child.wait_with_output().expect("dray")).collect();
        let done = ended.iter().filter(|output| output.status.success()).count();
        assert_eq!(done, 1, "one of them has removed it");
        // Its subnet is free when that one is told so.
        client.ok("network create --subnet 10.99.0.0/24 again");
        client.ok("network rm again");
    }
}
