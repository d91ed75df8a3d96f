//! What the registry holds and remembers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dray_spec::Digest;

use super::fault::{Fault, What};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// `Authorization`, if sent.
    pub authorization: Option<String>,
    /// `Range`, if sent.
    pub range: Option<String>,
    /// The body's length.
    pub body: u64,
}

/// Credentials that are wanted.
#[derive(Debug, Clone, Default)]
pub enum Guard {
    /// None.
    #[default]
    Open,
    /// User and password with each request.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token from the registry's own issuer at `/token`, good for one scope, given for these credentials
    /// (or for none where the user is empty).
    Bearer {
        /// The user.
        user: String,
        /// The password.
        password: String,
        /// Lifetime in seconds that the issuer names.
        expires_in: u64,
    },
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) blobs: HashMap<(String, String), Bytes>,
    pub(crate) manifests: HashMap<(String, String), (String, Bytes)>,
    pub(crate) uploads: HashMap<u64, Vec<u8>>,
    pub(crate) next_upload: u64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) guard: Guard,
    pub(crate) tokens: HashMap<String, Vec<String>>,
    pub(crate) no_mounts: bool,
    pub(crate) referrers: bool,
    pub(crate) seen: Vec<Seen>,
    pub(crate) blob_bytes_sent: u64,
}

#[derive(Default)]
pub(crate) struct State(Mutex<Inner>);

impl State {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    pub(crate) fn put_blob(&mut self, repository: &str, digest: &Digest, bytes: Bytes) {
        self.blobs.insert((repository.to_owned(), digest.to_string()), bytes);
    }

    pub(crate) fn put_manifest(&mut self, repository: &str, reference: &str, kind: &str, bytes: Bytes) {
        self.manifests.insert((repository.to_owned(), reference.to_owned()), (kind.to_owned(), bytes));
    }

    pub(crate) fn fault_for(&mut self, method: &str, path: &str) -> Option<What> {
        self.faults.iter_mut().find_map(|fault| fault.hits(method, path).then(|| fault.what.clone()))
    }

    /// Hands out a token that allows `scopes`.
    pub(crate) fn issue(&mut self, scopes: Vec<String>) -> String {
        let token = format!("token-{}", self.tokens.len() + 1);
        self.tokens.insert(token.clone(), scopes);
        token
    }

    /// Whether `token` allows `action` in `repository`.
    pub(crate) fn allows(&self, token: &str, repository: &str, action: &str) -> bool {
        self.tokens.get(token).is_some_and(|scopes| {
            repository.is_empty()
                || scopes.iter().any(|scope| {
                    scope
                        .strip_prefix(&format!("repository:{repository}:"))
                        .is_some_and(|actions| actions.split(',').any(|a| a == action))
                })
        })
    }
}
