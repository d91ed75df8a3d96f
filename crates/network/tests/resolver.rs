//! The embedded resolver, asked over real sockets from inside of containers.

mod lab;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dray_network::{DnsConfig, EndpointConfig, NetworkConfig};
use lab::*;

const A: u16 = 1;
const PTR: u16 = 12;
const AAAA: u16 = 28;

fn query(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
    let mut out = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out.extend(kind.to_be_bytes());
    out.extend(1u16.to_be_bytes());
    if let Some(size) = edns {
        out.push(0);
        out.extend(41u16.to_be_bytes());
        out.extend(size.to_be_bytes());
        out.extend([0; 6]);
    }
    out
}

/// An answer: response code, TC, and the data of its records.
#[derive(Debug, PartialEq)]
struct Answer {
    rcode: u8,
    truncated: bool,
    data: Vec<Vec<u8>>,
}

impl Answer {
    fn of(message: &[u8]) -> Self {
        assert_eq!(&message[..2], &[0x12, 0x34], "the id");
        let count = u16::from_be_bytes([message[6], message[7]]);
        let mut at = 12;
        if message[5] == 1 {
            while message[at] != 0 {
                at += 1 + usize::from(message[at]);
            }
            at += 5;
        }
        let mut data = Vec::new();
        for _ in 0..count {
            at += 10;
            let len = usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
            data.push(message[at + 2..at + 2 + len].to_vec());
            at += 2 + len;
        }
        Self { rcode: message[3] & 15, truncated: message[2] & 2 != 0, data }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let addr = |d: &Vec<u8>| match d.len() {
            4 => IpAddr::from(Ipv4Addr::new(d[0], d[1], d[2], d[3])),
            _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(d.as_slice()).expect("an address"))),
        };
        self.data.iter().map(addr).collect()
    }
}

#[track_caller]
fn udp_from(namespace: &OwnedFd, message: &[u8]) -> Answer {
    within(namespace, || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
        socket.connect("127.0.0.11:53").expect("connect");
        socket.set_read_timeout(Some(Duration::from_secs(3))).expect("timeout");
        let mut buffer = [0; 4096];
        // Datagrams may be lost: as every client does, ask again.
        for _ in 0..5 {
            socket.send(message).expect("send");
            if let Ok(len) = socket.recv(&mut buffer) {
                return Answer::of(&buffer[..len]);
            }
        }
        panic!("no answer");
    })
}

fn ask(container: &Container, name: &str, kind: u16) -> Answer {
    udp_from(&container.namespace, &query(name, kind, None))
}

fn ask_over_tcp(container: &Container, name: &str, kind: u16) -> Answer {
    within(&container.namespace, || {
        let mut stream = TcpStream::connect("127.0.0.11:53").expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        let message = query(name, kind, None);
        stream.write_all(&(message.len() as u16).to_be_bytes()).expect("write");
        stream.write_all(&message).expect("write");
        let mut len = [0; 2];
        stream.read_exact(&mut len).expect("length");
        let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut answer).expect("answer");
        Answer::of(&answer)
    })
}

/// A resolver somewhere that knows one name.
fn upstream(namespace: &OwnedFd, addr: &str) -> Server {
    listening_upstream(namespace, addr, &Arc::default())
}

/// The same, which writes down what it is asked over UDP.
fn listening_upstream(namespace: &OwnedFd, addr: &str, heard: &Arc<Mutex<Vec<String>>>) -> Server {
    let heard = Arc::clone(heard);
    let socket = within(namespace, || UdpSocket::bind((addr, 53)).expect("bind"));
    let tcp = within(namespace, || std::net::TcpListener::bind((addr, 53)).expect("listen"));
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut len = [0; 2];
            if stream.read_exact(&mut len).is_err() {
                continue;
            }
            let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
            if stream.read_exact(&mut message).is_ok() {
                let answer = respond(&message, false);
                let _ = stream.write_all(&(answer.len() as u16).to_be_bytes());
                let _ = stream.write_all(&answer);
            }
        }
    });
    serve_with(move |stop| {
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
        let mut buffer = [0; 4096];
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            if let Ok((len, peer)) = socket.recv_from(&mut buffer) {
                heard.lock().expect("heard").push(asked_name(&buffer[..len]));
                let _ = socket.send_to(&respond(&buffer[..len], true), peer);
            }
        }
    })
}

/// What an upstream heard. Who gets no answer in time asks again: that counts once.
fn told(heard: &Mutex<Vec<String>>) -> Vec<String> {
    let mut names = heard.lock().expect("heard").clone();
    names.dedup();
    names
}

