//! Published ports: reached from everywhere they should be, and from nowhere else.

mod lab;

use dray_network::Proto::{Tcp, Udp};
use dray_network::{NetworkConfig, PortBinding};
use lab::*;

/// Bridged packets pass the IP rules or do not, as the machine is set.
fn both_ways(test: impl Fn(&Lab) + Send + Sync) {
    for filtered in ["0", "1"] {
        lab(|lab| {
            if std::path::Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists() {
                sysctl("net/bridge/bridge-nf-call-iptables", filtered);
                sysctl("net/bridge/bridge-nf-call-ip6tables", filtered);
            }
            test(lab);
        });
    }
}

#[test]
fn a_port_is_reached_from_outside_the_host_and_containers() {
    both_ways(|lab| {
        let net = lab.open();
        let (front, back) = (network("front", "10.10.0.0/24"), network("back", "10.20.0.0/24"));
        net.create(&front).expect("create");
        net.create(&back).expect("create");
        let web = run(&net, "web", &[&front]);
        let near = run(&net, "near", &[&front]);
        let far = run(&net, "far", &[&back]);
        let _tcp = serve_tcp(&web.namespace, 80, "web");
        let _udp = serve_udp(&web.namespace, 53, "web");
        let wanted = [port(Tcp, None, 8080, 80), port(Udp, None, 5353, 53)];
        let bound = net.publish(&web.endpoints[0], &wanted).expect("publish");
        assert_eq!(bound.len(), 4, "IPv4 and IPv6: {bound:?}");

        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), "web 192.0.2.2");
        assert_eq!(ask_tcp(&lab.host, "127.0.0.1:8080"), "web 10.10.0.1");
        assert_eq!(ask_tcp(&lab.host, "192.0.2.1:8080"), "web 192.0.2.1");
        assert_eq!(ask_tcp(&lab.host, "[::1]:8080"), "web 10.10.0.1");
        assert_eq!(ask_tcp(&lab.outside, "[2001:db8::1]:8080"), "web 10.10.0.1");
        assert_eq!(ask_tcp(&near.namespace, "192.0.2.1:8080"), "web 10.10.0.1");
        assert_eq!(
            ask_tcp(&far.namespace, "192.0.2.1:8080"),
            format!("web {}", far.ip()).replace(&far.ip().to_string(), "10.10.0.1")
        );
        assert_eq!(ask_tcp(&web.namespace, "192.0.2.1:8080"), "web 10.10.0.1", "hairpin");
        assert_eq!(ask_tcp(&web.namespace, "10.10.0.1:8080"), "web 10.10.0.1", "by the gateway");

        assert_eq!(ask_udp(&lab.outside, "192.0.2.1:5353"), "web 192.0.2.2");
        assert_eq!(ask_udp(&lab.host, "127.0.0.1:5353"), "web 10.10.0.1");
        assert_eq!(ask_udp(&lab.host, "[::1]:5353"), "web 10.10.0.1");
        assert_eq!(ask_udp(&lab.outside, "[2001:db8::1]:5353"), "web 10.10.0.1");
        assert_eq!(ask_udp(&near.namespace, "192.0.2.1:5353"), "web 10.10.0.1");
        assert_eq!(ask_udp(&web.namespace, "192.0.2.1:5353"), "web 10.10.0.1", "hairpin");

        net.unpublish(web.sandbox.container_id()).expect("unpublish");
        refused_tcp(&lab.outside, "192.0.2.1:8080");
        refused_tcp(&lab.host, "127.0.0.1:8080");
        refused_tcp(&lab.host, "[::1]:8080");
        refused_udp(&lab.outside, "192.0.2.1:5353");
        net.purge().expect("purge");
    });
}

#[test]
fn a_container_with_ipv6_is_reached_by_it() {
    lab(|lab| {
        let net = lab.open();
        let dual = NetworkConfig { ipv6: true, ..network("dual", "10.10.0.0/24") };
        net.create(&dual).expect("create");
        let web = run(&net, "web", &[&dual]);
        let near = run(&net, "near", &[&dual]);
        let _tcp = serve_tcp(&web.namespace, 80, "web");
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        assert_eq!(ask_tcp(&lab.outside, "[2001:db8::1]:8080"), "web 2001:db8::2", "the client is seen");
        assert!(ask_tcp(&lab.host, "[::1]:8080").starts_with("web "));
        assert!(ask_tcp(&lab.host, "[2001:db8::1]:8080").starts_with("web "));
        assert!(ask_tcp(&near.namespace, "[2001:db8::1]:8080").starts_with("web "));
        assert!(ask_tcp(&web.namespace, "[2001:db8::1]:8080").starts_with("web "), "hairpin");
        let direct = ask_tcp(&near.namespace, &format!("[{}]:80", web.ip6()));
        assert_eq!(direct, format!("web {}", near.ip6()));
        let _far = serve_tcp(&lab.outside, 99, "far");
        assert_eq!(ask_tcp(&web.namespace, "[2001:db8::2]:99"), "far 2001:db8::1", "behind the host");
        net.purge().expect("purge");
    });
}

