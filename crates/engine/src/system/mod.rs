//! The daemon itself: what `docker version`, `docker info` and `docker system df` show.

mod host;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use dray_api::container::ContainerSummary;
use dray_api::system::{
    AddressPool, Commit, ComponentVersion, DeviceInfo, DiskUsage, FirewallInfo, IndexInfo, Info,
    PlatformName, PluginsInfo, RegistryConfig, Runtime, SwarmInfo, Version,
};
use dray_api::{API_VERSION, Labels, MIN_API_VERSION};
use dray_registry::InsecureRegistry;
use dray_store::Store;
use jiff::Timestamp;

use crate::cdi::Cdi;
use crate::container;
use crate::container::names;
use crate::{EngineConfig, EventBus, ServiceError, build, image, network, timestamp, volume};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Set by the release build.
const BUILD_TIME: Option<&str> = option_env!("DRAY_BUILD_TIME");

/// How many containers there are, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// All.
    pub total: usize,
    /// Running, not paused.
    pub running: usize,
    /// Paused.
    pub paused: usize,
    /// Everything else.
    pub stopped: usize,
}

/// What the system asks of containers.
pub trait Containers: Send + Sync {
    /// How many there are.
    fn census(&self) -> Census;

    /// All of them with their sizes, for `system df`.
    ///
    /// # Errors
    /// If they cannot be measured.
    fn usage(&self) -> Result<Vec<ContainerSummary>, ServiceError>;
}

impl Containers for container::Service {
    fn census(&self) -> Census {
        let mut census = Census::default();
        for container in self.registry().all() {
            census.total += 1;
            match container.with(|record| record.state.status()) {
                "running" | "restarting" => census.running += 1,
                "paused" => census.paused += 1,
                _ => census.stopped += 1,
            }
        }
        census
    }

    fn usage(&self) -> Result<Vec<ContainerSummary>, ServiceError> {
        Ok(self.summaries_with_usage())
    }
}

/// What is measured for `system df`; everything if nothing is named.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskUsageOptions {
    /// Containers.
    pub containers: bool,
    /// Images.
    pub images: bool,
    /// Volumes.
    pub volumes: bool,
    /// The build cache.
    pub build_cache: bool,
}

/// The services that the system tells of.
pub struct Parts {
    /// Containers.
    pub containers: Arc<dyn Containers>,
    /// Images.
    pub images: Arc<image::Service>,
    /// Networks.
    pub networks: Arc<network::Service>,
    /// Volumes.
    pub volumes: Arc<volume::Service>,
    /// Builds.
    pub builds: Arc<build::Service>,
    /// What happens.
    pub events: EventBus,
}