fn asked_name(query: &[u8]) -> String {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let len = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..=at + len]).into_owned());
        at += 1 + len;
    }
    labels.join(".")
}

/// `host.example` has an address; `large.example` only fits into TCP; all else does not exist.
fn respond(query: &[u8], udp: bool) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += 1 + usize::from(query[end]);
    }
    let name = query[12..end].to_ascii_lowercase();
    let mut out = query[..end + 5].to_vec();
    out[2] |= 0x80;
    out[3] = 0x80;
    out[10..12].fill(0);
    let record = |out: &mut Vec<u8>, last: u8| {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 51, 100, last]);
    };
    if name == b"\x04host\x07example" {
        out[7] = 1;
        record(&mut out, 7);
    } else if name == b"\x05large\x07example" && udp {
        out[2] |= 2;
    } else if name == b"\x05large\x07example" {
        out[7] = 200;
        (0..200).for_each(|i| record(&mut out, i));
    } else if name == b"\x06broken\x07example" {
        out[3] |= 2;
    } else {
        out[3] |= 3;
    }
    out
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|t| t.parse().expect(t)).collect()
}

#[test]
fn names_aliases_ids_and_addresses_are_known() {
    lab(|lab| {
        let net = lab.open();
        let front = NetworkConfig { ipv6: true, ..network("front", "10.10.0.0/24") };
        let back = network("back", "10.20.0.0/24");
        net.create(&front).expect("create");
        net.create(&back).expect("create");
        let config = EndpointConfig { aliases: vec!["Service".into()], ..Default::default() };
        let web = run_with(&net, "web", &[&front], &config);
        let two = run_with(&net, "two", &[&front, &back], &config);
        let db = run(&net, "db", &[&back]);

        assert_eq!(ask(&web, "two", A).addresses(), ips(&["10.10.0.3"]));
        assert_eq!(ask(&web, "TWO", AAAA).addresses(), [two.ip6()]);
        assert_eq!(ask(&web, "two.front", A).addresses(), ips(&["10.10.0.3"]));
        assert_eq!(ask_over_tcp(&web, "two", A).addresses(), ips(&["10.10.0.3"]));
        assert_eq!(ask(&web, "web", A).addresses(), ips(&["10.10.0.2"]), "itself");
        let short = &container_id("two")[..12];
        assert_eq!(ask(&web, short, A).addresses(), ips(&["10.10.0.3"]));
        let (first, second) = (ask(&web, "service", A).addresses(), ask(&web, "service", A).addresses());
        assert_eq!((first.len(), second.len()), (2, 2));
        assert_ne!(first[0], second[0], "taken in turn");
        assert_eq!(ask(&web, "3.0.10.10.in-addr.arpa", PTR).data, [b"\x03two\x05front\0".to_vec()]);
        // Who shares no network is unknown; who shares one is known by it.
        assert_eq!(ask(&web, "db", A).addresses(), ips(&[]));
        assert_eq!(ask(&two, "db", A).addresses(), ips(&["10.20.0.3"]));
        assert_eq!(ask(&db, "two", A).addresses(), ips(&["10.20.0.2"]));
        let nothing = ask(&db, "two", AAAA);
        assert_eq!((nothing.rcode, nothing.data.len()), (0, 0), "known, without IPv6");

        net.rename(two.sandbox.container_id(), "renamed");
        assert_eq!(ask(&web, "renamed", A).addresses(), ips(&["10.10.0.3"]));
        assert_eq!(ask(&web, "two", A).addresses(), ips(&[]));
        net.detach(&two.endpoints[0]).expect("detach");
        assert_eq!(ask(&web, "renamed", A).addresses(), ips(&[]));
        assert_eq!(ask(&two, "web", A).addresses(), ips(&[]));
        net.purge().expect("purge");
        let _ = lab;
    });
}

