//! Gateway modes and the other options by which a bridge's containers are joined to the world.

mod lab;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use dray_network::Proto::{Tcp, Udp};
use dray_network::{Bound, Network, NetworkConfig, SubnetConfig};
use lab::*;

fn front(options: &[(&str, &str)]) -> NetworkConfig {
    let subnet = |text: &str| SubnetConfig { subnet: text.parse().ok(), ..Default::default() };
    let subnets = vec![subnet("10.10.0.0/24"), subnet("fd00:10::/64")];
    let config = NetworkConfig { subnets, ipv6: true, ..network("front", "") };
    options.iter().fold(config, |config, (key, value)| with_option(config, key, value))
}

/// Other machines know the way to the containers.
fn routes(lab: &Lab) {
    lab.outside_sh("ip route add 10.10.0.0/24 via 192.0.2.1; ip -6 route add fd00:10::/64 via 2001:db8::1");
}

/// Whether an echo comes back from an address.
fn answers_ping(namespace: &OwnedFd, addr: &str) -> bool {
    use rustix::net::{AddressFamily, SocketType, ipproto, recv, sendto, socket, sockopt};
    let addr = SocketAddr::new(addr.parse().expect(addr), 0);
    within(namespace, || {
        sysctl("net/ipv4/ping_group_range", "0 2147483647");
        let (family, protocol, request) = match addr {
            SocketAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, 8),
            SocketAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, 128),
        };
        let socket = socket(family, SocketType::DGRAM, Some(protocol)).expect("socket");
        let limit = Some(std::time::Duration::from_secs(1));
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, limit).expect("timeout");
        let echo = [request, 0, 0, 0, 0, 0, 0, 1, b'h', b'i'];
        sendto(&socket, &echo, rustix::net::SendFlags::empty(), &addr).expect("send");
        recv(&socket, &mut [0u8; 64][..], rustix::net::RecvFlags::empty()).is_ok()
    })
}

#[test]
fn routed_containers_are_asked_at_their_own_addresses() {
    lab(|lab| {
        routes(lab);
        let net = lab.open();
        let front = front(&[("bridge.gateway_mode_ipv4", "routed"), ("bridge.gateway_mode_ipv6", "routed")]);
        let state = net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&web.namespace, 81, "closed"));
        let _udp = serve_udp(&web.namespace, 53, "web");
        let _far = serve_tcp(&lab.outside, 99, "far");
        let wanted = [port(Tcp, None, 8080, 80), port(Udp, None, 8053, 53)];
        let bound = net.publish(&web.endpoints[0], &wanted).expect("publish");
        assert!(bound.len() == 4 && bound.iter().all(|b| b.host_port == 0), "{bound:?}");
        let open = |when: &str| {
            assert_eq!(ask_tcp(&lab.outside, "10.10.0.2:80"), format!("web {OUTSIDE}"), "{when}");
            assert_eq!(ask_tcp(&lab.outside, "[fd00:10::2]:80"), format!("web {OUTSIDE6}"), "{when}");
            assert_eq!(ask_udp(&lab.outside, "10.10.0.2:53"), format!("web {OUTSIDE}"), "{when}");
            refused_tcp(&lab.outside, "10.10.0.2:81");
            refused_tcp(&lab.outside, "[fd00:10::2]:81");
        };
        open("at first");
        refused_tcp(&lab.outside, "192.0.2.1:8080");
        assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:99"), "far 10.10.0.2", "seen as it is");
        assert_eq!(ask_tcp(&web.namespace, "[2001:db8::2]:99"), "far fd00:10::2");
        for addr in ["10.10.0.2", "fd00:10::2"] {
            assert!(answers_ping(&lab.outside, addr), "{addr}");
        }
        // The host's port is anybody's.
        std::net::TcpListener::bind("0.0.0.0:8080").expect("free");
        sh("nft flush ruleset");
        eventually("healed", || sh("nft list tables").contains("dray_lab"));
        open("after a flush");
        drop(net);
        let net = lab.open();
        net.restore(&state).expect("restore");
        let sandbox = net.open_sandbox(web.sandbox.container_id()).expect("found");
        net.restore_endpoint(&sandbox, &web.endpoints[0]).expect("endpoint");
        net.restore_ports(&web.endpoints[0], &bound).expect("ports");
        net.restore_done().expect("done");
        open("after a restart");
        net.unpublish(web.sandbox.container_id()).expect("unpublish");
        refused_tcp(&lab.outside, "10.10.0.2:80");
        refused_tcp(&lab.outside, "[fd00:10::2]:80");
        net.purge().expect("purge");
        assert_eq!(lab.ruleset(), "");
    });
}

