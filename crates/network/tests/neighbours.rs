//! Other machines as network namespaces, on two wires: what they reach of containers, by IPv4 and IPv6, and what
//! containers reach of each other. Everything that is not published must stay out of reach, however it is asked for.

mod lab;

use std::os::fd::OwnedFd;

use dray_network::Proto::{Tcp, Udp};
use dray_network::{Endpoint, NetworkConfig, SubnetConfig};
use lab::*;

/// A network with both families.
fn dual(name: &str, four: &str, six: &str) -> NetworkConfig {
    let subnet = |text: &str| SubnetConfig { subnet: text.parse().ok(), ..Default::default() };
    NetworkConfig { subnets: vec![subnet(four), subnet(six)], ipv6: true, ..network(name, four) }
}

fn front() -> NetworkConfig {
    dual("front", "10.10.0.0/24", "fd00:10::/64")
}

fn back() -> NetworkConfig {
    dual("back", "10.20.0.0/24", "fd00:20::/64")
}

/// Both addresses of an endpoint with a port.
fn both(endpoint: &Endpoint, port: u16) -> [String; 2] {
    let (four, six) = (endpoint.ip.expect("IPv4"), endpoint.ip6.expect("IPv6"));
    [format!("{four}:{port}"), format!("[{six}]:{port}")]
}

/// Leads a machine's packets for containers to the host, as a hostile neighbour does.
fn route_to_containers(namespace: &OwnedFd, four: &str, six: &str) {
    within(namespace, || {
        for subnet in ["10.10.0.0/24", "10.20.0.0/24", "10.30.0.0/24"] {
            sh(&format!("ip route add {subnet} via {four}"));
        }
        for subnet in ["fd00:10::/64", "fd00:20::/64", "fd00:30::/64"] {
            sh(&format!("ip -6 route add {subnet} via {six}"));
        }
    });
}

#[test]
fn what_is_not_published_is_out_of_reach_of_other_machines() {
    lab(|lab| {
        let far = lab.neighbour();
        let net = lab.open();
        net.create(&front()).expect("create");
        net.create(&back()).expect("create");
        let web = run(&net, "web", &[&front()]);
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_udp(&web.namespace, 53, "web"));
        let _other = serve_tcp(&web.namespace, 81, "unpublished");
        // One port is published: the others, and that one at the container's own address, are not.
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        route_to_containers(&lab.outside, HOST, HOST6);
        route_to_containers(&far, "198.51.100.1", "2001:db8:1::1");
        for machine in [&lab.outside, &far] {
            for port in [80, 81] {
                for addr in both(&web.endpoints[0], port) {
                    refused_tcp(machine, &addr);
                }
            }
            refused_udp(machine, "10.10.0.2:53");
        }
        // They are there: the host and what is published lead to them.
        assert_eq!(ask_tcp(&lab.host, "10.10.0.2:81"), "unpublished 10.10.0.1");
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), format!("web {OUTSIDE}"));
        assert_eq!(ask_tcp(&lab.outside, "[2001:db8::1]:8080"), format!("web {OUTSIDE6}"));
        assert_eq!(ask_tcp(&far, "198.51.100.1:8080"), format!("web {FAR}"));
        assert_eq!(ask_tcp(&far, "[2001:db8:1::1]:8080"), format!("web {FAR6}"));
        net.purge().expect("purge");
    });
}

#[test]
fn a_neighbour_that_pretends_to_be_a_container_is_none() {
    lab(|lab| {
        let net = lab.open();
        net.create(&front()).expect("create");
        let web = run(&net, "web", &[&front()]);
        let near = run(&net, "near", &[&front()]);
        let _server = serve_tcp(&web.namespace, 80, "web");
        assert_eq!(ask_tcp(&near.namespace, "10.10.0.2:80"), "web 10.10.0.3");
        // It takes the address of a container's neighbour and sends from there.
        lab.outside_sh(
            "ip addr add 10.10.0.77/32 dev lo; ip -6 addr add fd00:10::77/128 dev lo nodad; \
             ip route add 10.10.0.0/24 via 192.0.2.1 src 10.10.0.77; \
             ip -6 route add fd00:10::/64 via 2001:db8::1 src fd00:10::77",
        );
        // Even a host that asks nobody where packets may come from, and knows the way back.
        for name in ["all", "wire"] {
            sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "0");
        }
        sh("ip route add 10.10.0.77/32 via 192.0.2.2; ip -6 route add fd00:10::77/128 via 2001:db8::2");
        // And tells the containers that it is the one.
        let bridge = "br-66726f6e7400";
        sysctl(&format!("net/ipv4/conf/{bridge}/proxy_arp"), "1");
        sysctl(&format!("net/ipv6/conf/{bridge}/proxy_ndp"), "1");
        for family in ["ipv4", "ipv6"] {
            sysctl(&format!("net/{family}/neigh/{bridge}/proxy_delay"), "0");
        }
        sh(&format!("ip -6 neigh add proxy fd00:10::77 dev {bridge}"));
        for addr in both(&web.endpoints[0], 80) {
            refused_tcp(&lab.outside, &addr);
        }
        net.purge().expect("purge");
    });
}

