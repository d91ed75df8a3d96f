//! Collection: what nothing names any more leaves the disk.
//!
//! ```text
//! rows of unnamed layers deleted (one transaction) ─► folders moved aside ─► folders removed
//! blobs no image names: unlinked
//! ```
//!
//! Killed anywhere in between, the next open finds folders without a row and removes them. A [`Lease`] puts
//! collection off: who builds up an image must not lose the layers it has found before it could name them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dray_spec::Digest;

use crate::blob::Blobs;
use crate::db::Db;
use crate::image::digests;
use crate::layer::{Layer, LayerId, Layers};
use crate::{Error, Result, durable, fault};

/// What a collection has freed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// The layers removed.
    pub layers: Vec<Layer>,
    /// The blobs removed.
    pub blobs: Vec<Digest>,
    /// Their sizes' sum.
    pub bytes: u64,
}

/// What images name, and what keeps the exact bytes of every layer that is still here: its compressed form
/// (records of kind `layer-blob`, by diff ID) or its split (`layer-split`). A layer outlives the image it came
/// with.
const NAMED_BLOBS: &str = "
    SELECT digest FROM image_blob
    UNION SELECT id FROM image
    UNION SELECT json_extract(record.document, '$.digest') FROM record
        JOIN layer ON layer.diff_id = record.id WHERE record.kind IN ('layer-blob', 'layer-split')";

/// Layers that nobody has, nor anything that lies upon them, which come first.
const UNNAMED_LAYERS: &str = "
    WITH named AS (SELECT layer FROM image_layer UNION SELECT layer FROM hold)
    SELECT id FROM layer WHERE id NOT IN (SELECT layer FROM named)
        AND id NOT IN (SELECT base FROM layer WHERE base IS NOT NULL AND id IN (SELECT layer FROM named))
    ORDER BY base IS NULL";

const FORGET_LAYER: &str = "DELETE FROM layer WHERE id = ?1
    AND id NOT IN (SELECT layer FROM image_layer) AND id NOT IN (SELECT layer FROM hold)
    AND id NOT IN (SELECT base FROM layer WHERE base IS NOT NULL)";

const FORGET_LAYER_BLOBS: &str = "DELETE FROM record WHERE kind IN ('layer-blob', 'layer-split', 'layer-tar')
    AND id NOT IN (SELECT diff_id FROM layer WHERE diff_id IS NOT NULL)";

#[derive(Clone, Debug)]
pub(crate) struct Collector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    blobs: Blobs,
    layers: Layers,
    leases: Mutex<Leases>,
}

#[derive(Debug, Default)]
struct Leases {
    count: usize,
    /// Somebody asked for a collection meanwhile.
    pending: bool,
}

/// While it lives nothing is collected. See [`crate::Store::lease`].
#[derive(Debug)]
pub struct Lease(Collector);

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = self.0.leases();
        leases.count -= 1;
        let due = leases.count == 0 && std::mem::take(&mut leases.pending);
        drop(leases);
        if due && let Err(error) = self.0.collect() {
            tracing::warn!(%error, "collection");
        }
    }
}

impl Collector {
    pub(crate) fn new(db: Db, blobs: Blobs, layers: Layers) -> Self {
        Self(Arc::new(Inner { db, blobs, layers, leases: Mutex::default() }))
    }

    pub(crate) fn lease(&self) -> Lease {
        self.leases().count += 1;
        Lease(self.clone())
    }

    pub(crate) fn collect(&self) -> Result<Collected> {
        let mut leases = self.leases();
        if leases.count > 0 {
            leases.pending = true;
            return Ok(Collected::default());
        }
        // The lock is held until nothing to be removed can be found any more: a lease begun after that sees
        // only what stays.
        let mut collected = Collected { layers: self.forget_layers()?, ..Collected::default() };
        fault::point("collect.rows-gone");
        // What cannot be removed is told, but keeps nothing else on the disk.
        let mut failed = None;
        let mut folders = Vec::new();
        for layer in &collected.layers {
            collected.bytes += layer.own;
            match self.0.layers.detach(layer.id) {
                Ok(folder) => folders.push(folder),
                Err(error) => failed = failed.or(Some(error)),
            }
            fault::point("collect.layer-moved");
        }
        let blobs = self.remove_blobs(&mut collected);
        drop(leases);
        self.0.layers.remove_left();
        for folder in folders {
            failed = failed.or(durable::remove_all(&folder).err());
            fault::point("collect.folder-gone");
        }
        match failed.or(blobs.err()) {
            Some(error) => Err(error),
            None => Ok(collected),
        }
    }

    fn forget_layers(&self) -> Result<Vec<Layer>> {
        let unnamed: Vec<i64> = self.0.db.read(|c| {
            c.prepare_cached(UNNAMED_LAYERS)
                .and_then(|mut s| s.query_map([], |row| row.get(0))?.collect())
                .map_err(Error::db("find unnamed layers"))
        })?;
        let mut layers =
            unnamed.iter().map(|id| self.0.layers.get(LayerId(*id))).collect::<Result<Vec<_>>>()?;
        if !layers.is_empty() {
            self.0.db.write(|c| {
                let mut forget = c.prepare_cached(FORGET_LAYER).map_err(Error::db("forget layer"))?;
                let mut gone = Vec::new();
                for layer in layers.drain(..) {
                    // Somebody may hold it since it was looked for.
                    if forget.execute([layer.id.0]).map_err(Error::db("forget layer"))? > 0 {
                        gone.push(layer);
                    }
                }
                layers = gone;
                c.execute(FORGET_LAYER_BLOBS, []).map_err(Error::db("forget layer blobs"))?;
                Ok(())
            })?;
        }
        Ok(layers)
    }

    fn remove_blobs(&self, collected: &mut Collected) -> Result<()> {
        let named: HashSet<Digest> = self.0.db.read(|c| digests(c, NAMED_BLOBS, &[]))?.into_iter().collect();
        for digest in self.0.blobs.list()? {
            if named.contains(&digest) {
                continue;
            }
            collected.bytes += self.0.blobs.size(&digest).unwrap_or(0);
            self.0.blobs.remove(&digest)?;
            collected.blobs.push(digest);
            fault::point("collect.blob-gone");
        }
        Ok(())
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.0.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