#[test]
fn other_names_are_asked_of_the_hosts_resolvers() {
    lab(|lab| {
        // The first does not answer; the second is on the host's own loopback.
        std::fs::write(lab.root.path().join("resolv.conf"), "nameserver 127.0.0.53\n").expect("write");
        let _resolver = upstream(&lab.host, "127.0.0.53");
        let _other = upstream(&lab.outside, "192.0.2.2");
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        let inner = NetworkConfig { internal: true, ..network("inner", "10.30.0.0/24") };
        net.create(&front).expect("create");
        net.create(&inner).expect("create");
        let web = run(&net, "web", &[&front]);
        assert_eq!(ask(&web, "host.example", A).addresses(), ips(&["198.51.100.7"]));
        assert_eq!(ask(&web, "nothing.example", A).rcode, 3);
        assert_eq!(ask(&web, "broken.example", A).rcode, 2);
        assert!(ask(&web, "large.example", A).truncated);
        assert_eq!(ask_over_tcp(&web, "large.example", A).data.len(), 200);
        let alone = run(&net, "alone", &[&inner]);
        assert_eq!(ask(&alone, "host.example", A).rcode, 2, "no way out, no names from outside");
        assert_eq!(ask(&alone, "alone", A).rcode, 0);

        let own = net.sandbox(&container_id("own")).expect("sandbox");
        net.set_dns(&own, DnsConfig { servers: ips(&["192.0.2.2"]), ..Default::default() });
        let own = run(&net, "own", &[&front]);
        assert_eq!(ask(&own, "host.example", A).addresses(), ips(&["198.51.100.7"]));
        std::fs::write(lab.root.path().join("resolv.conf"), "").expect("write");
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(ask(&web, "host.example", A).rcode, 2, "no server is left");
        net.purge().expect("purge");
    });
}

/// A resolver that loses the first question of each name, and answers with more than anybody reads.
fn bad_upstream(namespace: &OwnedFd, addr: &str) -> Server {
    let socket = within(namespace, || UdpSocket::bind((addr, 53)).expect("bind"));
    serve_with(move |stop| {
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
        let (mut buffer, mut heard) = ([0; 4096], Vec::new());
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let Ok((len, peer)) = socket.recv_from(&mut buffer) else { continue };
            let name = asked_name(&buffer[..len]);
            if !heard.contains(&name) {
                heard.push(name);
                continue;
            }
            let mut answer = respond(&buffer[..len], true);
            if name == "host.example" {
                // Others' answers: of another question, under another id, and no answer at all.
                let mut other = respond(&query("nothing.example", A, None), true);
                other[..2].copy_from_slice(&answer[..2]);
                let mut guessed = answer.clone();
                guessed[0] ^= 1;
                for packet in [&other[..], &guessed[..], &buffer[..len], &answer[..5], &[]] {
                    let _ = socket.send_to(packet, peer);
                }
            } else {
                answer.resize(6000, 0);
            }
            let _ = socket.send_to(&answer, peer);
        }
    })
}

#[test]
fn lost_questions_are_asked_again_and_bad_answers_passed_over() {
    lab(|lab| {
        std::fs::write(lab.root.path().join("resolv.conf"), "nameserver 192.0.2.2\n").expect("write");
        let _resolver = bad_upstream(&lab.outside, "192.0.2.2");
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        // One packet each: nobody but the resolver asks again.
        let once = |name: &str| {
            within(&web.namespace, || {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
                socket.connect("127.0.0.11:53").expect("connect");
                socket.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
                socket.send(&query(name, A, Some(65535))).expect("send");
                let mut buffer = [0; 8192];
                let len = socket.recv(&mut buffer).expect("an answer");
                Answer::of(&buffer[..len])
            })
        };
        assert_eq!(once("host.example").addresses(), ips(&["198.51.100.7"]));
        let cut = once("long.example");
        assert_eq!((cut.rcode, cut.truncated, cut.data.len()), (0, true, 0));
        net.purge().expect("purge");
    });
}

#[test]
fn a_resolver_behind_an_interface_is_asked_there() {
    lab(|lab| {
        sh("ip addr add fe80::99/64 dev lo nodad");
        std::fs::write(lab.root.path().join("resolv.conf"), "nameserver fe80::99%lo\n").expect("write");
        let socket = within(&lab.host, || {
            let scope = interface_number("lo");
            let addr = std::net::SocketAddrV6::new("fe80::99".parse().expect("an address"), 53, 0, scope);
            UdpSocket::bind(addr).expect("bind")
        });
        let _resolver = serve_with(move |stop| {
            socket.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
            let mut buffer = [0; 4096];
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                if let Ok((len, peer)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&respond(&buffer[..len], true), peer);
                }
            }
        });
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        assert_eq!(ask(&web, "host.example", A).addresses(), ips(&["198.51.100.7"]));
        net.purge().expect("purge");
    });
}

/// An interface's number in the calling thread's namespace.
fn interface_number(name: &str) -> u32 {
    let text = sh(&format!("ip -o link show {name}"));
    text.split(':').next().and_then(|number| number.trim().parse().ok()).expect("a number")
}

