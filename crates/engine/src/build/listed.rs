//! Contexts that a client lists before it sends what is missing here (`POST /build/context`).
//!
//! ```text
//! client                                   daemon
//! POST /build/context  files and times ──► begins to receive it, compares with the last one of the same key
//!                                      ◄── id, which of them are missing
//! POST /build?context=id  a tar of these ► goes on
//! ```
//! A list whose build does not come is forgotten after a while; nothing was changed by then.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dray_build::{ContextDir, Facts, FileKind, Receiving};

use super::{Error, Service};

/// How long a list waits for its build.
const PATIENCE: Duration = Duration::from_secs(300);

/// Lists that wait for their builds.
#[derive(Debug, Default)]
pub(super) struct Listed(Mutex<HashMap<String, (Instant, Receiving)>>);

impl Listed {
    fn waiting(&self) -> MutexGuard<'_, HashMap<String, (Instant, Receiving)>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (since, _)| since.elapsed() < PATIENCE);
        waiting
    }
}

impl Service {
    /// Takes note of what a client has; gives the name of the list and which of the files have to come. Folders and
    /// hard links always have to. Blocks.
    ///
    /// # Errors
    /// [`Error::Context`].
    pub fn list_context(
        &self,
        key: &str,
        description: &str,
        files: impl IntoIterator<Item = (String, Facts)>,
    ) -> Result<(String, Vec<u64>), Error> {
        let mut receiving = self.receive(key, description)?;
        let mut missing = Vec::new();
        for (n, (path, facts)) in (0..).zip(files) {
            let folder = facts.kind() == FileKind::Folder;
            if !receiving.holds(&path, facts) && !folder {
                missing.push(n);
            }
        }
        let id = crate::container::names::new_id();
        self.listed.waiting().insert(id.clone(), (Instant::now(), receiving));
        Ok((id, missing))
    }

    /// The context of a list, with what has come of it.
    pub(super) fn listed_context(&self, id: &str, archive: impl Read + Send) -> Result<ContextDir, Error> {
        let waiting = self.listed.waiting().remove(id);
        let (_, mut receiving) = waiting.ok_or_else(|| Error::NoList(id.to_owned()))?;
        let writer = receiving.writer()?;
        let unpacked = self.unpack_missing(writer, archive)?;
        Ok(receiving.finish(unpacked)?)
    }
}
