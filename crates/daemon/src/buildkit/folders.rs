//! Folders of a client that are contexts by name, fetched when a step first needs one.

use std::collections::HashMap;
use std::sync::Arc;

use dray_build::{Cancel, ContextDir, ContextSource, NamedContextError};
use dray_buildkit::grpc::Status;
use tokio::runtime::Handle;

use super::BuildKit;
use super::attrs::{Folder, Frontend};
use super::job::Job;

struct Folders {
    kit: Arc<BuildKit>,
    job: Arc<Job>,
    /// Folders that are here already.
    given: HashMap<String, ContextDir>,
    /// The sessions of folders that are not the build's.
    sessions: HashMap<String, String>,
    handle: Handle,
}

impl BuildKit {
    /// The folders of a job's client.
    pub(super) fn folders(self: &Arc<Self>, job: &Arc<Job>, wanted: &Frontend) -> Arc<dyn ContextSource> {
        Arc::new(Folders {
            kit: Arc::clone(self),
            job: Arc::clone(job),
            given: wanted.given.clone(),
            sessions: wanted.folders.clone(),
            handle: Handle::current(),
        })
    }
}

impl Folders {
    async fn fetched(&self, folder: &Folder, shown: &str) -> Result<ContextDir, Status> {
        let (kit, job) = (&self.kit, &self.job);
        let vertex = format!("[context {shown}] load .dockerignore");
        let ignore = kit.fetch_ignore(job, folder, &vertex).await?;
        let vertex = format!("[context {shown}] load from client");
        kit.fetch_context(job, folder, &ignore, &vertex).await
    }
}

impl ContextSource for Folders {
    fn directory(&self, name: &str, shown: &str, _: &Cancel) -> Result<ContextDir, NamedContextError> {
        if let Some(given) = self.given.get(name) {
            return Ok(given.clone());
        }
        let folder = Folder { name: name.to_owned(), session: self.sessions.get(name).cloned() };
        let failed = |status| NamedContextError::Source { name: shown.to_owned(), source: Box::new(status) };
        self.handle.block_on(self.fetched(&folder, shown)).map_err(failed)
    }
}
