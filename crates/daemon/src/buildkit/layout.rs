//! An image in an OCI layout of the client's machine, read blob by blob over its session and loaded as an archive of
//! the same layout would be.

use std::collections::VecDeque;
use std::io::{self, Cursor, Read};
use std::sync::Arc;

use dray_buildkit::Session;
use dray_buildkit::grpc::Status;
use dray_engine::build::{GivenImage, Service};
use dray_spec::{Descriptor, Digest, Index, Manifest, ManifestOrIndex, Platform};
use tokio::runtime::Handle;

use super::failure;
use super::remote_cache::document;

/// What stands before the name of a store that holds layouts.
const STORE: &str = "oci:";
/// Indexes within indexes.
const DEEPEST: usize = 4;
const BLOCK: u64 = 512;
const MARK: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The image that `store[:tag]@digest` names, for a platform.
pub(crate) async fn image(
    builds: &Arc<Service>,
    session: Session,
    place: &str,
    platform: &Platform,
) -> Result<GivenImage, Status> {
    let wrong = || failure::invalid(format!("could not parse oci-layout reference {place:?}"));
    let (store, digest) = place.split_once('@').ok_or_else(wrong)?;
    let digest: Digest = digest.parse().map_err(|_| wrong())?;
    let store = format!("{STORE}{}", store.split(':').next().unwrap_or_default());
    let (descriptor, bytes, manifest) = manifest(&session, &store, digest, platform).await?;
    if let Some(here) = builds.given_image(&manifest.config.digest).map_err(failure::engine)? {
        return Ok(here);
    }
    let index = serde_json::to_vec(&Index::oci(vec![descriptor.clone()])).map_err(failure::internal)?;
    let mut parts = VecDeque::from([
        Part::bytes("oci-layout", MARK.to_vec())?,
        Part::bytes("index.json", index)?,
        Part::bytes(&blob_name(&descriptor.digest), bytes)?,
    ]);
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        parts.push_back(Part::Head(header(&blob_name(&blob.digest), blob.size)?));
        parts.push_back(Part::Blob { digest: blob.digest.clone(), size: blob.size });
    }
    parts.push_back(Part::Head(vec![0; 2 * BLOCK as usize]));
    let archive = Archive { parts, session, store, handle: Handle::current(), open: None };
    let (builds, platform) = (Arc::clone(builds), platform.clone());
    let loading = tokio::task::spawn_blocking(move || builds.load_given(archive, &platform));
    loading.await.map_err(failure::internal)?.map_err(failure::engine)
}

/// The manifest for a platform, itself or out of an index.
async fn manifest(
    session: &Session,
    store: &str,
    mut digest: Digest,
    platform: &Platform,
) -> Result<(Descriptor, Vec<u8>, Manifest), Status> {
    for _ in 0..DEEPEST {
        let bytes = document(session, store, &digest).await?;
        match ManifestOrIndex::parse(None, &bytes).map_err(failure::internal)? {
            ManifestOrIndex::Manifest(manifest) => {
                let kind = manifest.media_type.clone();
                let kind = kind.unwrap_or_else(|| dray_spec::media_type::OCI_MANIFEST.to_owned());
                return Ok((Descriptor::of(&kind, &bytes), bytes, manifest));
            }
            ManifestOrIndex::Index(index) => {
                let only = (index.manifests.len() == 1).then(|| &index.manifests[0]);
                let missing = || failure::not_found(format!("no match for platform in manifest {digest}"));
                let chosen = index.select(platform).or(only).ok_or_else(missing)?;
                digest = chosen.digest.clone();
            }
        }
    }
    Err(failure::invalid("indexes nest too deeply"))
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}", digest.as_str().replacen(':', "/", 1))
}

fn header(name: &str, size: u64) -> Result<Vec<u8>, Status> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).map_err(failure::internal)?;
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    Ok(header.as_bytes().to_vec())
}

/// A piece of the archive.
enum Part {
    Head(Vec<u8>),
    /// A blob, with what fills its last block.
    Blob {
        digest: Digest,
        size: u64,
    },
}

impl Part {
    fn bytes(name: &str, content: Vec<u8>) -> Result<Part, Status> {
        let mut bytes = header(name, content.len() as u64)?;
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        Ok(Part::Head(bytes))
    }
}

/// The archive, whose blobs are asked for when they are read.
struct Archive {
    parts: VecDeque<Part>,
    session: Session,
    store: String,
    handle: Handle,
    open: Option<Box<dyn Read + Send>>,
}

impl Archive {
    fn next(&mut self) -> io::Result<Option<Box<dyn Read + Send>>> {
        Ok(match self.parts.pop_front() {
            None => None,
            Some(Part::Head(bytes)) => Some(Box::new(Cursor::new(bytes))),
            Some(Part::Blob { digest, size }) => {
                let reading = self.session.read_blob(&self.store, digest.as_str());
                let reader =
                    self.handle.block_on(reading).map_err(|status| io::Error::other(status.message))?;
                let padding = size.next_multiple_of(BLOCK) - size;
                Some(Box::new(reader.take(size).chain(io::repeat(0).take(padding))))
            }
        })
    }
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(open) = &mut self.open {
                match open.read(buffer)? {
                    0 if !buffer.is_empty() => self.open = None,
                    n => return Ok(n),
                }
            }
            self.open = self.next()?;
            if self.open.is_none() {
                return Ok(0);
            }
        }
    }
}
