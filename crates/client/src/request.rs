//! Sends requests: version in the path, errors from the body, one idle connection kept for the next request.

use std::sync::Mutex;

use bytes::Bytes;
use dray_api::{API_VERSION, error::ErrorResponse};
use futures_util::stream::{BoxStream, Stream as Chunks};
use futures_util::{StreamExt, TryStreamExt};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::AsyncRead;

use crate::Result;
use crate::connect::{self, Stream};
use crate::endpoint::{Endpoint, Host};
use crate::error::Error;
use crate::query::Query;
use crate::rehearsal::{Asked, Rehearsal};
use crate::stream::{Body, Hijacked, JsonStream};

/// The body of a request as it is sent.
pub(crate) type Wire = UnsyncBoxBody<Bytes, std::io::Error>;

/// A client of one daemon. Requests may overlap.
pub struct Client {
    endpoint: Endpoint,
    version: Mutex<Version>,
    idle: Mutex<Option<SendRequest<Wire>>>,
    rehearsal: Option<Rehearsal>,
}

#[derive(Clone, Debug)]
struct Version {
    text: String,
    /// Whether the daemon is known to speak it.
    settled: bool,
}

/// The body of a request.
pub enum Upload {
    /// None.
    Empty,
    /// JSON, or anything small: may be sent again.
    Bytes {
        /// Its media type.
        content_type: &'static str,
        /// The bytes.
        bytes: Bytes,
    },
    /// A stream: goes out once.
    Stream {
        /// Its media type.
        content_type: &'static str,
        /// The bytes.
        chunks: BoxStream<'static, std::io::Result<Bytes>>,
    },
}

impl Upload {
    /// A JSON body.
    ///
    /// # Errors
    /// The value does not serialise.
    pub fn json<T: Serialize>(value: &T) -> Result<Upload> {
        let bytes =
            serde_json::to_vec(value).map_err(|source| Error::Json { what: "request".into(), source })?;
        Ok(Upload::Bytes { content_type: "application/json", bytes: bytes.into() })
    }

    /// A tar that is read from somewhere.
    pub fn tar(reader: impl AsyncRead + Send + 'static) -> Upload {
        Upload::tar_chunks(tokio_util::io::ReaderStream::with_capacity(reader, 256 << 10))
    }

    /// A tar that comes in pieces, which are sent as they are.
    pub fn tar_chunks(chunks: impl Chunks<Item = std::io::Result<Bytes>> + Send + 'static) -> Upload {
        Upload::Stream { content_type: "application/x-tar", chunks: chunks.boxed() }
    }

    fn into_wire(self) -> (Option<&'static str>, Wire) {
        let whole = |bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
        match self {
            Upload::Empty => (None, whole(Bytes::new())),
            Upload::Bytes { content_type, bytes } => (Some(content_type), whole(bytes)),
            Upload::Stream { content_type, chunks } => {
                (Some(content_type), StreamBody::new(chunks.map_ok(Frame::data)).boxed_unsync())
            }
        }
    }

    fn again(&self) -> Option<Upload> {
        match self {
            Upload::Empty => Some(Upload::Empty),
            Upload::Bytes { content_type, bytes } => {
                Some(Upload::Bytes { content_type, bytes: bytes.clone() })
            }
            Upload::Stream { .. } => None,
        }
    }
}

/// A request before it has a version.
pub struct Call<'a> {
    method: Method,
    path: &'a str,
    query: Query,
    headers: Vec<(&'static str, String)>,
    upload: Upload,
    /// What to switch to, if the connection is taken over.
    protocol: &'static str,
}

impl<'a> Call<'a> {
    /// A request without query or body.
    pub fn new(method: Method, path: &'a str) -> Call<'a> {
        Call {
            method,
            path,
            query: Query::new(),
            headers: Vec::new(),
            upload: Upload::Empty,
            protocol: "tcp",
        }
    }

    /// With another protocol to switch to.
    #[must_use]
    pub fn protocol(mut self, protocol: &'static str) -> Self {
        self.protocol = protocol;
        self
    }

    /// With a query.
    #[must_use]
    pub fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// With a header, unless its value is empty.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.headers.push((name, value));
        }
        self
    }

    /// With a body.
    #[must_use]
    pub fn upload(mut self, upload: Upload) -> Self {
        self.upload = upload;
        self
    }
}

impl Client {
    /// A client of the endpoint. A version given is used as it is; else it is negotiated.
    pub fn new(endpoint: Endpoint, version: Option<String>) -> Client {
        let settled = version.is_some();
        let text = version.unwrap_or_else(|| API_VERSION.to_owned());
        let version = Mutex::new(Version { text, settled });
        Client { endpoint, version, idle: Mutex::new(None), rehearsal: None }
    }

    /// A client that sends nothing which would change something, and answers as if it had.
    #[must_use]
    pub fn rehearsing(self) -> Client {
        Client { rehearsal: Some(Rehearsal::default()), ..self }
    }

