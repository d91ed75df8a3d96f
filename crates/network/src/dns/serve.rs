//! Serving one container: its sockets, its redirect of port 53, its tasks.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::answer::{Action, handle};
use super::files::Nameserver;
use super::message::{Question, Rcode};
use super::names::{Names, View};
use super::upstream::{Upstreams, ask, read_framed, write_framed};
use crate::cidr::Cidr;
use crate::config::DnsConfig;
use crate::error::{Error, Result};
use crate::host::inside;
use crate::netlink::{self, Socket};
use crate::nft::{Batch, Family, Field, Hook, Rule};
use crate::sandbox::Sandbox;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;
/// Where the daemon listens, below what programs get by chance; any other port where it is taken.
const LISTEN: u16 = 20053;
const TABLE: &str = "dray_dns";
/// How many questions of one container are on their way upstream at once.
const IN_FLIGHT: usize = 256;
/// How many TCP connections of one container are open at once.
const CONNECTIONS: usize = 64;
/// How long a TCP client may be silent.
const TCP_IDLE: Duration = Duration::from_secs(10);

/// The embedded resolver.
#[derive(Debug)]
pub struct Server {
    runtime: tokio::runtime::Handle,
    upstreams: Arc<Upstreams>,
    names: Arc<Names>,
}

/// What one container may ask, and of whom.
#[derive(Clone, Debug)]
struct Scope {
    view: View,
    servers: Vec<IpAddr>,
    outside: bool,
}

/// A container that is served; it ends when this is dropped.
#[derive(Debug)]
pub struct Served {
    scope: Arc<RwLock<Scope>>,
    tasks: [AbortHandle; 2],
}

impl Drop for Served {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Served {
    /// Changes which networks the container is on, its own names for others there, and whether names outside of them
    /// may be asked for.
    pub fn set_networks(
        &self,
        networks: Vec<String>,
        links: HashMap<String, (String, String)>,
        outside: bool,
    ) {
        let mut scope = self.scope.write().unwrap_or_else(PoisonError::into_inner);
        scope.view.networks = networks;
        scope.view.links = links;
        scope.outside = outside;
    }
}

impl Server {
    /// A resolver whose tasks run on `runtime`, in the host's namespace.
    pub fn new(runtime: tokio::runtime::Handle, resolv_conf: PathBuf, names: Arc<Names>) -> Self {
        Self { runtime, upstreams: Arc::new(Upstreams::new(resolv_conf)), names }
    }

