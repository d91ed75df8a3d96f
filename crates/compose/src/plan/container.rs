//! The request that makes a service's container: a pure function of project, service and what it refers to.

use std::collections::BTreeMap;

use dray_api::container::{
    BindOptions, ContainerConfig, ContainerCreateRequest, HealthConfig, HostConfig, ImageOptions, LogConfig,
    Mount as ApiMount, MountType, NetworkingConfig, PortBinding, PortMap, TmpfsOptions, VolumeOptions,
};
use dray_api::network::{EndpointIpamConfig, EndpointSettings};
use dray_api::{Empty, Labels};

use super::label;
use super::limits::{resources, restart_policy};
use crate::model::autoscale::Autoscale;
use crate::model::hash;
use crate::model::kind::{self, Environment};
use crate::model::project::Project;
use crate::model::service::{self, Service};
use crate::parse::node::Node;

/// A container that is to be made.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The project.
    pub project: &'a Project,
    /// The service's name.
    pub name: &'a str,
    /// The service, with references to other services resolved to containers.
    pub service: &'a Service,
    /// The replica's number; none for a container of `run`.
    pub number: Option<u32>,
    /// The container's final name.
    pub container_name: &'a str,
    /// The image's id, if it is known.
    pub image_id: Option<&'a str>,
    /// More labels.
    pub labels: Labels,
    /// Links to other containers.
    pub links: Vec<String>,
    /// Anonymous volumes taken over from the container that it replaces: target → volume.
    pub inherited: BTreeMap<String, ApiMount>,
    /// Whether others find it by the service's name.
    pub aliases: bool,
    /// Whether somebody is at its stdin.
    pub attach_stdin: bool,
    /// Whether it goes away when it ends.
    pub auto_remove: bool,
    /// Whether the daemon connects to many networks at once (API 1.44).
    pub many_networks: bool,
    /// What stands between the parts of names.
    pub separator: &'a str,
}

