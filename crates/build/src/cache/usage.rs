//! Who uses what of the cache: noted while a build runs, recorded at its end, shown by `system df`.
//!
//! Invariant: a key that a build in progress has used is not pruned until the build has ended.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dray_store::{LayerId, Tx};

use super::portable::{UsedStep, UsedSteps};
use super::{Cache, Entry, KIND, Key, holder};
use crate::error::BuildError;

/// Keys that builds in progress have used, with how many builds.
pub(super) type Counts = Arc<Mutex<HashMap<String, usize>>>;

/// What a build has used so far. Dropped, it uses it no longer.
#[derive(Default)]
pub(crate) struct Used {
    entries: Mutex<HashMap<String, Entry>>,
    /// Those that are part of the target.
    target: Mutex<HashSet<String>>,
    aliases: Mutex<Vec<(String, Key, String)>>,
    /// Ids of the cache directories that its steps mount, whether they ran or not.
    mounts: Mutex<std::collections::BTreeSet<String>>,
    /// Where they are counted.
    counts: Mutex<Option<Counts>>,
}

impl Drop for Used {
    fn drop(&mut self) {
        let Some(counts) = lock(&self.counts).take() else { return };
        let mut counts = lock(&counts);
        for key in lock(&self.entries).keys() {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
    }
}

/// Uses that are still to be counted. That begins when this is dropped, on a thread of its own: nobody waits for it.
pub(crate) struct LateUses {
    cache: Cache,
    used: Used,
}

impl std::fmt::Debug for LateUses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LateUses").finish_non_exhaustive()
    }
}

impl Drop for LateUses {
    fn drop(&mut self) {
        let (cache, used) = (self.cache.clone(), std::mem::take(&mut self.used));
        let write = move || {
            if let Err(error) = cache.write(&used, false) {
                tracing::warn!(%error, "uses of the build cache are not counted");
            }
        };
        // Without a thread the uses are not counted; the results are there all the same.
        let _ = std::thread::Builder::new().name("build-cache".into()).spawn(write);
    }
}

impl Used {
    /// Notes that a result is part of the target.
    pub(crate) fn in_target(&self, key: &Key) {
        lock(&self.target).insert(key.to_string());
    }

    /// Notes what a quicker key stood for.
    pub(crate) fn alias(&self, quick: &Key, key: &Key, created_by: &str) {
        lock(&self.aliases).push((quick.to_string(), *key, created_by.to_owned()));
    }

    /// Notes that a step mounts the cache directory of this id.
    pub(crate) fn mount(&self, id: &str) {
        lock(&self.mounts).insert(id.to_owned());
    }

    /// All of it.
    pub(crate) fn steps(&self) -> UsedSteps {
        let target = lock(&self.target);
        let step = |(key, entry): (&String, &Entry)| UsedStep {
            key: key.clone(),
            entry: entry.clone(),
            in_target: target.contains(key),
        };
        let steps = lock(&self.entries).iter().map(step).collect();
        let mounts = lock(&self.mounts).iter().cloned().collect();
        UsedSteps { steps, aliases: lock(&self.aliases).clone(), mounts }
    }
}

/// A result of the cache, a directory of `RUN --mount=type=cache` or a kept context, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRecord {
    /// Its name.
    pub id: String,
    /// `regular`, `exec.cachemount` or `source.local`.
    pub kind: &'static str,
    /// The names of those it was made from.
    pub parents: Vec<String>,
    /// What made it.
    pub description: String,
    /// A build in progress has it.
    pub in_use: bool,
    /// Its layer is an image's or a container's too: nothing is freed with it.
    pub shared: bool,
    /// Bytes on the disk.
    pub size: u64,
    /// RFC 3339.
    pub created: String,
    /// RFC 3339.
    pub last_used: Option<String>,
    /// Builds that had it.
    pub uses: u64,
}

/// How a key is shown: as long as BuildKit's IDs.
pub(super) fn shown(key: &str) -> String {
    key.chars().take(25).collect()
}

