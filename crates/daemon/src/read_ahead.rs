//! A request's body as a blocking reader, for work on a blocking thread.
//!
//! The connection's task reads ahead: asking it for every piece would cost two changes of thread each, more than
//! the piece itself takes.

use std::io::{self, Read};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

/// Pieces that may wait. With [`crate::connection::READ_AT_ONCE`] it bounds what a body takes of memory.
const PIECES: usize = 8;

/// A reader of the body, which is dropped with the reader. Must be called inside a tokio runtime, and read outside
/// of its tasks.
pub fn reader(body: Body) -> impl Read + Send {
    let (sender, pieces) = mpsc::channel(PIECES);
    tokio::spawn(read_ahead(body, sender));
    Reader { pieces, current: Bytes::new() }
}

async fn read_ahead(mut body: Body, sender: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            // The reader wants no more.
            () = sender.closed() => return,
        };
        let piece = match frame {
            None => return,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Ok(data),
                // Trailers mean nothing here.
                Err(_) => continue,
            },
            Some(Err(error)) => Err(io::Error::other(error)),
        };
        let broken = piece.is_err();
        if sender.send(piece).await.is_err() || broken {
            return;
        }
    }
}

struct Reader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.current = piece?,
            }
        }
        let read = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn read_all(pieces: Vec<io::Result<&'static str>>) -> io::Result<String> {
        let body = Body::from_stream(stream::iter(pieces));
        let reading = move || {
            let mut text = String::new();
            reader(body).read_to_string(&mut text).map(|_| text)
        };
        tokio::task::spawn_blocking(reading).await.unwrap()
    }

    #[tokio::test]
    async fn pieces_come_in_order_and_to_the_end() {
        let pieces: Vec<_> = ["", "one ", "", "two ", "three"].into_iter().cycle().take(50).map(Ok).collect();
        assert_eq!(read_all(pieces).await.unwrap(), "one two three".repeat(10));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let pieces = vec![Ok("one"), Err(io::ErrorKind::ConnectionReset.into())];
        assert!(read_all(pieces).await.unwrap_err().to_string().contains("connection reset"));
    }

    #[tokio::test]
    async fn a_body_that_nobody_reads_any_more_is_dropped() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let endless =
            stream::unfold(sender, |sender| async move { Some((Ok::<_, io::Error>("more"), sender)) });
        let body = Body::from_stream(endless);
        let read = move || reader(body).read(&mut [0; 2]).unwrap();
        assert_eq!(tokio::task::spawn_blocking(read).await.unwrap(), 2);
        assert!(receiver.await.is_err(), "its stream is dropped");
    }
}
