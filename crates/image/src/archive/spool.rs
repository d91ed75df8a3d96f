//! An archive set aside: its files by name, small ones in memory, big ones as ingests of the store.
//!
//! What an archive's files mean is known only at its end (`manifest.json` is the last entry but one), and a
//! stream cannot be read twice. But a big file is a layer nearly always: it is unpacked into a draft while it
//! arrives, beside being set aside as it came, and the files behind it are read meanwhile. If that fails, or nobody
//! wants it as a layer, only the draft is lost. A big file that becomes a blob is not written again: its ingest is
//! committed.
//!
//! ```text
//! archive ─► ingest of layer 1 ─► (page cache) ─► draft 1
//!         ─► ingest of layer 2 ─► (page cache) ─► draft 2     MOST_DRAFTS at once, each on threads of its own
//! ```
//!
//! Of an archive that is a file here (see [`super::file_part`]) plain layers are not set aside: they are read where they
//! stand, and the reading passes over them.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use dray_spec::Digest;
use dray_store::Store;

use super::MOST_ENTRIES;
use super::aside::Aside;
use super::drafts::Drafts;
use super::file_part::Source;
use crate::exact::Drafted;
use crate::layer::entry::{Entries, Entry, Kind};
use crate::layer::name::Name;
use crate::progress::Progress;
use crate::{Error, Result};

/// Files up to this size stay in memory. Archives are read in pieces of it.
pub(super) const SMALL: u64 = 256 * 1024;
/// All of them together.
const MOST_IN_MEMORY: usize = 32 << 20;
/// Manifests and configurations are not longer.
pub(super) const LONGEST_DOCUMENT: u64 = 8 << 20;
/// All that are read together, one that is named twice twice: else a small index names a big manifest without end.
const MOST_READ: u64 = 512 << 20;
/// More links in a row than any archive has.
const MOST_LINKS: usize = 8;

/// The files of an archive.
#[derive(Debug)]
pub(super) struct Spool {
    store: Store,
    files: HashMap<String, Spooled>,
    links: HashMap<String, String>,
    in_memory: usize,
    /// Bytes of documents that were read.
    read: AtomicU64,
}

/// A file of an archive.
#[derive(Debug)]
pub(super) enum Spooled {
    Memory(Vec<u8>),
    Aside(Aside),
    /// Unpacked, and as it came.
    Layer(Box<Mutex<Option<Drafted>>>, Aside),
    /// An ingest that has become a blob, or content that is one already; and its length.
    Blob(Digest, u64),
    /// The plain tar of a layer that is here already; only its digest was looked at.
    Present(Digest, u64),
}

impl Spool {
    /// Reads a whole archive, which is not compressed.
    pub(super) fn read(store: &Store, source: impl Source, progress: &dyn Progress) -> Result<Self> {
        let mut entries = Entries::new(source, ());
        let mut spool = Self {
            store: store.clone(),
            files: HashMap::new(),
            links: HashMap::new(),
            in_memory: 0,
            read: AtomicU64::new(0),
        };
        std::thread::scope(|scope| {
            let mut drafts = Drafts::new(scope, store, progress);
            let mut count = 0;
            while let Some(entry) = entries.next().map_err(Error::Tar)? {
                count += 1;
                if count > MOST_ENTRIES {
                    return Err(Error::Archive(format!("it has more than {MOST_ENTRIES} entries")));
                }
                spool.take(&entry, &mut entries, &mut drafts)?;
            }
            while let Some((name, file)) = drafts.next()? {
                spool.files.insert(name, file);
            }
            Ok(spool)
        })
    }

    fn take<R: Source>(
        &mut self,
        entry: &Entry,
        entries: &mut Entries<R, ()>,
        drafts: &mut Drafts<'_, '_>,
    ) -> Result<()> {
        let name = clean(&entry.name)?;
        match &entry.kind {
            Kind::File { size, map: None } => {
                // Of two files of one name the later counts, whichever is unpacked first.
                while drafts.has(&name)
                    && let Some((name, file)) = drafts.next()?
                {
                    self.files.insert(name, file);
                }
                if *size <= SMALL && self.in_memory < MOST_IN_MEMORY {
                    let mut file = self.memory(entries)?;
                    check_blob(&name, &mut file)?;
                    self.files.insert(name, file);
                    return Ok(());
                }
                while drafts.full()
                    && let Some((name, file)) = drafts.next()?
                {
                    self.files.insert(name, file);
                }
                if let Some((name, file)) = drafts.big(name, *size, entries)? {
                    self.files.insert(name, file);
                }
            }
            Kind::HardLink(target) => {
                self.links.insert(name, clean(target)?);
            }
            Kind::SymbolicLink(target) => {
                let mut path = match name.rsplit_once('/') {
                    Some((folder, _)) if !target.starts_with(b"/") => format!("{folder}/").into_bytes(),
                    _ => Vec::new(),
                };
                path.extend_from_slice(target);
                self.links.insert(name, clean(&path)?);
            }
            // Folders and whatever else say nothing.
            _ => {}
        }
        Ok(())
    }

