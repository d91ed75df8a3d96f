//! One published port over several containers: who gets new connections, and what becomes of those that are there.

mod lab;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dray_network::Proto::{Tcp, Udp};
use dray_network::{Network, NetworkConfig, Readiness};
use lab::*;

/// As many questions as make it certain that everybody was asked.
const QUESTIONS: usize = 60;

/// A container that shares port 8080 with the others of the group `web`.
fn replica(net: &Network, name: &str, network: &NetworkConfig) -> (Container, Server, Server) {
    let container = run(net, name, &[network]);
    net.share(&container_id(name), Some("web".into()), Readiness::Ready);
    let wanted = [port(Tcp, None, 8080, 80), port(Udp, None, 8080, 80)];
    net.publish(&container.endpoints[0], &wanted).expect("publish");
    let servers = (serve_tcp(&container.namespace, 80, name), serve_udp(&container.namespace, 80, name));
    (container, servers.0, servers.1)
}

fn name(answer: &str) -> String {
    answer.split(' ').next().unwrap_or_default().to_owned()
}

/// Who answers at an address.
fn answering(from: &OwnedFd, address: &str) -> BTreeSet<String> {
    (0..QUESTIONS).map(|_| name(&ask_tcp(from, address))).collect()
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn new_connections_go_to_all_by_every_way() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let all: Vec<_> = ["a", "b", "c"].iter().map(|name| replica(&net, name, &front)).collect();
        let near = run(&net, "near", &[&front]);
        let everybody = names(&["a", "b", "c"]);
        assert_eq!(answering(&lab.outside, "192.0.2.1:8080"), everybody);
        assert_eq!(answering(&lab.host, "127.0.0.1:8080"), everybody);
        assert_eq!(answering(&lab.host, "192.0.2.1:8080"), everybody);
        assert_eq!(answering(&lab.host, "[::1]:8080"), everybody);
        assert_eq!(answering(&lab.outside, "[2001:db8::1]:8080"), everybody);
        assert_eq!(answering(&near.namespace, "192.0.2.1:8080"), everybody);
        assert_eq!(answering(&all[0].0.namespace, "192.0.2.1:8080"), everybody, "themselves too");
        assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080").split(' ').nth(1), Some("192.0.2.2"), "who asks");
        let udp: BTreeSet<String> =
            (0..QUESTIONS).map(|_| name(&ask_udp(&lab.outside, "192.0.2.1:8080"))).collect();
        assert_eq!(udp, everybody);
        let udp: BTreeSet<String> = (0..QUESTIONS).map(|_| name(&ask_udp(&lab.host, "[::1]:8080"))).collect();
        assert_eq!(udp, everybody);

        // A stranger is refused, and so is the group at another address of the same port.
        let stranger = run(&net, "stranger", &[&front]);
        let taken = net.publish(&stranger.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect_err("taken");
        assert!(taken.to_string().ends_with("Bind for 0.0.0.0:8080 failed: port is already allocated"));

        // One after the other goes; the last one gives the port back.
        net.remove_sandbox(&container_id("a")).expect("remove");
        assert_eq!(answering(&lab.outside, "192.0.2.1:8080"), names(&["b", "c"]));
        assert_eq!(answering(&lab.host, "[::1]:8080"), names(&["b", "c"]));
        net.unpublish(&container_id("b")).expect("unpublish");
        assert_eq!(answering(&lab.outside, "192.0.2.1:8080"), names(&["c"]));
        net.remove_sandbox(&container_id("c")).expect("remove");
        for addr in ["127.0.0.1:8080", "[::1]:8080", "192.0.2.1:8080"] {
            refused_tcp(&lab.host, addr);
        }
        let ruleset = lab.ruleset();
        assert!(!ruleset.contains("8080"), "{ruleset}");
        net.publish(&stranger.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("free");
        net.purge().expect("purge");
        assert_eq!(lab.ruleset(), "");
    });
}

