//! Unpacked layers: one folder each, in overlay form, independent of the layers below it.
//!
//! ```text
//! layers/tmp-<n>/   draft: being filled      ──commit──►  layers/<id>/ + row (diff_id, size, boot, base, own)
//! layers/<id>/      without row: swept at open
//! ```
//!
//! The folder is renamed inside the transaction that adds its row, so neither counts without the other. See
//! the crate's documentation for what a power cut may take.
//!
//! A layer may lie upon another one, its base, which is whole by itself: then its own folder has only what differs,
//! with whiteouts for what the base has and it has not. Where layers are mounted, both folders take part
//! ([`Layers::folders`]); who reads one as files takes the merged view ([`Layers::view`]). The base stays as long as
//! anything that lies upon it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use dray_spec::Digest;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::blob::Blobs;
use crate::db::Db;
use crate::{Error, Result, durable, fault};

/// The number of an unpacked layer: short, so that many fit into the options of one overlay mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayerId(pub(crate) i64);

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A whole layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its number.
    pub id: LayerId,
    /// The digest of its uncompressed tar; none where no tar of it has been made yet.
    pub diff_id: Option<Digest>,
    /// Sum of its files' lengths.
    pub size: u64,
    /// The layer upon which it lies.
    pub base: Option<LayerId>,
    /// Sum of the lengths of those files that are its own: all but the base's.
    pub own: u64,
}

/// A layer's files as one folder, to be read.
#[derive(Debug)]
pub struct LayerView {
    path: PathBuf,
    /// What keeps the merged view of two folders.
    _mount: Option<OwnedFd>,
}

impl LayerView {
    /// The folder; good as long as the view is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The unpacked layers of a store.
#[derive(Clone, Debug)]
pub struct Layers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    db: Db,
    /// Brought to the disk along with the layers.
    blobs: Blobs,
    boot: String,
    next: AtomicU64,
    flushing: AtomicBool,
    /// Threads that flush.
    flushers: Mutex<Vec<JoinHandle<()>>>,
    /// What flushed layers take on the disk, as far as somebody asked: they never change.
    measured: Mutex<HashMap<LayerId, u64>>,
    /// Folders without a row that somebody still writes into.
    left: Mutex<Vec<PathBuf>>,
    /// The bases of all layers that have one.
    bases: Mutex<HashMap<LayerId, LayerId>>,
}

/// What the folders of drafts are called, before their numbers.
const DRAFT: &str = "tmp-";

const COLUMNS: &str = "id, diff_id, size, base, own";

impl Layers {
    pub(crate) fn open(data_root: &Path, db: Db, blobs: Blobs) -> Result<Self> {
        let layers = Self(Arc::new(Inner {
            dir: data_root.join("layers"),
            db,
            blobs,
            boot: durable::boot_id(),
            next: AtomicU64::new(0),
            flushing: AtomicBool::new(false),
            flushers: Mutex::default(),
            measured: Mutex::default(),
            left: Mutex::default(),
            bases: Mutex::default(),
        }));
        layers.drop_lost()?;
        layers.read_bases()?;
        layers.sweep()?;
        Ok(layers)
    }

    /// The layer with this diff ID, if it is unpacked.
    ///
    /// # Errors
    /// If the database fails.
    pub fn find(&self, diff_id: &Digest) -> Result<Option<LayerId>> {
        self.0.db.read(|c| find(c, diff_id))
    }

    /// A whole layer's record.
    ///
    /// # Errors
    /// If there is none, or the database fails.
    pub fn get(&self, id: LayerId) -> Result<Layer> {
        self.0
            .db
            .read(|c| {
                c.prepare_cached(&format!("SELECT {COLUMNS} FROM layer WHERE id = ?1"))
                    .and_then(|mut s| s.query_row([id.0], layer_of).optional())
                    .map_err(Error::db("read layer"))
            })?
            .ok_or(Error::LayerNotFound(id))
    }

