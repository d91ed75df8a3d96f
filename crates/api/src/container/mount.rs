//! Mounts, as asked for (`HostConfig.Mounts`) and as made (`Mounts` of inspect).

use serde::{Deserialize, Serialize};

use crate::json::{Empty, Labels, empty};

/// Kind of a mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountType {
    Bind,
    Volume,
    Tmpfs,
    Npipe,
    Cluster,
    Image,
    /// None given.
    #[default]
    #[serde(rename = "")]
    Unset,
    /// Something else: refused with its name.
    #[serde(untagged)]
    Unknown(String),
}

impl MountType {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            MountType::Bind => "bind",
            MountType::Volume => "volume",
            MountType::Tmpfs => "tmpfs",
            MountType::Npipe => "npipe",
            MountType::Cluster => "cluster",
            MountType::Image => "image",
            MountType::Unset => "",
            MountType::Unknown(name) => name,
        }
    }
}

wire! {
    /// A mount as `--mount` asks for it.
    #[serde(rename_all = "PascalCase")]
    pub struct Mount {
        #[serde(rename = "Type", skip_serializing_if = "empty")]
        pub kind: MountType,
        #[serde(skip_serializing_if = "empty")]
        pub source: String,
        #[serde(skip_serializing_if = "empty")]
        pub target: String,
        #[serde(skip_serializing_if = "empty")]
        pub read_only: bool,
        #[serde(skip_serializing_if = "empty")]
        pub consistency: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub bind_options: Option<BindOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub volume_options: Option<VolumeOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_options: Option<ImageOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tmpfs_options: Option<TmpfsOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cluster_options: Option<Empty>,
        /// Dray's own: how owners on the disk become owners in the container; `true`, or
        /// `uids=DISK-CONTAINER-COUNT#…;gids=…`.
        #[serde(rename = "IDMap", skip_serializing_if = "empty")]
        pub id_map: String,
        /// Dray's own: the owner of the source is the container's user.
        #[serde(skip_serializing_if = "empty")]
        pub match_user: bool,
    }

    /// Options of a bind mount.
    #[serde(rename_all = "PascalCase")]
    pub struct BindOptions {
        #[serde(skip_serializing_if = "empty")]
        pub propagation: String,
        #[serde(skip_serializing_if = "empty")]
        pub non_recursive: bool,
        #[serde(skip_serializing_if = "empty")]
        pub create_mountpoint: bool,
        #[serde(skip_serializing_if = "empty")]
        pub read_only_non_recursive: bool,
        #[serde(skip_serializing_if = "empty")]
        pub read_only_force_recursive: bool,
    }

    /// Options of a volume mount.
    #[serde(rename_all = "PascalCase")]
    pub struct VolumeOptions {
        #[serde(skip_serializing_if = "empty")]
        pub no_copy: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub labels: Option<Labels>,
        #[serde(skip_serializing_if = "empty")]
        pub subpath: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub driver_config: Option<Driver>,
    }

    /// Options of an image mount.
    #[serde(rename_all = "PascalCase")]
    pub struct ImageOptions {
        #[serde(skip_serializing_if = "empty")]
        pub subpath: String,
    }

    /// A volume driver with options.
    #[serde(rename_all = "PascalCase")]
    pub struct Driver {
        #[serde(skip_serializing_if = "empty")]
        pub name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub options: Option<Labels>,
    }

    /// Options of a tmpfs mount.
    #[serde(rename_all = "PascalCase")]
    pub struct TmpfsOptions {
        #[serde(skip_serializing_if = "empty")]
        pub size_bytes: i64,
        #[serde(skip_serializing_if = "empty")]
        pub mode: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub options: Option<Vec<Vec<String>>>,
    }

    /// A mount of a container, as inspect and the list show it.
    #[serde(rename_all = "PascalCase")]
    pub struct MountPoint {
        #[serde(rename = "Type", skip_serializing_if = "empty")]
        pub kind: MountType,
        #[serde(skip_serializing_if = "empty")]
        pub name: String,
        pub source: String,
        pub destination: String,
        #[serde(skip_serializing_if = "empty")]
        pub driver: String,
        pub mode: String,
        #[serde(rename = "RW")]
        pub rw: bool,
        pub propagation: String,
    }
}