impl Cache {
    /// Notes that a build uses a result.
    pub(crate) fn used(&self, used: &Used, key: &Key, entry: &Entry, made_by: &str, before: Option<&Key>) {
        let id = key.to_string();
        lock(&used.counts).get_or_insert_with(|| self.in_use.clone());
        let mut entries = lock(&used.entries);
        if entries.contains_key(&id) {
            return;
        }
        *lock(&self.in_use).entry(id.clone()).or_default() += 1;
        let (description, parent) = (made_by.to_owned(), before.map(Key::to_string));
        entries.insert(id, Entry { description, parent, ..entry.clone() });
    }

    /// A build has ended: what it used is recorded and held, all of it at once. With nothing `made` only the
    /// counts change, which can wait until its image has its names.
    pub(crate) fn settle(&self, used: Used, made: bool) -> Result<Option<LateUses>, BuildError> {
        if made {
            return self.write(&used, true).map(|()| None);
        }
        Ok(Some(LateUses { cache: self.clone(), used }))
    }

    fn write(&self, used: &Used, made: bool) -> Result<(), BuildError> {
        let now = jiff::Timestamp::now().to_string();
        let entries = lock(&used.entries);
        if entries.is_empty() {
            return Ok(());
        }
        let work = |tx: &Tx<'_>| {
            for (id, entry) in entries.iter() {
                let known: Option<Entry> = tx.get(KIND, id)?;
                let uses = known.map_or(0, |known| known.uses) + 1;
                let last_used = (uses > 1).then(|| now.clone());
                tx.put(KIND, id, None, &Entry { uses, last_used, ..entry.clone() })?;
                if let Some(layer) = entry.layer {
                    tx.hold(&holder(id), &[layer])?;
                }
            }
            Ok(())
        };
        let records = self.store.records();
        let written = if made { records.batch(work) } else { records.batch_relaxed(work) };
        Ok(written?)
    }

    /// True if a build in progress uses the result.
    pub(super) fn is_in_use(&self, id: &str) -> bool {
        lock(&self.in_use).contains_key(id)
    }

    /// Every result, also those without a layer.
    pub(crate) fn entries(&self) -> Result<Vec<(String, Entry)>, BuildError> {
        let entries = self.store.records().list::<Entry>(KIND)?;
        Ok(entries.into_iter().map(|record| (record.id, record.document)).collect())
    }

    /// Every result that has a layer.
    pub(crate) fn records(&self) -> Result<Vec<CacheRecord>, BuildError> {
        let entries = self.entries()?;
        let with_layer = |(id, entry): &'_ (String, Entry)| entry.layer.map(|_| id.clone());
        let known: HashSet<String> = entries.iter().filter_map(with_layer).collect();
        let listed: HashSet<LayerId> = entries.iter().filter_map(|(_, entry)| entry.layer).collect();
        let layers = self.store.layers();
        let elsewhere = layers.used_besides(KIND)?;
        let mut counted: HashSet<LayerId> = HashSet::new();
        let mut records = Vec::new();
        for (id, entry) in &entries {
            let Some(layer) = entry.layer.filter(|layer| layers.get(*layer).is_ok()) else {
                continue;
            };
            // Two results may have the same layer; it is one on the disk.
            let first = counted.insert(layer);
            let mut size = layers.allocated(layer)?;
            // A base that no other result has is this one's, but for those upon it that come later.
            if let Some(base) =
                layers.base(layer).filter(|base| !listed.contains(base) && !elsewhere.contains(base))
                && counted.insert(base)
            {
                size += layers.allocated(base)?;
            }
            records.push(CacheRecord {
                id: shown(id),
                kind: "regular",
                parents: entry.parent.iter().filter(|id| known.contains(*id)).map(|id| shown(id)).collect(),
                description: entry.description.clone(),
                in_use: self.is_in_use(id),
                shared: elsewhere.contains(&layer) || !first,
                size,
                created: entry.created.clone(),
                last_used: entry.last_used.clone(),
                uses: entry.uses,
            });
        }
        Ok(records)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
