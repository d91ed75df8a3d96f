//! Unpacked layers: one folder each, in overlay form, independent of the layers below it.
//!
//! ```text
//! layers/tmp-<n>/   draft: being filled      ──commit──►  layers/<id>/ + row (diff_id, size, boot)
//! layers/<id>/      without row: swept at open
//! ```
//!
//! The folder is renamed inside the transaction that adds its row, so neither counts without the other. See
//! the crate's documentation for what a power cut may take.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
}

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
        }));
        layers.drop_lost()?;
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
                c.prepare_cached("SELECT id, diff_id, size FROM layer WHERE id = ?1")
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
            c.prepare_cached("SELECT id, diff_id, size FROM layer ORDER BY id")
                .and_then(|mut s| s.query_map([], layer_of)?.collect())
                .map_err(Error::db("list layers"))
        })
    }

    /// The layer's folder.
    #[must_use]
    pub fn path(&self, id: LayerId) -> PathBuf {
        self.0.dir.join(id.to_string())
    }

    /// What a layer takes on the disk, as `du` counts it: blocks, folders included. A layer that the disk has
    /// is measured once.
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

    fn measured(&self) -> std::sync::MutexGuard<'_, HashMap<LayerId, u64>> {
        self.0.measured.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The layers held by those whose name begins with `kind:`.
    ///
    /// # Errors
    /// If the database fails.
    pub fn held_by(&self, kind: &str) -> Result<HashSet<LayerId>> {
        let prefix = format!("{kind}:");
        self.0.db.read(|c| {
            c.prepare_cached("SELECT layer FROM hold WHERE substr(holder, 1, length(?1)) = ?1")
                .and_then(|mut s| s.query_map([&prefix], |row| Ok(LayerId(row.get(0)?)))?.collect())
                .map_err(Error::db("read holds"))
        })
    }

    /// The layers that an image has or somebody holds, other than the holders whose name begins with `kind:`.
    ///
    /// # Errors
    /// If the database fails.
    pub fn used_besides(&self, kind: &str) -> Result<HashSet<LayerId>> {
        let prefix = format!("{kind}:");
        self.0.db.read(|c| {
            c.prepare_cached(
                "SELECT layer FROM image_layer
                 UNION SELECT layer FROM hold WHERE substr(holder, 1, length(?1)) <> ?1",
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
        self.0.dir.join(format!("tmp-{}", self.0.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// Drops layers that a power cut may have left half on the disk, or whose folder is gone, and the images
    /// upon them.
    fn drop_lost(&self) -> Result<()> {
        let rows: Vec<(i64, Option<String>)> = self.0.db.read(|c| {
            c.prepare("SELECT id, boot FROM layer")
                .and_then(|mut s| s.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
                .map_err(Error::db("list layers"))
        })?;
        let lost: Vec<i64> = rows
            .into_iter()
            .filter(|(id, boot)| {
                boot.as_ref().is_some_and(|boot| *boot != self.0.boot) || !self.path(LayerId(*id)).is_dir()
            })
            .map(|(id, _)| id)
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

    /// Removes drafts and folders without a row.
    fn sweep(&self) -> Result<()> {
        for (name, entry) in durable::entries(&self.0.dir)? {
            let whole = match name.parse::<i64>() {
                Ok(id) => self.get(LayerId(id)).is_ok(),
                Err(_) => false,
            };
            if !whole {
                durable::remove_all(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Moves a layer's folder away after its row is gone; the caller removes what is returned.
    pub(crate) fn detach(&self, id: LayerId) -> Result<PathBuf> {
        self.measured().remove(&id);
        let gone = self.draft_path();
        let path = self.path(id);
        fs::rename(&path, &gone).map_err(|source| Error::io("rename", &path, source))?;
        Ok(gone)
    }

    fn commit(&self, draft: &Path, diff_id: Option<&Digest>, size: u64) -> Result<LayerId> {
        fault::point("layer.unpacked");
        self.0.db.write_relaxed(|c| {
            if let Some(diff_id) = diff_id
                && let Some(other) = find(c, diff_id)?
            {
                return Ok(other);
            }
            let id: i64 = c
                .prepare_cached("INSERT INTO layer (diff_id, size, boot) VALUES (?1, ?2, ?3) RETURNING id")
                .and_then(|mut s| {
                    let size = i64::try_from(size).unwrap_or(i64::MAX);
                    s.query_row(params![diff_id.map(Digest::as_str), size, self.0.boot], |row| row.get(0))
                })
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

fn layer_of(row: &Row<'_>) -> rusqlite::Result<Layer> {
    let diff_id: Option<String> = row.get(1)?;
    let size: i64 = row.get(2)?;
    Ok(Layer {
        id: LayerId(row.get(0)?),
        diff_id: diff_id.and_then(|text| text.parse().ok()),
        size: u64::try_from(size).unwrap_or(0),
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
        let id = self.layers.commit(&self.dir, Some(diff_id), size)?;
        fault::point("layer.done");
        Ok(id)
    }

    /// Makes it a layer of which no tar has been made yet.
    ///
    /// # Errors
    /// If the disk or the database fails.
    pub fn commit_unnamed(self, size: u64) -> Result<LayerId> {
        self.layers.commit(&self.dir, None, size)
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