/// A server that says back what it hears, to one client at a time.
fn serve_echo(namespace: &OwnedFd, port: u16) -> Server {
    let listener = within(namespace, || TcpListener::bind(("::", port)).expect("listen"));
    listener.set_nonblocking(true).expect("nonblocking");
    serve_with(move |stop: &AtomicBool| {
        while !stop.load(Ordering::Relaxed) {
            let Ok((mut client, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            client.set_nonblocking(false).expect("blocking");
            let mut buffer = [0; 64];
            while let Ok(len @ 1..) = client.read(&mut buffer) {
                let _ = client.write_all(&buffer[..len]);
            }
        }
    })
}

fn says_back(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 5];
    stream.write_all(b"hello").is_ok() && stream.read_exact(&mut buffer).is_ok() && &buffer == b"hello"
}

#[test]
fn those_that_are_fit_get_them_and_what_is_there_goes_on() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let (a, _a_tcp, _a_udp) = replica(&net, "a", &front);
        let (b, _b_tcp, _b_udp) = replica(&net, "b", &front);
        let (id_a, id_b) = (container_id("a"), container_id("b"));
        let by = |address: &str| answering(&lab.host, address);
        let everywhere = |expected: &[&str]| {
            for address in ["127.0.0.1:8080", "[::1]:8080"] {
                assert_eq!(by(address), names(expected), "{address}");
            }
        };
        for (readiness, expected) in [
            (Readiness::Unhealthy, &["a"][..]),
            (Readiness::Starting, &["a"]),
            (Readiness::Ready, &["a", "b"]),
            (Readiness::Away, &["a"]),
        ] {
            net.set_readiness(&id_b, readiness).expect("set");
            everywhere(expected);
        }

        // A connection that is there outlives its container's turn.
        net.publish(&a.endpoints[0], &[port(Tcp, None, 9090, 90)]).expect("publish");
        let _echo = serve_echo(&a.namespace, 90);
        let connect = |addr: &str| {
            let stream = within(&lab.outside, || TcpStream::connect(addr)).expect("connect");
            stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
            stream
        };
        let mut stream = connect("192.0.2.1:9090");
        assert!(says_back(&mut stream));
        // Alone at a port: nobody can take its place, and it stays.
        net.set_readiness(&id_a, Readiness::Away).expect("set");
        assert_eq!(net.shared_connections(&id_a).expect("count"), None);
        net.publish(&b.endpoints[0], &[port(Tcp, None, 9090, 80)]).expect("publish");
        net.set_readiness(&id_b, Readiness::Ready).expect("set");
        everywhere(&["b"]);
        assert!(ask_tcp(&lab.outside, "192.0.2.1:9090").starts_with("b "));
        assert!(says_back(&mut stream), "it goes on");
        eventually("it alone is counted", || net.shared_connections(&id_a).expect("count") == Some(1));
        drop(stream);
        eventually("it has ended", || net.shared_connections(&id_a).expect("count") == Some(0));
        // Who is away is better than nobody.
        net.set_readiness(&id_b, Readiness::Away).expect("set");
        everywhere(&["a", "b"]);
        assert_eq!(net.shared_connections(&id_a).expect("count"), None);
        net.purge().expect("purge");
    });
}

#[test]
fn who_asked_one_that_is_gone_is_answered_by_another() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let (a, _a_tcp, _a_udp) = replica(&net, "a", &front);
        let _b = replica(&net, "b", &front);
        net.set_readiness(&container_id("b"), Readiness::Unhealthy).expect("set");
        // What asks is lost there, as when a container ends while it is on its way.
        a.sh("nft 'add table ip deaf; add chain ip deaf input { type filter hook input priority 0; }; \
              add rule ip deaf input counter drop'");
        let silent = || a.sh("nft list chain ip deaf input").contains("packets 0");
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| within(&lab.host, || TcpStream::connect("127.0.0.1:8080")));
            eventually("it has asked", || !silent());
            net.remove_sandbox(&container_id("a")).expect("remove");
            asking.join().expect("the client").expect("b answers");
        });
        net.purge().expect("purge");
    });
}

