//! Creating a container: everything is checked before anything is made, and what is made is durable
//! before it is acknowledged.

use std::sync::Arc;

use dray_api::Labels;
use dray_api::container::{ContainerCreateRequest, CreateResponse, HostConfig};
use jiff::Timestamp;

use super::images::ContainerImage;
use super::live::Container;
use super::record::Record;
use super::service::{KIND, Service};
use super::validate::{self, Invalid, Namespace, namespace};
use super::{Error, merge, names, spec};
use crate::log::Driver;

impl Service {
    /// Creates a container. `name` is none for a made-up one; `platform` is that of `docker create
    /// --platform`.
    ///
    /// # Errors
    /// `InvalidParameter` for anything in the request that cannot be, `NotFound` for the image,
    /// `Conflict` for the name.
    pub async fn create(
        self: &Arc<Self>,
        name: Option<String>,
        platform: Option<String>,
        request: ContainerCreateRequest,
    ) -> Result<CreateResponse, Error> {
        self.blocking(move |service| service.create_now(name.as_deref(), platform.as_deref(), request, None))
            .await
    }

    /// Creates a container on this thread, of an image that the request gives by its id and that is called so. Gives the
    /// container's id.
    pub(super) fn create_like(
        &self,
        name: &str,
        platform: Option<&str>,
        request: ContainerCreateRequest,
        image: &str,
    ) -> Result<String, Error> {
        self.create_now(Some(name), platform, request, Some(image)).map(|made| made.id)
    }

    fn create_now(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        request: ContainerCreateRequest,
        image_name: Option<&str>,
    ) -> Result<CreateResponse, Error> {
        let ContainerCreateRequest { mut config, host_config, networking_config } = request;
        let mut host = host_config.unwrap_or_default();
        if host.restart_policy.name.is_empty() {
            host.restart_policy.name = "no".into();
        }
        self.default_log(&mut host);
        validate::config(&mut config)?;
        let warnings = validate::host_config(&mut host, &self.host)?;
        let id = names::new_id();
        let image = match config.image.as_str() {
            "" => ContainerImage::default(),
            called => self.images.claim(called, platform, &id)?,
        };
        // Until the record is written, which holds the layers and makes the container a user of the image.
        let _claim = image.claim;
        if let Some(name) = image_name {
            name.clone_into(&mut config.image);
        }
        self.adapt(&mut host);
        merge::merge(&mut config, &image.config);
        merge::require_command(&mut config)?;
        self.check_links(&host)?;
        let endpoints =
            networking_config.and_then(|networking| networking.endpoints_config).unwrap_or_default();
        let endpoints =
            endpoints.into_iter().map(|(name, settings)| (name, settings.unwrap_or_default())).collect();
        let endpoints = match namespace(&host.network_mode) {
            Namespace::Container(_) => std::collections::BTreeMap::new(),
            _ => self.networking.plan(&host.network_mode, endpoints)?,
        };
        if let Namespace::Container(called) = namespace(&host.network_mode)
            && let Ok(target) = self.registry.find(&called)
        {
            // Who shares a network goes by the name that network knows.
            (config.hostname, config.domainname) =
                target.with(|other| (other.config.hostname.clone(), other.config.domainname.clone()));
        }
        if config.hostname.is_empty() {
            config.hostname = default_hostname(&id, &host);
        }
        let (path, args) = merge::command(&config);
        let record = Record {
            name: self.registry.reserve(name, &id)?,
            created: Timestamp::now(),
            path,
            args,
            config,
            host,
            image: image.id,
            layers: image.layers,
            platform: if image.platform.is_empty() { "linux".into() } else { image.platform },
            endpoints,
            id,
            ..Record::default()
        };
        let (id, name) = (record.id.clone(), record.name.clone());
        let made = self.make(record);
        self.volumes.settle(&id);
        made.inspect_err(|_| self.registry.release(&name, &id))?;
        Ok(CreateResponse { id, warnings })
    }