/// Why a container cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that only a swarm has.
    #[error("unsupported external {kind} {name}")]
    External {
        /// Config or secret.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A driver for configs or secrets.
    #[error("Docker Compose does not support {0}")]
    Unsupported(&'static str),
    /// A security option that is none.
    #[error("invalid security-opt: {0:?}")]
    SecurityOption(String),
    /// A seccomp profile that cannot be read.
    #[error("opening seccomp profile ({path}) failed: {text}")]
    Seccomp {
        /// The file.
        path: String,
        /// Why.
        text: String,
    },
}

impl Wanted<'_> {
    /// The request.
    ///
    /// # Errors
    /// The service asks for something that no daemon can do.
    pub fn request(&self) -> Result<ContainerCreateRequest, Error> {
        let (binds, mounts) = self.mounts()?;
        let (security_opt, unconfined) = self.security_options()?;
        let s = self.service;
        let mut host = HostConfig {
            binds: some(binds),
            mounts: some(mounts),
            network_mode: self.network_mode(),
            port_bindings: Some(self.port_bindings()),
            restart_policy: restart_policy(s),
            auto_remove: self.auto_remove,
            volume_driver: s.volume_driver.clone(),
            volumes_from: some(s.volumes_from.clone()),
            annotations: (!s.annotations.is_empty()).then(|| s.annotations.0.clone()),
            cap_add: some(s.cap_add.clone()),
            cap_drop: some(s.cap_drop.clone()),
            cgroupns_mode: s.cgroup.clone(),
            dns: some(s.dns.clone()),
            dns_options: some(s.dns_opt.clone()),
            dns_search: some(s.dns_search.clone()),
            extra_hosts: Some(s.extra_hosts.lines(":")),
            group_add: some(s.group_add.clone()),
            ipc_mode: s.ipc.clone(),
            links: some(self.links.clone()),
            oom_score_adj: s.oom_score_adj,
            pid_mode: s.pid.clone(),
            privileged: s.privileged,
            readonly_rootfs: s.read_only,
            security_opt: some(security_opt),
            storage_opt: (!s.storage_opt.is_empty()).then(|| s.storage_opt.clone()),
            tmpfs: Some(tmpfs(s)).filter(|t| !t.is_empty()),
            uts_mode: s.uts.clone(),
            userns_mode: s.userns_mode.clone(),
            shm_size: s.shm_size.0,
            sysctls: (!s.sysctls.is_empty()).then(|| s.sysctls.0.clone()),
            runtime: s.runtime.clone(),
            isolation: s.isolation.clone(),
            init: s.init,
            log_config: log_config(s),
            resources: resources(s),
            ..HostConfig::default()
        };
        if unconfined {
            (host.masked_paths, host.readonly_paths) = (Some(Vec::new()), Some(Vec::new()));
        }
        Ok(ContainerCreateRequest {
            host_config: Some(host),
            networking_config: self.networking(),
            config: self.config(),
        })
    }

    fn config(&self) -> ContainerConfig {
        let s = self.service;
        ContainerConfig {
            hostname: s.hostname.clone(),
            domainname: s.domainname.clone(),
            user: s.user.clone(),
            exposed_ports: Some(self.exposed_ports()).filter(|p| !p.is_empty()),
            tty: s.tty,
            open_stdin: s.stdin_open,
            stdin_once: self.attach_stdin && s.stdin_open,
            attach_stdin: self.attach_stdin,
            attach_stdout: true,
            attach_stderr: true,
            cmd: s.command.0.clone().map(Into::into),
            entrypoint: s.entrypoint.0.clone().map(Into::into),
            image: s.image_or_default(&self.project.name, self.name, self.separator),
            working_dir: s.working_dir.clone(),
            network_disabled: s.network_mode == "disabled",
            mac_address: if self.many_networks { String::new() } else { self.mac_address() },
            labels: Some(self.all_labels()),
            stop_signal: s.stop_signal.clone(),
            stop_timeout: s.stop_grace_period.map(|d| d.0 / dray_spec::golang::SECOND),
            env: Some(environment(&s.environment)),
            healthcheck: s.healthcheck.as_ref().map(health),
            ..ContainerConfig::default()
        }
    }

    fn mac_address(&self) -> String {
        let own = |n: &&str| self.service.networks.get(*n).cloned().flatten().map(|n| n.mac_address);
        let primary = self.service.networks_by_priority().first().and_then(own).unwrap_or_default();
        if primary.is_empty() { self.service.mac_address.clone() } else { primary }
    }

    fn all_labels(&self) -> Labels {
        let s = self.service;
        let mut labels: Labels = s.labels.0.clone();
        let mut set = |name: &str, value: String| labels.insert(name.to_owned(), value);
        set(label::PROJECT, self.project.name.clone());
        set(label::SERVICE, self.name.to_owned());
        set(label::VERSION, label::COMPOSE_VERSION.to_owned());
        set(label::WORKING_DIR, self.project.directory.clone());
        set(label::CONFIG_FILES, self.project.files.join(","));
        set(label::ONE_OFF, if self.number.is_some() { "False" } else { "True" }.to_owned());
        set(label::CONFIG_HASH, hash::service(s));
        if let Some(number) = self.number {
            set(label::NUMBER, number.to_string());
        }
        if let Some(image) = self.image_id {
            set(label::IMAGE, image.to_owned());
        }
        let dependency =
            |(name, d): (&String, &service::Dependency)| format!("{name}:{}:{}", d.condition, d.restart);
        // One that is off and need not be there is none.
        let there = |(name, _): &(&String, &service::Dependency)| self.project.services.contains_key(*name);
        let dependencies: Vec<String> = s.depends_on.iter().filter(there).map(dependency).collect();
        set(label::DEPENDS_ON, dependencies.join(","));
        if s.extensions.get("x-dray-restart-unhealthy").and_then(Node::text).as_deref() == Some("true") {
            labels.insert(label::RESTART_UNHEALTHY.to_owned(), "true".to_owned());
        }
        if self.number.is_some() && s.ports.iter().any(is_fixed) {
            labels.insert(label::SHARE_PORTS.to_owned(), format!("{}/{}", self.project.name, self.name));
        }
        let virtual_ip = s.deploy.as_ref().is_some_and(|deploy| deploy.endpoint_mode == "vip");
        if self.number.is_some() && virtual_ip {
            labels.insert(label::VIRTUAL_IP.to_owned(), self.name.to_owned());
        }
        if let Some(scale) = Autoscale::of(s).filter(|_| self.number.is_some()) {
            labels.insert(label::AUTOSCALE.to_owned(), scale.label());
            labels.insert(label::FILES.to_owned(), serde_json::json!(self.put_files()).to_string());
        }
        labels.extend(self.labels.clone());
        labels
    }

    /// Where secrets and configs are that are put into the container before it starts.
    fn put_files(&self) -> Vec<String> {
        let put = |object: &crate::model::resource::FileObject| {
            !object.content.is_empty() || !object.environment.is_empty()
        };
        let secrets = self
            .service
            .secrets
            .iter()
            .filter(|mount| self.project.secrets.get(&mount.source).is_some_and(|secret| put(&secret.0)));
        let configs = self
            .service
            .configs
            .iter()
            .filter(|mount| self.project.configs.get(&mount.source).is_some_and(|config| put(&config.0)));
        let secrets = secrets.map(|mount| target(mount, "/run/secrets/"));
        secrets.chain(configs.map(|mount| target(mount, "/"))).collect()
    }

    fn exposed_ports(&self) -> BTreeMap<String, Empty> {
        let exposed = self.service.expose.iter().flat_map(|e| expose(e));
        let published = self.service.ports.iter().map(|p| format!("{}/{}", p.target, protocol(p)));
        exposed.chain(published).map(|port| (port, Empty)).collect()
    }

    fn port_bindings(&self) -> PortMap {
        let mut bindings = PortMap::new();
        for port in &self.service.ports {
            let binding = PortBinding { host_ip: port.host_ip.clone(), host_port: port.published.clone() };
            let key = format!("{}/{}", port.target, protocol(port));
            bindings.entry(key).or_default().get_or_insert_with(Vec::new).push(binding);
        }
        bindings
    }

    fn network_name(&self, key: &str) -> String {
        self.project.networks.get(key).map_or_else(|| key.to_owned(), |n| n.name.clone())
    }

    fn primary(&self) -> &str {
        self.service.networks_by_priority().first().copied().unwrap_or("default")
    }

    fn network_mode(&self) -> String {
        if !self.service.network_mode.is_empty() {
            return self.service.network_mode.clone();
        }
        if self.project.networks.is_empty() { "none".to_owned() } else { self.network_name(self.primary()) }
    }

    fn networking(&self) -> Option<NetworkingConfig> {
        if !self.service.network_mode.is_empty() || self.project.networks.is_empty() {
            return None;
        }
        let primary = self.primary();
        let mut endpoints = BTreeMap::new();
        let mut first = self.endpoint(primary);
        if self.many_networks {
            for key in self.service.networks_by_priority().into_iter().skip(1) {
                endpoints.insert(self.network_name(key), Some(self.endpoint(key)));
            }
            if first.mac_address.is_empty() {
                first.mac_address.clone_from(&self.service.mac_address);
            }
        }
        endpoints.insert(self.network_name(primary), Some(first));
        Some(NetworkingConfig { endpoints_config: Some(endpoints) })
    }

    /// Networks that are connected after the container is made, where the daemon takes one only.
    pub fn later_networks(&self) -> Vec<(String, EndpointSettings)> {
        if self.many_networks || !self.service.network_mode.is_empty() {
            return Vec::new();
        }
        let keys = self.service.networks_by_priority().into_iter().skip(1);
        keys.map(|key| (self.network_name(key), self.endpoint(key))).collect()
    }

    fn endpoint(&self, key: &str) -> EndpointSettings {
        let service = self.aliases.then_some(self.name);
        endpoint(self.service, key, self.container_name, service, self.links.clone())
    }

    fn security_options(&self) -> Result<(Vec<String>, bool), Error> {
        let mut options = Vec::new();
        let mut unconfined = false;
        for option in &self.service.security_opt {
            if option == "systempaths=unconfined" {
                unconfined = true;
                continue;
            }
            let pair = option.split_once('=').or_else(|| option.split_once(':'));
            match pair {
                None if option != "no-new-privileges" => return Err(Error::SecurityOption(option.clone())),
                Some(("seccomp", path)) if path != "unconfined" && path != "builtin" => {
                    options.push(format!("seccomp={}", self.seccomp(path)?));
                }
                _ => options.push(option.clone()),
            }
        }
        Ok((options, unconfined))
    }

    fn seccomp(&self, path: &str) -> Result<String, Error> {
        let file =
            crate::parse::paths::join(if path.starts_with('/') { "" } else { &self.project.directory }, path);
        let fail = |text: String| Error::Seccomp { path: path.to_owned(), text };
        let text = std::fs::read_to_string(&file).map_err(|e| fail(e.to_string()))?;
        let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
        Ok(json.to_string())
    }

    /// Binds in their short form where it is enough, and mounts.
    fn mounts(&self) -> Result<(Vec<String>, Vec<ApiMount>), Error> {
        let mut all: BTreeMap<String, ApiMount> = self.inherited.clone();
        for volume in &self.service.volumes {
            if volume.source.is_empty() && self.inherited.contains_key(&volume.target) {
                continue;
            }
            all.insert(volume.target.clone(), self.mount(volume));
        }
        for mount in self.file_mounts()? {
            all.entry(mount.target.clone()).or_insert(mount);
        }
        let (mut binds, mut mounts) = (Vec::new(), Vec::new());
        for mount in all.into_values() {
            match self.short(&mount) {
                Some(bind) => binds.push(bind),
                None => mounts.push(mount),
            }
        }
        Ok((binds, mounts))
    }

    /// A mount in its short form, if that says all. Only the short form makes missing folders on old daemons.
    fn short(&self, mount: &ApiMount) -> Option<String> {
        let volume = self.service.volumes.iter().find(|v| v.target == mount.target)?;
        let plain_bind = volume
            .bind
            .as_ref()
            .is_none_or(|b| b.create_host_path && b.propagation.is_empty() && b.recursive.is_empty());
        let plain_volume =
            volume.volume.as_ref().is_none_or(|v| v.labels.is_empty() && v.subpath.is_empty() && !v.nocopy);
        match mount.kind {
            MountType::Bind if plain_bind => {}
            MountType::Volume
                if plain_volume && self.project.volumes.values().any(|v| v.name == mount.source) => {}
            _ => return None,
        }
        let mut options = vec![if volume.read_only { "ro" } else { "rw" }];
        let bind = volume.bind.clone().unwrap_or_default();
        options
            .extend([bind.selinux.as_str(), bind.propagation.as_str()].into_iter().filter(|o| !o.is_empty()));
        Some(format!("{}:{}:{}", mount.source, mount.target, options.join(",")))
    }

    fn mount(&self, volume: &service::Mount) -> ApiMount {
        let source = match volume.kind.as_str() {
            "volume" => self.project.volumes.get(&volume.source).map_or(&volume.source, |v| &v.name),
            _ => &volume.source,
        };
        let mut mount = ApiMount {
            kind: mount_type(&volume.kind),
            source: source.clone(),
            target: volume.target.clone(),
            read_only: volume.read_only,
            consistency: volume.consistency.clone(),
            ..ApiMount::default()
        };
        match mount.kind {
            MountType::Bind => mount.bind_options = volume.bind.as_ref().map(bind_options),
            MountType::Volume => {
                mount.volume_options = volume.volume.as_ref().map(|v| VolumeOptions {
                    no_copy: v.nocopy,
                    subpath: v.subpath.clone(),
                    labels: (!v.labels.is_empty()).then(|| v.labels.0.clone()),
                    driver_config: None,
                });
            }
            MountType::Tmpfs => {
                mount.tmpfs_options = volume.tmpfs.as_ref().map(|t| TmpfsOptions {
                    size_bytes: t.size.0,
                    mode: t.mode,
                    ..TmpfsOptions::default()
                });
            }
            MountType::Image => {
                mount.image_options =
                    volume.image.as_ref().map(|i| ImageOptions { subpath: i.subpath.clone() });
            }
            _ => {}
        }
        mount
    }

    /// Configs and secrets that are files.
    fn file_mounts(&self) -> Result<Vec<ApiMount>, Error> {
        let mut mounts = Vec::new();
        for secret in &self.service.secrets {
            let Some(object) = self.project.secrets.get(&secret.source).map(|s| &s.0) else { continue };
            if object.external {
                return Err(Error::External { kind: "secret", name: object.name.clone() });
            }
            if !object.driver.is_empty() {
                return Err(Error::Unsupported("secrets.*.driver"));
            }
            if !object.template_driver.is_empty() {
                return Err(Error::Unsupported("secrets.*.template_driver"));
            }
            if object.environment.is_empty() {
                mounts.push(file_mount(&object.file, &target(secret, "/run/secrets/"), true));
            }
        }
        for config in &self.service.configs {
            let Some(object) = self.project.configs.get(&config.source).map(|c| &c.0) else { continue };
            if object.external {
                return Err(Error::External { kind: "config", name: object.name.clone() });
            }
            if !object.driver.is_empty() {
                return Err(Error::Unsupported("configs.*.driver"));
            }
            if !object.template_driver.is_empty() {
                return Err(Error::Unsupported("configs.*.template_driver"));
            }
            if object.environment.is_empty() && object.content.is_empty() {
                mounts.push(file_mount(&object.file, &target(config, "/"), false));
            }
        }
        Ok(mounts)
    }
}

