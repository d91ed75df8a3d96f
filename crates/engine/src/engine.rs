//! The engine: its configuration, and the services wired to each other.

use std::path::PathBuf;
use std::sync::Arc;

use dray_api::Labels;
use dray_network::Network;
use dray_registry::ClientConfig;
use dray_store::Store;

use crate::{ErrorKind, EventBus, network, volume};

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
    /// Networks.
    pub networks: Arc<network::Service>,
    /// Volumes.
    pub volumes: Arc<volume::Service>,
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
    ///
    /// # Errors
    /// [`OpenError`] naming what cannot be opened.
    pub fn open(config: EngineConfig) -> Result<Arc<Self>, OpenError> {
        for path in [&config.data_root, &config.run_root] {
            std::fs::create_dir_all(path).map_err(|source| OpenError::Root { path: path.clone(), source })?;
        }
        let store = Store::open(&config.data_root)?;
        let events = EventBus::new();
        let network = Network::open(config.network.clone())?;
        let networks = network::Service::open(network, store.clone(), events.clone(), config.dns.clone())?;
        let volumes = volume::Service::open(store.clone(), events.clone(), Arc::new(|_| Vec::new()));
        networks.network().restore_done()?;
        Ok(Arc::new(Engine { networks, volumes, events, config }))
    }

    /// The configuration in use.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Stops serving: what running containers need stays.
    pub fn close(&self) {
        if let Err(error) = self.networks.network().shutdown() {
            tracing::warn!(%error, "shut the networks down");
        }
    }
}
