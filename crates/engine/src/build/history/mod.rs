//! The history of builds: what was built, how it went, and why steps were carried out.
//!
//! ```text
//! record  build-history/<id>          BuildRecord: what was asked for, when, how it ended
//! record  build-history-trace/<id>    Trace: steps, what came in, why they were carried out
//! <data-root>/build/history/….log     what the client was shown, message by message
//! <data-root>/build/history/….trace   the same as OpenTelemetry's spans
//! <data-root>/build/history/files/…   lists of files that steps have read (files.rs)
//! <data-root>/build/history/attached/…   results and what is said of them (attachment.rs)
//! ```
//! A build is there from its beginning on. One that a daemon was at when it was killed has failed at the next start.
//! Nothing is flushed to the disk: after a power cut the last builds may be missing.

mod attachment;
pub mod explain;
pub mod files;
mod mask;
pub mod record;
mod recording;
pub mod view;
mod watch;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use dray_store::Store;
use jiff::Timestamp;
use tokio::sync::broadcast;

use crate::{ErrorKind, ServiceError};
pub use attachment::Document;
pub use mask::Mask;
use record::{Attachment, BuildRecord, Failure, LogFile, NoCache, Trace};
pub use recording::{End, Recording};
pub use watch::Watch;

const KIND: &str = "build-history";
const TRACE: &str = "build-history-trace";
/// Below the data root.
const FOLDER: &str = "build/history";
const LISTS: &str = "files";
const ATTACHED: &str = "attached";
/// Begins the names of folders for what is on its way.
const SCRATCH: &str = "import-";
/// So many builds of the same thing are looked at to explain one.
const COMPARED: usize = 5;
/// So many builds are looked through for one that is alike, where nothing names what they are of.
const LOOKED_THROUGH: usize = 20;
/// From how many hundredths of common instructions on two builds are of the same thing.
const ALIKE: usize = 50;
/// Bytes that logs and lists may take in all, whatever else is allowed.
const MOST_BYTES: u64 = 256 << 20;
/// Records that there may be for each that `entries` allows, however young they are.
const MOST_TIMES: usize = 20;
/// Changes that wait for somebody who listens.
const QUEUED: usize = 64;

/// Which builds are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// So many are kept whatever their age.
    pub entries: usize,
    /// Beyond these, those that are younger.
    pub age: Duration,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        HistoryLimits { entries: 50, age: Duration::from_secs(48 * 3600) }
    }
}

impl std::str::FromStr for HistoryLimits {
    type Err = String;

    /// `max-entries=50,max-age=48h`, as much of it as is wanted.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut limits = HistoryLimits::default();
        for field in text.split(',').filter(|field| !field.is_empty()) {
            let wrong = || format!("invalid field {field:?}");
            match field.split_once('=').ok_or_else(wrong)? {
                ("max-entries", value) => limits.entries = value.parse().map_err(|_| wrong())?,
                ("max-age", value) => {
                    let nanos =
                        dray_spec::golang::parse_duration(value).map_err(|error| error.to_string())?;
                    limits.age = Duration::from_nanos(u64::try_from(nanos).map_err(|_| wrong())?);
                }
                _ => return Err(wrong()),
            }
        }
        Ok(limits)
    }
}

/// A change of the history.
#[derive(Debug, Clone)]
pub enum HistoryChange {
    /// A build has begun.
    Started(Box<BuildRecord>),
    /// One has ended, or its record was changed.
    Completed(Box<BuildRecord>),
    /// A record is gone.
    Deleted(String),
}

/// A build that another daemon has recorded, with all that belongs to it.
#[derive(Debug, Default)]
pub struct ImportedBuild {
    /// What is known of it; files and documents are not looked at.
    pub record: BuildRecord,
    /// Its steps, if they are known.
    pub trace: Trace,
    /// Its log.
    pub log: Option<Vec<u8>>,
    /// Its OpenTelemetry spans.
    pub spans: Option<Vec<u8>>,
    /// Its results, and what is said of them.
    pub documents: Vec<Document>,
}

