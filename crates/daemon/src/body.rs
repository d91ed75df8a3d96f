//! Bodies that are written while the work goes on: JSON messages one a line, and raw bytes.
//!
//! The channel is short, so a slow client slows the work down, and a client that hangs up is seen
//! by the next `send`.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{StatusCode, header};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const QUEUED_MESSAGES: usize = 64;

/// The client went away; nobody reads the stream any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("client closed the connection")]
pub struct HungUp;

/// Writes the lines of a stream of JSON messages.
#[derive(Debug, Clone)]
pub struct JsonLines {
    sender: mpsc::Sender<Bytes>,
}

impl JsonLines {
    /// A writer and the answer that carries what is written. The token is cancelled when the
    /// answer's body is dropped before the writers are: the client hung up.
    #[must_use]
    pub fn open() -> (JsonLines, Response, CancellationToken) {
        let (sender, response, gone) = open("application/json");
        (JsonLines { sender }, response, gone)
    }

    /// Sends one message from asynchronous code.
    ///
    /// # Errors
    /// [`HungUp`] if the client is gone.
    pub async fn send(&self, message: &impl Serialize) -> Result<(), HungUp> {
        self.sender.send(line(message)).await.map_err(|_| HungUp)
    }

    /// Sends one message from a blocking thread.
    ///
    /// # Errors
    /// [`HungUp`] if the client is gone.
    pub fn blocking_send(&self, message: &impl Serialize) -> Result<(), HungUp> {
        self.sender.blocking_send(line(message)).map_err(|_| HungUp)
    }
}

/// Docker ends each message with CR LF.
fn line(message: &impl Serialize) -> Bytes {
    let mut text = serde_json::to_vec(message).unwrap_or_default();
    text.extend_from_slice(b"\r\n");
    text.into()
}

/// A writer of raw bytes (`save`, `export`) for a blocking thread, and the answer that carries them.
#[must_use]
pub fn raw(content_type: &'static str) -> (RawWriter, Response, CancellationToken) {
    let (sender, response, gone) = open(content_type);
    (RawWriter { sender }, response, gone)
}

/// See [`raw`].
#[derive(Debug)]
pub struct RawWriter {
    sender: mpsc::Sender<Bytes>,
}

impl std::io::Write for RawWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.sender.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A request's body as a blocking reader, for work on a blocking thread.
pub fn reader(body: Body) -> impl std::io::Read + Send {
    let chunks = body.into_data_stream().map(|chunk| chunk.map_err(std::io::Error::other));
    tokio_util::io::SyncIoBridge::new(tokio_util::io::StreamReader::new(chunks))
}

/// Cancels its token when it is dropped with the body it belongs to.
struct Receiver {
    chunks: mpsc::Receiver<Bytes>,
    gone: tokio_util::sync::DropGuard,
}

fn open(content_type: &'static str) -> (mpsc::Sender<Bytes>, Response, CancellationToken) {
    let (sender, chunks) = mpsc::channel(QUEUED_MESSAGES);
    let gone = CancellationToken::new();
    let receiver = Receiver { chunks, gone: gone.clone().drop_guard() };
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        match receiver.chunks.recv().await {
            Some(chunk) => Some((Ok::<_, std::convert::Infallible>(chunk), receiver)),
            None => {
                receiver.gone.disarm();
                None
            }
        }
    });
    let response =
        (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], Body::from_stream(stream)).into_response();
    (sender, response, gone)
}

#[cfg(test)]
mod tests {
    use dray_api::progress::ProgressMessage;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn one_message_a_line() {
        let (lines, response, gone) = JsonLines::open();
        lines.send(&ProgressMessage::status("a")).await.unwrap();
        lines.send(&ProgressMessage::error(0, "b")).await.unwrap();
        drop(lines);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "{\"status\":\"a\"}\r\n{\"errorDetail\":{\"message\":\"b\"},\"error\":\"b\"}\r\n");
        assert!(!gone.is_cancelled());
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_is_noticed() {
        let (lines, response, gone) = JsonLines::open();
        drop(response);
        assert_eq!(lines.send(&ProgressMessage::status("a")).await, Err(HungUp));
        assert!(gone.is_cancelled());
    }
}
