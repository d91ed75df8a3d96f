//! What Dray's API has beyond Docker's, all of it below `/dray`. Names and habits are those of Docker's API.

use crate::container::{ContainerUpdateRequest, Mount, PortMap};
use crate::json::Labels;

/// What a connection is switched to (`Upgrade`) over which a file is handed over: `POST /dray/images/load` and
/// `POST /dray/images/save`.
pub const HANDED_FILE: &str = "dray-file";
/// The last line of such an answer.
pub const HANDED_END: &[u8] = b"{}\r\n";

wire! {
    /// The first line of the answer to a file that was handed over.
    #[serde(rename_all = "PascalCase")]
    pub struct HandedAnswer {
        /// As HTTP's.
        pub status: u16,
        /// What is wrong, unless it is 200.
        pub message: String,
    }

    /// Answer of `GET /dray/images/tree`: an image, layer by layer.
    #[serde(rename_all = "PascalCase")]
    pub struct ImageTree {
        pub id: String,
        /// Bytes in the files of all layers.
        pub size: i64,
        /// Bytes that a container does not see, because a later layer has replaced or removed them.
        pub wasted: i64,
        /// The share of the bytes that a container sees.
        pub efficiency: f64,
        /// The steps of the history, the first one at the beginning.
        pub layers: Vec<ImageTreeLayer>,
        /// The files that waste most, the worst first.
        pub replaced: Vec<ReplacedFile>,
    }

    /// An item of the answer of `GET /dray/services/scale`: a service whose number of containers follows its load.
    #[serde(rename_all = "PascalCase")]
    pub struct ServiceScale {
        pub project: String,
        pub service: String,
        /// Containers that run.
        pub replicas: i64,
        pub min: i64,
        pub max: i64,
        /// How many the load is for now; it is scaled when that lasts.
        pub wanted: i64,
        /// Percent of one CPU that a container uses, on average.
        #[serde(rename = "CPU")]
        pub cpu: f64,
        #[serde(rename = "TargetCPU")]
        pub target_cpu: Option<f64>,
        /// Connections that a container has, on average.
        pub connections: f64,
        pub target_connections: Option<f64>,
        /// When it was last scaled by this daemon; empty if it was not.
        pub changed_at: String,
        pub changed_from: i64,
        pub changed_to: i64,
        pub reason: String,
    }

    /// A step of an image's history.
    #[serde(rename_all = "PascalCase")]
    pub struct ImageTreeLayer {
        /// The digest of its tar; empty if it changed no files.
        #[serde(rename = "DiffID")]
        pub diff_id: String,
        pub created_by: String,
        pub created: String,
        pub size: i64,
        pub files: i64,
        /// Bytes of it that later layers replace or remove.
        pub wasted: i64,
        /// Bytes of earlier layers that it replaces or removes.
        pub hides: i64,
    }

    /// A path whose earlier contents are still in the image.
    #[serde(rename_all = "PascalCase")]
    pub struct ReplacedFile {
        pub path: String,
        pub times: i64,
        pub bytes: i64,
        pub removed: bool,
    }

    /// An item of the answer of `GET /dray/images/diff`: a file that is not the same in both images.
    #[serde(rename_all = "PascalCase")]
    pub struct ImageFileChange {
        /// As in the changes of a container: 0 changed, 1 added, 2 removed.
        pub kind: i32,
        pub path: String,
        pub old: Option<ImageFile>,
        pub new: Option<ImageFile>,
        /// In what they differ: `type`, `content`, `mode`, `owner`, `target`, `device`, `attributes`.
        pub differs: Vec<String>,
    }

    /// A file in an image.
    #[serde(rename_all = "PascalCase")]
    pub struct ImageFile {
        pub r#type: String,
        pub mode: u32,
        #[serde(rename = "UID")]
        pub uid: u32,
        #[serde(rename = "GID")]
        pub gid: u32,
        pub size: i64,
    }

    /// Answer of `POST /dray/images/squash`.
    #[serde(rename_all = "PascalCase")]
    pub struct SquashResponse {
        pub id: String,
    }

    /// A mounted image: answer of `POST /dray/images/mount`, item of `GET /dray/images/mounts`.
    #[serde(rename_all = "PascalCase")]
    pub struct ImageMount {
        /// What it was called when it was mounted.
        pub name: String,
        pub id: String,
        pub target: String,
        pub created: String,
    }

    /// One of the answer of `GET /dray/networks/exposure`: something of a container that can be reached.
    #[serde(rename_all = "PascalCase")]
    pub struct NetworkExposure {
        pub container: String,
        #[serde(rename = "ContainerID")]
        pub container_id: String,
        /// The network that it is reached through.
        pub network: String,
        /// Empty if all of them are meant.
        pub protocol: String,
        /// 0 if all are meant.
        pub container_port: i64,
        /// Where it is asked for: an address of the host, or its own. Empty in the host's own network.
        pub address: String,
        /// The port there; 0 where it is not published.
        pub port: i64,
        /// The host's addresses, where it is published on all.
        pub addresses: Vec<String>,
        /// `anyone`, `input-rules`, `host`, `network` or `parent`.
        pub from: String,
        /// The name of that network, or of the parent interface.
        pub from_name: String,
        pub reason: String,
    }

    /// Body of `POST /dray/containers/update`.
    #[serde(rename_all = "PascalCase")]
    pub struct ContainerLiveUpdateRequest {
        /// Ports to publish.
        pub publish_add: PortMap,
        /// Published ports to withdraw; an empty address or port stands for any.
        pub publish_remove: PortMap,
        pub mount_add: Vec<Mount>,
        /// Where mounts are to go.
        pub mount_remove: Vec<String>,
        /// Limits and restart policy, as `POST /containers/{id}/update` takes them.
        pub update: Option<ContainerUpdateRequest>,
    }

    /// An item of the answer of `GET /dray/volumes/df`: what a volume takes; −1 where it is not known or there is no
    /// bound.
    #[serde(rename_all = "PascalCase")]
    pub struct VolumeSpace {
        pub name: String,
        pub driver: String,
        pub labels: Labels,
        pub created_at: String,
        /// Containers that have it.
        pub ref_count: i64,
        pub files: i64,
        /// Bytes that the disk has set aside.
        pub size: i64,
        /// Bytes that it may take.
        pub limit: i64,
        /// Bytes that can still be written.
        pub available: i64,
    }

    /// Body of `POST /dray/volumes/update`.
    #[serde(rename_all = "PascalCase")]
    pub struct VolumeUpdateRequest {
        pub labels: Labels,
        pub remove_labels: Vec<String>,
    }

    /// Body of `POST /dray/volumes/clone`.
    #[serde(rename_all = "PascalCase")]
    pub struct VolumeCloneRequest {
        pub labels: Labels,
    }

    /// Answer of `POST /dray/volumes/backup` when the backup went to a registry.
    #[serde(rename_all = "PascalCase")]
    pub struct VolumeBackup {
        pub volume: String,
        /// Of the manifest.
        pub digest: String,
        pub taken: String,
        pub files: i64,
        /// Bytes of the files.
        pub size: i64,
        pub packs: i64,
        /// Packs that its base had not, and their bytes.
        pub new_packs: i64,
        pub new_bytes: i64,
    }
}