/// How a container is in one of its service's networks: found by its name and, where the service is named, by that and
/// its aliases.
pub fn endpoint(
    of: &Service,
    key: &str,
    container: &str,
    service: Option<&str>,
    links: Vec<String>,
) -> EndpointSettings {
    const INTERFACE: &str = "com.docker.network.endpoint.ifname";
    let mut aliases = vec![container.to_owned()];
    let own = of.networks.get(key).cloned().flatten();
    if let Some(service) = service {
        aliases.push(service.to_owned());
        aliases.extend(own.iter().flat_map(|n| n.aliases.clone()));
    }
    let mut settings =
        EndpointSettings { aliases: Some(aliases), links: some(links), ..EndpointSettings::default() };
    let Some(own) = own else { return settings };
    settings.ipam_config = Some(EndpointIpamConfig {
        ipv4_address: own.ipv4_address.clone(),
        ipv6_address: own.ipv6_address.clone(),
        link_local_ips: some(own.link_local_ips.clone()),
    });
    settings.mac_address.clone_from(&own.mac_address);
    settings.gw_priority = own.gw_priority;
    let mut options = own.driver_opts.0.clone();
    if !own.interface_name.is_empty() {
        options.insert(INTERFACE.into(), own.interface_name.clone());
    }
    settings.driver_opts = (!options.is_empty()).then_some(options);
    settings
}

