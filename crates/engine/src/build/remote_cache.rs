//! Caches elsewhere: in a registry, in a folder of the client, in the image itself, in the service of GitHub Actions; asked
//! for in BuildKit's terms.
//!
//! Folders are reached over the client's session, which is the caller's part.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use dray_api::auth::AuthConfig;
use dray_build::{BlobSource, Built, CACHE_CONFIG, CacheExport, CacheImport, CacheMode, MountChoice};
use dray_image::export::ImageFormat;
use dray_image::{Silent, progress::Progress};
use dray_registry::{Auth, BlobStream, Client, Download, Repository};
use dray_spec::{Descriptor, Digest, Manifest, ManifestOrIndex, Platform, Reference};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::runtime::Handle;

use super::actions::{ActionsCache, ActionsError, Content};
use super::output::{flag, format};
use super::{Error, OutputKind, Service};
use crate::image;

/// The most that a cache's configuration may be.
const MAX_CONFIG: u64 = 64 << 20;
/// Blobs that go to a service at the same time.
const AT_ONCE: usize = 4;

/// A cache that a build reads or writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteCache {
    /// Where it is.
    pub place: CachePlace,
    /// Which results are written.
    pub mode: CacheMode,
    /// How its layers are packed.
    pub format: ImageFormat,
    /// A failure to write it is none of the build.
    pub ignore_error: bool,
    /// Directories of cache mounts that go along.
    pub mounts: MountChoice,
}

/// Where a cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// Under a name in a registry.
    Registry(Reference),
    /// In a folder of the client, which its session has under this name.
    Local {
        /// The store's name.
        store: String,
        /// The manifest to be read.
        digest: Option<Digest>,
    },
    /// In the configuration of the image that is built.
    Inline,
    /// In the cache service of GitHub Actions.
    Actions(Box<ActionsCache>),
}

impl RemoteCache {
    /// Reads a cache to be read from.
    ///
    /// # Errors
    /// [`Error::Output`] naming what is wrong, or what is not done here.
    pub fn import(kind: &str, attrs: &HashMap<String, String>) -> Result<Self, Error> {
        let get = |name: &str| attrs.get(name).map(String::as_str).unwrap_or_default();
        let place = match kind {
            "registry" => registry(get("ref"), "importer")?,
            "local" => {
                let digest = match get("digest") {
                    "" => None,
                    text => Some(text.parse().map_err(|_| wrong(format!("invalid digest {text:?}")))?),
                };
                CachePlace::Local { store: store(get("src"), "importer", "src")?, digest }
            }
            "gha" => actions(attrs)?,
            other => return Err(unsupported(other, "import")),
        };
        Self::new(place, attrs)
    }

    /// Reads a cache to be written.
    ///
    /// # Errors
    /// As [`RemoteCache::import`].
    pub fn export(kind: &str, attrs: &HashMap<String, String>) -> Result<Self, Error> {
        let get = |name: &str| attrs.get(name).map(String::as_str).unwrap_or_default();
        let place = match kind {
            "inline" => CachePlace::Inline,
            "registry" => registry(get("ref"), "exporter")?,
            "local" => CachePlace::Local { store: store(get("dest"), "exporter", "dest")?, digest: None },
            "gha" => actions(attrs)?,
            other => return Err(unsupported(other, "export")),
        };
        Self::new(place, attrs)
    }

    fn new(place: CachePlace, attrs: &HashMap<String, String>) -> Result<Self, Error> {
        let get = |name: &str| attrs.get(name).map(String::as_str).unwrap_or_default();
        let mode = match get("mode") {
            "" | "min" => CacheMode::Min,
            "max" => CacheMode::Max,
            other => return Err(wrong(format!("unsupported cache export mode: {other}"))),
        };
        let ignore_error = flag("ignore-error", get("ignore-error"))? == Some(true);
        let mut mounts = MountChoice::parse(get("cache-mounts"));
        if !get("cache-mounts-max").is_empty() {
            let size = dray_api::size::parse_binary(get("cache-mounts-max"));
            let most = size.ok().and_then(|size| u64::try_from(size).ok());
            mounts.most =
                most.ok_or_else(|| wrong(format!("invalid cache-mounts-max {:?}", get("cache-mounts-max"))))?;
        }
        if place == CachePlace::Inline && !mounts.is_none() {
            return Err(wrong("an inline cache cannot have cache mounts".to_owned()));
        }
        Ok(RemoteCache { place, mode, format: format(OutputKind::Oci, attrs)?, ignore_error, mounts })
    }

