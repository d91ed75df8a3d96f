//! Holding containers still while their volume is read.

use std::sync::Arc;

use super::Error;
use super::live::Container;
use super::service::Service;
use crate::ServiceError;
use crate::volume::Holder;

impl Service {
    /// The containers that run and may write to the volume, in the order in which they are locked.
    fn writers(&self, volume: &str) -> Vec<Arc<Container>> {
        let writes = |container: &Arc<Container>| {
            let mounted = |record: &super::record::Record| {
                record.mounts.iter().any(|mount| mount.name == volume && mount.rw)
            };
            container.is_up() && container.with(mounted)
        };
        self.registry.all().into_iter().filter(writes).collect()
    }

    /// Freezes the first, holds the others, and lets the first go on again.
    fn hold(&self, containers: &[Arc<Container>], work: &mut dyn FnMut()) -> Result<(), Error> {
        let Some((first, others)) = containers.split_first() else {
            work();
            return Ok(());
        };
        // Nothing can be started, stopped or removed meanwhile.
        let _order = first.lifecycle.blocking_lock();
        if !first.is_up() || first.with(|record| record.state.paused) {
            return self.hold(others, work);
        }
        let shim = self.shim(first)?;
        shim.pause()?;
        let held = self.hold(others, work);
        shim.resume()?;
        held
    }
}

impl Holder for Service {
    fn while_held(&self, volume: &str, work: &mut dyn FnMut()) -> Result<(), ServiceError> {
        self.hold(&self.writers(volume), work).map_err(|error| ServiceError::new(error.kind(), error))
    }

    fn is_written(&self, volume: &str) -> bool {
        !self.writers(volume).is_empty()
    }
}
