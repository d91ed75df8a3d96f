//! Bodies that are written while the work goes on: JSON messages one a line, and raw bytes.
//!
//! An error before the first message is an HTTP error; after it, it is the last message. The queue is
//! short, so a slow client slows blocking work down; a client that hangs up cancels the token.

use std::future::Future;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dray_api::progress::{ProgressDetail, ProgressMessage};
use dray_image::{Progress, ProgressEvent};
use futures_util::StreamExt;
use http::{StatusCode, header};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::{ApiError, ApiResult};

/// Room for every change of state of an image with the most layers there can be.
const QUEUED_MESSAGES: usize = 2048;
/// Moving bars are left out when fewer free places are left.
const KEPT_FOR_STATES: usize = 1024;
/// Pieces of archives on their way.
const QUEUED_PIECES: usize = 8;

/// The client went away; nobody reads the stream any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("client closed the connection")]
pub struct HungUp;

/// Why work that writes messages ended: an error, with the code that its message carries.
#[derive(Debug)]
pub struct Failure {
    /// What the client is told.
    pub error: ApiError,
    /// `errorDetail.code`; 0 is left out.
    pub code: i64,
}

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure { error: error.into(), code: 0 }
    }
}

/// Writes the lines of a stream of JSON messages.
#[derive(Debug, Clone)]
pub struct JsonLines {
    sender: mpsc::Sender<Bytes>,
}

impl JsonLines {
    /// A writer, the answer that carries what is written, and a token that is cancelled when the client
    /// hangs up. For streams that begin at once; see [`messages`] for work that may fail before.
    #[must_use]
    pub fn open() -> (JsonLines, Response, CancellationToken) {
        let (sender, receiver, gone) = channel(QUEUED_MESSAGES);
        (JsonLines { sender }, respond("application/json", None, receiver, None), gone)
    }

    /// Sends a message, waiting for room.
    ///
    /// # Errors
    /// [`HungUp`] if the client is gone.
    pub async fn send(&self, message: &impl Serialize) -> Result<(), HungUp> {
        self.sender.send(line(message)).await.map_err(|_| HungUp)
    }

    /// Sends a message from a blocking thread, waiting for room.
    ///
    /// # Errors
    /// [`HungUp`] if the client is gone.
    pub fn blocking_send(&self, message: &impl Serialize) -> Result<(), HungUp> {
        self.sender.blocking_send(line(message)).map_err(|_| HungUp)
    }
}

/// Progress never waits: a bar is left out when the client is slow.
impl Progress for JsonLines {
    fn event(&self, event: ProgressEvent) {
        if event.current.is_some() && self.sender.capacity() < KEPT_FOR_STATES {
            return;
        }
        let _ = self.sender.try_send(line(&progress_message(event)));
    }
}

/// Progress as Docker's clients read it.
pub(crate) fn progress_message(event: ProgressEvent) -> ProgressMessage {
    let of_row = !event.id.is_empty() && !event.status.starts_with("Pulling from ");
    let amount = |bytes: Option<u64>| bytes.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let (current, total) = (amount(event.current), amount(event.total));
    ProgressMessage {
        progress: bar(current, total),
        progress_detail: of_row.then(|| ProgressDetail { current, total, ..Default::default() }),
        id: event.id,
        status: event.status,
        ..Default::default()
    }
}

/// The bar as text, for clients that print messages as they are.
fn bar(current: i64, total: i64) -> String {
    const WIDTH: usize = 50;
    if current <= 0 {
        return String::new();
    }
    if total <= 0 || current > total {
        return format!("{:>8}", human(current));
    }
    let done = usize::try_from(current.saturating_mul(WIDTH as i64) / total).unwrap_or(0).min(WIDTH);
    let (arrow, rest) = if done < WIDTH { (">", WIDTH - done - 1) } else { ("", 0) };
    format!("[{}{arrow}{}] {:>8}/{}", "=".repeat(done), " ".repeat(rest), human(current), human(total))
}

fn human(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    let digits = match size {
        _ if unit == 0 => 0,
        size if size < 10.0 => 3,
        size if size < 100.0 => 2,
        _ => 1,
    };
    let text = format!("{size:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

/// Docker ends each message with CR LF.
fn line(message: &impl Serialize) -> Bytes {
    let mut text = serde_json::to_vec(message).unwrap_or_default();
    text.extend_from_slice(b"\r\n");
    text.into()
}

/// Runs work that tells its progress, and answers with what it tells. Dropped when the client leaves.
///
/// # Errors
/// The work's own error, if it told nothing before.
pub async fn messages<W, F>(work: W) -> ApiResult
where
    W: FnOnce(JsonLines, CancellationToken) -> F,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (sender, mut receiver, gone) = channel(QUEUED_MESSAGES);
    let working = work(JsonLines { sender }, gone.clone());
    let (outcome, ended) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        tokio::select! {
            result = working => {
                if let Err(Failure { error, code }) = result {
                    // Read after all messages: by the handler below if there were none, else by the body.
                    let _ = outcome.send((error, code));
                }
            }
            () = gone.cancelled() => {}
        }
    });
    match receiver.chunks.recv().await {
        Some(first) => Ok(respond("application/json", Some(first), receiver, Some(ended))),
        None => match ended.await {
            Ok((error, _)) => Err(error),
            Err(_) => Ok(respond("application/json", None, receiver, None)),
        },
    }
}

