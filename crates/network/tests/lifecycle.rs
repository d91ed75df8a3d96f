//! A daemon that is killed, comes again, or stops: what stays and what goes.

mod lab;

use dray_network::Proto::{Tcp, Udp};
use lab::*;

#[test]
fn a_killed_daemon_is_followed_by_one_that_knows() {
    lab(|lab| {
        let front = network("front", "10.10.0.0/24");
        let gone = network("gone", "10.20.0.0/24");
        let net = lab.open();
        let state = net.create(&front).expect("create");
        net.create(&gone).expect("create");
        let web = run(&net, "web", &[&front]);
        let lost = run(&net, "lost", &[&front]);
        let wanted = [port(Tcp, None, 8080, 80), port(Udp, None, 5353, 53)];
        let bound = net.publish(&web.endpoints[0], &wanted).expect("publish");
        net.publish(&lost.endpoints[0], &[port(Tcp, None, 8081, 80)]).expect("publish");
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_udp(&web.namespace, 53, "web"));
        let _lost = serve_tcp(&lost.namespace, 80, "lost");
        // Killed: nothing is taken down, its sockets close.
        drop(net);
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), "web 192.0.2.2", "goes on without a daemon");

        let net = lab.open();
        net.restore(&state).expect("restore");
        let sandbox = net.open_sandbox(web.sandbox.container_id()).expect("found");
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), "web 192.0.2.2", "goes on meanwhile");
        net.restore_endpoint(&sandbox, &web.endpoints[0]).expect("endpoint");
        net.restore_ports(&web.endpoints[0], &bound).expect("ports");
        net.restore_done().expect("done");
        for addr in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
            assert!(ask_tcp(&lab.outside, addr).starts_with("web "));
        }
        assert!(ask_tcp(&lab.host, "[::1]:8080").starts_with("web "));
        assert!(ask_udp(&lab.outside, "192.0.2.1:5353").starts_with("web "));
        refused_tcp(&lab.outside, "192.0.2.1:8081");
        assert!(!lost.sandbox.path().exists(), "the namespace of a container that is gone");
        let links = sh("ip -o link");
        assert!(!links.contains(&lost.endpoints[0].host_interface), "{links}");
        assert!(!links.contains("br-676f6e65"), "a network that was not recorded: {links}");
        std::net::TcpListener::bind("0.0.0.0:8080").expect_err("held again");
        let next = run(&net, "next", &[&front]);
        assert_eq!(next.ip().to_string(), "10.10.0.3", "web's address is known to be taken");
        // Twice is the same.
        net.restore_endpoint(&sandbox, &web.endpoints[0]).expect("endpoint");
        net.restore_ports(&web.endpoints[0], &bound).expect("ports");
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), "web 192.0.2.2");
        net.purge().expect("purge");
        assert_eq!(lab.ruleset(), "");
    });
}

#[test]
fn stopping_leaves_running_containers_their_network() {
    lab(|lab| {
        let front = network("front", "10.10.0.0/24");
        let net = lab.open();
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        let _server = serve_tcp(&web.namespace, 80, "web");
        net.shutdown().expect("shutdown");
        drop(net);
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), "web 192.0.2.2");
        // The next daemon finds nobody alive and cleans up, settings included.
        let net = lab.open();
        net.restore_done().expect("done");
        net.shutdown().expect("shutdown");
        assert_eq!(lab.ruleset(), "");
        assert_eq!(read_sysctl("net/ipv4/ip_forward"), "0");
        let links = sh("ip -o link");
        assert!(!links.contains("br-") && !links.contains("veth"), "{links}");
    });
}

#[test]
fn stopping_idle_leaves_nothing() {
    lab(|lab| {
        let links = sh("ip -o link");
        let net = lab.open();
        let state = net.create(&net.default_bridge("d0")).expect("create");
        net.create(&network("front", "10.10.0.0/24")).expect("create");
        let web = run(&net, "web", &[&network("front", "")]);
        net.remove_sandbox(web.sandbox.container_id()).expect("remove");
        net.shutdown().expect("shutdown");
        drop(net);
        assert_eq!(lab.ruleset(), "");
        assert_eq!(sh("ip -o link"), links);
        assert_eq!(read_sysctl("net/ipv4/ip_forward"), "0");
        let left: Vec<_> = std::fs::read_dir(lab.root.path().join("netns")).expect("folder").collect();
        assert!(left.is_empty(), "{left:?}");
        // A stored network is made again.
        let net = lab.open();
        net.restore(&state).expect("restore");
        net.restore_done().expect("done");
        assert!(sh("ip -o -4 addr show dev dray0").contains("172.17.0.1/16"));
        net.purge().expect("purge");
    });
}

#[test]
fn a_forwarding_host_stays_one() {
    lab(|lab| {
        sysctl("net/ipv4/ip_forward", "1");
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        run(&net, "web", &[&front]);
        net.purge().expect("purge");
        assert_eq!(read_sysctl("net/ipv4/ip_forward"), "1");
        let _ = lab;
    });
}

#[test]
fn two_daemons_share_a_host() {
    lab(|lab| {
        let one = lab.open();
        let mut config = lab.config();
        config.run_root = lab.root.path().join("two");
        config.table = "dray_two".into();
        config.bridge_name = "dray1".into();
        let two = dray_network::Network::open(config).expect("open");
        let (a, b) = (one.default_bridge("a0"), two.default_bridge("b0"));
        let first = one.create(&a).expect("create");
        let second = two.create(&b).expect("create");
        assert_ne!(first.subnets, second.subnets, "the second keeps clear of the first");
        let (web, api) = (run(&one, "web", &[&a]), run(&two, "api", &[&b]));
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&api.namespace, 80, "api"));
        one.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        let error = two.publish(&api.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect_err("in use");
        assert!(error.to_string().contains("address already in use"), "{error}");
        two.publish(&api.endpoints[0], &[port(Tcp, None, 8081, 80)]).expect("publish");
        assert!(ask_tcp(&lab.outside, "192.0.2.1:8080").starts_with("web "));
        assert!(ask_tcp(&lab.outside, "192.0.2.1:8081").starts_with("api "));
        refused_tcp(&api.namespace, &format!("{}:80", web.ip()));
        two.purge().expect("purge");
        let _ = rustix::mount::unmount(api.sandbox.path(), rustix::mount::UnmountFlags::DETACH);
        assert!(ask_tcp(&lab.outside, "192.0.2.1:8080").starts_with("web "), "the other goes on");
        one.purge().expect("purge");
        assert_eq!(lab.ruleset(), "");
    });
}

#[test]
fn what_a_killed_daemon_left_disturbs_nobody() {
    for filtered in ["0", "1"] {
        lab(|lab| {
            if std::path::Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists() {
                sysctl("net/bridge/bridge-nf-call-iptables", filtered);
            }
            let mut config = lab.config();
            config.table = "dray_old".into();
            let old = dray_network::Network::open(config).expect("open");
            old.create(&network("old", "10.10.0.0/24")).expect("create");
            drop(old);
            sh("ip link del br-6f6c64000000");
            let net = lab.open();
            let front = network("front", "10.10.0.0/24");
            net.create(&front).expect("create");
            let (web, near) = (run(&net, "web", &[&front]), run(&net, "near", &[&front]));
            let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&lab.outside, 99, "far"));
            net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
            assert_eq!(ask_tcp(&near.namespace, "10.10.0.2:80"), "web 10.10.0.3");
            assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), "web 192.0.2.2");
            assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:99"), "far 192.0.2.1");
            net.purge().expect("purge");
        });
    }
}
