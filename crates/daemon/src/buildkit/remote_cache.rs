//! Caches that come from elsewhere and go elsewhere: registries by the engine, folders of the client over its session.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::sync::Arc;

use dray_api::auth::AuthConfig;
use dray_build::{BlobSource, Built, CacheImport};
use dray_buildkit::Session;
use dray_buildkit::grpc::Status;
use dray_buildkit::proto::control::CacheOptionsEntry;
use dray_engine::build::{CachePlace, RemoteCache, Service};
use dray_spec::{Descriptor, Digest, Manifest, Reference};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::caller::credentials;
use super::failure;

/// The most that a manifest or a configuration of a cache may be.
const MAX_DOCUMENT: u64 = 64 << 20;
/// What clients are told of a cache that went into their folder.
const TOLD: &str = "cache.manifest";
/// And of what the cache does not have.
pub(crate) const LEFT_OUT: &str = "cache.left-out";

/// A cache as clients write it in JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CacheEntry {
    #[serde(rename = "Type")]
    kind: String,
    attrs: Option<HashMap<String, String>>,
}

/// Reads the caches to be read from, as the frontend's attributes have them: JSON, or names of images.
pub(super) fn imports(attrs: &HashMap<String, String>) -> Result<Vec<RemoteCache>, Status> {
    let mut caches = Vec::new();
    if let Some(text) = attrs.get("cache-imports").filter(|text| !text.is_empty()) {
        let entries: Vec<CacheEntry> = serde_json::from_str(text)
            .map_err(|error| failure::invalid(format!("cache-imports: {error}")))?;
        caches.extend(read_imports(entries)?);
    }
    let names = attrs.get("cache-from").map(String::as_str).unwrap_or_default();
    for name in names.split(',').filter(|name| !name.is_empty()) {
        let attrs = [("ref".to_owned(), name.to_owned())].into();
        caches.push(RemoteCache::import("registry", &attrs).map_err(failure::engine)?);
    }
    Ok(caches)
}

pub(crate) fn read_imports(entries: Vec<CacheEntry>) -> Result<Vec<RemoteCache>, Status> {
    let read = |entry: CacheEntry| RemoteCache::import(&entry.kind, &entry.attrs.unwrap_or_default());
    entries.into_iter().map(read).collect::<Result<_, _>>().map_err(failure::engine)
}

pub(crate) fn read_exports(entries: Vec<CacheEntry>) -> Result<Vec<RemoteCache>, Status> {
    let read = |entry: CacheEntry| RemoteCache::export(&entry.kind, &entry.attrs.unwrap_or_default());
    entries.into_iter().map(read).collect::<Result<_, _>>().map_err(failure::engine)
}

/// Reads the caches to be written.
pub(super) fn exports(entries: &[CacheOptionsEntry]) -> Result<Vec<RemoteCache>, Status> {
    let read = |entry: &CacheOptionsEntry| RemoteCache::export(&entry.kind, &entry.attrs);
    entries.iter().map(read).collect::<Result<_, _>>().map_err(failure::engine)
}

/// Whether the image shall carry its own cache.
pub(crate) fn is_inline(exports: &[RemoteCache]) -> bool {
    exports.iter().any(|cache| cache.place == CachePlace::Inline)
}

/// Reads and writes caches elsewhere.
pub(crate) struct CacheTransfer {
    pub(crate) builds: Arc<Service>,
    /// The client, where it has a session.
    pub(crate) session: Option<Session>,
    /// Credentials that came with the request.
    pub(crate) auths: BTreeMap<String, AuthConfig>,
}

impl CacheTransfer {
    /// Reads what a cache has; its layers, and the cache mounts that are wanted of it, come when a step wants them.
    pub(crate) async fn import(&self, cache: &RemoteCache) -> Result<CacheImport, Status> {
        self.read(cache).await.map(|import| import.with_mounts(&cache.mounts))
    }

