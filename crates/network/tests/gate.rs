//! Ports that obey the host's own INPUT rules (`firewall-aware`): under plain nftables, ufw's and firewalld's rules.

mod lab;

use dray_network::Proto::{Tcp, Udp};
use dray_network::{Config, Exposure, NetworkConfig, PublishMode, SubnetConfig};
use lab::*;

/// A network with both families whose ports obey.
fn aware() -> NetworkConfig {
    let subnet = |text: &str| SubnetConfig { subnet: text.parse().ok(), ..Default::default() };
    let subnets = vec![subnet("10.10.0.0/24"), subnet("fd00:10::/64")];
    let mut config = NetworkConfig { subnets, ipv6: true, ..network("front", "") };
    config.options.insert("dray.network.publish_mode".into(), "firewall-aware".into());
    config
}

/// Plain nftables: all is refused but one port from one machine. `$IN` are the rules that let in.
fn plain(rules: &str) -> String {
    format!(
        "nft -f - <<'END'
        table inet filter {{
            chain input {{
                type filter hook input priority filter; policy drop;
                ct state vmap {{ established : accept, related : accept, invalid : drop }}
                iif lo accept
                icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept
                {rules}
            }}
        }}
END"
    )
}

/// The shape of what ufw makes: chains of its own, called from INPUT, which drops.
const UFW: &str = "
    for t in iptables-nft ip6tables-nft; do
        $t -P INPUT DROP; $t -P FORWARD DROP
        for c in before-input user-input after-input skip-to-policy-input; do $t -N ufw-$c; done
        $t -A INPUT -j ufw-before-input; $t -A INPUT -j ufw-after-input
        $t -A ufw-before-input -i lo -j ACCEPT
        $t -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        $t -A ufw-before-input -m conntrack --ctstate INVALID -j DROP
        $t -A ufw-before-input -j ufw-user-input
        $t -A ufw-after-input -p udp --dport 137 -j ufw-skip-to-policy-input
        $t -A ufw-skip-to-policy-input -j DROP
    done
    ip6tables-nft -I ufw-before-input -p ipv6-icmp -j ACCEPT";

/// The shape of what firewalld makes: a table of its own, a zone for each interface, all else rejected.
fn firewalld(ports: &str) -> String {
    format!(
        "nft -f - <<'END'
        table inet firewalld {{
            chain mangle_PREROUTING {{
                type filter hook prerouting priority mangle + 10; policy accept;
                jump mangle_PREROUTING_ZONES
            }}
            chain mangle_PREROUTING_ZONES {{
                iifname \"wire\" goto mangle_PRE_public
                goto mangle_PRE_public
            }}
            chain mangle_PRE_public {{ }}
            chain filter_INPUT {{
                type filter hook input priority filter + 10; policy accept;
                ct state {{ established, related }} accept
                ct status dnat accept
                iifname \"lo\" accept
                ct state invalid drop
                jump filter_INPUT_ZONES
                reject with icmpx type admin-prohibited
            }}
            chain filter_FORWARD {{
                type filter hook forward priority filter + 10; policy accept;
                ct state {{ established, related }} accept
                ct status dnat accept
                iifname \"lo\" accept
                ct state invalid drop
                jump filter_FORWARD_ZONES
                reject with icmpx type admin-prohibited
            }}
            chain filter_INPUT_ZONES {{
                iifname \"wire\" goto filter_IN_public
                goto filter_IN_public
            }}
            chain filter_FORWARD_ZONES {{
                iifname \"wire\" goto filter_FWD_public
                goto filter_FWD_public
            }}
            chain filter_IN_public {{
                icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
                tcp dport 22 ct state {{ new, untracked }} accept
                {ports}
                meta l4proto {{ icmp, ipv6-icmp }} accept
                reject with icmpx type admin-prohibited
            }}
            chain filter_FWD_public {{
                oifname \"wire\" accept
                reject with icmpx type admin-prohibited
            }}
        }}
END"
    )
}

