//! A build on its way into the history.
//!
//! It is finished once: with what became of the build, or, when it is dropped before, as given up.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dray_build::BuildEvents;
use dray_spec::digest::Hasher;
use jiff::Timestamp;

use super::record::{BuildRecord, Counts, Failure, LogFile, NoCache, Role, Run, StepEnd, Trace, TracedStep};
use super::watch::{Step, Watch};
use super::{Document, History, Mask, files};

/// A build that is recorded.
pub struct Recording {
    history: Arc<History>,
    id: String,
    mask: Mask,
    open: Mutex<Option<Open>>,
}

/// What is still written.
struct Open {
    record: BuildRecord,
    log: Option<Log>,
    trace: Trace,
}

struct Log {
    file: BufWriter<File>,
    hasher: Hasher,
    size: u64,
}

/// How a build ended.
#[derive(Debug, Clone, Default)]
pub struct End {
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What its client was told.
    pub told: BTreeMap<String, String>,
    /// Its steps as clients were shown them.
    pub counts: Counts,
    /// The same as an OpenTelemetry trace.
    pub spans: Vec<u8>,
}

impl Recording {
    pub(super) fn begin(history: &Arc<History>, record: BuildRecord, no_cache: NoCache) -> Self {
        let path = history.log_path(&record.id);
        let log = match File::create(&path) {
            Ok(file) => Some(Log { file: BufWriter::new(file), hasher: Hasher::new(), size: 0 }),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "no log is kept of a build");
                None
            }
        };
        let NoCache { all: no_cache, stages: no_cache_stages } = no_cache;
        let trace = Trace { no_cache, no_cache_stages, ..Trace::default() };
        Recording {
            history: Arc::clone(history),
            id: record.id.clone(),
            mask: Mask::default(),
            open: Mutex::new(Some(Open { record, log, trace })),
        }
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The build's reference.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secrets that its steps were given.
    #[must_use]
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// The record as it is now.
    #[must_use]
    pub fn record(&self) -> Option<BuildRecord> {
        self.open().as_ref().map(|open| open.record.clone())
    }

    /// Changes the record of a build that runs.
    pub fn change(&self, work: impl FnOnce(&mut BuildRecord)) {
        if let Some(open) = self.open().as_mut() {
            work(&mut open.record);
        }
    }

    /// Writes to the log.
    pub fn write(&self, bytes: &[u8]) {
        let mut open = self.open();
        let Some(log) = open.as_mut().and_then(|open| open.log.as_mut()) else { return };
        if let Err(error) = log.file.write_all(bytes) {
            tracing::warn!(build = self.id, %error, "write the log of a build");
            if let Some(open) = open.as_mut() {
                open.log = None;
            }
            return;
        }
        log.hasher.update(bytes);
        log.size += bytes.len() as u64;
    }

    /// Brings what was written to its file, for those who read it while the build runs.
    pub fn flush(&self) {
        if let Some(log) = self.open().as_mut().and_then(|open| open.log.as_mut()) {
            let _ = log.file.flush();
        }
    }

    /// Listens to a run of the builder.
    pub fn watch<'a>(&'a self, platform: &str, events: &'a dyn BuildEvents) -> Watch<'a> {
        Watch::new(self, platform, events)
    }

    pub(super) fn add_run(&self, mut run: Run, steps: Vec<Step>) {
        let mut lists = Vec::new();
        for mut step in steps {
            let list = files::sorted(std::mem::take(&mut step.files));
            if !list.is_empty() {
                match files::keep(&self.history.lists(), &list) {
                    Ok((name, size)) => {
                        step.step.list.clone_from(&name);
                        lists.push((name, size));
                    }
                    Err(error) => tracing::warn!(build = self.id, %error, "keep the list of a step's files"),
                }
            }
            run.steps.push(step.step);
        }
        if let Some(open) = self.open().as_mut() {
            for (name, size) in lists {
                if !open.record.lists.contains(&name) {
                    open.record.lists.push(name);
                    open.record.lists_size += size;
                }
            }
            open.trace.runs.push(run);
        }
    }

    /// Keeps documents with the build, without the secrets that its steps were given.
    pub fn attach(&self, documents: Vec<Document>) {
        let folder = self.history.attached();
        let mut kept = Vec::new();
        for document in documents {
            match self.masked(document).keep(&folder) {
                Ok(attachment) => kept.push(attachment),
                Err(error) => tracing::warn!(build = self.id, %error, "keep a document of a build"),
            }
        }
        if let Some(open) = self.open().as_mut() {
            open.record.attachments.extend(kept);
        }
    }

    /// What is said of a result may repeat what the build was given. Results are named by their bytes, which stay.
    fn masked(&self, document: Document) -> Document {
        if self.mask.is_empty() || document.role != Role::Statement {
            return document;
        }
        let bytes = self.mask.hide(&String::from_utf8_lossy(&document.bytes)).into_bytes();
        Document { bytes, ..document }
    }

    /// Ends the recording.
    pub fn finish(&self, end: End) {
        let Some(Open { mut record, log, mut trace }) = self.open().take() else { return };
        record.completed = Some(Timestamp::now());
        record.generation += 1;
        record.failure =
            end.failure.map(|failure| Failure { message: self.mask.hide(&failure.message), ..failure });
        (record.told, record.counts) = (end.told, end.counts);
        record.log = log.and_then(|mut log| {
            let flushed = log.file.flush();
            flushed.ok().map(|()| LogFile { digest: log.hasher.finish().to_string(), size: log.size })
        });
        record.spans = self.keep_spans(&end.spans);
        if !self.mask.is_empty() {
            self.hide_in(&mut trace);
        }
        trace.runs.retain(|run| !run.steps.is_empty());
        // A FROM is never cached; what begins with another image is not either.
        let is_from = |text: &str| text.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("FROM "));
        let of_cache = |step: &TracedStep| step.end == StepEnd::Cached || is_from(&step.text);
        let cached = trace.runs.iter().flat_map(|run| &run.steps).all(of_cache);
        if !cached {
            trace.explanation = Some(self.history.explain(&record, &trace));
        }
        self.history.keep(record, &trace);
    }

    fn keep_spans(&self, spans: &[u8]) -> Option<LogFile> {
        if spans.is_empty() {
            return None;
        }
        let path = self.history.spans_path(&self.id);
        match std::fs::write(&path, spans) {
            Ok(()) => {
                let digest = dray_spec::Digest::sha256_of(spans).to_string();
                Some(LogFile { digest, size: spans.len() as u64 })
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "no trace is kept of a build");
                None
            }
        }
    }

    fn hide_in(&self, trace: &mut Trace) {
        for step in trace.runs.iter_mut().flat_map(|run| &mut run.steps) {
            step.text = self.mask.hide(&step.text);
            for input in &mut step.inputs.values {
                input.value = self.mask.hide(&input.value);
            }
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.finish(End { failure: Some(Failure::cancelled()), ..End::default() });
    }
}
