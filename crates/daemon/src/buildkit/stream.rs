//! `Control.Session`: a session inside a call, for clients that share one among several builds.
//!
//! ```text
//! client's server ◄── HTTP/2 ── BytesMessage … ── pipe ── Sessions::serve
//! ```

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dray_buildkit::grpc::{Call, Code, Messages, Reply, ReplySender, Status};
use dray_buildkit::proto::control::BytesMessage;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{BuildKit, SESSION_ID, SHARED_KEY, failure};

/// Bytes on their way through the pipe, and in one message.
const PIPE: usize = 64 << 10;

impl BuildKit {
    pub(super) fn session_stream(self: &Arc<Self>, call: Call) -> Result<Reply, Status> {
        let id = call.metadata.get(SESSION_ID).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if id.is_empty() {
            return Err(failure::invalid("no session id in the call"));
        }
        if self.sessions.has(id) {
            return Err(Status::new(Code::AlreadyExists, format!("session {id} already exists")));
        }
        let key = call.metadata.get(SHARED_KEY).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (kit, id, key) = (Arc::clone(self), id.to_owned(), key.to_owned());
        let messages = call.messages;
        let (sender, reply) = Reply::many();
        tokio::spawn(async move {
            let (ours, theirs) = tokio::io::duplex(PIPE);
            let (from_session, to_session) = tokio::io::split(ours);
            tokio::select! {
                served = kit.sessions.serve(&id, &key, theirs) => {
                    if let Err(error) = served {
                        tracing::debug!(%error, "a build client's session");
                    }
                }
                () = receive(messages, to_session) => {}
                () = send(from_session, sender) => {}
            }
        });
        Ok(reply)
    }
}

async fn receive(mut messages: Messages, mut to_session: impl AsyncWrite + Unpin) {
    while let Ok(Some(message)) = messages.next::<BytesMessage>().await {
        if to_session.write_all(&message.data).await.is_err() {
            return;
        }
    }
}

async fn send(mut from_session: impl AsyncRead + Unpin, sender: ReplySender) {
    let mut buffer = BytesMut::with_capacity(PIPE);
    while matches!(from_session.read_buf(&mut buffer).await, Ok(n) if n > 0) {
        let data: Bytes = buffer.split().freeze();
        if !sender.send(&BytesMessage { data }).await {
            return;
        }
        buffer.reserve(PIPE);
    }
}