/// A published port under a firewall: closed, then opened by the firewall's own means, then closed again.
fn obeys(closed: &str, open: &str, close: &str) {
    lab(|lab| {
        // Where the kernel looks closely at where packets come from.
        sysctl("net/ipv4/conf/all/rp_filter", "1");
        sh(closed);
        let net = lab.open();
        net.create(&aware()).expect("create");
        let web = run(&net, "web", &[&aware()]);
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_udp(&web.namespace, 53, "web"));
        let wanted = [port(Tcp, None, 8080, 80), port(Udp, None, 5353, 53)];
        net.publish(&web.endpoints[0], &wanted).expect("publish");
        let host_and_localhost = || {
            assert_eq!(ask_tcp(&lab.host, "127.0.0.1:8080"), "web 10.10.0.1");
            assert_eq!(ask_tcp(&lab.host, "192.0.2.1:8080"), "web 192.0.2.1");
            assert!(ask_tcp(&lab.host, "[::1]:8080").starts_with("web "));
        };
        let shut = || {
            refused_tcp(&lab.outside, "192.0.2.1:8080");
            refused_tcp(&lab.outside, "[2001:db8::1]:8080");
            refused_udp(&lab.outside, "192.0.2.1:5353");
        };
        shut();
        host_and_localhost();
        sh(open);
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), format!("web {OUTSIDE}"), "the client is seen");
        assert_eq!(ask_tcp(&lab.outside, "[2001:db8::1]:8080"), format!("web {OUTSIDE6}"));
        assert_eq!(ask_udp(&lab.outside, "192.0.2.1:5353"), format!("web {OUTSIDE}"));
        host_and_localhost();
        // Not even now at the container's own address.
        lab.outside_sh(
            "ip route add 10.10.0.0/24 via 192.0.2.1; ip -6 route add fd00:10::/64 via 2001:db8::1",
        );
        refused_tcp(&lab.outside, "10.10.0.2:80");
        refused_tcp(&lab.outside, "[fd00:10::2]:80");
        sh(close);
        refused_tcp(&lab.outside, "192.0.2.1:8080");
        refused_tcp(&lab.outside, "[2001:db8::1]:8080");
        net.purge().expect("purge");
        assert!(!lab.ruleset().contains("dray"), "{}", lab.ruleset());
        let links = sh("ip -o link");
        assert!(!links.contains("gate"), "{links}");
    });
}

#[test]
fn plain_nftables_decide() {
    let open = "nft add rule inet filter input ip saddr 192.0.2.2 tcp dport 8080 accept; \
                nft add rule inet filter input ip6 saddr 2001:db8::2 tcp dport 8080 accept; \
                nft add rule inet filter input udp dport 5353 accept";
    obeys(&plain(""), open, "nft insert rule inet filter input tcp dport 8080 drop");
}

#[test]
fn ufw_decides() {
    let open = "for t in iptables-nft ip6tables-nft; do \
                $t -A ufw-user-input -p tcp --dport 8080 -j ACCEPT; \
                $t -A ufw-user-input -p udp --dport 5353 -j ACCEPT; done";
    let close = "for t in iptables-nft ip6tables-nft; do $t -F ufw-user-input; done";
    obeys(UFW, open, close);
}

#[test]
fn firewalld_decides() {
    // It reloads by taking its table away and making it anew.
    let reload = |ports: &str| format!("nft delete table inet firewalld; {}", firewalld(ports));
    let ports = "tcp dport 8080 ct state { new, untracked } accept\nudp dport 5353 ct state { new, untracked } accept";
    obeys(&firewalld(""), &reload(ports), &reload(""));
}

