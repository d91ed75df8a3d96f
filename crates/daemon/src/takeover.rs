//! Clients that hijack without saying so: `POST …/attach` or `/exec/{id}/start` with no `Upgrade`
//! header expect `200 OK` and then the raw connection. hyper frames every body of a 200, so the
//! first request of each connection is looked at before hyper; if it is one of these it is answered
//! here, and the connection ends with it.

mod head;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use self::head::{Head, MAX_BODY, parse};
use crate::hijack::TakeoverSlot;
use crate::linger::Linger;

const MAX_HEAD: usize = 64 << 10;
/// How long the first request's head may take.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(300);

/// A connection whose first bytes were already read.
pub(crate) struct Prefixed<I> {
    prefix: Bytes,
    io: I,
}

impl<I> Prefixed<I> {
    /// The connection, if all that was read of it has been taken.
    pub(crate) fn into_inner(self) -> Option<I> {
        self.prefix.is_empty().then_some(self.io)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Prefixed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..n]);
        self.prefix.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Prefixed<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// What a connection turned out to be.
pub(crate) enum First<I> {
    /// Anything that hyper serves.
    Http(Prefixed<I>),
    /// HTTP/2 from its first byte on: a gRPC client.
    Http2(Prefixed<I>),
    /// A takeover: its request, with the slot for the session, and the connection after it.
    Takeover(Box<Request<Body>>, TakeoverSlot, Prefixed<I>),
    /// Closed, or silent for too long.
    Gone,
}

/// Looks at the first request's head.
pub(crate) async fn look<I: AsyncRead + AsyncWrite + Unpin>(mut io: I) -> First<I> {
    let mut read = BytesMut::with_capacity(1024);
    let head = async {
        loop {
            match parse(&read) {
                Head::Incomplete if read.len() < MAX_HEAD => {}
                other => break Some(other),
            }
            match io.read_buf(&mut read).await {
                Ok(0) | Err(_) => break None,
                Ok(_) => {}
            }
        }
    };
    match tokio::time::timeout(HEAD_TIMEOUT, head).await {
        Err(_) | Ok(None) => First::Gone,
        Ok(Some(Head::Takeover { request, head_len, body_len })) => {
            read.advance(head_len);
            take_over(*request, body_len, read, io).await
        }
        Ok(Some(Head::Http2)) => First::Http2(Prefixed { prefix: read.freeze(), io }),
        Ok(Some(_)) => First::Http(Prefixed { prefix: read.freeze(), io }),
    }
}

async fn take_over<I>(request: Request<()>, body_len: usize, mut read: BytesMut, mut io: I) -> First<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let rest = async {
        while read.len() < body_len {
            if !matches!(io.read_buf(&mut read).await, Ok(n) if n > 0) {
                return false;
            }
        }
        true
    };
    if !tokio::time::timeout(HEAD_TIMEOUT, rest).await.unwrap_or(false) {
        return First::Gone;
    }
    let body = read.split_to(body_len).freeze();
    let slot = TakeoverSlot::default();
    let mut request = request.map(|()| Body::from(body));
    request.extensions_mut().insert(slot.clone());
    First::Takeover(Box::new(request), slot, Prefixed { prefix: read.freeze(), io })
}

/// Writes the answer of a takeover and runs its session, if the handler left one.
pub(crate) async fn answer<I>(
    response: Response<Body>,
    slot: &TakeoverSlot,
    mut io: Prefixed<I>,
) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut parts, body) = response.into_parts();
    let session = slot.take();
    let body = match &session {
        Some(_) => Bytes::new(),
        None => {
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(io::Error::other)?.to_bytes();
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            body
        }
    };
    let mut head = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.extend_from_slice(&body);
    io.write_all(&head).await?;
    io.flush().await?;
    match session {
        Some(session) => session(Box::pin(Linger::new(io))).await,
        None => io.shutdown().await?,
    }
    Ok(())
}
