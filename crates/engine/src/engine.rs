//! The engine: its configuration, and the services wired to each other.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use dray_api::Labels;
use dray_image::pull::{PullLimits, Puller};
use dray_image::push::{PushLimits, Pusher};
use dray_image::{ContainerUse, Images, TrustGate};
use dray_network::Network;
use dray_registry::{Client, ClientConfig, InsecureRegistry};
use dray_spec::Digest;
use dray_store::Store;
use tokio::runtime::Handle;

use crate::cdi::Cdi;
use crate::container::Registry;
use crate::emulator::Emulators;
use crate::trust::HostTrust;
use crate::{ErrorKind, EventBus, build, container, exec, image, network, system, volume};

/// Where an engine lives and what it may use.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Everything that lasts.
    pub data_root: PathBuf,
    /// Everything that a reboot may clear.
    pub run_root: PathBuf,
    /// The program that plays the shim.
    pub exe: PathBuf,
    /// Bridges, pools and the table.
    pub network: dray_network::Config,
    /// How containers resolve names.
    pub dns: network::DnsDefaults,
    /// How registries are reached.
    pub registry: ClientConfig,
    /// The policy that images are held against when they are pulled; without the file all are accepted.
    pub trust_policy: PathBuf,
    /// Make the host's CA certificates available to containers and build steps.
    pub trust_host_ca: bool,
    /// Log driver of containers that name none.
    pub log_driver: String,
    /// Its options.
    pub log_options: Labels,
    /// The daemon's own labels.
    pub labels: Vec<String>,
    /// Whether the daemon logs debug messages.
    pub debug: bool,
    /// What containers get that do not say.
    pub defaults: container::Defaults,
    /// Where volume plugins are looked for.
    pub plugin_dirs: Vec<PathBuf>,
    /// How much of images moves at once.
    pub transfers: Transfers,
    /// What of the build cache is collected.
    pub build_gc: build::GcPolicy,
    /// Which builds the history keeps.
    pub build_history: build::HistoryLimits,
    /// Folders with CDI specifications.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Leave containers running when the daemon stops.
    pub live_restore: bool,
    /// Seconds that containers have to stop with the daemon; none is no limit.
    pub shutdown_timeout: Option<u64>,
    /// The commit that the program is built of, if that is known.
    pub commit: Option<&'static str>,
}

/// How much of images moves at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfers {
    /// Layers downloaded.
    pub downloads: usize,
    /// Layers uploaded.
    pub uploads: usize,
    /// How often a request is tried.
    pub attempts: u32,
}

/// The services, one per noun.
pub struct Engine {
    /// Containers.
    pub containers: Arc<container::Service>,
    /// Programs run in containers.
    pub execs: Arc<exec::Service>,
    /// Images.
    pub images: Arc<image::Service>,
    /// Networks.
    pub networks: Arc<network::Service>,
    /// Volumes.
    pub volumes: Arc<volume::Service>,
    /// Builds.
    pub builds: Arc<build::Service>,
    /// The daemon itself.
    pub system: Arc<system::Service>,
    /// What happened.
    pub events: EventBus,
    emulators: Arc<Emulators>,
    config: RwLock<Arc<EngineConfig>>,
    store: Store,
}