#[test]
fn one_daemon_has_ports_of_both_kinds() {
    lab(|lab| {
        sh(&plain("tcp dport 8081 accept"));
        let net = lab.open();
        let old = network("old", "10.20.0.0/24");
        let inner = NetworkConfig { internal: true, ..network("inner", "10.30.0.0/24") };
        for config in [&aware(), &old, &inner] {
            net.create(config).expect("create");
        }
        let (web, api) = (run(&net, "web", &[&aware()]), run(&net, "api", &[&old]));
        let (near, db) = (run(&net, "near", &[&aware()]), run(&net, "db", &[&inner]));
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&api.namespace, 80, "api"));
        net.publish(&api.endpoints[0], &[port(Tcp, None, 9090, 80)]).expect("publish");
        let bound = [port(Tcp, None, 8080, 80), port(Tcp, Some("192.0.2.1"), 8081, 80)];
        net.publish(&web.endpoints[0], &bound).expect("publish");
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:9090"), format!("api {OUTSIDE}"), "as Docker's");
        refused_tcp(&lab.outside, "192.0.2.1:8080");
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8081"), format!("web {OUTSIDE}"), "of one address");
        // Containers come in as everybody does.
        assert_eq!(ask_tcp(&api.namespace, "192.0.2.1:8081"), "web 10.20.0.2");
        assert_eq!(ask_tcp(&near.namespace, "192.0.2.1:8081"), "web 10.10.0.1");
        assert_eq!(ask_tcp(&web.namespace, "192.0.2.1:8081"), "web 10.10.0.1", "hairpin");
        refused_tcp(&api.namespace, "192.0.2.1:8080");
        db.sh("ip route add default via 10.30.0.1");
        refused_tcp(&db.namespace, "192.0.2.1:8081");

        // The gate goes with the last network that needs it.
        let gates = || sh("ip -o link").matches("gate").count();
        assert!(gates() > 0);
        for container in [&web, &near] {
            net.remove_sandbox(container.sandbox.container_id()).expect("remove");
        }
        net.remove(&aware().id).expect("remove");
        assert_eq!(gates(), 0);
        assert_eq!(sh("nft list tables | grep -c dray_lab").trim(), "1");
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:9090"), format!("api {OUTSIDE}"));
        net.purge().expect("purge");
    });
}

