//! Copies upon earlier ones: where a folder has changed little since the same instruction copied it onto the same files,
//! the new layer holds only what differs, and lies upon that of the earlier copy (see `dray_store::Layers`).
//!
//! ```text
//! record  build-copied/<key> → { layer, sum }       key: the instruction and what is below it, not what is copied
//! file    build/copied/<layer>                      the listing: what the layer was made of, file by file
//! ```
//!
//! What differs is found by comparing listings, so that nothing of the earlier layer is read. An earlier copy is always a
//! whole one: layers upon it do not grow into chains, and once too much differs everything is copied again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dray_spec::Digest;
use dray_store::{Layer, LayerId, Store};
use prost::Message;
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use super::Item;
use crate::cache::Key;
use crate::error::BuildError;
use crate::tree::path_of;

/// Kind of the records.
const KIND: &str = "build-copied";
/// Where the listings are, in the data root.
const FOLDER: &str = "build/copied";

/// Copying a file costs about as much as so many bytes of content.
const FILE_COST: u64 = 64 << 10;
/// What is not worth a comparison: so many bytes, files counted by [`FILE_COST`].
const LEAST: u64 = 512 * FILE_COST;
/// A layer lies upon another one only if at most one part in so many differs.
const SHARE: u64 = 4;

/// What a copy took of one file, folder or link: all that shows in the layer, but for what the instruction says.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Copied {
    /// Below the folder that is copied.
    #[prost(bytes = "vec", tag = "1")]
    path: Vec<u8>,
    /// Kind and permissions.
    #[prost(uint32, tag = "2")]
    mode: u32,
    /// Since 1970; nothing where the build gives the times.
    #[prost(int64, tag = "3")]
    seconds: i64,
    #[prost(int64, tag = "4")]
    nanos: i64,
    /// Of a file, in bytes.
    #[prost(uint64, tag = "5")]
    size: u64,
    /// SHA-256 of a file's content, target of a link.
    #[prost(bytes = "vec", tag = "6")]
    content: Vec<u8>,
}

impl Copied {
    fn is_dir(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Directory
    }

    fn cost(&self) -> u64 {
        FILE_COST.saturating_add(self.size)
    }
}

/// What is copied, in the order of the item's nodes.
#[derive(Debug)]
pub(crate) struct Listing(Vec<Copied>);

impl Listing {
    /// Lists a folder whose files have these contents' digests, in the order of its nodes. None for one that is too
    /// small to bother, or has what cannot be copied one by one: files of several names, devices.
    pub(crate) fn of(item: &Item, contents: &[Vec<u8>], with_times: bool) -> Option<Listing> {
        if !item.is_dir() || contents.len() != item.nodes.len() {
            return None;
        }
        let mut all = Vec::with_capacity(item.nodes.len());
        for (node, content) in item.nodes.iter().zip(contents) {
            let content = match node.kind() {
                FileType::RegularFile if node.stat.st_nlink == 1 && !content.is_empty() => content.clone(),
                FileType::Symlink => node.link.clone()?,
                FileType::Directory => Vec::new(),
                _ => return None,
            };
            let time = |part: i64| if with_times { part } else { 0 };
            all.push(Copied {
                path: node.path.as_os_str().as_bytes().to_vec(),
                mode: node.stat.st_mode,
                seconds: time(node.stat.st_mtime),
                nanos: time(node.stat.st_mtime_nsec as i64),
                size: if node.kind() == FileType::RegularFile { node.stat.st_size as u64 } else { 0 },
                content,
            });
        }
        let listing = Listing(all);
        (listing.cost() >= LEAST).then_some(listing)
    }

    fn cost(&self) -> u64 {
        self.0.iter().map(Copied::cost).fold(0, u64::saturating_add)
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for copied in &self.0 {
            copied.encode_length_delimited(&mut bytes).map_err(io::Error::other)?;
        }
        Ok(bytes)
    }

    fn decode(mut bytes: &[u8]) -> io::Result<Listing> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            all.push(Copied::decode_length_delimited(&mut bytes).map_err(io::Error::other)?);
        }
        Ok(Listing(all))
    }
}

/// What a copy has to do upon an earlier one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Of each node, whether it has to be copied: it has changed, or something in it.
    pub(crate) changed: Vec<bool>,
    /// What is no longer there; of a folder that has gone, only itself.
    pub(crate) removed: Vec<PathBuf>,
    /// Bytes of the earlier layer's files that the new one does not have.
    pub(crate) replaced: u64,
}

