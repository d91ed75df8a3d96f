//! What can go wrong with a container, in Docker's words.

use dray_api::filters::FilterError;

use crate::{ErrorKind, ServiceError};

/// A failed operation on a container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has this name, id or beginning of an id.
    #[error("No such container: {0}")]
    NotFound(String),
    /// More than one id begins with this.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// No name or id at all.
    #[error("invalid name or ID supplied: \"\"")]
    EmptyId,
    /// A name that containers cannot have.
    #[error("Invalid container name ({0}), only {allowed} are allowed", allowed = super::names::ALLOWED)]
    InvalidName(String),
    /// The name is taken.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameConflict {
        /// The name, without its slash.
        name: String,
        /// Id of the container that has it.
        holder: String,
    },
    /// No such signal.
    #[error("Invalid signal: {0}")]
    InvalidSignal(String),
    /// The operation needs a running container.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// A filter that the list does not take.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Another service failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The log cannot be configured or read.
    #[error(transparent)]
    Log(#[from] crate::log::Error),
    /// A time that is none.
    #[error(transparent)]
    Time(#[from] crate::timestamp::Error),
}

impl Error {
    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::NameConflict { .. } | Self::NotRunning(_) => ErrorKind::Conflict,
            Self::Ambiguous(_)
            | Self::EmptyId
            | Self::InvalidName(_)
            | Self::InvalidSignal(_)
            | Self::Filter(_) => ErrorKind::InvalidParameter,
            Self::Service(error) => error.kind(),
            Self::Log(error) => error.kind(),
            Self::Time(error) => error.kind(),
        }
    }
}
