//! Docker's contexts: named daemons under `~/.docker/contexts`, read only.
//!
//! ```text
//! contexts/meta/<sha256 of the name>/meta.json      {"Name":…,"Metadata":{…},"Endpoints":{"docker":{"Host":…}}}
//! contexts/tls/<sha256 of the name>/docker/{ca,cert,key}.pem
//! ```

use std::path::{Path, PathBuf};

use dray_client::{Endpoint, Tls};
use serde::Deserialize;

use crate::app::App;
use crate::command_error::{Error, Sys};

/// The context that flags and environment make.
pub const DEFAULT: &str = "default";

/// A context's file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Meta {
    /// Its name.
    pub name: String,
    metadata: Details,
    endpoints: Endpoints,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Details {
    description: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoints {
    docker: DockerEndpoint,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct DockerEndpoint {
    #[serde(rename = "Host")]
    host: String,
    #[serde(rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

impl Meta {
    /// What it is for.
    pub fn description(&self) -> &str {
        &self.metadata.description
    }

    /// Its daemon's address.
    pub fn host(&self) -> &str {
        &self.endpoints.docker.host
    }
}

/// The context in use.
pub fn current(app: &App) -> String {
    let flag = app.globals.get("context");
    if !flag.is_empty() {
        return flag.to_owned();
    }
    let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    if app.globals.given("host")
        || env("DOCKER_HOST").is_some()
        || (app.name != "docker" && env("DRAY_HOST").is_some())
    {
        return DEFAULT.to_owned();
    }
    if let Some(name) = env("DOCKER_CONTEXT") {
        return name;
    }
    let config = app.config().borrow();
    let name = config.text("currentContext");
    if name.is_empty() { DEFAULT.to_owned() } else { name.to_owned() }
}

fn id_of(name: &str) -> String {
    dray_spec::Digest::sha256_of(name.as_bytes()).hex().to_owned()
}

fn contexts_dir(app: &App) -> PathBuf {
    app.config().borrow().dir().join("contexts")
}

fn read(path: &Path) -> Result<Meta, Sys> {
    let bytes = std::fs::read(path).map_err(Sys)?;
    serde_json::from_slice(&bytes).map_err(|e| Sys(e.into()))
}

/// The endpoint of a named context.
///
/// # Errors
/// It does not exist or cannot be used.
pub fn endpoint(app: &App, name: &str) -> Result<Endpoint, Error> {
    let dir = contexts_dir(app);
    let path = dir.join("meta").join(id_of(name)).join("meta.json");
    let meta = read(&path).map_err(|e| {
        Error::Refused(format!(
            "Failed to initialize: unable to resolve docker endpoint: context \"{name}\": context not found: open {}: {e}",
            path.display()
        ))
    })?;
    let certs = dir.join("tls").join(id_of(name)).join("docker");
    let file = |name: &str| Some(certs.join(name)).filter(|p| p.exists());
    let tls = certs.exists().then(|| Tls {
        ca: file("ca.pem"),
        cert: file("cert.pem"),
        key: file("key.pem"),
        verify: !meta.endpoints.docker.skip_tls_verify,
    });
    Ok(Endpoint::parse(meta.host(), tls)?)
}

/// All named contexts, by name.
pub fn list(app: &App) -> Vec<Meta> {
    let Ok(entries) = std::fs::read_dir(contexts_dir(app).join("meta")) else { return Vec::new() };
    let mut all: Vec<Meta> = entries.filter_map(|e| read(&e.ok()?.path().join("meta.json")).ok()).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}