/// Where a config or secret is in the container.
pub fn target(file: &service::FileMount, folder: &str) -> String {
    match file.target.as_str() {
        "" => format!("{folder}{}", file.source),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("{folder}{relative}"),
    }
}

fn file_mount(source: &str, target: &str, options: bool) -> ApiMount {
    ApiMount {
        kind: MountType::Bind,
        source: source.to_owned(),
        target: target.to_owned(),
        read_only: true,
        bind_options: options.then(BindOptions::default),
        ..ApiMount::default()
    }
}

pub(super) fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    if list.is_empty() { None } else { Some(list) }
}

fn mount_type(name: &str) -> MountType {
    match name {
        "bind" => MountType::Bind,
        "volume" => MountType::Volume,
        "tmpfs" => MountType::Tmpfs,
        "npipe" => MountType::Npipe,
        "cluster" => MountType::Cluster,
        "image" => MountType::Image,
        other => MountType::Unknown(other.to_owned()),
    }
}

fn bind_options(bind: &service::BindOptions) -> BindOptions {
    BindOptions {
        propagation: bind.propagation.clone(),
        create_mountpoint: bind.create_host_path,
        non_recursive: bind.recursive == "disabled",
        read_only_non_recursive: bind.recursive == "writable",
        read_only_force_recursive: bind.recursive == "readonly",
    }
}

