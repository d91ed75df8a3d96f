//! Docker's contexts: named daemons under `~/.docker/contexts`, as Docker's client keeps them.
//!
//! ```text
//! contexts/meta/<sha256 of the name>/meta.json      {"Name":…,"Metadata":{…},"Endpoints":{"docker":{"Host":…}}}
//! contexts/tls/<sha256 of the name>/docker/{ca,cert,key}.pem
//! ```

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use dray_client::{Endpoint, Tls};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::app::App;
use crate::command_error::{Error, Sys};
use crate::whole_file::write;

/// The context that flags and environment make.
pub const DEFAULT: &str = "default";
/// What that one is for.
pub const DEFAULT_DESCRIPTION: &str = "Current DOCKER_HOST based configuration";
/// The endpoint that is a daemon; contexts may have others, which are kept.
pub const DOCKER: &str = "docker";

/// A context's file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Meta {
    /// Its name.
    pub name: String,
    metadata: Map<String, Value>,
    endpoints: BTreeMap<String, Map<String, Value>>,
}

/// Certificates and keys by endpoint and file name.
pub type TlsFiles = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

impl Meta {
    /// One whose daemon has this address.
    pub fn of(name: &str, host: &str, skip_tls_verify: bool) -> Meta {
        let mut meta = Meta { name: name.to_owned(), ..Meta::default() };
        meta.set_host(host, skip_tls_verify);
        meta
    }

    /// What it is for.
    pub fn description(&self) -> &str {
        self.metadata.get("Description").and_then(Value::as_str).unwrap_or_default()
    }

    /// Says what it is for.
    pub fn describe(&mut self, description: &str) {
        self.metadata.insert("Description".into(), description.into());
    }

    /// Its daemon's address.
    pub fn host(&self) -> &str {
        self.of_daemon("Host").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether its daemon need not prove who it is.
    pub fn skip_tls_verify(&self) -> bool {
        self.of_daemon("SkipTLSVerify").and_then(Value::as_bool).unwrap_or_default()
    }

    /// Gives it another daemon.
    pub fn set_host(&mut self, host: &str, skip_tls_verify: bool) {
        let mut endpoint = Map::new();
        if !host.is_empty() {
            endpoint.insert("Host".into(), host.into());
        }
        endpoint.insert("SkipTLSVerify".into(), skip_tls_verify.into());
        self.endpoints.insert(DOCKER.into(), endpoint);
    }

    fn of_daemon(&self, key: &str) -> Option<&Value> {
        self.endpoints.get(DOCKER)?.get(key)
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

/// The folder of a context's file.
pub fn meta_dir(app: &App, name: &str) -> PathBuf {
    contexts_dir(app).join("meta").join(id_of(name))
}

/// The folder of a context's certificates.
pub fn tls_dir(app: &App, name: &str) -> PathBuf {
    contexts_dir(app).join("tls").join(id_of(name))
}

/// Refuses what cannot be the name of a context.
///
/// # Errors
/// In Docker's words.
pub fn check_name(name: &str) -> Result<(), Error> {
    let rest = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
    let mut chars = name.chars();
    if name.is_empty() {
        return Err(Error::Refused("context name cannot be empty".into()));
    }
    if name == DEFAULT {
        return Err(Error::Refused("\"default\" is a reserved context name".into()));
    }
    if name.len() >= 2 && chars.next().is_some_and(|c| c.is_ascii_alphanumeric()) && chars.all(rest) {
        return Ok(());
    }
    let pattern = "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$";
    let text = format!("context name {name:?} is invalid, names are validated against regexp {pattern:?}");
    Err(Error::Refused(text))
}

fn read(path: &Path) -> Result<Meta, Sys> {
    let bytes = std::fs::read(path).map_err(Sys)?;
    serde_json::from_slice(&bytes).map_err(|e| Sys(e.into()))
}

/// Whether there is a context of this name.
pub fn exists(app: &App, name: &str) -> bool {
    meta_dir(app, name).join("meta.json").exists()
}

/// The context of a name.
///
/// # Errors
/// There is none, or its file cannot be used.
pub fn get(app: &App, name: &str) -> Result<Meta, Error> {
    let path = meta_dir(app, name).join("meta.json");
    read(&path).map_err(|e| {
        Error::Refused(format!("context \"{name}\": context not found: open {}: {e}", path.display()))
    })
}

/// The certificates of a context.
///
/// # Errors
/// They cannot be read.
pub fn tls_files(app: &App, name: &str) -> Result<TlsFiles, Error> {
    let dir = tls_dir(app, name);
    let mut files = TlsFiles::new();
    for endpoint in names_in(&dir)? {
        let within = dir.join(&endpoint);
        let mut of_endpoint = BTreeMap::new();
        for file in names_in(&within)? {
            let path = within.join(&file);
            let bytes = std::fs::read(&path).map_err(Error::file("open", &path))?;
            of_endpoint.insert(file, bytes);
        }
        files.insert(endpoint, of_endpoint);
    }
    Ok(files)
}

fn names_in(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("open", dir))?,
    };
    let names = entries.map(|entry| Ok(entry.map_err(Error::file("read", dir))?.file_name()));
    names.map(|name| name.map(|name| name.to_string_lossy().into_owned())).collect()
}

/// Writes a context's file, and its certificates if they are given: they replace those that are there.
///
/// # Errors
/// The disk fails.
pub fn put(app: &App, meta: &Meta, tls: Option<&TlsFiles>) -> Result<(), Error> {
    let dir = meta_dir(app, &meta.name);
    make_dir(&dir, 0o755)?;
    if let Some(tls) = tls {
        let dir = tls_dir(app, &meta.name);
        remove_dir(&dir)?;
        for (endpoint, files) in tls.iter().filter(|(_, files)| !files.is_empty()) {
            let within = dir.join(endpoint);
            make_dir(&within, 0o700)?;
            for (name, bytes) in files {
                write(&within.join(name), bytes, 0o600)?;
            }
        }
    }
    let text = serde_json::to_vec(meta).map_err(|source| Error::Json { what: meta.name.clone(), source })?;
    write(&dir.join("meta.json"), &text, 0o644)
}

/// Removes a context, whatever there is of it.
///
/// # Errors
/// The disk fails.
pub fn remove(app: &App, name: &str) -> Result<(), Error> {
    remove_dir(&tls_dir(app, name))?;
    remove_dir(&meta_dir(app, name))
}

fn make_dir(dir: &Path, mode: u32) -> Result<(), Error> {
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(dir).map_err(Error::file("mkdir", dir))
}

fn remove_dir(dir: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", dir)(e)),
        _ => Ok(()),
    }
}

