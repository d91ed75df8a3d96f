//! Why a pull failed, in Docker's words.

use std::sync::Arc;

use dray_registry::ErrorKind as RegistryErrorKind;
use dray_spec::{Digest, ManifestError, Platform, Reference};

use crate::layer::LayerError;

/// A pull failed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry denies access, or says so instead of saying that there is no such repository.
    #[error(
        "pull access denied for {name}, repository does not exist or may require 'docker login': {source}"
    )]
    AccessDenied {
        /// The repository, in its familiar form.
        name: String,
        /// What the registry said.
        source: dray_registry::Error,
    },
    /// The repository has no such tag or digest.
    #[error("manifest for {reference} not found: {source}")]
    ManifestNotFound {
        /// The reference, in its familiar form.
        reference: String,
        /// What the registry said.
        source: dray_registry::Error,
    },
    /// The registry has no such repository.
    #[error("repository {name} not found: {source}")]
    RepositoryNotFound {
        /// The repository, in its familiar form.
        name: String,
        /// What the registry said.
        source: dray_registry::Error,
    },
    /// The registry failed in another way.
    #[error(transparent)]
    Registry(#[from] dray_registry::Error),
    /// All hosts of the registry's `hosts.toml` do something else.
    #[error("no host may be asked for {0}: none has the capabilities to resolve and pull")]
    NoSource(String),
    /// The policy doesn't let it in.
    #[error("{reference} is not trusted: {reason} (policy {})", policy.display())]
    Untrusted {
        /// What was pulled, in its familiar form.
        reference: String,
        /// The policy's file.
        policy: std::path::PathBuf,
        /// Why not.
        reason: String,
    },
    /// The policy can't be used, so nothing is let in.
    #[error(transparent)]
    Policy(dray_trust::TrustError),
    /// A repository without any tag was asked for all its tags.
    #[error("no tags found for {0}")]
    NoTags(String),
    /// The manifest can't be read.
    #[error("{reference}: {source}")]
    Manifest {
        /// What was pulled.
        reference: String,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The image is in a format that registries have given up.
    #[error(
        "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. \
         Suggest the author of {0} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2."
    )]
    Schema1(Box<Reference>),
    /// The index has nothing for this platform.
    #[error("no matching manifest for {0} in the manifest list entries")]
    NoMatchingPlatform(Box<Platform>),
    /// Indexes within indexes without end.
    #[error("{reference}: image index is nested more than {limit} levels deep")]
    IndexTooDeep {
        /// What was pulled.
        reference: String,
        /// How deep is accepted.
        limit: usize,
    },
    /// An index that names more than anybody needs.
    #[error("{reference}: image index names too many manifests or blobs")]
    IndexTooLarge {
        /// What was pulled.
        reference: String,
    },
    /// Only one platform's image is there, and it isn't the one asked for.
    #[error(
        "image with reference {reference} was found but does not match the specified platform: \
         wanted {wanted}, actual: {actual}"
    )]
    PlatformMismatch {
        /// What was pulled.
        reference: String,
        /// The platform asked for.
        wanted: Box<Platform>,
        /// The image's.
        actual: Box<Platform>,
    },
    /// The image is for another kind of system.
    #[error(
        "image operating system {0:?} cannot be used on this platform: operating system is not supported"
    )]
    OperatingSystem(String),
    /// What the reference names isn't an image.
    #[error("Encountered remote {0:?}(unknown) when fetching")]
    NotAnImage(String),
    /// A layer isn't a tar that can be unpacked.
    #[error("unsupported media type {0}")]
    LayerType(String),
    /// The configuration can't be read.
    #[error("image configuration {digest} is invalid: {source}")]
    Config {
        /// The configuration's digest.
        digest: Digest,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Manifest and configuration disagree about the layers.
    #[error("layers from manifest don't match image configuration")]
    LayerCount,
    /// More layers than a container's root can have.
    #[error("{reference} has {count} layers; {limit} can be mounted upon each other")]
    TooManyLayers {
        /// What was pulled.
        reference: String,
        /// Its layers.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A layer's bytes aren't the ones the manifest names.
    #[error("filesystem layer verification failed for digest {expected}: received {actual}")]
    LayerDigest {
        /// By the manifest.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// A layer can't be unpacked.
    #[error("failed to register layer: {layer}: {source}")]
    Unpack {
        /// The layer's blob.
        layer: Digest,
        /// What is wrong with it.
        source: LayerError,
    },
    /// A layer's content isn't the one the configuration names.
    #[error(
        "failed to register layer: {layer}: configuration says diff ID {expected}, its content is {actual}"
    )]
    DiffId {
        /// The layer's blob.
        layer: Digest,
        /// By the configuration.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] dray_store::Error),
    /// Somebody else's download of the same layer failed.
    #[error("{0}")]
    Shared(Arc<PullError>),
    /// The daemon goes down.
    #[error("the pull was stopped")]
    Stopped,
}

/// What a [`PullError`] means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullErrorKind {
    /// The thing isn't there.
    NotFound,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// The policy forbids it.
    Forbidden,
    /// What was asked for can't be an image for this machine.
    InvalidParameter,
    /// The registry can't be reached, or sends what can't be accepted.
    Registry,
    /// This machine failed.
    System,
}

