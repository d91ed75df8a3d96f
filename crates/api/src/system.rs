//! The daemon itself: version, info and disk usage.

use std::collections::BTreeMap;

use crate::build::CacheRecord;
use crate::container::ContainerSummary;
use crate::image::ImageSummary;
use crate::json::{Labels, empty};
use crate::volume::Volume;

wire! {
    /// Answer of `GET /version`.
    #[serde(rename_all = "PascalCase")]
    pub struct Version {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub platform: Option<PlatformName>,
        #[serde(skip_serializing_if = "empty")]
        pub components: Vec<ComponentVersion>,
        #[serde(rename = "Version")]
        pub version: String,
        pub api_version: String,
        #[serde(rename = "MinAPIVersion", skip_serializing_if = "empty")]
        pub min_api_version: String,
        pub git_commit: String,
        pub go_version: String,
        pub os: String,
        pub arch: String,
        #[serde(skip_serializing_if = "empty")]
        pub kernel_version: String,
        #[serde(skip_serializing_if = "empty")]
        pub experimental: bool,
        #[serde(skip_serializing_if = "empty")]
        pub build_time: String,
    }

    /// Name of the product.
    #[serde(rename_all = "PascalCase")]
    pub struct PlatformName {
        pub name: String,
    }

    /// A part of the daemon and its version.
    #[serde(rename_all = "PascalCase")]
    pub struct ComponentVersion {
        pub name: String,
        pub version: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub details: Option<Labels>,
    }

    /// Answer of `GET /info`.
    #[serde(rename_all = "PascalCase")]
    pub struct Info {
        #[serde(rename = "ID")]
        pub id: String,
        pub containers: i64,
        pub containers_running: i64,
        pub containers_paused: i64,
        pub containers_stopped: i64,
        pub images: i64,
        pub driver: String,
        pub driver_status: Vec<[String; 2]>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub system_status: Option<Vec<[String; 2]>>,
        pub plugins: PluginsInfo,
        pub memory_limit: bool,
        pub swap_limit: bool,
        pub cpu_cfs_period: bool,
        pub cpu_cfs_quota: bool,
        #[serde(rename = "CPUShares")]
        pub cpu_shares: bool,
        #[serde(rename = "CPUSet")]
        pub cpu_set: bool,
        pub pids_limit: bool,
        #[serde(rename = "IPv4Forwarding")]
        pub ipv4_forwarding: bool,
        pub debug: bool,
        pub n_fd: i64,
        pub oom_kill_disable: bool,
        pub n_goroutines: i64,
        pub system_time: String,
        pub logging_driver: String,
        pub cgroup_driver: String,
        #[serde(skip_serializing_if = "empty")]
        pub cgroup_version: String,
        pub n_events_listener: i64,
        pub kernel_version: String,
        pub operating_system: String,
        #[serde(rename = "OSVersion")]
        pub os_version: String,
        #[serde(rename = "OSType")]
        pub os_type: String,
        pub architecture: String,
        pub index_server_address: String,
        pub registry_config: RegistryConfig,
        #[serde(rename = "NCPU")]
        pub ncpu: i64,
        pub mem_total: i64,
        pub generic_resources: Option<Vec<serde_json::Value>>,
        pub docker_root_dir: String,
        pub http_proxy: String,
        pub https_proxy: String,
        pub no_proxy: String,
        pub name: String,
        pub labels: Vec<String>,
        pub experimental_build: bool,
        pub server_version: String,
        pub runtimes: BTreeMap<String, Runtime>,
        pub default_runtime: String,
        pub swarm: SwarmInfo,
        pub live_restore_enabled: bool,
        pub isolation: String,
        pub init_binary: String,
        pub containerd_commit: Commit,
        pub runc_commit: Commit,
        pub init_commit: Commit,
        pub security_options: Vec<String>,
        #[serde(skip_serializing_if = "empty")]
        pub product_license: String,
        #[serde(skip_serializing_if = "empty")]
        pub default_address_pools: Vec<AddressPool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub firewall_backend: Option<FirewallInfo>,
        #[serde(rename = "CDISpecDirs")]
        pub cdi_spec_dirs: Vec<String>,
        #[serde(skip_serializing_if = "empty")]
        pub discovered_devices: Vec<DeviceInfo>,
        pub warnings: Option<Vec<String>>,
    }

    /// Drivers by kind.
    #[serde(rename_all = "PascalCase")]
    pub struct PluginsInfo {
        pub volume: Vec<String>,
        pub network: Vec<String>,
        pub authorization: Option<Vec<String>>,
        pub log: Vec<String>,
    }

    /// How registries are reached.
    #[serde(rename_all = "PascalCase")]
    pub struct RegistryConfig {
        #[serde(rename = "InsecureRegistryCIDRs")]
        pub insecure_registry_cidrs: Vec<String>,
        pub index_configs: BTreeMap<String, IndexInfo>,
        pub mirrors: Option<Vec<String>>,
    }

    /// One registry.
    #[serde(rename_all = "PascalCase")]
    pub struct IndexInfo {
        pub name: String,
        pub mirrors: Vec<String>,
        pub secure: bool,
        pub official: bool,
    }

    /// An OCI runtime.
    pub struct Runtime {
        #[serde(skip_serializing_if = "empty")]
        pub path: String,
        #[serde(rename = "runtimeArgs", skip_serializing_if = "Option::is_none")]
        pub args: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub status: Option<Labels>,
    }

    /// A Swarm there is not.
    #[serde(rename_all = "PascalCase")]
    pub struct SwarmInfo {
        #[serde(rename = "NodeID")]
        pub node_id: String,
        pub node_addr: String,
        pub local_node_state: String,
        pub control_available: bool,
        pub error: String,
        pub remote_managers: Option<Vec<serde_json::Value>>,
    }

    /// Version of a component by its commit.
    #[serde(rename_all = "PascalCase")]
    pub struct Commit {
        #[serde(rename = "ID")]
        pub id: String,
    }

    /// Addresses for new networks.
    #[serde(rename_all = "PascalCase")]
    pub struct AddressPool {
        pub base: String,
        pub size: i64,
    }

    /// A device that containers can ask for by its name.
    #[serde(rename_all = "PascalCase")]
    pub struct DeviceInfo {
        pub source: String,
        #[serde(rename = "ID")]
        pub id: String,
    }

    /// What filters packets.
    #[serde(rename_all = "PascalCase")]
    pub struct FirewallInfo {
        pub driver: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub info: Option<Vec<[String; 2]>>,
    }

    /// Answer of `GET /system/df`; what was not asked for is left out.
    #[serde(rename_all = "PascalCase")]
    pub struct DiskUsage {
        pub layers_size: i64,
        pub images: Option<Vec<ImageSummary>>,
        pub containers: Option<Vec<ContainerSummary>>,
        pub volumes: Option<Vec<Volume>>,
        pub build_cache: Option<Vec<CacheRecord>>,
        /// Before API 1.42.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub builder_size: Option<i64>,
    }
}