    /// The registry that it is in, if it is in one.
    #[must_use]
    pub fn registry(&self) -> Option<&str> {
        match &self.place {
            CachePlace::Registry(name) => Some(name.domain()),
            _ => None,
        }
    }

    /// What is told of it while it is read, in BuildKit's words.
    #[must_use]
    pub fn import_title(&self) -> String {
        match &self.place {
            CachePlace::Registry(name) => format!("importing cache manifest from {}", name.familiar()),
            CachePlace::Local { store, .. } => format!("importing cache manifest from {store}"),
            CachePlace::Inline => "importing cache manifest".to_owned(),
            CachePlace::Actions(cache) => format!("importing cache manifest from gha:{}", cache.scope),
        }
    }

    /// What is told of it while it is written, in BuildKit's words.
    #[must_use]
    pub fn export_title(&self) -> &'static str {
        match self.place {
            CachePlace::Registry(_) => "exporting cache to registry",
            CachePlace::Local { .. } => "exporting cache to client directory",
            CachePlace::Inline => "preparing layers for inline cache",
            CachePlace::Actions(_) => "exporting to GitHub Actions Cache",
        }
    }
}

fn wrong(text: String) -> Error {
    Error::Output(text)
}

fn unsupported(kind: &str, what: &str) -> Error {
    wrong(format!("cache {what} of type {kind:?} is not supported by this builder"))
}

fn registry(name: &str, what: &str) -> Result<CachePlace, Error> {
    if name.is_empty() {
        return Err(wrong(format!("registry cache {what} requires ref")));
    }
    let reference = Reference::parse(name)?;
    Ok(CachePlace::Registry(if reference.digest().is_some() { reference } else { reference.tagged() }))
}

fn actions(attrs: &HashMap<String, String>) -> Result<CachePlace, Error> {
    let get = |name: &str| attrs.get(name).filter(|value| !value.is_empty()).cloned();
    Ok(CachePlace::Actions(Box::new(ActionsCache::read(get).map_err(wrong)?)))
}

fn store(path: &str, what: &str, attr: &str) -> Result<String, Error> {
    match path {
        "" => Err(wrong(format!("local cache {what} requires {attr}"))),
        path => Ok(format!("local:{path}")),
    }
}

/// Blobs of a repository, read from threads that may block.
struct RegistryBlobs {
    repository: Repository,
    handle: Handle,
}

impl BlobSource for RegistryBlobs {
    fn open(&self, blob: &Descriptor) -> io::Result<Box<dyn Read + Send>> {
        let stream = self.handle.block_on(self.repository.blob(blob, 0)).map_err(io::Error::other)?;
        Ok(Box::new(BlobReader { stream, handle: self.handle.clone(), piece: Bytes::new() }))
    }
}

/// Blobs of the cache service of GitHub Actions.
struct ActionsBlobs {
    client: Client,
    cache: ActionsCache,
    handle: Handle,
}

impl BlobSource for ActionsBlobs {
    fn open(&self, blob: &Descriptor) -> io::Result<Box<dyn Read + Send>> {
        let key = ActionsCache::blob_key(&blob.digest);
        // Addresses are good for a while only: each is asked for when it is used.
        let stream = self.handle.block_on(async {
            match self.cache.load(&self.client, &key).await? {
                Some(entry) => self.cache.open(&self.client, &entry).await.map(Some),
                None => Ok(None),
            }
        });
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("blob {}: not found", blob.digest));
        let stream = stream.map_err(io::Error::other)?.ok_or_else(missing)?;
        Ok(Box::new(BlobReader { stream, handle: self.handle.clone(), piece: Bytes::new() }))
    }
}

/// Pieces that come from elsewhere.
trait Pieces: Send {
    async fn piece(&mut self) -> Option<Result<Bytes, dray_registry::Error>>;
}

impl Pieces for BlobStream {
    async fn piece(&mut self) -> Option<Result<Bytes, dray_registry::Error>> {
        self.next().await
    }
}

impl Pieces for Download {
    async fn piece(&mut self) -> Option<Result<Bytes, dray_registry::Error>> {
        self.chunk().await
    }
}

struct BlobReader<S> {
    stream: S,
    handle: Handle,
    piece: Bytes,
}

