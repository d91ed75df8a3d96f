//! The smallest HTTP client: one request, one connection, the whole answer. The tests look at raw answers with
//! it, without a library between them and the bytes.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The header of a client that knows manifests and indexes, OCI's and Docker's.
const MANIFESTS: &str = "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json\r\n";

/// An answer, read to the end of its connection.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The head as it came.
    pub head: String,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// GET over a unix socket.
pub fn unix_get(socket: &Path, path: &str) -> Result<Answer> {
    unix_request(socket, "GET", path, None)
}

/// A request over a unix socket, with a JSON body where one is given.
pub fn unix_request(socket: &Path, method: &str, path: &str, body: Option<&str>) -> Result<Answer> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    exchange(stream, "localhost", method, path, "", body)
}

/// GET `http://host:port/path`.
pub fn get(address: impl ToSocketAddrs, path: &str) -> Result<Answer> {
    get_with(address, path, "")
}

/// As [`get`], of a manifest or an index of any kind that clients know.
pub fn get_manifest(address: impl ToSocketAddrs, path: &str) -> Result<Answer> {
    get_with(address, path, MANIFESTS)
}

/// As [`get`], with these header lines, each with its end.
pub fn get_with(address: impl ToSocketAddrs, path: &str, headers: &str) -> Result<Answer> {
    let address = address.to_socket_addrs()?.next().ok_or_else(|| Error::from(ErrorKind::NotFound))?;
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    exchange(stream, &address.to_string(), "GET", path, headers, None)
}

fn exchange(
    mut stream: impl Read + Write,
    host: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: Option<&str>,
) -> Result<Answer> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}");
    if let Some(body) = body {
        request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    } else if method != "GET" {
        request.push_str("Content-Length: 0\r\n");
    }
    request.push_str("\r\n");
    request.push_str(body.unwrap_or_default());
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let invalid = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(|| invalid("no head"))?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| invalid("no status"))?;
    let raw = &bytes[end + 4..];
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(raw).ok_or_else(|| invalid("bad chunk"))? } else { raw.to_vec() };
    Ok(Answer { status, head, body })
}

fn unchunk(mut raw: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = raw.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&raw[..line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        raw = &raw[line + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(raw.get(..size)?);
        raw = raw.get(size + 2..)?;
    }
}
