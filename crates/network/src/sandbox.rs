//! A container's network namespace, bound at `<run-root>/netns/<container id>`.

use std::path::{Path, PathBuf};

/// A container's network namespace.
#[derive(Clone, Debug)]
pub struct Sandbox {
    container_id: String,
    path: PathBuf,
}

impl Sandbox {
    /// The container it belongs to.
    #[must_use]
    pub fn container_id(&self) -> &str {
        &self.container_id
    }

    /// Where the namespace is bound: what the OCI configuration's network namespace path says.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
