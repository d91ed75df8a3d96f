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

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use dray_spec::{Digest, Hasher};
use dray_store::{Ingest, Store};

use super::MOST_ENTRIES;
use super::bar::Bar;
use crate::exact::{self, Drafted};
use crate::follow::{CancelOnDrop, Follow, Growth};
use crate::layer::entry::{Entries, Entry, Kind};
use crate::layer::name::Name;
use crate::layer::{Compression, LayerError, decompress, is_tar};
use crate::progress::Progress;
use crate::{Error, Result};

/// Files up to this size stay in memory.
const SMALL: u64 = 256 * 1024;
/// All of them together.
const MOST_IN_MEMORY: usize = 32 << 20;
/// Manifests and configurations are not longer.
const LONGEST_DOCUMENT: u64 = 8 << 20;
/// All that are read together, one that is named twice twice: else a small index names a big manifest without end.
const MOST_READ: u64 = 512 << 20;
/// So much of a file tells whether it is a tar.
const BEGINNING: usize = 512;
/// Layers that are unpacked at once while the archive is read.
const MOST_DRAFTS: usize = 4;
/// More links in a row than any archive has.
const MOST_LINKS: usize = 8;

/// The files of an archive.
#[derive(Debug, Default)]
pub(super) struct Spool {
    files: HashMap<String, Spooled>,
    links: HashMap<String, String>,
    in_memory: usize,
    /// Bytes of documents that were read.
    read: AtomicU64,
}

#[derive(Debug)]
enum Spooled {
    Memory(Vec<u8>),
    Ingest(Box<Ingest>),
    /// Unpacked, and as it came.
    Layer(Box<Mutex<Option<Drafted>>>, Box<Ingest>),
    /// An ingest that has become a blob, or content that is one already; and its length.
    Blob(Digest, u64),
    /// The plain tar of a layer that is here already; only its digest was looked at.
    Present(Digest, u64),
}

