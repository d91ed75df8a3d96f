//! Why a request failed, in the words Docker's users know.

use std::io;

/// A failed operation of the client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens where the daemon should be.
    #[error("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")]
    NoDaemon {
        /// The host as given.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// The socket is there, but not for this user.
    #[error("permission denied while trying to connect to the docker API at {host}")]
    Denied {
        /// The host as given.
        host: String,
    },
    /// Another failure on the way to the daemon.
    #[error("error during connect: {host}: {source}")]
    Connect {
        /// The host as given.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody would be talked to in a rehearsal.
    #[error("interactive {0} is not supported in dry-run mode")]
    Rehearsed(&'static str),
    /// The daemon answered with an error.
    #[error("Error response from daemon: {message}")]
    Api {
        /// HTTP status.
        status: u16,
        /// The daemon's text.
        message: String,
    },
    /// The answer is not HTTP as the API speaks it.
    #[error("error during connect: {}", said(.0))]
    Http(#[from] hyper::Error),
    /// The answer's JSON is not what it should be.
    #[error("Error reading remote info: {what}: {source}")]
    Json {
        /// The request.
        what: String,
        /// Where it went wrong.
        source: serde_json::Error,
    },
    /// A header of the answer cannot be used.
    #[error("the daemon's answer to {what} lacks a usable {header} header")]
    Header {
        /// The request.
        what: String,
        /// The header's name.
        header: &'static str,
    },
    /// A request that cannot be written.
    #[error("invalid request {what}: {source}")]
    Request {
        /// The request.
        what: String,
        /// What is wrong with it.
        source: http::Error,
    },
    /// The daemon did not switch to the raw stream.
    #[error("unable to upgrade to tcp, received {status}")]
    NotUpgraded {
        /// The status it answered instead.
        status: u16,
    },
    /// A host address that is none.
    #[error("unable to parse docker host `{0}`")]
    Host(String),
    /// An address of a machine behind SSH that is none.
    #[error("invalid SSH URL: {why}")]
    Ssh {
        /// The host as given.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// An address of a kind that is not spoken.
    #[error("protocol not available: {0}")]
    Protocol(String),
    /// A certificate or key cannot be used.
    #[error("failed to load TLS file {path}: {what}")]
    Tls {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A stream broke off.
    #[error("{what}: {source}")]
    Stream {
        /// What was being read or written.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What the connection itself has to say (that of `ssh` does), else what went wrong with HTTP.
fn said(error: &hyper::Error) -> String {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.and_then(io::Error::get_ref).map_or_else(|| error.to_string(), ToString::to_string)
}

impl Error {
    /// Whether the daemon said that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Api { status: 404, .. })
    }

    /// Whether nothing answered at the daemon's address.
    pub fn is_no_daemon(&self) -> bool {
        matches!(self, Error::NoDaemon { .. })
    }
}