#[test]
fn what_only_this_daemon_can_know_never_leaves_it() {
    lab(|lab| {
        std::fs::write(lab.root.path().join("resolv.conf"), "nameserver 192.0.2.2\n").expect("write");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let _resolver = listening_upstream(&lab.outside, "192.0.2.2", &heard);
        let net = lab.open();
        let front = NetworkConfig { ipv6: true, ..network("front", "10.10.0.0/24") };
        let back = network("back", "10.20.0.0/24");
        net.create(&front).expect("create");
        net.create(&back).expect("create");
        let id = container_id("db");
        let names = |name: &str| {
            let short = id[..12].to_owned();
            vec![(
                "front".to_owned(),
                vec![name.to_owned(), "store".to_owned(), "db.example".to_owned(), short],
            )]
        };
        net.keep_names(&id, &names("db"));
        let web = run(&net, "web", &[&front]);
        let far = run(&net, "far", &[&back]);
        let asked = |container: &Container, name: &str, kind: u16| ask(container, name, kind).rcode;
        let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0";
        let prefix = web.ip6().to_string();
        let IpAddr::V6(v6) = web.ip6() else { panic!("{prefix}") };
        let nibbles: String =
            v6.octets()[..8].iter().rev().map(|b| format!("{:x}.{:x}.", b & 15, b >> 4)).collect();
        let reverse6 = format!("{}.{nibbles}ip6.arpa", six.replacen('1', "f", 1));
        let private = || {
            let short = &id[..12];
            for name in ["db", "DB", "store", "db.front", short] {
                for kind in [A, AAAA, 16] {
                    // Not running, and from a network that does not know it at all.
                    assert_eq!(asked(&web, name, kind), 3, "{name}");
                    assert_eq!(asked(&far, name, kind), 3, "{name}");
                }
            }
            for name in ["9.0.10.10.in-addr.arpa", "200.0.20.10.in-addr.arpa", &reverse6] {
                assert_eq!(asked(&web, name, PTR), 3, "{name}");
            }
        };
        private();
        // It comes and goes; then its names are private again.
        let config =
            EndpointConfig { aliases: vec!["store".into(), "db.example".into()], ..Default::default() };
        let db = run_with(&net, "db", &[&front], &config);
        assert_eq!(ask(&web, "store", A).addresses(), [db.ip()]);
        assert_eq!(ask(&web, "db.example", A).addresses(), [db.ip()]);
        assert_eq!(ask(&web, "3.0.10.10.in-addr.arpa", PTR).data, [b"\x02db\x05front\0".to_vec()]);
        net.remove_sandbox(&id).expect("remove");
        private();
        assert_eq!(told(&heard).as_slice(), &[] as &[String]);

        // What others may know is asked of them, a name with a dot too when nobody here answers to it.
        for (name, kind) in
            [("host.example", A), ("db.example", A), ("nas", A), ("7.100.51.198.in-addr.arpa", PTR)]
        {
            asked(&web, name, kind);
        }
        let others = ["host.example", "db.example", "nas", "7.100.51.198.in-addr.arpa"];
        assert_eq!(told(&heard).as_slice(), others);
        // A container that is gone, and one that is renamed, leave their names to others.
        net.keep_names(&id, &names("renamed"));
        asked(&web, "db", A);
        assert_eq!(asked(&web, "renamed", A), 3);
        net.forget_names(&id);
        asked(&web, "renamed", A);
        assert_eq!(told(&heard).as_slice()[others.len()..], ["db", "renamed"]);

        // Who asks again with search domains (`ndots`) is not helped by others.
        let own = net.sandbox(&container_id("own")).expect("sandbox");
        net.set_dns(&own, DnsConfig { dotless_stay: true, ..Default::default() });
        let own = run(&net, "own", &[&front]);
        assert_eq!(asked(&own, "nas", A), 3);
        assert_eq!(ask(&own, "web", A).addresses(), [web.ip()]);
        assert_eq!(ask(&own, "host.example", A).addresses(), ips(&["198.51.100.7"]));
        assert!(!told(&heard).as_slice()[others.len()..].contains(&"nas".to_owned()));
        net.purge().expect("purge");
    });
}