/// Why an engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A root folder cannot be made.
    #[error("create {path}: {source}")]
    Root {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store: its data root is in use, or the disk fails.
    #[error(transparent)]
    Store(#[from] dray_store::Error),
    /// The packets' side.
    #[error(transparent)]
    Network(#[from] dray_network::Error),
    /// The networks.
    #[error("restore networks: {0}")]
    Networks(#[from] network::Error),
    /// The registry client.
    #[error(transparent)]
    Registry(#[from] dray_registry::Error),
    /// The containers.
    #[error("restore containers: {0}")]
    Containers(#[from] container::Error),
    /// No certificates to trust.
    #[error("--trust-host-ca: this host has no bundle of CA certificates where distributions keep it")]
    NoHostCa,
}

impl OpenError {
    /// Which kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::System
    }
}

/// Makes a folder, and takes from one that is there what it gives to others than this mode does. What lies below the
/// data root is nobody else's: variables and logs of containers, and programs of images that would run as root on the
/// host if anybody could reach them.
fn open_to(mode: u32, path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Root { path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed)?;
    let found = path.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    let others = found & 0o007;
    if others & !mode != 0 {
        let kept = std::fs::Permissions::from_mode(found & !0o007 | others & mode);
        std::fs::set_permissions(path, kept).map_err(failed)?;
    }
    Ok(())
}

impl Engine {
    /// Opens the services in the order in which they restore: store, networks, volumes, containers.
    /// Blocks; must be called on a blocking thread of a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`] naming what cannot be opened.
    pub fn open(config: EngineConfig) -> Result<Arc<Self>, OpenError> {
        // The sockets in it are others' too, if they are of the right group.
        open_to(0o755, &config.run_root)?;
        let (runs, images) = (config.run_root.join("c"), config.run_root.join("image"));
        for path in [&config.data_root, &runs, &images] {
            open_to(0o710, path)?;
        }
        let trust = match config.trust_host_ca {
            true => Some(HostTrust::detect().ok_or(OpenError::NoHostCa)?),
            false => None,
        };
        let store = Store::open(&config.data_root)?;
        let events = EventBus::new();
        let registry = Arc::new(Registry::new());
        let network = Network::open(config.network.clone())?;
        let networks = network::Service::open(network, store.clone(), events.clone(), config.dns.clone())?;
        let volumes = open_volumes(&config, &store, &events, &registry);
        let images = open_images(&config, &store, &events, &registry)?;
        let emulators = Arc::new(Emulators::open(&config.run_root));
        let containers = container::Service::new(
            container_config(&config, trust.clone()),
            container::Services {
                registry: Arc::clone(&registry),
                store: store.clone(),
                images: images.clone(),
                networking: networks.clone(),
                volumes: volumes.clone(),
                emulators: Arc::clone(&emulators),
                events: events.clone(),
            },
        )?;
        let holder: Weak<dyn volume::Holder> =
            Arc::downgrade(&(Arc::clone(&containers) as Arc<dyn volume::Holder>));
        volumes.set_holder(holder);
        let execs = exec::Service::new(Arc::clone(&containers));
        let runner = open_runner(&config, &store, trust, &networks, registry, &emulators)?;
        let builds = build::Service::open(Arc::clone(&images), runner, events.clone());
        builds.set_gc_policy(config.build_gc.clone());
        builds.history().set_limits(config.build_history);
        let returning = Handle::current().block_on(containers.restore())?;
        networks.forget_others()?;
        networks.network().restore_done()?;
        containers.come_back(returning);
        let parts = system::Parts {
            containers: containers.clone(),
            images: Arc::clone(&images),
            networks: Arc::clone(&networks),
            volumes: Arc::clone(&volumes),
            builds: Arc::clone(&builds),
            events: events.clone(),
        };
        let system = system::Service::open(config.clone(), &store, parts)?;
        let config = RwLock::new(Arc::new(config));
        Ok(Arc::new(Engine {
            containers,
            execs,
            images,
            networks,
            volumes,
            builds,
            system,
            emulators,
            events,
            config,
            store,
        }))
    }

    /// The configuration in use.
    #[must_use]
    pub fn config(&self) -> Arc<EngineConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what of a new configuration can change while containers run, as Docker does: debug messages, labels,
    /// registries and mirrors, the bounds of transfers, what becomes of containers at the end. Everything else stays
    /// as it is until a restart.
    ///
    /// # Errors
    /// If registries cannot be reached as it says; nothing has changed then.
    pub fn reload(&self, new: &EngineConfig) -> Result<(), OpenError> {
        let config = EngineConfig {
            debug: new.debug,
            labels: new.labels.clone(),
            registry: new.registry.clone(),
            transfers: new.transfers,
            live_restore: new.live_restore,
            shutdown_timeout: new.shutdown_timeout,
            ..EngineConfig::clone(&self.config())
        };
        self.images.set_remote(open_remote(&config, &self.store)?);
        self.system.set_config(config.clone());
        self.announce_reload(&config);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(())
    }

    fn announce_reload(&self, config: &EngineConfig) {
        let list = |items: &mut dyn Iterator<Item = String>| {
            serde_json::to_string(&items.collect::<Vec<_>>()).unwrap_or_default()
        };
        let insecure = config.registry.insecure.iter().map(|registry| match registry {
            InsecureRegistry::Cidr(network) => network.to_string(),
            InsecureRegistry::Host(name) => name.clone(),
        });
        let attributes = [
            ("name", self.system.info().name),
            ("debug", config.debug.to_string()),
            ("labels", list(&mut config.labels.iter().cloned())),
            ("insecure-registries", list(&mut { insecure })),
            ("registry-mirrors", list(&mut config.registry.mirrors.iter().cloned())),
            ("live-restore", config.live_restore.to_string()),
            ("max-concurrent-downloads", config.transfers.downloads.to_string()),
            ("max-concurrent-uploads", config.transfers.uploads.to_string()),
            ("max-download-attempts", config.transfers.attempts.to_string()),
            ("shutdown-timeout", config.shutdown_timeout.map_or_else(|| "-1".into(), |s| s.to_string())),
        ];
        let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        self.events.publish("daemon", "reload", &self.system.info().id, attributes);
    }

    /// Stops serving. With live restore what running containers need stays; without it they are stopped, and those
    /// that do not end in time are killed.
    pub async fn stop_containers(&self) {
        self.containers.shut_down();
        let config = self.config();
        if !config.live_restore {
            self.containers.stop_all(config.shutdown_timeout).await;
        }
    }

    /// The end, after [`Engine::stop_containers`]. Blocks.
    pub fn close(&self) {
        if let Err(error) = self.networks.network().shutdown() {
            tracing::warn!(%error, "shut the networks down");
        }
        self.emulators.close();
        dray_runtime::cgroup::remove_unused_parent(dray_runtime::cgroup::PARENT);
        dray_runtime::cgroup::remove_unused_parent(&self.config().defaults.cgroup_parent);
    }
}

fn open_volumes(
    config: &EngineConfig,
    store: &Store,
    events: &EventBus,
    registry: &Arc<Registry>,
) -> Arc<volume::Service> {
    let registry = Arc::clone(registry);
    let users: volume::Users = Arc::new(move |volume| registry.volume_users(volume));
    let plugins = volume::Plugins::at(config.plugin_dirs.clone());
    volume::Service::open(store.clone(), events.clone(), users, plugins)
}

fn open_images(
    config: &EngineConfig,
    store: &Store,
    events: &EventBus,
    registry: &Arc<Registry>,
) -> Result<Arc<image::Service>, OpenError> {
    let remote = open_remote(config, store)?;
    let registry = Arc::clone(registry);
    let users: image::Users = Arc::new(move |image: &Digest| {
        let users = registry.image_users(image.as_ref()).into_iter();
        users.map(|user| ContainerUse { id: user.id, running: user.running }).collect()
    });
    let images = Images::new(store.clone());
    let run_root = config.run_root.clone();
    Ok(image::Service::open(images, remote, events.clone(), users, run_root))
}

fn open_remote(config: &EngineConfig, store: &Store) -> Result<image::Remote, OpenError> {
    let Transfers { downloads, uploads, attempts } = config.transfers;
    let mut registry = config.registry.clone();
    registry.retry.attempts = attempts;
    let client = Client::new(registry)?;
    let limits = PullLimits { downloads, ..PullLimits::default() };
    let gate = TrustGate::at(&config.trust_policy);
    Ok(image::Remote {
        puller: Puller::new(store.clone(), client.clone(), limits).guarded(gate),
        pusher: Pusher::new(store.clone(), client.clone(), PushLimits { uploads }),
        client,
    })
}

fn open_runner(
    config: &EngineConfig,
    store: &Store,
    trust: Option<HostTrust>,
    networks: &Arc<network::Service>,
    registry: Arc<Registry>,
    emulators: &Arc<Emulators>,
) -> Result<build::Runner, OpenError> {
    let config = build::RunnerConfig {
        run_root: config.run_root.clone(),
        exe: config.exe.clone(),
        base_layer: store.root().join("base"),
        cgroup_parent: "/dray".into(),
        trust,
        cdi: Cdi::at(config.cdi_spec_dirs.clone()),
    };
    Ok(build::Runner::open(config, networks.clone(), registry, Arc::clone(emulators))?)
}

fn container_config(config: &EngineConfig, trust: Option<HostTrust>) -> container::Config {
    container::Config {
        log_driver: config.log_driver.clone(),
        log_options: config.log_options.clone(),
        trust,
        defaults: config.defaults.clone(),
        cdi: Cdi::at(config.cdi_spec_dirs.clone()),
        ..container::Config::new(config.run_root.clone(), config.exe.clone())
    }
}
