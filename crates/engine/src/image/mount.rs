//! Images mounted on the host, read-only, for those who want to look into them without a container.
//!
//! ```text
//! record  image-mount/<target> → { name, id, created }     hold  image-mount:<target> → layers
//! <run-root>/images/<first digits of the id>               where it is mounted if nobody says where
//! ```
//! The record and its hold are written before the mount is made and removed after it is gone; at the start records
//! without a mount go. So a mount always has its layers, also when its image has been removed.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use dray_api::extension::ImageMount;
use dray_store::Store;
use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags, statx};
use rustix::mount::UnmountFlags;
use serde::{Deserialize, Serialize};

use super::{Error, Service};
use crate::timestamp;

const KIND: &str = "image-mount";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    name: String,
    id: String,
    created: String,
}

impl Service {
    /// Mounts an image: on `target`, an empty folder, or on one of the daemon's own. What is mounted already is
    /// given as it is.
    ///
    /// # Errors
    /// If there is none of that name, the target is no empty folder, or the kernel refuses.
    pub fn mount(&self, name: &str, target: &str) -> Result<ImageMount, Error> {
        let (image, _claim) = self.images.claim(name, "image mount")?;
        let _one_at_a_time = self.mounting();
        let target = match target {
            "" => self.run_root.join("images").join(image.id.short()),
            target => PathBuf::from(target),
        };
        let key = key(&target)?;
        let store = self.images.store();
        if let Some(record) = store.records().get::<Record>(KIND, &key)? {
            return match record.id == image.id.to_string() {
                true => Ok(to_wire(&key, record)),
                false => Err(failed("mount on", &target)(std::io::ErrorKind::ResourceBusy.into())),
            };
        }
        std::fs::create_dir_all(&target).map_err(failed("create", &target))?;
        check_empty(&target)?;
        let created = timestamp::rfc3339(Timestamp::now());
        let record = Record { name: name.to_owned(), id: image.id.to_string(), created };
        store.records().batch(|tx| {
            tx.put(KIND, &key, None, &record)?;
            tx.hold(&holder(&key), &image.layers)
        })?;
        let layers = store.layers().folders_of(image.layers.iter().rev());
        let mounted = attach(&layers, &target);
        if mounted.is_err() {
            forget(store, &key)?;
        }
        mounted.map(|()| to_wire(&key, record))
    }

    /// The mounted images, by target.
    ///
    /// # Errors
    /// If the store fails.
    pub fn mounts(&self) -> Result<Vec<ImageMount>, Error> {
        let records = self.images.store().records().list::<Record>(KIND)?;
        Ok(records.into_iter().map(|record| to_wire(&record.id, record.document)).collect())
    }

    /// Takes an image off again: by target, or all mounts of an image by its name or id. Gives the targets.
    ///
    /// # Errors
    /// If it is not mounted, or something uses it.
    pub fn unmount(&self, name: &str) -> Result<Vec<String>, Error> {
        let _one_at_a_time = self.mounting();
        let targets = self.targets_of(name)?;
        for target in &targets {
            detach(Path::new(target))?;
            forget(self.images.store(), target)?;
            // Only a folder of our own is removed, and only when it is empty.
            if Path::new(target).starts_with(self.run_root.join("images")) {
                let _ = std::fs::remove_dir(target);
            }
        }
        Ok(targets)
    }

    fn targets_of(&self, name: &str) -> Result<Vec<String>, Error> {
        let mounts = self.mounts()?;
        let id = self.images.resolve(name).map(|image| image.id.to_string()).unwrap_or_default();
        let path = key(Path::new(name)).unwrap_or_default();
        // An image that was removed meanwhile is known by what it was called.
        let meant = |mount: &&ImageMount| {
            mount.target == path || mount.id == id || mount.name == name || {
                let hex = mount.id.trim_start_matches("sha256:");
                name.len() >= 4 && (hex.starts_with(name) || mount.id == name)
            }
        };
        let targets: Vec<String> = mounts.iter().filter(meant).map(|mount| mount.target.clone()).collect();
        if targets.is_empty() { Err(Error::NotMounted(name.to_owned())) } else { Ok(targets) }
    }

    /// Forgets mounts that a restart of the machine has taken.
    pub(super) fn restore_mounts(&self) {
        let lost = |store: &Store| -> Result<(), Error> {
            for mount in self.mounts()? {
                if !is_mounted(Path::new(&mount.target)) {
                    forget(store, &mount.target)?;
                }
            }
            Ok(())
        };
        if let Err(error) = lost(self.images.store()) {
            tracing::warn!(%error, "mounted images");
        }
    }
}

fn attach(layers: &[PathBuf], target: &Path) -> Result<(), Error> {
    if layers.is_empty() {
        return Err(Error::NoFiles);
    }
    let overlay = dray_sys::mount::Overlay { lower: layers, upper: None, options: &[] };
    let mount = dray_sys::mount::overlay(&overlay).map_err(failed("mount on", target))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let onto = rustix::fs::open(target, flags, Mode::empty())
        .map_err(|errno| failed("open", target)(errno.into()))?;
    dray_sys::mount::attach(mount.as_fd(), onto.as_fd()).map_err(failed("mount on", target))
}

fn detach(target: &Path) -> Result<(), Error> {
    match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
        // It is gone already: by hand, or with the machine.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(failed("unmount", target)(errno.into())),
    }
}

fn forget(store: &Store, key: &str) -> Result<(), Error> {
    store.records().batch(|tx| {
        tx.delete(KIND, key)?;
        tx.release(&holder(key))
    })?;
    store.collect()?;
    Ok(())
}

fn holder(key: &str) -> String {
    format!("{KIND}:{key}")
}

/// A target's name in the records: an absolute path without `.`, `..` and doubled slashes.
fn key(target: &Path) -> Result<String, Error> {
    let plain = |part: &std::path::Component<'_>| {
        matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_))
    };
    let clean: PathBuf = target.components().collect();
    match clean.to_str() {
        Some(text) if target.is_absolute() && target.components().all(|part| plain(&part)) => {
            Ok(text.to_owned())
        }
        _ => Err(Error::MountTarget(target.display().to_string())),
    }
}

fn check_empty(target: &Path) -> Result<(), Error> {
    let mut entries = std::fs::read_dir(target).map_err(failed("open", target))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(failed("mount on", target)(std::io::ErrorKind::DirectoryNotEmpty.into())),
    }
}

fn is_mounted(target: &Path) -> bool {
    let found = statx(CWD, target, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    found.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Mount { operation, path, source }
}

fn to_wire(target: &str, record: Record) -> ImageMount {
    let Record { name, id, created } = record;
    ImageMount { name, id, target: target.to_owned(), created }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_plain_absolute_paths() {
        assert_eq!(key(Path::new("/mnt//x/")).unwrap(), "/mnt/x");
        for wrong in ["mnt", "", "/mnt/../etc"] {
            assert!(key(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}
