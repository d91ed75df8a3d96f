//! The directories behind `RUN --mount=type=cache`: they stay between builds and are no part of any image.
//!
//! ```text
//! <data-root>/build/mounts/<digest of the id>/
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::Cancel;
use crate::dockerfile::{Mount, Sharing};
use crate::error::BuildError;

/// All cache directories of a data root.
#[derive(Clone, Debug)]
pub(crate) struct CacheDirs {
    dir: PathBuf,
    locked: Arc<Locked>,
}

#[derive(Debug, Default)]
struct Locked {
    names: Mutex<BTreeSet<String>>,
    changed: Condvar,
}

/// A cache directory in use by a step.
#[derive(Debug)]
pub(crate) struct CacheDir {
    pub(crate) path: PathBuf,
    /// Name to unlock, for a locked one.
    lock: Option<(Arc<Locked>, String)>,
    /// Whether it is one of its own, removed after the step.
    private: bool,
}

impl Drop for CacheDir {
    fn drop(&mut self) {
        if let Some((locked, name)) = self.lock.take() {
            locked.names.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            locked.changed.notify_all();
        }
        if self.private
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a private cache mount");
        }
    }
}

impl CacheDirs {
    pub(crate) fn new(dir: PathBuf) -> Self {
        CacheDirs { dir: dir.join("mounts"), locked: Arc::default() }
    }

    /// The directory that a mount asks for, made if need be.
    pub(crate) fn take(&self, mount: &Mount, cancel: &Cancel) -> Result<CacheDir, BuildError> {
        let id = mount.id.as_deref().unwrap_or(&mount.target);
        let name = hex::encode(&Sha256::digest(id)[..16]);
        let mut path = self.dir.join(&name);
        let mut names = self.locked.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut private = false;
        if mount.sharing == Sharing::Locked {
            while names.contains(&name) {
                let wait = self.locked.changed.wait_timeout(names, Duration::from_millis(100));
                names = wait.unwrap_or_else(PoisonError::into_inner).0;
                if cancel.is_cancelled() {
                    return Err(BuildError::Cancelled);
                }
            }
        } else if mount.sharing == Sharing::Private && names.contains(&name) {
            private = true;
            path = self.dir.join(format!("{name}-{}", crate::solve::random_id(8)));
        }
        let held = mount.sharing != Sharing::Shared && !private;
        if held {
            names.insert(name.clone());
        }
        drop(names);
        let lock = held.then(|| (self.locked.clone(), name));
        let dir = CacheDir { path, lock, private };
        if !dir.path.is_dir() {
            make(&dir.path, mount)?;
        }
        Ok(dir)
    }

    /// Bytes in all of them.
    pub(crate) fn usage(&self) -> Result<u64, BuildError> {
        Ok(dray_store::usage(&self.dir)?.bytes)
    }

    /// Removes all of them.
    pub(crate) fn clear(&self) -> Result<(), BuildError> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("remove", &self.dir)(error))
            }
            _ => Ok(()),
        }
    }
}

fn make(path: &Path, mount: &Mount) -> Result<(), BuildError> {
    fs::create_dir_all(path).map_err(failed("create", path))?;
    chown(path, Some(mount.uid.unwrap_or(0)), Some(mount.gid.unwrap_or(0))).map_err(failed("chown", path))?;
    let mode = fs::Permissions::from_mode(mount.mode.unwrap_or(0o755));
    fs::set_permissions(path, mode).map_err(failed("chmod", path))
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io { operation, path, source }
}
