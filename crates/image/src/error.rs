//! What can go wrong with images. The messages that Docker's clients know are Docker's.

use std::io;

use dray_spec::{Digest, ManifestError, ReferenceError};

use crate::layer::LayerError;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation on an image failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image has this name or ID.
    #[error("No such image: {0}")]
    NotFound(String),
    /// Several images' IDs begin like this.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// A name does not follow the grammar.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A name by digest cannot be given.
    #[error("refusing to create a tag with a digest reference")]
    TagWithDigest,
    /// The image stays because something needs it.
    #[error("conflict: {0}")]
    Conflict(Conflict),
    /// A configuration cannot be read.
    #[error("image {id}: invalid configuration: {source}")]
    Config {
        /// The image.
        id: Digest,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Configuration and layers do not belong together.
    #[error("image {id}: its configuration names {expected} layers, {actual} were given")]
    LayerCount {
        /// The image.
        id: Digest,
        /// In the configuration.
        expected: usize,
        /// Given.
        actual: usize,
    },
    /// No container could be made of it.
    #[error("max depth exceeded: the image has {count} layers, a container can have {most}")]
    TooManyLayers {
        /// Layers of the image.
        count: usize,
        /// As many as there may be.
        most: usize,
    },
    /// The history names more layers than there are.
    #[error("too many non-empty layers in History section")]
    History,
    /// The layers to keep are another image's.
    #[error("cannot squash {image} onto {base}: its lowest layers are not those of {base}")]
    NotUpon {
        /// The image's short ID.
        image: String,
        /// The other one's.
        base: String,
    },
    /// The image is for another system.
    #[error("cannot load {os} image on linux")]
    System {
        /// The image's system.
        os: String,
    },
    /// A layer cannot be unpacked or packed.
    #[error("layer {layer}: {source}")]
    Layer {
        /// The layer, by digest or by its name in the archive.
        layer: String,
        /// Why not.
        source: LayerError,
    },
    /// A layer's content is not the one its image names.
    #[error("invalid diffID for layer {index}: expected \"{expected}\", got \"{actual}\"")]
    DiffId {
        /// Which layer, from the bottom.
        index: usize,
        /// What the configuration says.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// A layer's tar cannot be made again: its folder was changed, and no blob of it is kept.
    #[error("layer {0}: its exact content is lost: the unpacked files were changed")]
    LayerLost(Digest),
    /// What is saved or loaded is not there for this platform.
    #[error("{subject}: no image for the platform {platform}")]
    NoPlatform {
        /// The image's name, or the archive.
        subject: String,
        /// What was asked for.
        platform: String,
    },
    /// An archive is not one of images.
    #[error("invalid archive: {0}")]
    Archive(String),
    /// An archive cannot be read as the tar it should be.
    #[error("invalid archive: {0}")]
    Tar(LayerError),
    /// A manifest in an archive or blob cannot be read.
    #[error("{subject}: {source}")]
    Manifest {
        /// Which one.
        subject: String,
        /// Why not.
        source: ManifestError,
    },
    /// The other side's stream broke.
    #[error("{operation}: {source}")]
    Stream {
        /// What was done: "read archive", "write archive".
        operation: &'static str,
        /// Why it broke.
        source: io::Error,
    },
    /// A pruning is on its way already.
    #[error("a prune operation is already running")]
    PruneRunning,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] dray_store::Error),
}

/// Why an image cannot be removed, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Its only name would go while a container uses it.
    #[error(
        "unable to remove repository reference \"{name}\" (must force) - container {container} is using its referenced image {image}"
    )]
    NameInUse {
        /// The name as it was given.
        name: String,
        /// The container's short ID.
        container: String,
        /// The image's short ID.
        image: String,
    },
    /// Other images were made upon it.
    #[error("unable to delete {image} (cannot be forced) - image has dependent child images")]
    Children {
        /// The image's short ID.
        image: String,
    },
    /// A running container uses it.
    #[error(
        "unable to delete {image} (cannot be forced) - image is being used by running container {container}"
    )]
    Running {
        /// The image's short ID.
        image: String,
        /// The container's short ID.
        container: String,
    },
    /// It has names.
    #[error("unable to delete {image} (must be forced) - image is referenced in multiple repositories")]
    Named {
        /// The image's short ID.
        image: String,
    },
    /// A stopped container uses it.
    #[error(
        "unable to delete {image} (must be forced) - image is being used by stopped container {container}"
    )]
    Stopped {
        /// The image's short ID.
        image: String,
        /// The container's short ID.
        container: String,
    },
}

impl Conflict {
    /// True if a container is the reason.
    #[must_use]
    pub fn is_use(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Stopped { .. })
    }
}

/// What kind of failure it is, for those who answer to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The thing asked for is not there.
    NotFound,
    /// The thing cannot be done because of another.
    Conflict,
    /// The request or the content given is wrong.
    InvalidParameter,
    /// The system failed.
    System,
}

impl Error {
    /// The failure's kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::NoPlatform { .. } => ErrorKind::NotFound,
            Self::Conflict(_) | Self::PruneRunning => ErrorKind::Conflict,
            Self::Layer { source, .. } | Self::Tar(source) if !source.is_hostile() => ErrorKind::System,
            Self::Ambiguous(_)
            | Self::Reference(_)
            | Self::TagWithDigest
            | Self::Config { .. }
            | Self::LayerCount { .. }
            | Self::TooManyLayers { .. }
            | Self::History
            | Self::NotUpon { .. }
            | Self::System { .. }
            | Self::Layer { .. }
            | Self::DiffId { .. }
            | Self::Archive(_)
            | Self::Tar(_)
            | Self::Manifest { .. } => ErrorKind::InvalidParameter,
            Self::Stream { .. } | Self::LayerLost(_) => ErrorKind::System,
            Self::Store(error) => match error.kind() {
                dray_store::ErrorKind::NotFound => ErrorKind::NotFound,
                dray_store::ErrorKind::Conflict => ErrorKind::Conflict,
                dray_store::ErrorKind::Corrupt => ErrorKind::InvalidParameter,
                dray_store::ErrorKind::Full | dray_store::ErrorKind::System => ErrorKind::System,
            },
        }
    }

    pub(crate) fn layer(layer: impl ToString) -> impl FnOnce(LayerError) -> Self {
        move |source| Self::Layer { layer: layer.to_string(), source }
    }

    pub(crate) fn stream(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Stream { operation, source }
    }
}