    /// All whole layers.
    ///
    /// # Errors
    /// If the database fails.
    pub fn list(&self) -> Result<Vec<Layer>> {
        self.0.db.read(|c| {
            c.prepare_cached(&format!("SELECT {COLUMNS} FROM layer ORDER BY id"))
                .and_then(|mut s| s.query_map([], layer_of)?.collect())
                .map_err(Error::db("list layers"))
        })
    }

    /// The layer's own folder: of one that lies upon another, only what differs.
    fn path(&self, id: LayerId) -> PathBuf {
        self.0.dir.join(id.to_string())
    }

    /// The folders that make the layer in an overlay, top first: its own, then its base's.
    #[must_use]
    pub fn folders(&self, id: LayerId) -> Vec<PathBuf> {
        let base = self.base(id);
        std::iter::once(id).chain(base).map(|id| self.path(id)).collect()
    }

    /// The folders of several layers, in the layers' order: top first, if they are.
    #[must_use]
    pub fn folders_of<'a>(&self, layers: impl IntoIterator<Item = &'a LayerId>) -> Vec<PathBuf> {
        layers.into_iter().flat_map(|layer| self.folders(*layer)).collect()
    }

    /// The layer upon which this one lies.
    #[must_use]
    pub fn base(&self, id: LayerId) -> Option<LayerId> {
        self.bases().get(&id).copied()
    }

    /// The layer's files as one folder, in overlay form.
    ///
    /// # Errors
    /// If the folder cannot be put together with that of the base.
    pub fn view(&self, id: LayerId) -> Result<LayerView> {
        let folders = self.folders(id);
        if let [single] = folders.as_slice() {
            return Ok(LayerView { path: single.clone(), _mount: None });
        }
        // Neither folder has anything that only makes sense upon other layers, so nothing of theirs is lost in it.
        let overlay = dray_sys::mount::Overlay { lower: &folders, upper: None, options: &[] };
        let mount = dray_sys::mount::overlay(&overlay)
            .map_err(|source| Error::io("mount", &self.path(id), source))?;
        Ok(LayerView { path: format!("/proc/self/fd/{}", mount.as_raw_fd()).into(), _mount: Some(mount) })
    }

    /// What a layer's own folder takes on the disk, as `du` counts it: blocks, folders included. A layer that the disk
    /// has is measured once.
    ///
    /// # Errors
    /// If its folder cannot be read, or the database fails.
    pub fn allocated(&self, id: LayerId) -> Result<u64> {
        if let Some(known) = self.measured().get(&id) {
            return Ok(*known);
        }
        let bytes = crate::usage(&self.path(id))?.allocated;
        // Blocks of what is still on its way to the disk are an estimate.
        if self.is_flushed(id)? {
            self.measured().insert(id, bytes);
        }
        Ok(bytes)
    }

    fn is_flushed(&self, id: LayerId) -> Result<bool> {
        self.0.db.read(|c| {
            c.prepare_cached("SELECT 1 FROM layer WHERE id = ?1 AND boot IS NULL")
                .and_then(|mut s| s.exists([id.0]))
                .map_err(Error::db("read layer"))
        })
    }

    fn measured(&self) -> MutexGuard<'_, HashMap<LayerId, u64>> {
        self.0.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bases(&self) -> MutexGuard<'_, HashMap<LayerId, LayerId>> {
        self.0.bases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty folder to unpack a layer into. Dropped without commit, it is removed with all that is in it.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn begin(&self) -> Result<LayerDraft> {
        let dir = self.draft_path();
        DirBuilder::new().mode(0o755).create(&dir).map_err(|source| Error::io("create", &dir, source))?;
        Ok(LayerDraft { layers: self.clone(), dir })
    }

    /// Takes over a folder of the same file system as a draft, by renaming it. It must be in overlay form.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub fn adopt(&self, folder: &Path) -> Result<LayerDraft> {
        let dir = self.draft_path();
        fs::rename(folder, &dir).map_err(|source| Error::io("rename", folder, source))?;
        Ok(LayerDraft { layers: self.clone(), dir })
    }

    /// Gives a layer without diff ID the one found out since. If another layer has it already, that one is
    /// returned and should be used from now on; the first goes with the next collection.
    ///
    /// It does not wait for the disk: what a power cut takes can be found out again, and a durable write after it
    /// (of the image that has the layer) takes it along.
    ///
    /// # Errors
    /// If there is no such layer, or the database fails.
    pub fn name(&self, id: LayerId, diff_id: &Digest) -> Result<LayerId> {
        let diff_id = diff_id.clone();
        self.0.db.write_relaxed(|c| {
            if let Some(other) = find(c, &diff_id)? {
                return Ok(other);
            }
            let changed = c
                .execute("UPDATE layer SET diff_id = ?2 WHERE id = ?1", params![id.0, diff_id.as_str()])
                .map_err(Error::db("name layer"))?;
            if changed == 0 { Err(Error::LayerNotFound(id)) } else { Ok(id) }
        })
    }

    /// Keeps layers for as long as `holder` (a container, a cached build step) names them; adds to what it
    /// holds already.
    ///
    /// # Errors
    /// If one of them is not there (any more), or the database fails; none is held then.
    pub fn hold(&self, holder: &str, layers: &[LayerId]) -> Result<()> {
        self.0.db.write(|c| hold(c, holder, layers))
    }

    /// Ends everything `holder` holds.
    ///
    /// # Errors
    /// If the database fails.
    pub fn release(&self, holder: &str) -> Result<()> {
        self.0.db.write(|c| release(c, holder))
    }

    /// The layers somebody holds.
    ///
    /// # Errors
    /// If the database fails.
    pub fn held(&self) -> Result<HashSet<LayerId>> {
        self.0.db.read(|c| {
            c.prepare_cached("SELECT DISTINCT layer FROM hold")
                .and_then(|mut s| s.query_map([], |row| Ok(LayerId(row.get(0)?)))?.collect())
                .map_err(Error::db("read holds"))
        })
    }

    /// The layers held by those whose name begins with `kind:`, with their bases.
    ///
    /// # Errors
    /// If the database fails.
    pub fn held_by(&self, kind: &str) -> Result<HashSet<LayerId>> {
        let prefix = format!("{kind}:");
        self.0.db.read(|c| {
            c.prepare_cached(
                "WITH held AS (SELECT layer FROM hold WHERE substr(holder, 1, length(?1)) = ?1)
                 SELECT layer FROM held
                 UNION SELECT base FROM layer WHERE base IS NOT NULL AND id IN (SELECT layer FROM held)",
            )
            .and_then(|mut s| s.query_map([&prefix], |row| Ok(LayerId(row.get(0)?)))?.collect())
            .map_err(Error::db("read holds"))
        })
    }

    /// The layers that an image has or somebody holds, other than the holders whose name begins with `kind:`, with their
    /// bases.
    ///
    /// # Errors
    /// If the database fails.
    pub fn used_besides(&self, kind: &str) -> Result<HashSet<LayerId>> {
        let prefix = format!("{kind}:");
        self.0.db.read(|c| {
            c.prepare_cached(
                "WITH used AS (SELECT layer FROM image_layer
                    UNION SELECT layer FROM hold WHERE substr(holder, 1, length(?1)) <> ?1)
                 SELECT layer FROM used
                 UNION SELECT base FROM layer WHERE base IS NOT NULL AND id IN (SELECT layer FROM used)",
            )
            .and_then(|mut s| s.query_map([&prefix], |row| Ok(LayerId(row.get(0)?)))?.collect())
            .map_err(Error::db("read holds"))
        })
    }

    /// Brings all committed layers and blobs to the disk and notes that they are there.
    ///
    /// # Errors
    /// If the disk or the database fails.
    pub fn flush(&self) -> Result<()> {
        let last: Option<i64> = self.0.db.read(|c| {
            c.query_row("SELECT max(id) FROM layer WHERE boot = ?1", [&self.0.boot], |row| row.get(0))
                .map_err(Error::db("read layers"))
        })?;
        let blobs = self.0.blobs.relaxed()?;
        if last.is_none() && blobs.is_empty() {
            return Ok(());
        }
        File::open(&self.0.dir)
            .and_then(|dir| Ok(rustix::fs::syncfs(dir)?))
            .map_err(|source| Error::io("sync", &self.0.dir, source))?;
        self.0.blobs.settled(&blobs)?;
        let Some(last) = last else { return Ok(()) };
        self.0.db.write_relaxed(|c| {
            c.execute(
                "UPDATE layer SET boot = NULL WHERE boot = ?1 AND id <= ?2",
                params![self.0.boot, last],
            )
            .map_err(Error::db("note flushed layers"))?;
            Ok(())
        })
    }

    /// Does [`Layers::flush`] soon, on a thread of its own.
    pub(crate) fn flush_later(&self) {
        if self.0.flushing.swap(true, Ordering::AcqRel) {
            return;
        }
        let layers = self.clone();
        let thread = std::thread::Builder::new().name("store-flush".into()).spawn(move || {
            layers.0.flushing.store(false, Ordering::Release);
            if let Err(error) = layers.flush() {
                tracing::warn!(%error, "layers are not on the disk yet");
            }
        });
        match thread {
            Ok(thread) => {
                let mut flushers = self.0.flushers.lock().unwrap_or_else(PoisonError::into_inner);
                flushers.retain(|flusher| !flusher.is_finished());
                flushers.push(thread);
            }
            Err(error) => {
                self.0.flushing.store(false, Ordering::Release);
                tracing::warn!(%error, "cannot start the thread that brings layers to the disk");
            }
        }
    }

    /// Waits until nothing writes in the store's folders any more.
    pub(crate) fn finish_flushing(&self) {
        let flushers = std::mem::take(&mut *self.0.flushers.lock().unwrap_or_else(PoisonError::into_inner));
        for flusher in flushers {
            // What went wrong with it was told.
            let _ = flusher.join();
        }
    }

    fn draft_path(&self) -> PathBuf {
        self.0.dir.join(format!("{DRAFT}{}", self.0.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// Drops layers that a power cut may have left half on the disk, or whose folder is gone, and the images
    /// upon them.
    fn drop_lost(&self) -> Result<()> {
        let rows: Vec<(i64, Option<String>, Option<i64>)> = self.0.db.read(|c| {
            // Those upon others first: they go first.
            c.prepare("SELECT id, boot, base FROM layer ORDER BY base IS NULL")
                .and_then(|mut s| {
                    s.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
                })
                .map_err(Error::db("list layers"))
        })?;
        let of_itself = |(id, boot, _): &&(i64, Option<String>, Option<i64>)| {
            boot.as_ref().is_some_and(|boot| *boot != self.0.boot) || !self.path(LayerId(*id)).is_dir()
        };
        let gone: HashSet<i64> = rows.iter().filter(of_itself).map(|(id, ..)| *id).collect();
        let lost: Vec<i64> = rows
            .iter()
            .filter(|(id, _, base)| gone.contains(id) || base.is_some_and(|base| gone.contains(&base)))
            .map(|(id, ..)| *id)
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        self.0.db.write(|c| {
            for id in &lost {
                let images: Vec<String> = c
                    .prepare_cached("SELECT DISTINCT image FROM image_layer WHERE layer = ?1")
                    .and_then(|mut s| s.query_map([id], |row| row.get(0))?.collect())
                    .map_err(Error::db("find images"))?;
                for image in images {
                    tracing::warn!(layer = id, image, "image dropped: its layer was not wholly on the disk");
                    c.execute("DELETE FROM image WHERE id = ?1", [image]).map_err(Error::db("drop image"))?;
                }
                c.execute("DELETE FROM layer WHERE id = ?1", [id]).map_err(Error::db("drop layer"))?;
            }
            Ok(())
        })
    }

    fn read_bases(&self) -> Result<()> {
        let bases: HashMap<LayerId, LayerId> = self.0.db.read(|c| {
            c.prepare("SELECT id, base FROM layer WHERE base IS NOT NULL")
                .and_then(|mut s| {
                    s.query_map([], |row| Ok((LayerId(row.get(0)?), LayerId(row.get(1)?))))?.collect()
                })
                .map_err(Error::db("list bases"))
        })?;
        *self.bases() = bases;
        Ok(())
    }

    /// Removes drafts and folders without a row.
    fn sweep(&self) -> Result<()> {
        let mut left = Vec::new();
        for (name, entry) in durable::entries(&self.0.dir)? {
            let whole = match name.parse::<i64>() {
                Ok(id) => self.get(LayerId(id)).is_ok(),
                Err(_) => false,
            };
            if whole {
                continue;
            }
            // A step that the killed daemon had begun may still write into its draft.
            if let Err(error) = durable::remove_all(&entry.path()) {
                tracing::warn!(%error, "left for later");
                let number = name.strip_prefix(DRAFT).and_then(|number| number.parse::<u64>().ok());
                self.0.next.fetch_max(number.map_or(0, |number| number.saturating_add(1)), Ordering::Relaxed);
                left.push(entry.path());
            }
        }
        *self.left() = left;
        Ok(())
    }

    /// Removes what could not be removed when the store was opened.
    pub(crate) fn remove_left(&self) {
        self.left().retain(|path| match durable::remove_all(path) {
            Ok(()) => false,
            Err(error) => {
                tracing::warn!(%error, "left for later");
                true
            }
        });
    }

    fn left(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.0.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves a layer's folder away after its row is gone; the caller removes what is returned.
    pub(crate) fn detach(&self, id: LayerId) -> Result<PathBuf> {
        self.measured().remove(&id);
        self.bases().remove(&id);
        let gone = self.draft_path();
        let path = self.path(id);
        fs::rename(&path, &gone).map_err(|source| Error::io("rename", &path, source))?;
        Ok(gone)
    }

    fn commit(&self, draft: &Path, new: &NewLayer<'_>) -> Result<LayerId> {
        const ADD: &str =
            "INSERT INTO layer (diff_id, size, boot, base, own) VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id";
        fault::point("layer.unpacked");
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0.db.write_relaxed(|c| {
            if let Some(diff_id) = new.diff_id
                && let Some(other) = find(c, diff_id)?
            {
                return Ok(other);
            }
            if let Some((base, _)) = new.upon {
                let whole = c
                    .prepare_cached("SELECT 1 FROM layer WHERE id = ?1 AND base IS NULL")
                    .and_then(|mut s| s.exists([base.0]))
                    .map_err(Error::db("read layer"))?;
                if !whole {
                    return Err(Error::LayerNotFound(base));
                }
            }
            let (base, own) = new.upon.map(|(base, own)| (base.0, signed(own))).unzip();
            let row = params![new.diff_id.map(Digest::as_str), signed(new.size), self.0.boot, base, own];
            let id: i64 = c
                .prepare_cached(ADD)
                .and_then(|mut s| s.query_row(row, |row| row.get(0)))
                .map_err(Error::db("add layer"))?;
            fault::point("layer.row");
            let path = self.path(LayerId(id));
            // A number may come again only if its row was never committed: then its folder is a leftover.
            durable::remove_all(&path)?;
            fs::rename(draft, &path).map_err(|source| Error::io("rename", draft, source))?;
            fault::point("layer.renamed");
            Ok(LayerId(id))
        })
    }
}

/// What is said of a layer that is being added.
struct NewLayer<'a> {
    diff_id: Option<&'a Digest>,
    size: u64,
    /// Its base, and how much of its size is its own.
    upon: Option<(LayerId, u64)>,
}

fn layer_of(row: &Row<'_>) -> rusqlite::Result<Layer> {
    let diff_id: Option<String> = row.get(1)?;
    let (size, own): (i64, Option<i64>) = (row.get(2)?, row.get(4)?);
    let base: Option<i64> = row.get(3)?;
    let unsigned = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    Ok(Layer {
        id: LayerId(row.get(0)?),
        diff_id: diff_id.and_then(|text| text.parse().ok()),
        size: unsigned(size),
        base: base.map(LayerId),
        own: unsigned(own.unwrap_or(size)),
    })
}

fn find(connection: &Connection, diff_id: &Digest) -> Result<Option<LayerId>> {
    connection
        .prepare_cached("SELECT id FROM layer WHERE diff_id = ?1")
        .and_then(|mut s| s.query_row([diff_id.as_str()], |row| Ok(LayerId(row.get(0)?))).optional())
        .map_err(Error::db("find layer"))
}

pub(crate) fn hold(connection: &Connection, holder: &str, layers: &[LayerId]) -> Result<()> {
    let mut statement = connection
        .prepare_cached("INSERT OR IGNORE INTO hold (holder, layer) VALUES (?1, ?2)")
        .map_err(Error::db("hold layers"))?;
    let mut known =
        connection.prepare_cached("SELECT 1 FROM layer WHERE id = ?1").map_err(Error::db("hold layers"))?;
    for layer in layers {
        // It may have been collected since its image was looked up.
        if !known.exists([layer.0]).map_err(Error::db("hold layers"))? {
            return Err(Error::LayerNotFound(*layer));
        }
        statement.execute(params![holder, layer.0]).map_err(Error::db("hold layers"))?;
    }
    Ok(())
}

pub(crate) fn release(connection: &Connection, holder: &str) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM hold WHERE holder = ?1")
        .and_then(|mut s| s.execute([holder]))
        .map_err(Error::db("release layers"))?;
    Ok(())
}

/// A layer on its way in.
#[derive(Debug)]
pub struct LayerDraft {
    layers: Layers,
    dir: PathBuf,
}

impl LayerDraft {
    /// The folder to fill.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Makes it a layer. If there is one with this diff ID already, that one is returned and this is removed.
    ///
    /// # Errors
    /// If the disk or the database fails.
    pub fn commit(self, diff_id: &Digest, size: u64) -> Result<LayerId> {
        let new = NewLayer { diff_id: Some(diff_id), size, upon: None };
        let id = self.layers.commit(&self.dir, &new)?;
        fault::point("layer.done");
        Ok(id)
    }

    /// Makes it a layer of which no tar has been made yet.
    ///
    /// # Errors
    /// If the disk or the database fails.
    pub fn commit_unnamed(self, size: u64) -> Result<LayerId> {
        self.layers.commit(&self.dir, &NewLayer { diff_id: None, size, upon: None })
    }

    /// Makes it a layer that lies upon `base`: what is here differs from it. Together they are `size` bytes of files, of
    /// which `own` are here. Nothing of the two folders may hide what other layers have: the view of both would lose
    /// that.
    ///
    /// # Errors
    /// If the base is not there, or lies upon another one itself; if the disk or the database fails.
    pub fn commit_upon(self, base: LayerId, size: u64, own: u64) -> Result<LayerId> {
        let new = NewLayer { diff_id: None, size, upon: Some((base, own)) };
        let id = self.layers.commit(&self.dir, &new)?;
        self.layers.bases().insert(id, base);
        Ok(id)
    }
}

impl Drop for LayerDraft {
    fn drop(&mut self) {
        // After a commit the folder has another name already.
        if let Err(error) = durable::remove_all(&self.dir) {
            tracing::warn!(%error, "layer draft");
        }
    }
}

#[cfg(test)]
impl Layers {
    /// As if the machine had been started anew before this layer came to the disk.
    pub(crate) fn forget_boot_of(&self, id: LayerId) {
        let sql = "UPDATE layer SET boot = 'another' WHERE id = ?1";
        self.0.db.write(|c| c.execute(sql, [id.0]).map_err(Error::db("test"))).unwrap();
    }

    /// True if the layer is known to be on the disk.
    pub(crate) fn flushed(&self, id: LayerId) -> bool {
        let sql = "SELECT boot IS NULL FROM layer WHERE id = ?1";
        self.0.db.read(|c| c.query_row(sql, [id.0], |row| row.get(0)).map_err(Error::db("test"))).unwrap()
    }
}
