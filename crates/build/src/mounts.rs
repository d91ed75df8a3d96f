//! The directories behind `RUN --mount=type=cache`: they stay between builds and are no part of any image.
//!
//! ```text
//! <data-root>/build/mounts/<digest of the id>/
//! <data-root>/build/mounts/<digest of the id>.use     how often it was used, where it is mounted, its id; its time is
//!                                                     that of the last use
//! <data-root>/build/mounts/seed-…                     one that is being filled from elsewhere; swept at the start
//! ```
//! A directory that a step has mounted is not removed.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::Cancel;
use crate::cache::CacheRecord;
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
    /// Steps that have a directory mounted, whatever its sharing.
    mounted: Mutex<HashMap<String, usize>>,
}

impl Locked {
    fn mounted(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.mounted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How names of directories begin that are being filled.
const SEED: &str = "seed-";

/// What BuildKit calls such a record of the cache.
pub(crate) const CACHE_MOUNT: &str = "exec.cachemount";

/// A cache directory in use by a step.
#[derive(Debug)]
pub(crate) struct CacheDir {
    pub(crate) path: PathBuf,
    /// Where it is counted as mounted, and its name.
    mounted: (Arc<Locked>, String),
    /// Name to unlock, for a locked one.
    lock: Option<(Arc<Locked>, String)>,
    /// Whether it is one of its own, removed after the step.
    private: bool,
}

impl Drop for CacheDir {
    fn drop(&mut self) {
        let (all, name) = &self.mounted;
        let mut mounted = all.mounted();
        if let Some(count) = mounted.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                mounted.remove(name);
            }
        }
        drop(mounted);
        if let Some((locked, name)) = self.lock.take() {
            locked.names.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            locked.changed.notify_all();
        }
        if self.private
            && let Err(error) = dray_store::remove_tree(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a private cache mount");
        }
    }
}