#[test]
fn what_is_exposed_is_told_with_its_reason() {
    lab(|lab| {
        let net = lab.open();
        let old = with_option(network("old", "10.20.0.0/24"), "bridge.enable_icc", "false");
        for config in [&aware(), &old] {
            net.create(config).expect("create");
        }
        let (web, api) = (run(&net, "web", &[&aware()]), run(&net, "api", &[&old]));
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        let bound = [port(Tcp, None, 9090, 80), port(Udp, Some("127.0.0.1"), 5353, 53)];
        net.publish(&api.endpoints[0], &bound).expect("publish");
        let told = || {
            let line = |e: &Exposure| {
                let at = e.host_port.map_or(e.address.to_string(), |p| format!("{} {p}", e.address));
                format!("{} {at} {:?}: {}", e.container, e.from, e.reason)
            };
            let mut lines: Vec<String> = net.exposure().expect("exposure").iter().map(line).collect();
            lines.sort();
            lines
        };
        let bridges = ["br-66726f6e7400", "br-6f6c64000000"];
        let own = |name: &str, bridge| {
            format!("Network(\"{name}\"): on one bridge ({bridge}); other bridges and machines are kept out")
        };
        let nat = "nat: translated before the host's INPUT rules are asked";
        let daemon = "a socket of the daemon's, since the container has no IPv6";
        let expected = |input: &str| {
            vec![
                format!("api 0.0.0.0 9090 Anyone: {nat}"),
                format!(
                    "api 10.20.0.2 Host: enable_icc is off: containers of its own bridge ({}) are kept out too",
                    bridges[1]
                ),
                "api 127.0.0.1 5353 Host: published on loopback".to_owned(),
                format!("api :: 9090 InputRules: {daemon}: {input}"),
                format!("web 0.0.0.0 8080 InputRules: firewall-aware: {input}"),
                format!("web 10.10.0.2 {}", own("front", bridges[0])),
                format!("web :: 8080 InputRules: firewall-aware: {input}"),
                format!("web fd00:10::2 {}", own("front", bridges[0])),
            ]
        };
        assert_eq!(told(), expected("the host has no INPUT rules, everybody is let in"));
        sh(&plain(""));
        assert_eq!(told(), expected("inet filter input (policy drop) decide"));
        let all = net.exposure().expect("exposure");
        let of = |v4: bool| {
            let found = all.iter().find(|e| e.host_port == Some(9090) && e.address.is_ipv4() == v4);
            found.expect("published").addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!((of(true), of(false)), (vec![HOST.to_owned()], vec![HOST6.to_owned()]));
        net.purge().expect("purge");
    });
}

#[test]
fn large_datagrams_come_through_whole() {
    lab(|lab| {
        sh(&plain("udp dport 5353 accept"));
        let net = lab.open();
        net.create(&aware()).expect("create");
        let web = run(&net, "web", &[&aware()]);
        let server = within(&web.namespace, || std::net::UdpSocket::bind("0.0.0.0:53").expect("bind"));
        server.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("timeout");
        net.publish(&web.endpoints[0], &[port(Udp, None, 5353, 53)]).expect("publish");
        within(&lab.outside, || {
            let client = std::net::UdpSocket::bind("0.0.0.0:0").expect("bind");
            client.send_to(&[7; 20_000], "192.0.2.1:5353").expect("send");
        });
        let mut buffer = vec![0; 65_536];
        let (len, from) = server.recv_from(&mut buffer).expect("it comes");
        assert_eq!((len, from.ip().to_string()), (20_000, OUTSIDE.to_owned()));
        net.purge().expect("purge");
    });
}

#[test]
fn the_daemon_may_say_it_for_all_and_may_be_gone() {
    lab(|lab| {
        sh(&plain("ip saddr 192.0.2.2 tcp dport 8080 accept"));
        let far = lab.neighbour();
        let config = || Config { publish_mode: PublishMode::FirewallAware, ..lab.config() };
        let net = dray_network::Network::open(config()).expect("open");
        let front = network("front", "10.10.0.0/24");
        let state = net.create(&front).expect("create");
        assert_eq!(state.publish_mode, None, "as the daemon says");
        let web = run(&net, "web", &[&front]);
        let _server = serve_tcp(&web.namespace, 80, "web");
        let bound = net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        let decided = |when: &str| {
            assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), format!("web {OUTSIDE}"), "{when}");
            refused_tcp(&far, "198.51.100.1:8080");
        };
        decided("at first");
        // Somebody makes the firewall anew: theirs is gone, ours comes back.
        sh("nft flush ruleset");
        eventually("healed", || sh("nft list tables").matches("dray_lab").count() == 3);
        assert_eq!(ask_tcp(&far, "198.51.100.1:8080"), format!("web {FAR}"));
        sh(&plain("ip saddr 192.0.2.2 tcp dport 8080 accept"));
        decided("after a reload");
        drop(net);
        decided("without a daemon");
        // The next daemon publishes as Docker does.
        let net = lab.open();
        net.restore(&state).expect("restore");
        let sandbox = net.open_sandbox(web.sandbox.container_id()).expect("found");
        net.restore_endpoint(&sandbox, &web.endpoints[0]).expect("endpoint");
        net.restore_ports(&web.endpoints[0], &bound).expect("ports");
        net.restore_done().expect("done");
        assert_eq!(ask_tcp(&far, "198.51.100.1:8080"), format!("web {FAR}"));
        assert!(!sh("ip -o link").contains("gate"));
        assert_eq!(sh("nft list tables").matches("dray_lab").count(), 1);
        net.purge().expect("purge");
    });
}