    /// Makes folders and volumes and writes the record. What was made is taken away on failure.
    fn make(&self, mut record: Record) -> Result<(), Error> {
        record.mounts = self.resolve_mounts(&record.id, &record.config, &record.host)?;
        let undo = |error: Error| {
            let _ = dray_store::remove_tree(&self.folder(&record.id));
            self.volumes.settle(&record.id);
            let anonymous = record.mounts.iter().filter(|point| point.anonymous);
            anonymous.for_each(|point| self.volumes.remove_anonymous(&point.name, &record.id));
            error
        };
        self.make_folders(&record).map_err(undo)?;
        self.fill_volumes(&record).map_err(undo)?;
        let stored = self.store.records().batch(|tx| {
            tx.put(KIND, &record.id, Some(&record.name), &record)?;
            let mounted = record.mounts.iter().flat_map(|point| &point.layers);
            tx.hold(&record.id, &record.layers.iter().chain(mounted).copied().collect::<Vec<_>>())
        });
        stored.map_err(|error| undo(error.into()))?;
        let container = Arc::new(Container::new(record));
        self.registry.insert(Arc::clone(&container));
        self.networking.know(&self.networked(&container.record()));
        self.announce(&container, "create", &[]);
        Ok(())
    }

    fn make_folders(&self, record: &Record) -> Result<(), Error> {
        let layers = self.layers(record);
        for folder in [&layers.upper, &layers.work] {
            std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let folder = self.folder(&record.id);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o710);
        std::fs::set_permissions(&folder, mode).map_err(Error::io("set mode of", &folder))
    }

    fn default_log(&self, host: &mut HostConfig) {
        let log = &mut host.log_config;
        if log.driver.is_empty() {
            log.driver.clone_from(&self.config.log_driver);
        }
        let options = log.config.get_or_insert_with(Labels::new);
        if log.driver == self.config.log_driver {
            for (option, value) in &self.config.log_options {
                options.entry(option.clone()).or_insert_with(|| value.clone());
            }
        }
    }

    /// What Docker fills in where a request says nothing.
    fn adapt(&self, host: &mut HostConfig) {
        let defaults = &self.config.defaults;
        let limits = &mut host.resources;
        for default in &defaults.ulimits {
            let own = limits.ulimits.get_or_insert_default();
            if !own.iter().any(|limit| limit.name == default.name) {
                own.push(default.clone());
            }
        }
        if limits.memory > 0 && limits.memory_swap == 0 {
            limits.memory_swap = limits.memory * 2;
        }
        limits.oom_kill_disable.get_or_insert(false);
        if host.shm_size == 0 {
            host.shm_size = defaults.shm_size;
        }
        if host.network_mode.is_empty() {
            host.network_mode = "default".into();
        }
        if host.ipc_mode.is_empty() {
            host.ipc_mode.clone_from(&defaults.ipc_mode);
        }
        if host.cgroupns_mode.is_empty() {
            let shared = !self.host.cgroup_v2;
            let usual = if shared { "host" } else { "private" };
            host.cgroupns_mode = defaults.cgroupns_mode.clone().unwrap_or_else(|| usual.into());
        }
        if host.runtime.is_empty() {
            host.runtime.clone_from(&defaults.runtime);
        }
        if !host.privileged {
            let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
            host.masked_paths.get_or_insert_with(|| owned(spec::MASKED));
            host.readonly_paths.get_or_insert_with(|| owned(spec::READ_ONLY));
        }
        for mode in [&mut host.network_mode, &mut host.pid_mode, &mut host.ipc_mode] {
            if let Namespace::Container(called) = namespace(mode)
                && let Ok(container) = self.registry.find(&called)
            {
                *mode = format!("container:{}", container.id);
            }
        }
    }

    fn check_links(&self, host: &HostConfig) -> Result<(), Error> {
        for link in host.links.iter().flatten() {
            let called = link.split(':').next().unwrap_or_default();
            if called.is_empty() {
                return Err(Invalid::Link(link.clone()).into());
            }
            self.registry.find(called).map_err(|_| Invalid::LinkTarget(called.to_owned()))?;
        }
        Ok(())
    }
}

/// The host's name when its network is shared, else the beginning of the id.
fn default_hostname(id: &str, host: &HostConfig) -> String {
    let short = || id[..12].to_owned();
    if host.network_mode != "host" {
        return short();
    }
    rustix::system::uname().nodename().to_str().map_or_else(|_| short(), str::to_owned)
}

/// Checks that a log driver of a record can be used; used at start.
pub(super) fn log_driver(host: &HostConfig) -> Result<Driver, Error> {
    let none = Labels::new();
    Ok(Driver::parse(&host.log_config.driver, host.log_config.config.as_ref().unwrap_or(&none))?)
}
