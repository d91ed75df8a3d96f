//! A service: what the specification has under `services`, in Docker Compose's order.

use std::collections::BTreeMap;

use super::deploy::{Deploy, DeviceRequest};
use super::field::shape;
use super::kind::{
    Bytes, Command, Duration, EnvFile, Environment, FileMode, HealthTest, Hosts, Labels, Mapping,
    MultiOptions, Options, Ssh, ThrottleDevice, Ulimit, WeightDevice,
};

shape! {
    /// A service.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Service {
        profiles: Vec<String>,
        annotations: Mapping,
        attach: Option<bool>,
        build: Option<Build>,
        develop: Option<Develop>,
        blkio_config: Option<Blkio>,
        cap_add: Vec<String>,
        cap_drop: Vec<String>,
        cgroup_parent: String,
        cgroup: String,
        cpu_count: i64,
        cpu_percent: f32,
        cpu_period: i64,
        cpu_quota: i64,
        cpu_rt_period: i64,
        cpu_rt_runtime: i64,
        cpus: f32,
        cpuset: String,
        cpu_shares: i64,
        command: Command,
        configs: Vec<FileMount>,
        container_name: String,
        credential_spec: Option<CredentialSpec>,
        depends_on: BTreeMap<String, Dependency>,
        deploy: Option<Deploy>,
        device_cgroup_rules: Vec<String>,
        devices: Vec<Device>,
        dns: Vec<String>,
        dns_opt: Vec<String>,
        dns_search: Vec<String>,
        dockerfile: String,
        domainname: String,
        entrypoint: Command,
        provider: Option<Provider>,
        environment: Environment,
        env_file: Vec<EnvFile>,
        expose: Vec<String>,
        extends: Option<Extends>,
        external_links: Vec<String>,
        extra_hosts: Hosts,
        group_add: Vec<String>,
        gpus: Vec<DeviceRequest>,
        hostname: String,
        healthcheck: Option<HealthCheck>,
        image: String,
        init: Option<bool>,
        ipc: String,
        isolation: String,
        labels: Labels,
        label_file: Vec<String>,
        links: Vec<String>,
        logging: Option<Logging>,
        log_driver: String,
        log_opt: BTreeMap<String, String>,
        mem_limit: Bytes,
        mem_reservation: Bytes,
        memswap_limit: Bytes,
        mem_swappiness: Bytes,
        mac_address: String,
        models: BTreeMap<String, Option<ServiceModel>>,
        net: String,
        network_mode: String,
        networks: BTreeMap<String, Option<ServiceNetwork>>,
        oom_kill_disable: bool,
        oom_score_adj: i64,
        pid: String,
        pids_limit: i64,
        platform: String,
        ports: Vec<Port>,
        privileged: bool,
        pull_policy: String,
        read_only: bool,
        restart: String,
        runtime: String,
        scale: Option<i64>,
        secrets: Vec<FileMount>,
        security_opt: Vec<String>,
        shm_size: Bytes,
        stdin_open: bool,
        stop_grace_period: Option<Duration>,
        stop_signal: String,
        storage_opt: BTreeMap<String, String>,
        sysctls: Mapping,
        tmpfs: Vec<String>,
        tty: bool,
        ulimits: BTreeMap<String, Ulimit>,
        use_api_socket: bool,
        user: String,
        userns_mode: String,
        uts: String,
        volume_driver: String,
        volumes: Vec<Mount>,
        volumes_from: Vec<String>,
        working_dir: String,
        post_start: Vec<Hook>,
        pre_stop: Vec<Hook>,
    }
}

impl Service {
    /// How many containers it has.
    pub fn replicas(&self) -> i64 {
        let deployed = self.deploy.as_ref().and_then(|d| d.replicas);
        self.scale.or(deployed).unwrap_or(1)
    }

    /// Sets how many containers it has.
    pub fn set_replicas(&mut self, count: i64) {
        self.scale = Some(count);
        if let Some(deploy) = &mut self.deploy {
            deploy.replicas = Some(count);
        }
    }

