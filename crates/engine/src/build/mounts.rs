//! Directories of `RUN --mount=type=cache`, apart from builds: listed, and as an archive that another daemon takes.
//!
//! ```text
//! oci-layout  index.json            an OCI layout, so that it can be a cache in a folder too (`--cache-from type=local`)
//! blobs/sha256/<manifest>           first what says what comes …
//! blobs/sha256/<configuration>
//! blobs/sha256/<directory>…         … then the directories
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use dray_api::build::CacheMountRecord;
use dray_build::{BlobSource, CACHE_CONFIG, CacheImport, MountChoice};
use dray_spec::{Descriptor, Digest, Index, Manifest};

use super::{Error, Service};

/// The most that a document of an archive may be.
const MAX_DOCUMENT: u64 = 64 << 20;
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

fn wrong(text: impl std::fmt::Display) -> Error {
    Error::Output(format!("invalid archive of cache mounts: {text}"))
}

/// Directories of an archive that were taken, and those that were there already.
#[derive(Debug, Default)]
pub struct Imported {
    /// Their ids.
    pub taken: Vec<String>,
    /// Their ids.
    pub there: Vec<String>,
}

impl Service {
    /// The directories of cache mounts.
    ///
    /// # Errors
    /// If they cannot be looked at.
    pub fn cache_mounts(&self) -> Result<Vec<CacheMountRecord>, Error> {
        let shown = |(id, record): (String, dray_build::CacheRecord)| CacheMountRecord {
            mount: id,
            target: record.description.trim_start_matches("cached mount ").to_owned(),
            id: record.id,
            in_use: record.in_use,
            size: i64::try_from(record.size).unwrap_or(i64::MAX),
            created_at: record.created,
            last_used_at: record.last_used,
            usage_count: i64::try_from(record.uses).unwrap_or(i64::MAX),
        };
        let mut mounts: Vec<_> = self.builder.cache_mounts()?.into_iter().map(shown).collect();
        mounts.sort_by(|a, b| a.mount.cmp(&b.mount));
        Ok(mounts)
    }

    /// Checks that there are directories of these ids; gives them, or all without any.
    ///
    /// # Errors
    /// Naming one that is not there.
    pub fn check_cache_mounts(&self, ids: Vec<String>) -> Result<Vec<String>, Error> {
        let known: Vec<String> = self.cache_mounts()?.into_iter().map(|mount| mount.mount).collect();
        match ids.iter().find(|id| !known.contains(id)) {
            Some(missing) => Err(Error::Filter(format!("no cache mount {missing:?}"))),
            None if ids.is_empty() => Ok(known),
            None => Ok(ids),
        }
    }

    /// Writes directories as an archive. Blocks.
    ///
    /// # Errors
    /// If a step has one mounted, or the archive cannot be written.
    pub fn export_cache_mounts(&self, ids: &[String], out: impl Write) -> Result<(), Error> {
        let images = self.images.images();
        let _lease = images.lease();
        let export = self.builder.export_mounts(ids.iter().map(String::as_str), u64::MAX)?;
        if let Some(reason) = export.left_out.first() {
            return Err(Error::Output(reason.clone()));
        }
        let mut blobs = self.cache_blobs(&export)?;
        // Each before what it names: who reads the archive knows what comes.
        blobs.reverse();
        let write = || -> io::Result<()> {
            let mut tar = tar::Builder::new(out);
            add(&mut tar, "oci-layout", LAYOUT.len() as u64, LAYOUT)?;
            let mut root = export.root.clone();
            root.annotations.insert("org.opencontainers.image.ref.name".to_owned(), "latest".to_owned());
            let index = serde_json::to_vec(&Index::oci(vec![root])).map_err(io::Error::other)?;
            add(&mut tar, "index.json", index.len() as u64, index.as_slice())?;
            for (blob, file) in blobs {
                add(&mut tar, &format!("blobs/sha256/{}", blob.digest.hex()), blob.size, file)?;
            }
            tar.into_inner()?.flush()
        };
        write().map_err(|error| Error::Output(format!("write the archive: {error}")))
    }

    /// Takes directories out of an archive; those that are there stay as they are. Blocks.
    ///
    /// # Errors
    /// For an archive that is none, or damaged.
    pub fn import_cache_mounts(&self, archive: impl Read + Send) -> Result<Imported, Error> {
        let _lease = self.images.images().lease();
        let blobs = self.images.images().store().blobs();
        let mut archive = tar::Archive::new(archive);
        let mut documents: HashMap<String, Vec<u8>> = HashMap::new();
        let mut root = None;
        let mut known: HashMap<Digest, Descriptor> = HashMap::new();
        for entry in archive.entries().map_err(wrong)? {
            let mut entry = entry.map_err(wrong)?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let size = entry.size();
            let digest = path.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}"));
            let wanted =
                digest.as_ref().and_then(|digest| known.get(&digest.parse::<Digest>().ok()?).cloned());
            if let Some(blob) = wanted.filter(|blob| blob.media_type != CACHE_CONFIG) {
                let mut ingest = blobs.spool().map_err(dray_build::BuildError::from)?;
                let mut buffer = vec![0; 256 << 10];
                loop {
                    match entry.read(&mut buffer).map_err(wrong)? {
                        0 => break,
                        read => ingest.append(&buffer[..read]).map_err(dray_build::BuildError::from)?,
                    }
                }
                ingest.commit_relaxed(&blob.digest, Some(blob.size)).map_err(wrong)?;
                continue;
            }
            if size > MAX_DOCUMENT || !(digest.is_some() || path == "index.json") {
                continue;
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(wrong)?;
            match digest {
                None => {
                    let index: Index = serde_json::from_slice(&bytes).map_err(wrong)?;
                    root = index.manifests.into_iter().next();
                }
                Some(digest) => {
                    let of = digest.parse::<Digest>().map_err(wrong)?;
                    if !of.verifies(&bytes) {
                        return Err(wrong(format!("{digest} has other bytes")));
                    }
                    if root.as_ref().is_some_and(|root| root.digest == of) {
                        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(wrong)?;
                        let all = manifest.layers.into_iter().chain([manifest.config]);
                        known.extend(all.map(|blob| (blob.digest.clone(), blob)));
                    }
                    documents.insert(digest, bytes);
                }
            }
        }
        let config = known.values().find(|blob| blob.media_type == CACHE_CONFIG);
        let config = config.and_then(|config| documents.get(config.digest.as_str()));
        let config = config.ok_or_else(|| wrong("it has no list of what it holds"))?;
        let source = StoreBlobs(self.images.images().store().clone());
        let import = CacheImport::read("archive", config, Arc::new(source)).map_err(wrong)?;
        let mut imported = Imported::default();
        let mut all = MountChoice::all();
        all.most = u64::MAX;
        let import = import.with_mounts(&all);
        for id in import.mounts() {
            match self.builder.import_mount(&import, id)? {
                true => imported.taken.push(id.to_owned()),
                false => imported.there.push(id.to_owned()),
            }
        }
        imported.taken.sort();
        imported.there.sort();
        Ok(imported)
    }
}

fn add(tar: &mut tar::Builder<impl Write>, path: &str, size: u64, content: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    tar.append_data(&mut header, path, content)
}

/// Blobs that the archive has brought.
struct StoreBlobs(dray_store::Store);

impl BlobSource for StoreBlobs {
    fn open(&self, blob: &Descriptor) -> io::Result<Box<dyn Read + Send>> {
        let file: File = self.0.blobs().open(&blob.digest).map_err(io::Error::other)?;
        Ok(Box::new(file))
    }
}