/// The daemon itself.
pub struct Service {
    config: RwLock<Arc<EngineConfig>>,
    id: String,
    parts: Parts,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("system::Service").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Service {
    /// The system of an engine. Its id is made once per data root.
    ///
    /// # Errors
    /// If the id cannot be kept.
    pub fn open(config: EngineConfig, store: &Store, parts: Parts) -> Result<Arc<Self>, dray_store::Error> {
        let known = store.records().get::<String>("daemon", "id")?;
        let id = match known {
            Some(id) => id,
            None => {
                let id = uuid(&names::new_id());
                store.records().put("daemon", "id", None, &id)?;
                id
            }
        };
        Ok(Arc::new(Service { config: RwLock::new(Arc::new(config)), id, parts }))
    }

    /// What is told of the configuration from now on.
    pub(crate) fn set_config(&self, config: EngineConfig) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    fn config(&self) -> Arc<EngineConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Versions.
    #[must_use]
    pub fn version(&self) -> Version {
        let commit = self.config().commit.unwrap_or_default();
        let details = Labels::from([
            ("ApiVersion".into(), API_VERSION.into()),
            ("Arch".into(), host::arch().into()),
            ("BuildTime".into(), BUILD_TIME.unwrap_or_default().into()),
            ("Experimental".into(), "false".into()),
            ("GitCommit".into(), commit.into()),
            ("KernelVersion".into(), host::kernel()),
            ("MinAPIVersion".into(), MIN_API_VERSION.into()),
            ("Os".into(), "linux".into()),
        ]);
        let component = |name: &str, details| ComponentVersion {
            name: name.into(),
            version: VERSION.into(),
            details: Some(details),
        };
        let runtime = Labels::from([("GitCommit".into(), commit.into())]);
        Version {
            platform: Some(PlatformName { name: "Dray".into() }),
            components: vec![component("Engine", details), component("dray-runtime", runtime)],
            version: VERSION.into(),
            api_version: API_VERSION.into(),
            min_api_version: MIN_API_VERSION.into(),
            git_commit: commit.into(),
            go_version: String::new(),
            os: "linux".into(),
            arch: host::arch().into(),
            kernel_version: host::kernel(),
            experimental: false,
            build_time: BUILD_TIME.unwrap_or_default().into(),
        }
    }

    /// Everything that `docker info` shows.
    #[must_use]
    pub fn info(&self) -> Info {
        let config = self.config();
        let census = self.parts.containers.census();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let cgroups = host::Cgroups::detect();
        let (operating_system, os_version) = host::distribution();
        let v1 = cgroups == host::Cgroups::V1;
        let limits = |controller: &str, file: &str| cgroups.has(controller, if v1 { file } else { "" });
        let mut info = Info {
            id: self.id.clone(),
            containers: count(census.total),
            containers_running: count(census.running),
            containers_paused: count(census.paused),
            containers_stopped: count(census.stopped),
            images: count(self.parts.images.count()),
            driver: "overlay2".into(),
            driver_status: self.driver_status(),
            plugins: PluginsInfo {
                volume: self.parts.volumes.drivers(),
                network: ["bridge", "host", "ipvlan", "macvlan", "null"].map(String::from).into(),
                authorization: None,
                log: ["json-file", "local", "none"].map(String::from).into(),
            },
            memory_limit: cgroups.has("memory", ""),
            swap_limit: limits("memory", "memory.memsw.limit_in_bytes"),
            cpu_cfs_period: limits("cpu", "cpu.cfs_period_us"),
            cpu_cfs_quota: limits("cpu", "cpu.cfs_quota_us"),
            cpu_shares: limits("cpu", "cpu.shares"),
            cpu_set: cgroups.has("cpuset", ""),
            pids_limit: cgroups.has("pids", ""),
            oom_kill_disable: v1 && limits("memory", "memory.oom_control"),
            ipv4_forwarding: host::forwards_ipv4(),
            debug: config.debug,
            n_fd: host::descriptors(),
            n_goroutines: host::threads(),
            system_time: timestamp::rfc3339(Timestamp::now()),
            logging_driver: config.log_driver.clone(),
            cgroup_driver: "cgroupfs".into(),
            cgroup_version: cgroups.version().into(),
            kernel_version: host::kernel(),
            operating_system,
            os_version,
            os_type: "linux".into(),
            architecture: host::machine(),
            index_server_address: "https://index.docker.io/v1/".into(),
            registry_config: self.registry_config(),
            ncpu: host::cpus(),
            mem_total: host::memory(),
            docker_root_dir: config.data_root.display().to_string(),
            name: host::hostname(),
            labels: config.labels.clone(),
            server_version: VERSION.into(),
            default_runtime: config.defaults.runtime.clone(),
            swarm: SwarmInfo { local_node_state: "inactive".into(), ..Default::default() },
            live_restore_enabled: config.live_restore,
            security_options: security_options(cgroups),
            firewall_backend: Some(FirewallInfo { driver: "nftables".into(), info: None }),
            ..Default::default()
        };
        let cdi = Cdi::at(config.cdi_spec_dirs.clone());
        info.cdi_spec_dirs = cdi.dirs().iter().map(|dir| dir.display().to_string()).collect();
        let device = |id: String| DeviceInfo { source: "cdi".into(), id };
        info.discovered_devices = cdi.devices().into_iter().map(device).collect();
        info.runtimes = self.runtimes();
        info.default_address_pools = self.pools();
        (info.http_proxy, info.https_proxy, info.no_proxy) = proxies();
        for commit in [&mut info.containerd_commit, &mut info.runc_commit, &mut info.init_commit] {
            *commit = Commit { id: config.commit.unwrap_or("N/A").into() };
        }
        info.init_binary = "dray-init".into();
        info.warnings = Some(self.warnings(&info));
        info
    }

    /// What takes how much of the disk.
    ///
    /// # Errors
    /// If something cannot be measured.
    pub fn disk_usage(&self, options: DiskUsageOptions) -> Result<DiskUsage, ServiceError> {
        let mut usage = DiskUsage::default();
        if options.images {
            usage.layers_size = self.parts.images.layers_size()?;
            usage.images = Some(self.parts.images.usage()?);
        }
        if options.containers {
            usage.containers = Some(self.parts.containers.usage()?);
        }
        if options.volumes {
            usage.volumes = Some(self.parts.volumes.usage()?);
        }
        if options.build_cache {
            usage.build_cache = Some(self.parts.builds.cache()?);
        }
        Ok(usage)
    }

    fn driver_status(&self) -> Vec<[String; 2]> {
        let pair = |key: &str, value: String| [key.to_owned(), value];
        let file_system =
            rustix::fs::statfs(&self.config().data_root).map_or("unknown", |found| file_system(&found));
        vec![
            pair("Backing Filesystem", file_system.to_owned()),
            pair("Supports d_type", "true".into()),
            pair("Using metacopy", "false".into()),
            pair("Native Overlay Diff", "true".into()),
            pair("userxattr", "false".into()),
        ]
    }

    fn registry_config(&self) -> RegistryConfig {
        let whole = self.config();
        let config = &whole.registry;
        let index = |name: &str, secure, official| IndexInfo {
            name: name.into(),
            mirrors: if official { config.hub_mirrors() } else { Vec::new() },
            secure,
            official,
        };
        let mut registries = RegistryConfig {
            insecure_registry_cidrs: vec!["::1/128".into(), "127.0.0.0/8".into()],
            index_configs: BTreeMap::from([("docker.io".into(), index("docker.io", true, true))]),
            mirrors: Some(config.hub_mirrors()),
        };
        for insecure in &config.insecure {
            match insecure {
                InsecureRegistry::Cidr(network) => {
                    registries.insecure_registry_cidrs.push(network.to_string())
                }
                InsecureRegistry::Host(name) => {
                    registries.index_configs.insert(name.clone(), index(name, false, false));
                }
            }
        }
        registries
    }

    fn runtimes(&self) -> BTreeMap<String, Runtime> {
        let runtime = Runtime { path: self.config().exe.display().to_string(), args: None, status: None };
        BTreeMap::from([("dray".to_owned(), runtime)])
    }

    fn pools(&self) -> Vec<AddressPool> {
        let config = self.config();
        let pools = config.network.pools.iter();
        pools.map(|pool| AddressPool { base: pool.base.to_string(), size: pool.size.into() }).collect()
    }

    fn warnings(&self, info: &Info) -> Vec<String> {
        let mut warnings = self.parts.networks.network().warnings();
        let missing = [
            (info.memory_limit, "WARNING: No memory limit support"),
            (info.swap_limit, "WARNING: No swap limit support"),
            (info.cpu_cfs_quota, "WARNING: No cpu cfs quota support"),
            (info.cpu_shares, "WARNING: No cpu shares support"),
            (info.cpu_set, "WARNING: No cpuset support"),
            (info.pids_limit, "WARNING: No pids limit support"),
        ];
        warnings.extend(missing.iter().filter(|(there, _)| !there).map(|(_, text)| (*text).to_owned()));
        warnings
    }
}

fn security_options(cgroups: host::Cgroups) -> Vec<String> {
    let mut options = vec!["name=seccomp,profile=builtin".to_owned()];
    if cgroups == host::Cgroups::V2 {
        options.push("name=cgroupns".to_owned());
    }
    options
}

fn proxies() -> (String, String, String) {
    let var =
        |name: &str| std::env::var(name).or_else(|_| std::env::var(name.to_lowercase())).unwrap_or_default();
    (without_credentials(&var("HTTP_PROXY")), without_credentials(&var("HTTPS_PROXY")), var("NO_PROXY"))
}

/// A proxy's credentials are nobody's business.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://xxxxx:xxxxx@{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

fn file_system(found: &rustix::fs::StatFs) -> &'static str {
    match found.f_type {
        0xEF53 => "extfs",
        0x5846_5342 => "xfs",
        0x9123_683E => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794C_7630 => "overlayfs",
        0x2FC1_2FC1 => "zfs",
        _ => "unknown",
    }
}

/// 32 hex digits in the form of a random UUID.
fn uuid(hex: &str) -> String {
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_one() {
        let id = uuid(&"0123456789abcdef".repeat(4));
        assert_eq!(id, "01234567-89ab-4def-a123-456789abcdef");
    }

    #[test]
    fn credentials_of_proxies_are_hidden() {
        assert_eq!(without_credentials("http://u:p@proxy:3128/x"), "http://xxxxx:xxxxx@proxy:3128/x");
        assert_eq!(without_credentials("http://proxy:3128"), "http://proxy:3128");
        assert_eq!(without_credentials(""), "");
    }
}