    /// Its networks, the one of the highest priority first.
    pub fn networks_by_priority(&self) -> Vec<&str> {
        let priority = |n: &Option<ServiceNetwork>| n.as_ref().map_or(0, |n| n.priority);
        let mut all: Vec<(&String, i64)> = self.networks.iter().map(|(k, n)| (k, priority(n))).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all.into_iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Whether one of the profiles that are on is its own, or it has none.
    pub fn has_profile(&self, on: &[String]) -> bool {
        self.profiles.is_empty() || on.iter().any(|p| p == "*" || self.profiles.contains(p))
    }

    /// The image's name: its own, or that of what is built.
    pub fn image_or_default(&self, project: &str, name: &str, separator: &str) -> String {
        if self.image.is_empty() { format!("{project}{separator}{name}") } else { self.image.clone() }
    }
}

shape! {
    /// How an image is built.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Build {
        context: String,
        dockerfile: String,
        dockerfile_inline: String,
        entitlements: Vec<String>,
        args: Environment,
        provenance: String,
        sbom: String,
        ssh: Ssh,
        labels: Labels,
        cache_from: Vec<String>,
        cache_to: Vec<String>,
        no_cache: bool,
        additional_contexts: Mapping,
        pull: bool,
        extra_hosts: Hosts,
        isolation: String,
        network: String,
        target: String,
        secrets: Vec<FileMount>,
        shm_size: Bytes,
        tags: Vec<String>,
        ulimits: BTreeMap<String, Ulimit>,
        platforms: Vec<String>,
        privileged: bool,
    }
}

shape! {
    /// What is watched while developing.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Develop {
        watch: Vec<Trigger>,
    }
}

shape! {
    /// A path and what its changes bring about.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Trigger {
        path: String = always,
        action: String = always,
        target: String,
        exec: Hook,
        include: Vec<String>,
        ignore: Vec<String>,
        initial_sync: bool,
    }
}

shape! {
    /// A command that runs in a container at a moment of its life.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Hook {
        command: Command,
        user: String,
        privileged: bool,
        working_dir: String,
        environment: Environment,
    }
}

shape! {
    /// Limits of block devices.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Blkio {
        weight: u16,
        weight_device: Vec<WeightDevice>,
        device_read_bps: Vec<ThrottleDevice>,
        device_read_iops: Vec<ThrottleDevice>,
        device_write_bps: Vec<ThrottleDevice>,
        device_write_iops: Vec<ThrottleDevice>,
    }
}

shape! {
    /// A config or secret in a container.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct FileMount {
        source: String,
        target: String,
        uid: String,
        gid: String,
        mode: Option<FileMode>,
    }
}

shape! {
    /// Credentials of Windows.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct CredentialSpec {
        config: String,
        file: String,
        registry: String,
    }
}

shape! {
    /// A service that another one waits for.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Dependency {
        condition: String,
        restart: bool,
        required: bool = always,
    }
}

shape! {
    /// A device of the host.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Device {
        source: String,
        target: String,
        permissions: String,
    }
}

shape! {
    /// A program that provides the service.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Provider {
        kind as "type": String,
        options: MultiOptions,
    }
}

shape! {
    /// The service that this one extends.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Extends {
        file: String,
        service: String,
    }
}

shape! {
    /// How health is probed.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct HealthCheck {
        test: HealthTest,
        timeout: Option<Duration>,
        interval: Option<Duration>,
        retries: Option<u64>,
        start_period: Option<Duration>,
        start_interval: Option<Duration>,
        disable: bool,
    }
}

shape! {
    /// Where logs go.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Logging {
        driver: String,
        options: Options,
    }
}

shape! {
    /// A model that the service uses.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct ServiceModel {
        endpoint_var: String,
        model_var: String,
    }
}

shape! {
    /// The service's place in a network.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct ServiceNetwork {
        aliases: Vec<String>,
        driver_opts: Options,
        gw_priority: i64,
        interface_name: String,
        ipv4_address: String,
        ipv6_address: String,
        link_local_ips: Vec<String>,
        mac_address: String,
        priority: i64,
    }
}

shape! {
    /// A port.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Port {
        name: String,
        mode: String,
        host_ip: String,
        target: u32,
        published: String,
        protocol: String,
        app_protocol: String,
    }
}

shape! {
    /// A mount.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Mount {
        kind as "type": String,
        source: String,
        target: String,
        read_only: bool,
        consistency: String,
        bind: Option<BindOptions>,
        volume: Option<VolumeOptions>,
        tmpfs: Option<TmpfsOptions>,
        image: Option<ImageOptions>,
    }
}

shape! {
    /// Options of a bind mount.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct BindOptions {
        selinux: String,
        propagation: String,
        create_host_path: bool,
        recursive: String,
    }
}

shape! {
    /// Options of a volume.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct VolumeOptions {
        labels: Mapping,
        nocopy: bool,
        subpath: String,
    }
}

shape! {
    /// Options of a tmpfs.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct TmpfsOptions {
        size: Bytes,
        mode: u32,
    }
}

shape! {
    /// Options of an image as a mount.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct ImageOptions {
        subpath: String,
    }
}