#[test]
fn a_host_without_ipv6_publishes_on_ipv4() {
    lab(|lab| {
        sysctl("net/ipv6/conf/all/disable_ipv6", "1");
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let _tcp = serve_tcp(&web.namespace, 80, "web");
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), "web 192.0.2.2");
        assert_eq!(ask_tcp(&lab.host, "127.0.0.1:8080"), "web 10.10.0.1");
        net.purge().expect("purge");
    });
}

#[test]
fn a_withdrawn_port_is_free_at_once() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let (_tcp, _udp) = (serve_tcp(&web.namespace, 80, "web"), serve_udp(&web.namespace, 80, "web"));
        let wanted = [port(Tcp, None, 8080, 80), port(Udp, None, 8080, 80)];
        for _ in 0..20 {
            net.publish(&web.endpoints[0], &wanted).expect("publish");
            assert!(ask_tcp(&lab.host, "[::1]:8080").starts_with("web "));
            assert!(ask_udp(&lab.host, "[::1]:8080").starts_with("web "));
            net.unpublish(web.sandbox.container_id()).expect("unpublish");
        }
        net.purge().expect("purge");
    });
}

#[test]
fn a_host_address_limits_who_reaches_the_port() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let near = run(&net, "near", &[&front]);
        let _server = serve_tcp(&web.namespace, 80, "web");
        let wanted = [
            port(Tcp, Some("127.0.0.1"), 8081, 80),
            port(Tcp, Some("192.0.2.1"), 8082, 80),
            port(Tcp, Some("::1"), 8083, 80),
        ];
        net.publish(&web.endpoints[0], &wanted).expect("publish");

        assert!(ask_tcp(&lab.host, "127.0.0.1:8081").starts_with("web "));
        refused_tcp(&lab.host, "192.0.2.1:8081");
        refused_tcp(&lab.outside, "192.0.2.1:8081");
        // A neighbour that sends packets for 127.0.0.1 to this host.
        within(&lab.outside, || {
            sysctl("net/ipv4/conf/all/route_localnet", "1");
            sh(
                "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via 192.0.2.1 dev wire src 192.0.2.2",
            );
        });
        refused_tcp(&lab.outside, "127.0.0.1:8081");
        near.sh("ip addr del 127.0.0.1/8 dev lo; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip route add 127.0.0.1/32 via 10.10.0.1 src 10.10.0.3");
        refused_tcp(&near.namespace, "127.0.0.1:8081");

        assert!(ask_tcp(&lab.outside, "192.0.2.1:8082").starts_with("web "));
        assert!(ask_tcp(&lab.host, "192.0.2.1:8082").starts_with("web "));
        refused_tcp(&lab.host, "127.0.0.1:8082");
        assert!(ask_tcp(&lab.host, "[::1]:8083").starts_with("web "));
        refused_tcp(&lab.outside, "[2001:db8::1]:8083");
        net.purge().expect("purge");
    });
}

#[test]
fn ports_in_use_are_refused_both_ways() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let api = run(&net, "api", &[&front]);
        let id = &web.endpoints[0].id;
        let program = std::net::TcpListener::bind("0.0.0.0:8080").expect("listen");
        let error = net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect_err("in use");
        let head = "driver failed programming external connectivity on endpoint";
        assert_eq!(
            error.to_string(),
            format!("{head} web ({id}): failed to bind host port 0.0.0.0:8080/tcp: address already in use")
        );
        drop(program);
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("free now");
        let error = net.publish(&api.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect_err("in use");
        let id = &api.endpoints[0].id;
        assert_eq!(
            error.to_string(),
            format!("{head} api ({id}): Bind for 0.0.0.0:8080 failed: port is already allocated")
        );
        for addr in ["0.0.0.0:8080", "127.0.0.1:8080", "[::]:8080"] {
            let taken = std::net::TcpListener::bind(addr).expect_err("a program cannot take it");
            assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse, "{addr}");
        }
        net.publish(&api.endpoints[0], &[port(Udp, None, 8080, 80)]).expect("another protocol");
        net.unpublish(web.sandbox.container_id()).expect("unpublish");
        std::net::TcpListener::bind("0.0.0.0:8080").expect("given back");
        let error = net
            .publish(&web.endpoints[0], &[port(Tcp, Some("203.0.113.9"), 8080, 80)])
            .expect_err("not an address of this host");
        assert!(error.to_string().ends_with("cannot assign requested address"), "{error}");
        net.purge().expect("purge");
        let _ = lab;
    });
}

