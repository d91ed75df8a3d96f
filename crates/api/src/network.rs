//! Networks and their endpoints.

use std::collections::BTreeMap;

use crate::json::{Labels, empty};

wire! {
    /// A network, as list and inspect answer.
    #[serde(rename_all = "PascalCase")]
    pub struct NetworkInspect {
        pub name: String,
        pub id: String,
        #[serde(serialize_with = "crate::json::time")]
        pub created: String,
        pub scope: String,
        pub driver: String,
        #[serde(rename = "EnableIPv4")]
        pub enable_ipv4: bool,
        #[serde(rename = "EnableIPv6")]
        pub enable_ipv6: bool,
        #[serde(rename = "IPAM")]
        pub ipam: Ipam,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_from: ConfigReference,
        pub config_only: bool,
        /// Never filled by the list.
        pub containers: BTreeMap<String, EndpointResource>,
        pub options: Labels,
        pub labels: Labels,
    }

    /// Address management of a network.
    #[serde(rename_all = "PascalCase")]
    pub struct Ipam {
        pub driver: String,
        pub options: Option<Labels>,
        pub config: Option<Vec<IpamConfig>>,
    }

    /// A subnet of a network.
    #[serde(rename_all = "PascalCase")]
    pub struct IpamConfig {
        #[serde(skip_serializing_if = "empty")]
        pub subnet: String,
        #[serde(rename = "IPRange", skip_serializing_if = "empty")]
        pub ip_range: String,
        #[serde(skip_serializing_if = "empty")]
        pub gateway: String,
        #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "Option::is_none")]
        pub auxiliary_addresses: Option<Labels>,
    }

    /// The network whose configuration another one takes.
    #[serde(rename_all = "PascalCase")]
    pub struct ConfigReference {
        pub network: String,
    }

    /// A container in an inspected network. Addresses have their prefix length.
    #[serde(rename_all = "PascalCase")]
    pub struct EndpointResource {
        pub name: String,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub mac_address: String,
        #[serde(rename = "IPv4Address")]
        pub ipv4_address: String,
        #[serde(rename = "IPv6Address")]
        pub ipv6_address: String,
    }

    /// Body of `POST /networks/create`.
    #[serde(rename_all = "PascalCase")]
    pub struct NetworkCreateRequest {
        pub name: String,
        pub driver: String,
        pub scope: String,
        #[serde(rename = "EnableIPv4", skip_serializing_if = "Option::is_none")]
        pub enable_ipv4: Option<bool>,
        #[serde(rename = "EnableIPv6", skip_serializing_if = "Option::is_none")]
        pub enable_ipv6: Option<bool>,
        #[serde(rename = "IPAM")]
        pub ipam: Option<Ipam>,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_only: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub config_from: Option<ConfigReference>,
        pub options: Option<Labels>,
        pub labels: Option<Labels>,
    }

    /// Answer of `POST /networks/create`.
    #[serde(rename_all = "PascalCase")]
    pub struct NetworkCreateResponse {
        pub id: String,
        pub warning: String,
    }

    /// Body of `POST /networks/{id}/connect`.
    #[serde(rename_all = "PascalCase")]
    pub struct NetworkConnectRequest {
        pub container: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub endpoint_config: Option<EndpointSettings>,
    }

    /// Body of `POST /networks/{id}/disconnect`.
    #[serde(rename_all = "PascalCase")]
    pub struct NetworkDisconnectRequest {
        pub container: String,
        pub force: bool,
    }

    /// Answer of `POST /networks/prune`.
    #[serde(rename_all = "PascalCase")]
    pub struct NetworksPruneReport {
        pub networks_deleted: Option<Vec<String>>,
    }

    /// A container's place in a network: what was asked for, and what it got.
    #[serde(rename_all = "PascalCase")]
    pub struct EndpointSettings {
        #[serde(rename = "IPAMConfig")]
        pub ipam_config: Option<EndpointIpamConfig>,
        pub links: Option<Vec<String>>,
        pub aliases: Option<Vec<String>>,
        pub mac_address: String,
        pub driver_opts: Option<Labels>,
        pub gw_priority: i64,
        #[serde(rename = "NetworkID")]
        pub network_id: String,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub gateway: String,
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        #[serde(rename = "DNSNames")]
        pub dns_names: Option<Vec<String>>,
    }

    /// Addresses asked for.
    #[serde(rename_all = "PascalCase")]
    pub struct EndpointIpamConfig {
        #[serde(rename = "IPv4Address", skip_serializing_if = "empty")]
        pub ipv4_address: String,
        #[serde(rename = "IPv6Address", skip_serializing_if = "empty")]
        pub ipv6_address: String,
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "Option::is_none")]
        pub link_local_ips: Option<Vec<String>>,
    }
}