/// Why a record cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// There is none.
    #[error("no record found for ref {0:?}")]
    NotFound(String),
    /// There is none at all.
    #[error("no records found")]
    Empty,
    /// So many builds there are not.
    #[error("no completed build found with offset {0}")]
    Offset(usize),
    /// An offset that is no number.
    #[error("invalid offset {0:?}")]
    InvalidOffset(String),
    /// Several begin so.
    #[error("{0:?} is the beginning of several refs")]
    Ambiguous(String),
    /// It still runs.
    #[error("build {0} is still running")]
    Running(String),
    /// It has no such document.
    #[error("no attachment {digest} of build {id}")]
    NoAttachment {
        /// The build.
        id: String,
        /// The document's digest.
        digest: String,
    },
    /// The store fails.
    #[error(transparent)]
    Store(#[from] dray_store::Error),
    /// A log cannot be read.
    #[error("open {path}: {source}")]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl HistoryError {
    /// Which kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::Empty | Self::Offset(_) | Self::NoAttachment { .. } => {
                ErrorKind::NotFound
            }
            Self::InvalidOffset(_) | Self::Ambiguous(_) => ErrorKind::InvalidParameter,
            Self::Running(_) => ErrorKind::Conflict,
            Self::Store(_) | Self::Log { .. } => ErrorKind::System,
        }
    }
}

impl From<HistoryError> for ServiceError {
    fn from(error: HistoryError) -> Self {
        ServiceError::new(error.kind(), error)
    }
}

/// The history of a store.
pub struct History {
    store: Store,
    folder: PathBuf,
    limits: RwLock<HistoryLimits>,
    running: Mutex<BTreeMap<String, std::sync::Weak<Recording>>>,
    changes: broadcast::Sender<HistoryChange>,
}

impl History {
    /// The history of a store. Builds that ended with the daemon are settled.
    #[must_use]
    pub fn open(store: Store) -> Arc<Self> {
        let folder = store.root().join(FOLDER);
        if let Err(error) = fs::create_dir_all(&folder) {
            tracing::warn!(path = %folder.display(), %error, "no logs are kept of builds");
        }
        let (changes, _) = broadcast::channel(QUEUED);
        let history =
            History { store, folder, limits: RwLock::default(), running: Mutex::default(), changes };
        history.settle();
        Arc::new(history)
    }

    /// Keeps other builds from now on.
    pub fn set_limits(&self, limits: HistoryLimits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
        self.collect();
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, std::sync::Weak<Recording>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_path(&self, id: &str) -> PathBuf {
        self.path(id, "log")
    }

    fn spans_path(&self, id: &str) -> PathBuf {
        self.path(id, "trace")
    }

    fn path(&self, id: &str, kind: &str) -> PathBuf {
        // A reference is the client's: as a file's name it could lead anywhere.
        let name = dray_spec::Digest::sha256_of(id.as_bytes()).hex()[..32].to_owned();
        self.folder.join(format!("{name}.{kind}"))
    }

    fn lists(&self) -> PathBuf {
        self.folder.join(LISTS)
    }

    fn attached(&self) -> PathBuf {
        self.folder.join(ATTACHED)
    }

    /// Begins to record a build. Its reference must not be one that is there.
    pub fn begin(self: &Arc<Self>, record: BuildRecord, no_cache: NoCache) -> Arc<Recording> {
        let mut record = record;
        if record.id.is_empty() || self.stored(&record.id).ok().flatten().is_some() {
            record.id = random_id(25);
        }
        record.created = Timestamp::now();
        if let Err(error) = self.store.records().put_relaxed(KIND, &record.id, None, &record) {
            tracing::warn!(build = record.id, %error, "record a build");
        }
        let recording = Arc::new(Recording::begin(self, record.clone(), no_cache));
        self.running().insert(record.id.clone(), Arc::downgrade(&recording));
        self.tell(HistoryChange::Started(Box::new(record)));
        recording
    }

    /// What changes from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<HistoryChange> {
        self.changes.subscribe()
    }

    fn tell(&self, change: HistoryChange) {
        // Nobody may listen.
        let _ = self.changes.send(change);
    }

    /// A finished build is kept.
    fn keep(&self, record: BuildRecord, trace: &Trace) {
        let written = self.store.records().batch_relaxed(|tx| {
            tx.put(TRACE, &record.id, None, trace)?;
            tx.put(KIND, &record.id, None, &record)
        });
        if let Err(error) = written {
            tracing::warn!(build = record.id, %error, "record the end of a build");
        }
        self.running().remove(&record.id);
        self.tell(HistoryChange::Completed(Box::new(record)));
        self.collect();
    }

