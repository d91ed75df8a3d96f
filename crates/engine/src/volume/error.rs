//! What can go wrong with volumes, in Docker's words.

use std::io;
use std::path::PathBuf;

use dray_api::filters::FilterError;

use crate::{ErrorKind, ServiceError};

/// A failed operation on a volume.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such volume.
    #[error("get {0}: no such volume")]
    NotFound(String),
    /// Containers use it.
    #[error("remove {name}: volume is in use - [{}]", users.join(", "))]
    InUse {
        /// The volume.
        name: String,
        /// The containers' ids.
        users: Vec<String>,
    },
    /// A name that is too short.
    #[error("create {0}: volume name is too short, names should be at least two alphanumeric characters")]
    ShortName(String),
    /// A name that volumes cannot have.
    #[error(
        "create {0}: \"{0}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )]
    InvalidName(String),
    /// No such driver.
    #[error("create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found")]
    UnknownDriver {
        /// The volume.
        name: String,
        /// The driver.
        driver: String,
    },
    /// An option that the local driver does not have.
    #[error("create {name}: invalid option: \"{option}\"")]
    InvalidOption {
        /// The volume.
        name: String,
        /// The option.
        option: String,
    },
    /// An option that another one needs.
    #[error("create {name}: missing required option: \"{option}\"")]
    MissingOption {
        /// The volume.
        name: String,
        /// The option.
        option: &'static str,
    },
    /// A size where the file system has no quotas.
    #[error("create {0}: quota size requested but no quota support")]
    NoQuota(String),
    /// A volume of a cluster.
    #[error(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."
    )]
    NoSwarm,
    /// The volume's own file system cannot be mounted.
    #[error("failed to mount local volume: mount {device}:{target}, data: {data}: {source}", target = target.display())]
    Mount {
        /// What was to be mounted.
        device: String,
        /// Where.
        target: PathBuf,
        /// The options.
        data: String,
        /// Why.
        source: io::Error,
    },
    /// A server's name that cannot be resolved.
    #[error(
        "failed to mount local volume: error resolving passed in network volume address: {address}: {source}"
    )]
    Resolve {
        /// The name.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A folder could not be worked on.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A filter that the list does not take.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The record could not be kept.
    #[error(transparent)]
    Store(#[from] dray_store::Error),
}

impl Error {
    /// Which kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::UnknownDriver { .. } => ErrorKind::NotFound,
            Self::InUse { .. } => ErrorKind::Conflict,
            Self::ShortName(_)
            | Self::InvalidName(_)
            | Self::InvalidOption { .. }
            | Self::MissingOption { .. }
            | Self::NoQuota(_)
            | Self::Filter(_) => ErrorKind::InvalidParameter,
            Self::NoSwarm => ErrorKind::Unavailable,
            Self::Mount { .. } | Self::Resolve { .. } | Self::Io { .. } | Self::Store(_) => ErrorKind::System,
        }
    }

    pub(super) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { operation, path, source }
    }
}

impl From<Error> for ServiceError {
    fn from(error: Error) -> Self {
        ServiceError::new(error.kind(), error)
    }
}