/// A writer of raw bytes (`save`, `export`) for a blocking thread, the answer that carries them, and a
/// token that is cancelled when the client hangs up.
#[must_use]
pub fn raw(content_type: &'static str) -> (RawWriter, Response, CancellationToken) {
    let (sender, pieces) = mpsc::channel(QUEUED_PIECES);
    let gone = CancellationToken::new();
    let guard = gone.clone().drop_guard();
    let all = futures_util::stream::unfold((pieces, guard), |(mut pieces, guard)| async move {
        let Some(piece) = pieces.recv().await else {
            guard.disarm();
            return None;
        };
        Some((piece, (pieces, guard)))
    });
    let response = (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], Body::from_stream(all));
    (RawWriter { sender }, response.into_response(), gone)
}

/// See [`raw`]. Wrap it in a buffer: each write is a piece.
#[derive(Debug)]
pub struct RawWriter {
    sender: mpsc::Sender<std::io::Result<Bytes>>,
}

/// Breaks an answer off: the client sees that it is not whole.
#[derive(Debug)]
pub struct Breaker(mpsc::Sender<std::io::Result<Bytes>>);

impl RawWriter {
    /// What breaks this answer off if the work fails after its beginning was sent.
    pub fn breaker(&self) -> Breaker {
        Breaker(self.sender.clone())
    }
}

impl Breaker {
    /// Ends the answer without an end; nothing that is written later is sent.
    pub fn break_off(self) {
        // A client that is gone needs no telling.
        let _ = self.0.blocking_send(Err(std::io::ErrorKind::BrokenPipe.into()));
    }
}

impl std::io::Write for RawWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.sender.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

type Outcome = tokio::sync::oneshot::Receiver<(ApiError, i64)>;

/// The reading side: dropped with the body it belongs to, it cancels the work.
struct Receiver {
    chunks: mpsc::Receiver<Bytes>,
    gone: Option<DropGuard>,
}

fn channel(room: usize) -> (mpsc::Sender<Bytes>, Receiver, CancellationToken) {
    let (sender, chunks) = mpsc::channel(room);
    let gone = CancellationToken::new();
    let guard = gone.clone().drop_guard();
    (sender, Receiver { chunks, gone: Some(guard) }, gone)
}

fn respond(
    content_type: &'static str,
    first: Option<Bytes>,
    receiver: Receiver,
    outcome: Option<Outcome>,
) -> Response {
    let rest = futures_util::stream::unfold((receiver, outcome), |(mut receiver, outcome)| async move {
        if let Some(chunk) = receiver.chunks.recv().await {
            return Some((chunk, (receiver, outcome)));
        }
        if let Some(guard) = receiver.gone.take() {
            guard.disarm();
        }
        // All is told; a failure that the work left is the last word.
        let (error, code) = outcome?.await.ok()?;
        Some((line(&ProgressMessage::error(code, error.message)), (receiver, None)))
    });
    let all = futures_util::stream::iter(first).chain(rest).map(Ok::<_, std::convert::Infallible>);
    (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], Body::from_stream(all)).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn text(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn one_message_a_line_and_a_late_error_last() {
        let work = async |lines: JsonLines| {
            lines.send(&ProgressMessage::status("a")).await.unwrap();
            Err(Failure { error: ApiError::internal("b"), code: 3 })
        };
        let response = messages(|lines, _| async move { work(lines).await }).await.unwrap();
        assert_eq!(response.status(), 200);
        let expected =
            "{\"status\":\"a\"}\r\n{\"errorDetail\":{\"code\":3,\"message\":\"b\"},\"error\":\"b\"}\r\n";
        assert_eq!(text(response).await, expected);
    }

    #[tokio::test]
    async fn an_early_error_is_an_http_error() {
        let error = messages(|_, _| async { Err(ApiError::not_found("no").into()) }).await.unwrap_err();
        assert_eq!((error.status, error.message.as_str()), (StatusCode::NOT_FOUND, "no"));
        let silent = messages(|_, _| async { Ok(()) }).await.unwrap();
        assert_eq!(text(silent).await, "");
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_ends_the_work() {
        let (dropped, when_dropped) = tokio::sync::oneshot::channel::<()>();
        let response = messages(|lines, _| async move {
            let _dropped = dropped;
            lines.send(&ProgressMessage::status("a")).await.unwrap();
            std::future::pending().await
        })
        .await
        .unwrap();
        drop(response);
        assert!(when_dropped.await.is_err());
    }

    #[tokio::test]
    async fn raw_bytes_from_a_thread() {
        use std::io::Write;
        let (mut out, response, _) = raw("application/x-tar");
        tokio::task::spawn_blocking(move || out.write_all(b"tar").unwrap());
        assert_eq!(response.headers()["content-type"], "application/x-tar");
        assert_eq!(text(response).await, "tar");
    }

    #[tokio::test]
    async fn what_is_broken_off_is_not_whole() {
        use std::io::Write;
        let (mut out, response, _) = raw("application/x-tar");
        let work = move || {
            out.write_all(b"half").unwrap();
            out.breaker().break_off();
        };
        tokio::task::spawn_blocking(work);
        assert!(response.into_body().collect().await.is_err());
    }

    #[test]
    fn progress_is_docker_s() {
        let json = |event| serde_json::to_string(&progress_message(event)).unwrap();
        assert_eq!(
            json(ProgressEvent::status("latest", "Pulling from library/busybox")),
            r#"{"status":"Pulling from library/busybox","id":"latest"}"#
        );
        assert_eq!(
            json(ProgressEvent::status("abc", "Pull complete")),
            r#"{"status":"Pull complete","progressDetail":{},"id":"abc"}"#
        );
        assert_eq!(json(ProgressEvent::line("Digest: x")), r#"{"status":"Digest: x"}"#);
        let moving = json(ProgressEvent::bar("abc", "Downloading", 16_384, Some(1_200_000)));
        assert!(moving.contains(r#""progressDetail":{"current":16384,"total":1200000}"#), "{moving}");
        assert!(
            moving.contains("[>                                                 ]  16.38kB/1.2MB"),
            "{moving}"
        );
    }
}
