//! `build`: real Dockerfiles through both clients.

mod actions;
mod agent;
mod attest;
mod bake;
mod bake_remote;
mod buildctl;
mod builder;
mod buildkit;
mod cache;
mod cache_mount;
mod check;
mod compose;
mod context;
mod context_changes;
mod copied_upon;
mod errors;
mod history;
mod hostile;
mod instructions;
mod killed;
mod language;
mod large_context;
mod named_context;
mod output;
mod platform;
mod progress;
mod provenance;
mod remote_cache;
mod reproducible;
mod secret;
mod vanish;

use std::fs;
use std::path::PathBuf;

use dray_harness::{Client, Daemon, Finished};

/// A folder with a Dockerfile and further files.
pub fn context(daemon: &Daemon, name: &str, dockerfile: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = daemon.scratch(name);
    fs::write(folder.join("Dockerfile"), dockerfile).expect("Dockerfile");
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("a file");
    }
    folder
}

/// buildx as a program of its own: what `docker build` hands its arguments to.
pub fn buildx(daemon: &Daemon) -> Client {
    Client::new(dray_harness::fixture::buildx(), daemon.host(), &daemon.scratch("buildx"))
}

/// How many entries a folder has; none if it is not there.
fn entries(folder: &std::path::Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

pub fn build(client: &Client, folder: &std::path::Path, flags: &str) -> Finished {
    let folder = folder.to_string_lossy();
    client.run(["build"].into_iter().chain(flags.split_whitespace()).chain([folder.as_ref()]))
}
