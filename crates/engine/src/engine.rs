//! The engine: its configuration, and the services wired to each other.

use std::path::PathBuf;
use std::sync::Arc;

use dray_api::Labels;
use dray_image::pull::{PullLimits, Puller};
use dray_image::push::{PushLimits, Pusher};
use dray_image::{ContainerUse, Images, TrustGate};
use dray_network::Network;
use dray_registry::{Client, ClientConfig};
use dray_spec::Digest;
use dray_store::Store;
use tokio::runtime::Handle;

use crate::container::Registry;
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
    /// Layers downloaded at once.
    pub downloads: usize,
    /// Layers uploaded at once.
    pub uploads: usize,
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
    config: EngineConfig,
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

impl Engine {
    /// Opens the services in the order in which they restore: store, networks, volumes, containers.
    /// Blocks; must be called on a blocking thread of a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`] naming what cannot be opened.
    pub fn open(config: EngineConfig) -> Result<Arc<Self>, OpenError> {
        for path in [&config.data_root, &config.run_root] {
            std::fs::create_dir_all(path).map_err(|source| OpenError::Root { path: path.clone(), source })?;
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
        let volumes = open_volumes(&store, &events, &registry);
        let images = open_images(&config, &store, &events, &registry)?;
        let containers = container::Service::new(
            container_config(&config, trust.clone()),
            container::Services {
                registry: Arc::clone(&registry),
                store: store.clone(),
                images: images.clone(),
                networking: networks.clone(),
                volumes: volumes.clone(),
                events: events.clone(),
            },
        )?;
        let execs = exec::Service::new(Arc::clone(&containers));
        let runner = open_runner(&config, &store, trust, &networks, registry)?;
        let builds = build::Service::open(Arc::clone(&images), runner, events.clone());
        Handle::current().block_on(containers.restore())?;
        networks.forget_others()?;
        networks.network().restore_done()?;
        let parts = system::Parts {
            containers: containers.clone(),
            images: Arc::clone(&images),
            networks: Arc::clone(&networks),
            volumes: Arc::clone(&volumes),
            builds: Arc::clone(&builds),
            events: events.clone(),
        };
        let system = system::Service::open(config.clone(), &store, parts)?;
        Ok(Arc::new(Engine { containers, execs, images, networks, volumes, builds, system, events, config }))
    }

    /// The configuration in use.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Stops serving: what running containers need stays.
    pub fn close(&self) {
        self.containers.shut_down();
        if let Err(error) = self.networks.network().shutdown() {
            tracing::warn!(%error, "shut the networks down");
        }
        dray_runtime::cgroup::remove_unused_parent();
    }
}

fn open_volumes(store: &Store, events: &EventBus, registry: &Arc<Registry>) -> Arc<volume::Service> {
    let registry = Arc::clone(registry);
    let users: volume::Users = Arc::new(move |volume| registry.volume_users(volume));
    volume::Service::open(store.clone(), events.clone(), users)
}

fn open_images(
    config: &EngineConfig,
    store: &Store,
    events: &EventBus,
    registry: &Arc<Registry>,
) -> Result<Arc<image::Service>, OpenError> {
    let client = Client::new(config.registry.clone())?;
    let gate = TrustGate::at(&config.trust_policy);
    let limits = PullLimits { downloads: config.downloads, ..PullLimits::default() };
    let puller = Puller::new(store.clone(), client.clone(), limits).guarded(gate);
    let pusher = Pusher::new(store.clone(), client.clone(), PushLimits { uploads: config.uploads });
    let registry = Arc::clone(registry);
    let users: image::Users = Arc::new(move |image: &Digest| {
        let users = registry.image_users(image.as_ref()).into_iter();
        users.map(|user| ContainerUse { id: user.id, running: user.running }).collect()
    });
    let images = Images::new(store.clone());
    let run_root = config.run_root.clone();
    Ok(image::Service::open(images, puller, pusher, client, events.clone(), users, run_root))
}

fn open_runner(
    config: &EngineConfig,
    store: &Store,
    trust: Option<HostTrust>,
    networks: &Arc<network::Service>,
    registry: Arc<Registry>,
) -> Result<build::Runner, OpenError> {
    let config = build::RunnerConfig {
        run_root: config.run_root.clone(),
        exe: config.exe.clone(),
        base_layer: store.root().join("base"),
        cgroup_parent: "/dray".into(),
        trust,
    };
    Ok(build::Runner::open(config, networks.clone(), registry)?)
}

fn container_config(config: &EngineConfig, trust: Option<HostTrust>) -> container::Config {
    container::Config {
        log_driver: config.log_driver.clone(),
        log_options: config.log_options.clone(),
        trust,
        ..container::Config::new(config.run_root.clone(), config.exe.clone())
    }
}
