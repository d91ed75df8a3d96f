//! macvlan and ipvlan: containers as machines of the network that an interface of the host is on.

mod lab;

use dray_network::Proto::Tcp;
use dray_network::{Driver, EndpointConfig, NetworkConfig, SubnetConfig};
use lab::*;

fn lan(name: &str, driver: Driver, options: &[(&str, &str)]) -> NetworkConfig {
    let subnet = |text: &str, range: &str| SubnetConfig {
        subnet: text.parse().ok(),
        ip_range: range.parse().ok(),
        ..Default::default()
    };
    let mut config = NetworkConfig {
        driver,
        subnets: vec![subnet("192.0.2.0/24", "192.0.2.48/28"), subnet("2001:db8::/64", "2001:db8::30/124")],
        ipv6: true,
        ..network(name, "")
    };
    config.options.extend(options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    config
}

#[test]
fn macvlan_containers_are_machines_of_the_parents_network() {
    lab(|lab| {
        let net = lab.open();
        let lan = lan("lan", Driver::Macvlan, &[("parent", "wire")]);
        let state = net.create(&lan).expect("create");
        assert_eq!(state.subnets[0].gateway, None, "nobody named one");
        let (web, near) = (run(&net, "web", &[&lan]), run(&net, "near", &[&lan]));
        assert_eq!(web.ip().to_string(), "192.0.2.48", "of the range, where nobody is the gateway");
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&lab.outside, 99, "far"));
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.48:80"), format!("web {OUTSIDE}"));
        assert_eq!(ask_tcp(&lab.outside, &format!("[{}]:80", web.ip6())), format!("web {OUTSIDE6}"));
        assert_eq!(ask_tcp(&near.namespace, "192.0.2.48:80"), "web 192.0.2.49");
        assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:99"), "far 192.0.2.48");
        refused_tcp(&lab.host, "192.0.2.48:80");
        assert_eq!(read_sysctl("net/ipv4/ip_forward"), "0", "nothing is forwarded");
        assert_eq!(web.sh("ip -o route show default"), "", "no gateway, no default route");
        let links = web.sh("ip -o -d link show eth0");
        assert!(links.contains("macvlan mode bridge"), "{links}");
        // A publication is no error, and nothing.
        let bound = net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("no error");
        assert!(bound.is_empty());
        net.detach(&near.endpoints[0]).expect("detach");
        assert!(!near.sh("ip -o link").contains("eth0"));
        // Its address is the next one's at once, and the neighbours learn of it.
        let next = run(&net, "next", &[&lan]);
        assert_eq!(next.ip().to_string(), "192.0.2.49");
        let _next = serve_tcp(&next.namespace, 80, "next");
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.49:80"), format!("next {OUTSIDE}"));
        net.remove_sandbox(web.sandbox.container_id()).expect("remove");
        refused_tcp(&lab.outside, "192.0.2.48:80");
        net.purge().expect("purge");
        assert!(sh("ip -o link").contains(" wire@"), "the parent is somebody's");
        assert_eq!(lab.ruleset(), "");
    });
}

#[test]
fn a_gateway_that_is_named_gives_the_default_route() {
    lab(|lab| {
        let net = lab.open();
        let mut lan = lan("lan", Driver::Macvlan, &[("parent", "wire"), ("macvlan_mode", "vepa")]);
        lan.subnets[0].gateway = OUTSIDE.parse().ok();
        let bridge = network("bridge", "10.10.0.0/24");
        net.create(&lan).expect("create");
        net.create(&bridge).expect("create");
        let mac = EndpointConfig {
            mac: Some("02:42:ac:11:00:99".into()),
            gateway_priority: 1,
            ..Default::default()
        };
        let web = run_with(&net, "web", &[&lan], &mac);
        let config = EndpointConfig { name: "web".into(), ..Default::default() };
        net.attach(&web.sandbox, &bridge.id, &config).expect("attach");
        let routes = web.sh("ip -o route show default");
        assert!(routes.contains("via 192.0.2.2 dev eth0"), "{routes}");
        let link = web.sh("ip -o -d link show eth0");
        assert!(link.contains("02:42:ac:11:00:99") && link.contains("mode vepa"), "{link}");
        net.purge().expect("purge");
    });
}

