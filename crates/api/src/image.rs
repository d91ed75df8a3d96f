//! Images: list, inspect, history, delete, search, and what a registry knows of one.

use std::collections::BTreeMap;

use crate::container::{Argv, DriverData, HealthConfig};
use crate::json::{Labels, StringSet, empty};

wire! {
    /// A line of `docker images`.
    #[serde(rename_all = "PascalCase")]
    pub struct ImageSummary {
        /// −1 where not counted.
        pub containers: i64,
        pub created: i64,
        pub id: String,
        pub labels: Option<Labels>,
        pub parent_id: String,
        pub repo_digests: Vec<String>,
        pub repo_tags: Vec<String>,
        /// −1 where not computed.
        pub shared_size: i64,
        pub size: i64,
        /// Before API 1.44.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub virtual_size: Option<i64>,
    }

    /// Answer of `GET /images/{name}/json`.
    #[serde(rename_all = "PascalCase")]
    pub struct ImageInspect {
        pub id: String,
        pub repo_tags: Vec<String>,
        pub repo_digests: Vec<String>,
        pub parent: String,
        pub comment: String,
        #[serde(skip_serializing_if = "empty")]
        pub created: String,
        pub docker_version: String,
        pub author: String,
        pub config: ImageRunConfig,
        pub architecture: String,
        #[serde(skip_serializing_if = "empty")]
        pub variant: String,
        pub os: String,
        #[serde(skip_serializing_if = "empty")]
        pub os_version: String,
        pub size: i64,
        /// Before API 1.44.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub virtual_size: Option<i64>,
        pub graph_driver: DriverData,
        #[serde(rename = "RootFS")]
        pub root_fs: RootFs,
        pub metadata: ImageMetadata,
    }

    /// How containers of the image run, unless they say otherwise.
    #[serde(rename_all = "PascalCase")]
    pub struct ImageRunConfig {
        #[serde(skip_serializing_if = "empty")]
        pub user: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub exposed_ports: Option<StringSet>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub env: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub entrypoint: Option<Argv>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cmd: Option<Argv>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub volumes: Option<StringSet>,
        #[serde(skip_serializing_if = "empty")]
        pub working_dir: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub labels: Option<Labels>,
        #[serde(skip_serializing_if = "empty")]
        pub stop_signal: String,
        #[serde(skip_serializing_if = "empty")]
        pub args_escaped: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<HealthConfig>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub on_build: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub shell: Option<Argv>,
    }

    /// The layers' diff ids.
    #[serde(rename_all = "PascalCase")]
    pub struct RootFs {
        #[serde(rename = "Type", skip_serializing_if = "empty")]
        pub kind: String,
        #[serde(skip_serializing_if = "empty")]
        pub layers: Vec<String>,
    }

    /// What the daemon itself notes of an image.
    #[serde(rename_all = "PascalCase")]
    pub struct ImageMetadata {
        #[serde(serialize_with = "crate::json::time")]
        pub last_tag_time: String,
    }

    /// A line of `docker history`.
    #[serde(rename_all = "PascalCase")]
    pub struct HistoryItem {
        pub comment: String,
        pub created: i64,
        pub created_by: String,
        pub id: String,
        pub size: i64,
        pub tags: Option<Vec<String>>,
    }

    /// What `DELETE /images/{name}` did: one of both.
    #[serde(rename_all = "PascalCase")]
    pub struct DeleteItem {
        #[serde(skip_serializing_if = "empty")]
        pub deleted: String,
        #[serde(skip_serializing_if = "empty")]
        pub untagged: String,
    }

    /// Answer of `POST /images/prune`.
    #[serde(rename_all = "PascalCase")]
    pub struct ImagesPruneReport {
        pub images_deleted: Option<Vec<DeleteItem>>,
        pub space_reclaimed: u64,
    }

    /// A hit of `GET /images/search`.
    pub struct SearchResult {
        pub star_count: i64,
        pub is_official: bool,
        pub name: String,
        pub is_automated: bool,
        pub description: String,
    }

    /// The `aux` of a finished push.
    #[serde(rename_all = "PascalCase")]
    pub struct PushResult {
        pub tag: String,
        pub digest: String,
        pub size: i64,
    }

    /// Answer of `GET /images/{name}/signatures` (Dray's own): what the registry has for the name's digest. Nothing of
    /// it has been verified.
    #[serde(rename_all = "PascalCase")]
    pub struct ImageSignatures {
        /// What the name stands for at its registry.
        pub digest: String,
        pub signatures: Vec<ImageSignature>,
    }

    /// A signature in cosign's form, and body of `POST /images/{name}/signatures` with the digest it is about.
    #[serde(rename_all = "PascalCase")]
    pub struct ImageSignature {
        #[serde(skip_serializing_if = "empty")]
        pub digest: String,
        /// What is signed, in base64.
        pub payload: String,
        /// The signature over it, in base64.
        pub signature: String,
    }

    /// Answer of `GET /distribution/{name}/json`.
    #[serde(rename_all = "PascalCase")]
    pub struct DistributionInspect {
        pub descriptor: OciDescriptor,
        pub platforms: Vec<OciPlatform>,
    }

    /// An OCI descriptor.
    #[serde(rename_all = "camelCase")]
    pub struct OciDescriptor {
        pub media_type: String,
        pub digest: String,
        pub size: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub urls: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub annotations: Option<BTreeMap<String, String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub platform: Option<OciPlatform>,
        #[serde(skip_serializing_if = "empty")]
        pub artifact_type: String,
    }

    /// A platform.
    pub struct OciPlatform {
        pub architecture: String,
        pub os: String,
        #[serde(rename = "os.version", skip_serializing_if = "empty")]
        pub os_version: String,
        #[serde(rename = "os.features", skip_serializing_if = "Option::is_none")]
        pub os_features: Option<Vec<String>>,
        #[serde(skip_serializing_if = "empty")]
        pub variant: String,
    }
}