#[test]
fn ports_are_chosen_from_ranges() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let _server = serve_tcp(&web.namespace, 80, "web");
        let any = PortBinding { host_port: 0, host_port_end: 0, ..port(Tcp, None, 0, 80) };
        let bound = net.publish(&web.endpoints[0], &[any]).expect("publish");
        assert!(bound.iter().all(|b| b.host_port == bound[0].host_port && b.host_port >= 32768), "{bound:?}");
        assert!(ask_tcp(&lab.outside, &format!("192.0.2.1:{}", bound[0].host_port)).starts_with("web "));
        let range = PortBinding { host_port_end: 9001, ..port(Tcp, None, 9000, 80) };
        let api = run(&net, "api", &[&front]);
        let mut seen: Vec<u16> = Vec::new();
        for _ in 0..2 {
            seen.push(net.publish(&api.endpoints[0], &[range]).expect("publish")[0].host_port);
        }
        assert_eq!(seen, [9000, 9001]);
        net.publish(&api.endpoints[0], &[range]).expect_err("used up");
        net.purge().expect("purge");
    });
}

#[test]
fn a_udp_client_follows_the_port_to_another_container() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let (one, two) = (run(&net, "one", &[&front]), run(&net, "two", &[&front]));
        let _servers = (serve_udp(&one.namespace, 53, "one"), serve_udp(&two.namespace, 53, "two"));
        let client = within(&lab.outside, || std::net::UdpSocket::bind("0.0.0.0:4444").expect("bind"));
        client.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("timeout");
        for (container, name) in [(&one, "one"), (&two, "two")] {
            net.publish(&container.endpoints[0], &[port(Udp, None, 5353, 53)]).expect("publish");
            client.send_to(b"x", "192.0.2.1:5353").expect("send");
            let mut buffer = [0; 100];
            let (len, _) = client.recv_from(&mut buffer).expect("an answer");
            assert_eq!(&buffer[..len], format!("{name} 192.0.2.2").as_bytes());
            net.unpublish(container.sandbox.container_id()).expect("unpublish");
        }
        net.purge().expect("purge");
    });
}

#[test]
fn a_udp_client_that_asked_too_early_is_answered_when_the_port_is_there() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let _server = serve_udp(&web.namespace, 53, "web");
        for (number, host_ip) in [None, Some("192.0.2.1")].into_iter().enumerate() {
            let bind = format!("0.0.0.0:444{number}");
            let client = within(&lab.outside, || std::net::UdpSocket::bind(&bind).expect("bind"));
            client.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("timeout");
            client.connect("192.0.2.1:5353").expect("connect");
            client.send(b"x").expect("send");
            let mut buffer = [0; 100];
            // The kernel remembers that this is for the host itself, longer than the client waits.
            let refused = client.recv(&mut buffer).expect_err("nobody is there");
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            net.publish(&web.endpoints[0], &[port(Udp, host_ip, 5353, 53)]).expect("publish");
            client.send(b"x").expect("send");
            let len = client.recv(&mut buffer).expect("an answer");
            assert_eq!(&buffer[..len], b"web 192.0.2.2");
            net.unpublish(web.sandbox.container_id()).expect("unpublish");
        }
        net.purge().expect("purge");
    });
}

#[test]
fn the_table_reads_well_and_ports_are_elements() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let before = lab.ruleset();
        let wanted = [port(Tcp, Some("192.0.2.1"), 8080, 80), port(Udp, None, 5353, 53)];
        net.publish(&web.endpoints[0], &wanted).expect("publish");
        let after = lab.ruleset();
        assert!(after.contains("tcp . 192.0.2.1 . 8080 : 10.10.0.2 . 80"), "{after}");
        assert!(after.contains("udp . 5353 : 10.10.0.2 . 53"), "{after}");
        assert!(after.contains("elements = { 10.10.0.0/24 }"), "{after}");
        assert!(after.contains("\"br-66726f6e7400\""), "{after}");
        let rules = |text: &str| text.lines().filter(|l| l.contains("dnat") || l.contains("drop")).count();
        assert_eq!(rules(&before), rules(&after), "no rule per port");
        // What is listed can be loaded: nft understands every part of it.
        let file = lab.root.path().join("rules");
        std::fs::write(&file, &after).expect("write");
        sh(&format!("nft -c -f {}", file.display()));
        net.purge().expect("purge");
    });
}
