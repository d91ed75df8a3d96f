//! Sessions: connections of build clients over which the daemon calls them.
//!
//! A session is there from its `POST /session` to the end of its connection. Who looks for one waits a while:
//! clients open it at the same time as they ask for the build.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::grpc::{Channel, Code, Status};
use crate::proto::control::{BytesMessage, Empty};
use crate::proto::session::{
    CheckAgentRequest, CredentialsRequest, CredentialsResponse, GetSecretRequest, GetSecretResponse,
};

/// How long a build waits for its session.
const PATIENCE: Duration = Duration::from_secs(30);

const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const CHECK_AGENT: &str = "/moby.sshforward.v1.SSH/CheckAgent";
const FORWARD_AGENT: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
/// The header that says which agent is meant.
pub const AGENT_ID: &str = "buildkit.ssh.id";
const GET_SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";

/// So much of an agent's talk travels at once.
const AGENT_PIECE: usize = 32 << 10;

/// The sessions of a daemon.
#[derive(Debug, Default)]
pub struct Sessions {
    open: Mutex<HashMap<String, Session>>,
    changed: Notify,
}

/// A client that can be called.
#[derive(Clone, Debug)]
pub struct Session {
    channel: Channel,
    ended: CancellationToken,
    /// What the client calls the folder that it builds; empty if it does not say.
    shared_key: Arc<str>,
}

/// Why a session cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Its id is another's.
    #[error("session {0} already exists")]
    Exists(String),
    /// The client does not speak the protocol.
    #[error("session {id}: {source}")]
    Connection {
        /// Its id.
        id: String,
        /// What is wrong.
        source: hyper::Error,
    },
}

impl Sessions {
    /// Whether a session has this id.
    pub fn has(&self, id: &str) -> bool {
        self.open().contains_key(id)
    }

    /// Serves a session until its connection ends. `shared_key` is what the client calls the folder that it builds.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn serve<I>(&self, id: &str, shared_key: &str, io: I) -> Result<(), SessionError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken = |source| SessionError::Connection { id: id.to_owned(), source };
        let (channel, connection) = Channel::open(io).await.map_err(broken)?;
        let ended = CancellationToken::new();
        let session = Session { channel, ended: ended.clone(), shared_key: shared_key.into() };
        let _open = self.enter(id, session)?;
        tokio::select! {
            done = connection => done.map_err(broken),
            () = ended.cancelled() => Ok(()),
        }
    }

    /// Ends a session from this side: its connection is closed.
    pub fn end(&self, id: &str) {
        if let Some(session) = self.open().get(id) {
            session.ended.cancel();
        }
    }

    fn enter<'a>(&'a self, id: &'a str, session: Session) -> Result<impl Drop + 'a, SessionError> {
        struct Open<'a>(&'a Sessions, &'a str);
        impl Drop for Open<'_> {
            fn drop(&mut self) {
                self.0.open().remove(self.1);
            }
        }
        let mut open = self.open();
        if open.contains_key(id) {
            return Err(SessionError::Exists(id.to_owned()));
        }
        open.insert(id.to_owned(), session);
        drop(open);
        self.changed.notify_waiters();
        Ok(Open(self, id))
    }

    /// The session of this id, waited for.
    ///
    /// # Errors
    /// If none comes.
    pub async fn find(&self, id: &str) -> Result<Session, Status> {
        let found = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                // Before the look, so that none that comes meanwhile is missed.
                changed.as_mut().enable();
                if let Some(session) = self.open().get(id) {
                    return session.clone();
                }
                changed.await;
            }
        };
        let missing = |_| {
            Status::new(Code::Unavailable, format!("no active session for {id}: context deadline exceeded"))
        };
        tokio::time::timeout(PATIENCE, found).await.map_err(missing)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// What the client calls the folder that it builds; empty if it does not say.
    #[must_use]
    pub fn shared_key(&self) -> &str {
        &self.shared_key
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The client's credentials for a registry; `None` if it has none or shares none.
    ///
    /// # Errors
    /// If the client fails to say.
    pub async fn credentials(&self, host: &str) -> Result<Option<CredentialsResponse>, Status> {
        let request = CredentialsRequest { host: host.to_owned() };
        match self.channel.unary::<CredentialsResponse>(CREDENTIALS, &request).await {
            Ok(found) => Ok(Some(found).filter(|found| !found.secret.is_empty())),
            Err(status) if status.code == Code::Unimplemented => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Asks for the client's SSH agent of this id; false if it offers none at all.
    ///
    /// # Errors
    /// If it does not have this one, or fails to say.
    pub async fn check_agent(&self, id: &str) -> Result<bool, Status> {
        let request = CheckAgentRequest { id: id.to_owned() };
        match self.channel.unary::<Empty>(CHECK_AGENT, &request).await {
            Ok(Empty {}) => Ok(true),
            Err(status) if status.code == Code::Unimplemented => Ok(false),
            Err(status) => Err(status),
        }
    }

    /// Joins a connection with the client's SSH agent of this id, until either ends it.
    ///
    /// # Errors
    /// If the client fails.
    pub async fn forward_agent<I>(&self, id: &str, io: I) -> Result<(), Status>
    where
        I: AsyncRead + AsyncWrite + Send,
    {
        let mut metadata = HeaderMap::new();
        let wrong = |_| Status::new(Code::InvalidArgument, format!("ssh agent {id:?}: no valid id"));
        metadata.insert(AGENT_ID, HeaderValue::from_str(id).map_err(wrong)?);
        let (pacing, answer) = self.channel.paced(FORWARD_AGENT, metadata);
        let (mut from, mut to) = tokio::io::split(io);
        let send = async move {
            let mut buffer = BytesMut::with_capacity(AGENT_PIECE);
            while matches!(from.read_buf(&mut buffer).await, Ok(n) if n > 0) {
                if !pacing.send(&BytesMessage { data: buffer.split().freeze() }).await {
                    return;
                }
                buffer.reserve(AGENT_PIECE);
            }
        };
        let receive = async move {
            let mut messages = answer.await?;
            while let Some(message) = messages.next::<BytesMessage>().await? {
                if to.write_all(&message.data).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        tokio::pin!(send, receive);
        tokio::select! {
            ended = &mut receive => ended,
            // What the step has asked last is still answered.
            () = &mut send => receive.await,
        }
    }

    /// The secret of this id; `None` if the client has none.
    ///
    /// # Errors
    /// If the client fails to say.
    pub async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Status> {
        let request = GetSecretRequest { id: id.to_owned() };
        match self.channel.unary::<GetSecretResponse>(GET_SECRET, &request).await {
            Ok(found) => Ok(Some(found.data)),
            Err(status) if matches!(status.code, Code::Unimplemented | Code::NotFound) => Ok(None),
            Err(status) => Err(status),
        }
    }
}
