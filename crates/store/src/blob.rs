//! Blobs: whole, verified bytes by their digest, and the ingests they come from.
//!
//! ```text
//! ingest/resume-<key>.{data,parts}  several streams: see `parts`
//! ingest/resume-<key> ─┐ write … fsync      rename, fsync folder
//! ingest/spool-<n>  ───┼──────────────────► blobs/sha256/<hex>
//!                      └──────────────────► blobs/sha256/<hex>.<boot> ── syncfs, link ──► <hex>
//!                        rename (relaxed)
//! ```
//!
//! Invariant: a file below `blobs/` is complete and has the digest it is named by; one whose name ends in a
//! boot ID only within that boot of the machine. Such a file waits for the next flush of the layers, so that
//! a pull need not wait for the disk; a later boot removes it. An ingest with a key outlives its process and
//! goes on where it stopped; its bytes are hashed anew then, so what a power cut left of it cannot pass for
//! the whole.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dray_spec::{Digest, Hasher};

use crate::db::Durability;
use crate::{Error, Result, durable, fault, parts};

/// A half-written blob that nobody has gone on with for so long is swept at open.
const RESUMABLE_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// The blobs of a store.
#[derive(Clone, Debug)]
pub struct Blobs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    blobs: PathBuf,
    ingest: PathBuf,
    boot: String,
    /// Keys being written now: a second writer of the same gets a file of its own.
    active: Mutex<HashSet<String>>,
    next: AtomicU64,
}

impl Blobs {
    pub(crate) fn at(data_root: &Path) -> Result<Self> {
        let ingest = data_root.join("ingest");
        sweep(&ingest)?;
        parts::sweep_orphans(&ingest)?;
        let blobs = Self(Arc::new(Inner {
            blobs: data_root.join("blobs"),
            ingest,
            boot: durable::boot_id(),
            active: Mutex::default(),
            next: AtomicU64::new(0),
        }));
        blobs.drop_lost()?;
        Ok(blobs)
    }

