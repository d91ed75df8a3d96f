//! Folders of this machine as content stores of a build: OCI image layouts that caches are read from and written to.
//!
//! ```text
//! <folder>/blobs/sha256/<hex>   whole, verified blobs
//! <folder>/index.json           which manifest has which tag
//! <folder>/oci-layout
//! ```

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dray_buildkit::content::STORE_ID;
use dray_buildkit::grpc::{Call, Code, Reply, ReplySender, Status};
use dray_buildkit::proto::content::{
    ReadContentRequest, ReadContentResponse, WriteAction, WriteContentRequest, WriteContentResponse,
};
use dray_spec::{Descriptor, Digest, Hasher, Index};

/// Bytes of a blob in one message.
const PIECE: usize = 1 << 20;
/// The annotation with a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The folders, by the names that the daemon knows them by.
#[derive(Debug, Default)]
pub struct Stores(HashMap<String, PathBuf>);

impl Stores {
    /// Adds the folder `path`, which may not be there yet; gives its name.
    pub fn add(&mut self, path: &str) -> String {
        let name = format!("local:{path}");
        self.0.insert(name.clone(), path.into());
        name
    }

    /// Adds a folder with images for a build; gives its name there.
    pub fn add_layout(&mut self, path: &str) -> String {
        let name = format!("layout{}", self.0.len());
        self.0.insert(format!("oci:{name}"), path.into());
        name
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, call: &Call) -> Result<PathBuf, Status> {
        let name = call.metadata.get(STORE_ID).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let missing = || Status::new(Code::NotFound, format!("unknown store {name}"));
        self.0.get(name).cloned().ok_or_else(missing)
    }

    /// Gives a blob.
    pub async fn read(&self, mut call: Call) -> Result<Reply, Status> {
        let folder = self.of(&call)?;
        let request: ReadContentRequest = call.messages.only().await?;
        let path = blob_path(&folder, &parse(&request.digest)?);
        let missing = |error: io::Error| Status::new(Code::NotFound, format!("{}: {error}", path.display()));
        let file = File::open(&path).map_err(missing)?;
        let (sender, reply) = Reply::many();
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || runtime.block_on(send(file, sender)));
        Ok(reply)
    }

    /// Takes a blob.
    pub async fn write(&self, mut call: Call) -> Result<Reply, Status> {
        let folder = self.of(&call)?;
        let mut draft: Option<Draft> = None;
        while let Some(message) = call.messages.next::<WriteContentRequest>().await? {
            let digest = parse(&message.expected)?;
            if draft.is_none() && blob_path(&folder, &digest).exists() {
                return Err(Status::new(Code::AlreadyExists, format!("content {digest}: already exists")));
            }
            let failed =
                |error: io::Error| Status::new(Code::Unknown, format!("{}: {error}", folder.display()));
            let mut open = match draft.take() {
                Some(open) => open,
                None => Draft::create(&folder, digest).map_err(failed)?,
            };
            open.take(&message.data).map_err(failed)?;
            match message.action() {
                WriteAction::Commit => open.finish(&folder).map_err(failed)?,
                _ => draft = Some(open),
            }
        }
        let (sender, reply) = Reply::many();
        sender.send(&WriteContentResponse::default()).await;
        Ok(reply)
    }
}

async fn send(mut file: File, sender: ReplySender) {
    let (mut buffer, mut offset) = (vec![0; PIECE], 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => {
                let data = Bytes::copy_from_slice(&buffer[..read]);
                if !sender.send(&ReadContentResponse { offset, data }).await {
                    return;
                }
                offset += i64::try_from(read).unwrap_or(0);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return sender.fail(Status::new(Code::Unknown, error.to_string())).await,
        }
    }
}

fn parse(digest: &str) -> Result<Digest, Status> {
    digest.parse().map_err(|_| Status::new(Code::InvalidArgument, format!("invalid digest {digest:?}")))
}

fn blob_path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join("blobs").join(digest.algorithm()).join(digest.hex())
}

/// A blob on its way in; removed unless finished.
struct Draft {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    digest: Digest,
}

impl Draft {
    fn create(folder: &Path, digest: Digest) -> io::Result<Draft> {
        let target = blob_path(folder, &digest);
        let name = format!(".{}.{}", digest.hex(), std::process::id());
        let path = target.with_file_name(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let file = File::create(&path)?;
        Ok(Draft { path, file, hasher: Hasher::like(&digest), digest })
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }

    fn finish(mut self, folder: &Path) -> io::Result<()> {
        let actual = std::mem::take(&mut self.hasher).finish();
        if actual != self.digest {
            return Err(io::Error::other(format!("expected {}, got {actual}", self.digest)));
        }
        fs::rename(&self.path, blob_path(folder, &self.digest))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a finish it has another name.
        let _ = fs::remove_file(&self.path);
    }
}

/// The manifest that has a tag in a folder; none if there is no such tag, or no cache at all.
///
/// # Errors
/// The index cannot be read.
pub fn tagged(folder: &Path, tag: &str) -> io::Result<Option<Digest>> {
    let index = read_index(folder)?;
    let found =
        index.manifests.into_iter().find(|entry| entry.annotations.get(REF_NAME).is_some_and(|t| t == tag));
    Ok(found.map(|entry| entry.digest))
}

/// Gives a manifest a tag, which another one may have had.
///
/// # Errors
/// The index cannot be read or written.
pub fn tag(folder: &Path, mut manifest: Descriptor, tag: &str) -> io::Result<()> {
    let mut index = read_index(folder)?;
    index.manifests.retain(|entry| entry.annotations.get(REF_NAME).is_none_or(|t| t != tag));
    manifest.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
    index.manifests.push(manifest);
    fs::write(folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let draft = folder.join(format!(".index.json.{}", std::process::id()));
    fs::write(&draft, serde_json::to_vec(&index)?)?;
    fs::rename(draft, folder.join("index.json"))
}

fn read_index(folder: &Path) -> io::Result<Index> {
    match fs::read(folder.join("index.json")) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::oci(Vec::new())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_moves_from_one_manifest_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(tagged(dir.path(), "latest").unwrap(), None);
        let manifest = |seed: &[u8]| Descriptor::of("application/vnd.oci.image.manifest.v1+json", seed);
        tag(dir.path(), manifest(b"1"), "latest").unwrap();
        tag(dir.path(), manifest(b"2"), "other").unwrap();
        tag(dir.path(), manifest(b"3"), "latest").unwrap();
        assert_eq!(tagged(dir.path(), "latest").unwrap(), Some(Digest::sha256_of(b"3")));
        assert_eq!(tagged(dir.path(), "other").unwrap(), Some(Digest::sha256_of(b"2")));
        fs::write(dir.path().join("index.json"), "{").unwrap();
        assert!(tagged(dir.path(), "latest").is_err());
    }

    #[test]
    fn only_a_blob_of_its_digest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::sha256_of(b"right");
        for (bytes, right) in [(&b"wrong"[..], false), (b"right", true)] {
            let mut draft = Draft::create(dir.path(), digest.clone()).unwrap();
            draft.take(bytes).unwrap();
            assert_eq!(draft.finish(dir.path()).is_ok(), right);
            assert_eq!(blob_path(dir.path(), &digest).exists(), right);
        }
        assert_eq!(fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count(), 1);
    }
}
