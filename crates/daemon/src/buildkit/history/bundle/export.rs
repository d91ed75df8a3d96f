//! Records into a bundle.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use dray_engine::build::History;
use dray_engine::build::history::HistoryError;
use dray_engine::build::history::record::{BuildRecord, Role};
use dray_spec::{Descriptor, Digest, Index, Manifest, Platform, media_type};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::record::{Document, LocalState};
use super::{BundleError, LAYOUT, PLAIN_TYPE, RECORD_TYPE, REFERENCE, STEPS_TYPE, TRUE_TYPE};
use crate::buildkit::history::wire::{ERROR_TYPE, LOG_TYPE, TRACE_TYPE, blobs, to_wire};

/// What goes into a bundle.
pub(crate) struct Exports {
    records: Vec<BuildRecord>,
    /// Where builds were of, by reference, as far as the client knows.
    local: BTreeMap<String, LocalState>,
}

impl Exports {
    /// The builds of these names, the last one without any, or all that have ended.
    pub(crate) fn find(
        history: &History,
        names: &[String],
        all: bool,
        local: BTreeMap<String, LocalState>,
    ) -> Result<Self, HistoryError> {
        let ended = || -> Result<Vec<BuildRecord>, HistoryError> {
            Ok(history.list()?.into_iter().filter(|record| record.completed.is_some()).collect())
        };
        let records = match (all, names) {
            (true, _) => ended()?,
            (false, []) => ended()?.into_iter().take(1).collect(),
            (false, names) => names.iter().map(|name| history.find(name)).collect::<Result<_, _>>()?,
        };
        match records.iter().find(|record| record.completed.is_none()) {
            Some(running) => Err(HistoryError::Running(running.id.clone())),
            None if records.is_empty() => Err(HistoryError::Empty),
            None => Ok(Exports { records, local }),
        }
    }
}

/// Writes a bundle.
pub(crate) fn write(history: &History, exports: Exports, out: impl Write) -> Result<(), BundleError> {
    let gzip = GzEncoder::new(out, Compression::default());
    let mut layout = Layout { tar: tar::Builder::new(gzip), known: HashSet::new() };
    layout.file("oci-layout", LAYOUT)?;
    let mut manifests = Vec::new();
    let Exports { records, mut local } = exports;
    for record in records {
        let (id, local) = (record.id.clone(), local.remove(&record.id));
        manifests.push((id, layout.record(history, record, local)?));
    }
    let root = match manifests.len() {
        1 => manifests.remove(0).1,
        _ => {
            let annotated = |(id, mut manifest): (String, Descriptor)| {
                manifest.annotations.insert(REFERENCE.to_owned(), id);
                manifest
            };
            let index = Index::oci(manifests.into_iter().map(annotated).collect());
            layout.document(media_type::OCI_INDEX, &index)?
        }
    };
    let index = serde_json::to_vec(&Index::oci(vec![root])).map_err(BundleError::invalid)?;
    layout.file("index.json", &index)?;
    let gzip = layout.tar.into_inner().map_err(BundleError::Write)?;
    gzip.finish().and_then(|mut out| out.flush()).map_err(BundleError::Write)
}

/// An OCI layout that is written.
struct Layout<W: Write> {
    tar: tar::Builder<W>,
    /// Blobs that are in it.
    known: HashSet<Digest>,
}

impl<W: Write> Layout<W> {
    /// A record with all that belongs to it; gives its manifest.
    fn record(
        &mut self,
        history: &History,
        record: BuildRecord,
        local: Option<LocalState>,
    ) -> Result<Descriptor, BundleError> {
        let of_results: HashSet<String> =
            attached(&record, Role::Result).chain(attached(&record, Role::Part)).collect();
        let trace = history.trace(&record.id)?;
        let mut wire = to_wire(&record);
        let (mut layers, mut seen) = (Vec::new(), HashSet::new());
        for blob in blobs(&record) {
            let named = blob.descriptor.clone();
            let Some(bytes) = blob.bytes(history, &record.id) else {
                // What is named has to be there.
                match named.media_type.as_str() {
                    LOG_TYPE => wire.logs = None,
                    TRACE_TYPE => wire.trace = None,
                    ERROR_TYPE => wire.external_error = None,
                    _ => {}
                }
                continue;
            };
            let mut layer = self.blob(&named.media_type, &bytes)?;
            if !seen.insert(layer.digest.clone()) {
                continue;
            }
            layer.annotations = named.annotations.into_iter().collect();
            if of_results.contains(layer.digest.as_str()) {
                layer.annotations.insert(TRUE_TYPE.to_owned(), named.media_type);
                layer.media_type = PLAIN_TYPE.to_owned();
            }
            layers.push(layer);
        }
        if !trace.runs.is_empty() {
            layers.push(self.document(STEPS_TYPE, &trace)?);
        }
        let document = Document::of(wire, Platform::host().to_string(), local);
        let config = self.document(RECORD_TYPE, &document)?;
        self.document(media_type::OCI_MANIFEST, &Manifest::oci(config, layers))
    }

    fn document(&mut self, kind: &str, document: &impl Serialize) -> Result<Descriptor, BundleError> {
        let bytes = serde_json::to_vec_pretty(document).map_err(BundleError::invalid)?;
        self.blob(kind, &bytes)
    }

    fn blob(&mut self, kind: &str, bytes: &[u8]) -> Result<Descriptor, BundleError> {
        let descriptor = Descriptor::of(kind, bytes);
        if self.known.insert(descriptor.digest.clone()) {
            self.file(&format!("blobs/sha256/{}", descriptor.digest.hex()), bytes)?;
        }
        Ok(descriptor)
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<(), BundleError> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o444);
        let written: io::Result<()> = self.tar.append_data(&mut header, path, bytes);
        written.map_err(BundleError::Write)
    }
}

/// The digests of documents of a record.
fn attached(record: &BuildRecord, role: Role) -> impl Iterator<Item = String> {
    let of_role = record.attachments.iter().filter(move |attachment| attachment.role == role);
    of_role.map(|attachment| attachment.digest.to_string())
}