/// Compares what is copied with what was; none if too much differs.
fn compare(now: &Listing, before: &Listing) -> Option<Difference> {
    let mut old: HashMap<&[u8], &Copied> =
        before.0.iter().map(|copied| (copied.path.as_slice(), copied)).collect();
    let places: HashMap<&[u8], usize> =
        now.0.iter().enumerate().map(|(place, copied)| (copied.path.as_slice(), place)).collect();
    let mut difference = Difference { changed: vec![false; now.0.len()], removed: Vec::new(), replaced: 0 };
    let mut cost = 0_u64;
    let mut touched: Vec<&[u8]> = Vec::new();
    // The folder itself is there, and neither its mode nor its times are taken over.
    old.remove(&b""[..]);
    for (place, copied) in now.0.iter().enumerate().filter(|(_, copied)| !copied.path.is_empty()) {
        let was = old.remove(copied.path.as_slice());
        if was == Some(copied) {
            continue;
        }
        if let Some(was) = was {
            // It would have to hide what is in the folder, in the layers below too.
            if was.is_dir() != copied.is_dir() {
                return None;
            }
            difference.replaced += was.size;
        }
        difference.changed[place] = true;
        cost = cost.saturating_add(copied.cost());
        touched.push(parent_of(&copied.path));
    }
    for gone in old.values() {
        difference.replaced += gone.size;
        cost = cost.saturating_add(FILE_COST);
        let parent = parent_of(&gone.path);
        if !old.contains_key(parent) {
            difference.removed.push(path_of(&gone.path).to_owned());
            touched.push(parent);
        }
    }
    difference.removed.sort();
    // What is in a folder changes its times, which have to be set again.
    for path in touched.into_iter().filter(|path| !path.is_empty()) {
        difference.changed[*places.get(path)?] = true;
    }
    (cost <= before.cost() / SHARE).then_some(difference)
}

fn parent_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(b"", |slash| &path[..slash])
}

/// A whole copy that the same instruction has made.
#[derive(Debug)]
pub(crate) struct Earlier {
    pub(crate) layer: Layer,
    listing: Listing,
}

impl Earlier {
    /// What differs from it; none if that is too much.
    pub(crate) fn difference(&self, now: &Listing) -> Option<Difference> {
        compare(now, &self.listing)
    }
}

/// Where a listing is, and how it is known that it is the one.
#[derive(Serialize, Deserialize)]
struct Record {
    layer: LayerId,
    sum: Digest,
}

/// The copies that later ones may lie upon.
#[derive(Clone, Debug)]
pub(crate) struct EarlierCopies {
    store: Store,
    folder: PathBuf,
}

impl EarlierCopies {
    /// Those of a store; what is left of layers that have gone is removed.
    pub(crate) fn open(store: Store) -> EarlierCopies {
        let copies = EarlierCopies { folder: store.root().join(FOLDER), store };
        copies.sweep();
        copies
    }

    /// What an instruction has copied.
    ///
    /// # Errors
    /// If the store fails. A listing that cannot be read is none.
    pub(crate) fn find(&self, key: &Key) -> Result<Option<Earlier>, BuildError> {
        let Some(record) = self.store.records().get::<Record>(KIND, &key.to_string())? else {
            return Ok(None);
        };
        let Ok(layer) = self.store.layers().get(record.layer) else { return Ok(None) };
        let path = self.path(record.layer);
        let listing = fs::read(&path).and_then(|bytes| match Digest::sha256_of(&bytes) == record.sum {
            true => Listing::decode(&bytes),
            false => Err(io::ErrorKind::InvalidData.into()),
        });
        match listing {
            Ok(listing) => Ok(Some(Earlier { layer, listing })),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "no listing of an earlier copy");
                Ok(None)
            }
        }
    }

    /// From now on copies by this instruction may lie upon this layer, which is what `listing` became.
    ///
    /// # Errors
    /// If the store or the disk fails.
    pub(crate) fn remember(&self, key: &Key, layer: LayerId, listing: &Listing) -> Result<(), BuildError> {
        let path = self.path(layer);
        let failed = |source| BuildError::Io { operation: "write", path: path.clone(), source };
        let bytes = listing.encode().map_err(failed)?;
        let draft = path.with_extension("draft");
        fs::create_dir_all(&self.folder).and_then(|()| fs::write(&draft, &bytes)).map_err(failed)?;
        fs::rename(&draft, &path).map_err(failed)?;
        let key = key.to_string();
        let before = self.store.records().get::<Record>(KIND, &key)?;
        let record = Record { layer, sum: Digest::sha256_of(&bytes) };
        self.store.records().put_relaxed(KIND, &key, None, &record)?;
        if let Some(before) = before.filter(|before| before.layer != layer) {
            // Removed by a sweep already, or by the next one.
            let _ = fs::remove_file(self.path(before.layer));
        }
        Ok(())
    }

    /// Removes what is left of layers that have gone.
    pub(crate) fn sweep(&self) {
        if let Err(error) = self.try_sweep() {
            tracing::warn!(%error, "listings of earlier copies");
        }
    }

    fn try_sweep(&self) -> Result<(), BuildError> {
        let there = |layer: LayerId| self.store.layers().get(layer).is_ok();
        let mut kept = Vec::new();
        for record in self.store.records().list::<Record>(KIND)? {
            match there(record.document.layer) {
                true => kept.push(self.path(record.document.layer)),
                false => drop(self.store.records().delete(KIND, &record.id)?),
            }
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| BuildError::Io { operation: "remove", path, source }
        };
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed(&self.folder))?,
        };
        for entry in entries {
            let path = entry.map_err(failed(&self.folder))?.path();
            if !kept.contains(&path) {
                fs::remove_file(&path).map_err(failed(&path))?;
            }
        }
        Ok(())
    }

    fn path(&self, layer: LayerId) -> PathBuf {
        self.folder.join(layer.to_string())
    }
}
