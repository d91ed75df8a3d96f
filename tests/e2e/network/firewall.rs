//! ufw and firewalld themselves, on a machine of the test's own, beside a daemon: what they let in reaches ports of
//! firewall-aware networks and what they do not does not; ports of mode `nat` are open as Docker's are; and whatever the
//! programs do with their rules, containers keep their ways out, their names and their ports.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use dray_harness::firewall::Firewalls;
use dray_harness::machine::Machine;
use dray_harness::{Client, Daemon, fixture};

/// Tells who asks.
const WHO: &str = "mkdir -p /www/cgi-bin; printf '#!/bin/sh\\necho; echo $REMOTE_ADDR' > /www/cgi-bin/who; \
                   chmod +x /www/cgi-bin/who; exec httpd -f -p 80 -h /www";

/// A daemon on a machine with a firewall's programs, and a neighbour on its wire.
struct Scene {
    daemon: Daemon,
    firewalls: Firewalls,
    host: Arc<Machine>,
    neighbour: Arc<Machine>,
    _world: World,
}

impl Scene {
    fn new() -> Self {
        // Before there is a machine without a way to Debian.
        fixture::firewalls();
        let (host, neighbour) = (Arc::new(Machine::new()), Arc::new(Machine::new()));
        host.wire(&["192.0.2.1/24", "2001:db8::1/64"], &neighbour, &["192.0.2.2/24", "2001:db8::2/64"]);
        host.sh("ip route add default via 192.0.2.2");
        let world = World::on(&neighbour);
        let daemon = Daemon::spawn_on(&host, &["--dns", "192.0.2.2"]);
        let firewalls = Firewalls::on(&host);
        let scene = Scene { daemon, firewalls, host, neighbour, _world: world };
        scene.populate();
        scene
    }

    /// A port of each mode, made by each client.
    fn populate(&self) {
        let aware = "-o dray.network.publish_mode=firewall-aware";
        for (client, port, aware) in [(self.docker(), 8080, aware), (self.dray(), 9090, "")] {
            let network = if aware.is_empty() { "plain" } else { "guarded" };
            client.ok(&format!("network create --ipv6 {aware} {network}"));
            let front = format!("run -d --name on-{network} --network {network} -p {port}:80 busybox sh -c");
            client.run(front.split(' ').chain([WHO])).expect_success();
        }
        self.docker().ok("run -d --name local --network guarded -p 127.0.0.1:7070:80 busybox httpd -f -p 80");
    }

    fn dray(&self) -> Client {
        self.daemon.dray()
    }

    fn docker(&self) -> Client {
        self.daemon.docker()
    }

    /// Comes true, and whoever waits in vain is shown the rules.
    #[track_caller]
    fn comes(&self, what: &str, check: impl Fn() -> bool) {
        for _ in 0..400 {
            if check() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{what}\n{}", self.host.ruleset());
    }

    /// Whether the firewall lets the neighbour in to 8080; and all that must be so whatever it says.
    #[track_caller]
    fn holds(&self, let_in: bool, when: &str) {
        let guarded = |own: &str| let_in.then(|| own.to_owned());
        let near = &self.neighbour;
        self.comes(&format!("{when}: 8080 let in {let_in}"), || {
            who(near, "192.0.2.1:8080") == guarded("192.0.2.2")
        });
        self.comes(&format!("{when}: IPv6 8080 let in {let_in}"), || {
            who(near, "[2001:db8::1]:8080") == guarded("2001:db8::2")
        });
        // Mode nat is Docker's: no rule for INPUT is asked.
        self.comes(&format!("{when}: nat"), || who(near, "192.0.2.1:9090").as_deref() == Some("192.0.2.2"));
        self.comes(&format!("{when}: nat, IPv6"), || {
            who(near, "[2001:db8::1]:9090").as_deref() == Some("2001:db8::2")
        });
        for (port, what) in [(8080, "guarded"), (9090, "nat"), (7070, "local")] {
            let address = format!("127.0.0.1:{port}");
            self.comes(&format!("{when}: localhost, {what}"), || reached(&self.host, &address));
        }
        for (container, other) in [("on-guarded", "local"), ("on-plain", "on-plain")] {
            let exec = |line: &str| self.dray().sh(&format!("exec {container} {line}"));
            let says = |line: &str, text: &str| {
                let said = exec(line);
                said.code == 0 && said.stdout.contains(text)
            };
            self.comes(&format!("{when}: {container}: out"), || {
                says("nc -w 3 192.0.2.2 99", "world 192.0.2.1")
            });
            self.comes(&format!("{when}: {container}: a neighbour's name"), || {
                says(&format!("nslookup {other}"), "Name")
            });
            self.comes(&format!("{when}: {container}: the world's names"), || {
                says("nslookup www.example.com", "203.0.113.7")
            });
        }
        // Never: what is published on localhost, and what routes to a container.
        assert_eq!(who(near, "192.0.2.1:7070"), None, "{when}: published on localhost");
        assert_eq!(
            who(near, &format!("{}:80", self.address("on-plain"))),
            None,
            "{when}: by its own address"
        );
        assert_eq!(
            who(near, &format!("{}:80", self.address("on-guarded"))),
            None,
            "{when}: by its own address"
        );
    }

    fn address(&self, container: &str) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        self.dray().run(["inspect", "-f", format, container]).expect_success().stdout.trim().to_owned()
    }