impl CacheDirs {
    pub(crate) fn new(dir: PathBuf) -> Self {
        let dir = dir.join("mounts");
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(SEED) {
                let _ = dray_store::remove_tree(&entry.path());
            }
        }
        CacheDirs { dir, locked: Arc::default() }
    }

    /// Whether there is a directory for this id.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.dir.join(name_of(id)).is_dir()
    }

    /// The directory of an id, held so that it is not removed; with `locked` steps that want it for themselves wait.
    /// None if there is none, or a step has it.
    pub(crate) fn hold(&self, id: &str) -> Option<CacheDir> {
        let name = name_of(id);
        let mut names = self.locked.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mounted = self.locked.mounted();
        let path = self.dir.join(&name);
        if names.contains(&name) || mounted.contains_key(&name) || !path.is_dir() {
            return None;
        }
        names.insert(name.clone());
        *mounted.entry(name.clone()).or_default() += 1;
        let lock = Some((self.locked.clone(), name.clone()));
        Some(CacheDir { path, mounted: (self.locked.clone(), name), lock, private: false })
    }

    /// Makes the directory of an id with what `fill` puts into it, unless there is one; false if there is. It is there
    /// as a whole or not at all.
    pub(crate) fn seed(
        &self,
        mount: &Mount,
        fill: impl FnOnce(&Path) -> Result<(), BuildError>,
    ) -> Result<bool, BuildError> {
        let id = mount.id.as_deref().unwrap_or(&mount.target);
        let draft = self.dir.join(format!("{SEED}{}", crate::solve::random_id(8)));
        let filled = make(&draft, mount).and_then(|()| fill(&draft));
        let path = self.dir.join(name_of(id));
        let placed = filled.and_then(|()| match fs::rename(&draft, &path) {
            Ok(()) => Ok(true),
            Err(_) if path.is_dir() => Ok(false),
            Err(error) => Err(failed("create", &path)(error)),
        });
        if !matches!(placed, Ok(true)) {
            let _ = dray_store::remove_tree(&draft);
        } else {
            self.write_note(&name_of(id), 0, &mount.target, id);
        }
        placed
    }

    /// The directories that have an id, with what is known of them.
    pub(crate) fn ids(&self) -> Result<Vec<(String, CacheRecord)>, BuildError> {
        let records = self.records()?.into_iter();
        Ok(records.filter_map(|record| Some((self.noted(&record.id).2?, record))).collect())
    }

    /// The directory that a mount asks for, made if need be.
    pub(crate) fn take(&self, mount: &Mount, cancel: &Cancel) -> Result<CacheDir, BuildError> {
        let id = mount.id.as_deref().unwrap_or(&mount.target);
        let name = name_of(id);
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
        // Counted before it is looked for: it is not removed from now on.
        let own = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        *self.locked.mounted().entry(own.clone()).or_default() += 1;
        let lock = held.then(|| (self.locked.clone(), name.clone()));
        let dir = CacheDir { path, mounted: (self.locked.clone(), own), lock, private };
        if !dir.path.is_dir() {
            make(&dir.path, mount)?;
        }
        if !private {
            let (uses, ..) = self.noted(&name);
            self.write_note(&name, uses + 1, &mount.target, id);
        }
        Ok(dir)
    }

    /// A note for people; without it the directory is as good.
    fn write_note(&self, name: &str, uses: u64, target: &str, id: &str) {
        if let Err(error) = fs::write(self.note(name), format!("{uses}\n{target}\n{id}")) {
            tracing::debug!(%error, name, "use of a cache mount");
        }
    }

    fn note(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.use"))
    }

    /// How often it was used, where it is mounted, and its id.
    fn noted(&self, name: &str) -> (u64, String, Option<String>) {
        let text = fs::read_to_string(self.note(name)).unwrap_or_default();
        let (uses, rest) = text.split_once('\n').unwrap_or_default();
        let (target, id) = rest.split_once('\n').map_or((rest, None), |(target, id)| (target, Some(id)));
        (uses.parse().unwrap_or(0), target.to_owned(), id.map(str::to_owned))
    }

    /// All of them, as records of the cache.
    pub(crate) fn records(&self) -> Result<Vec<CacheRecord>, BuildError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("list", &self.dir)(error)),
        };
        let mut records = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed("list", &self.dir))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !name.starts_with(SEED) {
                records.push(self.record(name)?);
            }
        }
        Ok(records)
    }

    fn record(&self, name: String) -> Result<CacheRecord, BuildError> {
        let path = self.dir.join(&name);
        let (uses, target, _) = self.noted(&name);
        let time = |time: std::time::SystemTime| jiff::Timestamp::try_from(time).ok().map(|t| t.to_string());
        let created = fs::metadata(&path).and_then(|metadata| metadata.created()).ok().and_then(time);
        let used =
            fs::metadata(self.note(&name)).and_then(|metadata| metadata.modified()).ok().and_then(time);
        Ok(CacheRecord {
            kind: CACHE_MOUNT,
            parents: Vec::new(),
            description: format!("cached mount {target}"),
            in_use: self.locked.mounted().contains_key(&name),
            shared: false,
            size: dray_store::usage(&path)?.allocated,
            created: created
                .or_else(|| used.clone())
                .unwrap_or_else(|| jiff::Timestamp::UNIX_EPOCH.to_string()),
            last_used: used.filter(|_| uses > 1),
            uses,
            id: name,
        })
    }

    /// Removes one, unless a step has it mounted; false if it stays.
    pub(crate) fn remove(&self, name: &str) -> bool {
        // Nobody takes one meanwhile.
        let mounted = self.locked.mounted();
        if mounted.contains_key(name) {
            return false;
        }
        // Out of the way first: what is made anew under the name is not what is being removed.
        let gone = self.dir.join(format!("{name}-gone"));
        let renamed = fs::rename(self.dir.join(name), &gone);
        let _ = fs::remove_file(self.note(name));
        drop(mounted);
        match renamed.and_then(|()| dray_store::remove_tree(&gone)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(name, %error, "cannot remove a cache mount");
                false
            }
            _ => true,
        }
    }
}

/// The name of the directory of an id.
fn name_of(id: &str) -> String {
    hex::encode(&Sha256::digest(id)[..16])
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
