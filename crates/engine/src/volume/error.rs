//! What can go wrong with volumes, in Docker's words.

use std::io;
use std::path::PathBuf;

use dray_api::filters::FilterError;

use super::PluginError;
use crate::{ErrorKind, ServiceError};

/// A failed operation on a volume.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such volume.
    #[error("get {0}: no such volume")]
    NotFound(String),
    /// Containers use it.
    #[error("{operation} {name}: volume is in use - [{}]", users.join(", "))]
    InUse {
        /// What was wanted: `remove`, `rename`.
        operation: &'static str,
        /// The volume.
        name: String,
        /// The containers' ids.
        users: Vec<String>,
    },
    /// A volume that was to be made is there already.
    #[error("{operation} {name}: a volume with this name exists already")]
    Exists {
        /// What was wanted: `clone`, `rename`, `restore`.
        operation: &'static str,
        /// The name.
        name: String,
    },
    /// A containers' program could not be held.
    #[error("hold the users of volume {name}: {source}")]
    Hold {
        /// The volume.
        name: String,
        /// Why.
        source: ServiceError,
    },
    /// A label without a name.
    #[error("invalid label {0:?}: it has no name")]
    Label(String),
    /// A backup could not be taken or restored.
    #[error("{operation} {name}: {source}")]
    Backup {
        /// `backup` or `restore`.
        operation: &'static str,
        /// The volume.
        name: String,
        /// Why.
        source: dray_backup::Error,
    },
    /// The registry that keeps a backup.
    #[error(transparent)]
    Registry(#[from] dray_registry::Error),
    /// Work that was broken off.
    #[error("{0} was broken off")]
    Interrupted(&'static str),
    /// A name that is too short.
    #[error("create {0}: volume name is too short, names should be at least two alphanumeric characters")]
    ShortName(String),
    /// A name that volumes cannot have.
    #[error(
        "create {0}: \"{0}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )]
    InvalidName(String),
    /// A plugin that is not there, or failed.
    #[error("{operation} {name}: {source}")]
    Plugin {
        /// What was wanted: `create`, `get`, `mount`, `unmount`, `remove`.
        operation: &'static str,
        /// The volume.
        name: String,
        /// Why.
        source: PluginError,
    },
    /// Another driver has a volume of this name.
    #[error("create {name}: driver '{driver}' already has volume '{name}': volume name must be unique")]
    OtherDriver {
        /// The volume.
        name: String,
        /// Its driver.
        driver: String,
    },
    /// Something that only the local driver can.
    #[error("{operation} {name}: volumes of the driver {driver} cannot be given another name")]
    NotLocal {
        /// What was wanted.
        operation: &'static str,
        /// The volume.
        name: String,
        /// Its driver.
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
    /// A size where the file system could have quotas.
    #[error(
        "create {name}: quota size requested but no quota support: quotas are off on the btrfs of {path} (btrfs quota enable {path})",
        path = path.display()
    )]
    QuotaOff {
        /// The volume.
        name: String,
        /// Its folder.
        path: PathBuf,
    },
    /// A size that is none.
    #[error("create {name}: {reason}")]
    Size {
        /// The volume.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A volume of a cluster.
    #[error(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."
    )]
    NoSwarm,
    /// A device of CIFS that names a port.
    #[error("create {0}: port not allowed in CIFS device URL, include 'port' in 'o='")]
    CifsPort(String),
    /// The volume's own file system cannot be mounted.
    #[error("failed to mount local volume: {0}")]
    Mount(#[from] MountError),
    /// A server's name that cannot be resolved.
    #[error("error resolving passed in network volume address: lookup {address}: {source}")]
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

/// A mount that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "mount {device}:{target}{flags}{data}: {source}{}",
    hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default(),
    target = target.display(),
    flags = if *flags == 0 { String::new() } else { format!(", flags: {flags:#x}") },
    data = if data.is_empty() { String::new() } else { format!(", data: {data}") }
)]
pub struct MountError {
    /// What was to be mounted.
    pub device: String,
    /// Where.
    pub target: PathBuf,
    /// The flags of mount(2).
    pub flags: u32,
    /// The options, without passwords.
    pub data: String,
    /// What the kernel said.
    pub source: io::Error,
    /// What it means, where its word says little.
    pub hint: Option<MountHint>,
}

/// What the kernel's word means.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountHint {
    /// The type is none that it knows.
    #[error("this kernel has no file system {0}")]
    NoFileSystem(String),
    /// There is a device with something else on it.
    #[error("no file system {0} is on this device, or it does not have these options")]
    OtherContent(String),
    /// There is a device with nothing behind it.
    #[error("nothing is behind this device")]
    Empty,
}

impl Error {
    /// Which kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_)
            | Self::Plugin { source: PluginError::NotFound(_) | PluginError::NotVolume(_), .. } => {
                ErrorKind::NotFound
            }
            Self::InUse { .. } | Self::Exists { .. } | Self::OtherDriver { .. } | Self::NotLocal { .. } => {
                ErrorKind::Conflict
            }
            Self::Hold { source, .. } => source.kind(),
            Self::Backup { source, .. } if source.is_invalid() => ErrorKind::InvalidParameter,
            Self::Registry(source) => registry_kind(source),
            Self::Label(_)
            | Self::ShortName(_)
            | Self::InvalidName(_)
            | Self::InvalidOption { .. }
            | Self::MissingOption { .. }
            | Self::NoQuota(_)
            | Self::QuotaOff { .. }
            | Self::Size { .. }
            | Self::CifsPort(_)
            | Self::Filter(_) => ErrorKind::InvalidParameter,
            Self::NoSwarm => ErrorKind::Unavailable,
            Self::Mount(_)
            | Self::Resolve { .. }
            | Self::Io { .. }
            | Self::Store(_)
            | Self::Backup { .. }
            | Self::Plugin { .. }
            | Self::Interrupted(_) => ErrorKind::System,
        }
    }

    pub(super) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { operation, path, source }
    }
}

fn registry_kind(error: &dray_registry::Error) -> ErrorKind {
    match error.kind() {
        dray_registry::ErrorKind::NotFound => ErrorKind::NotFound,
        dray_registry::ErrorKind::Unauthorized => ErrorKind::Unauthorized,
        dray_registry::ErrorKind::Denied => ErrorKind::Forbidden,
        dray_registry::ErrorKind::InvalidParameter => ErrorKind::InvalidParameter,
        _ => ErrorKind::System,
    }
}

impl From<Error> for ServiceError {
    fn from(error: Error) -> Self {
        ServiceError::new(error.kind(), error)
    }
}
