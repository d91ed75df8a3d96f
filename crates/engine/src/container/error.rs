//! What can go wrong with a container, in Docker's words.

use std::io;
use std::path::{Path, PathBuf};

use dray_api::filters::FilterError;
use dray_runtime::{ShimError, StartError};

use super::{mount, spec, validate};
use crate::{ErrorKind, ServiceError};

/// A failed operation on a container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has this name, id or beginning of an id.
    #[error("No such container: {0}")]
    NotFound(String),
    /// No exec of that id.
    #[error("No such exec instance: {0}")]
    NoSuchExec(String),
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
    /// Renaming from or to nothing.
    #[error("Neither old nor new names may be empty")]
    EmptyName,
    /// Renaming to what it is.
    #[error("Renaming a container with the same name as its current name")]
    SameName,
    /// `until` given twice.
    #[error("more than one until filter specified")]
    SeveralUntil,
    /// Two at once.
    #[error("a prune operation is already running")]
    PruneRunning,
    /// No such signal.
    #[error("Invalid signal: {0}")]
    InvalidSignal(String),
    /// A request that cannot be.
    #[error(transparent)]
    Invalid(#[from] validate::Invalid),
    /// A mount that cannot be.
    #[error(transparent)]
    Mount(#[from] mount::Error),
    /// A volume over a file of the image.
    #[error("cannot mount volume over existing file, file exists {0}")]
    VolumeOverFile(String),
    /// A user or device that is not there, at start.
    #[error(transparent)]
    Spec(#[from] spec::Error),
    /// An exec's user that is not there.
    #[error(transparent)]
    User(spec::UserError),
    /// The operation needs a running container.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// A namespace is to be shared with a container that does not run.
    #[error("cannot join {kind} namespace of a non running container: {id}")]
    JoinNotRunning {
        /// Which namespace.
        kind: &'static str,
        /// Whose.
        id: String,
    },
    /// An IPC namespace that is not for sharing.
    #[error(
        "cannot join IPC of a container {0}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
    )]
    IpcNotShareable(String),
    /// A namespace cannot be shared with oneself.
    #[error("cannot join own network namespace")]
    JoinSelf,
    /// Starting what is frozen.
    #[error("cannot start a paused container, try unpause instead")]
    StartPaused,
    /// Starting what runs.
    #[error("container is already running")]
    AlreadyRunning,
    /// Stopping what does not run.
    #[error("container is already stopped")]
    AlreadyStopped,
    /// Publishing ports of a container that shares another's network.
    #[error("a container that shares another's network publishes no ports")]
    NoPorts,
    /// Withdrawing a port that is not published.
    #[error("port {port} is not published{}", if host.is_empty() { String::new() } else { format!(" at {host}") })]
    NotPublished {
        /// Port and protocol in the container.
        port: String,
        /// Address and port of the host.
        host: String,
    },
    /// Starting what is being removed.
    #[error("container is marked for removal and cannot be started")]
    MarkedForRemoval,
    /// The start failed. The text is what `docker run` looks at for its own exit code.
    #[error("failed to create task for container: unable to start container process: {0}")]
    Start(#[source] StartError),
    /// The start of an exec failed.
    #[error("OCI runtime exec failed: exec failed: unable to start container process: {0}")]
    ExecStart(#[source] StartError),
    /// Freezing what is frozen.
    #[error("container {0} is already paused")]
    AlreadyPaused(String),
    /// Thawing what is not frozen.
    #[error("Container {0} is not paused")]
    NotPaused(String),
    /// Not while it is frozen.
    #[error("Container {0} is paused, unpause the container before {1}")]
    Paused(String, &'static str),
    /// Not while it waits for its restart.
    #[error("Container {0} is restarting, wait until the container is running")]
    Restarting(String),
    /// The signal did not end it.
    #[error("tried to kill container, but did not receive an exit event")]
    WouldNotDie,
    /// Stopping failed.
    #[error("cannot stop container: {name}: {source}")]
    Stop {
        /// As it was called.
        name: String,
        /// Why.
        source: Box<Error>,
    },
    /// Killing failed.
    #[error("cannot kill container: {name}: {source}")]
    Kill {
        /// As it was called.
        name: String,
        /// Why.
        source: Box<Error>,
    },
    /// Restarting failed.
    #[error("Cannot restart container {name}: {source}")]
    Restart {
        /// As it was called.
        name: String,
        /// Why.
        source: Box<Error>,
    },
    /// Removing what runs.
    #[error("cannot remove container \"/{name}\": {reason}")]
    Remove {
        /// Its name.
        name: String,
        /// What stands against it.
        reason: String,
    },
    /// Removed by another request at this moment.
    #[error("removal of container {0} is already in progress")]
    RemovalInProgress(String),
    /// Updating failed.
    #[error("Cannot update container {id}: {reason}")]
    Update {
        /// Its id.
        id: String,
        /// Why.
        reason: String,
    },
    /// A filter that the list does not take.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Keys that cannot be read.
    #[error("Invalid detach keys ({0}) provided")]
    DetachKeys(String),
    /// An exec that was started before.
    #[error("exec command {0} has already run")]
    ExecHasRun(String),
    /// An exec that runs.
    #[error("exec command {0} is already running")]
    ExecRunning(String),
    /// An exec of nothing.
    #[error("No exec command specified")]
    NoExecCommand,
    /// Nothing to resize.
    #[error("exec process is not started")]
    ExecNotStarted,
    /// A condition to wait for that is none.
    #[error("invalid condition: \"{0}\"")]
    WaitCondition(String),
    /// A path that is not in the container.
    #[error("Could not find the file {path} in container {container}")]
    NoSuchPath {
        /// The path.
        path: String,
        /// The container, as it was called.
        container: String,
    },
    /// Copying into something that is no folder.
    #[error("extraction point is not a directory")]
    NotADirectory,
    /// Copying into a read-only place.
    #[error("container rootfs is marked read-only")]
    ReadOnlyRoot,
    /// Copying into a read-only volume.
    #[error("mounted volume is marked read-only")]
    ReadOnlyVolume,
    /// An archive that is none, or would leave its place.
    #[error("{0}")]
    Archive(String),
    /// `ps` arguments that cannot be served.
    #[error("ps: {0}")]
    Ps(String),
    /// A volume of the container could not be mounted.
    #[error("error while mounting volume '{path}': {source}")]
    MountVolume {
        /// Where its content lies.
        path: String,
        /// Why.
        source: ServiceError,
    },
    /// Another service failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] dray_store::Error),
    /// The shim cannot do it.
    #[error(transparent)]
    Shim(#[from] ShimError),
    /// The log cannot be configured or read.
    #[error(transparent)]
    Log(#[from] crate::log::Error),
    /// A time that is none.
    #[error(transparent)]
    Time(#[from] crate::timestamp::Error),
    /// A file of the engine or of a container.
    #[error("{operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A label that says how a service is scaled, and cannot be followed.
    #[error("the label dev.dray.autoscale cannot be followed: {0}")]
    Autoscale(String),
    /// A worker thread ended unexpectedly.
    #[error("the operation was interrupted: {0}")]
    Interrupted(String),
}

impl Error {
    /// Names the operation and the path that an I/O error came from.
    pub fn io(operation: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { operation, path, source }
    }

    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::NoSuchExec(_) | Self::NoSuchPath { .. } => ErrorKind::NotFound,
            Self::NameConflict { .. }
            | Self::NotRunning(_)
            | Self::StartPaused
            | Self::MarkedForRemoval
            | Self::PruneRunning
            | Self::AlreadyPaused(_)
            | Self::Paused(..)
            | Self::Restarting(_)
            | Self::Remove { .. }
            | Self::RemovalInProgress(_)
            | Self::JoinNotRunning { .. }
            | Self::ExecHasRun(_)
            | Self::ExecRunning(_) => ErrorKind::Conflict,
            Self::AlreadyRunning | Self::AlreadyStopped => ErrorKind::NotModified,
            Self::Ambiguous(_)
            | Self::EmptyId
            | Self::InvalidName(_)
            | Self::EmptyName
            | Self::SameName
            | Self::InvalidSignal(_)
            | Self::SeveralUntil
            | Self::Invalid(_)
            | Self::Mount(_)
            | Self::NoPorts
            | Self::NotPublished { .. }
            | Self::VolumeOverFile(_)
            | Self::Filter(_)
            | Self::DetachKeys(_)
            | Self::WaitCondition(_)
            | Self::NoExecCommand
            | Self::ExecNotStarted
            | Self::User(_)
            | Self::NotADirectory
            | Self::JoinSelf
            | Self::Archive(_) => ErrorKind::InvalidParameter,
            Self::ReadOnlyRoot | Self::ReadOnlyVolume => ErrorKind::Forbidden,
            Self::Start(error) | Self::ExecStart(error) => match error.kind() {
                dray_runtime::ErrorKind::Other => ErrorKind::System,
                _ => ErrorKind::InvalidParameter,
            },
            Self::Stop { source, .. } | Self::Kill { source, .. } | Self::Restart { source, .. } => {
                source.kind()
            }
            Self::Service(error) | Self::MountVolume { source: error, .. } => error.kind(),
            Self::Log(error) => error.kind(),
            Self::Time(error) => error.kind(),
            Self::Shim(ShimError::NotRunning) => ErrorKind::Conflict,
            Self::Shim(ShimError::NoSuchExec { .. }) => ErrorKind::NotFound,
            Self::Spec(_)
            | Self::NotPaused(_)
            | Self::IpcNotShareable(_)
            | Self::WouldNotDie
            | Self::Update { .. }
            | Self::Ps(_)
            | Self::Store(_)
            | Self::Shim(_)
            | Self::Io { .. }
            | Self::Autoscale(_)
            | Self::Interrupted(_) => ErrorKind::System,
        }
    }
}
