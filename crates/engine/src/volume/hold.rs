//! Holding a volume's users still while it is read, so that what is read is of one moment.

use dray_api::Labels;

use super::{Error, Service};
use crate::ServiceError;

/// Who can freeze containers: implemented by the container service.
pub trait Holder: Send + Sync {
    /// Does `work` while all running containers that may write to the volume are frozen. Those that were frozen before
    /// stay so, the others go on afterwards whatever happens.
    ///
    /// # Errors
    /// When a container cannot be frozen; `work` was not done then.
    fn while_held(&self, volume: &str, work: &mut dyn FnMut()) -> Result<(), ServiceError>;

    /// Whether a running container may write to the volume.
    fn is_written(&self, volume: &str) -> bool;
}

/// What happens to running containers while their volume is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// They are frozen as long as needed.
    Pause,
    /// They go on.
    None,
}

impl Service {
    /// Does `work` with the volume's users held.
    pub(super) fn held<T>(
        &self,
        name: &str,
        hold: Hold,
        mut work: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Some(holder) = self.holder().filter(|_| hold == Hold::Pause) else { return work() };
        let mut done = None;
        let held = holder.while_held(name, &mut || done = Some(work()));
        held.map_err(|source| Error::Hold { name: name.to_owned(), source })?;
        done.unwrap_or(Err(Error::Interrupted("the work on a held volume")))
    }

    pub(super) fn holder(&self) -> Option<std::sync::Arc<dyn Holder>> {
        self.holder.get()?.upgrade()
    }

    /// Claims a volume that is there and makes it ready for reading; it can be neither removed nor renamed until the
    /// reading is dropped.
    pub(super) fn reading(&self, name: &str, why: &str) -> Result<Reading<'_>, Error> {
        let user = format!("{why}-{}", crate::container::names::new_id());
        {
            let _changing = self.changing(name);
            self.find(name)?;
            self.claim(name, &user);
        }
        let mut reading = Reading { service: self, name: name.to_owned(), user, path: Default::default() };
        reading.path = self.mount_for(name, &reading.user)?;
        Ok(reading)
    }

    pub(super) fn announce_with(&self, action: &str, name: &str, more: &[(&str, String)]) {
        let mut attributes = Labels::from([("driver".to_owned(), "local".to_owned())]);
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.events.publish("volume", action, name, attributes);
    }
}

/// A volume that is being read.
pub(super) struct Reading<'a> {
    service: &'a Service,
    name: String,
    user: String,
    /// Where its content is.
    pub path: std::path::PathBuf,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.service.unmount_for(&self.name, &self.user) {
            tracing::warn!(%error, volume = self.name, "unmount");
        }
        self.service.unclaim(&self.user);
    }
}