    /// Why steps of a build were carried out, held against the builds that are kept.
    fn explain(&self, record: &BuildRecord, trace: &Trace) -> explain::Explanation {
        let earlier = self.same(record, trace).unwrap_or_default();
        explain::explain(trace, &earlier, |name| files::read(&self.lists(), name))
    }

    /// Builds of the same thing, the newest first.
    fn same(&self, record: &BuildRecord, trace: &Trace) -> Result<Vec<(String, Trace)>, HistoryError> {
        let mut others = self.list()?;
        others.retain(|other| other.id != record.id && other.completed.is_some());
        let nearness = |other: &BuildRecord| nearness(record, other);
        let best = others.iter().filter_map(nearness).max();
        let mut found = Vec::new();
        let looked_through = if best == Some(0) { LOOKED_THROUGH } else { usize::MAX };
        let candidates = others.iter().filter(|other| nearness(other) == best && best.is_some());
        for other in candidates.take(looked_through) {
            let Some(of_other) = self.store.records().get::<Trace>(TRACE, &other.id)? else { continue };
            let is_same = best != Some(0) || explain::likeness(trace, &of_other) >= ALIKE;
            if is_same && !of_other.runs.is_empty() {
                found.push((other.id.clone(), of_other));
            }
            if found.len() >= COMPARED {
                break;
            }
        }
        Ok(found)
    }

    /// All builds, the newest first.
    ///
    /// # Errors
    /// If the store fails.
    pub fn list(&self) -> Result<Vec<BuildRecord>, HistoryError> {
        let records = self.store.records().list::<BuildRecord>(KIND)?;
        let mut records: Vec<BuildRecord> =
            records.into_iter().map(|record| self.now(record.document)).collect();
        records.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(records)
    }

    /// A running build's record is the recording's.
    fn now(&self, record: BuildRecord) -> BuildRecord {
        match record.completed {
            Some(_) => record,
            None => self.recording(&record.id).and_then(|running| running.record()).unwrap_or(record),
        }
    }

    /// The recording of a build that runs.
    pub fn recording(&self, id: &str) -> Option<Arc<Recording>> {
        self.running().get(id)?.upgrade()
    }

    fn stored(&self, id: &str) -> Result<Option<BuildRecord>, HistoryError> {
        Ok(self.store.records().get(KIND, id)?)
    }

    /// The record of this reference.
    ///
    /// # Errors
    /// If the store fails.
    pub fn get(&self, id: &str) -> Result<Option<BuildRecord>, HistoryError> {
        Ok(self.stored(id)?.map(|record| self.now(record)))
    }

    /// The record that is meant by a reference, its beginning, `^2` (two before the last), or nothing (the last).
    ///
    /// # Errors
    /// If there is none, or several.
    pub fn find(&self, name: &str) -> Result<BuildRecord, HistoryError> {
        if let Some(record) = self.get(name)? {
            return Ok(record);
        }
        let offset = match name {
            "" => Some(0),
            name => match name.strip_prefix('^') {
                Some(text) => Some(text.parse().map_err(|_| HistoryError::InvalidOffset(name.to_owned()))?),
                None => None,
            },
        };
        let records = self.list()?;
        if let Some(offset) = offset {
            return match (records.into_iter().nth(offset), offset) {
                (Some(record), _) => Ok(record),
                (None, 0) => Err(HistoryError::Empty),
                (None, offset) => Err(HistoryError::Offset(offset)),
            };
        }
        let mut found = records.into_iter().filter(|record| record.id.starts_with(name));
        match (found.next(), found.next()) {
            (Some(record), None) => Ok(record),
            (None, _) => Err(HistoryError::NotFound(name.to_owned())),
            (Some(_), Some(_)) => Err(HistoryError::Ambiguous(name.to_owned())),
        }
    }

    /// The steps of a build.
    ///
    /// # Errors
    /// If the store fails.
    pub fn trace(&self, id: &str) -> Result<Trace, HistoryError> {
        Ok(self.store.records().get(TRACE, id)?.unwrap_or_default())
    }

