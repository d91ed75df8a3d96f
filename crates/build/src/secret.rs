//! Secrets of `RUN --mount=type=secret`: asked for when a step runs that wants them, and held no longer than it
//! runs. They are no part of a step's key, its layer, its history or a message.

use std::fmt;
use std::sync::Arc;

/// Where secrets come from: the client of one build.
pub trait SecretSource: Send + Sync {
    /// The secret of this id; `None` if there is none. Called on the build's threads; may wait for the client.
    ///
    /// # Errors
    /// If the client cannot be asked.
    fn secret(&self, id: &str) -> Result<Option<SecretContent>, SecretError>;
}

/// A secret. Its debug form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretContent(pub Vec<u8>);

impl fmt::Debug for SecretContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretContent(…)")
    }
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A step needs one that the client does not have.
    #[error("secret {0}: not found")]
    NotFound(String),
    /// One that shall be a variable, but holds what no variable can.
    #[error("secret {0}: not a valid environment variable")]
    NotText(String),
    /// The client could not be asked.
    #[error("secret {id}: {source}")]
    Source {
        /// The secret's id.
        id: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The secrets of one build; without a source the Dockerfile may not ask for any.
#[derive(Clone, Default)]
pub struct Secrets(Option<Arc<dyn SecretSource>>);

impl Secrets {
    /// Secrets from a source.
    pub fn from_source(source: Arc<dyn SecretSource>) -> Self {
        Secrets(Some(source))
    }

    /// A client that may be asked, but has none.
    pub fn none() -> Self {
        struct Nothing;
        impl SecretSource for Nothing {
            fn secret(&self, _: &str) -> Result<Option<SecretContent>, SecretError> {
                Ok(None)
            }
        }
        Secrets(Some(Arc::new(Nothing)))
    }

    pub(crate) fn source(&self) -> Option<&dyn SecretSource> {
        self.0.as_deref()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Secrets(a source)" } else { "Secrets(none)" })
    }
}
