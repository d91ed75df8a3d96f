//! A record as bundles have it: buildx's JSON of BuildKit's message, with what buildx knows beside it.

use std::collections::{BTreeMap, HashMap};

use dray_buildkit::proto::Timestamp;
use dray_buildkit::proto::control::{self, BuildHistoryRecord};
use dray_engine::build::history::record::{BuildRecord, Counts, Failure, RecordedOutput, Thing};
use jiff::Timestamp as Time;
use serde::{Deserialize, Serialize};

/// Where a build was of, on the machine of its client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct LocalState {
    /// What of a bake file it was.
    pub target: String,
    /// The context.
    pub local_path: String,
    /// The Dockerfile.
    pub dockerfile_path: String,
}

/// A record.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Document {
    #[serde(rename = "Ref")]
    pub reference: String,
    #[serde(rename = "Frontend", skip_serializing_if = "String::is_empty")]
    frontend: String,
    #[serde(rename = "FrontendAttrs", skip_serializing_if = "BTreeMap::is_empty")]
    attrs: BTreeMap<String, String>,
    #[serde(rename = "Exporters", skip_serializing_if = "Vec::is_empty")]
    exporters: Vec<Exporter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
    #[serde(rename = "CreatedAt", skip_serializing_if = "Option::is_none")]
    created: Option<Moment>,
    #[serde(rename = "CompletedAt", skip_serializing_if = "Option::is_none")]
    completed: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<Named>,
    #[serde(rename = "ExporterResponse", skip_serializing_if = "BTreeMap::is_empty")]
    told: BTreeMap<String, String>,
    #[serde(rename = "Result", skip_serializing_if = "Option::is_none")]
    pub result: Option<Gave>,
    #[serde(rename = "Results", skip_serializing_if = "BTreeMap::is_empty")]
    pub results: BTreeMap<String, Gave>,
    #[serde(rename = "Generation", skip_serializing_if = "is_zero")]
    generation: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Named>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pinned: bool,
    #[serde(skip_serializing_if = "is_zero")]
    num_cached_steps: i32,
    #[serde(skip_serializing_if = "is_zero")]
    num_total_steps: i32,
    #[serde(skip_serializing_if = "is_zero")]
    num_completed_steps: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_error: Option<Named>,
    #[serde(skip_serializing_if = "is_zero")]
    num_warnings: i32,
    #[serde(rename = "DefaultPlatform")]
    default_platform: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_state: Option<LocalState>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Exporter {
    r#type: String,
    attrs: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Error {
    code: i32,
    message: String,
}

/// A point of time, as Go writes protobuf's.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
struct Moment {
    seconds: i64,
    nanos: i32,
}

/// Something that is a blob of the bundle.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    pub media_type: String,
    pub digest: String,
    pub size: i64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a build gave.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Gave {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_deprecated: Option<Named>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attestations: Vec<Named>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub results: BTreeMap<String, Named>,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl Document {
    /// A record that goes into a bundle.
    pub(super) fn of(record: BuildHistoryRecord, platform: String, local_state: Option<LocalState>) -> Self {
        let sorted = |map: HashMap<String, String>| map.into_iter().collect::<BTreeMap<_, _>>();
        let exporter =
            |exporter: control::Exporter| Exporter { r#type: exporter.kind, attrs: sorted(exporter.attrs) };
        Document {
            reference: record.reference,
            frontend: record.frontend,
            attrs: sorted(record.frontend_attrs),
            exporters: record.exporters.into_iter().map(exporter).collect(),
            error: record.error.map(|error| Error { code: error.code, message: error.message }),
            created: record.created_at.map(Moment::from),
            completed: record.completed_at.map(Moment::from),
            logs: record.logs.map(Named::from),
            told: sorted(record.exporter_response),
            result: record.result.map(Gave::from),
            results: record.results.into_iter().map(|(name, gave)| (name, gave.into())).collect(),
            generation: record.generation,
            trace: record.trace.map(Named::from),
            pinned: record.pinned,
            num_cached_steps: record.num_cached_steps,
            num_total_steps: record.num_total_steps,
            num_completed_steps: record.num_completed_steps,
            external_error: record.external_error.map(Named::from),
            num_warnings: record.num_warnings,
            default_platform: platform,
            local_state,
        }
    }

    /// The record as it is kept here; `status` is the whole of its error, in base64.
    pub(super) fn into_record(self, status: String) -> BuildRecord {
        let mut attrs = self.attrs;
        // Where a build was of is among what was asked for here.
        let local = self.local_state.unwrap_or_default();
        for (name, value) in [("context", local.local_path), ("filename", local.dockerfile_path)] {
            if !value.is_empty() {
                attrs.entry(name.to_owned()).or_insert(value);
            }
        }
        let get = |name: &str| attrs.get(name).cloned().unwrap_or_default();
        let names = self.told.get("image.name").map(|names| names.split(',').map(str::to_owned).collect());
        let thing = Thing {
            context: get("context"),
            names: names.unwrap_or_default(),
            file: Some(get("filename"))
                .filter(|file| !file.is_empty())
                .unwrap_or_else(|| "Dockerfile".to_owned()),
            target: get("target"),
            platform: get("platform"),
        };
        let output = |exporter: Exporter| RecordedOutput { kind: exporter.r#type, attrs: exporter.attrs };
        BuildRecord {
            id: self.reference,
            frontend: self.frontend,
            attrs,
            outputs: self.exporters.into_iter().map(output).collect(),
            created: self.created.map(Moment::time).unwrap_or_default(),
            completed: self.completed.map(Moment::time),
            failure: self.error.map(|error| Failure { code: error.code, message: error.message, status }),
            told: self.told,
            counts: Counts {
                total: self.num_total_steps,
                completed: self.num_completed_steps,
                cached: self.num_cached_steps,
                warnings: self.num_warnings,
            },
            generation: self.generation,
            thing,
            ..BuildRecord::default()
        }
    }
}

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        Moment { seconds: time.seconds, nanos: time.nanos }
    }
}

impl Moment {
    fn time(self) -> Time {
        Time::new(self.seconds, self.nanos).unwrap_or_default()
    }
}

impl From<control::Descriptor> for Named {
    fn from(descriptor: control::Descriptor) -> Self {
        let control::Descriptor { media_type, digest, size, annotations } = descriptor;
        Named { media_type, digest, size, annotations: annotations.into_iter().collect() }
    }
}

impl From<control::BuildResultInfo> for Gave {
    fn from(info: control::BuildResultInfo) -> Self {
        Gave {
            result_deprecated: info.result_deprecated.map(Named::from),
            attestations: info.attestations.into_iter().map(Named::from).collect(),
            results: info.results.into_iter().map(|(n, result)| (n.to_string(), result.into())).collect(),
        }
    }
}
