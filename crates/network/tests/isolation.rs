//! Who may talk with whom: out by NAT, never in, never from bridge to bridge.

mod lab;

use dray_network::Proto::Tcp;
use dray_network::{EndpointConfig, NetworkConfig};
use lab::*;

#[test]
fn containers_go_out_behind_the_hosts_address() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        assert_eq!(read_sysctl("net/ipv4/ip_forward"), "0", "a network without endpoints forwards nothing");
        let web = run(&net, "web", &[&front]);
        assert_eq!(read_sysctl("net/ipv4/ip_forward"), "1");
        let _server = serve_tcp(&lab.outside, 99, "far");
        assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:99"), "far 192.0.2.1");
        net.purge().expect("purge");
        assert_eq!(read_sysctl("net/ipv4/ip_forward"), "0", "as it was");
    });
}

#[test]
fn without_masquerade_the_container_is_seen() {
    lab(|lab| {
        let net = lab.open();
        let front = with_option(network("front", "10.10.0.0/24"), "bridge.enable_ip_masquerade", "false");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        lab.outside_sh("ip route add 10.10.0.0/24 via 192.0.2.1");
        let _server = serve_tcp(&lab.outside, 99, "far");
        assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:99"), "far 10.10.0.2");
        net.purge().expect("purge");
    });
}

#[test]
fn nobody_gets_in_by_routing() {
    lab(|lab| {
        let net = lab.open();
        let front = NetworkConfig { ipv6: true, ..network("front", "10.10.0.0/24") };
        let back = network("back", "10.20.0.0/24");
        net.create(&front).expect("create");
        net.create(&back).expect("create");
        let web = run(&net, "web", &[&front]);
        let near = run(&net, "near", &[&front]);
        let far = run(&net, "far", &[&back]);
        let _server = serve_tcp(&web.namespace, 80, "web");
        net.publish(&web.endpoints[0], &[port(Tcp, Some("127.0.0.1"), 8080, 80)]).expect("publish");
        let ip6 = web.ip6();
        lab.outside_sh(&format!(
            "ip route add 10.10.0.0/24 via 192.0.2.1; ip -6 route add {ip6}/128 via 2001:db8::1"
        ));

        refused_tcp(&lab.outside, "10.10.0.2:80");
        refused_tcp(&lab.outside, &format!("[{ip6}]:80"));
        refused_tcp(&far.namespace, "10.10.0.2:80");
        assert_eq!(ask_tcp(&near.namespace, "10.10.0.2:80"), "web 10.10.0.3", "the same bridge");
        assert_eq!(ask_tcp(&lab.host, "10.10.0.2:80"), "web 10.10.0.1", "the host");
        assert_eq!(ask_tcp(&lab.host, &format!("[{ip6}]:80")).split(' ').next(), Some("web"));
        net.purge().expect("purge");
    });
}

#[test]
fn without_icc_containers_are_apart() {
    for filtered in ["0", "1"] {
        lab(|lab| {
            if std::path::Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists() {
                sysctl("net/bridge/bridge-nf-call-iptables", filtered);
            }
            let net = lab.open();
            let front = with_option(network("front", "10.10.0.0/24"), "bridge.enable_icc", "false");
            net.create(&front).expect("create");
            let (web, near) = (run(&net, "web", &[&front]), run(&net, "near", &[&front]));
            let _server = serve_tcp(&web.namespace, 80, "web");
            let _far = serve_tcp(&lab.outside, 99, "far");
            refused_tcp(&near.namespace, "10.10.0.2:80");
            // Nor through the gateway.
            near.sh("ip route add 10.10.0.2/32 via 10.10.0.1");
            refused_tcp(&near.namespace, "10.10.0.2:80");
            assert_eq!(ask_tcp(&near.namespace, "192.0.2.2:99"), "far 192.0.2.1");
            net.purge().expect("purge");
        });
    }
}

#[test]
fn internal_networks_lead_nowhere() {
    lab(|lab| {
        let net = lab.open();
        let inner = NetworkConfig { internal: true, ..network("inner", "10.30.0.0/24") };
        let front = network("front", "10.10.0.0/24");
        net.create(&inner).expect("create");
        net.create(&front).expect("create");
        let (db, app) = (run(&net, "db", &[&inner]), run(&net, "app", &[&inner]));
        let web = run(&net, "web", &[&front]);
        let _servers = (serve_tcp(&db.namespace, 80, "db"), serve_tcp(&lab.outside, 99, "far"));
        let _web = serve_tcp(&web.namespace, 80, "web");
        assert_eq!(db.endpoints[0].gateway, None);
        assert_eq!(ask_tcp(&app.namespace, "10.30.0.2:80"), "db 10.30.0.3");
        db.sh("ip route add default via 10.30.0.1");
        refused_tcp(&db.namespace, "192.0.2.2:99");
        refused_tcp(&db.namespace, "10.10.0.2:80");
        net.publish(&web.endpoints[0], &[port(Tcp, Some("192.0.2.1"), 8080, 80)]).expect("publish");
        refused_tcp(&db.namespace, "192.0.2.1:8080");
        let bound = net.publish(&db.endpoints[0], &[port(Tcp, None, 8081, 80)]).expect("no error");
        assert!(bound.is_empty(), "nothing is published of an internal network");
        net.purge().expect("purge");
    });
}