#[test]
fn bridges_are_apart_by_both_families() {
    lab(|lab| {
        let net = lab.open();
        for config in [front(), back()] {
            net.create(&config).expect("create");
        }
        let (web, far) = (run(&net, "web", &[&front()]), run(&net, "far", &[&back()]));
        let _server = serve_tcp(&web.namespace, 80, "web");
        let _far = serve_tcp(&far.namespace, 80, "far");
        for addr in both(&web.endpoints[0], 80) {
            refused_tcp(&far.namespace, &addr);
        }
        for addr in both(&far.endpoints[0], 80) {
            refused_tcp(&web.namespace, &addr);
        }
        // What is published is for them as for everybody, at the host's address.
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        assert_eq!(ask_tcp(&far.namespace, "192.0.2.1:8080"), "web 10.10.0.1");
        assert!(ask_tcp(&far.namespace, "[2001:db8::1]:8080").starts_with("web "));
        for addr in both(&web.endpoints[0], 80) {
            refused_tcp(&far.namespace, &addr);
        }
        net.purge().expect("purge");
        let _ = lab;
    });
}

#[test]
fn what_is_published_on_localhost_stays_on_this_host() {
    lab(|lab| {
        let far = lab.neighbour();
        let net = lab.open();
        net.create(&front()).expect("create");
        net.create(&back()).expect("create");
        let web = run(&net, "web", &[&front()]);
        let (near, other) = (run(&net, "near", &[&front()]), run(&net, "other", &[&back()]));
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_udp(&web.namespace, 53, "web"));
        let wanted = [
            port(Tcp, Some("127.0.0.1"), 8081, 80),
            port(Udp, Some("127.0.0.1"), 8082, 53),
            port(Tcp, Some("::1"), 8083, 80),
        ];
        net.publish(&web.endpoints[0], &wanted).expect("publish");
        assert!(ask_tcp(&lab.host, "127.0.0.1:8081").starts_with("web "));
        assert!(ask_udp(&lab.host, "127.0.0.1:8082").starts_with("web "));
        assert!(ask_tcp(&lab.host, "[::1]:8083").starts_with("web "));

        // The host's own addresses, first as they are, then with 127.0.0.1 and ::1 sent over the wire to it, which it
        // is even told to take.
        for name in ["all", "wire", "far"] {
            sysctl(&format!("net/ipv4/conf/{name}/route_localnet"), "1");
            sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "0");
        }
        let pretend = |four: &str, dev: &str, own: &str| {
            format!(
                "for n in all {dev}; do echo 1 > /proc/sys/net/ipv4/conf/$n/route_localnet; done; \
                 ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via {four} dev {dev} src {own}"
            )
        };
        for (machine, hosts, dev, own) in [
            (&lab.outside, [HOST, HOST6], "wire", OUTSIDE),
            (&far, ["198.51.100.1", "2001:db8:1::1"], "far", FAR),
            (&near.namespace, ["10.10.0.1", "fd00:10::1"], "eth0", "10.10.0.3"),
            (&other.namespace, ["10.20.0.1", "fd00:20::1"], "eth0", "10.20.0.2"),
        ] {
            let [four, six] = hosts;
            refused_tcp(machine, &format!("{four}:8081"));
            refused_udp(machine, &format!("{four}:8082"));
            refused_tcp(machine, &format!("[{six}]:8083"));
            within(machine, || sh(&pretend(four, dev, own)));
            refused_tcp(machine, "127.0.0.1:8081");
            refused_udp(machine, "127.0.0.1:8082");
            within(machine, || {
                sh(&format!(
                    "ip -6 addr del ::1/128 dev lo; ip -6 route add ::1/128 via {six} dev {dev} || true"
                ))
            });
            refused_tcp(machine, "[::1]:8083");
        }
        assert!(ask_tcp(&lab.host, "127.0.0.1:8081").starts_with("web "), "still there");
        net.purge().expect("purge");
    });
}

#[test]
fn a_network_without_a_way_out_uses_no_published_port() {
    lab(|lab| {
        let net = lab.open();
        let inner = NetworkConfig { internal: true, ..dual("inner", "10.30.0.0/24", "fd00:30::/64") };
        // Its container has no IPv6: a socket of the daemon's carries that for it.
        let four = network("four", "10.40.0.0/24");
        for config in [&front(), &four, &inner] {
            net.create(config).expect("create");
        }
        let (web, old) = (run(&net, "web", &[&front()]), run(&net, "old", &[&four]));
        let db = run(&net, "db", &[&inner]);
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&old.namespace, 80, "old"));
        let _db = serve_tcp(&db.namespace, 80, "db");
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        net.publish(&old.endpoints[0], &[port(Tcp, None, 8081, 80)]).expect("publish");
        assert!(ask_tcp(&lab.outside, "[2001:db8::1]:8080").starts_with("web "));
        assert!(ask_tcp(&lab.outside, "[2001:db8::1]:8081").starts_with("old "));
        db.sh("ip route add default via 10.30.0.1; ip -6 route add default via fd00:30::1");
        for host in ["192.0.2.1", "10.30.0.1", "10.10.0.1", "[2001:db8::1]", "[fd00:30::1]", "[fd00:10::1]"] {
            for port in [8080, 8081] {
                refused_tcp(&db.namespace, &format!("{host}:{port}"));
            }
        }
        for addr in both(&web.endpoints[0], 80) {
            refused_tcp(&db.namespace, &addr);
        }
        for addr in both(&db.endpoints[0], 80) {
            refused_tcp(&web.namespace, &addr);
        }
        // A withdrawn port of one leaves the other's closed as it was.
        net.unpublish(web.sandbox.container_id()).expect("unpublish");
        refused_tcp(&db.namespace, "[fd00:30::1]:8081");
        assert!(ask_tcp(&lab.outside, "[2001:db8::1]:8081").starts_with("old "));
        net.purge().expect("purge");
    });
}