    /// `network exposure` says that these rules decide about IPv4 and IPv6 at 8080, and what is so of the other ports.
    #[track_caller]
    fn tells(&self, rules: [&str; 2]) {
        let line = |at: &str, from: &str, why: &str| (format!("{at} {from}"), why.to_owned());
        let of = |rules: &str| format!("firewall-aware: {rules}");
        assert_eq!(
            self.told("on-guarded")[..2],
            [
                line("0.0.0.0:8080", "INPUT rules", &of(rules[0])),
                line("[::]:8080", "INPUT rules", &of(rules[1]))
            ]
        );
        let anyone = [line("0.0.0.0:9090", "anyone", NAT), line("[::]:9090", "anyone", NAT)];
        assert_eq!(self.told("on-plain")[..2], anyone);
        assert_eq!(self.told("local")[0], line("127.0.0.1:7070", "this host", "published on loopback"));
    }

    /// The daemon goes; so does what it has put into the host's tables.
    fn end(self) {
        let Scene { daemon, firewalls, host, .. } = self;
        drop(daemon);
        let left = host.ruleset();
        assert!(!left.contains("dray") && !left.contains("gate"), "{left}");
        drop(firewalls);
    }

    /// What `network exposure` says of published ports of a container: address and port, from where, why.
    fn told(&self, container: &str) -> Vec<(String, String)> {
        let filter = format!("container={container}");
        let format = "{{.At}} {{.From}}|{{.Reason}}";
        let text = self.dray().run(["network", "exposure", "--filter", &filter, "--format", format]);
        let text = text.expect_success().stdout;
        let lines = text.lines().filter_map(|line| line.split_once('|'));
        lines.map(|(at, why)| (at.to_owned(), why.to_owned())).collect()
    }
}

/// The address that a container sees the one who asks at.
fn who(from: &Machine, address: &str) -> Option<String> {
    // A server of both families sees IPv4 as [::ffff:192.0.2.2].
    let seen = ask(from, address, "/cgi-bin/who")?;
    let seen: IpAddr = seen.trim().trim_matches(['[', ']']).parse().ok()?;
    Some(seen.to_canonical().to_string())
}

fn reached(from: &Machine, address: &str) -> bool {
    ask(from, address, "/").is_some()
}

fn ask(from: &Machine, address: &str, path: &str) -> Option<String> {
    let address: SocketAddr = address.parse().expect("an address");
    from.within(|| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).map(|(_, body)| body.to_owned())
    })
}

