//! An exec that was begun: its end is recorded, whoever goes away.

use std::sync::Arc;

use dray_runtime::{AttachStreams, ExecStarted};

use super::{Exec, Service};
use crate::container::Error;

/// An exec that counts as running. Dropped before its end was seen (its client has gone, its probe was given up), the
/// service sees to it: else it would count as running for ever.
#[derive(Debug)]
pub(super) struct Watched {
    service: Arc<Service>,
    exec: Arc<Exec>,
}

impl Watched {
    /// An exec whose state says that it runs.
    pub fn new(service: &Arc<Service>, exec: Arc<Exec>) -> Self {
        Self { service: Arc::clone(service), exec }
    }

    /// The exec.
    pub fn exec(&self) -> &Arc<Exec> {
        &self.exec
    }

    /// Has the shim run the program. A failure is the exec's end.
    pub async fn run(
        &self,
        size: Option<[u32; 2]>,
        streams: AttachStreams,
        detach: bool,
    ) -> Result<ExecStarted, Error> {
        self.service.run(&self.exec, size, streams, detach).await
    }

    /// Records its end.
    pub fn ended(&self, code: i32) {
        self.service.ended(&self.exec, code);
    }

    /// Announces what else happens to it.
    pub fn announce(&self, action: &str) {
        self.service.announce(&self.exec, action, &[]);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.exec.state().ended.is_none() {
            self.service.watch_end(&self.exec);
        }
    }
}
