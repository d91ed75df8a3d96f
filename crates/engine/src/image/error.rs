//! What can go wrong with images, in Docker's words.

use dray_api::filters::FilterError;
use dray_build::InstructionError;
use dray_build::dockerfile::ParseError;
use dray_image::pull::{PullError, PullErrorKind};
use dray_image::push::{PushError, PushErrorKind};

use crate::{ErrorKind, ServiceError};

/// A failed operation on images.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of the images here.
    #[error(transparent)]
    Image(Box<dray_image::Error>),
    /// A pull.
    #[error(transparent)]
    Pull(Box<PullError>),
    /// A push.
    #[error(transparent)]
    Push(Box<PushError>),
    /// A registry.
    #[error(transparent)]
    Registry(Box<dray_registry::Error>),
    /// A signature that is sent can't be one.
    #[error("invalid signature: {0}")]
    Signature(&'static str),
    /// A name that is none.
    #[error(transparent)]
    Reference(Box<dray_spec::ReferenceError>),
    /// A tag that is none.
    #[error("invalid tag format")]
    Tag,
    /// A platform that is none.
    #[error("{0}")]
    Platform(dray_spec::PlatformError),
    /// A filter that images do not have.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A value that a filter does not take.
    #[error("{0}")]
    FilterValue(String),
    /// An instruction of `--change` that cannot be applied.
    #[error(transparent)]
    Change(Box<InstructionError>),
    /// A `--change` that is no instruction.
    #[error(transparent)]
    Parse(Box<ParseError>),
    /// A `--change` that works on files.
    #[error("{0} is not a valid change command")]
    NoChange(String),
    /// An image cannot be mounted or taken off.
    #[error("{operation} {}: {source}", path.display())]
    Mount {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A target to mount on that is none.
    #[error("invalid target {0:?}: an absolute path without `.` and `..` is needed")]
    MountTarget(String),
    /// An image without layers has nothing to show.
    #[error("the image has no files")]
    NoFiles,
    /// Nothing of that name is mounted.
    #[error("image not mounted: {0}")]
    NotMounted(String),
    /// The image is for another machine.
    #[error(
        "image with reference {name} was found but does not provide the specified platform ({wanted}): it is for {actual}"
    )]
    OtherPlatform {
        /// As asked for.
        name: String,
        /// The platform asked for.
        wanted: String,
        /// What it has.
        actual: String,
    },
    /// Search is answered by Docker Hub alone, by an interface of its own.
    #[error(
        "searching registries is not supported: Docker Hub's search is not part of the registry protocol"
    )]
    Search,
    /// The store.
    #[error(transparent)]
    Store(Box<dray_store::Error>),
    /// Work on a blocking thread broke down.
    #[error("the work ended unexpectedly: {0}")]
    Broken(String),
}

/// Boxed, so that an error is no larger than what it stands beside.
macro_rules! boxed {
    ($($variant:ident($source:ty)),* $(,)?) => {$(
        impl From<$source> for Error {
            fn from(source: $source) -> Self {
                Self::$variant(Box::new(source))
            }
        }
    )*};
}

boxed! {
    Image(dray_image::Error),
    Pull(PullError),
    Push(PushError),
    Registry(dray_registry::Error),
    Change(InstructionError),
    Parse(ParseError),
    Store(dray_store::Error),
    Reference(dray_spec::ReferenceError),
}

impl Error {
    /// Which kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Image(error) => match error.kind() {
                dray_image::ErrorKind::NotFound => ErrorKind::NotFound,
                dray_image::ErrorKind::Conflict => ErrorKind::Conflict,
                dray_image::ErrorKind::InvalidParameter => ErrorKind::InvalidParameter,
                dray_image::ErrorKind::System => ErrorKind::System,
            },
            Self::Pull(error) => match error.kind() {
                PullErrorKind::NotFound => ErrorKind::NotFound,
                PullErrorKind::InvalidParameter => ErrorKind::InvalidParameter,
                PullErrorKind::Unauthorized => ErrorKind::Unauthorized,
                PullErrorKind::Forbidden => ErrorKind::Forbidden,
                _ => ErrorKind::System,
            },
            Self::Push(error) => match error.kind() {
                PushErrorKind::NotFound => ErrorKind::NotFound,
                PushErrorKind::InvalidParameter => ErrorKind::InvalidParameter,
                PushErrorKind::Unauthorized => ErrorKind::Unauthorized,
                PushErrorKind::Registry | PushErrorKind::System => ErrorKind::System,
            },
            Self::Registry(error) => match error.kind() {
                dray_registry::ErrorKind::Unauthorized => ErrorKind::Unauthorized,
                dray_registry::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::System,
            },
            Self::Reference(_)
            | Self::Signature(_)
            | Self::Tag
            | Self::Platform(_)
            | Self::Filter(_)
            | Self::FilterValue(_)
            | Self::Change(_)
            | Self::Parse(_)
            | Self::MountTarget(_)
            | Self::NoFiles
            | Self::NoChange(_) => ErrorKind::InvalidParameter,
            Self::Mount { source, .. } => match source.kind() {
                std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::NotADirectory => {
                    ErrorKind::InvalidParameter
                }
                std::io::ErrorKind::ResourceBusy => ErrorKind::Conflict,
                _ => ErrorKind::System,
            },
            Self::OtherPlatform { .. } | Self::NotMounted(_) => ErrorKind::NotFound,
            Self::Search => ErrorKind::Unavailable,
            Self::Store(_) | Self::Broken(_) => ErrorKind::System,
        }
    }
}

impl From<Error> for ServiceError {
    fn from(error: Error) -> Self {
        ServiceError::new(error.kind(), error)
    }
}