#[test]
fn links_and_settings_of_one_endpoint_hold_for_it_alone() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        let state = net.create(&front).expect("create");
        let db = run(&net, "db", &[&front]);
        let config = EndpointConfig {
            links: vec![("db".into(), "Database".into()), (container_id("db"), "store".into())],
            link_local: vec!["169.254.7.7".parse().expect("address"), "fe80::77".parse().expect("address")],
            interface: Some("front0".into()),
            sysctls: vec![("ipv4.conf.IFNAME.log_martians".into(), "1".into())],
            ..Default::default()
        };
        let web = run_with(&net, "web", &[&front], &config);
        let near = run(&net, "near", &[&front]);
        let held = |when: &str| {
            for name in ["database", "store", "db", "database.front"] {
                assert_eq!(ask(&web, name, A).addresses(), [db.ip()], "{name} {when}");
            }
            assert_ne!(ask(&near, "database", A).rcode, 0, "nobody else's");
        };
        held("at first");
        let shown = web.sh("ip -o addr show dev front0; cat /proc/sys/net/ipv4/conf/front0/log_martians");
        for part in ["10.10.0.3/24", "169.254.7.7/16", "fe80::77/64"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert_eq!(shown.lines().last(), Some("1"), "{shown}");
        let wrong = EndpointConfig { interface: Some("a/b".into()), ..Default::default() };
        let error = net.attach(&near.sandbox, &front.id, &wrong).expect_err("no name").to_string();
        assert_eq!(error, "invalid interface name: \"a/b\"");
        let taken = EndpointConfig { interface: Some("eth0".into()), ..Default::default() };
        let error = net.attach(&near.sandbox, &front.id, &taken).expect_err("taken").to_string();
        assert_eq!(error, "interface eth0 is in use by another network of the container");

        drop(net);
        let net = lab.open();
        net.restore(&state).expect("restore");
        for container in [&web, &db, &near] {
            let sandbox = net.open_sandbox(container.sandbox.container_id()).expect("found");
            net.restore_endpoint(&sandbox, &container.endpoints[0]).expect("endpoint");
        }
        net.restore_done().expect("done");
        held("after a restart");
        net.purge().expect("purge");
    });
}

#[test]
fn a_container_may_serve_port_53_itself() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let near = run(&net, "near", &[&front]);
        let own = serve_udp(&web.namespace, 53, "own");
        let _tcp = serve_tcp(&web.namespace, 53, "own");
        assert_eq!(ask_udp(&near.namespace, "10.10.0.2:53"), "own 10.10.0.3");
        assert_eq!(ask(&web, "near", A).addresses(), ips(&["10.10.0.3"]));
        assert_eq!(ask_over_tcp(&web, "near", A).addresses(), ips(&["10.10.0.3"]));
        drop(own);
        // Only user-defined networks have it.
        let bridge = net.default_bridge("d0");
        net.create(&bridge).expect("create");
        let plain = run(&net, "plain", &[&bridge]);
        refused_udp(&plain.namespace, "127.0.0.11:53");
        net.purge().expect("purge");
        let _ = lab;
    });
}

#[test]
fn a_new_daemon_goes_on_answering() {
    lab(|lab| {
        let front = network("front", "10.10.0.0/24");
        let net = lab.open();
        let state = net.create(&front).expect("create");
        let (web, db) = (run(&net, "web", &[&front]), run(&net, "db", &[&front]));
        assert_eq!(ask(&web, "db", A).addresses(), ips(&["10.10.0.3"]));
        drop(net);
        let net = lab.open();
        net.restore(&state).expect("restore");
        for container in [&web, &db] {
            let sandbox = net.open_sandbox(container.sandbox.container_id()).expect("found");
            net.restore_endpoint(&sandbox, &container.endpoints[0]).expect("endpoint");
        }
        net.restore_done().expect("done");
        assert_eq!(ask(&web, "db", A).addresses(), ips(&["10.10.0.3"]));
        assert_eq!(ask_over_tcp(&db, "web", A).addresses(), ips(&["10.10.0.2"]));
        net.purge().expect("purge");
    });
}

#[test]
fn hostile_clients_do_not_stop_it() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let namespace = Arc::clone(&web.namespace);
        within(&namespace, || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
            let good = query("web", A, Some(1232));
            let mut seed = 7u32;
            for round in 0..2000 {
                let mut bytes = if round % 2 == 0 { good.clone() } else { vec![0; round % 700] };
                for _ in 0..4 {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if !bytes.is_empty() {
                        let at = seed as usize % bytes.len();
                        bytes[at] = (seed >> 24) as u8;
                    }
                }
                socket.send_to(&bytes, "127.0.0.11:53").expect("send");
            }
            let mut stuck: Vec<TcpStream> = Vec::new();
            for _ in 0..40 {
                let mut stream = TcpStream::connect("127.0.0.11:53").expect("connect");
                stream.write_all(&[0xff, 0xff, 1]).expect("write");
                stuck.push(stream);
            }
        });
        assert_eq!(ask(&web, "web", A).addresses(), ips(&["10.10.0.2"]));
        assert_eq!(ask_over_tcp(&web, "web", A).addresses(), ips(&["10.10.0.2"]));
        net.purge().expect("purge");
        let _ = lab;
    });
}
