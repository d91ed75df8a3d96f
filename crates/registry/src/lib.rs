//! The OCI distribution client: manifests, blobs, uploads and tags of any registry that speaks the
//! distribution API (OCI distribution-spec 1.1, Docker registry v2).
//!
//! ```text
//! Client ── hosts (scheme, challenges) · tokens (issuer, scope)      one per daemon, clones share all
//!   │         └─ certs.d: mirrors, authorities, client certificates  read anew for each pull and push
//!   └─ Repository ── manifest · blob · upload · tags                 a repository with its credentials
//!        └─ transport ── pool, time limits, redirects, repetition    one HTTP exchange
//!             └─ connect ── lookup, TCP, proxy, TLS
//! ```
//!
//! Nothing a registry says is believed: digests are computed, sizes counted, bodies bounded. Nothing here
//! touches the disk except to read a blob which is pushed.

mod answer;
mod auth;
mod blob;
mod challenge;
mod client;
mod config;
mod connect;
mod download;
mod error;
mod hosts;
mod login;
mod pace;
mod payload;
mod proxy;
mod referrer;
mod repository;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod upload;
mod web;

pub use auth::Auth;
pub use blob::BlobStream;
pub use client::{Client, Source};
pub use config::{Cidr, ClientConfig, InsecureRegistry, InvalidInsecureRegistry, RetryPolicy};
pub use download::Download;
pub use error::{ApiError, Error, ErrorKind, Reason, Verb};
pub use login::Login;
pub use pace::Pace;
pub use payload::SentFn;
pub use proxy::{Proxy, ProxyConfig};
pub use repository::{RawManifest, Repository};
pub use tls::client_tls;
pub use upload::{Mount, UploadSession};
pub use web::{WebAnswer, WebRequest};

/// What the fuzz targets look into.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// Reads a `WWW-Authenticate` header; gives how many challenges it holds.
    pub fn challenges(header: &str) -> usize {
        crate::challenge::parse(header).len()
    }

    /// Reads what a registry says when it refuses; gives how many errors it told.
    pub fn errors(status: u16, body: &[u8]) -> usize {
        let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::FORBIDDEN);
        crate::answer::parse_errors(status, &http::HeaderMap::new(), body).len()
    }

    /// Reads a `Link` header of a list; gives the next page's address, which is at the same place.
    pub fn next_page(at: &url::Url, link: &str) -> Option<url::Url> {
        crate::repository::next_page(at, link)
    }

    /// Reads a `hosts.toml`; false if it is none.
    pub fn hosts(text: &str) -> bool {
        crate::hosts::parse(text, std::path::Path::new("/nowhere/hosts.toml"), "reg.test")
    }
}
