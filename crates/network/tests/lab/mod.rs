//! A machine to test on: a network namespace of the test's own that plays the host, and neighbours on its wire.
//!
//! Nothing outside of it is touched; it goes with the test, also when that fails.
#![allow(dead_code, reason = "each test file uses its own part of the lab")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use dray_network::{
    Config, Endpoint, EndpointConfig, Network, NetworkConfig, PortBinding, Proto, Sandbox, SubnetConfig,
};
use dray_sys::netns;

/// How long a connection is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long is waited to be sure that nothing comes.
const SILENCE: Duration = Duration::from_millis(400);

pub const HOST: &str = "192.0.2.1";
pub const OUTSIDE: &str = "192.0.2.2";
pub const HOST6: &str = "2001:db8::1";
pub const OUTSIDE6: &str = "2001:db8::2";
pub const FAR: &str = "198.51.100.2";
pub const FAR6: &str = "2001:db8:1::2";

/// The machine.
pub struct Lab {
    pub root: tempfile::TempDir,
    pub host: Arc<OwnedFd>,
    pub outside: Arc<OwnedFd>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.root.path().join("netns")).into_iter().flatten().flatten() {
            let _ = rustix::mount::unmount(entry.path(), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

/// Runs a test on a machine of its own.
pub fn lab(test: impl FnOnce(&Lab) + Send) {
    let run = || {
        netns::unshare().expect("a network namespace (tests run as root)");
        let host = Arc::new(netns::current().expect("namespace"));
        let outside = Arc::new(new_namespace());
        let lab = Lab { root: tempfile::tempdir().expect("folder"), host, outside };
        sh("ip link set lo up");
        // A namespace begins with the settings of the real host, whatever runs there.
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/all/disable_ipv6"] {
            sysctl(key, "0");
        }
        let peer = format!("/proc/{}/fd/{}", std::process::id(), lab.outside.as_raw_fd());
        sh(&format!("ip link add wire type veth peer name wire netns {peer}"));
        sh(&format!(
            "ip addr add {HOST}/24 dev wire && ip -6 addr add {HOST6}/64 dev wire nodad && ip link set wire up"
        ));
        lab.outside_sh(&format!(
            "ip link set lo up && ip addr add {OUTSIDE}/24 dev wire && ip -6 addr add {OUTSIDE6}/64 dev wire nodad && ip link set wire up"
        ));
        // A wire takes its time to come up where the machine is busy.
        let up = "for i in $(seq 500); do ip -o link show wire | grep -q 'state UP' && exit; sleep 0.01; done; exit 1";
        sh(up);
        lab.outside_sh(up);
        test(&lab);
    };
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn new_namespace() -> OwnedFd {
    std::thread::spawn(|| {
        netns::unshare().expect("a network namespace");
        netns::current().expect("namespace")
    })
    .join()
    .expect("thread")
}

/// Runs a shell command in the calling thread's namespace; its output.
pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().expect("sh");
    assert!(
        output.status.success(),
        "{command}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Runs something in a namespace.
pub fn within<T: Send>(namespace: &OwnedFd, task: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = || {
            netns::enter(namespace.as_fd()).expect("enter");
            task()
        };
        match scope.spawn(run).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

impl Lab {
    pub fn config(&self) -> Config {
        let resolv = self.root.path().join("resolv.conf");
        if !resolv.exists() {
            std::fs::write(&resolv, "").expect("write");
        }
        let mut config = Config::new(self.root.path());
        config.table = "dray_lab".into();
        config.resolv_conf = resolv;
        config.ready_sandboxes = 0;
        config
    }

    pub fn open(&self) -> Network {
        Network::open(self.config()).expect("open")
    }

    pub fn outside_sh(&self, command: &str) -> String {
        within(&self.outside, || sh(command))
    }

    /// Another machine on a wire of its own, at 198.51.100.2 and 2001:db8:1::2; the host is .1 there.
    pub fn neighbour(&self) -> Arc<OwnedFd> {
        let there = Arc::new(new_namespace());
        let peer = format!("/proc/{}/fd/{}", std::process::id(), there.as_raw_fd());
        sh(&format!(
            "ip link add far type veth peer name far netns {peer} && ip addr add 198.51.100.1/24 dev far && \
             ip -6 addr add 2001:db8:1::1/64 dev far nodad && ip link set far up"
        ));
        within(&there, || {
            sh("ip link set lo up && ip addr add 198.51.100.2/24 dev far && \
                ip -6 addr add 2001:db8:1::2/64 dev far nodad && ip link set far up")
        });
        let up = "for i in $(seq 500); do ip -o link show far | grep -q 'state UP' && exit; sleep 0.01; done; exit 1";
        sh(up);
        within(&there, || sh(up));
        there
    }

    /// Everything that listing the firewall shows.
    pub fn ruleset(&self) -> String {
        sh("nft list ruleset")
    }
}

/// A network's settings.
pub fn network(name: &str, subnet: &str) -> NetworkConfig {
    let subnet = SubnetConfig { subnet: subnet.parse().ok(), ..Default::default() };
    NetworkConfig { id: container_id(name), name: name.into(), subnets: vec![subnet], ..Default::default() }
}

pub fn with_option(mut config: NetworkConfig, key: &str, value: &str) -> NetworkConfig {
    config.options.extend(BTreeMap::from([(format!("com.docker.network.{key}"), value.to_owned())]));
    config
}

/// A container: a sandbox with endpoints.
pub struct Container {
    pub sandbox: Sandbox,
    pub namespace: Arc<OwnedFd>,
    pub endpoints: Vec<Endpoint>,
}

impl Container {
    pub fn ip(&self) -> IpAddr {
        self.endpoints[0].ip.expect("an IPv4 address").into()
    }

    pub fn ip6(&self) -> IpAddr {
        self.endpoints[0].ip6.expect("an IPv6 address").into()
    }

    pub fn sh(&self, command: &str) -> String {
        within(&self.namespace, || sh(command))
    }
}

/// The id of a container by its name.
pub fn container_id(name: &str) -> String {
    format!("{:0<64}", name.bytes().map(|b| format!("{b:02x}")).collect::<String>())
}

pub fn run(net: &Network, name: &str, networks: &[&NetworkConfig]) -> Container {
    run_with(net, name, networks, &EndpointConfig::default())
}

pub fn run_with(
    net: &Network,
    name: &str,
    networks: &[&NetworkConfig],
    config: &EndpointConfig,
) -> Container {
    let sandbox = net.sandbox(&container_id(name)).expect("sandbox");
    let config = EndpointConfig { name: name.into(), ..config.clone() };
    let attach = |n: &&NetworkConfig| net.attach(&sandbox, &n.id, &config).expect("attach");
    let endpoints = networks.iter().map(attach).collect();
    let namespace = Arc::new(File::open(sandbox.path()).expect("bound").into());
    Container { sandbox, namespace, endpoints }
}

pub fn port(proto: Proto, host_ip: Option<&str>, host: u16, container: u16) -> PortBinding {
    PortBinding {
        proto,
        container_port: container,
        host_ip: host_ip.map(|t| t.parse().expect(t)),
        host_port: host,
        host_port_end: host,
    }
}

/// A server that tells each client its name and where the client seems to be.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serving(mut step: impl FnMut() -> io::Result<()> + Send + 'static) -> Server {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let serve = move || {
        while !stopped.load(Ordering::Relaxed) {
            if step().is_err() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    };
    Server { stop, thread: Some(std::thread::spawn(serve)) }
}

/// Runs a server until it is dropped.
pub fn serve_with(serve: impl FnOnce(&AtomicBool) + Send + 'static) -> Server {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    Server { stop, thread: Some(std::thread::spawn(move || serve(&stopped))) }
}

pub fn serve_tcp(namespace: &OwnedFd, port: u16, name: &str) -> Server {
    let listener = within(namespace, || TcpListener::bind(("::", port)).expect("listen"));
    listener.set_nonblocking(true).expect("nonblocking");
    let name = name.to_owned();
    serving(move || {
        let (mut client, peer) = listener.accept()?;
        write!(client, "{name} {}", peer.ip().to_canonical())
    })
}

pub fn serve_udp(namespace: &OwnedFd, port: u16, name: &str) -> Server {
    let bound = within(namespace, || UdpSocket::bind(("0.0.0.0", port)).expect("bind"));
    bound.set_nonblocking(true).expect("nonblocking");
    let name = name.to_owned();
    serving(move || {
        let mut buffer = [0; 2048];
        let (_, peer) = bound.recv_from(&mut buffer)?;
        bound.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer).map(|_| ())
    })
}

fn connect(namespace: &OwnedFd, addr: &str, patience: Duration) -> io::Result<String> {
    let addr: SocketAddr = addr.parse().expect(addr);
    within(namespace, || {
        let mut stream = TcpStream::connect_timeout(&addr, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        if text.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(text) }
    })
}

/// Waits until something is so.
#[track_caller]
pub fn eventually(what: &str, check: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !check() {
        assert!(start.elapsed() < PATIENCE, "{what}\n{}", sh("nft list ruleset"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the server at an address says over TCP.
#[track_caller]
pub fn ask_tcp(namespace: &OwnedFd, addr: &str) -> String {
    match connect(namespace, addr, PATIENCE) {
        Ok(text) => text,
        Err(e) => panic!("tcp {addr}: {e}\n{}", sh("nft list ruleset")),
    }
}

/// Sees that nobody answers over TCP.
#[track_caller]
pub fn refused_tcp(namespace: &OwnedFd, addr: &str) {
    if let Ok(text) = connect(namespace, addr, SILENCE) {
        panic!("tcp {addr} must not answer, but says {text}\n{}", sh("nft list ruleset"));
    }
}

fn exchange(namespace: &OwnedFd, addr: &str, patience: Duration) -> io::Result<String> {
    let addr: SocketAddr = addr.parse().expect(addr);
    within(namespace, || {
        let any = if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        // Connected: an answer from another address than was asked does not count.
        socket.connect(addr)?;
        socket.set_read_timeout(Some(patience))?;
        socket.send(b"hello")?;
        let mut buffer = [0; 2048];
        let len = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
    })
}

/// What the server at an address says over UDP.
#[track_caller]
pub fn ask_udp(namespace: &OwnedFd, addr: &str) -> String {
    exchange(namespace, addr, PATIENCE)
        .unwrap_or_else(|e| panic!("udp {addr}: {e}\n{}", sh("nft list ruleset")))
}

/// Sees that nobody answers over UDP.
#[track_caller]
pub fn refused_udp(namespace: &OwnedFd, addr: &str) {
    if let Ok(text) = exchange(namespace, addr, SILENCE) {
        panic!("udp {addr} must not answer, but says {text}");
    }
}

/// Writes a setting of the calling thread's namespace.
pub fn sysctl(key: &str, value: &str) {
    let path = Path::new("/proc/sys").join(key);
    std::fs::write(&path, value).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

pub fn read_sysctl(key: &str) -> String {
    std::fs::read_to_string(Path::new("/proc/sys").join(key)).expect(key).trim().to_owned()
}