#[test]
fn routed_without_ipv6_uses_no_port_of_the_hosts_ipv6_either() {
    lab(|lab| {
        let net = lab.open();
        let four = with_option(network("four", "10.10.0.0/24"), "bridge.gateway_mode_ipv4", "routed");
        net.create(&four).expect("create");
        let web = run(&net, "web", &[&four]);
        let bound = net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        assert!(bound.len() == 1 && bound[0].host_port == 0 && bound[0].host_ip.is_ipv4(), "{bound:?}");
        refused_tcp(&lab.outside, "[2001:db8::1]:8080");
        net.purge().expect("purge");
    });
}

#[test]
fn some_ports_are_withdrawn_and_the_others_stay_open() {
    lab(|lab| {
        routes(lab);
        let net = lab.open();
        let front =
            front(&[("bridge.gateway_mode_ipv4", "routed"), ("bridge.trusted_host_interfaces", "wire")]);
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&web.namespace, 81, "two"));
        let wanted = [port(Tcp, None, 8080, 80), port(Tcp, None, 9090, 80), port(Tcp, None, 8081, 81)];
        let bound = net.publish(&web.endpoints[0], &wanted).expect("publish");
        let of = |host: u16, container: u16| -> Vec<Bound> {
            let here = |b: &&Bound| b.container_port == container && [0, host].contains(&b.host_port);
            bound.iter().filter(here).copied().collect()
        };
        net.withdraw(web.sandbox.container_id(), &of(8081, 81)).expect("withdraw");
        refused_tcp(&lab.outside, "10.10.0.2:81");
        refused_tcp(&lab.outside, "[fd00:10::2]:81");
        assert_eq!(ask_tcp(&lab.outside, "10.10.0.2:80"), format!("web {OUTSIDE}"));
        // By IPv6 there are two ways to the same port: it stays open for the other.
        let six: Vec<Bound> = bound.iter().filter(|b| b.host_port == 8080).copied().collect();
        net.withdraw(web.sandbox.container_id(), &six).expect("withdraw");
        assert_eq!(ask_tcp(&lab.outside, "[fd00:10::2]:80"), format!("web {OUTSIDE6}"));
        refused_tcp(&lab.outside, "[2001:db8::1]:8080");
        assert_eq!(ask_tcp(&lab.outside, "[2001:db8::1]:9090"), format!("web {OUTSIDE6}"));
        net.purge().expect("purge");
    });
}

#[test]
fn families_have_modes_of_their_own() {
    lab(|lab| {
        routes(lab);
        let net = lab.open();
        let front = front(&[("bridge.gateway_mode_ipv6", "routed")]);
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let _server = serve_tcp(&web.namespace, 80, "web");
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), format!("web {OUTSIDE}"));
        refused_tcp(&lab.outside, "10.10.0.2:80");
        assert_eq!(ask_tcp(&lab.outside, "[fd00:10::2]:80"), format!("web {OUTSIDE6}"));
        refused_tcp(&lab.outside, "[2001:db8::1]:8080");
        net.purge().expect("purge");
    });
}

#[test]
fn unprotected_containers_are_open_to_who_knows_the_way() {
    lab(|lab| {
        routes(lab);
        let net = lab.open();
        let front = front(&[("bridge.gateway_mode_ipv4", "nat-unprotected")]);
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let _server = serve_tcp(&web.namespace, 81, "web");
        let _far = serve_tcp(&lab.outside, 99, "far");
        assert_eq!(ask_tcp(&lab.outside, "10.10.0.2:81"), format!("web {OUTSIDE}"));
        refused_tcp(&lab.outside, "[fd00:10::2]:81");
        assert!(!answers_ping(&lab.outside, "fd00:10::2"), "that family is as ever");
        assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:99"), "far 192.0.2.1", "behind the host nonetheless");
        net.purge().expect("purge");
    });
}

