//! A request to any web server that is no registry: the services that builds keep their caches with. Proxies,
//! authorities, time limits and repetition are those of registries; headers and bodies are the caller's.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Method, header};
use url::Url;

use crate::client::Client;
use crate::download::Download;
use crate::error::Error;
use crate::payload::{FilePart, Payload};
use crate::transport::{Repeat, Request};

/// A request that can be sent again.
#[derive(Clone)]
pub struct WebRequest(Request);

/// An answer whose body was read.
#[derive(Debug, Clone)]
pub struct WebAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl WebAnswer {
    /// Whether the server has done what it was asked for.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl WebRequest {
    /// A request without a body.
    ///
    /// # Errors
    /// When `url` is none.
    pub fn new(method: Method, url: &str) -> Result<Self, Error> {
        let url = Url::parse(url).map_err(|error| Error::InvalidEndpoint {
            // What follows a question mark may open doors.
            endpoint: crate::error::excerpt(url.split('?').next().unwrap_or_default().as_bytes()),
            problem: error.to_string(),
        })?;
        Ok(WebRequest(Request::new(method, url)))
    }

    /// With a header. A value that no header can have is left out.
    #[must_use]
    pub fn header(self, name: HeaderName, value: &str) -> Self {
        WebRequest(self.0.header(name, value))
    }

    /// With JSON as its body.
    #[must_use]
    pub fn json(self, bytes: impl Into<Bytes>) -> Self {
        let mut request = self.0.header(header::CONTENT_TYPE, "application/json");
        request.payload = Payload::Bytes(bytes.into());
        WebRequest(request)
    }

    /// With bytes as its body.
    #[must_use]
    pub fn bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        self.0.payload = Payload::Bytes(bytes.into());
        self
    }

    /// With a part of a file as its body.
    #[must_use]
    pub fn file(mut self, path: PathBuf, offset: u64, length: u64) -> Self {
        let sent = Arc::new(|_| {});
        self.0.payload = Payload::File(FilePart { path: Arc::new(path), offset, length, sent });
        self
    }
}

impl Client {
    /// Asks a web server and reads the answer, of `limit` bytes at most. What may pass is tried again.
    ///
    /// # Errors
    /// When it cannot be reached, or the answer is longer. An answer with an error status is an answer.
    pub async fn web(&self, request: &WebRequest, limit: usize) -> Result<WebAnswer, Error> {
        let mut answer = self.transport().send(&request.0, Repeat::Always).await?;
        let status = answer.status.as_u16();
        Ok(WebAnswer { status, body: answer.bytes(limit).await? })
    }

    /// The same for an answer that is read piece by piece.
    ///
    /// # Errors
    /// As [`Client::web`].
    pub async fn web_download(&self, request: &WebRequest) -> Result<Download, Error> {
        Ok(Download::of(self.transport().send(&request.0, Repeat::Always).await?))
    }
}
