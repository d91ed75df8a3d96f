//! Bodies of answers.
//!
//! A blob of the local disk has two ways out. Over plain HTTP/1.1 its bytes never enter this process: the frames are
//! placeholders that [`super::Socket`] replaces by sendfile(2). Otherwise the file is read in large pieces on threads
//! that may wait, one piece ahead of the one that is sent.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::socket::{Lane, PLACEHOLDER};
use crate::storage::Content;

/// How much of a file is read at once.
const PIECE: u64 = 256 * 1024;

/// The body of an answer.
#[derive(Default)]
pub struct Body {
    kind: Kind,
    left: u64,
    /// Told how many bytes went out when the body is dropped.
    sent: Option<Box<dyn FnOnce(u64) + Send>>,
    out: u64,
}

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Bytes(Bytes),
    Sent {
        file: Arc<File>,
        at: u64,
        lane: Arc<Lane>,
    },
    Read {
        file: Arc<File>,
        range: Range<u64>,
        ahead: Option<JoinHandle<io::Result<Bytes>>>,
    },
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

impl Body {
    /// The bytes of a blob, over the connection's lane where it has one.
    #[must_use]
    pub fn of(content: Content, length: u64, lane: Option<Arc<Lane>>) -> Self {
        let kind = match (content, lane) {
            (Content::File { file, range }, Some(lane)) => Kind::Sent { file, at: range.start, lane },
            (Content::File { file, range }, None) => Kind::Read { file, range, ahead: None },
            (Content::Stream(stream), _) => Kind::Stream(stream.map_err(io::Error::other).boxed()),
        };
        Self { kind, left: length, sent: None, out: 0 }
    }

    /// Bytes that come from elsewhere.
    #[must_use]
    pub(crate) fn coming(stream: BoxStream<'static, io::Result<Bytes>>, length: u64) -> Self {
        Self { kind: Kind::Stream(stream), left: length, sent: None, out: 0 }
    }

    /// The body as it is, telling `sent` at its end how many bytes went out.
    #[must_use]
    pub fn counted(mut self, sent: impl FnOnce(u64) + Send + 'static) -> Self {
        self.sent = Some(Box::new(sent));
        self
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(match &mut self.kind {
            Kind::Empty => None,
            Kind::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Kind::Sent { file, at, lane } => {
                let length = PLACEHOLDER.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                lane.push(file.clone(), *at, length as u64);
                *at += length as u64;
                Some(Ok(Bytes::from_static(&PLACEHOLDER[..length])))
            }
            Kind::Read { file, range, ahead } => {
                let reading = ahead.get_or_insert_with(|| read_ahead(file, range));
                let piece = ready!(Pin::new(reading).poll(cx));
                *ahead = (!range.is_empty()).then(|| read_ahead(file, range));
                Some(piece.unwrap_or_else(|gone| Err(io::Error::other(gone))))
            }
            Kind::Stream(stream) => ready!(stream.as_mut().poll_next(cx)),
        })
    }
}

/// Begins to read the next piece.
fn read_ahead(file: &Arc<File>, range: &mut Range<u64>) -> JoinHandle<io::Result<Bytes>> {
    let (file, start) = (file.clone(), range.start);
    let length = PIECE.min(range.end - range.start);
    range.start += length;
    tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut bytes, start)?;
        Ok(Bytes::from(bytes))
    })
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let left = bytes.len() as u64;
        Self { kind: if left == 0 { Kind::Empty } else { Kind::Bytes(bytes) }, left, sent: None, out: 0 }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = match ready!(self.poll_piece(cx)) {
            Some(Ok(piece)) if piece.len() as u64 <= self.left => piece,
            Some(Ok(_)) => {
                return Poll::Ready(Some(Err(io::Error::other("the object is longer than its record"))));
            }
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => {
                let kind = io::ErrorKind::UnexpectedEof;
                return Poll::Ready(Some(Err(io::Error::new(kind, "the object is shorter than its record"))));
            }
        };
        self.left -= piece.len() as u64;
        self.out += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(sent) = self.sent.take() {
            sent(self.out);
        }
    }
}