    /// The log of a build.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn log(&self, id: &str) -> Result<File, HistoryError> {
        if let Some(running) = self.recording(id) {
            running.flush();
        }
        let path = self.log_path(id);
        File::open(&path).map_err(|source| HistoryError::Log { path, source })
    }

    /// The trace of a build, as OpenTelemetry's spans.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn spans(&self, id: &str) -> Result<Vec<u8>, HistoryError> {
        let path = self.spans_path(id);
        fs::read(&path).map_err(|source| HistoryError::Log { path, source })
    }

    /// The bytes of a document of a build.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn attachment(&self, attachment: &Attachment) -> Result<Vec<u8>, HistoryError> {
        let path = attachment::path(&self.attached(), &attachment.digest);
        fs::read(&path).map_err(|source| HistoryError::Log { path, source })
    }

    /// Takes in a build that another daemon has recorded; false if one of its reference is there. It stays until it is
    /// removed: its age says nothing here.
    ///
    /// # Errors
    /// If it cannot be kept; nothing of it is then.
    pub fn import(&self, build: ImportedBuild) -> Result<bool, HistoryError> {
        let ImportedBuild { mut record, trace, log, spans, documents } = build;
        if self.get(&record.id)?.is_some() {
            return Ok(false);
        }
        let write = |path: PathBuf, bytes: &[u8]| match fs::write(&path, bytes) {
            Ok(()) => Ok(LogFile {
                digest: dray_spec::Digest::sha256_of(bytes).to_string(),
                size: bytes.len() as u64,
            }),
            Err(source) => Err(HistoryError::Log { path, source }),
        };
        let kept = (|| {
            record.log = log.map(|bytes| write(self.log_path(&record.id), &bytes)).transpose()?;
            record.spans = spans.map(|bytes| write(self.spans_path(&record.id), &bytes)).transpose()?;
            let folder = self.attached();
            let kept = documents.into_iter().map(|document| document.keep(&folder));
            let failed = |source| HistoryError::Log { path: folder.clone(), source };
            record.attachments = kept.collect::<Result<_, _>>().map_err(failed)?;
            (record.pinned, record.completed) = (true, record.completed.or(Some(record.created)));
            self.store.records().batch_relaxed(|tx| {
                tx.put(TRACE, &record.id, None, &trace)?;
                tx.put(KIND, &record.id, None, &record)
            })?;
            Ok(())
        })();
        if let Err(error) = kept {
            self.forget(std::slice::from_ref(&record))?;
            return Err(error);
        }
        self.tell(HistoryChange::Completed(Box::new(record)));
        Ok(true)
    }

    /// Removes a record. Of a build that runs it cannot be.
    ///
    /// # Errors
    /// If there is none, or it runs.
    pub fn remove(&self, id: &str) -> Result<(), HistoryError> {
        let record = self.get(id)?.ok_or_else(|| HistoryError::NotFound(id.to_owned()))?;
        if record.completed.is_none() {
            return Err(HistoryError::Running(record.id));
        }
        self.forget(std::slice::from_ref(&record))
    }

    /// Keeps a record whatever its age, or no longer.
    ///
    /// # Errors
    /// If there is none, or the store fails.
    pub fn pin(&self, id: &str, pinned: bool) -> Result<(), HistoryError> {
        let mut record = self.get(id)?.ok_or_else(|| HistoryError::NotFound(id.to_owned()))?;
        if let Some(running) = self.recording(id) {
            running.change(|record| record.pinned = pinned);
            return Ok(());
        }
        (record.pinned, record.generation) = (pinned, record.generation + 1);
        self.store.records().put_relaxed(KIND, id, None, &record)?;
        self.tell(HistoryChange::Completed(Box::new(record)));
        Ok(())
    }

    fn forget(&self, records: &[BuildRecord]) -> Result<(), HistoryError> {
        self.store.records().batch_relaxed(|tx| {
            for record in records {
                tx.delete(KIND, &record.id)?;
                tx.delete(TRACE, &record.id)?;
            }
            Ok(())
        })?;
        for record in records {
            let _ = fs::remove_file(self.log_path(&record.id));
            let _ = fs::remove_file(self.spans_path(&record.id));
            self.tell(HistoryChange::Deleted(record.id.clone()));
        }
        self.sweep_shared(records)
    }

    /// Removes lists and documents of records that are gone, unless others have them.
    fn sweep_shared(&self, gone: &[BuildRecord]) -> Result<(), HistoryError> {
        let going: HashSet<PathBuf> = gone.iter().flat_map(|record| self.shared(record)).collect();
        if going.is_empty() {
            return Ok(());
        }
        let kept: HashSet<PathBuf> = self.list()?.iter().flat_map(|record| self.shared(record)).collect();
        for path in going.difference(&kept) {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    /// The files of a record that others may have too.
    fn shared(&self, record: &BuildRecord) -> Vec<PathBuf> {
        let attached = self.attached();
        let lists = record.lists.iter().map(|list| self.lists().join(list));
        let documents = record.attachments.iter().map(|of| attachment::path(&attached, &of.digest));
        lists.chain(documents).collect()
    }

    /// A new folder, for what is on its way into the history. Who asks for it removes it; what a killed daemon leaves goes
    /// at the next start.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn scratch(&self) -> std::io::Result<PathBuf> {
        let folder = self.folder.join(format!("{SCRATCH}{}", random_id(16)));
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Removes what is too much.
    fn collect(&self) {
        let limits = *self.limits.read().unwrap_or_else(PoisonError::into_inner);
        let records = match self.list() {
            Ok(records) => records,
            Err(error) => return tracing::warn!(%error, "the history of builds"),
        };
        let going = beyond(records, limits, Timestamp::now());
        if going.is_empty() {
            return;
        }
        if let Err(error) = self.forget(&going) {
            tracing::warn!(%error, "collect the history of builds");
        }
    }

    /// After a start: builds that a daemon was at have failed, files without a record go.
    fn settle(&self) {
        let records = match self.store.records().list::<BuildRecord>(KIND) {
            Ok(records) => records,
            Err(error) => return tracing::warn!(%error, "the history of builds"),
        };
        let mut known = HashSet::new();
        for mut record in records.into_iter().map(|record| record.document) {
            let log = self.log_path(&record.id);
            known.extend([log.clone(), self.spans_path(&record.id)]);
            known.extend(self.shared(&record));
            if record.completed.is_some() {
                continue;
            }
            record.completed = Some(ended(&log).unwrap_or(record.created).max(record.created));
            record.failure = Some(Failure::of_daemon());
            record.log = fs::read(&log).ok().map(|bytes| record::LogFile {
                digest: dray_spec::Digest::sha256_of(&bytes).to_string(),
                size: bytes.len() as u64,
            });
            if let Err(error) = self.store.records().put_relaxed(KIND, &record.id, None, &record) {
                tracing::warn!(build = record.id, %error, "settle a build");
            }
        }
        for folder in [self.folder.clone(), self.lists(), self.attached()] {
            for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if path.is_file() && !known.contains(&path) {
                    let _ = fs::remove_file(path);
                } else if name.starts_with(SCRATCH) {
                    let _ = fs::remove_dir_all(path);
                }
            }
        }
    }
}

