//! One connection: its requests go through version negotiation to the routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Request, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::buildkit::BuildKit;
use crate::listener::{Accepted, Listener};
use crate::takeover::{self, First, HEAD_TIMEOUT};
use crate::unread;
use crate::version;

/// Far more than a daemon has; bounds what a client that opens connections for fun can take.
const MAX_CONNECTIONS: usize = 8192;
/// Bodies up to this size are read at once.
const SMALL_BODY: usize = 64 << 10;
/// What is read of a connection at once, and the most that a request's head may take. More would be memory that is
/// mapped anew for each piece (see [`dray_sys::heap::bound`]).
pub(crate) const READ_AT_ONCE: usize = 120 << 10;
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the routes on any number of listeners.
#[derive(Clone)]
pub struct Server {
    routes: Router,
    buildkit: Option<Arc<BuildKit>>,
    stop: CancellationToken,
    connections: TaskTracker,
    room: Arc<Semaphore>,
}

/// A listener that failed for good.
#[derive(Debug, thiserror::Error)]
#[error("accept on {listener}: {source}")]
pub struct ServerError {
    listener: String,
    source: std::io::Error,
}

impl Server {
    /// A server of these routes. Cancelling `stop` ends it.
    #[must_use]
    pub fn new(routes: Router, stop: CancellationToken) -> Self {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Server { routes, buildkit: None, stop, connections: TaskTracker::new(), room }
    }

    /// The same, which serves BuildKit's gRPC to clients that speak nothing else (`buildctl`).
    #[must_use]
    pub(crate) fn with_buildkit(self, buildkit: Arc<BuildKit>) -> Self {
        Server { buildkit: Some(buildkit), ..self }
    }

    /// Accepts until stopped.
    ///
    /// # Errors
    /// [`ServerError`] if the listener's socket fails.
    pub async fn serve(&self, listener: &Listener, tls: Option<TlsAcceptor>) -> Result<(), ServerError> {
        loop {
            let Ok(permit) = self.room.clone().acquire_owned().await else { return Ok(()) };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return Ok(()),
            };
            match accepted {
                Ok(accepted) => {
                    let (server, tls) = (self.clone(), tls.clone());
                    self.connections.spawn(async move {
                        server.accepted(accepted, tls).await;
                        drop(permit);
                    });
                }
                // Out of descriptors, or the client left before it was accepted: the next may do.
                Err(error) if transient(&error) => {
                    tracing::warn!(%error, "accept on {listener}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(source) => return Err(ServerError { listener: listener.to_string(), source }),
            }
        }
    }

    /// Waits until the requests at work are answered, or until the time is over.
    pub async fn drain(&self, patience: Duration) {
        self.connections.close();
        let _ = tokio::time::timeout(patience, self.connections.wait()).await;
    }

    async fn accepted(&self, accepted: Accepted, tls: Option<TlsAcceptor>) {
        match (accepted, tls) {
            (Accepted::Unix(stream), _) => self.connection(stream).await,
            (Accepted::Tcp(stream), None) => self.connection(stream).await,
            (Accepted::Tcp(stream), Some(tls)) => {
                match tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => self.connection(stream).await,
                    Ok(Err(error)) => tracing::info!(%error, "TLS handshake"),
                    Err(_) => tracing::info!("TLS handshake took too long"),
                }
            }
        }
    }

    async fn connection<I>(&self, io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let first = tokio::select! {
            first = takeover::look(io) => first,
            () = self.stop.cancelled() => return,
        };
        match first {
            First::Gone => {}
            First::Http(io) => self.http(io).await,
            First::Http2(io) => {
                let Some(buildkit) = self.buildkit.clone() else { return };
                tokio::select! {
                    () = buildkit.serve(Box::pin(io)) => {}
                    () = self.stop.cancelled() => {}
                }
            }
            First::Takeover(request, slot, io) => {
                let response = self.respond(*request).await;
                if let Err(error) = takeover::answer(response, &slot, io).await {
                    tracing::debug!(%error, "client left during a takeover");
                }
            }
        }
    }

    async fn http<I>(&self, io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| async {
            Ok::<_, std::convert::Infallible>(self.respond(request.map(Body::new)).await)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(READ_AT_ONCE)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection");
        }
    }

    /// Answers one request.
    async fn respond(&self, request: Request<Body>) -> Response {
        tracing::debug!(method = %request.method(), uri = shown(request.uri()), "request");
        let (request, unread) = unread::lend(take_small_body(request).await);
        let mut response = match version::negotiate(request.uri()) {
            Err(error) => error.into_response(),
            Ok((version, routed)) => {
                let mut request = request;
                if let Some(uri) = routed {
                    *request.uri_mut() = uri;
                }
                request.extensions_mut().insert(version);
                self.routes.clone().oneshot(request).await.into_response()
            }
        };
        version::server_headers(response.headers_mut());
        if let Some(unread) = unread {
            unread.discard().await;
        }
        response
    }
}

/// Reads a small body before anything is answered: a client that is refused while it still writes sees a
/// broken connection instead of the reason.
async fn take_small_body(request: Request<Body>) -> Request<Body> {
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if !length.is_some_and(|length: usize| (1..=SMALL_BODY).contains(&length)) {
        return request;
    }
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(HEAD_TIMEOUT, body.collect()).await;
    let body = match read {
        Ok(Ok(collected)) => Body::from(collected.to_bytes()),
        // Less than promised, or never: what reads the body says so.
        _ => Body::empty(),
    };
    Request::from_parts(parts, body)
}

fn transient(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::CONNABORTED | Errno::INTR)
    )
}

/// An address as the log has it: what a build is asked for may hold tokens.
fn shown(uri: &http::Uri) -> &str {
    match uri.path().ends_with("/build") {
        true => uri.path(),
        false => uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str),
    }
}

#[cfg(test)]
mod tests;