    /// What is pretended, if this is a rehearsal.
    pub fn rehearsal(&self) -> Option<&Rehearsal> {
        self.rehearsal.as_ref()
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The version in use; final only after a first answer.
    pub fn version(&self) -> String {
        self.current().text
    }

    fn current(&self) -> Version {
        self.version.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn settle(&self, text: String) {
        *self.version.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Version { text, settled: true };
    }

    fn take_idle(&self) -> Option<SendRequest<Wire>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take().filter(|s| !s.is_closed())
    }

    fn keep(&self, sender: SendRequest<Wire>) {
        *self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(sender);
    }

    async fn connect(&self) -> Result<SendRequest<Wire>> {
        let stream: Box<dyn Stream> = connect::connect(&self.endpoint).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    /// Asks the daemon for its version, if it is not known yet.
    ///
    /// # Errors
    /// No daemon answers.
    pub async fn negotiate(&self) -> Result<()> {
        if self.current().settled {
            return Ok(());
        }
        let mut sender = self.connect().await?;
        let request = self.request(&Method::HEAD, "/_ping".into(), &[], None, Upload::Empty)?;
        let response = sender.send_request(request).await?;
        if let Some(theirs) = response.headers().get("api-version").and_then(|v| v.to_str().ok()) {
            self.settle(older(theirs, API_VERSION).to_owned());
        }
        self.keep(sender);
        Ok(())
    }

    /// The request of a call that changes the protocol, in the version that was settled.
    pub(crate) fn upgrading(&self, call: Call<'_>) -> Result<Request<Wire>> {
        let uri = call.query.on(&format!("/v{}{}", self.current().text, call.path));
        self.request(&call.method, uri, &call.headers, Some(call.protocol), call.upload)
    }

    fn request(
        &self,
        method: &Method,
        uri: String,
        headers: &[(&'static str, String)],
        upgrade: Option<&'static str>,
        upload: Upload,
    ) -> Result<Request<Wire>> {
        let host = match &self.endpoint.host {
            Host::Unix(_) | Host::Ssh(_) => "docker".to_owned(),
            Host::Tcp { name, port } => format!("{name}:{port}"),
        };
        let (content_type, body) = upload.into_wire();
        let mut builder = Request::builder()
            .method(method)
            .uri(&uri)
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("Dray-Client/", env!("CARGO_PKG_VERSION"), " (linux)"));
        if let Some(content_type) = content_type {
            builder = builder.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(protocol) = upgrade {
            builder = builder.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, protocol);
        }
        for (name, value) in headers {
            builder = builder.header(*name, value);
        }
        builder.body(body).map_err(|source| Error::Request { what: format!("{method} {uri}"), source })
    }

    /// Sends a call; the answer may be an error status. The sender comes back for keeping.
    async fn exchange(
        &self,
        call: Call<'_>,
        upgrade: bool,
    ) -> Result<(Response<Incoming>, SendRequest<Wire>)> {
        if matches!(call.upload, Upload::Stream { .. }) {
            self.negotiate().await?;
        }
        let mut upload = call.upload;
        let mut reused = true;
        loop {
            let version = self.current();
            let uri = call.query.on(&format!("/v{}{}", version.text, call.path));
            let again = upload.again();
            let idle = if reused { self.take_idle() } else { None };
            let was_idle = idle.is_some();
            let mut sender = match idle {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            let protocol = upgrade.then_some(call.protocol);
            let request = self.request(&call.method, uri, &call.headers, protocol, upload)?;
            let response = match sender.send_request(request).await {
                Ok(response) => response,
                Err(e) if was_idle && (e.is_canceled() || e.is_incomplete_message()) => {
                    let Some(next) = again else { return Err(e.into()) };
                    (upload, reused) = (next, false);
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let older = older_version(&response, &version.text).filter(|_| !version.settled);
            match (older, again) {
                (Some(theirs), Some(next)) => {
                    self.settle(theirs);
                    upload = next;
                }
                _ => {
                    self.settle(version.text);
                    return Ok((response, sender));
                }
            }
        }
    }

    async fn checked(&self, call: Call<'_>) -> Result<(Response<Incoming>, SendRequest<Wire>)> {
        let (response, sender) = self.exchange(call, false).await?;
        if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
            return Ok((response, sender));
        }
        let error = failure(response).await;
        self.keep(sender);
        Err(error)
    }

    /// Sends a call and reads the whole answer, as it came.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn raw(&self, call: Call<'_>) -> Result<Bytes> {
        match &self.rehearsal {
            Some(rehearsal) => self.rehearse(rehearsal, call).await,
            None => self.raw_now(call).await,
        }
    }

    async fn rehearse(&self, rehearsal: &Rehearsal, call: Call<'_>) -> Result<Bytes> {
        let json = |value: &serde_json::Value| Bytes::from(value.to_string());
        let (method, path, query) = (call.method.clone(), call.path.to_owned(), call.query.on(""));
        let body = match &call.upload {
            Upload::Bytes { bytes, .. } => bytes.clone(),
            _ => Bytes::new(),
        };
        let asked = Asked { method: &method, path: &path, query: &query, body: &body };
        if let Some(answer) = rehearsal.answer(&asked) {
            return Ok(json(&answer));
        }
        match self.raw_now(call).await {
            Err(error) if error.is_not_found() => {
                rehearsal.image(&path).map(|image| json(&image)).ok_or(error)
            }
            Err(error) => Err(error),
            // Not everything is JSON.
            Ok(bytes) => Ok(match serde_json::from_slice(&bytes) {
                Ok(answer) => json(&rehearsal.adjust(&asked, answer)),
                Err(_) => bytes,
            }),
        }
    }

    async fn raw_now(&self, call: Call<'_>) -> Result<Bytes> {
        let (response, sender) = self.checked(call).await?;
        let bytes = response.into_body().collect().await?.to_bytes();
        self.keep(sender);
        Ok(bytes)
    }

    /// Sends a call and reads a JSON answer.
    ///
    /// # Errors
    /// As [`Client::raw`], and an answer of another shape.
    pub async fn json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T> {
        let what = format!("{} {}", call.method, call.path);
        let bytes = self.raw(call).await?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Json { what, source })
    }

    /// Sends a call whose answer has nothing of interest.
    ///
    /// # Errors
    /// As [`Client::raw`].
    pub async fn done(&self, call: Call<'_>) -> Result<()> {
        self.raw(call).await.map(|_| ())
    }

    /// Sends a call and gives the headers of the answer.
    ///
    /// # Errors
    /// As [`Client::raw`].
    pub async fn head(&self, call: Call<'_>) -> Result<http::HeaderMap> {
        let (response, sender) = self.checked(call).await?;
        self.keep(sender);
        Ok(response.headers().clone())
    }

    /// Sends a call and gives the answer's body to read as it comes.
    ///
    /// # Errors
    /// As [`Client::raw`].
    pub async fn stream(&self, call: Call<'_>) -> Result<Body> {
        if let Some(rehearsal) = &self.rehearsal {
            let query = call.query.on("");
            let asked = Asked { method: &call.method, path: call.path, query: &query, body: &[] };
            if !asked.only_asks() {
                rehearsal.answer(&asked);
                return Ok(Body::new(http::HeaderMap::new(), futures_util::stream::empty(), ()));
            }
        }
        let (response, sender) = self.checked(call).await?;
        let headers = response.headers().clone();
        let chunks = response.into_body().into_data_stream().map_err(std::io::Error::other);
        Ok(Body::new(headers, chunks, sender))
    }

    /// Sends a call and gives the answer's JSON objects as they come.
    ///
    /// # Errors
    /// As [`Client::raw`].
    pub async fn json_stream<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<JsonStream<T>> {
        Ok(JsonStream::new(self.stream(call).await?))
    }

    /// Sends a call and takes the connection over.
    ///
    /// # Errors
    /// As [`Client::raw`], and a daemon that does not switch protocols.
    pub async fn hijack(&self, call: Call<'_>) -> Result<Hijacked> {
        if self.rehearsal.is_some() {
            let what = if call.path.starts_with("/exec/") { "exec" } else { "run" };
            return Err(Error::Rehearsed(what));
        }
        let (response, _sender) = self.exchange(call, true).await?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {
                let upgraded = hyper::upgrade::on(response).await?;
                Ok(Hijacked::new(TokioIo::new(upgraded)))
            }
            status if status.is_success() => Err(Error::NotUpgraded { status: status.as_u16() }),
            _ => Err(failure(response).await),
        }
    }
}

/// The error in an answer.
async fn failure(response: Response<Incoming>) -> Error {
    let status = response.status();
    let bytes = match response.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(e) => return e.into(),
    };
    let message = match serde_json::from_slice::<ErrorResponse>(&bytes) {
        Ok(body) if !body.message.is_empty() => body.message.trim().to_owned(),
        _ if bytes.is_empty() => format!(
            "request returned {} for the API route; check if the server supports the requested API version",
            status.canonical_reason().unwrap_or("an error")
        ),
        _ => String::from_utf8_lossy(&bytes).trim().to_owned(),
    };
    Error::Api { status: status.as_u16(), message }
}

/// The version of a daemon that refuses a request because it speaks only older ones. It says so in words, but an
/// answer to HEAD has none; every answer has the version in a header.
fn older_version(response: &Response<Incoming>, ours: &str) -> Option<String> {
    if response.status() != StatusCode::BAD_REQUEST {
        return None;
    }
    let theirs = response.headers().get("api-version")?.to_str().ok()?;
    (theirs != ours && older(theirs, ours) == theirs).then(|| theirs.to_owned())
}

/// The older of two versions.
fn older<'a>(a: &'a str, b: &'a str) -> &'a str {
    let key = |v: &str| {
        let (major, minor) = v.split_once('.').unwrap_or((v, "0"));
        (major.parse::<u32>().unwrap_or(0), minor.parse::<u32>().unwrap_or(0))
    };
    if key(a) <= key(b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(older("1.9", "1.41"), "1.9");
        assert_eq!(older("1.51", "1.41"), "1.41");
    }
}
