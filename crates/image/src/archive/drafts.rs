//! Layers of an archive that are unpacked while it is read.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::thread::{Scope, ScopedJoinHandle};

use dray_spec::{Digest, Hasher};
use dray_store::{Ingest, Store};

use super::aside::Aside;
use super::bar::{Bar, Watched};
use super::file_part::Source;
use super::spool::{Spooled, check_blob};
use crate::exact::{self, Drafted};
use crate::follow::{CancelOnDrop, Follow, Growth};
use crate::layer::entry::Entries;
use crate::layer::{Compression, LayerError, is_tar};
use crate::progress::Progress;
use crate::{Error, Result};

/// So much of a file tells whether it is a tar.
const BEGINNING: usize = 512;
/// Layers that are unpacked at once while the archive is read.
const MOST_DRAFTS: usize = 4;

/// Layers that are being unpacked, oldest first.
pub(super) struct Drafts<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    store: &'env Store,
    progress: &'env dyn Progress,
    running: VecDeque<Running<'scope>>,
}

/// A file that has been set aside, or can be read again, and is being unpacked.
struct Running<'scope> {
    name: String,
    aside: Aside,
    draft: ScopedJoinHandle<'scope, Option<Drafted>>,
}

impl<'scope, 'env> Drafts<'scope, 'env> {
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        store: &'env Store,
        progress: &'env dyn Progress,
    ) -> Self {
        Self { scope, store, progress, running: VecDeque::new() }
    }

    /// True if another has to wait.
    pub(super) fn full(&self) -> bool {
        self.running.len() >= MOST_DRAFTS
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.running.iter().any(|running| running.name == name)
    }

    /// Waits for the oldest.
    pub(super) fn next(&mut self) -> Result<Option<(String, Spooled)>> {
        let Some(Running { name, aside, draft }) = self.running.pop_front() else { return Ok(None) };
        let draft = draft.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let mut file = match draft {
            Some(draft) => Spooled::Layer(Box::new(Mutex::new(Some(draft))), aside),
            None => Spooled::Aside(aside),
        };
        check_blob(&name, &mut file)?;
        Ok(Some((name, file)))
    }

    /// Sets a big file aside, and begins to unpack it if it looks like a layer; then it comes later.
    pub(super) fn big<R: Source>(
        &mut self,
        name: String,
        size: u64,
        entries: &mut Entries<R, ()>,
    ) -> Result<Option<(String, Spooled)>> {
        let store = self.store;
        let (source, length) = entries.ahead();
        let part = source.part(length);
        if part.is_none() {
            check_room(store, &name, size)?;
        }
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
            return checked(name, Spooled::Aside(Aside::Ingest(Box::new(ingest))));
        }
        if let Some(part) = part.filter(|_| plain) {
            let draft = self.begin(&name, part.clone(), row(&name, plain), size)?;
            entries.pass_over(Source::pass).map_err(Error::Tar)?;
            self.running.push_back(Running { name, aside: Aside::Part(part), draft });
            return Ok(None);
        }
        // Of a plain tar the unpacking gives the digest.
        let mut ingest = if plain { store.blobs().spool_aside()? } else { store.blobs().spool()? };
        let growth = Arc::new(Growth::default());
        let cancel = CancelOnDrop(Arc::clone(&growth));
        let follow = Follow::new(ingest.reader()?, Arc::clone(&growth), |_| ());
        let draft = self.begin(&name, follow, row(&name, plain), size)?;
        set_aside(&mut ingest, &beginning, entries, |bytes| growth.reached(bytes))?;
        growth.finish();
        drop(cancel);
        self.running.push_back(Running { name, aside: Aside::Ingest(Box::new(ingest)), draft });
        Ok(None)
    }

    /// Unpacks a file on a thread, which may still be on its way here. Whatever is wrong with it is told when somebody
    /// wants it as a layer.
    fn begin(
        &self,
        name: &str,
        reader: impl Read + Send + 'scope,
        row: Option<String>,
        size: u64,
    ) -> Result<ScopedJoinHandle<'scope, Option<Drafted>>> {
        let (store, name) = (self.store, name.to_owned());
        let reader = Watched::new(reader, row.map(|row| Bar::new(self.progress, &row, size)));
        let work = move || exact::draft(store, reader, Vec::new(), &name, true).ok();
        let thread = std::thread::Builder::new().name("layer-load".into());
        thread.spawn_scoped(self.scope, work).map_err(Error::stream("start a thread"))
    }
}

/// Sets aside what is left of an entry; `moved` hears how much there is.
fn set_aside<R: Source>(
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
fn hashed<R: Source>(
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
