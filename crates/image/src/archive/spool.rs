//! An archive set aside: its files by name, small ones in memory, big ones as ingests of the store.
//!
//! What an archive's files mean is known only at its end (`manifest.json` is the last entry but one), and a
//! stream cannot be read twice. A big file that becomes a blob is not written again: its ingest is committed.

use std::collections::HashMap;
use std::io::{BufReader, Cursor, Read};

use dray_spec::Digest;
use dray_store::{Ingest, Store};

use super::MOST_ENTRIES;
use crate::layer::decompress;
use crate::layer::entry::{Entries, Entry, Kind};
use crate::layer::name::Name;
use crate::{Error, Result};

/// Files up to this size stay in memory.
const SMALL: u64 = 256 * 1024;
/// All of them together.
const MOST_IN_MEMORY: usize = 32 << 20;
/// Manifests and configurations are not longer.
const LONGEST_DOCUMENT: u64 = 8 << 20;
/// More links in a row than any archive has.
const MOST_LINKS: usize = 8;

/// The files of an archive.
#[derive(Debug, Default)]
pub(super) struct Spool {
    files: HashMap<String, Spooled>,
    links: HashMap<String, String>,
    in_memory: usize,
}

#[derive(Debug)]
enum Spooled {
    Memory(Vec<u8>),
    Ingest(Box<Ingest>),
    /// An ingest that has become a blob.
    Blob(Digest),
}

impl Spool {
    /// Reads a whole archive, compressed or not.
    pub(super) fn read(store: &Store, reader: impl Read + Send) -> Result<Self> {
        let plain = decompress(reader).map_err(Error::Tar)?;
        let mut entries = Entries::new(BufReader::with_capacity(SMALL as usize, plain), ());
        let mut spool = Self::default();
        let mut count = 0;
        while let Some(entry) = entries.next().map_err(Error::Tar)? {
            count += 1;
            if count > MOST_ENTRIES {
                return Err(Error::Archive(format!("it has more than {MOST_ENTRIES} entries")));
            }
            spool.take(store, &entry, &mut entries)?;
        }
        Ok(spool)
    }

    fn take<R: std::io::BufRead>(
        &mut self,
        store: &Store,
        entry: &Entry,
        entries: &mut Entries<R, ()>,
    ) -> Result<()> {
        let name = clean(&entry.name)?;
        match &entry.kind {
            Kind::File { size, map: None } => {
                let small = *size <= SMALL && self.in_memory < MOST_IN_MEMORY;
                let file = if small { self.memory(entries)? } else { ingest(store, entries)? };
                check_blob(&name, &file)?;
                self.files.insert(name, file);
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

    /// A document, by the name by which another one mentions it.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.find(name) {
            None => Ok(None),
            Some((_, Spooled::Memory(bytes))) => Ok(Some(bytes.clone())),
            Some((_, Spooled::Ingest(ingest))) if ingest.offset() <= LONGEST_DOCUMENT => {
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
            Some((_, Spooled::Ingest(ingest))) => (Box::new(ingest.reader()?), ingest.offset()),
            Some((_, Spooled::Blob(digest))) => {
                (Box::new(store.blobs().open(digest)?), store.blobs().size(digest).unwrap_or(0))
            }
        })
    }

    /// Makes a file a blob of the store; gives its digest and length.
    pub(super) fn keep(&mut self, store: &Store, name: &str) -> Result<(Digest, u64)> {
        let name = self.find(name).map(|(name, _)| name.to_string()).ok_or_else(|| missing(name))?;
        let file = self.files.remove(&name).ok_or_else(|| missing(&name))?;
        let (digest, size) = match file {
            Spooled::Memory(bytes) => (store.blobs().put_relaxed(&bytes)?, bytes.len() as u64),
            Spooled::Ingest(ingest) => ingest.commit_as_is_relaxed()?,
            Spooled::Blob(digest) => {
                let size = store.blobs().size(&digest).unwrap_or(0);
                (digest, size)
            }
        };
        self.files.insert(name, Spooled::Blob(digest.clone()));
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

fn ingest<R: std::io::BufRead>(store: &Store, entries: &mut Entries<R, ()>) -> Result<Spooled> {
    let mut ingest = store.blobs().spool()?;
    let mut buffer = vec![0; SMALL as usize];
    loop {
        match entries.read(&mut buffer).map_err(Error::Tar)? {
            0 => return Ok(Spooled::Ingest(Box::new(ingest))),
            count => ingest.append(&buffer[..count])?,
        }
    }
}

/// A file below `blobs/` is named by its digest, or it is not believed.
fn check_blob(name: &str, file: &Spooled) -> Result<()> {
    let Some((algorithm, hex)) = name.strip_prefix("blobs/").and_then(|rest| rest.split_once('/')) else {
        return Ok(());
    };
    let Ok(expected) = format!("{algorithm}:{hex}").parse::<Digest>() else { return Ok(()) };
    let right = match file {
        Spooled::Memory(bytes) => expected.verifies(bytes),
        Spooled::Ingest(ingest) => expected.algorithm() != "sha256" || ingest.digest() == expected,
        Spooled::Blob(digest) => *digest == expected,
    };
    if right { Ok(()) } else { Err(Error::Archive(format!("the content of {name:?} has another digest"))) }
}
