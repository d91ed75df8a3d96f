//! A large blob on its way in by several streams at once.
//!
//! ```text
//! ingest/resume-<key>.data     the bytes, each at its place; holes where none have come yet
//! ingest/resume-<key>.parts    size, part size, then for each part how many of its bytes are there
//! ```
//!
//! Each part grows from its beginning. A part's count is written after its bytes, so that after `kill -9` no byte
//! counts that is not there; what a power cut leaves of it is found by the digest, which is checked over the
//! whole file before it becomes a blob.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dray_spec::{Digest, Hasher};

use crate::blob::Blobs;
use crate::{Error, Result, durable};

/// Size and part size, eight bytes each.
const HEADER: u64 = 16;
/// How much is hashed at once.
const CHUNK: usize = 256 * 1024;

/// The blob's file while it is written. Dropped, it stays for the next try.
#[derive(Debug)]
pub struct Parts {
    blobs: Blobs,
    digest: Digest,
    size: u64,
    part: u64,
    data: PathBuf,
    counts: PathBuf,
    file: File,
    journal: File,
    state: Mutex<State>,
    digest_found: Mutex<Option<Digest>>,
}

#[derive(Debug)]
struct State {
    /// Bytes of each part that are there.
    there: Vec<u64>,
    /// Parts that a stream is at.
    claimed: Vec<bool>,
}

/// A part that a stream is going to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which one.
    pub index: usize,
    /// The first byte that is missing, counted from the blob's start.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
}

impl Blobs {
    /// Begins or goes on with the blob `digest` of `size` bytes in parts of `part` bytes. Only one may be open
    /// at a time; the caller sees to it.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn parts(&self, digest: &Digest, size: u64, part: u64) -> Result<Parts> {
        let name = format!("resume-{}", Digest::sha256_of(digest.as_str().as_bytes()).hex());
        let data = self.ingest_folder().join(format!("{name}.data"));
        let counts = self.ingest_folder().join(format!("{name}.parts"));
        let (file, journal) = (open(&data)?, open(&counts)?);
        let part = part.max(1);
        let count = usize::try_from(size.div_ceil(part)).unwrap_or(usize::MAX);
        let parts = Parts {
            blobs: self.clone(),
            digest: digest.clone(),
            size,
            part,
            data,
            counts,
            file,
            journal,
            state: Mutex::new(State { there: vec![0; count], claimed: vec![false; count] }),
            digest_found: Mutex::default(),
        };
        if !parts.take_in_what_is_there()? {
            parts.restart()?;
        }
        Ok(parts)
    }
}

fn open(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| Error::io("open", path, source))
}

