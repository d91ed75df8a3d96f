//! A file by its URL, from any web server: what a build adds from elsewhere. No credentials, no registry rules.

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::{Method, header};
use url::Url;

use crate::client::Client;
use crate::error::{Error, Reason, Verb};
use crate::transport::{Answer, Repeat, Request, http_date};

/// An answer whose body has not been read yet.
pub struct Download {
    answer: Answer,
}

impl Client {
    /// Asks for the file at `url` (http or https), following redirects and trying again what may pass.
    ///
    /// # Errors
    /// When `url` is none, or the server cannot be reached. An answer with an error status is an answer.
    pub async fn download(&self, url: &str) -> Result<Download, Error> {
        let url = Url::parse(url).map_err(|error| Error::InvalidEndpoint {
            endpoint: crate::error::excerpt(url.as_bytes()),
            problem: error.to_string(),
        })?;
        let answer = self.transport().send(&Request::new(Method::GET, url), Repeat::OnceConnected).await?;
        Ok(Download { answer })
    }
}

impl Download {
    pub(crate) fn of(answer: Answer) -> Self {
        Download { answer }
    }

    /// The status line, as `404 Not Found`.
    pub fn status(&self) -> String {
        self.answer.status.to_string()
    }

    /// Whether the server gives the file.
    pub fn is_success(&self) -> bool {
        self.answer.status.is_success()
    }

    /// `Content-Length`.
    pub fn size(&self) -> Option<u64> {
        self.answer.content_length()
    }

    /// `Last-Modified` in seconds since 1970.
    pub fn modified(&self) -> Option<i64> {
        let time = http_date(self.answer.header(header::LAST_MODIFIED)?)?;
        i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
    }

    /// The name that `Content-Disposition` gives.
    pub fn filename(&self) -> Option<String> {
        let value = self.answer.header(header::CONTENT_DISPOSITION)?;
        value.split(';').find_map(|part| {
            let name = part.trim().strip_prefix("filename=")?.trim_matches('"');
            (!name.is_empty()).then(|| name.to_owned())
        })
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// When the connection fails or falls silent.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, Error>> {
        let failed = |reason: Reason, url: &Url| Error::transport(Verb::of(&Method::GET), url, reason);
        self.answer.chunk().await.map(|chunk| chunk.map_err(|reason| failed(reason, &self.answer.url)))
    }
}
