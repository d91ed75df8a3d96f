//! `POST /containers/create` and `POST /commit`.

use std::collections::BTreeMap;

use super::{ContainerConfig, HostConfig};
use crate::network::EndpointSettings;

wire! {
    /// Body of `POST /containers/create`: the configuration with the host's part beside it.
    #[serde(rename_all = "PascalCase")]
    pub struct ContainerCreateRequest {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub host_config: Option<HostConfig>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub networking_config: Option<NetworkingConfig>,
    }
    flatten { pub config: ContainerConfig }

    /// Networks to connect to, by name or id.
    #[serde(rename_all = "PascalCase")]
    pub struct NetworkingConfig {
        pub endpoints_config: Option<BTreeMap<String, Option<EndpointSettings>>>,
    }

    /// Answer of `POST /containers/create`. `warnings` is never `null`.
    #[serde(rename_all = "PascalCase")]
    pub struct CreateResponse {
        pub id: String,
        pub warnings: Vec<String>,
    }

    /// Answer of `POST /commit`.
    #[serde(rename_all = "PascalCase")]
    pub struct CommitResponse {
        pub id: String,
    }
}