    fn memory<R: Source>(&mut self, entries: &mut Entries<R, ()>) -> Result<Spooled> {
        let mut bytes = Vec::new();
        entries
            .for_each_piece(|piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })
            .map_err(Error::Tar)?;
        self.in_memory += bytes.len();
        Ok(Spooled::Memory(bytes))
    }

    /// True if the archive has this file.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// How long a file is; none if the archive has none of that name.
    pub(super) fn length(&self, name: &str) -> Option<u64> {
        Some(match self.find(name)?.1 {
            Spooled::Memory(bytes) => bytes.len() as u64,
            Spooled::Aside(aside) | Spooled::Layer(_, aside) => aside.length(),
            Spooled::Blob(_, size) | Spooled::Present(_, size) => *size,
        })
    }

    /// A document, by the name by which another one mentions it.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let length = self.length(name).unwrap_or(0).min(LONGEST_DOCUMENT);
        if self.read.fetch_add(length, Ordering::Relaxed) + length > MOST_READ {
            return Err(Error::Archive("its manifests and configurations are too many".into()));
        }
        match self.find(name) {
            None => Ok(None),
            Some((_, Spooled::Memory(bytes))) => Ok(Some(bytes.clone())),
            Some((_, Spooled::Aside(aside) | Spooled::Layer(_, aside)))
                if aside.length() <= LONGEST_DOCUMENT =>
            {
                let mut bytes = Vec::new();
                aside.reader()?.read_to_end(&mut bytes).map_err(Error::stream("read archive"))?;
                Ok(Some(bytes))
            }
            // A big one that an earlier archive, or a pull, has left.
            Some((_, Spooled::Blob(digest, size))) if *size <= LONGEST_DOCUMENT => {
                Ok(Some(self.store.blobs().read(digest)?))
            }
            Some((name, _)) => Err(Error::Archive(format!("{name:?} is too big for a document"))),
        }
    }

    /// A layer's bytes and their number.
    pub(super) fn open(&self, store: &Store, name: &str) -> Result<(Box<dyn Read + Send>, u64)> {
        Ok(match self.find(name) {
            None => return Err(missing(name)),
            Some((_, Spooled::Memory(bytes))) => (Box::new(Cursor::new(bytes.clone())), bytes.len() as u64),
            Some((_, Spooled::Aside(aside) | Spooled::Layer(_, aside))) => (aside.reader()?, aside.length()),
            Some((_, Spooled::Blob(digest, size))) => (Box::new(store.blobs().open(digest)?), *size),
            Some((name, Spooled::Present(..))) => return Err(missing(name)),
        })
    }

    /// The digest of a plain tar whose layer is here already.
    pub(super) fn present(&self, name: &str) -> Option<&Digest> {
        match self.find(name) {
            Some((_, Spooled::Present(digest, _))) => Some(digest),
            _ => None,
        }
    }

    /// A layer that was unpacked while it arrived; only the first who asks gets it.
    pub(super) fn drafted(&self, name: &str) -> Option<Drafted> {
        match self.find(name) {
            Some((_, Spooled::Layer(draft, _))) => {
                draft.lock().unwrap_or_else(PoisonError::into_inner).take()
            }
            _ => None,
        }
    }

    /// Makes a file a blob of the store; gives its digest and length.
    pub(super) fn keep(&mut self, store: &Store, name: &str) -> Result<(Digest, u64)> {
        let name = self.find(name).map(|(name, _)| name.to_string()).ok_or_else(|| missing(name))?;
        let file = self.files.remove(&name).ok_or_else(|| missing(&name))?;
        let (digest, size) = match file {
            Spooled::Memory(bytes) => (store.blobs().put_relaxed(&bytes)?, bytes.len() as u64),
            Spooled::Aside(aside) | Spooled::Layer(_, aside) => aside.keep(store)?,
            Spooled::Blob(digest, size) => (digest, size),
            Spooled::Present(..) => return Err(missing(&name)),
        };
        self.files.insert(name, Spooled::Blob(digest.clone(), size));
        Ok((digest, size))
    }

    fn find(&self, name: &str) -> Option<(&str, &Spooled)> {
        let mut name = clean(name.as_bytes()).ok()?;
        for _ in 0..MOST_LINKS {
            if let Some((name, file)) = self.files.get_key_value(&name) {
                return Some((name, file));
            }
            name = self.links.get(&name)?.clone();
        }
        None
    }
}

/// What an archive mentions and does not have.
pub(super) fn missing(name: &str) -> Error {
    Error::Archive(format!("it has no file {name:?}"))
}

/// A name without `./`; one that leads out of the archive is refused even though no path is made of it.
fn clean(name: &[u8]) -> Result<String> {
    let shown = || String::from_utf8_lossy(name).into_owned();
    let clean =
        Name::parse(name).map_err(|problem| Error::Archive(format!("entry {:?}: {problem}", shown())))?;
    Ok(String::from_utf8_lossy(clean.bytes()).into_owned())
}

/// A file below `blobs/` is named by its digest, or it is not believed.
pub(super) fn check_blob(name: &str, file: &mut Spooled) -> Result<()> {
    let Some((algorithm, hex)) = name.strip_prefix("blobs/").and_then(|rest| rest.split_once('/')) else {
        return Ok(());
    };
    let Ok(expected) = format!("{algorithm}:{hex}").parse::<Digest>() else { return Ok(()) };
    let other = expected.algorithm() != "sha256";
    let right = match file {
        Spooled::Memory(bytes) => expected.verifies(bytes),
        Spooled::Layer(draft, _) if is_plain(draft, &expected) => true,
        Spooled::Aside(aside) | Spooled::Layer(_, aside) => other || aside.digest()? == expected,
        Spooled::Blob(digest, _) | Spooled::Present(digest, _) => *digest == expected,
    };
    if right { Ok(()) } else { Err(Error::Archive(format!("the content of {name:?} has another digest"))) }
}

/// True if what was unpacked is a plain tar of this digest.
fn is_plain(draft: &Mutex<Option<Drafted>>, digest: &Digest) -> bool {
    let draft = draft.lock().unwrap_or_else(PoisonError::into_inner);
    draft.as_ref().is_some_and(|draft| draft.diff_id() == digest)
}