#[test]
fn one_that_starts_waits_until_its_program_listens() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let _a = replica(&net, "a", &front);
        let b = run(&net, "b", &[&front]);
        let id = container_id("b");
        net.share(&id, Some("web".into()), Readiness::Starting);
        net.publish(&b.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        net.ready_when_listening(&id);
        // On its loopback alone it cannot be reached.
        let early = within(&b.namespace, || TcpListener::bind("127.0.0.1:80").expect("listen"));
        assert_eq!(answering(&lab.outside, "192.0.2.1:8080"), names(&["a"]));
        drop(early);
        let _server = serve_tcp(&b.namespace, 80, "b");
        eventually("it gets its share", || answering(&lab.outside, "192.0.2.1:8080") == names(&["a", "b"]));
        net.purge().expect("purge");
    });
}

#[test]
fn the_next_daemon_goes_on_with_it() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        let state = net.create(&front).expect("create");
        let all = ["a", "b"].map(|name| replica(&net, name, &front));
        let gone = replica(&net, "gone", &front);
        drop(net);
        assert_eq!(answering(&lab.outside, "192.0.2.1:8080"), names(&["a", "b", "gone"]), "meanwhile");
        drop(gone);

        let net = lab.open();
        net.restore(&state).expect("restore");
        for (container, ..) in &all {
            let id = container.sandbox.container_id();
            let sandbox = net.open_sandbox(id).expect("found");
            net.restore_endpoint(&sandbox, &container.endpoints[0]).expect("endpoint");
            net.share(id, Some("web".into()), Readiness::Ready);
            let bound = |proto, ip: &str| dray_network::Bound {
                proto,
                container_port: 80,
                host_ip: ip.parse().expect(ip),
                host_port: 8080,
            };
            let bound = [bound(Tcp, "0.0.0.0"), bound(Tcp, "::"), bound(Udp, "0.0.0.0")];
            for _ in 0..2 {
                net.restore_ports(&container.endpoints[0], &bound).expect("ports");
            }
        }
        net.restore_done().expect("done");
        for addr in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
            assert_eq!(answering(&lab.outside, addr), names(&["a", "b"]), "{addr}");
        }
        assert_eq!(answering(&lab.host, "[::1]:8080"), names(&["a", "b"]));
        TcpListener::bind("0.0.0.0:8080").expect_err("held again");
        net.set_readiness(&container_id("b"), Readiness::Unhealthy).expect("set");
        assert_eq!(answering(&lab.outside, "192.0.2.1:8080"), names(&["a"]));

        // Somebody flushes everything: what comes back is what is so now, also when it changes meanwhile.
        sh("nft flush ruleset");
        net.set_readiness(&container_id("b"), Readiness::Ready).expect("set");
        assert_eq!(answering(&lab.outside, "192.0.2.1:8080"), names(&["a", "b"]));
        net.purge().expect("purge");
        assert_eq!(lab.ruleset(), "");
    });
}

#[test]
fn behind_the_gate_it_is_the_hosts_rules_that_let_in() {
    lab(|lab| {
        let net = lab.open();
        let mut front = network("front", "10.10.0.0/24");
        front.options.insert("dray.network.publish_mode".into(), "firewall-aware".into());
        net.create(&front).expect("create");
        let _all = ["a", "b"].map(|name| replica(&net, name, &front));
        let everybody = names(&["a", "b"]);
        assert_eq!(answering(&lab.outside, "192.0.2.1:8080"), everybody);
        let drop_8080 = "nft add table inet mine && \
            nft 'add chain inet mine input { type filter hook input priority filter; }' && \
            nft add rule inet mine input iifname wire tcp dport 8080 drop";
        sh(drop_8080);
        refused_tcp(&lab.outside, "192.0.2.1:8080");
        assert_eq!(answering(&lab.host, "127.0.0.1:8080"), everybody);
        sh("nft delete table inet mine");
        net.unpublish(&container_id("a")).expect("unpublish");
        assert_eq!(answering(&lab.outside, "192.0.2.1:8080"), names(&["b"]));
        net.unpublish(&container_id("b")).expect("unpublish");
        refused_tcp(&lab.outside, "192.0.2.1:8080");
        net.purge().expect("purge");
        assert_eq!(lab.ruleset(), "");
    });
}
