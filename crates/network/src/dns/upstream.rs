//! Asking the host's resolvers, from the host's network namespace: a resolver on the host's own 127.0.0.53 works.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::files::nameservers;
use super::message::{self, Question, Rcode};

/// How long one server is waited for.
const PATIENCE: Duration = Duration::from_secs(4);
/// How many servers are asked.
const SERVERS: usize = 3;
const PORT: u16 = 53;

/// The host's resolver configuration, read again when it changes.
#[derive(Debug)]
pub struct Upstreams {
    path: PathBuf,
    read: Mutex<(Option<SystemTime>, Vec<IpAddr>)>,
}

impl Upstreams {
    /// The servers that a `resolv.conf` names.
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::default() }
    }

    /// The servers as of now.
    pub fn servers(&self) -> Vec<IpAddr> {
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
pub async fn ask(servers: &[IpAddr], query: &[u8], question: &Question, udp: bool) -> Vec<u8> {
    let mut last = None;
    for server in servers.iter().take(SERVERS) {
        let server = SocketAddr::new(*server, PORT);
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
    socket.send(&message::with_id(query, id)).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let len = socket.recv(&mut buffer).await?;
        if message::answers(&buffer[..len], id, question) {
            return Ok(message::with_id(&buffer[..len], question.id));
        }
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
