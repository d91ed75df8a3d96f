//! A TCP socket on which parts of files go out by sendfile(2), under an HTTP library that only knows buffers.
//!
//! ```text
//! Body ── frame of placeholder bytes ──► hyper ── writev(head, placeholder) ──► Socket
//!   └──── (file, offset, length) ─► Lane ─────────────────────────────────────────┘ sendfile
//! ```
//!
//! The placeholder is one static buffer that nothing else uses, so the socket tells it by its address. Bytes are
//! written in the order in which hyper hands them over, and the lane has the parts in the same order: at any moment
//! the first placeholder byte to be written is the first byte of the lane's first part. hyper passes buffers through
//! without copying as long as the socket says that it writes vectored; were that to change, the lane would be left
//! behind with parts, which [`Socket`] answers by breaking the connection rather than sending zeros.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Never read, so it costs address space only.
pub(super) static PLACEHOLDER: [u8; 1 << 20] = [0; 1 << 20];

/// How many buffers hyper hands over at most.
const SLICES: usize = 64;

/// The parts of files that are on their way to a socket.
#[derive(Debug, Default)]
pub struct Lane(Mutex<VecDeque<Part>>);

#[derive(Debug)]
struct Part {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Lane {
    pub(super) fn push(&self, file: Arc<File>, offset: u64, length: u64) {
        self.parts().push_back(Part { file, offset, left: length });
    }

    fn parts(&self) -> MutexGuard<'_, VecDeque<Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first(&self) -> Option<(Arc<File>, u64, u64)> {
        self.parts().front().map(|part| (part.file.clone(), part.offset, part.left))
    }

    fn advance(&self, sent: u64) {
        let mut parts = self.parts();
        if let Some(part) = parts.front_mut() {
            part.offset += sent;
            part.left = part.left.saturating_sub(sent);
            if part.left == 0 {
                parts.pop_front();
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.parts().is_empty()
    }
}

/// A socket with a lane.
pub struct Socket {
    stream: TcpStream,
    lane: Arc<Lane>,
}

impl Socket {
    /// Wraps a connected socket.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, lane: Arc::default() }
    }

    /// The lane, for the bodies of this connection's answers.
    #[must_use]
    pub fn lane(&self) -> Arc<Lane> {
        self.lane.clone()
    }

    fn poll_sendfile(&self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let Some((file, offset, left)) = self.lane.first() else {
            return Poll::Ready(Err(io::Error::other("a part of a file was announced and is not there")));
        };
        let most = most.min(usize::try_from(left).unwrap_or(usize::MAX));
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            let mut at = offset;
            let send = || Ok(rustix::fs::sendfile(&self.stream, &*file, Some(&mut at), most)?);
            match self.stream.try_io(Interest::WRITABLE, send) {
                Ok(0) => {
                    let kind = io::ErrorKind::UnexpectedEof;
                    return Poll::Ready(Err(io::Error::new(kind, "the object is shorter than its record")));
                }
                Ok(sent) => {
                    self.lane.advance(sent as u64);
                    return Poll::Ready(Ok(sent));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Whether these are placeholder bytes.
fn is_placeholder(slice: &[u8]) -> bool {
    let start = PLACEHOLDER.as_ptr() as usize;
    (start..start + PLACEHOLDER.len()).contains(&(slice.as_ptr() as usize)) && !slice.is_empty()
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if is_placeholder(bytes) {
            return self.poll_sendfile(cx, bytes.len());
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let used = slices.iter().position(|slice| !slice.is_empty()).unwrap_or(0);
        let slices = &slices[used..];
        match slices.iter().take(SLICES).position(|slice| is_placeholder(slice)) {
            Some(0) => self.poll_sendfile(cx, slices[0].len()),
            Some(before) => Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..before]),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.lane.is_empty() {
            return Poll::Ready(Err(io::Error::other("parts of a file were passed over")));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