/// When a log was written last.
fn ended(log: &std::path::Path) -> Option<Timestamp> {
    Timestamp::try_from(fs::metadata(log).and_then(|log| log.modified()).ok()?).ok()
}

/// How near two builds are to being of the same thing, from 0; none for what cannot be.
fn nearness(one: &BuildRecord, other: &BuildRecord) -> Option<u8> {
    let (a, b) = (&one.thing, &other.thing);
    if a.target != b.target || a.platform != b.platform {
        return None;
    }
    let named = a.names.iter().any(|name| b.names.contains(name));
    match (a.context == b.context && !a.context.is_empty() && a.file == b.file, named) {
        (true, true) => Some(3),
        (true, false) => Some(2),
        (false, true) => Some(1),
        (false, false) if a.context.is_empty() && a.names.is_empty() => Some(0),
        (false, false) => None,
    }
}

/// The records that are too many or too old, or whose files take too much.
fn beyond(records: Vec<BuildRecord>, limits: HistoryLimits, now: Timestamp) -> Vec<BuildRecord> {
    let (mut count, mut bytes) = (0, 0);
    let mut going = Vec::new();
    for record in records {
        let Some(completed) = record.completed.filter(|_| !record.pinned) else { continue };
        count += 1;
        bytes += record.bytes();
        let age = Duration::try_from(now.duration_since(completed)).unwrap_or_default();
        let old = count > limits.entries && age >= limits.age;
        let many = count > limits.entries.saturating_mul(MOST_TIMES);
        if old || many || (bytes > MOST_BYTES && count > 1) {
            bytes -= record.bytes();
            going.push(record);
        }
    }
    going
}

/// Random letters and digits, as BuildKit's references have them.
pub(crate) fn random_id(length: usize) -> String {
    let mut random = vec![0; length];
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    let letters = b"0123456789abcdefghijklmnopqrstuvwxyz";
    random.iter().map(|byte| char::from(letters[usize::from(*byte) % letters.len()])).collect()
}

#[cfg(test)]
mod tests;
