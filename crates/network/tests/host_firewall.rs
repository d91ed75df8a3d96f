//! Living beside Docker, ufw and whoever else has rules on the host.

mod lab;

use dray_network::Proto::Tcp;
use lab::*;

/// What Docker leaves on a host, as iptables-nft writes it.
const DOCKER: &str = "
    for t in iptables ip6tables; do
        $t-nft -P FORWARD DROP
        $t-nft -N DOCKER-USER; $t-nft -A DOCKER-USER -j RETURN
        $t-nft -N DOCKER-ISOLATION; $t-nft -A DOCKER-ISOLATION -j RETURN
        $t-nft -A FORWARD -j DOCKER-USER
        $t-nft -A FORWARD -j DOCKER-ISOLATION
        $t-nft -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    done";
/// What ufw does.
const UFW: &str =
    "iptables-nft -P FORWARD DROP; iptables-nft -N ufw-forward; iptables-nft -A FORWARD -j ufw-forward";

/// Without counters, which packets change.
fn listing(lab: &Lab) -> String {
    let text = lab.ruleset();
    let plain = |l: &str| {
        let words: Vec<&str> = l.split(' ').collect();
        let mut kept = Vec::new();
        let mut i = 0;
        while i < words.len() {
            if words[i] == "packets" || words[i] == "bytes" {
                i += 2;
            } else {
                kept.push(words[i]);
                i += 1;
            }
        }
        kept.join(" ")
    };
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

#[test]
fn traffic_passes_a_host_that_drops_and_its_tables_are_given_back() {
    for rules in [DOCKER, UFW] {
        lab(|lab| {
            sh(rules);
            let before = listing(lab);
            let net = lab.open();
            let front = network("front", "10.10.0.0/24");
            net.create(&front).expect("create");
            let web = run(&net, "web", &[&front]);
            let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&lab.outside, 99, "far"));
            net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
            assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:99"), "far 192.0.2.1");
            assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), "web 192.0.2.2");
            lab.outside_sh("ip route add 10.10.0.0/24 via 192.0.2.1");
            refused_tcp(&lab.outside, "10.10.0.2:80");
            // The host's own tools still understand their tables.
            let saved = sh("iptables-nft-save");
            assert!(saved.contains("br-66726f6e7400"), "{saved}");
            assert!(!saved.contains("incompatible"), "{saved}");
            let inside = sh("nft list table ip filter");
            assert!(inside.contains("comment \"dray dray_lab: "), "{inside}");
            net.remove_sandbox(web.sandbox.container_id()).expect("remove");
            net.shutdown().expect("shutdown");
            assert_eq!(listing(lab), before);
        });
    }
}

#[test]
fn containers_that_outlive_the_daemon_keep_their_way_through() {
    for rules in [DOCKER, UFW] {
        lab(|lab| {
            sh(rules);
            let before = listing(lab);
            let net = lab.open();
            let front = network("front", "10.10.0.0/24");
            let state = net.create(&front).expect("create");
            let web = run(&net, "web", &[&front]);
            let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&lab.outside, 99, "far"));
            net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
            let reachable = |when: &str| {
                assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:99"), "far 192.0.2.1", "{when}");
                assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), "web 192.0.2.2", "{when}");
            };
            net.shutdown().expect("shutdown");
            drop(net);
            reachable("after a stop");
            let net = lab.open();
            reachable("while the next one starts");
            net.restore(&state).expect("restore");
            let sandbox = net.open_sandbox(web.sandbox.container_id()).expect("found");
            net.restore_endpoint(&sandbox, &web.endpoints[0]).expect("endpoint");
            net.restore_done().expect("done");
            assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:99"), "far 192.0.2.1");
            // Killed, and gone before the next one comes: that one takes the rules away.
            drop(net);
            let net = lab.open();
            net.restore_done().expect("done");
            net.shutdown().expect("shutdown");
            assert_eq!(listing(lab), before);
        });
    }
}

#[test]
fn rules_come_back_when_somebody_rebuilds_the_firewall() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&lab.outside, 99, "far"));
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        let filter = || sh("nft list ruleset").matches("comment \"dray dray_lab: ").count();
        assert_eq!(filter(), 0, "a host without rules is left alone");

        sh(DOCKER);
        eventually("Docker started after us", || filter() == 4);
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), "web 192.0.2.2");
        sh("iptables-nft -F DOCKER-USER; iptables-nft -A DOCKER-USER -j RETURN");
        eventually("the chain was flushed", || filter() == 4);
        assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:99"), "far 192.0.2.1");
        sh("nft flush ruleset");
        eventually("everything was flushed", || sh("nft list tables").contains("dray_lab"));
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), "web 192.0.2.2", "ports are there again");
        net.purge().expect("purge");
        assert_eq!(lab.ruleset(), "");
    });
}

