//! Holding containers still while their volume is read.

use std::sync::Arc;

use dray_runtime::Shim;

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
        let frozen = self.hold_still(first)?;
        let held = self.hold(others, work);
        frozen.map_or(Ok(()), Frozen::thaw)?;
        held
    }

    /// Freezes a container, whose lifecycle the caller holds; none if it has ended meanwhile.
    pub(super) fn hold_still(&self, container: &Container) -> Result<Option<Frozen>, Error> {
        let run_dir = self.run_dir(&container.id);
        let Some(shim) = Shim::open(&run_dir) else { return Ok(None) };
        match shim.pause() {
            Ok(()) => Ok(Some(Frozen(shim))),
            Err(_) if has_ended(&shim) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A container that is frozen.
pub(super) struct Frozen(Shim);

impl Frozen {
    /// Lets it go on, unless it has ended: it can be killed as it is.
    pub fn thaw(self) -> Result<(), Error> {
        match self.0.resume() {
            Err(error) if !has_ended(&self.0) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Whether nothing of a container runs any more.
fn has_ended(shim: &Shim) -> bool {
    shim.pids().map_or(true, |pids| pids.is_empty())
}

impl Holder for Service {
    fn while_held(&self, volume: &str, work: &mut dyn FnMut()) -> Result<(), ServiceError> {
        self.hold(&self.writers(volume), work).map_err(|error| ServiceError::new(error.kind(), error))
    }

    fn is_written(&self, volume: &str) -> bool {
        !self.writers(volume).is_empty()
    }
}