/// A context as `inspect` shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    #[serde(flatten)]
    meta: Meta,
    #[serde(rename = "TLSMaterial")]
    tls_material: BTreeMap<String, Vec<String>>,
    storage: Storage,
}

#[derive(Serialize)]
struct Storage {
    #[serde(rename = "MetadataPath")]
    metadata_path: PathBuf,
    #[serde(rename = "TLSPath")]
    tls_path: PathBuf,
}

/// The JSON of a context as `inspect` shows it.
///
/// # Errors
/// There is none of this name.
pub fn describe(app: &App, name: &str) -> Result<String, Error> {
    let (meta, tls, storage) = if name == DEFAULT {
        let nowhere = || PathBuf::from("<IN MEMORY>");
        let (meta, tls) = default(app)?;
        (meta, tls, Storage { metadata_path: nowhere(), tls_path: nowhere() })
    } else {
        let storage = Storage { metadata_path: meta_dir(app, name), tls_path: tls_dir(app, name) };
        (get(app, name)?, tls_files(app, name)?, storage)
    };
    let tls_material =
        tls.into_iter().map(|(endpoint, files)| (endpoint, files.into_keys().collect())).collect();
    let text = serde_json::to_string(&Description { meta, tls_material, storage })
        .map_err(|source| Error::Json { what: name.to_owned(), source })?;
    // As Go writes it; these stand nowhere but in texts.
    Ok(text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}

/// The context that flags and environment make, with its certificates.
///
/// # Errors
/// The address is wrong, or a certificate cannot be read.
pub fn default(app: &App) -> Result<(Meta, TlsFiles), Error> {
    let tls = crate::connect::tls(app)?;
    let skip = tls.as_ref().is_some_and(|tls| !tls.verify);
    let meta = Meta::of(DEFAULT, &crate::connect::default_host(app), skip);
    let mut files = BTreeMap::new();
    for (name, path) in
        tls.into_iter().flat_map(|tls| [("ca.pem", tls.ca), ("cert.pem", tls.cert), ("key.pem", tls.key)])
    {
        if let Some(path) = path.filter(|path| path.exists()) {
            files.insert(name.to_owned(), std::fs::read(&path).map_err(Error::file("open", &path))?);
        }
    }
    let tls = if files.is_empty() { TlsFiles::new() } else { TlsFiles::from([(DOCKER.into(), files)]) };
    Ok((meta, tls))
}

/// A context with all that belongs to it, also the one that flags and environment make.
///
/// # Errors
/// There is none of this name, or it cannot be read.
pub fn whole(app: &App, name: &str) -> Result<(Meta, TlsFiles), Error> {
    match name {
        DEFAULT => {
            let (mut meta, tls) = default(app)?;
            meta.describe(DEFAULT_DESCRIPTION);
            Ok((meta, tls))
        }
        name => Ok((get(app, name)?, tls_files(app, name)?)),
    }
}

/// The endpoint of a named context.
///
/// # Errors
/// It does not exist or cannot be used.
pub fn endpoint(app: &App, name: &str) -> Result<Endpoint, Error> {
    let meta = get(app, name).map_err(|e| {
        Error::Refused(format!("Failed to initialize: unable to resolve docker endpoint: {e}"))
    })?;
    let certs = tls_dir(app, name).join(DOCKER);
    let file = |name: &str| Some(certs.join(name)).filter(|p| p.exists());
    let tls = certs.exists().then(|| Tls {
        ca: file("ca.pem"),
        cert: file("cert.pem"),
        key: file("key.pem"),
        verify: !meta.skip_tls_verify(),
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