impl Parts {
    /// Reads the counts of an earlier try; false if they are of another blob or make no sense.
    fn take_in_what_is_there(&self) -> Result<bool> {
        let length = self.file.metadata().map_err(|source| Error::io("stat", &self.data, source))?.len();
        let mut bytes = vec![0; self.header().len() + 8 * self.state().there.len()];
        match self.journal.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(source) => return Err(Error::io("read", &self.counts, source)),
        }
        if length != self.size || !bytes.starts_with(&self.header()) {
            return Ok(false);
        }
        let mut state = self.state();
        for (index, count) in bytes[self.header().len()..].chunks_exact(8).enumerate() {
            let count = u64::from_le_bytes(count.try_into().unwrap_or_default());
            if count > self.length_of(index) {
                return Ok(false);
            }
            state.there[index] = count;
        }
        Ok(true)
    }

    fn header(&self) -> [u8; HEADER as usize] {
        let mut header = [0; HEADER as usize];
        header[..8].copy_from_slice(&self.size.to_le_bytes());
        header[8..].copy_from_slice(&self.part.to_le_bytes());
        header
    }

    fn length_of(&self, index: usize) -> u64 {
        self.part.min(self.size - self.start_of(index))
    }

    fn start_of(&self, index: usize) -> u64 {
        (index as u64).saturating_mul(self.part).min(self.size)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all bytes.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn restart(&self) -> Result<()> {
        let count = self.state().there.len();
        let mut journal = self.header().to_vec();
        journal.resize(journal.len() + 8 * count, 0);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::io("write", &path, source)
        };
        // The counts go first: none of them may be about bytes that are gone.
        self.journal.set_len(0).map_err(failed(&self.counts))?;
        self.file.set_len(0).and_then(|()| self.file.set_len(self.size)).map_err(failed(&self.data))?;
        self.journal.write_all_at(&journal, 0).map_err(failed(&self.counts))?;
        let mut state = self.state();
        state.there.fill(0);
        state.claimed.fill(false);
        *self.digest_found.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// The first part that lacks bytes and that no stream is at; it is the caller's until it is released.
    pub fn claim(&self) -> Option<Part> {
        let mut state = self.state();
        let free = |index: &usize| !state.claimed[*index] && state.there[*index] < self.length_of(*index);
        let index = (0..state.there.len()).find(free)?;
        state.claimed[index] = true;
        let start = self.start_of(index);
        Some(Part { index, from: start + state.there[index], to: start + self.length_of(index) })
    }

    /// Gives a part back, with as many of its bytes as have come.
    pub fn release(&self, part: &Part) {
        self.state().claimed[part.index] = false;
    }

    /// Writes bytes that belong at `at`, where their part has grown to. They may reach into the next parts.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn write(&self, mut at: u64, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let index = usize::try_from(at / self.part).unwrap_or(usize::MAX);
            let (start, length) = (self.start_of(index), self.length_of(index));
            let now = usize::try_from(start + length - at).unwrap_or(usize::MAX).min(bytes.len());
            if now == 0 {
                return Err(Error::SizeMismatch {
                    digest: self.digest.clone(),
                    expected: self.size,
                    actual: at + bytes.len() as u64,
                });
            }
            let failed = |source| Error::io("write", &self.data, source);
            self.file.write_all_at(&bytes[..now], at).map_err(failed)?;
            at += now as u64;
            self.count(index, at - start)?;
            bytes = &bytes[now..];
        }
        Ok(())
    }

    fn count(&self, index: usize, there: u64) -> Result<()> {
        let place = HEADER + 8 * index as u64;
        self.journal
            .write_all_at(&there.to_le_bytes(), place)
            .map_err(|source| Error::io("write", &self.counts, source))?;
        let mut state = self.state();
        state.there[index] = state.there[index].max(there);
        Ok(())
    }

    /// How many bytes are there without a hole, from the start.
    pub fn contiguous(&self) -> u64 {
        let state = self.state();
        let mut reached = 0;
        for (index, there) in state.there.iter().enumerate() {
            reached += there;
            if *there < self.length_of(index) {
                break;
            }
        }
        reached
    }

    /// How many bytes are there in all.
    pub fn there(&self) -> u64 {
        self.state().there.iter().sum()
    }

    /// The file from its start.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn reader(&self) -> Result<File> {
        File::open(&self.data).map_err(|source| Error::io("open", &self.data, source))
    }

    /// Computes the digest behind the streams. `wait` is given how far it has come, and returns once more is there
    /// without a hole: how much.
    ///
    /// # Errors
    /// If `wait` gives up, or the file cannot be read.
    pub fn hash(&self, mut wait: impl FnMut(u64) -> io::Result<u64>) -> Result<()> {
        let failed = |source| Error::io("read", &self.data, source);
        let mut hasher = Hasher::like(&self.digest);
        let (mut at, mut buffer) = (0, vec![0; CHUNK]);
        while at < self.size {
            let there = wait(at).map_err(failed)?;
            while at < there {
                let now = usize::try_from(there - at).unwrap_or(CHUNK).min(CHUNK);
                self.file.read_exact_at(&mut buffer[..now], at).map_err(failed)?;
                hasher.update(&buffer[..now]);
                at += now as u64;
            }
        }
        *self.digest_found.lock().unwrap_or_else(PoisonError::into_inner) = Some(hasher.finish());
        Ok(())
    }

    /// Makes it a blob, without waiting for the disk (see [`crate::Ingest::commit_relaxed`]). What does not match is
    /// removed, so that the next try begins anew.
    ///
    /// # Errors
    /// If bytes are missing, others than expected, or the disk fails.
    pub fn commit_relaxed(&self) -> Result<()> {
        let there = self.contiguous();
        if there != self.size {
            let (expected, digest) = (self.size, self.digest.clone());
            return Err(Error::SizeMismatch { digest, expected, actual: there });
        }
        let found = || self.digest_found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if found().is_none() {
            self.hash(|_| Ok(self.size))?;
        }
        match found() {
            Some(actual) if actual != self.digest => {
                self.abort()?;
                Err(Error::DigestMismatch { expected: self.digest.clone(), actual })
            }
            _ => {
                self.blobs.adopt_relaxed(&self.data, &self.digest)?;
                durable::remove_all(&self.counts)
            }
        }
    }

    /// Removes it.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn abort(&self) -> Result<()> {
        durable::remove_all(&self.counts)?;
        durable::remove_all(&self.data)
    }

    /// Removes it if not one byte has come.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn abort_if_empty(&self) -> Result<()> {
        if self.there() == 0 { self.abort() } else { Ok(()) }
    }
}

