//! The seam to the network: what `ADD https://…` fetches.

use std::io::Read;

use crate::Cancel;

/// Fetches what `ADD` names by URL. The engine implements it with its HTTP client.
pub trait RemoteSource: Send + Sync {
    /// Opens `url` (http or https), following redirects.
    ///
    /// # Errors
    /// When the server cannot be reached or answers with another status than 200.
    fn open(&self, url: &str, cancel: &Cancel) -> Result<RemoteFile, RemoteError>;
}

/// An answer whose body has not been read yet.
pub struct RemoteFile {
    /// The body.
    pub body: Box<dyn Read + Send>,
    /// Name from `Content-Disposition`, if any.
    pub filename: Option<String>,
    /// `Last-Modified` in seconds since 1970, if any: it becomes the file's time.
    pub modified: Option<i64>,
    /// `Content-Length`, if any.
    pub size: Option<u64>,
}

/// Why a URL could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The server answered with an error.
    #[error("failed to GET {url} with status {status}: {body}")]
    Status {
        /// What was asked for.
        url: String,
        /// Status line, as `404 Not Found`.
        status: String,
        /// Beginning of the answer.
        body: String,
    },
    /// No answer came.
    #[error("Get \"{url}\": {source}")]
    Transport {
        /// What was asked for.
        url: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// This builder has no access to the network.
    #[error("ADD {url}: remote sources are not available in this build")]
    Unavailable {
        /// What was asked for.
        url: String,
    },
}

/// A [`RemoteSource`] that refuses everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRemoteSource;

impl RemoteSource for NoRemoteSource {
    fn open(&self, url: &str, _cancel: &Cancel) -> Result<RemoteFile, RemoteError> {
        Err(RemoteError::Unavailable { url: url.to_owned() })
    }
}