#[test]
fn what_others_change_in_our_table_comes_back() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&lab.outside, 99, "far"));
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        lab.outside_sh("ip route add 10.10.0.0/24 via 192.0.2.1");
        let whole = listing(lab);
        for change in [
            "nft flush table inet dray_lab",
            "nft flush chain inet dray_lab between",
            "nft insert rule inet dray_lab forward accept",
            "nft flush map inet dray_lab ports4_any",
            "nft flush set inet dray_lab bridges",
            "nft delete chain inet dray_lab forward",
            "nft add rule inet dray_lab forward drop",
            "nft delete table inet dray_lab",
            "nft flush ruleset",
        ] {
            sh(change);
            eventually(change, || listing(lab) == whole);
            assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), "web 192.0.2.2", "{change}");
            assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:99"), "far 192.0.2.1", "{change}");
            refused_tcp(&lab.outside, "10.10.0.2:80");
        }
        net.purge().expect("purge");
        assert_eq!(lab.ruleset(), "");
    });
}

#[test]
fn ports_that_come_while_others_flush_are_there_at_the_end() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let api = run(&net, "api", &[&front]);
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&api.namespace, 80, "api"));
        for round in 0..20 {
            sh("nft flush ruleset");
            let kept = port(Tcp, None, 8100 + round, 80);
            net.publish(&web.endpoints[0], &[kept]).expect("publish");
            net.publish(&api.endpoints[0], &[port(Tcp, None, 9000, 80)]).expect("publish");
            net.unpublish(api.sandbox.container_id()).expect("unpublish");
        }
        eventually("all are there", || {
            let text = sh("nft list map inet dray_lab ports4_any 2>/dev/null || true");
            (8100..8120).all(|port| text.contains(&format!("tcp . {port} :")))
        });
        assert!(!lab.ruleset().contains("9000"), "{}", lab.ruleset());
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8119"), "web 192.0.2.2");
        refused_tcp(&lab.outside, "192.0.2.1:9000");
        net.purge().expect("purge");
    });
}

#[test]
fn dockers_containers_stay_dockers() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let _servers = (serve_tcp(&lab.outside, 80, "far"), serve_tcp(&lab.outside, 99, "far"));
        assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:80"), "far 192.0.2.1");
        // The neighbour becomes a container of Docker's, which comes after us; one of its ports is published.
        sh("ip link add docker0 type bridge; ip link set docker0 up; ip addr add 172.30.0.1/16 dev docker0");
        sh("ip addr flush dev wire; ip link set wire master docker0");
        lab.outside_sh(
            "ip addr flush dev wire; ip addr add 172.30.0.2/16 dev wire; ip route add default via 172.30.0.1",
        );
        sh(DOCKER);
        sh(
            "iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport 8080 -j DNAT --to 172.30.0.2:99",
        );
        sh("iptables-nft -A FORWARD -o docker0 -p tcp --dport 99 -j ACCEPT");
        eventually("seen", || sh("nft list set inet dray_lab foreign").contains("docker0"));
        refused_tcp(&web.namespace, "172.30.0.2:80");
        assert_eq!(ask_tcp(&web.namespace, "172.30.0.1:8080").split(' ').next(), Some("far"));
        net.purge().expect("purge");
    });
}

#[test]
fn old_tables_are_told() {
    lab(|lab| {
        let net = lab.open();
        // Not every kernel still has them.
        if sh("iptables-legacy -P FORWARD DROP 2>&1 || echo none").is_empty() {
            let warnings = net.warnings();
            assert!(warnings.len() == 1 && warnings[0].contains("iptables-legacy"), "{warnings:?}");
        }
        net.shutdown().expect("shutdown");
    });
}

#[test]
fn foreign_tables_that_drop_are_told() {
    lab(|lab| {
        let net = lab.open();
        assert_eq!(net.warnings(), Vec::<String>::new());
        sh(
            "nft add table inet fw; nft add chain inet fw routed '{ type filter hook forward priority 0; policy drop; }'",
        );
        let warnings = net.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("table fw, chain routed"), "{warnings:?}");
        net.shutdown().expect("shutdown");
        let _ = lab;
    });
}