/// Whether an ingest's file belongs to another of its name: it goes when that one does.
pub(crate) fn sweep_orphans(folder: &Path) -> Result<()> {
    for (name, entry) in durable::entries(folder)? {
        let other = match name.rsplit_once('.') {
            Some((key, "data")) => folder.join(format!("{key}.parts")),
            Some((key, "parts")) => folder.join(format!("{key}.data")),
            _ => continue,
        };
        if fs::symlink_metadata(&other).is_err() {
            durable::remove_all(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"0123456789abcdefghijklmno";

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["ingest", "blobs/sha256", "blobs/sha512"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let blobs = Blobs::at(dir.path()).unwrap();
        (dir, blobs)
    }

    fn left(dir: &tempfile::TempDir) -> usize {
        fs::read_dir(dir.path().join("ingest")).unwrap().count()
    }

    #[test]
    fn parts_come_in_any_order_and_over_restarts() {
        let (dir, blobs) = blobs();
        let digest = Digest::sha256_of(TEXT);
        let parts = blobs.parts(&digest, 25, 10).unwrap();
        let (one, two, three) = (parts.claim().unwrap(), parts.claim().unwrap(), parts.claim().unwrap());
        assert_eq!((one.from, one.to, two.from, three.to), (0, 10, 10, 25));
        assert_eq!(parts.claim(), None);
        parts.write(20, &TEXT[20..25]).unwrap();
        parts.write(10, &TEXT[10..13]).unwrap();
        assert_eq!((parts.contiguous(), parts.there()), (0, 8));
        parts.write(0, &TEXT[..4]).unwrap();
        assert_eq!((parts.contiguous(), parts.there()), (4, 12));
        // The daemon was killed.
        drop(parts);
        let blobs = Blobs::at(dir.path()).unwrap();
        let parts = blobs.parts(&digest, 25, 10).unwrap();
        assert_eq!(parts.claim(), Some(Part { index: 0, from: 4, to: 10 }));
        let second = parts.claim().unwrap();
        assert_eq!((second.from, second.to, parts.claim()), (13, 20, None));
        // A stream that reaches into the next part, as a registry without ranges sends it.
        parts.write(4, &TEXT[4..20]).unwrap();
        assert!(parts.commit_relaxed().is_ok());
        assert_eq!(blobs.read(&digest).unwrap(), TEXT);
        assert_eq!(left(&dir), 0);
    }

    #[test]
    fn the_digest_is_checked_behind_the_streams() {
        let (dir, blobs) = blobs();
        let digest = Digest::sha256_of(TEXT);
        let parts = blobs.parts(&digest, 25, 7).unwrap();
        let mut fed = 0;
        let hashed = parts.hash(|at| {
            assert_eq!(at, fed);
            let next = (at + 6).min(25);
            let (from, to) = (usize::try_from(at).unwrap(), usize::try_from(next).unwrap());
            parts.write(at, &TEXT[from..to]).unwrap();
            fed = next;
            Ok(parts.contiguous())
        });
        hashed.unwrap();
        parts.commit_relaxed().unwrap();
        assert!(blobs.has(&digest));
        let other = Digest::sha256_of(b"other");
        let parts = blobs.parts(&other, 25, 7).unwrap();
        parts.write(0, TEXT).unwrap();
        assert!(matches!(parts.commit_relaxed(), Err(Error::DigestMismatch { .. })));
        assert_eq!((left(&dir), blobs.has(&other)), (0, false));
    }

    #[test]
    fn what_makes_no_sense_begins_anew() {
        let (dir, blobs) = blobs();
        let digest = Digest::sha256_of(TEXT);
        blobs.parts(&digest, 25, 10).unwrap().write(0, &TEXT[..9]).unwrap();
        assert_eq!(blobs.parts(&digest, 25, 8).unwrap().there(), 0, "other parts");
        let parts = blobs.parts(&digest, 25, 8).unwrap();
        parts.write(0, &TEXT[..9]).unwrap();
        assert!(matches!(parts.commit_relaxed(), Err(Error::SizeMismatch { actual: 9, .. })));
        assert!(parts.write(24, b"xx").is_err(), "too long");
        fs::write(&parts.counts, [0xff; 40]).unwrap();
        drop(parts);
        let parts = blobs.parts(&digest, 25, 8).unwrap();
        assert_eq!(parts.there(), 0);
        parts.abort_if_empty().unwrap();
        assert_eq!(left(&dir), 0);
        // A file without its other half is of no use.
        blobs.parts(&digest, 25, 8).unwrap().write(0, b"0").unwrap();
        let half = dir
            .path()
            .join("ingest")
            .read_dir()
            .unwrap()
            .flatten()
            .find(|e| e.path().extension().is_some_and(|x| x == "parts"));
        fs::remove_file(half.unwrap().path()).unwrap();
        Blobs::at(dir.path()).unwrap();
        assert_eq!(left(&dir), 0);
    }
}