/// What the neighbour serves: port 99 tells who asks, port 53 knows one name.
struct World {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl World {
    fn on(machine: &Machine) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (listener, socket) = machine.within(|| {
            let listener = TcpListener::bind("0.0.0.0:99").expect("listen");
            (listener, UdpSocket::bind("0.0.0.0:53").expect("bind"))
        });
        let (stopped, ended) = (Arc::clone(&stop), Arc::clone(&stop));
        listener.set_nonblocking(true).expect("nonblocking");
        let greets = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, peer)) => drop(writeln!(stream, "world {}", peer.ip())),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
        let names = std::thread::spawn(move || {
            let mut question = [0; 512];
            while !ended.load(Ordering::Relaxed) {
                if let Ok((length, peer)) = socket.recv_from(&mut question) {
                    let _ = socket.send_to(&answer(&question[..length]), peer);
                }
            }
        });
        World { stop, threads: vec![greets, names] }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Every name has one address, 203.0.113.7, and none of IPv6.
fn answer(question: &[u8]) -> Vec<u8> {
    const HEADER: usize = 12;
    let name = question[HEADER..].iter().position(|byte| *byte == 0).expect("a name");
    let asked = &question[HEADER..HEADER + name + 5];
    let is_a = asked[asked.len() - 4..] == [0, 1, 0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(asked);
    if is_a {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 7]);
    }
    answer
}

const NAT: &str = "nat: translated before the host's INPUT rules are asked";
const NO_RULES: &str = "the host has no INPUT rules, everybody is let in";

#[test]
fn ufw_has_its_word() {
    let mut scene = Scene::new();
    scene.holds(true, "no firewall");
    scene.tells([NO_RULES; 2]);
    scene.firewalls.ufw("--force enable");
    scene.holds(false, "enabled");
    scene.tells(["ip filter INPUT (policy drop) decide", "ip6 filter INPUT (policy drop) decide"]);
    scene.firewalls.ufw("allow 8080/tcp");
    scene.holds(true, "allow 8080");
    scene.firewalls.ufw("reload");
    scene.holds(true, "reload");
    scene.daemon.kill();
    assert_eq!(who(&scene.neighbour, "192.0.2.1:8080").as_deref(), Some("192.0.2.2"), "without a daemon");
    scene.daemon.launch();
    scene.holds(true, "the next daemon");
    scene.firewalls.ufw("deny 8080/tcp");
    scene.holds(false, "deny 8080");
    // ufw has one rule for a port: the second word took the place of the first.
    scene.firewalls.ufw("delete deny 8080/tcp");
    scene.holds(false, "deny deleted");
    scene.firewalls.ufw("allow from 192.0.2.2 to any port 8080 proto tcp");
    scene.comes("from one address", || who(&scene.neighbour, "192.0.2.1:8080").is_some());
    assert_eq!(who(&scene.neighbour, "[2001:db8::1]:8080"), None, "from another address");
    scene.firewalls.ufw("disable");
    scene.holds(true, "disabled");
    scene.tells([NO_RULES; 2]);
    scene.firewalls.ufw("--force reset");
    scene.firewalls.ufw("--force enable");
    scene.holds(false, "enabled again");
    scene.end();
}

#[test]
fn firewalld_has_its_word() {
    follows_firewalld("nftables", ["inet firewalld filter_INPUT (policy accept) decide"; 2]);
}

#[test]
fn firewalld_with_iptables_has_its_word() {
    let rules = ["ip filter INPUT (policy accept) decide", "ip6 filter INPUT (policy accept) decide"];
    follows_firewalld("iptables", rules);
}

fn follows_firewalld(backend: &str, rules: [&str; 2]) {
    let scene = Scene::new();
    let cmd = |words: &str| scene.firewalls.firewall_cmd(words);
    let firewalld = scene.firewalls.firewalld(backend);
    scene.holds(false, "started");
    scene.tells(rules);
    cmd("--add-port=8080/tcp");
    scene.holds(true, "--add-port");
    cmd("--remove-port=8080/tcp");
    scene.holds(false, "--remove-port");
    cmd("--add-port=8080/tcp");
    cmd("--reload");
    scene.holds(false, "--reload, what was not permanent is gone");
    cmd("--permanent --add-port=8080/tcp");
    cmd("--reload");
    scene.holds(true, "--permanent, --reload");
    cmd("--complete-reload");
    scene.holds(true, "--complete-reload");
    scene.tells(rules);
    firewalld.stop();
    scene.holds(true, "stopped");
    scene.tells([NO_RULES; 2]);
    scene.end();
}