/// Whether a port asks for one of the host's.
fn is_fixed(port: &service::Port) -> bool {
    port.published.parse::<u16>().is_ok_and(|port| port != 0)
}

fn protocol(port: &service::Port) -> &str {
    if port.protocol.is_empty() { "tcp" } else { &port.protocol }
}

/// `3000`, `3000/udp`, `3000-3005`.
fn expose(text: &str) -> Vec<String> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match range.split_once('-').map(|(a, b)| (a.parse::<u16>(), b.parse::<u16>())) {
        Some((Ok(first), Ok(last))) => (first..=last).map(|p| format!("{p}/{protocol}")).collect(),
        _ => vec![format!("{range}/{protocol}")],
    }
}

/// Variables as the API takes them; those without a value are only named.
pub fn environment(environment: &Environment) -> Vec<String> {
    let line = |(name, value): (&String, &Option<String>)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    };
    environment.iter().map(line).collect()
}

fn tmpfs(s: &Service) -> Labels {
    let pair = |t: &String| {
        let (path, options) = t.split_once(':').unwrap_or((t, ""));
        (path.to_owned(), options.to_owned())
    };
    s.tmpfs.iter().map(pair).collect()
}

fn log_config(s: &Service) -> LogConfig {
    match &s.logging {
        Some(logging) => LogConfig {
            driver: logging.driver.clone(),
            config: (!logging.options.is_empty()).then(|| logging.options.0.clone()),
        },
        None => LogConfig::default(),
    }
}

fn health(check: &service::HealthCheck) -> HealthConfig {
    let nanos = |d: Option<kind::Duration>| d.map_or(0, |d| d.0);
    let test = if check.disable { vec!["NONE".to_owned()] } else { check.test.0.clone() };
    HealthConfig {
        test: (!test.is_empty()).then(|| test.into()),
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        start_period: nanos(check.start_period),
        start_interval: nanos(check.start_interval),
        retries: check.retries.and_then(|r| i64::try_from(r).ok()).unwrap_or(0),
    }
}
