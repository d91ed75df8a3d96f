//! Records as BuildKit's clients have them, and the blobs that they name: logs, errors, traces, results and what is said
//! of these.

use std::collections::HashMap;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_buildkit::proto::Timestamp;
use dray_buildkit::proto::control::{
    BuildHistoryRecord, BuildResultInfo, Descriptor, Exporter, RecordedError,
};
use dray_engine::build::History;
use dray_engine::build::history::HistoryError;
use dray_engine::build::history::record::{Attachment, BuildRecord, LogFile, Role};
use dray_spec::Digest;
use jiff::Timestamp as Time;

/// Of a log.
pub(super) const LOG_TYPE: &str = "application/vnd.buildkit.status.v0";
/// Of an error. Spelt as BuildKit spells it.
pub(super) const ERROR_TYPE: &str = "application/vnd.googeapis.google.rpc.status+proto";
/// Of a trace.
pub(super) const TRACE_TYPE: &str = "application/vnd.buildkit.otlp.json.v0";

fn read_log(history: &History, id: &str) -> Result<Vec<u8>, HistoryError> {
    let mut bytes = Vec::new();
    let path = std::path::PathBuf::from(id);
    let read = history.log(id)?.read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|source| HistoryError::Log { path, source })
}

/// Something that a record names by its digest.
pub(super) struct Blob {
    pub(super) descriptor: Descriptor,
    content: Content,
}

enum Content {
    Log,
    Spans,
    Bytes(Vec<u8>),
    Attached(Attachment),
}

impl Blob {
    fn of(kind: &str, bytes: Vec<u8>) -> Self {
        let descriptor = Descriptor {
            media_type: kind.to_owned(),
            digest: Digest::sha256_of(&bytes).to_string(),
            size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            annotations: HashMap::new(),
        };
        Blob { descriptor, content: Content::Bytes(bytes) }
    }

    /// What it holds; none if it is gone.
    pub(super) fn bytes(self, history: &History, id: &str) -> Option<Vec<u8>> {
        match self.content {
            Content::Bytes(bytes) => Some(bytes),
            Content::Log => read_log(history, id).ok(),
            Content::Spans => history.spans(id).ok(),
            Content::Attached(attachment) => history.attachment(&attachment).ok(),
        }
    }
}

fn file_of(kind: &str, file: Option<&LogFile>, content: Content) -> Option<Blob> {
    let file = file?;
    let descriptor = Descriptor {
        media_type: kind.to_owned(),
        digest: file.digest.clone(),
        size: i64::try_from(file.size).unwrap_or(i64::MAX),
        annotations: HashMap::new(),
    };
    Some(Blob { descriptor, content })
}

fn log_of(record: &BuildRecord) -> Option<Blob> {
    file_of(LOG_TYPE, record.log.as_ref(), Content::Log)
}

fn spans_of(record: &BuildRecord) -> Option<Blob> {
    file_of(TRACE_TYPE, record.spans.as_ref(), Content::Spans)
}

fn error_of(record: &BuildRecord) -> Option<Blob> {
    let failure = record.failure.as_ref()?;
    let bytes = STANDARD.decode(&failure.status).ok().filter(|bytes| !bytes.is_empty())?;
    Some(Blob::of(ERROR_TYPE, bytes))
}

fn attached(attachment: &Attachment) -> Blob {
    let descriptor = Descriptor {
        media_type: attachment.media_type.clone(),
        digest: attachment.digest.to_string(),
        size: i64::try_from(attachment.size).unwrap_or(i64::MAX),
        annotations: attachment.annotations.clone().into_iter().collect(),
    };
    Blob { descriptor, content: Content::Attached(attachment.clone()) }
}

/// All that a record names, in the order of BuildKit's bundles.
pub(super) fn blobs(record: &BuildRecord) -> Vec<Blob> {
    let known = [spans_of(record), log_of(record), error_of(record)].into_iter().flatten();
    known.chain(record.attachments.iter().map(attached)).collect()
}

/// What a build gave: of all of it, and for each platform.
fn results_of(record: &BuildRecord) -> (Option<BuildResultInfo>, HashMap<String, BuildResultInfo>) {
    let (mut all, mut of_platforms) = (None, HashMap::<String, BuildResultInfo>::new());
    for attachment in &record.attachments {
        let info = match attachment.platform.as_str() {
            "" => all.get_or_insert_with(BuildResultInfo::default),
            platform => of_platforms.entry(platform.to_owned()).or_default(),
        };
        let descriptor = attached(attachment).descriptor;
        match attachment.role {
            Role::Statement => info.attestations.push(descriptor),
            Role::Result => {
                let number = i64::try_from(info.results.len()).unwrap_or(i64::MAX);
                info.result_deprecated.get_or_insert_with(|| descriptor.clone());
                info.results.insert(number, descriptor);
            }
            Role::Part => {}
        }
    }
    (all.filter(|info| *info != BuildResultInfo::default()), of_platforms)
}

/// A record in BuildKit's terms.
pub(super) fn to_wire(record: &BuildRecord) -> BuildHistoryRecord {
    let map = |map: &std::collections::BTreeMap<String, String>| -> HashMap<String, String> {
        map.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let exporters = record.outputs.iter();
    let exporters = exporters.map(|output| Exporter { kind: output.kind.clone(), attrs: map(&output.attrs) });
    let error = record.failure.as_ref();
    let (result, results) = results_of(record);
    BuildHistoryRecord {
        reference: record.id.clone(),
        frontend: record.frontend.clone(),
        frontend_attrs: map(&record.attrs),
        exporters: exporters.collect(),
        error: error.map(|error| RecordedError { code: error.code, message: error.message.clone() }),
        created_at: Some(wire_time(record.created)),
        completed_at: record.completed.map(wire_time),
        logs: log_of(record).map(|blob| blob.descriptor),
        exporter_response: map(&record.told),
        result,
        results,
        generation: record.generation,
        trace: spans_of(record).map(|blob| blob.descriptor),
        pinned: record.pinned,
        num_cached_steps: record.counts.cached,
        num_total_steps: record.counts.total,
        num_completed_steps: record.counts.completed,
        external_error: error_of(record).map(|blob| blob.descriptor),
        num_warnings: record.counts.warnings,
    }
}

pub(super) fn wire_time(time: Time) -> Timestamp {
    Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}