#[test]
fn private_containers_do_not_meet() {
    lab(|lab| {
        let net = lab.open();
        let lan = lan("lan", Driver::Macvlan, &[("parent", "wire"), ("macvlan_mode", "private")]);
        net.create(&lan).expect("create");
        let (web, near) = (run(&net, "web", &[&lan]), run(&net, "near", &[&lan]));
        let _server = serve_tcp(&web.namespace, 80, "web");
        refused_tcp(&near.namespace, &format!("{}:80", web.ip()));
        assert_eq!(ask_tcp(&lab.outside, &format!("{}:80", web.ip())), format!("web {OUTSIDE}"));
        net.purge().expect("purge");
    });
}

#[test]
fn without_a_parent_a_network_leads_nowhere() {
    lab(|lab| {
        let net = lab.open();
        let alone = NetworkConfig { driver: Driver::Macvlan, ..network("alone", "10.10.0.0/24") };
        let state = net.create(&alone).expect("create");
        assert!(state.internal);
        let parent = state.parent.clone().expect("a parent");
        assert_eq!((parent.name.as_str(), parent.owned), ("dm-616c6f6e6500", true));
        let (web, near) = (run(&net, "web", &[&alone]), run(&net, "near", &[&alone]));
        let _server = serve_tcp(&web.namespace, 80, "web");
        assert_eq!(ask_tcp(&near.namespace, &format!("{}:80", web.ip())), format!("web {}", near.ip()));
        // Killed: the next daemon knows them.
        drop(net);
        let net = lab.open();
        net.restore(&state).expect("restore");
        for container in [&web, &near] {
            let sandbox = net.open_sandbox(container.sandbox.container_id()).expect("found");
            net.restore_endpoint(&sandbox, &container.endpoints[0]).expect("endpoint");
        }
        net.restore_done().expect("done");
        assert_eq!(ask_tcp(&near.namespace, &format!("{}:80", web.ip())), format!("web {}", near.ip()));
        for container in [&web, &near] {
            net.remove_sandbox(container.sandbox.container_id()).expect("remove");
        }
        net.remove(&alone.id).expect("remove");
        assert!(!sh("ip -o link").contains("dm-"), "it goes with its network");
        // A reboot takes it, the next start makes it again.
        net.restore(&state).expect("restore");
        assert!(sh("ip -o link").contains("dm-616c6f6e6500"));
        net.purge().expect("purge");
        assert!(!sh("ip -o link").contains("dm-"));
        let _ = lab;
    });
}

#[test]
fn parents_are_refused_as_docker_does() {
    lab(|lab| {
        let net = lab.open();
        let refused = |name: &str, options: &[(&str, &str)]| {
            let subnets = Vec::new();
            let config = NetworkConfig { subnets, ipv6: false, ..lan(name, Driver::Macvlan, options) };
            net.create(&config).expect_err(name).to_string()
        };
        assert_eq!(
            refused("a", &[("parent", "eth9")]),
            "invalid subinterface vlan name eth9, example formatting is eth0.10"
        );
        assert_eq!(
            refused("a", &[("parent", "eth9.7")]),
            "-o parent interface was not found on the host: eth9"
        );
        assert_eq!(
            refused("a", &[("parent", "wire.5000")]),
            "vlan id must be between 1-4094, received: 5000"
        );
        let taken = NetworkConfig {
            subnets: Vec::new(),
            ipv6: false,
            ..lan("taken", Driver::Macvlan, &[("parent", "wire"), ("macvlan_mode", "passthru")])
        };
        net.create(&taken).expect("create");
        assert_eq!(
            refused("a", &[("parent", "wire")]),
            format!("macvlan network {} is already using parent interface wire in mode passthru", taken.id)
        );
        assert_eq!(
            refused("a", &[("parent", "wire"), ("macvlan_mode", "passthru")]),
            format!(
                "cannot use mode passthru, macvlan network {} is already using parent interface wire",
                taken.id
            )
        );
        net.purge().expect("purge");
        let _ = lab;
    });
}