impl<S: Pieces> Read for BlobReader<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.handle.block_on(self.stream.piece()) {
                None => return Ok(0),
                Some(piece) => self.piece = piece.map_err(io::Error::other)?,
            }
        }
        let n = buffer.len().min(self.piece.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}

impl Service {
    /// Reads the cache of this name in a registry: a cache of its own, or an image that carries one.
    ///
    /// # Errors
    /// If there is none, or the registry fails.
    pub async fn import_cache(&self, name: &Reference, auth: &AuthConfig) -> Result<CacheImport, Error> {
        let failed = |error: dray_registry::Error| wrong(error.to_string());
        let repository = self.images.client().repository(name, &image::auth(auth)).map_err(failed)?;
        let tag = match (name.digest(), name.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let mut raw = repository.manifest(&tag).await.map_err(failed)?;
        let mut parsed = ManifestOrIndex::parse(Some(&raw.media_type), &raw.bytes);
        if let Ok(ManifestOrIndex::Index(index)) = &parsed {
            let entry = index
                .select(&Platform::host())
                .ok_or_else(|| wrong(format!("{}: no cache", name.familiar())))?;
            raw = repository.manifest(entry.digest.as_str()).await.map_err(failed)?;
            parsed = ManifestOrIndex::parse(Some(&raw.media_type), &raw.bytes);
        }
        let manifest = match parsed.map_err(|error| wrong(error.to_string()))? {
            ManifestOrIndex::Manifest(manifest) => manifest,
            ManifestOrIndex::Index(_) => return Err(wrong(format!("{}: no cache", name.familiar()))),
        };
        let config = repository.small_blob(&manifest.config, MAX_CONFIG).await.map_err(failed)?;
        let source = Arc::new(RegistryBlobs { repository, handle: self.handle.clone() });
        let import = match manifest.config.media_type == CACHE_CONFIG {
            true => CacheImport::read(&name.familiar(), &config, source),
            false => CacheImport::read_inline(&name.familiar(), &manifest, &config, source),
        };
        import.map_err(|error| wrong(error.to_string()))
    }

    /// Reads the cache that the service of GitHub Actions has in the scopes of its token.
    ///
    /// # Errors
    /// If there is none, or the service fails.
    pub async fn import_actions(&self, cache: &ActionsCache) -> Result<CacheImport, Error> {
        let client = &self.images.client();
        let name = format!("gha:{}", cache.scope);
        let failed = |error: ActionsError| wrong(error.to_string());
        let read = async {
            let mut joined: Option<CacheImport> = None;
            for key in cache.indexes().map_err(failed)? {
                let Some(entry) = cache.latest(client, &key).await.map_err(failed)? else { continue };
                let download = cache.open(client, &entry).await.map_err(failed)?;
                let config = whole(download).await?;
                let source = ActionsBlobs {
                    client: client.clone(),
                    cache: cache.clone(),
                    handle: self.handle.clone(),
                };
                let import = CacheImport::read(&name, &config, Arc::new(source));
                let import = import.map_err(|error| wrong(error.to_string()))?;
                joined = Some(match joined {
                    Some(first) => first.join(import),
                    None => import,
                });
            }
            joined.ok_or_else(|| wrong(format!("{name}: no cache")))
        };
        let timed = tokio::time::timeout(cache.timeout, read).await;
        timed.unwrap_or_else(|_| Err(failed(ActionsError::Timeout)))
    }

    /// Puts an exported cache into the service of GitHub Actions: blobs that it lacks, then the list of all.
    ///
    /// # Errors
    /// If the service fails, or the token may not write.
    pub async fn export_actions(&self, export: &CacheExport, cache: &ActionsCache) -> Result<(), Error> {
        let client = &self.images.client();
        let failed = |error: ActionsError| wrong(error.to_string());
        let blobs = self.images.images().store().blobs().clone();
        let manifest = self.manifest_of(export)?;
        let gone = |error: dray_store::Error| Error::Image(Box::new(dray_image::Error::from(error).into()));
        let config = blobs.read(&manifest.config.digest).map_err(gone)?;
        let write = async {
            let index = cache.own_index()?;
            let send = |blob: Descriptor| {
                let path = blobs.path(&blob.digest);
                async move {
                    let key = ActionsCache::blob_key(&blob.digest);
                    if cache.load(client, &key).await?.is_some() {
                        return Ok(());
                    }
                    match cache.save(client, &key, &Content::File(path, blob.size)).await {
                        // Somebody else has it or is at it.
                        Err(ActionsError::Exists(_)) => Ok(()),
                        other => other,
                    }
                }
            };
            let sent = stream::iter(manifest.layers.into_iter().map(send)).buffer_unordered(AT_ONCE);
            sent.try_collect::<Vec<()>>().await?;
            cache.replace(client, &index, &Content::Bytes(config)).await
        };
        let timed = tokio::time::timeout(cache.timeout, write).await;
        timed.unwrap_or(Err(ActionsError::Timeout)).map_err(failed)
    }

    fn manifest_of(&self, export: &CacheExport) -> Result<Manifest, Error> {
        let gone = |error: dray_store::Error| Error::Image(Box::new(dray_image::Error::from(error).into()));
        let bytes = self.images.images().store().blobs().read(&export.root.digest).map_err(gone)?;
        match ManifestOrIndex::parse(None, &bytes) {
            Ok(ManifestOrIndex::Manifest(manifest)) => Ok(manifest),
            _ => Err(wrong(format!("{}: no manifest of a cache", export.root.digest))),
        }
    }

    /// Makes a cache of what a build has used; none if that is nothing. It stays as long as the build's claim. Blocks.
    ///
    /// # Errors
    /// If a layer cannot be packed, or the store fails.
    pub fn export_cache(&self, built: &Built, cache: &RemoteCache) -> Result<Option<CacheExport>, Error> {
        Ok(self.builder.export_cache(built, cache.mode, &cache.format, &cache.mounts)?)
    }

    /// Pushes an exported cache.
    ///
    /// # Errors
    /// If registry or disk fail.
    pub async fn push_cache(
        &self,
        export: &CacheExport,
        name: &Reference,
        auth: Option<&AuthConfig>,
    ) -> Result<(), Error> {
        let auth = auth.map_or(Auth::Anonymous, image::auth);
        let progress: &dyn Progress = &Silent;
        Ok(self.images.push_content(name, &export.root, auth, progress).await?)
    }

    /// The blobs of an exported cache, each before what names it.
    ///
    /// # Errors
    /// If one is gone.
    pub fn cache_blobs(&self, export: &CacheExport) -> Result<Vec<(Descriptor, File)>, Error> {
        let blobs = self.images.images().store().blobs();
        let gone = |error: dray_store::Error| Error::Image(Box::new(dray_image::Error::from(error).into()));
        let manifest = self.manifest_of(export)?;
        let mut all = manifest.layers;
        all.extend([manifest.config, export.root.clone()]);
        let open = |blob: Descriptor| Ok((blob.clone(), blobs.open(&blob.digest).map_err(gone)?));
        all.into_iter().map(open).collect()
    }
}

/// All of a document.
async fn whole(mut download: Download) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = download.chunk().await {
        bytes.extend_from_slice(&piece.map_err(|error| wrong(error.to_string()))?);
        if bytes.len() as u64 > MAX_CONFIG {
            return Err(wrong(format!("the list of a cache is longer than {MAX_CONFIG} bytes")));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attrs(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn caches_are_named_as_buildkit_names_them() {
        let export =
            RemoteCache::export("registry", &attrs(&[("ref", "r.example/c"), ("mode", "max")])).unwrap();
        assert_eq!(export.mode, CacheMode::Max);
        assert_eq!(export.place, CachePlace::Registry("r.example/c:latest".parse().unwrap()));
        let import = RemoteCache::import("local", &attrs(&[("src", "/c")])).unwrap();
        assert_eq!(import.place, CachePlace::Local { store: "local:/c".into(), digest: None });
        assert_eq!(RemoteCache::export("inline", &attrs(&[])).unwrap().place, CachePlace::Inline);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let message = |kind: &str, pairs: &[(&str, &str)]| {
            RemoteCache::export(kind, &attrs(pairs)).unwrap_err().to_string()
        };
        assert_eq!(message("registry", &[]), "registry cache exporter requires ref");
        assert_eq!(message("local", &[]), "local cache exporter requires dest");
        assert_eq!(message("inline", &[("mode", "x")]), "unsupported cache export mode: x");
        assert_eq!(message("gha", &[]), "token not set for github actions cache");
        assert!(message("azblob", &[]).contains("\"azblob\" is not supported"));
        let import = RemoteCache::import("local", &attrs(&[("src", "/c"), ("digest", "x")]));
        assert_eq!(import.unwrap_err().to_string(), "invalid digest \"x\"");
    }
}
