//! The build cache: which step gave which layer, by the content of everything that went into the step.
//!
//! ```text
//! record  build-cache/<key> → { created, layer?, … }   hold  build-cache:<key> → layer
//! record  build-cache-alias/<quick key> → key         for `COPY --from`, whose sources need not be read then
//! ```
//!
//! Two chains of keys run through a stage. The *files* key names what is in the file system: base image, then
//! each step that works on files with what it reads (command, environment and arguments of a `RUN`; paths,
//! modes, owners and bytes of a `COPY`). The *chain* key names every instruction; it only tells whether an
//! instruction that makes no files was seen before, and when. So a changed `LABEL` repeats no `RUN`, but a
//! changed `ENV` or `ARG` does, and so does a changed line before it.
//!
//! A record whose layer is gone counts as none. Layers of a running build are kept by its lease on the store, and
//! by the cache from its end on: what the build has used is recorded with its hold in one transaction then, so that
//! no hold is without a record. The same step in two builds at once is carried out once.

mod mount;
mod portable;
mod prune;
mod usage;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dray_store::{LayerId, Store};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use mount::MountChoice;
pub(crate) use portable::UsedSteps;
pub use portable::{
    BlobSource, CACHE_CONFIG, CacheDocumentError, CacheExport, CacheImport, CacheMode, INLINE_CACHE,
};
pub use prune::{CachePrune, CachePruned};
pub use usage::CacheRecord;
pub(crate) use usage::{LateUses, Used};

use crate::Cancel;
use crate::error::BuildError;

/// Kind of the records, and prefix of the holds.
const KIND: &str = "build-cache";

/// Kind of the records of quicker keys.
const ALIAS: &str = "build-cache-alias";

/// Names the result of a step by what went into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(pub(crate) [u8; 32]);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Key {
    /// The first 12 digits: how a step without image of its own is shown.
    pub(crate) fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Makes a key from fields. Each is preceded by its length, so that none runs into the next.
pub(crate) struct KeyBuilder(Sha256);

impl KeyBuilder {
    pub(crate) fn new(kind: &str) -> Self {
        KeyBuilder(Sha256::new()).field(kind)
    }

    pub(crate) fn field(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.add(bytes.as_ref());
        self
    }

    pub(crate) fn list<T: AsRef<[u8]>>(mut self, items: impl IntoIterator<Item = T>) -> Self {
        let items: Vec<T> = items.into_iter().collect();
        self.add(&(items.len() as u64).to_le_bytes());
        items.iter().for_each(|item| self.add(item.as_ref()));
        self
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Key {
        Key(self.0.finalize().into())
    }
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When the step was carried out, RFC 3339.
    pub(crate) created: String,
    /// What it wrote; `None` if nothing.
    pub(crate) layer: Option<LayerId>,
    /// Its line of history.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// The key of the files it worked on, if those are a result of the cache too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<String>,
    /// When a build last had it, RFC 3339; none if only the one that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_used: Option<String>,
    /// How many builds had it.
    #[serde(default)]
    pub(crate) uses: u64,
    /// The times of its files.
    #[serde(default)]
    pub(crate) times: Times,
}

impl Entry {
    pub(crate) fn new(created: impl Into<String>, layer: Option<LayerId>) -> Self {
        let created = created.into();
        Entry {
            created,
            layer,
            description: String::new(),
            parent: None,
            last_used: None,
            uses: 0,
            times: Times::default(),
        }
    }

    /// The result of a step that wrote files, with their times.
    pub(crate) fn of_files(created: impl Into<String>, written: Option<Written>) -> Self {
        let times = written.map(|written| written.times).unwrap_or_default();
        Entry { times, ..Entry::new(created, written.map(|written| written.layer)) }
    }
}

/// What a step has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) layer: LayerId,
    pub(crate) times: Times,
}

/// The times of a layer's files, as far as the step has set them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Times {
    /// When the step began, in seconds since 1970: what is not older is of its own making. Without it all is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) began: Option<i64>,
    /// What the times were set to, in a reproducible build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<i64>,
}

impl Times {
    /// The time of a file in a build of this epoch, whose time is now `time`: the same whenever the step was carried
    /// out, and whichever epoch it had then.
    pub(crate) fn at(&self, epoch: i64, time: i64) -> i64 {
        let own = match (self.began, self.epoch) {
            (None, _) => true,
            (Some(_), Some(before)) => time == before,
            (Some(began), None) => time >= began,
        };
        if own || time > epoch { epoch } else { time }
    }
}

/// A key that can be had without reading files, and what it stands for.
#[derive(Serialize, Deserialize)]
struct Alias {
    key: String,
    created_by: String,
}

/// The cache of a store.
#[derive(Clone)]
pub(crate) struct Cache {
    store: Store,
    running: Arc<Running>,
    in_use: usage::Counts,
}

#[derive(Default)]
struct Running {
    steps: Mutex<HashMap<Key, usize>>,
    changed: Condvar,
}

/// What to do about a step.
pub(crate) enum Turn {
    /// Its result is there.
    Known(Entry),
    /// It is this caller's to carry out; others wait until the guard is dropped.
    Yours(TurnGuard),
}

/// Marks a step as being carried out.
pub(crate) struct TurnGuard {
    running: Arc<Running>,
    key: Key,
}

