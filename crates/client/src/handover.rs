//! Handing an open file over to a daemon on the same machine, so that what is in it goes through no socket
//! (`crates/daemon/src/handed.rs` says how it goes).

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use bytes::{Bytes, BytesMut};
use dray_api::extension::{HANDED_END, HANDED_FILE, HandedAnswer};
use futures_util::{Stream, stream};
use http::StatusCode;
use hyper_util::rt::TokioIo;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncReadExt, Interest};
use tokio::net::UnixStream;

use crate::Result;
use crate::connect::failure;
use crate::endpoint::Host;
use crate::error::Error;
use crate::request::{Call, Client};
use crate::stream::Body;

/// The first line of an answer is not longer.
const LONGEST_HEAD: usize = 1 << 20;
const READ_AT_ONCE: usize = 16 << 10;

impl Client {
    /// Sends a call and a file that it is about; the answer is as that of [`Client::stream`].
    ///
    /// None if the daemon cannot have the file: it is another's than Dray's, or elsewhere, or something is between. Then
    /// nothing has happened, and what is in the file can be sent instead. That is so for most errors too, of which the
    /// other way has the text.
    ///
    /// # Errors
    /// As [`Client::raw`], once the daemon has the file.
    pub async fn hand_over(&self, call: Call<'_>, file: BorrowedFd<'_>) -> Result<Option<Body>> {
        let (Host::Unix(path), None) = (&self.endpoint().host, self.rehearsal()) else { return Ok(None) };
        self.negotiate().await?;
        let stream = UnixStream::connect(path).await.map_err(|error| failure(self.endpoint(), error))?;
        let Some(mut stream) = self.switch(call.protocol(HANDED_FILE), stream).await? else {
            return Ok(None);
        };
        let handing = |source| Error::Stream { what: "handing a file over", source };
        stream.async_io(Interest::WRITABLE, || send(&stream, file)).await.map_err(handing)?;
        let mut read = BytesMut::new();
        let answer = head(&mut stream, &mut read).await.map_err(handing)?;
        match StatusCode::from_u16(answer.status) {
            Ok(StatusCode::EXPECTATION_FAILED) => Ok(None),
            Ok(status) if status.is_success() => {
                let chunks = chunks(stream, read);
                Ok(Some(Body::new(http::HeaderMap::new(), chunks, ())))
            }
            _ => Err(Error::Api { status: answer.status, message: answer.message }),
        }
    }

    /// The connection after it has changed its protocol; none if the daemon does not do that.
    async fn switch(&self, call: Call<'_>, stream: UnixStream) -> Result<Option<UnixStream>> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        let response = sender.send_request(self.upgrading(call)?).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(None);
        }
        let upgraded = hyper::upgrade::on(response).await?;
        let parts = upgraded.downcast::<TokioIo<UnixStream>>().ok();
        Ok(parts.filter(|parts| parts.read_buf.is_empty()).map(|parts| parts.io.into_inner()))
    }
}

fn send(stream: &UnixStream, file: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = [file];
    control.push(SendAncillaryMessage::ScmRights(&files));
    Ok(sendmsg(stream, &[IoSlice::new(b"f")], &mut control, SendFlags::NOSIGNAL).map(drop)?)
}

/// The first line; what comes after it stays in the buffer.
async fn head(stream: &mut UnixStream, read: &mut BytesMut) -> io::Result<HandedAnswer> {
    let end = loop {
        if let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            break end;
        }
        if stream.read_buf(read).await? == 0 || read.len() > LONGEST_HEAD {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    Ok(serde_json::from_slice(&read.split_to(end + 1))?)
}

/// What comes after the first line, up to the last.
fn chunks(
    stream: impl AsyncRead + Unpin + Send + 'static,
    read: BytesMut,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold((stream, read), |(mut stream, mut read)| async move {
        loop {
            // What may be the end is held back until more comes.
            if read.len() > HANDED_END.len() {
                let piece = read.split_to(read.len() - HANDED_END.len()).freeze();
                return Ok(Some((piece, (stream, read))));
            }
            read.reserve(READ_AT_ONCE);
            if stream.read_buf(&mut read).await? == 0 {
                return match read == HANDED_END {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    async fn text(answer: &'static [u8], already: usize) -> io::Result<String> {
        let (first, rest) = answer.split_at(already);
        let all: Vec<Bytes> = chunks(rest, BytesMut::from(first)).try_collect().await?;
        Ok(String::from_utf8(all.concat()).unwrap())
    }

    #[tokio::test]
    async fn an_answer_has_an_end_or_is_broken_off() {
        for already in 0..4 {
            assert_eq!(text(b"{}\r\n", already).await.unwrap(), "");
            assert_eq!(text(b"{\"a\":{}}\r\n{}\r\n{}\r\n", already).await.unwrap(), "{\"a\":{}}\r\n{}\r\n");
            for broken in [&b"{\"a\":1}\r\n"[..], b"{}\r", b"{\"a\":1}\r\n{}"] {
                assert!(text(broken, already.min(broken.len())).await.is_err());
            }
        }
        assert!(text(b"", 0).await.is_err());
    }
}
