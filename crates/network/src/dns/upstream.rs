//! Asking the host's resolvers, from the host's network namespace: a resolver on the host's own 127.0.0.53 works.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, interval_at, timeout};

use super::files::{Nameserver, nameservers};
use super::message::{self, Question, Rcode};

/// How long one server is waited for.
const PATIENCE: Duration = Duration::from_secs(4);
/// After so long a question that was not answered is sent again: packets get lost, and clients wait not much longer than
/// we do.
const AGAIN: Duration = Duration::from_millis(1300);
/// What is read of an answer over UDP; one that fills it is asked for again over TCP.
const LARGEST: usize = 4096;
/// How many servers are asked.
const SERVERS: usize = 3;
const PORT: u16 = 53;

/// The host's resolver configuration, read again when it changes.
#[derive(Debug)]
pub struct Upstreams {
    path: PathBuf,
    read: Mutex<(Option<SystemTime>, Vec<Nameserver>)>,
}

impl Upstreams {
    /// The servers that a `resolv.conf` names.
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::default() }
    }

    /// The servers as of now.
    pub fn servers(&self) -> Vec<Nameserver> {
        let changed = fs::metadata(&self.path).and_then(|m| m.modified()).ok();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.is_none() || read.0 != changed {
            let text = fs::read_to_string(&self.path).unwrap_or_default();
            *read = (changed, nameservers(&text));
        }
        read.1.clone()
    }
}

/// Asks servers in their order until one answers; `SERVFAIL` if none does.
pub async fn ask(servers: &[Nameserver], query: &[u8], question: &Question, udp: bool) -> Vec<u8> {
    let mut last = None;
    for server in servers.iter().take(SERVERS) {
        let Some(server) = address(server, PORT) else { continue };
        let asked = async {
            if udp {
                over_udp(server, query, question).await
            } else {
                over_tcp(server, query, question).await
            }
        };
        let Ok(Ok(answer)) = timeout(PATIENCE, asked).await else { continue };
        // A server that cannot or will not is no answer while there is another.
        if ![Rcode::ServFail as u8, Rcode::Refused as u8].contains(&message::rcode(&answer)) {
            return answer;
        }
        last = Some(answer);
    }
    last.unwrap_or_else(|| question.empty(Rcode::ServFail))
}

/// Where a server is asked; nowhere if its interface is not there.
fn address(server: &Nameserver, port: u16) -> Option<SocketAddr> {
    let (IpAddr::V6(ip), Some(zone)) = (server.ip, &server.zone) else {
        return Some(SocketAddr::new(server.ip, port));
    };
    let scope = zone.parse().ok().or_else(|| {
        let socket = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
        rustix::net::netdevice::name_to_index(&socket, zone).ok()
    });
    Some(SocketAddrV6::new(ip, port, 0, scope?).into())
}

fn fresh_id() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness the socket's own random port is what keeps guesses out.
    let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::NONBLOCK);
    u16::from_ne_bytes(bytes)
}

async fn over_udp(server: SocketAddr, query: &[u8], question: &Question) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let id = fresh_id();
    let asked = message::with_id(query, id);
    socket.send(&asked).await?;
    let mut buffer = vec![0; LARGEST];
    let mut again = interval_at(Instant::now() + AGAIN, AGAIN);
    loop {
        let len = tokio::select! {
            len = socket.recv(&mut buffer) => len?,
            _ = again.tick() => {
                socket.send(&asked).await?;
                continue;
            }
        };
        if !message::answers(&buffer[..len], id, question) {
            continue;
        }
        if len == LARGEST {
            // It was cut off where the buffer ends.
            return Ok(question.cut());
        }
        return Ok(message::with_id(&buffer[..len], question.id));
    }
}

async fn over_tcp(server: SocketAddr, query: &[u8], question: &Question) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let id = fresh_id();
    write_framed(&mut stream, &message::with_id(query, id)).await?;
    let answer = read_framed(&mut stream).await?;
    if message::answers(&answer, id, question) {
        Ok(message::with_id(&answer, question.id))
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Reads a message with its length before it.
pub async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let len = stream.read_u16().await?;
    let mut message = vec![0; usize::from(len)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message with its length before it.
pub async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let len = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let framed = [&len.to_be_bytes(), message].concat();
    stream.write_all(&framed).await
}