impl Drop for TurnGuard {
    fn drop(&mut self) {
        let mut steps = self.running.lock();
        if let Some(count) = steps.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                steps.remove(&self.key);
            }
        }
        self.running.changed.notify_all();
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    pub(crate) fn new(store: Store) -> Self {
        Cache { store, running: Arc::default(), in_use: Arc::default() }
    }

    /// The result recorded for `key`, if its layer is still there.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Entry>, BuildError> {
        let Some(entry) = self.store.records().get::<Entry>(KIND, &key.to_string())? else {
            return Ok(None);
        };
        let there = entry.layer.is_none_or(|layer| self.store.layers().get(layer).is_ok());
        Ok(there.then_some(entry))
    }

    /// Asks for the result of a step or for the right to carry it out. If another build is at it, waits.
    /// Without `look_up` the step is carried out in any case.
    pub(crate) fn turn(&self, key: &Key, look_up: bool, cancel: &Cancel) -> Result<Turn, BuildError> {
        if look_up && let Some(entry) = self.get(key)? {
            return Ok(Turn::Known(entry));
        }
        let mut steps = self.running.lock();
        let mut waited = false;
        while look_up && steps.contains_key(key) {
            waited = true;
            let wait = self.running.changed.wait_timeout(steps, Duration::from_millis(100));
            steps = wait.unwrap_or_else(PoisonError::into_inner).0;
            if cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
        }
        *steps.entry(*key).or_default() += 1;
        drop(steps);
        let guard = TurnGuard { running: self.running.clone(), key: *key };
        if waited {
            // Who was at it may have failed; then it is ours.
            if let Some(entry) = self.get(key)? {
                return Ok(Turn::Known(entry));
            }
        }
        Ok(Turn::Yours(guard))
    }

    /// Records a result under `key`. Its layer is kept only once the build has ended ([`Cache::settle`]).
    pub(crate) fn put(&self, key: &Key, entry: &Entry) -> Result<(), BuildError> {
        Ok(self.store.records().put_relaxed(KIND, &key.to_string(), None, entry)?)
    }

    /// The result that another, quicker key stands for, and its line of history.
    pub(crate) fn get_alias(&self, quick: &Key) -> Result<Option<(Key, String)>, BuildError> {
        let alias = self.store.records().get::<Alias>(ALIAS, &quick.to_string())?;
        Ok(alias.and_then(|alias| {
            let bytes = hex::decode(alias.key).ok()?;
            Some((Key(bytes.try_into().ok()?), alias.created_by))
        }))
    }

    /// Records that `quick` stands for `key`.
    pub(crate) fn put_alias(&self, quick: &Key, key: &Key, created_by: &str) -> Result<(), BuildError> {
        let alias = Alias { key: key.to_string(), created_by: created_by.to_owned() };
        Ok(self.store.records().put_relaxed(ALIAS, &quick.to_string(), None, &alias)?)
    }
}

fn holder(id: &str) -> String {
    format!("{KIND}:{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        let key = |fields: &[&str]| KeyBuilder::new("x").list(fields).finish();
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["a"]), key(&["a", ""]));
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
    }

    #[test]
    fn times_do_not_depend_on_when_a_step_was_carried_out() {
        let fresh = Times { began: Some(1000), epoch: None };
        let stamped = Times { began: Some(1000), epoch: Some(800) };
        let copied = Times { began: None, epoch: None };
        // Unpacked with an old time, written by the step, and from the future.
        let at = |times: Times, now: [i64; 3], epoch| now.map(|time| times.at(epoch, time));
        assert_eq!(at(fresh, [500, 1001, 3000], 800), [500, 800, 800]);
        assert_eq!(at(fresh, [500, 1001, 3000], 2000), [500, 2000, 2000]);
        assert_eq!(at(stamped, [500, 800, 800], 2000), [500, 2000, 2000]);
        assert_eq!(at(stamped, [500, 800, 800], 400), [400, 400, 400]);
        assert_eq!(at(copied, [500, 1001, 3000], 800), [800, 800, 800]);
    }

    #[test]
    fn a_step_is_carried_out_by_one_of_many() {
        let dir = tempfile::tempdir().expect("temp dir");
        let cache = Cache::new(Store::open(dir.path()).expect("store"));
        let key = KeyBuilder::new("step").finish();
        let carried_out = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| match cache.turn(&key, true, &Cancel::new()).expect("turn") {
                    Turn::Known(entry) => assert_eq!(entry.created, "now"),
                    Turn::Yours(_guard) => {
                        carried_out.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(20));
                        cache.put(&key, &Entry::new("now", None)).expect("put");
                    }
                });
            }
        });
        assert_eq!(carried_out.into_inner(), 1);
    }

    #[test]
    fn a_result_without_its_layer_is_none() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = Store::open(dir.path()).expect("store");
        let cache = Cache::new(store.clone());
        let key = KeyBuilder::new("step").finish();
        let layer = store.layers().begin().expect("draft").commit_unnamed(0).expect("layer");
        cache.put(&key, &Entry::new("now", Some(layer))).expect("put");
        let used = Used::default();
        cache.used(&used, &key, &Entry::new("now", Some(layer)), "RUN", None);
        cache.settle(used, true).expect("held");
        assert!(cache.get(&key).expect("get").is_some());
        store.collect().expect("collected");
        assert!(cache.get(&key).expect("get").is_some(), "the cache holds its layers");
        assert_eq!(
            cache.prune(&CachePrune::default()).expect("pruned").ids,
            [usage::shown(&key.to_string())]
        );
        let entry = Entry::new("now", Some(layer));
        store.records().put_relaxed(KIND, &key.to_string(), None, &entry).expect("put");
        store.collect().expect("collected");
        assert!(cache.get(&key).expect("get").is_none());
    }
}
