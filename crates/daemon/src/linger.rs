//! The end of a connection that was taken over.
//!
//! What a client has sent and nobody reads any more (keys that were pressed while the program ended) must be read before
//! the connection is closed: the system tells the client of a reset otherwise, and what it has not read yet is lost.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// How long a client may take to hang up once nothing more comes.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection that is ended gently when it is dropped inside of a runtime.
pub(crate) struct Linger<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(Option<I>);

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> Linger<I> {
    pub(crate) fn new(io: I) -> Self {
        Self(Some(io))
    }

    fn io(&mut self) -> io::Result<Pin<&mut I>> {
        self.0.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> Drop for Linger<I> {
    fn drop(&mut self) {
        if let (Some(io), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(PATIENCE, end(io)));
        }
    }
}

async fn end(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let mut unread = [0; 4096];
    if io.shutdown().await.is_ok() {
        while io.read(&mut unread).await.is_ok_and(|count| count > 0) {}
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncRead for Linger<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io()?.poll_read(cx, buf)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncWrite for Linger<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn what_was_said_last_arrives_though_the_client_was_not_heard_out() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"keys that nobody reads").await.unwrap();
        let mut connection = Linger::new(ours);
        connection.write_all(b"bye").await.unwrap();
        drop(connection);
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "bye");
        // It goes when the client goes; and while the client stays, what it says is no error.
        theirs.write_all(b"more").await.unwrap();
    }

    #[tokio::test]
    async fn nobody_is_waited_for_without_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        drop(Linger::new(ours));
        // It does not hang up, and is hung up on.
        while theirs.write_all(b"more").await.is_ok() {
            tokio::time::sleep(PATIENCE / 20).await;
        }
    }
}
