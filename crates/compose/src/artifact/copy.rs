//! An image from one repository to another: what a manifest refers to goes first, so that it is whole whenever it is
//! there.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use dray_registry::{Mount, RawManifest, Repository};
use dray_spec::{Descriptor, ManifestOrIndex};

use super::Error;

/// No image has more manifests (of platforms, and about them).
const MAX_MANIFESTS: usize = 1_000;
/// By it who copies between registries of containerd's kind finds blobs that need not be sent.
const SOURCE: &str = "containerd.io/distribution.source.";

/// Copies an image by its tag or digest; its descriptor.
///
/// # Errors
/// A registry refuses, or it is no image.
pub async fn copy(from: &Repository, name: &str, to: &Repository) -> Result<Descriptor, Error> {
    let manifests = manifests(from, name).await?;
    for raw in &manifests {
        if let ManifestOrIndex::Manifest(manifest) = parse(from, raw)? {
            for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                // What may not be distributed is where its addresses say.
                if blob.urls.is_empty() {
                    send(from, blob, to).await?;
                }
            }
        }
    }
    for raw in manifests.iter().rev() {
        to.put_manifest(raw.digest.as_str(), &raw.media_type, raw.bytes.clone()).await?;
    }
    let Some(raw) = manifests.first() else { return Err(Error::NoProject(from.name())) };
    let mut descriptor = Descriptor::new(&*raw.media_type, raw.digest.clone(), raw.bytes.len() as u64);
    let host = from.domain().split(':').next().unwrap_or_default();
    descriptor.annotations.insert(format!("{SOURCE}{host}"), from.path().to_owned());
    Ok(descriptor)
}

fn parse(from: &Repository, raw: &RawManifest) -> Result<ManifestOrIndex, Error> {
    ManifestOrIndex::parse(Some(&raw.media_type), &raw.bytes)
        .map_err(|source| Error::Image { name: from.name(), source })
}

/// A manifest and all that it lists; each after what lists it.
async fn manifests(from: &Repository, name: &str) -> Result<Vec<RawManifest>, Error> {
    let mut all = vec![from.manifest(name).await?];
    let mut next = 0;
    while let Some(raw) = all.get(next) {
        next += 1;
        let ManifestOrIndex::Index(index) = parse(from, raw)? else { continue };
        for child in index.manifests {
            if all.len() >= MAX_MANIFESTS {
                return Err(Error::Many { name: from.name(), count: MAX_MANIFESTS + 1 });
            }
            if !all.iter().any(|known| known.digest == child.digest) {
                all.push(from.manifest(child.digest.as_str()).await?);
            }
        }
    }
    Ok(all)
}

/// Sees that a blob is in a repository: it is there, is mounted, or is sent.
async fn send(from: &Repository, blob: &Descriptor, to: &Repository) -> Result<(), Error> {
    if to.has_blob(&blob.digest).await? {
        return Ok(());
    }
    let session = if from.domain() == to.domain() {
        match to.mount(&blob.digest, from.path()).await? {
            Mount::Mounted => return Ok(()),
            Mount::Upload(session) => Some(session),
        }
    } else {
        None
    };
    let draft = Draft::new(blob)?;
    draft.fetch(from, blob).await?;
    to.upload(session, &draft.path, blob, Arc::new(|_| {})).await?;
    Ok(())
}

/// A blob on its way; dropping it removes it.
struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    fn new(blob: &Descriptor) -> Result<Draft, Error> {
        let name = format!("dray-blob-{}-{}", std::process::id(), blob.digest.hex());
        let path = std::env::temp_dir().join(name);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match opened {
            Ok(file) => Ok(Draft { path, file }),
            Err(source) => Err(Error::Draft { operation: "open", path, source }),
        }
    }

    /// The registry that it goes to looks at the digest.
    async fn fetch(&self, from: &Repository, blob: &Descriptor) -> Result<(), Error> {
        let mut at = 0;
        while at < blob.size {
            let began = at;
            let mut stream = from.blob(blob, at).await?;
            while let Some(chunk) = stream.next().await {
                match chunk {
                    Ok(chunk) => {
                        let failed =
                            |source| Error::Draft { operation: "write", path: self.path.clone(), source };
                        (&self.file).write_all(&chunk).map_err(failed)?;
                        at += chunk.len() as u64;
                    }
                    // What has come is kept, and the rest asked for.
                    Err(error) if error.is_transient() && at > began => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