/// Whether this kernel makes interfaces of a kind.
fn kernel_has(kind: &str) -> bool {
    !sh(&format!("ip link add link wire name probe type {kind} 2>&1 && ip link del probe || true"))
        .contains("Unknown device type")
}

#[test]
fn a_vlan_is_made_for_its_networks_and_goes_with_the_last() {
    lab(|lab| {
        let net = lab.open();
        let config = |name: &str, subnet: &str| NetworkConfig {
            driver: Driver::Macvlan,
            options: [("parent".to_owned(), "wire.10".to_owned())].into(),
            ..network(name, subnet)
        };
        let (one, two) = (config("one", "10.10.0.0/24"), config("two", "10.20.0.0/24"));
        if !kernel_has("vlan id 10") {
            let error = net.create(&one).expect_err("no VLANs").to_string();
            assert_eq!(error, "netlink: make interface wire.10 of VLAN 10: operation not supported");
            net.create(&network("next", "10.10.0.0/24")).expect("nothing is left of it");
            net.purge().expect("purge");
            return;
        }
        lab.outside_sh(
            "ip link add link wire name wire.10 type vlan id 10; ip addr add 10.10.0.99/24 dev wire.10; \
             ip link set wire.10 up",
        );
        net.create(&one).expect("create");
        net.create(&two).expect("create");
        let web = run(&net, "web", &[&one]);
        let _server = serve_tcp(&web.namespace, 80, "web");
        assert_eq!(ask_tcp(&lab.outside, &format!("{}:80", web.ip())), "web 10.10.0.99");
        net.remove_sandbox(web.sandbox.container_id()).expect("remove");
        net.remove(&one.id).expect("remove");
        assert!(sh("ip -o link").contains("wire.10"), "the other needs it");
        net.remove(&two.id).expect("remove");
        assert!(!sh("ip -o link").contains("wire.10"));
        net.purge().expect("purge");
    });
}

#[test]
fn ipvlan_containers_share_the_parents_hardware_address() {
    lab(|lab| {
        let net = lab.open();
        let lan = lan("lan", Driver::Ipvlan, &[("parent", "wire")]);
        net.create(&lan).expect("create");
        if !kernel_has("ipvlan mode l2") {
            let sandbox = net.sandbox(&container_id("web")).expect("sandbox");
            let config = EndpointConfig { name: "web".into(), ..Default::default() };
            let error = net.attach(&sandbox, &lan.id, &config).expect_err("no ipvlan").to_string();
            assert_eq!(error, "netlink: link eth0 of web to interface wire: operation not supported");
            net.remove(&lan.id).expect("no endpoint is left");
            net.purge().expect("purge");
            return;
        }
        let (web, near) = (run(&net, "web", &[&lan]), run(&net, "near", &[&lan]));
        assert_eq!(web.endpoints[0].mac, "");
        let _server = serve_tcp(&web.namespace, 80, "web");
        assert_eq!(ask_tcp(&lab.outside, &format!("{}:80", web.ip())), format!("web {OUTSIDE}"));
        assert_eq!(ask_tcp(&near.namespace, &format!("{}:80", web.ip())), format!("web {}", near.ip()));
        let routed = NetworkConfig {
            driver: Driver::Ipvlan,
            options: [("parent", "wire"), ("ipvlan_mode", "l3")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            ..network("routed", "10.20.0.0/24")
        };
        net.remove_sandbox(web.sandbox.container_id()).expect("remove");
        net.remove_sandbox(near.sandbox.container_id()).expect("remove");
        net.remove(&lan.id).expect("remove");
        net.create(&routed).expect("create");
        let web = run(&net, "web", &[&routed]);
        assert!(web.sh("ip -o route show default").starts_with("default dev eth0 scope link"));
        net.purge().expect("purge");
    });
}
