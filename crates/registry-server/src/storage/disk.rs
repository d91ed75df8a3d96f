//! Storage on a local disk.
//!
//! ```text
//! <data-root>/blobs/<first 2 digits>/<key>     256 folders, made at the start
//! ```
//!
//! A file is written in place under its final name, which nobody else knows before the metadata says so: there is
//! nothing to rename. Sealing brings file and folder to the disk before the metadata may name the object.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Content, Draft, Error, Result, Storage};
use crate::name::Key;

/// So much is written before the kernel is asked to begin bringing it to the disk: the flush at the end then finds
/// little left to do.
const WRITE_BEHIND: u64 = 16 * 1024 * 1024;

/// Objects as files in a folder.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Opens the storage in `root`, making it where it is not there.
    ///
    /// # Errors
    /// If its folders cannot be made.
    pub fn open(root: &Path) -> Result<Self> {
        for shard in 0..256 {
            let path = root.join(format!("{shard:02x}"));
            fs::create_dir_all(&path).map_err(failed("create", &path))?;
        }
        sync_folder(root)?;
        Ok(Self { root: root.to_path_buf() })
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(&key.as_str()[..2]).join(key.as_str())
    }

    fn draft(&self, key: &Key, file: File, offset: u64) -> Box<dyn Draft> {
        Box::new(DiskDraft { file: Arc::new(file), path: self.path(key), offset, behind: offset })
    }
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::Io { operation, path: path.clone(), source }
}

fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed("sync", path))
}

/// Does what may wait for the disk on a thread that may wait.
async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Abandoned { operation })?
}

#[async_trait]
impl Storage for Disk {
    async fn create(&self, key: &Key) -> Result<Box<dyn Draft>> {
        let path = self.path(key);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed("create", &path))?;
        Ok(self.draft(key, file, 0))
    }

    async fn resume(&self, key: &Key, offset: u64, _state: &[u8]) -> Result<Box<dyn Draft>> {
        let path = self.path(key);
        let file = File::options().read(true).write(true).create(offset == 0).truncate(false).open(&path);
        let file = file.map_err(failed("open", &path))?;
        let found = file.metadata().map_err(failed("read", &path))?.len();
        if found < offset {
            return Err(Error::Lost { key: key.clone(), found, recorded: offset });
        }
        // What came after the checkpoint may be of anybody's making.
        file.set_len(offset).map_err(failed("truncate", &path))?;
        Ok(self.draft(key, file, offset))
    }

    async fn open(&self, key: &Key, range: Range<u64>) -> Result<Option<Content>> {
        let path = self.path(key);
        match File::open(&path) {
            Ok(file) => Ok(Some(Content::File { file: Arc::new(file), range })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open", &path)(error)),
        }
    }

    async fn remove(&self, key: &Key, _state: &[u8]) -> Result<()> {
        let path = self.path(key);
        // Freeing a large file takes a while.
        blocking("remove", move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        })
        .await
    }

    async fn keys(&self) -> Result<Vec<Key>> {
        let root = self.root.clone();
        blocking("list", move || {
            let mut keys = Vec::new();
            for shard in 0..256 {
                let path = root.join(format!("{shard:02x}"));
                for entry in fs::read_dir(&path).map_err(failed("list", &path))? {
                    let name = entry.map_err(failed("list", &path))?.file_name();
                    keys.extend(name.to_str().and_then(Key::parse));
                }
            }
            Ok(keys)
        })
        .await
    }

    async fn check(&self) -> Result<()> {
        let path = self.root.clone();
        blocking("check", move || {
            let probe = path.join("probe");
            fs::write(&probe, b"probe")
                .and_then(|()| fs::remove_file(&probe))
                .map_err(failed("write", &probe))
        })
        .await
    }
}

struct DiskDraft {
    file: Arc<File>,
    path: PathBuf,
    offset: u64,
    behind: u64,
}

#[async_trait]
impl Draft for DiskDraft {
    async fn write(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        let (file, path, mut at, behind) =
            (Arc::clone(&self.file), self.path.clone(), self.offset, self.behind);
        (self.offset, self.behind) = blocking("write", move || {
            for piece in &pieces {
                file.write_all_at(piece, at).map_err(failed("write", &path))?;
                at += piece.len() as u64;
            }
            if at - behind < WRITE_BEHIND {
                return Ok((at, behind));
            }
            // A hint; if the file system does not take it, the flush at the end does all.
            let _ = dray_sys::flush::begin(&*file, behind, at - behind);
            Ok((at, at))
        })
        .await?;
        Ok(())
    }

    async fn checkpoint(&mut self) -> Result<Vec<u8>> {
        // Written is enough: the page cache outlives the process, and a power cut takes the record too.
        Ok(Vec::new())
    }

    fn written(&self) -> Option<Arc<File>> {
        Some(self.file.clone())
    }

    async fn seal(&mut self) -> Result<()> {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        blocking("sync", move || {
            file.sync_data().map_err(failed("sync", &path))?;
            path.parent().map_or(Ok(()), sync_folder)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        contract::run(&Disk::open(dir.path()).unwrap()).await;
    }

    #[tokio::test]
    async fn a_record_ahead_of_the_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let key = Key::random();
        disk.create(&key).await.unwrap().write(vec![Bytes::from_static(b"abc")]).await.unwrap();
        let error = disk.resume(&key, 4, &[]).await.err().unwrap().to_string();
        assert!(error.ends_with("has 3 bytes, its upload recorded 4"), "{error}");
    }
}