#[test]
fn two_networks_one_default_route() {
    lab(|lab| {
        let net = lab.open();
        let (alpha, beta) = (network("alpha", "10.10.0.0/24"), network("beta", "10.20.0.0/24"));
        let inner = NetworkConfig { internal: true, ..network("aaa", "10.30.0.0/24") };
        for config in [&alpha, &beta, &inner] {
            net.create(config).expect("create");
        }
        let web = run(&net, "web", &[&inner, &beta]);
        let route = |c: &Container| c.sh("ip -o route show default");
        assert!(route(&web).contains("via 10.20.0.1"), "not the internal one: {}", route(&web));
        let first =
            net.attach(&web.sandbox, &alpha.id, &EndpointConfig { name: "web".into(), ..Default::default() });
        let first = first.expect("attach");
        assert_eq!(first.interface, "eth2");
        assert!(route(&web).contains("via 10.10.0.1"), "the first by name: {}", route(&web));
        net.detach(&first).expect("detach");
        assert!(route(&web).contains("via 10.20.0.1"), "{}", route(&web));
        assert!(!web.sh("ip -o link").contains("eth2"));
        let config = EndpointConfig { name: "api".into(), gateway_priority: 1, ..Default::default() };
        let api = run_with(&net, "api", &[&beta], &config);
        let config = EndpointConfig { name: "api".into(), ..Default::default() };
        net.attach(&api.sandbox, &alpha.id, &config).expect("attach");
        assert!(route(&api).contains("via 10.20.0.1"), "priority beats the name: {}", route(&api));
        net.purge().expect("purge");
        let _ = lab;
    });
}

#[test]
fn sandboxes_are_what_docker_makes() {
    lab(|lab| {
        let net = lab.open();
        let front = with_option(network("front", "10.10.0.0/24"), "driver.mtu", "1400");
        net.create(&front).expect("create");
        let config = EndpointConfig {
            ip: Some("10.10.0.77".parse().expect("address")),
            mac: Some("02:42:ac:11:00:99".into()),
            ..Default::default()
        };
        let web = run_with(&net, "web", &[&front], &config);
        let links = web.sh("ip -o link");
        assert!(links.contains("lo: <LOOPBACK,UP"), "{links}");
        assert!(links.contains("mtu 1400") && links.contains("02:42:ac:11:00:99"), "{links}");
        let addr = web.sh("ip -o -4 addr show dev eth0");
        assert!(addr.contains("inet 10.10.0.77/24 brd 10.10.0.255"), "{addr}");
        assert_eq!(web.sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start").trim(), "0");
        assert!(!web.sh("ip -6 -o addr show dev eth0").contains("fe80"), "no IPv6 unless asked for");
        assert!(!sh("ip -6 -o addr show dev br-66726f6e7400").contains("fe80"));
        let none = run(&net, "none", &[]);
        assert_eq!(none.sh("ip -o link | wc -l").trim(), none.sh("ip -o link | grep -vc eth").trim());
        let again = net.sandbox(&container_id("none")).expect("the same");
        assert_eq!(again.path(), none.sandbox.path());
        let error = net
            .attach(&none.sandbox, &front.id, &EndpointConfig { ip: config.ip, ..Default::default() })
            .expect_err("taken");
        assert_eq!(error.to_string(), "Address already in use");
        let next = run(&net, "next", &[&front]);
        assert_eq!(next.ip().to_string(), "10.10.0.2");
        assert_eq!(next.endpoints[0].mac, "02:42:0a:0a:00:02");
        net.remove_sandbox(next.sandbox.container_id()).expect("remove");
        assert!(!next.sandbox.path().exists());
        net.purge().expect("purge");
        let _ = lab;
    });
}

#[test]
fn addresses_come_back_when_containers_go() {
    lab(|lab| {
        let net = lab.open();
        let tiny = network("tiny", "10.10.0.0/30");
        net.create(&tiny).expect("create");
        let mut before = Vec::new();
        for round in 0..5 {
            let one = run(&net, &format!("c{round}"), &[&tiny]);
            assert_eq!(one.ip().to_string(), "10.10.0.2", "the only one");
            // The one before is cut off, even while its interface is still there.
            let _server = serve_tcp(&one.namespace, 80, &format!("c{round}"));
            assert_eq!(ask_tcp(&lab.host, "10.10.0.2:80"), format!("c{round} 10.10.0.1"));
            net.remove_sandbox(one.sandbox.container_id()).expect("remove");
            before.push(one);
        }
        net.purge().expect("purge");
        let _ = lab;
    });
}

#[test]
fn networks_are_refused_as_docker_does() {
    lab(|lab| {
        let net = lab.open();
        net.create(&network("front", "10.10.0.0/16")).expect("create");
        let error = net.create(&network("other", "10.10.5.0/24")).expect_err("overlap");
        assert_eq!(error.to_string(), "Pool overlaps with other one on this address space");
        let same = with_option(network("same", "10.11.0.0/16"), "bridge.name", "br-66726f6e7400");
        net.create(&same).expect_err("the bridge is used");
        assert!(!sh("ip -o link").contains("br-6f74686572"), "nothing is left of it");
        let front = network("front", "10.10.0.0/16");
        let web = run(&net, "web", &[&front]);
        let error = net.remove(&front.id).expect_err("in use").to_string();
        assert!(error.contains("has active endpoints (name:\"web\" id:"), "{error}");
        net.remove_sandbox(web.sandbox.container_id()).expect("remove");
        net.remove(&front.id).expect("free");
        assert!(net.remove(&front.id).is_err());
        // The host's own routes are left alone by the pools.
        sh("ip route add 172.17.0.0/16 dev wire");
        let bridge = net.default_bridge("d0");
        let state = net.create(&bridge).expect("create");
        assert_eq!(state.subnets[0].subnet.to_string(), "172.18.0.0/16");
        assert_eq!(state.bridge, "dray0");
        net.purge().expect("purge");
        assert!(!sh("ip -o link").contains("dray0"));
        let _ = lab;
    });
}