    /// Where the blob is, or would be.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let path = self.durable_path(digest);
        if path.exists() {
            return path;
        }
        let relaxed = self.relaxed_path(digest);
        if relaxed.exists() { relaxed } else { path }
    }

    fn durable_path(&self, digest: &Digest) -> PathBuf {
        self.0.blobs.join(digest.algorithm()).join(digest.hex())
    }

    fn relaxed_path(&self, digest: &Digest) -> PathBuf {
        self.0.blobs.join(digest.algorithm()).join(format!("{}.{}", digest.hex(), self.0.boot))
    }

    /// True if the blob is there.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// The blob's length; none if it is not there.
    #[must_use]
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|metadata| metadata.len())
    }

    /// What the blob takes on the disk; none if it is not there.
    #[must_use]
    pub fn allocated(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|metadata| metadata.blocks() * 512)
    }

    /// What half-written blobs take on the disk.
    ///
    /// # Errors
    /// If their folder cannot be read.
    pub fn ingesting(&self) -> Result<u64> {
        Ok(crate::usage(&self.0.ingest)?.allocated)
    }

    /// Removes the half-written blobs that nobody is at: their next try begins anew. Gives their lengths' sum.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn abandon(&self) -> Result<u64> {
        // Held throughout: who begins meanwhile waits, and then finds nothing to go on with.
        let active = self.active();
        let busy: HashSet<String> = active.iter().map(|key| resumable_name(key)).collect();
        let mut freed = 0;
        for (name, entry) in durable::entries(&self.0.ingest)? {
            if name.starts_with("resume-") && !busy.contains(&name) {
                freed += entry.metadata().map_or(0, |metadata| metadata.len());
                durable::remove_all(&entry.path())?;
            }
        }
        Ok(freed)
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// If it is not there.
    pub fn open(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::BlobNotFound(digest.clone()),
            _ => Error::io("open", &path, source),
        })
    }

    /// Reads a whole blob: for manifests and configurations.
    ///
    /// # Errors
    /// If it is not there.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(digest)?
            .read_to_end(&mut bytes)
            .map_err(|source| Error::io("read", &self.path(digest), source))?;
        Ok(bytes)
    }

    /// Whether a blob's bytes are still those of its digest. What can be read no more is not.
    ///
    /// # Errors
    /// If it is not there.
    pub fn is_intact(&self, digest: &Digest) -> Result<bool> {
        let mut hasher = Hasher::like(digest);
        let read = hash(&self.open(digest)?, &mut hasher);
        Ok(read.is_ok() && hasher.finish() == *digest)
    }

    /// Stores bytes.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        self.put_with(bytes, Durability::Full)
    }

    /// Stores bytes without waiting for the disk; see [`Ingest::commit_relaxed`].
    ///
    /// # Errors
    /// If the disk fails.
    pub fn put_relaxed(&self, bytes: &[u8]) -> Result<Digest> {
        self.put_with(bytes, Durability::Relaxed)
    }

    fn put_with(&self, bytes: &[u8], durability: Durability) -> Result<Digest> {
        let digest = Digest::sha256_of(bytes);
        if !self.has(&digest) {
            let mut ingest = self.spool()?;
            ingest.append(bytes)?;
            ingest.settle(&digest, durability)?;
        }
        Ok(digest)
    }

    /// Begins or goes on with a blob. `key` says what it will be, best by its digest: who asks with the same
    /// key later goes on at [`Ingest::offset`], also after a restart. While somebody is at it already, a
    /// second writer begins anew in a file of its own.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn ingest(&self, key: &str) -> Result<Ingest> {
        let expected = key.parse::<Digest>().ok();
        if !self.active().insert(key.into()) {
            return self.begin(expected.as_ref());
        }
        let path = self.0.ingest.join(resumable_name(key));
        let mut ingest = Ingest {
            blobs: self.clone(),
            file: match File::options().create(true).read(true).append(true).open(&path) {
                Ok(file) => file,
                Err(source) => {
                    self.active().remove(key);
                    return Err(Error::io("open", &path, source));
                }
            },
            path,
            hasher: expected.as_ref().map_or_else(Hasher::new, Hasher::like),
            hashing: true,
            expected,
            offset: 0,
            key: Some(key.into()),
        };
        ingest.take_in_what_is_there()?;
        Ok(ingest)
    }

    /// Begins a blob whose digest is not known yet, or a file to put something aside; it is gone when the
    /// ingest is dropped.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn spool(&self) -> Result<Ingest> {
        self.begin(None)
    }

    /// As [`Blobs::spool`], for bytes that most likely are put aside for nothing: they are hashed only if they
    /// become a blob after all.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn spool_aside(&self) -> Result<Ingest> {
        let mut ingest = self.begin(None)?;
        ingest.hashing = false;
        Ok(ingest)
    }

    /// Removes a blob; true if it was there. Images that name it must be gone before.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn remove(&self, digest: &Digest) -> Result<bool> {
        let was_there = self.has(digest);
        durable::remove_all(&self.durable_path(digest))?;
        durable::remove_all(&self.relaxed_path(digest))?;
        Ok(was_there)
    }

    /// All blobs, in no order.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            let mut names = HashSet::new();
            for (name, _) in durable::entries(&self.0.blobs.join(algorithm))? {
                names.insert(name.split('.').next().unwrap_or(&name).to_string());
            }
            digests
                .extend(names.iter().filter_map(|hex| format!("{algorithm}:{hex}").parse::<Digest>().ok()));
        }
        Ok(digests)
    }

    /// The blobs that nobody has brought to the disk yet. One that has its lasting name keeps the other until the
    /// next open, and does not count.
    pub(crate) fn relaxed(&self) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            for (name, _) in durable::entries(&self.0.blobs.join(algorithm))? {
                if let Some((hex, _)) = name.split_once('.') {
                    let digest = format!("{algorithm}:{hex}").parse::<Digest>().ok();
                    digests.extend(digest.filter(|digest| !self.durable_path(digest).exists()));
                }
            }
        }
        Ok(digests)
    }

    /// Gives blobs their lasting names, after the disk has their bytes. The other names go with the next
    /// open, so that a path given out before stays good.
    pub(crate) fn settled(&self, digests: &[Digest]) -> Result<()> {
        for digest in digests {
            let (relaxed, path) = (self.relaxed_path(digest), self.durable_path(digest));
            match fs::hard_link(&relaxed, &path) {
                Err(error)
                    if !matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) =>
                {
                    return Err(Error::io("link", &path, error));
                }
                _ => {}
            }
        }
        for algorithm in ["sha256", "sha512"] {
            durable::sync_dir(&self.0.blobs.join(algorithm))?;
        }
        Ok(())
    }

    /// Removes what an earlier boot had not brought to the disk, and names that are no longer needed.
    fn drop_lost(&self) -> Result<()> {
        for algorithm in ["sha256", "sha512"] {
            let folder = self.0.blobs.join(algorithm);
            for (name, entry) in durable::entries(&folder)? {
                let Some((hex, boot)) = name.split_once('.') else { continue };
                if boot != self.0.boot || folder.join(hex).exists() {
                    durable::remove_all(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Where bytes lie before they are blobs.
    pub(crate) fn ingest_folder(&self) -> &Path {
        &self.0.ingest
    }

    /// Makes a file whose digest has been checked a blob, without waiting for the disk.
    pub(crate) fn adopt_relaxed(&self, file: &Path, digest: &Digest) -> Result<()> {
        if self.has(digest) {
            return durable::remove_all(file);
        }
        fault::point("blob.written");
        fs::rename(file, self.relaxed_path(digest)).map_err(|source| Error::io("rename", file, source))?;
        fault::point("blob.relaxed");
        Ok(())
    }

    fn begin(&self, expected: Option<&Digest>) -> Result<Ingest> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let path = self.0.ingest.join(format!("spool-{number}"));
        let file = File::options()
            .create_new(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(|source| Error::io("create", &path, source))?;
        Ok(Ingest {
            blobs: self.clone(),
            file,
            path,
            hasher: expected.map_or_else(Hasher::new, Hasher::like),
            hashing: true,
            expected: expected.cloned(),
            offset: 0,
            key: None,
        })
    }

    fn active(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file in which what is known by this key is written.
fn resumable_name(key: &str) -> String {
    format!("resume-{}", Digest::sha256_of(key.as_bytes()).hex())
}

/// Removes what nobody can go on with.
fn sweep(ingest: &Path) -> Result<()> {
    for (name, entry) in durable::entries(ingest)? {
        let fresh = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age < RESUMABLE_FOR));
        if !(name.starts_with("resume-") && fresh) {
            durable::remove_all(&entry.path())?;
        }
    }
    Ok(())
}

/// A blob on its way in. Dropped, it is kept for the next try if it has a key, else removed.
#[derive(Debug)]
pub struct Ingest {
    blobs: Blobs,
    file: File,
    path: PathBuf,
    hasher: Hasher,
    /// False if the bytes are hashed only when their digest is asked for.
    hashing: bool,
    expected: Option<Digest>,
    offset: u64,
    key: Option<String>,
}

impl Ingest {
    /// How many bytes are there already.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The digest of what is there so far.
    ///
    /// # Errors
    /// If what was put aside unhashed cannot be read again.
    pub fn digest(&mut self) -> Result<Digest> {
        if !self.hashing {
            self.hashing = true;
            self.offset = 0;
            self.take_in_what_is_there()?;
        }
        Ok(self.hasher.clone().finish())
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|source| Error::io("write", &self.path, source))?;
        if self.hashing {
            self.hasher.update(bytes);
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Forgets all bytes: the other side could not go on where we stopped.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|source| Error::io("truncate", &self.path, source))?;
        self.hasher = self.expected.as_ref().map_or_else(Hasher::new, Hasher::like);
        self.offset = 0;
        Ok(())
    }

    /// What has been written so far, from its beginning.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn reader(&self) -> Result<File> {
        File::open(&self.path).map_err(|source| Error::io("open", &self.path, source))
    }

    /// Makes it a blob: checks length and digest, brings it to the disk, gives it its name. What does not
    /// match is removed, so that the next try begins anew.
    ///
    /// # Errors
    /// If the bytes are others than expected, or the disk fails.
    pub fn commit(self, expected: &Digest, size: Option<u64>) -> Result<()> {
        self.commit_with(expected, size, Durability::Full)
    }

    /// Makes it a blob as [`Ingest::commit`] does, without waiting for the disk. A power cut soon after takes
    /// it away as a whole, as it takes an unpacked layer; `kill -9` doesn't. The next flush of the layers,
    /// which follows every image that is recorded, brings it to the disk.
    ///
    /// # Errors
    /// As [`Ingest::commit`].
    pub fn commit_relaxed(self, expected: &Digest, size: Option<u64>) -> Result<()> {
        self.commit_with(expected, size, Durability::Relaxed)
    }

    fn commit_with(mut self, expected: &Digest, size: Option<u64>, durability: Durability) -> Result<()> {
        if self.expected.as_ref() != Some(expected) && expected.algorithm() != "sha256" {
            self.hash_as(expected)?;
        }
        let actual = self.digest()?;
        if let Some(size) = size.filter(|size| *size != self.offset) {
            let error = Error::SizeMismatch { digest: expected.clone(), expected: size, actual: self.offset };
            self.abort()?;
            return Err(error);
        }
        if actual != *expected {
            self.abort()?;
            return Err(Error::DigestMismatch { expected: expected.clone(), actual });
        }
        self.settle(expected, durability)
    }

    /// Makes it a blob of whatever digest it has.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn commit_as_is(mut self) -> Result<(Digest, u64)> {
        let (digest, size) = (self.digest()?, self.offset);
        self.settle(&digest, Durability::Full)?;
        Ok((digest, size))
    }

    /// Makes it a blob of whatever digest it has, without waiting for the disk; see
    /// [`Ingest::commit_relaxed`].
    ///
    /// # Errors
    /// If the disk fails.
    pub fn commit_as_is_relaxed(mut self) -> Result<(Digest, u64)> {
        let (digest, size) = (self.digest()?, self.offset);
        self.settle(&digest, Durability::Relaxed)?;
        Ok((digest, size))
    }

    /// Removes it, also if it has a key.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn abort(self) -> Result<()> {
        durable::remove_all(&self.path)
    }

    fn settle(self, digest: &Digest, durability: Durability) -> Result<()> {
        let there = match durability {
            Durability::Full => self.blobs.durable_path(digest).exists(),
            Durability::Relaxed => self.blobs.has(digest),
        };
        if there {
            return self.abort();
        }
        fault::point("blob.written");
        if durability == Durability::Relaxed {
            let path = self.blobs.relaxed_path(digest);
            fs::rename(&self.path, &path).map_err(|source| Error::io("rename", &self.path, source))?;
            fault::point("blob.relaxed");
            return Ok(());
        }
        self.file.sync_all().map_err(|source| Error::io("sync", &self.path, source))?;
        fault::point("blob.synced");
        let path = self.blobs.durable_path(digest);
        fs::rename(&self.path, &path).map_err(|source| Error::io("rename", &self.path, source))?;
        fault::point("blob.renamed");
        path.parent().map_or(Ok(()), durable::sync_dir)?;
        fault::point("blob.done");
        Ok(())
    }

    fn hash_as(&mut self, expected: &Digest) -> Result<()> {
        self.hasher = Hasher::like(expected);
        self.hashing = true;
        self.offset = 0;
        self.take_in_what_is_there()
    }

    fn take_in_what_is_there(&mut self) -> Result<()> {
        let read = hash(&self.reader()?, &mut self.hasher);
        self.offset += read.map_err(|source| Error::io("read", &self.path, source))?;
        Ok(())
    }
}

