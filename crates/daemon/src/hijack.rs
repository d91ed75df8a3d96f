//! Taking a connection over: attach and exec turn HTTP into a duplex stream of bytes.
//!
//! ```text
//! client                                   daemon
//! POST …/attach  Upgrade: tcp        →
//!                                    ←     101 UPGRADED, Content-Type: …multiplexed-stream
//! stdin bytes                        ⇄     frames [stream, 0, 0, 0, length] payload, or raw bytes
//! ```
//! Clients that send no `Upgrade` are answered 200 and take over too; those connections never
//! reach hyper (`takeover.rs`), but the handler does not see the difference.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::ApiError;
use crate::linger::Linger;
use crate::version::ApiVersion;

/// Both directions of a connection that was taken over. `shutdown` closes the way to the client.
pub type HijackedStream = Pin<Box<dyn Duplex>>;

/// What a hijacked connection can do.
pub trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

type Session = Box<dyn FnOnce(HijackedStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What to run on the connection once the head of the answer is written, when the connection is not
/// hyper's. Travels in the extensions of request and answer.
#[derive(Clone, Default)]
pub(crate) struct TakeoverSlot(Arc<Mutex<Option<Session>>>);

impl TakeoverSlot {
    pub(crate) fn take(&self) -> Option<Session> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

/// Takes the connection over after the answer. An extractor: put it before the one for the body.
pub struct Hijack {
    way: Way,
    version: ApiVersion,
}

enum Way {
    Upgrade(OnUpgrade),
    Takeover(TakeoverSlot),
    /// A request that asked for neither, on a connection that carried others before.
    None,
}

impl<S: Send + Sync> FromRequestParts<S> for Hijack {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let version = parts.extensions.get().copied().unwrap_or(ApiVersion::NEWEST);
        let way = if let Some(slot) = parts.extensions.remove::<TakeoverSlot>() {
            Way::Takeover(slot)
        } else {
            match parts.extensions.remove::<OnUpgrade>() {
                Some(upgrade) if parts.headers.contains_key(header::UPGRADE) => Way::Upgrade(upgrade),
                _ => Way::None,
            }
        };
        Ok(Hijack { way, version })
    }
}

impl Hijack {
    /// Answers, and runs `session` on the connection. `multiplexed` says that the bytes are framed:
    /// clients since API 1.42 are told so by the content type.
    pub fn start<F, Fut>(self, multiplexed: bool, session: F) -> Response
    where
        F: FnOnce(HijackedStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        match self.way {
            Way::None => ApiError::bad_request(
                "this endpoint takes the connection over: send 'Connection: Upgrade' and 'Upgrade: tcp'",
            )
            .into_response(),
            Way::Takeover(slot) => {
                let session: Session = Box::new(move |stream| Box::pin(session(stream)));
                *slot.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(session);
                respond(StatusCode::OK, dray_api::RAW_STREAM)
            }
            Way::Upgrade(upgrade) => {
                let framed = multiplexed && self.version.at_least(42);
                tokio::spawn(async move {
                    match upgrade.await {
                        Ok(upgraded) => session(Box::pin(Linger::new(TokioIo::new(upgraded)))).await,
                        Err(error) => tracing::debug!(%error, "client left before the upgrade"),
                    }
                });
                upgraded(if framed { dray_api::MULTIPLEXED_STREAM } else { dray_api::RAW_STREAM })
            }
        }
    }
}

impl Hijack {
    /// Switches to another protocol, and runs `session` on the connection.
    ///
    /// # Errors
    /// If the client did not ask for an upgrade.
    pub(crate) fn upgrade<F, Fut>(self, protocol: &'static str, session: F) -> Result<Response, ApiError>
    where
        F: FnOnce(HijackedStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let Way::Upgrade(_) = &self.way else {
            return Err(ApiError::bad_request("no upgrade proto in request"));
        };
        let mut response = self.start(false, session);
        speaks(&mut response, protocol);
        Ok(response)
    }

    /// As [`Hijack::upgrade`], for a session that needs the connection as it is.
    ///
    /// # Errors
    /// If the client did not ask for an upgrade.
    pub(crate) fn upgrade_as_is<F, Fut>(
        self,
        protocol: &'static str,
        session: F,
    ) -> Result<Response, ApiError>
    where
        F: FnOnce(Upgraded) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let Way::Upgrade(upgrade) = self.way else {
            return Err(ApiError::bad_request("no upgrade proto in request"));
        };
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => session(upgraded).await,
                Err(error) => tracing::debug!(%error, "client left before the upgrade"),
            }
        });
        let mut response = upgraded(dray_api::RAW_STREAM);
        speaks(&mut response, protocol);
        Ok(response)
    }
}

fn speaks(response: &mut Response, protocol: &'static str) {
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static(protocol));
    headers.remove(header::CONTENT_TYPE);
}

fn respond(status: StatusCode, content_type: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn upgraded(content_type: &'static str) -> Response {
    let mut response = respond(StatusCode::SWITCHING_PROTOCOLS, content_type);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    response.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    response
}
