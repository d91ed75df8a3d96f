//! Volumes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::json::{Labels, empty};

wire! {
    /// A volume.
    #[serde(rename_all = "PascalCase")]
    pub struct Volume {
        #[serde(skip_serializing_if = "empty")]
        pub created_at: String,
        pub driver: String,
        pub labels: Option<Labels>,
        pub mountpoint: String,
        pub name: String,
        pub options: Option<Labels>,
        pub scope: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub status: Option<BTreeMap<String, Value>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub usage_data: Option<VolumeUsage>,
    }

    /// What a volume takes; −1 where not computed.
    #[serde(rename_all = "PascalCase")]
    pub struct VolumeUsage {
        pub ref_count: i64,
        pub size: i64,
    }

    /// Body of `POST /volumes/create`.
    #[serde(rename_all = "PascalCase")]
    pub struct VolumeCreateRequest {
        #[serde(skip_serializing_if = "empty")]
        pub driver: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub driver_opts: Option<Labels>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub labels: Option<Labels>,
        #[serde(skip_serializing_if = "empty")]
        pub name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cluster_volume_spec: Option<Value>,
    }

    /// Answer of `GET /volumes`.
    #[serde(rename_all = "PascalCase")]
    pub struct VolumeListResponse {
        pub volumes: Vec<Volume>,
        pub warnings: Option<Vec<String>>,
    }

    /// Answer of `POST /volumes/prune`.
    #[serde(rename_all = "PascalCase")]
    pub struct VolumesPruneReport {
        pub volumes_deleted: Option<Vec<String>>,
        pub space_reclaimed: u64,
    }
}