#[test]
fn isolated_networks_have_no_host_either() {
    lab(|lab| {
        let net = lab.open();
        let options = [("bridge.gateway_mode_ipv4", "isolated"), ("bridge.gateway_mode_ipv6", "isolated")];
        let open = front(&options);
        assert_eq!(
            net.create(&open).expect_err("it would lead out").to_string(),
            "gateway mode 'isolated' can only be used for an internal network"
        );
        let front = NetworkConfig { internal: true, ..front(&options) };
        net.create(&front).expect("create");
        let (web, near) = (run(&net, "web", &[&front]), run(&net, "near", &[&front]));
        let _server = serve_tcp(&web.namespace, 80, "web");
        assert_eq!(ask_tcp(&near.namespace, "10.10.0.2:80"), "web 10.10.0.3");
        let addresses = sh("ip -o addr show dev br-66726f6e7400");
        assert!(!addresses.contains("10.10.0.1") && !addresses.contains("fd00:10::1"), "{addresses}");
        refused_tcp(&lab.host, "10.10.0.2:80");
        net.purge().expect("purge");
    });
}

#[test]
fn trusted_interfaces_reach_what_is_published_directly() {
    lab(|lab| {
        routes(lab);
        let far = lab.neighbour();
        within(&far, || sh("ip route add 10.10.0.0/24 via 198.51.100.1"));
        let net = lab.open();
        let front = front(&[("bridge.trusted_host_interfaces", "wire:other0")]);
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&web.namespace, 81, "closed"));
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        assert_eq!(ask_tcp(&lab.outside, "10.10.0.2:80"), format!("web {OUTSIDE}"));
        assert_eq!(ask_tcp(&lab.outside, "[fd00:10::2]:80"), format!("web {OUTSIDE6}"));
        refused_tcp(&lab.outside, "10.10.0.2:81");
        refused_tcp(&far, "10.10.0.2:80");
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), format!("web {OUTSIDE}"), "as ever");
        net.unpublish(web.sandbox.container_id()).expect("unpublish");
        refused_tcp(&lab.outside, "10.10.0.2:80");
        net.purge().expect("purge");
    });
}

#[test]
fn containers_are_hidden_behind_the_address_that_was_named() {
    lab(|lab| {
        sh("ip addr add 192.0.2.77/24 dev wire; ip -6 addr add 2001:db8::77/64 dev wire nodad");
        let net = lab.open();
        let front = front(&[("host_ipv4", "192.0.2.77"), ("host_ipv6", "2001:db8::77")]);
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let _far = serve_tcp(&lab.outside, 99, "far");
        assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:99"), "far 192.0.2.77");
        assert_eq!(ask_tcp(&web.namespace, "[2001:db8::2]:99"), "far 2001:db8::77");
        net.purge().expect("purge");
    });
}

#[test]
fn another_machine_is_the_default_bridges_gateway_where_one_is_named() {
    lab(|lab| {
        let mut config = lab.config();
        config.default_bridge.gateway = "172.17.0.254".parse().ok();
        let net = Network::open(config.clone()).expect("open");
        let bridge = net.default_bridge(&container_id("bridge"));
        let state = net.create(&bridge).expect("create");
        assert_eq!(state.subnets[0].gateway, "172.17.0.1".parse().ok(), "the bridge has its own address");
        let web = run(&net, "web", &[&bridge]);
        assert_eq!(web.endpoints[0].gateway, "172.17.0.254".parse().ok());
        assert!(web.sh("ip route").contains("default via 172.17.0.254 "), "{}", web.sh("ip route"));
        net.purge().expect("purge");

        config.default_bridge.gateway = "10.1.2.3".parse().ok();
        let net = Network::open(config).expect("open");
        let refused = net.create(&net.default_bridge(&container_id("bridge"))).expect_err("outside");
        assert_eq!(refused.to_string(), "default gateway ip must be part of the network: 10.1.2.3");
    });
}
