//! Projects in registries: `-f`, `include` and `extends` may name one as `oci://REPOSITORY[:TAG][@DIGEST]`. Who has
//! credentials and an event loop fetches it; here stands what holds for it.

use std::error::Error as StdError;

use super::switch::NoSwitch;

/// The variable that turns registries off.
pub(super) const ENABLED: &str = "COMPOSE_EXPERIMENTAL_OCI_REMOTE";

/// Why a registry's project cannot be had. The words are Docker Compose's where it has words for it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The user does not want any.
    #[error("OCI remote resource is disabled by \"COMPOSE_EXPERIMENTAL_OCI_REMOTE\"")]
    Disabled,
    /// Neither yes nor no.
    #[error(transparent)]
    Switch(#[from] NoSwitch),
    /// It cannot be fetched.
    #[error("failed to pull OCI resource {reference:?}: {source}")]
    Fetch {
        /// What was named.
        reference: String,
        /// Why not.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// There is no Compose file in it.
    #[error("oci://{0}: no compose.yaml in the artifact")]
    NoFile(String),
    /// This disk fetches nothing.
    #[error("oci://{0}: registries are not asked here")]
    Unsupported(String),
}

/// What a path names in a registry; none if it is the path of a file.
pub(super) fn reference(path: &str) -> Option<&str> {
    path.strip_prefix("oci://")
}