    /// Serves a sandbox: makes the sockets and the redirect in its namespace.
    pub fn serve(&self, sandbox: &Sandbox, config: DnsConfig) -> Result<Served> {
        let failed = |source| Error::System { operation: "listen for DNS in a sandbox", source };
        let (udp, tcp) = match sandbox.take_dns_sockets() {
            Some(ready) => ready,
            None => inside(sandbox.namespace(), open_sockets).map_err(failed)?.map_err(failed)?,
        };
        let view = View {
            names: Arc::clone(&self.names),
            networks: Vec::new(),
            links: HashMap::new(),
            dotless_stay: config.dotless_stay,
        };
        let scope = Arc::new(RwLock::new(Scope { view, servers: config.servers, outside: false }));
        let shared = Shared { scope: Arc::clone(&scope), upstreams: Arc::clone(&self.upstreams) };
        let udp = self.runtime.spawn(serve_udp(udp, shared.clone())).abort_handle();
        let tcp = self.runtime.spawn(serve_tcp(tcp, shared)).abort_handle();
        Ok(Served { scope, tasks: [udp, tcp] })
    }
}

/// What a container's queries come in by: UDP and TCP.
pub type Sockets = (std::net::UdpSocket, std::net::TcpListener);

/// Opens the sockets and redirects port 53 to them, in the calling thread's namespace.
pub fn open_sockets() -> io::Result<Sockets> {
    let (udp, tcp) = bind(LISTEN).or_else(|_| bind(0))?;
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    redirect(udp.local_addr()?.port(), tcp.local_addr()?.port())?;
    Ok((udp, tcp))
}

fn bind(port: u16) -> io::Result<Sockets> {
    let addr = SocketAddrV4::new(ADDRESS, port);
    Ok((std::net::UdpSocket::bind(addr)?, std::net::TcpListener::bind(addr)?))
}

fn redirect(udp: u16, tcp: u16) -> io::Result<()> {
    let socket = Socket::open(netlink::Family::Netfilter)?;
    let to = Cidr::new(ADDRESS.into(), 32).ok_or(io::ErrorKind::InvalidInput)?;
    let mut batch = Batch::new();
    batch.add_table(Family::Ip, TABLE);
    batch.add_base_chain(Family::Ip, TABLE, "output", "nat", Hook::Output, -100);
    for (proto, port) in [(17, udp), (6, tcp)] {
        let rule = Rule::new()
            .address(Field::Destination, true, &to)
            .protocol(proto)
            .destination_port(PORT)
            .translate_to(ADDRESS.into(), port);
        batch.add_rule(Family::Ip, TABLE, "output", &rule);
    }
    batch.commit(&socket).map_err(|failed| failed.source)
}

#[derive(Clone, Debug)]
struct Shared {
    scope: Arc<RwLock<Scope>>,
    upstreams: Arc<Upstreams>,
}

impl Shared {
    fn decide(&self, query: &[u8], udp: bool) -> Action {
        let scope = self.scope.read().unwrap_or_else(PoisonError::into_inner);
        match handle(query, udp, &scope.view) {
            // A container without a way out is told nothing of the outside either.
            Action::Forward(question) if !scope.outside => Action::Reply(question.empty(Rcode::ServFail)),
            action => action,
        }
    }

    fn servers(&self) -> Vec<Nameserver> {
        let own = self.scope.read().unwrap_or_else(PoisonError::into_inner).servers.clone();
        if own.is_empty() { self.upstreams.servers() } else { own.into_iter().map(Into::into).collect() }
    }

    async fn forward(&self, query: &[u8], question: &Question, udp: bool) -> Vec<u8> {
        ask(&self.servers(), query, question, udp).await
    }
}

async fn serve_udp(socket: std::net::UdpSocket, shared: Shared) {
    let Ok(socket) = UdpSocket::from_std(socket) else { return };
    let socket = Arc::new(socket);
    let mut forwarded = JoinSet::new();
    let mut buffer = vec![0; 4096];
    loop {
        let received = tokio::select! {
            Some(_) = forwarded.join_next() => continue,
            received = socket.recv_from(&mut buffer) => received,
        };
        let Ok((len, client)) = received else { continue };
        let query = &buffer[..len];
        match shared.decide(query, true) {
            Action::Reply(answer) => send(&socket, &answer, client).await,
            Action::Forward(question) if forwarded.len() >= IN_FLIGHT => {
                send(&socket, &question.empty(Rcode::Refused), client).await;
            }
            Action::Forward(question) => {
                let (shared, socket, query) = (shared.clone(), Arc::clone(&socket), query.to_vec());
                forwarded.spawn(async move {
                    let answer = shared.forward(&query, &question, true).await;
                    send(&socket, &answer, client).await;
                });
            }
            Action::Ignore => {}
        }
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    // A client that is gone needs no answer.
    let _ = socket.send_to(answer, client).await;
}

async fn serve_tcp(listener: std::net::TcpListener, shared: Shared) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut clients = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            Some(_) = clients.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let shared = shared.clone();
                clients.spawn(async move {
                    let _place = place;
                    let _ = serve_client(stream, &shared).await;
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve_client(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    loop {
        let query = timeout(TCP_IDLE, read_framed(&mut stream)).await??;
        let answer = match shared.decide(&query, false) {
            Action::Reply(answer) => answer,
            Action::Forward(question) => shared.forward(&query, &question, false).await,
            Action::Ignore => return Ok(()),
        };
        timeout(TCP_IDLE, write_framed(&mut stream, &answer)).await??;
    }
}