/// Hashes what is left of a file, and tells how much that is.
fn hash(mut file: &File, hasher: &mut Hasher) -> io::Result<u64> {
    let (mut buffer, mut total) = (vec![0; 256 * 1024], 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(|error| match error {
            Error::Io { source, .. } => source,
            other => io::Error::other(other),
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        match &self.key {
            Some(key) => {
                self.blobs.active().remove(key);
            }
            // After a commit the file is gone from here already.
            None => {
                if let Err(error) = durable::remove_all(&self.path) {
                    tracing::warn!(%error, "ingest");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["blobs/sha256", "blobs/sha512", "ingest"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let blobs = Blobs::at(dir.path()).unwrap();
        (dir, blobs)
    }

    fn leftovers(dir: &tempfile::TempDir) -> usize {
        fs::read_dir(dir.path().join("ingest")).unwrap().count()
    }

    #[test]
    fn put_read_list_remove() {
        let (dir, blobs) = blobs();
        let digest = blobs.put(b"hello").unwrap();
        assert_eq!(blobs.put(b"hello").unwrap(), digest);
        assert!(blobs.has(&digest));
        assert_eq!(blobs.size(&digest), Some(5));
        assert_eq!(blobs.read(&digest).unwrap(), b"hello");
        assert_eq!(blobs.list().unwrap(), std::slice::from_ref(&digest));
        assert!(blobs.remove(&digest).unwrap());
        assert!(!blobs.remove(&digest).unwrap());
        assert!(matches!(blobs.read(&digest), Err(Error::BlobNotFound(_))));
        assert_eq!(leftovers(&dir), 0);
    }

    #[test]
    fn goes_on_where_it_stopped_also_after_a_restart() {
        let (dir, blobs) = blobs();
        let digest = Digest::sha256_of(b"hello world");
        let mut first = blobs.ingest(digest.as_str()).unwrap();
        first.append(b"hello ").unwrap();
        drop(first);
        drop(blobs);
        let blobs = Blobs::at(dir.path()).unwrap();
        let mut second = blobs.ingest(digest.as_str()).unwrap();
        assert_eq!(second.offset(), 6);
        second.append(b"world").unwrap();
        second.commit(&digest, Some(11)).unwrap();
        assert!(blobs.has(&digest));
        assert_eq!(leftovers(&dir), 0);
    }

    #[test]
    fn what_does_not_match_is_refused_and_removed() {
        let (dir, blobs) = blobs();
        let digest = Digest::sha256_of(b"right");
        let mut ingest = blobs.ingest(digest.as_str()).unwrap();
        ingest.append(b"wrong").unwrap();
        let error = ingest.commit(&digest, Some(5)).unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
        let mut ingest = blobs.ingest(digest.as_str()).unwrap();
        assert_eq!(ingest.offset(), 0);
        ingest.append(b"right and more").unwrap();
        let error = ingest.commit(&digest, Some(5)).unwrap_err();
        assert!(matches!(error, Error::SizeMismatch { actual: 14, .. }), "{error}");
        assert_eq!((leftovers(&dir), blobs.has(&digest)), (0, false));
    }

    #[test]
    fn a_relaxed_blob_is_one_until_the_machine_starts_anew() {
        let (dir, blobs) = blobs();
        let digest = blobs.put_relaxed(b"fresh").unwrap();
        assert_eq!(blobs.read(&digest).unwrap(), b"fresh");
        assert_eq!(blobs.list().unwrap(), std::slice::from_ref(&digest));
        let (before, folder) = (blobs.path(&digest), dir.path().join("blobs/sha256"));
        // The daemon was killed.
        drop(blobs);
        let blobs = Blobs::at(dir.path()).unwrap();
        assert!(blobs.has(&digest));
        // Its bytes reached the disk.
        assert_eq!(blobs.relaxed().unwrap(), std::slice::from_ref(&digest));
        blobs.settled(&blobs.relaxed().unwrap()).unwrap();
        assert_eq!(blobs.path(&digest), folder.join(digest.hex()));
        assert!(before.exists(), "who holds the path may still open it");
        assert_eq!(blobs.list().unwrap().len(), 1);
        drop(blobs);
        let blobs = Blobs::at(dir.path()).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(blobs.remove(&digest).unwrap());
        assert!(!blobs.has(&digest));
        // The machine lost power before the bytes reached the disk.
        let digest = blobs.put_relaxed(b"lost").unwrap();
        let other_boot = folder.join(format!("{}.another-boot", digest.hex()));
        fs::rename(blobs.path(&digest), &other_boot).unwrap();
        assert!(!blobs.has(&digest));
        drop(blobs);
        let blobs = Blobs::at(dir.path()).unwrap();
        assert!(!blobs.has(&digest) && !other_boot.exists());
    }

    #[test]
    fn two_writers_of_the_same_do_not_meet() {
        let (dir, blobs) = blobs();
        let digest = Digest::sha256_of(b"same");
        let mut one = blobs.ingest(digest.as_str()).unwrap();
        let mut two = blobs.ingest(digest.as_str()).unwrap();
        one.append(b"sa").unwrap();
        two.append(b"same").unwrap();
        one.append(b"me").unwrap();
        two.commit(&digest, None).unwrap();
        one.commit(&digest, None).unwrap();
        assert_eq!(blobs.read(&digest).unwrap(), b"same");
        assert_eq!(leftovers(&dir), 0);
    }

    #[test]
    fn restart_and_spool() {
        let (dir, blobs) = blobs();
        let mut ingest = blobs.ingest("some key").unwrap();
        ingest.append(b"xxx").unwrap();
        ingest.restart().unwrap();
        ingest.append(b"abc").unwrap();
        assert_eq!(ingest.commit_as_is().unwrap(), (Digest::sha256_of(b"abc"), 3));
        let mut spool = blobs.spool().unwrap();
        spool.append(b"aside").unwrap();
        let mut text = String::new();
        spool.reader().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "aside");
        drop(spool);
        assert_eq!(leftovers(&dir), 0);
    }

    #[test]
    fn what_was_put_aside_is_hashed_when_it_is_wanted() {
        let (dir, blobs) = blobs();
        let mut aside = blobs.spool_aside().unwrap();
        aside.append(b"some ").unwrap();
        aside.append(b"bytes").unwrap();
        let digest = Digest::sha256_of(b"some bytes");
        assert_eq!(aside.digest().unwrap(), digest);
        assert_eq!(aside.commit_as_is().unwrap(), (digest.clone(), 10));
        let mut wrong = blobs.spool_aside().unwrap();
        wrong.append(b"others").unwrap();
        assert!(matches!(wrong.commit(&digest, None), Err(Error::DigestMismatch { .. })));
        drop(blobs.spool_aside().unwrap());
        assert_eq!(leftovers(&dir), 0);
    }

    #[test]
    fn what_nobody_is_at_can_be_abandoned() {
        let (dir, blobs) = blobs();
        let mut left = blobs.ingest("left").unwrap();
        left.append(b"12345").unwrap();
        drop(left);
        let mut busy = blobs.ingest("busy").unwrap();
        busy.append(b"1").unwrap();
        let _spool = blobs.spool().unwrap();
        assert_eq!(blobs.abandon().unwrap(), 5);
        assert_eq!(leftovers(&dir), 2);
        busy.commit(&Digest::sha256_of(b"1"), Some(1)).unwrap();
        assert_eq!(blobs.ingest("left").unwrap().offset(), 0);
    }

    #[test]
    fn sha512_is_verified_whatever_the_key() {
        let (_dir, blobs) = blobs();
        let mut hasher = Hasher::like(&format!("sha512:{}", "0".repeat(128)).parse().unwrap());
        hasher.update(b"abc");
        let digest = hasher.finish();
        let mut spool = blobs.spool().unwrap();
        spool.append(b"abc").unwrap();
        spool.commit(&digest, Some(3)).unwrap();
        assert_eq!(blobs.read(&digest).unwrap(), b"abc");
    }
}