impl Spool {
    /// Reads a whole archive, compressed or not.
    pub(super) fn read(store: &Store, reader: impl Read + Send, progress: &dyn Progress) -> Result<Self> {
        let plain = decompress(reader).map_err(Error::Tar)?;
        let mut entries = Entries::new(BufReader::with_capacity(SMALL as usize, plain), ());
        let mut spool = Self::default();
        std::thread::scope(|scope| {
            let mut drafts = Drafts { scope, store, progress, running: VecDeque::new() };
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

    fn take<R: io::BufRead>(
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
                check_room(drafts.store, &name, *size)?;
                if drafts.running.len() == MOST_DRAFTS
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

    fn memory<R: std::io::BufRead>(&mut self, entries: &mut Entries<R, ()>) -> Result<Spooled> {
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
            Spooled::Ingest(ingest) | Spooled::Layer(_, ingest) => ingest.offset(),
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
            Some((_, Spooled::Ingest(ingest) | Spooled::Layer(_, ingest)))
                if ingest.offset() <= LONGEST_DOCUMENT =>
            {
                let mut bytes = Vec::new();
                ingest.reader()?.read_to_end(&mut bytes).map_err(Error::stream("read archive"))?;
                Ok(Some(bytes))
            }
            Some((name, _)) => Err(Error::Archive(format!("{name:?} is too big for a document"))),
        }
    }

    /// A layer's bytes and their number.
    pub(super) fn open(&self, store: &Store, name: &str) -> Result<(Box<dyn Read + Send>, u64)> {
        Ok(match self.find(name) {
            None => return Err(missing(name)),
            Some((_, Spooled::Memory(bytes))) => (Box::new(Cursor::new(bytes.clone())), bytes.len() as u64),
            Some((_, Spooled::Ingest(ingest) | Spooled::Layer(_, ingest))) => {
                (Box::new(ingest.reader()?), ingest.offset())
            }
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
            Spooled::Ingest(ingest) | Spooled::Layer(_, ingest) => ingest.commit_as_is_relaxed()?,
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

/// What cannot fit is refused before the disk is full of it.
fn check_room(store: &Store, name: &str, size: u64) -> Result<()> {
    let disk = rustix::fs::statvfs(store.root())
        .map_err(|errno| Error::stream("look for free space")(errno.into()))?;
    let room = disk.f_bavail.saturating_mul(disk.f_frsize);
    match size <= room {
        true => Ok(()),
        false => Err(Error::Archive(format!("{name:?} has {size} bytes, there is room for {room}"))),
    }
}

/// Layers that are being unpacked, oldest first.
struct Drafts<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    store: &'env Store,
    progress: &'env dyn Progress,
    running: VecDeque<Running<'scope>>,
}

/// A file that has been set aside and is being unpacked.
struct Running<'scope> {
    name: String,
    ingest: Ingest,
    draft: ScopedJoinHandle<'scope, Option<Drafted>>,
}

impl<'scope> Drafts<'scope, '_> {
    fn has(&self, name: &str) -> bool {
        self.running.iter().any(|running| running.name == name)
    }

    /// Waits for the oldest.
    fn next(&mut self) -> Result<Option<(String, Spooled)>> {
        let Some(Running { name, ingest, draft }) = self.running.pop_front() else { return Ok(None) };
        let draft = draft.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let mut file = match draft {
            Some(draft) => Spooled::Layer(Box::new(Mutex::new(Some(draft))), Box::new(ingest)),
            None => Spooled::Ingest(Box::new(ingest)),
        };
        check_blob(&name, &mut file)?;
        Ok(Some((name, file)))
    }

    /// Sets a big file aside, and begins to unpack it if it looks like a layer; then it comes later.
    fn big<R: io::BufRead>(
        &mut self,
        name: String,
        size: u64,
        entries: &mut Entries<R, ()>,
    ) -> Result<Option<(String, Spooled)>> {
        let store = self.store;
        let mut beginning = Vec::with_capacity(BEGINNING);
        let mut piece = [0; BEGINNING];
        while beginning.len() < BEGINNING {
            match entries.read(&mut piece[beginning.len()..]).map_err(Error::Tar)? {
                0 => break,
                count => beginning.extend_from_slice(&piece[beginning.len()..beginning.len() + count]),
            }
        }
        let kind = Compression::detect(&beginning).ok();
        let plain = kind == Some(Compression::None);
        let looks_like_a_layer = kind.is_some_and(|_| !plain || is_tar(&beginning));
        let checked = |name: String, mut file: Spooled| {
            check_blob(&name, &mut file)?;
            Ok(Some((name, file)))
        };
        if let Some(known) = known(store, &name, plain)? {
            let file = hashed(&known, plain, beginning, entries)?;
            return checked(name, file);
        }
        if !looks_like_a_layer {
            let mut ingest = store.blobs().spool()?;
            set_aside(&mut ingest, &beginning, entries, |_| ())?;
            return checked(name, Spooled::Ingest(Box::new(ingest)));
        }
        // Of a plain tar the unpacking gives the digest.
        let mut ingest = if plain { store.blobs().spool_aside()? } else { store.blobs().spool()? };
        let growth = Arc::new(Growth::default());
        let cancel = CancelOnDrop(Arc::clone(&growth));
        let draft = self.begin(&name, ingest.reader()?, &growth, row(&name, plain), size)?;
        set_aside(&mut ingest, &beginning, entries, |bytes| growth.reached(bytes))?;
        growth.finish();
        drop(cancel);
        self.running.push_back(Running { name, ingest, draft });
        Ok(None)
    }

    /// Unpacks on a thread what is being set aside. Whatever is wrong with it is told when somebody wants it as a
    /// layer.
    fn begin(
        &self,
        name: &str,
        file: File,
        growth: &Arc<Growth>,
        row: Option<String>,
        size: u64,
    ) -> Result<ScopedJoinHandle<'scope, Option<Drafted>>> {
        let (store, name) = (self.store, name.to_owned());
        let mut bar = row.map(|row| Bar::new(self.progress, &row, size));
        let on_read = move |read| {
            if let Some(bar) = &mut bar {
                bar.reached(read);
            }
        };
        let follow = Follow::new(file, Arc::clone(growth), on_read);
        let work = move || exact::draft(store, follow, Vec::new(), &name, true).ok();
        let thread = std::thread::Builder::new().name("layer-load".into());
        thread.spawn_scoped(self.scope, work).map_err(Error::stream("start a thread"))
    }
}

/// Sets aside what is left of an entry; `moved` hears how much there is.
fn set_aside<R: io::BufRead>(
    ingest: &mut Ingest,
    beginning: &[u8],
    entries: &mut Entries<R, ()>,
    moved: impl Fn(u64),
) -> Result<()> {
    ingest.append(beginning)?;
    let mut failed = None;
    let taken = entries.for_each_piece(|piece| {
        ingest.append(piece).map_err(|error| {
            failed = Some(error);
            LayerError::Stream(io::ErrorKind::Other.into())
        })?;
        moved(ingest.offset());
        Ok(())
    });
    match failed {
        Some(error) => Err(error.into()),
        None => taken.map_err(Error::Tar),
    }
}

/// The digest that a file is named by, if what it should be is here already: a layer with that diff ID, or a blob.
fn known(store: &Store, name: &str, plain: bool) -> Result<Option<Digest>> {
    let Some(hex) = name.strip_prefix("blobs/sha256/") else { return Ok(None) };
    let Ok(digest) = Digest::from_sha256_hex(hex) else { return Ok(None) };
    let here = if plain { store.layers().find(&digest)?.is_some() } else { store.blobs().has(&digest) };
    Ok(here.then_some(digest))
}

/// Reads what is here already: it only has to be what it is called, which is looked at by the caller.
fn hashed<R: io::BufRead>(
    known: &Digest,
    plain: bool,
    beginning: Vec<u8>,
    entries: &mut Entries<R, ()>,
) -> Result<Spooled> {
    let mut hasher = Hasher::like(known);
    hasher.update(&beginning);
    let mut size = beginning.len() as u64;
    let rest = entries.for_each_piece(|piece| {
        hasher.update(piece);
        size += piece.len() as u64;
        Ok(())
    });
    rest.map_err(Error::Tar)?;
    let digest = hasher.finish();
    Ok(if plain { Spooled::Present(digest, size) } else { Spooled::Blob(digest, size) })
}

/// How a layer is called in the progress: by its diff ID, which a plain tar below `blobs/` is named by.
fn row(name: &str, plain: bool) -> Option<String> {
    let hex = name.strip_prefix("blobs/sha256/").filter(|_| plain)?;
    Some(hex.chars().take(12).collect())
}

/// A file below `blobs/` is named by its digest, or it is not believed.
fn check_blob(name: &str, file: &mut Spooled) -> Result<()> {
    let Some((algorithm, hex)) = name.strip_prefix("blobs/").and_then(|rest| rest.split_once('/')) else {
        return Ok(());
    };
    let Ok(expected) = format!("{algorithm}:{hex}").parse::<Digest>() else { return Ok(()) };
    let other = expected.algorithm() != "sha256";
    let right = match file {
        Spooled::Memory(bytes) => expected.verifies(bytes),
        Spooled::Layer(draft, _) if is_plain(draft, &expected) => true,
        Spooled::Ingest(ingest) | Spooled::Layer(_, ingest) => other || ingest.digest()? == expected,
        Spooled::Blob(digest, _) | Spooled::Present(digest, _) => *digest == expected,
    };
    if right { Ok(()) } else { Err(Error::Archive(format!("the content of {name:?} has another digest"))) }
}

/// True if what was unpacked is a plain tar of this digest.
fn is_plain(draft: &Mutex<Option<Drafted>>, digest: &Digest) -> bool {
    let draft = draft.lock().unwrap_or_else(PoisonError::into_inner);
    draft.as_ref().is_some_and(|draft| draft.diff_id() == digest)
}
