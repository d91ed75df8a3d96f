//! What the tests share: private daemons, clients, test images, registries, a real Docker as a peer, and the
//! snapshot of the host that proves that nothing was left behind.
//!
//! Nothing here asserts: it gives tests real parts to work with. Every resource is an owner whose `Drop`
//! removes it, also when a test panics.

pub mod actions;
pub mod azurite;
pub mod buildkitd;
pub mod client;
pub mod compose;
pub mod daemon;
pub mod disk;
pub mod firewall;
pub mod fixture;
pub mod git;
pub mod golang;
pub mod host;
pub mod http;
pub mod machine;
pub mod moto;
pub mod peer;
pub mod postgres;
pub mod registry;
pub mod share;
pub mod web;

pub use client::{Client, Finished};
pub use daemon::Daemon;

use std::path::PathBuf;

/// The `dray` binary under test: `$DRAY_BIN`, which `cargo xtask test` sets, or the one of this target folder.
pub fn dray_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("DRAY_BIN") {
        return path.into();
    }
    let mut path = std::env::current_exe().expect("the test's own path");
    while path.file_name().is_some_and(|name| name != "debug" && name != "release") {
        path.pop();
    }
    path.join("dray")
}

/// Docker's own command line, which the tests drive Dray with.
pub fn docker_binary() -> PathBuf {
    ["/usr/local/bin/docker", "/usr/bin/docker"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("Docker's CLI: `cargo xtask test` installs it")
}

/// Where made-once things (test images) are kept between runs.
pub fn cache_dir() -> PathBuf {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let cache = target.join("test-fixtures");
    std::fs::create_dir_all(&cache).expect("cache folder");
    cache.canonicalize().expect("cache folder")
}
