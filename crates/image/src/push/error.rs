//! Why a push failed, in Docker's words.

use dray_registry::ErrorKind as RegistryErrorKind;
use dray_spec::{Digest, Platform};

use crate::layer::LayerError;

/// A push failed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Nothing here has that name.
    #[error("An image does not exist locally with the tag: {0}")]
    NoSuchImage(String),
    /// The repository is known, but not this tag of it.
    #[error("tag does not exist: {0}")]
    NoSuchTag(String),
    /// The image is here, but not for this platform.
    #[error(
        "image with reference {reference} was found but does not provide the specified platform ({wanted})"
    )]
    Platform {
        /// The reference, in its familiar form.
        reference: String,
        /// The platform asked for.
        wanted: Box<Platform>,
    },
    /// What is pushed needs a name of its own.
    #[error("cannot push a digest reference")]
    DigestReference,
    /// The registry failed or refused.
    #[error(transparent)]
    Registry(#[from] dray_registry::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] dray_store::Error),
    /// The image's configuration can't be read.
    #[error("image {image}: invalid configuration: {source}")]
    Config {
        /// The image.
        image: Digest,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The configuration names another number of layers than there are.
    #[error("image {0}: its configuration doesn't fit its layers")]
    LayerCount(Digest),
    /// A layer's files can't be read.
    #[error("pack layer {diff_id}: {source}")]
    Pack {
        /// The layer's diff ID.
        diff_id: Digest,
        /// Why not.
        source: LayerError,
    },
    /// A layer can't be compressed, or the result not be written.
    #[error("compress layer {diff_id}: {source}")]
    Compress {
        /// The layer's diff ID.
        diff_id: Digest,
        /// Why not.
        source: std::io::Error,
    },
    /// The blob a layer came from is gone, and packing its files gives other bytes.
    #[error("layer {0} can't be packed as it was: its blob is no longer here; pull the image again")]
    NotReproducible(Digest),
    /// The daemon goes down.
    #[error("the push was stopped")]
    Stopped,
}

/// What a [`PushError`] means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushErrorKind {
    /// The image isn't there.
    NotFound,
    /// What was asked for makes no sense.
    InvalidParameter,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// The registry can't be reached, or refuses.
    Registry,
    /// This machine failed.
    System,
}

impl PushError {
    /// What the error means for the caller.
    pub fn kind(&self) -> PushErrorKind {
        match self {
            PushError::NoSuchImage(_) | PushError::NoSuchTag(_) | PushError::Platform { .. } => {
                PushErrorKind::NotFound
            }
            PushError::DigestReference => PushErrorKind::InvalidParameter,
            // Docker's client would ask for a password at the terminal if this were "unauthorized".
            PushError::Registry(dray_registry::Error::NoCredentials { .. }) => PushErrorKind::Registry,
            PushError::Registry(error) if error.kind() == RegistryErrorKind::Unauthorized => {
                PushErrorKind::Unauthorized
            }
            PushError::Registry(_) => PushErrorKind::Registry,
            _ => PushErrorKind::System,
        }
    }
}
