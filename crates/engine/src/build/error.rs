//! What can go wrong with a build, in Docker's words.

use dray_build::{BuildError, ContextError, RemoteContextError};

use crate::{ErrorKind, ServiceError, image};

/// A failed build.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The builder's own.
    #[error(transparent)]
    Build(Box<BuildError>),
    /// The context cannot be unpacked.
    #[error(transparent)]
    Context(Box<ContextError>),
    /// The context cannot be fetched.
    #[error(transparent)]
    Remote(Box<RemoteContextError>),
    /// A name of the result that is none.
    #[error(transparent)]
    Reference(Box<dray_spec::ReferenceError>),
    /// A name by digest cannot be given.
    #[error("invalid tag: refusing to create a tag with a digest reference")]
    TagWithDigest,
    /// An output that cannot be.
    #[error("{0}")]
    Output(String),
    /// A filter or a bound of pruning that is none.
    #[error("{0}")]
    Filter(String),
    /// The files of a result cannot be looked through.
    #[error(transparent)]
    Scan(dray_scan::ScanError),
    /// A list of a context that is not waited with.
    #[error("no such list of a build context: {0}")]
    NoList(String),
    /// The result cannot be named.
    #[error(transparent)]
    Image(Box<image::Error>),
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
    Build(BuildError),
    Context(ContextError),
    Remote(RemoteContextError),
    Reference(dray_spec::ReferenceError),
    Image(image::Error),
}

impl Error {
    /// Which kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Build(error) => match error.kind() {
                dray_build::ErrorKind::InvalidParameter => ErrorKind::InvalidParameter,
                dray_build::ErrorKind::Cancelled | dray_build::ErrorKind::System => ErrorKind::System,
            },
            Self::Context(error) if error.is_system() => ErrorKind::System,
            Self::Context(_)
            | Self::Remote(_)
            | Self::Reference(_)
            | Self::TagWithDigest
            | Self::Output(_)
            | Self::Filter(_) => ErrorKind::InvalidParameter,
            Self::Scan(_) => ErrorKind::System,
            Self::NoList(_) => ErrorKind::NotFound,
            Self::Image(error) => error.kind(),
        }
    }

    /// The code of `errorDetail`: a failed command's exit code.
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::Build(error) => error.code().map_or(0, i64::from),
            _ => 0,
        }
    }
}

impl From<Error> for ServiceError {
    fn from(error: Error) -> Self {
        ServiceError::new(error.kind(), error)
    }
}
