//! The engine: its configuration, and the services wired to each other.

use std::path::PathBuf;
use std::sync::Arc;

/// Where an engine lives and what it may use.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Everything that lasts.
    pub data_root: PathBuf,
    /// Everything that a reboot may clear.
    pub run_root: PathBuf,
}

/// The services, one per noun.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
}

impl Engine {
    /// Opens the services in the order in which they restore: store, networks, volumes, containers.
    #[must_use]
    pub fn open(config: EngineConfig) -> Arc<Self> {
        Arc::new(Engine { config })
    }

    /// The configuration in use.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }
}
