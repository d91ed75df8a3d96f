//! Connections: name lookup, TCP, `CONNECT` through a proxy, and what a failure comes down to.
//!
//! [`Dialer`] is the connector below hyper's TLS connector; its errors keep the address that failed.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::host_name;
use crate::error::Reason;
use crate::proxy::{Proxy, ProxyConfig};

/// Makes TCP connections, directly or through a proxy.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) proxy: Arc<ProxyConfig>,
    pub(crate) timeout: Duration,
}

/// A connection failed; found again in hyper's error by downcast.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub(crate) struct DialError(pub(crate) Reason);

/// A TCP connection which knows whether requests on it go to a proxy.
pub(crate) struct Stream {
    io: TokioIo<TcpStream>,
    to_proxy: bool,
}

impl tower::Service<Uri> for Dialer {
    type Response = Stream;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.dial(&uri).await.map_err(DialError) })
    }
}

impl Dialer {
    async fn dial(&self, uri: &Uri) -> Result<Stream, Reason> {
        let tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        match self.proxy.for_host(tls, host, port) {
            None => self.tcp(host_name(host), port).await.map(|io| Stream { io, to_proxy: false }),
            Some(proxy) => self.through(proxy, tls, host, port).await,
        }
    }

    async fn through(&self, proxy: &Proxy, tls: bool, host: &str, port: u16) -> Result<Stream, Reason> {
        let (name, proxy_port) = proxy.authority.rsplit_once(':').unwrap_or((&proxy.authority, "80"));
        let io = self
            .tcp(host_name(name), proxy_port.parse().unwrap_or(80))
            .await
            .map_err(|reason| Reason::Proxy(reason.to_string()))?;
        if !tls {
            return Ok(Stream { io, to_proxy: true });
        }
        let mut socket = io.into_inner();
        let target = format!("{host}:{port}");
        let tunnel = tunnel(&mut socket, proxy, &target);
        match tokio::time::timeout(self.timeout, tunnel).await {
            Err(_) => Err(Reason::Proxy("i/o timeout".into())),
            Ok(Err(problem)) => Err(Reason::Proxy(problem)),
            Ok(Ok(())) => Ok(Stream { io: TokioIo::new(socket), to_proxy: false }),
        }
    }

    /// Tries the addresses of `name` one after another; the first one's error is reported, as Docker does.
    async fn tcp(&self, name: &str, port: u16) -> Result<TokioIo<TcpStream>, Reason> {
        let lookup = tokio::time::timeout(self.timeout, tokio::net::lookup_host((name, port))).await;
        let addresses: Vec<SocketAddr> = match lookup {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        let mut first = None;
        for address in addresses {
            match tokio::time::timeout(self.timeout, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => {
                    let _ = socket.set_nodelay(true);
                    return Ok(TokioIo::new(socket));
                }
                Ok(Err(error)) => first.get_or_insert((address, error.kind())),
                Err(_) => first.get_or_insert((address, io::ErrorKind::TimedOut)),
            };
        }
        match first {
            Some((address, kind)) => Err(Reason::Dial { address: address.to_string(), kind }),
            None => Err(Reason::Lookup { name: name.to_owned() }),
        }
    }
}

/// Asks a proxy for a tunnel to `target` (RFC 9110 §9.3.6).
async fn tunnel(socket: &mut TcpStream, proxy: &Proxy, target: &str) -> Result<(), String> {
    let authorization = match &proxy.authorization {
        Some(value) => format!("Proxy-Authorization: {value}\r\n"),
        None => String::new(),
    };
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
    socket.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 8192 {
            return Err("answer to CONNECT is too long".into());
        }
        head.push(socket.read_u8().await.map_err(|e| e.to_string())?);
    }
    let line = String::from_utf8_lossy(&head);
    let line = line.lines().next().unwrap_or_default();
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next()) {
        (Some(version), Some("200")) if version.starts_with("HTTP/1.") => Ok(()),
        _ => Err(format!("CONNECT {target}: {}", crate::error::excerpt(line.as_bytes()))),
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.to_proxy)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

/// What a failed connection comes down to, from the chain of sources of hyper's error.
pub(crate) fn reason_of(error: &(dyn std::error::Error + 'static)) -> Reason {
    let mut next = Some(error);
    let mut last = String::new();
    while let Some(error) = next {
        if let Some(DialError(reason)) = error.downcast_ref::<DialError>() {
            return reason.clone();
        }
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return tls_reason(tls);
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>()
            && hyper.is_incomplete_message()
        {
            return Reason::Eof;
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            if io.kind() == io::ErrorKind::UnexpectedEof {
                return Reason::Eof;
            }
            if io.kind() == io::ErrorKind::ConnectionReset {
                return Reason::Broken("read: connection reset by peer".into());
            }
            // An `io::Error` hides what it carries from `source()`.
            if let Some(inner) = io.get_ref() {
                last = inner.to_string();
                next = Some(inner);
                continue;
            }
        }
        last = error.to_string();
        next = error.source();
    }
    Reason::Broken(last)
}

fn tls_reason(error: &rustls::Error) -> Reason {
    use rustls::CertificateError as C;
    let words = match error {
        rustls::Error::InvalidMessage(_) => return Reason::PlainServer,
        rustls::Error::InvalidCertificate(C::UnknownIssuer) => {
            "failed to verify certificate: x509: certificate signed by unknown authority".into()
        }
        rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            "failed to verify certificate: x509: certificate has expired or is not yet valid".into()
        }
        rustls::Error::InvalidCertificate(other) => format!("failed to verify certificate: x509: {other}"),
        other => other.to_string(),
    };
    Reason::Tls(words)
}