    async fn read(&self, cache: &RemoteCache) -> Result<CacheImport, Status> {
        match &cache.place {
            CachePlace::Registry(name) => {
                let auth = self.credentials(name).await;
                self.builds.import_cache(name, &auth).await.map_err(failure::engine)
            }
            CachePlace::Local { store, digest: Some(digest) } => self.import_local(store, digest).await,
            CachePlace::Local { .. } => Err(failure::invalid("local cache importer requires digest")),
            CachePlace::Inline => Err(failure::invalid("an inline cache comes with its image")),
            CachePlace::Actions(cache) => self.builds.import_actions(cache).await.map_err(failure::engine),
        }
    }

    async fn import_local(&self, store: &str, digest: &Digest) -> Result<CacheImport, Status> {
        let session = self.session()?.clone();
        let manifest = document(&session, store, digest).await?;
        let manifest: Manifest = serde_json::from_slice(&manifest).map_err(failure::internal)?;
        let config = document(&session, store, &manifest.config.digest).await?;
        let blobs = ClientBlobs { session, store: store.to_owned(), handle: Handle::current() };
        CacheImport::read(store, &config, Arc::new(blobs)).map_err(failure::internal)
    }

    /// Writes what a build has used; gives what clients are told of it.
    pub(crate) async fn export(
        &self,
        cache: &RemoteCache,
        built: &Built,
    ) -> Result<HashMap<String, String>, Status> {
        if cache.place == CachePlace::Inline {
            return Ok(HashMap::new());
        }
        let (builds, wanted, of) = (Arc::clone(&self.builds), cache.clone(), built.clone());
        let work = move || builds.export_cache(&of, &wanted);
        let exported = tokio::task::spawn_blocking(work).await.map_err(failure::internal)?;
        let Some(export) = exported.map_err(failure::engine)? else { return Ok(HashMap::new()) };
        match &cache.place {
            CachePlace::Registry(name) => {
                let auth = self.credentials(name).await;
                self.builds.push_cache(&export, name, Some(&auth)).await.map_err(failure::engine)?;
            }
            CachePlace::Local { store, .. } => {
                for (blob, file) in self.builds.cache_blobs(&export).map_err(failure::engine)? {
                    self.session()?.write_blob(store, blob.digest.as_str(), blob.size, file).await?;
                }
            }
            CachePlace::Actions(cache) => {
                self.builds.export_actions(&export, cache).await.map_err(failure::engine)?;
            }
            CachePlace::Inline => {}
        }
        let root = serde_json::to_string(&export.root).map_err(failure::internal)?;
        let mut told: HashMap<String, String> = [(TOLD.to_owned(), root)].into();
        if !export.left_out.is_empty() {
            told.insert(LEFT_OUT.to_owned(), export.left_out.join("\n"));
        }
        Ok(told)
    }

    fn session(&self) -> Result<&Session, Status> {
        self.session
            .as_ref()
            .ok_or_else(|| failure::invalid("no session in the request: its folders are not reached"))
    }

    async fn credentials(&self, name: &Reference) -> AuthConfig {
        match (self.auths.get(name.domain()), &self.session) {
            (Some(known), _) => known.clone(),
            (None, Some(session)) => credentials(session, name.domain()).await,
            (None, None) => AuthConfig::default(),
        }
    }
}

/// A small blob of a client's store, checked.
pub(super) async fn document(session: &Session, store: &str, digest: &Digest) -> Result<Vec<u8>, Status> {
    let reader = session.read_blob(store, digest.as_str()).await?;
    let read = move || {
        let mut bytes = Vec::new();
        reader.take(MAX_DOCUMENT).read_to_end(&mut bytes).map(|_| bytes)
    };
    let bytes = tokio::task::spawn_blocking(read).await.map_err(failure::internal)?;
    let bytes = bytes.map_err(failure::internal)?;
    if digest.verifies(&bytes) {
        Ok(bytes)
    } else {
        Err(failure::invalid(format!("{store}: {digest} has other bytes")))
    }
}

/// Blobs of a client's store, read from the build's threads.
struct ClientBlobs {
    session: Session,
    store: String,
    handle: Handle,
}

impl BlobSource for ClientBlobs {
    fn open(&self, blob: &Descriptor) -> io::Result<Box<dyn Read + Send>> {
        let reading = self.session.read_blob(&self.store, blob.digest.as_str());
        let reader = self.handle.block_on(reading).map_err(|status| io::Error::other(status.message))?;
        Ok(Box::new(reader))
    }
}
