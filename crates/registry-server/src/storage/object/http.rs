//! The HTTP client that the library speaks through: this project's own, with its bounds.
//!
//! Requests carry credentials, so plain HTTP is spoken to this machine only, unless the user allows more. What the
//! library asks the cloud's own machines for credentials over (link-local addresses) it allows by itself.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::TokioExecutor;
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use tokio::time::{Instant, Sleep, timeout};

/// How long it may take to be connected.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a request may take until its answer begins, with a part of an object to be sent.
const ANSWER: Duration = Duration::from_secs(60);
/// How long nothing may come in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(60);

/// Makes clients; all stores of a process need no more than one each.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let tls = hyper_rustls::HttpsConnectorBuilder::new().with_provider_and_native_roots(provider());
        let tls =
            tls.map_err(|source| object_store::Error::Generic { store: "TLS", source: Box::new(source) })?;
        let https = tls.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(https);
        let plain =
            options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        Ok(HttpClient::new(Service { client, plain }))
    }
}

fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Whether credentials may go to this address as they are.
pub(super) fn is_private(uri: &http::Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    uri.scheme() == Some(&http::uri::Scheme::HTTPS)
        || host == "localhost"
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Why a request was not made, or not to its end.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0} would be sent credentials over plain HTTP")]
    Plain(String),
    #[error("no answer within {} seconds", ANSWER.as_secs())]
    NoAnswer,
    #[error("nothing came for {} seconds", SILENCE.as_secs())]
    Silence,
}

/// One HTTP exchange.
#[derive(Debug)]
struct Service {
    client: Client<HttpsConnector<TcpConnector>, HttpRequestBody>,
    /// Whether plain HTTP may go to other machines.
    plain: bool,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if !self.plain && !is_private(request.uri()) {
            let host = request.uri().host().unwrap_or_default().to_owned();
            return Err(HttpError::new(HttpErrorKind::Unknown, Problem::Plain(host)));
        }
        let answer = timeout(ANSWER, self.client.request(request)).await;
        let answer = answer.map_err(|_| HttpError::new(HttpErrorKind::Timeout, Problem::NoAnswer))?;
        let answer = answer.map_err(|error| {
            let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
            HttpError::new(kind, error)
        })?;
        Ok(answer.map(|body| HttpResponseBody::new(Watched::new(body))))
    }
}

/// A body that must not be silent for too long while it is waited for.
struct Watched {
    body: Incoming,
    limit: Pin<Box<Sleep>>,
    waiting: bool,
}

impl Watched {
    fn new(body: Incoming) -> Self {
        Self { body, limit: Box::pin(tokio::time::sleep(SILENCE)), waiting: false }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.waiting = false;
            let broken = |error| HttpError::new(HttpErrorKind::Interrupted, error);
            return Poll::Ready(frame.map(|frame| frame.map_err(broken)));
        }
        // Whoever reads may itself have been away for long; only what it waits for counts.
        if !self.waiting {
            self.waiting = true;
            self.limit.as_mut().reset(Instant::now() + SILENCE);
        }
        let silent = || Some(Err(HttpError::new(HttpErrorKind::Timeout, Problem::Silence)));
        self.limit.as_mut().poll(context).map(|()| silent())
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for (uri, expected) in [
            ("https://store.example/x", true),
            ("http://127.0.0.1:9000/x", true),
            ("http://[::1]:9000/", true),
            ("http://localhost/", true),
            ("http://10.0.0.1:9000/", false),
            ("http://localhost.example/", false),
            ("http://store.example/", false),
        ] {
            assert_eq!(is_private(&uri.parse().unwrap()), expected, "{uri}");
        }
    }

    #[tokio::test]
    async fn a_request_in_plain_to_another_machine_is_not_made() {
        let client = Connector.connect(&ClientOptions::new()).unwrap();
        let request =
            http::Request::get("http://192.0.2.1/").body(HttpRequestBody::from(Bytes::new())).unwrap();
        let error = client.execute(request).await.unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert_eq!(cause, "192.0.2.1 would be sent credentials over plain HTTP");
    }
}
