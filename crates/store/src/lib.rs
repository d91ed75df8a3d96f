//! Bytes on disk: blobs, unpacked layers, volumes, and the records that name them.
//!
//! ```text
//! <data-root>/
//!   lock                  held (flock) as long as the store is open: one daemon per data root
//!   state.db              records, tags, images, layers (see db.rs for the schema)
//!   blobs/sha256/<hex>    whole blobs; a file at its name is complete and verified
//!   ingest/               half-written blobs: `resume-…` are kept, `spool-…` swept at open
//!   layers/<n>/           one unpacked layer each, in overlay form; counts only with its row; or what of it differs from
//!                         another one
//!   layers/tmp-<n>/       drafts; swept at open
//!   containers/<id>/      of the engine
//!   volumes/<name>/       of the engine
//! ```
//!
//! The store knows nothing of Docker. It is synchronous: asynchronous callers use a blocking thread. All parts
//! are `Send + Sync` and cheap to clone.
//!
//! # What survives what
//! - *`kill -9` at any moment*: everything a function here has answered with `Ok`.
//! - *A power cut*: every record, tag, image and blob written by a function not called `…_relaxed`.
//!   An unpacked layer counts as whole from its commit on, but only within the boot of the machine in which
//!   it was written, until a background `syncfs` has brought it to the disk (at most moments after an image
//!   came to name it). After a power cut before that, the layer and the images that name it are dropped at
//!   open, as wholes. The same holds for a blob committed relaxed. So no pull or build ever waits for the
//!   disk to take the layers' files, and a half-written layer can never be taken for a whole one.

mod blob;
mod collect;
mod db;
mod disk;
mod durable;
mod error;
mod fault;
mod image;
mod layer;
mod parts;
mod record;
mod removal;
mod tag;
pub mod tree;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

pub use blob::{Blobs, Ingest};
pub use collect::{Collected, Lease};
pub use disk::{Usage, usage};
pub use error::{Error, ErrorKind, Result};
pub use image::{ImageRecord, ImageRecords};
pub use layer::{Layer, LayerDraft, LayerId, LayerView, Layers};
pub use parts::{Part, Parts};
pub use record::{Record, Records, Tx};
pub use removal::{remove_tree, remove_tree_at};
pub use tag::{Tag, Tags};

/// Everything below one data root.
#[derive(Clone, Debug)]
pub struct Store {
    root: Arc<Root>,
    blobs: Blobs,
    layers: Layers,
    records: Records,
    images: ImageRecords,
    tags: Tags,
    collector: collect::Collector,
}

/// The data root's folder and the lock on it.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    layers: Layers,
    _lock: File,
}

impl Drop for Root {
    /// Whoever may open the data root after this shall be alone in it.
    fn drop(&mut self) {
        self.layers.finish_flushing();
    }
}

impl Store {
    /// Opens the store in `data_root`, makes what is missing, and clears away what a killed process or a
    /// power cut has left half done.
    ///
    /// # Errors
    /// If another process holds this data root, its database was written by a later version, or the disk
    /// fails.
    pub fn open(data_root: &Path) -> Result<Self> {
        for folder in ["blobs/sha256", "blobs/sha512", "ingest", "layers", "containers", "volumes"] {
            let path = data_root.join(folder);
            fs::create_dir_all(&path).map_err(|source| Error::io("create", &path, source))?;
        }
        let lock = lock(data_root)?;
        let db = db::Db::open(&data_root.join("state.db"))?;
        let blobs = Blobs::at(data_root)?;
        let layers = Layers::open(data_root, db.clone(), blobs.clone())?;
        let root = Root { path: data_root.to_path_buf(), layers: layers.clone(), _lock: lock };
        Ok(Self {
            collector: collect::Collector::new(db.clone(), blobs.clone(), layers.clone()),
            images: ImageRecords::new(db.clone(), layers.clone()),
            tags: Tags::new(db.clone()),
            records: Records::new(db),
            root: Arc::new(root),
            blobs,
            layers,
        })
    }

    /// The data root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root.path
    }

    /// The blobs.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The unpacked layers.
    #[must_use]
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The documents: containers, networks, volumes and whatever else a crate above keeps.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The images.
    #[must_use]
    pub fn images(&self) -> &ImageRecords {
        &self.images
    }

    /// The names of images.
    #[must_use]
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// The folder of a container. Not made here.
    #[must_use]
    pub fn container_dir(&self, id: &str) -> PathBuf {
        self.root.path.join("containers").join(id)
    }

    /// The folder of all volumes.
    #[must_use]
    pub fn volumes_dir(&self) -> PathBuf {
        self.root.path.join("volumes")
    }

    /// The folder of a volume. Not made here.
    #[must_use]
    pub fn volume_dir(&self, name: &str) -> PathBuf {
        self.volumes_dir().join(name)
    }

    /// What the data root takes beside layers, blobs, ingests, containers, volumes and the cache of builds: the records,
    /// the history of builds, and the folders that hold all of these.
    ///
    /// # Errors
    /// If a file cannot be looked at.
    pub fn frame_size(&self) -> Result<u64> {
        const CONTENT: [&str; 6] = ["blobs", "ingest", "layers", "containers", "volumes", "build"];
        let own = |path: &Path| fs::symlink_metadata(path).map_or(0, |found| found.blocks() * 512);
        let mut bytes = own(&self.root.path);
        for (name, entry) in durable::entries(&self.root.path)? {
            let path = entry.path();
            bytes += match CONTENT.contains(&name.as_str()) {
                // Ingests are measured with their folder.
                true if name == "ingest" => 0,
                true => own(&path),
                false => disk::usage(&path)?.allocated,
            };
        }
        // What these hold is somebody's: records of the build cache, or a build's that is running.
        const OF_BUILDS: [&str; 3] = ["mounts", "contexts", "kept"];
        let builds = self.root.path.join("build");
        if builds.is_dir() {
            for (name, entry) in durable::entries(&builds)? {
                let path = entry.path();
                bytes += match OF_BUILDS.contains(&name.as_str()) {
                    true => own(&path),
                    false => disk::usage(&path)?.allocated,
                };
            }
        }
        Ok(bytes
            + ["blobs/sha256", "blobs/sha512"]
                .iter()
                .map(|inner| own(&self.root.path.join(inner)))
                .sum::<u64>())
    }

    /// Keeps everything on disk until the lease is dropped, also what nothing names yet. Who builds up an
    /// image (pull, load, build) takes one before it looks for layers and blobs, and drops it when the image
    /// is recorded.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.collector.lease()
    }

    /// Removes the layers and blobs that no image, no hold and no lease keeps. While there are leases it is
    /// put off until the last one goes, and nothing is counted.
    ///
    /// # Errors
    /// If the database or the disk fails.
    pub fn collect(&self) -> Result<Collected> {
        self.collector.collect()
    }
}

fn lock(data_root: &Path) -> Result<File> {
    let path = data_root.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| Error::io("open", &path, source))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked(data_root.to_path_buf())),
        Err(errno) => Err(Error::io("lock", &path, errno.into())),
    }
}

#[cfg(test)]
mod tests;
