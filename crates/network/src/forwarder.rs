//! Carrying IPv6 connections to containers in this process: to ::1, which no kernel translates, and from IPv6 to
//! containers that have only IPv4. No process per port; a task of the network thread per connection.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use dray_sys::netsock::{recv_datagram, send_datagram};
use tokio::io::Interest;
use tokio::task::{AbortHandle, JoinSet};

use crate::config::Proto;

/// How long a UDP client may be silent before its answers are no longer waited for.
const UDP_IDLE: Duration = Duration::from_secs(90);
/// How many UDP clients of one port are served at once.
const UDP_CLIENTS: usize = 4096;
/// How many TCP connections of one port are served at once.
const CONNECTIONS: usize = 8192;
const DATAGRAM: usize = 65_536;

/// 2⁶⁴ divided by the golden ratio: its multiples are spread evenly over all numbers, however few there are.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where a forwarder leads: to one of several, in turn. Connections that are there stay where they are.
#[derive(Debug, Default)]
pub struct Targets {
    all: RwLock<Vec<SocketAddr>>,
    turn: AtomicUsize,
}

impl Targets {
    /// To these, from the next connection on.
    pub fn set(&self, all: Vec<SocketAddr>) {
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// All of them, the one whose turn it is first.
    fn in_turn(&self) -> Vec<SocketAddr> {
        let mut all = self.all.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Even, but not one after the other: two clients in step would have one target each.
        let turn = (self.turn.fetch_add(1, Ordering::Relaxed) as u64).wrapping_mul(GOLDEN);
        let first = (u128::from(turn) * all.len() as u128) >> 64;
        all.rotate_left(first as usize);
        all
    }
}

impl From<SocketAddr> for Targets {
    fn from(one: SocketAddr) -> Self {
        Self { all: RwLock::new(vec![one]), turn: AtomicUsize::default() }
    }
}

/// A running forwarder; it ends when this is dropped.
#[derive(Debug)]
pub struct Forwarder {
    task: AbortHandle,
    /// Says nothing: it is disconnected when the task, and with it the socket, is gone.
    gone: std::sync::mpsc::Receiver<()>,
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends forwarders and waits until their ports are free.
pub fn close(forwarders: Vec<Forwarder>) {
    forwarders.iter().for_each(|f| f.task.abort());
    for forwarder in forwarders {
        // A runtime that no longer runs has dropped the task already; the limit is for one that is stuck.
        let _ = forwarder.gone.recv_timeout(Duration::from_secs(2));
    }
}

/// Serves a bound socket: everything that reaches it goes on to one of the targets.
pub fn serve(
    runtime: &tokio::runtime::Handle,
    proto: Proto,
    socket: OwnedFd,
    targets: Arc<Targets>,
) -> Option<Forwarder> {
    let (alive, gone) = std::sync::mpsc::channel();
    let task = match proto {
        Proto::Tcp => runtime.spawn(tcp(TcpListener::from(socket), targets, alive)).abort_handle(),
        Proto::Udp => runtime.spawn(udp(UdpSocket::from(socket), targets, alive)).abort_handle(),
        Proto::Sctp => return None,
    };
    Some(Forwarder { task, gone })
}

type Alive = std::sync::mpsc::Sender<()>;

/// Parameters are dropped after what the body makes: `alive` goes last.
async fn tcp(listener: TcpListener, targets: Arc<Targets>, alive: Alive) {
    let _alive = &alive;
    let Ok(listener) = tokio::net::TcpListener::from_std(listener).map(Listener) else { return };
    // Dropped with this task, which ends all connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.0.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((client, _)) => {
                    connections.spawn(connection(client, targets.in_turn()));
                }
                // Out of descriptors or memory: let the running ones end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
}

/// Gives its port back with its end.
struct Listener(tokio::net::TcpListener);

impl Drop for Listener {
    fn drop(&mut self) {
        crate::ports::listens_no_more(&self.0);
    }
}

/// Carries one connection, to the first target that takes it.
async fn connection(mut client: tokio::net::TcpStream, targets: Vec<SocketAddr>) {
    let Ok(mut server) = tokio::net::TcpStream::connect(targets.as_slice()).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

type Key = (SocketAddrV6, Ipv6Addr);
type Clients = Arc<Mutex<HashMap<Key, Arc<tokio::net::UdpSocket>>>>;

async fn udp(socket: UdpSocket, targets: Arc<Targets>, alive: Alive) {
    let _alive = &alive;
    let Ok(socket) = tokio::net::UdpSocket::from_std(socket) else { return };
    let socket = Arc::new(socket);
    let clients = Clients::default();
    // Dropped with this task, which ends all of them.
    let mut answers = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let received = tokio::select! {
            Some(_) = answers.join_next() => continue,
            received = socket.async_io(Interest::READABLE, || recv_datagram(&*socket, &mut buffer)) => received,
        };
        let Ok(datagram) = received else { continue };
        let key = (datagram.from, datagram.to);
        let known = lock(&clients).get(&key).cloned();
        let server = match known {
            Some(server) => server,
            None if answers.len() >= UDP_CLIENTS => continue,
            None => {
                let Some(target) = targets.in_turn().first().copied() else { continue };
                let Ok(server) = connect(target).await else { continue };
                let server = Arc::new(server);
                lock(&clients).insert(key, Arc::clone(&server));
                answers.spawn(answer(
                    Arc::downgrade(&socket),
                    Arc::clone(&server),
                    Arc::clone(&clients),
                    key,
                ));
                server
            }
        };
        // A container that does not listen loses datagrams, as it does on the wire.
        let _ = server.send(&buffer[..datagram.len]).await;
    }
}

fn lock(clients: &Clients) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<tokio::net::UdpSocket>>> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connect(target: SocketAddr) -> io::Result<tokio::net::UdpSocket> {
    let any: SocketAddr =
        if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = tokio::net::UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    Ok(socket)
}

/// Carries a container's answers back to one client, from the address that the client spoke to.
async fn answer(
    // Weak: the port is free as soon as its own task is gone.
    socket: Weak<tokio::net::UdpSocket>,
    server: Arc<tokio::net::UdpSocket>,
    clients: Clients,
    key: Key,
) {
    while let Ok(Ok(())) = tokio::time::timeout(UDP_IDLE, server.readable()).await {
        let Some(socket) = socket.upgrade() else { break };
        match pass_back(&socket, &server, key) {
            Ok(()) => {}
            // A refused datagram is no end: the container may listen later.
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused) => {}
            Err(_) => break,
        }
    }
    lock(&clients).remove(&key);
}

