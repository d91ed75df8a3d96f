//! Files that a client on this machine hands over: it sends the open file itself over its unix socket, so that what
//! is in the file, or is to be, goes through none.
//!
//! ```text
//! client                                          daemon
//! POST /dray/images/load, Upgrade: dray-file  →
//!                                             ←   101
//! a byte, with the descriptor (SCM_RIGHTS)    →
//!                                             ←   {"Status":200}, or the status and {"Message"} of an error
//!                                             ←   what the HTTP answer's body would be
//!                                             ←   {}
//! ```
//! Nothing was done yet if the status is 417: the descriptor was lost on the way (a proxy), and the client may send
//! what is in the file instead. A client that hangs up gives the work up.

use std::fs::File;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::os::fd::OwnedFd;
use std::time::Duration;

use axum::response::Response;
use dray_api::extension::{HANDED_END, HANDED_FILE, HandedAnswer};
use dray_image::GivenUp;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use crate::error::{ApiError, ApiResult};
use crate::hijack::Hijack;
use crate::takeover::Prefixed;

/// How long a client may take to send the descriptor after the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers with a change of protocol; `work` gets the file then, and its answer goes to the client.
///
/// # Errors
/// If the client does not ask for this protocol.
pub(crate) fn take<F, Fut>(hijack: Hijack, work: F) -> ApiResult
where
    F: FnOnce(File, GivenUp) -> Fut + Send + 'static,
    Fut: Future<Output = ApiResult> + Send + 'static,
{
    hijack.upgrade_as_is(HANDED_FILE, |upgraded| async move {
        if let Err(error) = session(upgraded, work).await {
            tracing::debug!(%error, "client left after it handed over a file");
        }
    })
}

async fn session<F, Fut>(upgraded: Upgraded, work: F) -> io::Result<()>
where
    F: FnOnce(File, GivenUp) -> Fut + Send + 'static,
    Fut: Future<Output = ApiResult> + Send + 'static,
{
    // Whatever else the connection is, no descriptor comes over it.
    let Some(mut stream) = unix_stream(upgraded) else { return Err(io::ErrorKind::Unsupported.into()) };
    let received = tokio::time::timeout(PATIENCE, receive(&stream)).await;
    let Some(file) = received.map_err(io::Error::from).and_then(|received| received)? else {
        let lost = ApiError::new(StatusCode::EXPECTATION_FAILED, "no file came over the connection");
        return stream.write_all(&head(&Err(lost))).await;
    };
    let given_up = GivenUp::default();
    let (mut from, mut to) = stream.split();
    let answer = async {
        let response = work(file, given_up.clone()).await;
        to.write_all(&head(&response)).await?;
        let Ok(response) = response else { return Ok(()) };
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(io::Error::other)?;
            to.write_all(frame.data_ref().map_or(&[][..], |data| data)).await?;
        }
        to.write_all(HANDED_END).await
    };
    let gone = async {
        // Clients send no more.
        let _ = from.read(&mut [0]).await;
    };
    let ended = tokio::select! {
        answered = answer => answered,
        () = gone => Err(io::ErrorKind::ConnectionAborted.into()),
    };
    if ended.is_err() {
        given_up.set();
    }
    ended
}

fn unix_stream(upgraded: Upgraded) -> Option<UnixStream> {
    let parts = upgraded.downcast::<TokioIo<Prefixed<UnixStream>>>().ok()?;
    // What was read already has lost its descriptor.
    parts.io.into_inner().into_inner().filter(|_| parts.read_buf.is_empty())
}

/// The file that comes with the next byte; none if there is none with it.
async fn receive(stream: &UnixStream) -> io::Result<Option<File>> {
    stream.async_io(Interest::READABLE, || receive_now(stream)).await
}

fn receive_now(stream: &UnixStream) -> io::Result<Option<File>> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(descriptors.flatten().next().map(|descriptor: OwnedFd| File::from(descriptor)))
}

/// The first line of the answer.
fn head(response: &Result<Response, ApiError>) -> Vec<u8> {
    let answer = match response {
        Ok(response) => HandedAnswer { status: response.status().as_u16(), message: String::new() },
        Err(ApiError { status, message }) => {
            if status.is_server_error() {
                tracing::error!(status = status.as_u16(), "{message}");
            }
            HandedAnswer { status: status.as_u16(), message: message.clone() }
        }
    };
    let mut line = serde_json::to_vec(&answer).unwrap_or_default();
    line.extend_from_slice(b"\r\n");
    line
}
