//! Docker Compose itself, as the reference: built once from the Go module proxy and kept in the target folder.

use std::path::PathBuf;

use crate::{cache_dir, golang};

/// The version that is built.
pub const VERSION: &str = "v2.40.3";

/// Docker Compose, if it has been built or `DRAY_COMPOSE_REFERENCE` names one.
pub fn reference_if_built() -> Option<PathBuf> {
    let named = std::env::var_os("DRAY_COMPOSE_REFERENCE").map(PathBuf::from);
    named.or_else(|| Some(cache_dir().join(name()))).filter(|path| path.exists())
}

/// Docker Compose, built if it is not there.
pub fn reference() -> PathBuf {
    reference_if_built().unwrap_or_else(|| {
        golang::program_in_place(&format!("github.com/docker/compose/v2@{VERSION}"), "./cmd", &name())
    })
}

fn name() -> String {
    format!("docker-compose-{VERSION}")
}