impl PullError {
    /// What the error means for the caller.
    pub fn kind(&self) -> PullErrorKind {
        use PullErrorKind as K;
        match self {
            PullError::AccessDenied { .. }
            | PullError::ManifestNotFound { .. }
            | PullError::RepositoryNotFound { .. }
            | PullError::NoTags(_)
            | PullError::NoMatchingPlatform(_)
            | PullError::PlatformMismatch { .. } => K::NotFound,
            // Docker's client would ask for a password at the terminal if this were "unauthorized".
            PullError::Registry(dray_registry::Error::NoCredentials { .. }) => K::Registry,
            PullError::Registry(error) => match error.kind() {
                RegistryErrorKind::NotFound => K::NotFound,
                RegistryErrorKind::Unauthorized => K::Unauthorized,
                RegistryErrorKind::InvalidParameter => K::InvalidParameter,
                _ => K::Registry,
            },
            PullError::Untrusted { .. } => K::Forbidden,
            PullError::Policy(_) => K::System,
            PullError::NoSource(_)
            | PullError::Schema1(_)
            | PullError::OperatingSystem(_)
            | PullError::NotAnImage(_)
            | PullError::LayerType(_) => K::InvalidParameter,
            PullError::Manifest { .. }
            | PullError::IndexTooDeep { .. }
            | PullError::IndexTooLarge { .. }
            | PullError::Config { .. }
            | PullError::LayerCount
            | PullError::TooManyLayers { .. }
            | PullError::LayerDigest { .. }
            | PullError::DiffId { .. } => K::Registry,
            PullError::Unpack { .. } | PullError::Store(_) | PullError::Stopped => K::System,
            PullError::Shared(error) => error.kind(),
        }
    }

    /// Whether another source may do better.
    pub(crate) fn is_the_sources(&self) -> bool {
        match self {
            PullError::Shared(error) => error.is_the_sources(),
            PullError::Unpack { .. } => true,
            other => !matches!(
                other.kind(),
                PullErrorKind::System | PullErrorKind::InvalidParameter | PullErrorKind::Forbidden
            ),
        }
    }

    /// Whether a layer failed only because it was unpacked without the layers below it: it has a hard link to
    /// a file there.
    pub(crate) fn needs_layers_below(&self) -> bool {
        match self {
            PullError::Unpack { source, .. } => source.needs_layers_below(),
            PullError::Shared(error) => error.needs_layers_below(),
            _ => false,
        }
    }

    /// Puts what the registry said about a manifest into the words of the pull.
    pub(crate) fn for_manifest(reference: &Reference, source: dray_registry::Error) -> Self {
        let name = || reference.familiar_name();
        match source.code() {
            Some("DENIED") => PullError::AccessDenied { name: name(), source },
            Some("MANIFEST_UNKNOWN") => {
                PullError::ManifestNotFound { reference: reference.familiar(), source }
            }
            Some("NAME_UNKNOWN") => PullError::RepositoryNotFound { name: name(), source },
            _ => PullError::Registry(source),
        }
    }

    /// Puts what the store found when a blob was committed into the words of the pull.
    pub(crate) fn for_blob(error: dray_store::Error) -> Self {
        match error {
            dray_store::Error::DigestMismatch { expected, actual } => {
                PullError::LayerDigest { expected, actual }
            }
            other => PullError::Store(other),
        }
    }
}
