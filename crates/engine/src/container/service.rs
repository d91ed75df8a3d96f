//! The service of containers: what it is given, and how its work is run.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use dray_api::Labels;
use dray_api::container::Ulimit;
use dray_store::Store;
use tokio::runtime::Handle;

use super::Error;
use super::autoscale::Autoscaler;
use super::health::Prober;
use super::host::Host;
use super::images::ContainerImages;
use super::live::Container;
use super::networking::{ContainerNetworking, Link, NetworkedContainer};
use super::record::Record;
use super::registry::Registry;
use super::rootfs::{Layers, make_base_layer};
use super::volumes::ContainerVolumes;
use crate::emulator::Emulators;
use crate::event::EventBus;
use crate::trust::HostTrust;

/// Kind of the records in the store.
pub const KIND: &str = "container";

/// Settings of the daemon that containers depend on.
#[derive(Debug, Clone)]
pub struct Config {
    /// `<run-root>`: run directories are made in `c/` below it.
    pub run_root: PathBuf,
    /// The `dray` binary, run as shim.
    pub exe: PathBuf,
    /// Log driver of containers that name none.
    pub log_driver: String,
    /// Its options.
    pub log_options: Labels,
    /// What containers get that do not say.
    pub defaults: Defaults,
    /// Seconds before a stop becomes a kill, for containers that do not say.
    pub stop_timeout: i64,
    /// The host's certificates for containers, when the daemon was told to trust them.
    pub trust: Option<HostTrust>,
    /// Devices by name.
    pub cdi: crate::cdi::Cdi,
    /// Print how long each step of a start took (`DRAY_TRACE=1`).
    pub trace: bool,
}

/// What containers get that do not say.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Where their cgroups are made.
    pub cgroup_parent: String,
    /// Size of `/dev/shm`.
    pub shm_size: i64,
    /// Run an init.
    pub init: bool,
    /// Limits of the process.
    pub ulimits: Vec<Ulimit>,
    /// `private` or `shareable`.
    pub ipc_mode: String,
    /// `private` or `host`; with none it depends on the host's cgroups.
    pub cgroupns_mode: Option<String>,
    /// Programs cannot gain rights.
    pub no_new_privileges: bool,
    /// The seccomp profile: `unconfined`, or JSON; none is the built-in one.
    pub seccomp: Option<String>,
    /// The runtime's name.
    pub runtime: String,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            cgroup_parent: "/dray".into(),
            shm_size: 64 * 1024 * 1024,
            init: false,
            ulimits: Vec::new(),
            ipc_mode: "private".into(),
            cgroupns_mode: None,
            no_new_privileges: false,
            seccomp: None,
            runtime: "dray".into(),
        }
    }
}

impl Config {
    /// Docker's defaults.
    pub fn new(run_root: PathBuf, exe: PathBuf) -> Self {
        Self {
            run_root,
            exe,
            log_driver: "json-file".into(),
            log_options: Labels::new(),
            defaults: Defaults::default(),
            stop_timeout: 10,
            trust: None,
            cdi: crate::cdi::Cdi::default(),
            trace: std::env::var_os("DRAY_TRACE").is_some_and(|value| value == "1"),
        }
    }
}

/// What the service works with.
#[derive(Clone)]
pub struct Services {
    /// The containers in memory; shared with those who ask who uses what.
    pub registry: Arc<Registry>,
    /// Records and folders.
    pub store: Store,
    /// Images to make containers from.
    pub images: Arc<dyn ContainerImages>,
    /// Networks to join them to.
    pub networking: Arc<dyn ContainerNetworking>,
    /// Volumes to mount in them.
    pub volumes: Arc<dyn ContainerVolumes>,
    /// What runs programs of other platforms.
    pub emulators: Arc<Emulators>,
    /// Where what happens is announced.
    pub events: EventBus,
}

/// The service. Its methods take and give the types of the API.
pub struct Service {
    pub(super) config: Config,
    pub(super) registry: Arc<Registry>,
    pub(super) store: Store,
    pub(super) images: Arc<dyn ContainerImages>,
    pub(super) networking: Arc<dyn ContainerNetworking>,
    pub(super) volumes: Arc<dyn ContainerVolumes>,
    pub(super) emulators: Arc<Emulators>,
    pub(super) events: EventBus,
    pub(super) host: Host,
    pub(super) runtime: Handle,
    base_layer: PathBuf,
    shutting_down: AtomicBool,
    pub(super) pruning: AtomicBool,
    pub(super) prober: OnceLock<Arc<dyn Prober>>,
    pub(super) autoscaler: Autoscaler,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Service {
    /// Makes the service. Must be called inside a tokio runtime; containers are read by
    /// [`Service::restore`].
    ///
    /// # Errors
    /// When its folders cannot be made.
    pub fn new(config: Config, services: Services) -> Result<Arc<Self>, Error> {
        let base_layer = services.store.root().join("base");
        make_base_layer(&base_layer)?;
        let run = config.run_root.join("c");
        std::fs::create_dir_all(&run).map_err(Error::io("create", &run))?;
        Ok(Arc::new(Self {
            host: Host::detect(),
            runtime: Handle::current(),
            registry: services.registry,
            store: services.store,
            images: services.images,
            networking: services.networking,
            volumes: services.volumes,
            emulators: services.emulators,
            events: services.events,
            base_layer,
            shutting_down: AtomicBool::new(false),
            pruning: AtomicBool::new(false),
            prober: OnceLock::new(),
            autoscaler: Autoscaler::default(),
            config,
        }))
    }

    /// The containers in memory.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// From now on no container is restarted: the daemon goes, its containers stay.
    pub fn shut_down(&self) {
        self.shutting_down.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }

    /// Where work goes on that no request waits for.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs blocking work on a thread for it.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let service = Arc::clone(self);
        match self.runtime.spawn_blocking(move || work(&service)).await {
            Ok(done) => done,
            Err(error) => Err(Error::Interrupted(error.to_string())),
        }
    }

