//! Streams: bodies read as they come, JSON objects one after another, multiplexed stdio, hijacked connections.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf, ReadHalf, WriteHalf};
use tokio_util::io::StreamReader;

use crate::Result;
use crate::error::Error;

type Chunks = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// The body of an answer.
pub struct Body {
    headers: http::HeaderMap,
    reader: StreamReader<Chunks, Bytes>,
    /// The connection lives as long as its sender.
    _connection: Box<dyn Send>,
}

impl Body {
    pub(crate) fn new(
        headers: http::HeaderMap,
        chunks: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
        connection: impl Send + 'static,
    ) -> Body {
        Body { headers, reader: StreamReader::new(Box::pin(chunks)), _connection: Box::new(connection) }
    }

    /// The answer's headers.
    pub fn headers(&self) -> &http::HeaderMap {
        &self.headers
    }

    async fn chunk(&mut self) -> Option<std::io::Result<Bytes>> {
        self.reader.get_mut().next().await
    }
}

impl AsyncRead for Body {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

/// JSON objects that come one after another.
pub struct JsonStream<T> {
    body: Body,
    buffer: BytesMut,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonStream<T> {
    /// Reads objects from a body.
    pub fn new(body: Body) -> Self {
        JsonStream { body, buffer: BytesMut::new(), kind: PhantomData }
    }

    /// The answer's headers.
    pub fn headers(&self) -> &http::HeaderMap {
        self.body.headers()
    }

    /// The next object; `None` at the end.
    ///
    /// # Errors
    /// The stream broke off, or is not JSON.
    pub async fn next(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(value) = self.parse()? {
                return Ok(Some(value));
            }
            match self.body.chunk().await {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(source)) => {
                    return Err(Error::Stream { what: "reading the daemon's messages", source });
                }
                None if self.buffer.iter().all(u8::is_ascii_whitespace) => return Ok(None),
                None => {
                    let source = std::io::ErrorKind::UnexpectedEof.into();
                    return Err(Error::Stream { what: "reading the daemon's messages", source });
                }
            }
        }
    }

    fn parse(&mut self) -> Result<Option<T>> {
        let mut values = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<T>();
        match values.next() {
            None => Ok(None),
            Some(Ok(value)) => {
                let used = values.byte_offset();
                let _ = self.buffer.split_to(used);
                Ok(Some(value))
            }
            Some(Err(e)) if e.is_eof() => Ok(None),
            Some(Err(source)) => Err(Error::Json { what: "message".into(), source }),
        }
    }
}

/// A connection taken over for stdio. Whether its output has frames depends on the container's terminal alone: old
/// daemons call both kinds a raw stream.
pub struct Hijacked {
    /// What comes from the container.
    pub output: ReadHalf<TokioIo<Upgraded>>,
    /// What goes to its stdin; shutting it down is end of file.
    pub input: WriteHalf<TokioIo<Upgraded>>,
}

impl Hijacked {
    pub(crate) fn new(io: TokioIo<Upgraded>) -> Hijacked {
        let (output, input) = tokio::io::split(io);
        Hijacked { output, input }
    }
}

/// Frames larger than this are no frames.
const MAX_FRAME: usize = 64 << 20;

/// Where a frame of multiplexed output belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Reads multiplexed output: frames of `[kind, 0, 0, 0, length as 4 bytes]` and content.
pub struct Frames<R> {
    from: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Reads frames from a stream.
    pub fn new(from: R) -> Self {
        Frames { from, buffer: BytesMut::with_capacity(32 << 10) }
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// The stream breaks off inside of a frame, has an unknown kind, or carries the daemon's own error.
    pub async fn next(&mut self) -> std::io::Result<Option<(Channel, Bytes)>> {
        loop {
            if let Some((kind, content)) = frame(&mut self.buffer)? {
                return match kind {
                    0 | 1 => Ok(Some((Channel::Stdout, content))),
                    2 => Ok(Some((Channel::Stderr, content))),
                    3 => {
                        let text = String::from_utf8_lossy(&content).into_owned();
                        Err(std::io::Error::other(format!("error from daemon in stream: {text}")))
                    }
                    kind => Err(std::io::Error::other(format!("unrecognized input header: {kind}"))),
                };
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(std::io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }
}

/// Takes one whole frame off the buffer.
fn frame(buffer: &mut BytesMut) -> std::io::Result<Option<(u8, Bytes)>> {
    if buffer.len() < 8 {
        return Ok(None);
    }
    let length = u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]) as usize;
    if length > MAX_FRAME {
        return Err(std::io::Error::other("a frame of the daemon's stream is too long"));
    }
    if buffer.len() < 8 + length {
        buffer.reserve(8 + length - buffer.len());
        return Ok(None);
    }
    let kind = buffer[0];
    let mut whole = buffer.split_to(8 + length).freeze();
    let _ = whole.split_to(8);
    Ok(Some((kind, whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(kind: u8, text: &str) -> Vec<u8> {
        let mut out = vec![kind, 0, 0, 0];
        out.extend_from_slice(&(text.len() as u32).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
        out
    }

    async fn split(bytes: &[u8]) -> (std::io::Result<()>, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        let mut frames = Frames::new(bytes);
        loop {
            match frames.next().await {
                Ok(None) => return (Ok(()), out, err),
                Err(e) => return (Err(e), out, err),
                Ok(Some((channel, content))) => {
                    let to = if channel == Channel::Stdout { &mut out } else { &mut err };
                    to.push_str(std::str::from_utf8(&content).unwrap());
                }
            }
        }
    }

    #[tokio::test]
    async fn frames_go_to_their_channels() {
        let mut bytes = framed(1, "out");
        bytes.extend(framed(2, "err"));
        bytes.extend(framed(1, "more"));
        let (done, out, err) = split(&bytes).await;
        assert!(done.is_ok());
        assert_eq!((out.as_str(), err.as_str()), ("outmore", "err"));
    }

    #[tokio::test]
    async fn broken_streams_are_errors() {
        assert!(split(&framed(1, "whole")[..10]).await.0.is_err());
        assert!(split(&framed(9, "x")).await.0.is_err());
        assert!(split(&framed(3, "boom")).await.0.unwrap_err().to_string().contains("boom"));
        assert!(split(&[1, 0, 0, 0, 255, 255, 255, 255]).await.0.is_err());
    }
}