/// Passes one datagram back. The buffer is on the stack, so that an idle client costs none.
fn pass_back(
    socket: &tokio::net::UdpSocket,
    server: &tokio::net::UdpSocket,
    (client, local): Key,
) -> io::Result<()> {
    let mut buffer = [0u8; DATAGRAM];
    let len = server.try_recv(&mut buffer)?;
    // Where there is no room to send, the datagram is lost, as on the wire.
    let _ = send_datagram(socket, &buffer[..len], client, local);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_dealt_out_evenly_and_not_in_step() {
        for count in 1..=5_usize {
            let targets = Targets::default();
            targets.set((0..count).map(|n| SocketAddr::from(([10, 0, 0, 1], 80 + n as u16))).collect());
            let dealt: Vec<SocketAddr> = (0..1000).map(|_| targets.in_turn()[0]).collect();
            // Of clients that take turns, each comes to every target.
            for step in 1..=3 {
                for first in 0..step {
                    let own: Vec<_> = dealt.iter().skip(first).step_by(step).collect();
                    for n in 0..count {
                        let hits = own.iter().filter(|target| target.port() == 80 + n as u16).count();
                        let even = own.len() / count;
                        assert!(
                            hits.abs_diff(even) <= even / 4 + 2,
                            "{count} targets, {step} clients: {hits}"
                        );
                    }
                }
            }
        }
        assert!(Targets::default().in_turn().is_empty());
    }
}