    /// Carries a request of several steps to its end though its client hangs up in the middle: half a restart is a
    /// container that is down, half a removal one that cannot be removed.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.runtime.spawn(work).await;
        done.unwrap_or_else(|error| Err(Error::Interrupted(error.to_string())))
    }

    /// Where a container's long-lived files are.
    pub(super) fn folder(&self, id: &str) -> PathBuf {
        self.store.container_dir(id)
    }

    /// Where its shim lives.
    pub(super) fn run_dir(&self, id: &str) -> PathBuf {
        self.config.run_root.join("c").join(id)
    }

    /// The folders its root is made of.
    pub(super) fn layers(&self, record: &Record) -> Layers {
        let folder = self.folder(&record.id);
        let mut lower = self.store.layers().folders_of(record.layers.iter().rev());
        lower.push(self.base_layer.clone());
        Layers { lower, upper: folder.join("upper"), work: folder.join("work") }
    }

    /// Writes a record so that it survives the end of this process, if not the machine's: what a
    /// container is doing means nothing after a reboot.
    pub(super) fn save_state(&self, container: &Container) {
        let _saving = container.saving();
        if container.live().removed {
            return;
        }
        let record = container.record();
        if let Err(error) = self.store.records().put_relaxed(KIND, &record.id, Some(&record.name), &record) {
            tracing::error!(container = record.id, %error, "cannot save the state of a container");
        }
    }

    /// Changes a record durably: on the disk, then in memory. What else happens to it meanwhile (a signal, a health
    /// check) is neither lost nor written back.
    ///
    /// # Errors
    /// When it was removed meanwhile, or cannot be written.
    pub(super) fn amend(&self, container: &Container, change: impl Fn(&mut Record)) -> Result<(), Error> {
        let _saving = container.saving();
        if container.live().removed {
            return Err(Error::NotFound(container.id.clone()));
        }
        let mut record = container.record();
        change(&mut record);
        self.store.records().put(KIND, &record.id, Some(&record.name), &record)?;
        change(&mut container.live().record);
        Ok(())
    }

    /// Announces something that happened to a container.
    pub(crate) fn announce(&self, container: &Container, action: &str, more: &[(&str, String)]) {
        let mut attributes = container.attributes();
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.events.publish("container", action, &container.id, attributes);
    }

    /// The container as the network sees it.
    pub(super) fn networked(&self, record: &Record) -> NetworkedContainer {
        let host = &record.host;
        NetworkedContainer {
            id: record.id.clone(),
            name: record.name.clone(),
            hostname: record.config.hostname.clone(),
            domainname: record.config.domainname.clone(),
            labels: record.config.labels.clone().unwrap_or_default(),
            mode: if record.config.network_disabled { "none".into() } else { host.network_mode.clone() },
            endpoints: record.endpoints.clone(),
            bindings: host.port_bindings.clone().unwrap_or_default(),
            exposed: record.config.exposed_ports.clone().unwrap_or_default(),
            publish_all: host.publish_all_ports,
            dns: host.dns.clone().unwrap_or_default(),
            dns_search: host.dns_search.clone().unwrap_or_default(),
            dns_options: host.dns_options.clone().unwrap_or_default(),
            extra_hosts: host.extra_hosts.clone().unwrap_or_default(),
            links: self.links(record),
        }
    }

    /// The legacy links of a container, as they stand now.
    fn links(&self, record: &Record) -> Vec<Link> {
        let one = |raw: &String| {
            let (called, alias) = raw.split_once(':').unwrap_or((raw, raw));
            let alias = alias.rsplit('/').next().unwrap_or(alias);
            let target = self.registry.find(called).ok()?;
            Some(target.with(|linked| Link {
                id: linked.id.clone(),
                name: linked.name.clone(),
                hostname: linked.config.hostname.clone(),
                alias: alias.to_owned(),
                ip: linked.endpoints.values().map(|e| e.ip_address.clone()).find(|ip| !ip.is_empty()),
            }))
        };
        record.host.links.iter().flatten().filter_map(one).collect()
    }

    /// Path of the newest log file of a container.
    pub(super) fn log_file(&self, record: &Record) -> PathBuf {
        let folder = self.folder(&record.id);
        match record.host.log_config.driver.as_str() {
            "local" => folder.join("local-logs").join("container.log"),
            _ => folder.join(format!("{}-json.log", record.id)),
        }
    }

    /// A scratch folder for looking into stopped containers.
    pub(super) fn scratch(&self) -> PathBuf {
        Path::new(&self.config.run_root).join("root")
    }
}
