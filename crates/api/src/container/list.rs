//! `GET /containers/json`.

use std::collections::BTreeMap;

use super::{HealthSummary, MountPoint};
use crate::json::{Labels, empty};
use crate::network::EndpointSettings;

wire! {
    /// A line of `docker ps`.
    #[serde(rename_all = "PascalCase")]
    pub struct ContainerSummary {
        pub id: String,
        pub names: Vec<String>,
        pub image: String,
        #[serde(rename = "ImageID")]
        pub image_id: String,
        pub command: String,
        pub created: i64,
        pub ports: Vec<Port>,
        #[serde(skip_serializing_if = "empty")]
        pub size_rw: i64,
        #[serde(skip_serializing_if = "empty")]
        pub size_root_fs: i64,
        pub labels: Labels,
        pub state: String,
        pub status: String,
        pub host_config: SummaryHostConfig,
        /// Since API 1.52; left out before.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub health: Option<HealthSummary>,
        pub network_settings: SummaryNetworkSettings,
        pub mounts: Vec<MountPoint>,
    }

    /// A port of a listed container.
    #[serde(rename_all = "PascalCase")]
    pub struct Port {
        #[serde(rename = "IP", skip_serializing_if = "empty")]
        pub ip: String,
        pub private_port: u16,
        #[serde(skip_serializing_if = "empty")]
        pub public_port: u16,
        #[serde(rename = "Type")]
        pub protocol: String,
    }

    /// The few host settings the list has.
    #[serde(rename_all = "PascalCase")]
    pub struct SummaryHostConfig {
        #[serde(skip_serializing_if = "empty")]
        pub network_mode: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub annotations: Option<Labels>,
    }

    /// The networks of a listed container.
    #[serde(rename_all = "PascalCase")]
    pub struct SummaryNetworkSettings {
        pub networks: Option<BTreeMap<String, EndpointSettings>>,
    }
}
