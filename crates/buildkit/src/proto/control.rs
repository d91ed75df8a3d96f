//! `moby.buildkit.v1.Control`.

use std::collections::HashMap;

use prost::{Enumeration, Message};

use super::{BuildkitVersion, Definition, Range, SourceInfo, Timestamp, WorkerRecord};

/// An empty message: `InfoRequest` and its like.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct InfoResponse {
    #[prost(message, optional, tag = "1")]
    pub buildkit_version: Option<BuildkitVersion>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListWorkersResponse {
    #[prost(message, repeated, tag = "1")]
    pub record: Vec<WorkerRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SolveRequest {
    #[prost(string, tag = "1")]
    pub reference: String,
    #[prost(message, optional, tag = "2")]
    pub definition: Option<Definition>,
    #[prost(string, tag = "3")]
    pub exporter_deprecated: String,
    #[prost(map = "string, string", tag = "4")]
    pub exporter_attrs_deprecated: HashMap<String, String>,
    #[prost(string, tag = "5")]
    pub session: String,
    #[prost(string, tag = "6")]
    pub frontend: String,
    #[prost(map = "string, string", tag = "7")]
    pub frontend_attrs: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub cache: Option<CacheOptions>,
    #[prost(string, repeated, tag = "9")]
    pub entitlements: Vec<String>,
    #[prost(map = "string, message", tag = "10")]
    pub frontend_inputs: HashMap<String, Definition>,
    /// It is no part of the history.
    #[prost(bool, tag = "11")]
    pub internal: bool,
    #[prost(message, repeated, tag = "13")]
    pub exporters: Vec<Exporter>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CacheOptions {
    #[prost(message, repeated, tag = "4")]
    pub exports: Vec<CacheOptionsEntry>,
    #[prost(message, repeated, tag = "5")]
    pub imports: Vec<CacheOptionsEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CacheOptionsEntry {
    /// Named `Type` there.
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(map = "string, string", tag = "2")]
    pub attrs: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Exporter {
    /// Named `Type` there.
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(map = "string, string", tag = "2")]
    pub attrs: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SolveResponse {
    #[prost(map = "string, string", tag = "1")]
    pub exporter_response: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StatusRequest {
    #[prost(string, tag = "1")]
    pub reference: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct StatusResponse {
    #[prost(message, repeated, tag = "1")]
    pub vertexes: Vec<Vertex>,
    #[prost(message, repeated, tag = "2")]
    pub statuses: Vec<VertexStatus>,
    #[prost(message, repeated, tag = "3")]
    pub logs: Vec<VertexLog>,
    #[prost(message, repeated, tag = "4")]
    pub warnings: Vec<VertexWarning>,
}

/// A step of the build.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Vertex {
    #[prost(string, tag = "1")]
    pub digest: String,
    #[prost(string, repeated, tag = "2")]
    pub inputs: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(bool, tag = "4")]
    pub cached: bool,
    #[prost(message, optional, tag = "5")]
    pub started: Option<Timestamp>,
    #[prost(message, optional, tag = "6")]
    pub completed: Option<Timestamp>,
    #[prost(string, tag = "7")]
    pub error: String,
}

/// Something within a step that takes time or counts bytes.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct VertexStatus {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub vertex: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(int64, tag = "4")]
    pub current: i64,
    #[prost(int64, tag = "5")]
    pub total: i64,
    #[prost(message, optional, tag = "6")]
    pub timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "7")]
    pub started: Option<Timestamp>,
    #[prost(message, optional, tag = "8")]
    pub completed: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct VertexLog {
    #[prost(string, tag = "1")]
    pub vertex: String,
    #[prost(message, optional, tag = "2")]
    pub timestamp: Option<Timestamp>,
    /// 1 for standard output, 2 for standard error.
    #[prost(int64, tag = "3")]
    pub stream: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub msg: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct VertexWarning {
    #[prost(string, tag = "1")]
    pub vertex: String,
    #[prost(int64, tag = "2")]
    pub level: i64,
    #[prost(bytes = "vec", tag = "3")]
    pub short: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub detail: Vec<Vec<u8>>,
    #[prost(string, tag = "5")]
    pub url: String,
    #[prost(message, optional, tag = "6")]
    pub info: Option<SourceInfo>,
    #[prost(message, repeated, tag = "7")]
    pub ranges: Vec<Range>,
}

/// A piece of a connection inside a call.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BytesMessage {
    #[prost(bytes = "bytes", tag = "1")]
    pub data: bytes::Bytes,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PruneRequest {
    #[prost(string, repeated, tag = "1")]
    pub filter: Vec<String>,
    #[prost(bool, tag = "2")]
    pub all: bool,
    /// Nanoseconds.
    #[prost(int64, tag = "3")]
    pub keep_duration: i64,
    #[prost(int64, tag = "4")]
    pub reserved_space: i64,
    #[prost(int64, tag = "5")]
    pub max_used_space: i64,
    #[prost(int64, tag = "6")]
    pub min_free_space: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct DiskUsageRequest {
    #[prost(string, repeated, tag = "1")]
    pub filter: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct DiskUsageResponse {
    #[prost(message, repeated, tag = "1")]
    pub record: Vec<UsageRecord>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct UsageRecord {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(bool, tag = "2")]
    pub mutable: bool,
    #[prost(bool, tag = "3")]
    pub in_use: bool,
    #[prost(int64, tag = "4")]
    pub size: i64,
    #[prost(message, optional, tag = "6")]
    pub created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "7")]
    pub last_used_at: Option<Timestamp>,
    #[prost(int64, tag = "8")]
    pub usage_count: i64,
    #[prost(string, tag = "9")]
    pub description: String,
    #[prost(string, tag = "10")]
    pub record_type: String,
    #[prost(bool, tag = "11")]
    pub shared: bool,
    #[prost(string, repeated, tag = "12")]
    pub parents: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct BuildHistoryRequest {
    #[prost(bool, tag = "1")]
    pub active_only: bool,
    #[prost(string, tag = "2")]
    pub reference: String,
    /// What there is, and nothing that changes later.
    #[prost(bool, tag = "3")]
    pub early_exit: bool,
    #[prost(string, repeated, tag = "4")]
    pub filter: Vec<String>,
    #[prost(int32, tag = "5")]
    pub limit: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum BuildHistoryEventType {
    Started = 0,
    Complete = 1,
    Deleted = 2,
}

#[derive(Clone, PartialEq, Message)]
pub struct BuildHistoryEvent {
    /// Named `type` there.
    #[prost(enumeration = "BuildHistoryEventType", tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub record: Option<BuildHistoryRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub struct BuildHistoryRecord {
    #[prost(string, tag = "1")]
    pub reference: String,
    #[prost(string, tag = "2")]
    pub frontend: String,
    #[prost(map = "string, string", tag = "3")]
    pub frontend_attrs: HashMap<String, String>,
    #[prost(message, repeated, tag = "4")]
    pub exporters: Vec<Exporter>,
    #[prost(message, optional, tag = "5")]
    pub error: Option<RecordedError>,
    #[prost(message, optional, tag = "6")]
    pub created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "7")]
    pub completed_at: Option<Timestamp>,
    #[prost(message, optional, tag = "8")]
    pub logs: Option<Descriptor>,
    #[prost(map = "string, string", tag = "9")]
    pub exporter_response: HashMap<String, String>,
    #[prost(message, optional, tag = "10")]
    pub result: Option<BuildResultInfo>,
    /// By platform.
    #[prost(map = "string, message", tag = "11")]
    pub results: HashMap<String, BuildResultInfo>,
    #[prost(int32, tag = "12")]
    pub generation: i32,
    #[prost(message, optional, tag = "13")]
    pub trace: Option<Descriptor>,
    #[prost(bool, tag = "14")]
    pub pinned: bool,
    #[prost(int32, tag = "15")]
    pub num_cached_steps: i32,
    #[prost(int32, tag = "16")]
    pub num_total_steps: i32,
    #[prost(int32, tag = "17")]
    pub num_completed_steps: i32,
    #[prost(message, optional, tag = "18")]
    pub external_error: Option<Descriptor>,
    #[prost(int32, tag = "19")]
    pub num_warnings: i32,
}

/// What a build gave.
#[derive(Clone, PartialEq, Message)]
pub struct BuildResultInfo {
    #[prost(message, optional, tag = "1")]
    pub result_deprecated: Option<Descriptor>,
    #[prost(message, repeated, tag = "2")]
    pub attestations: Vec<Descriptor>,
    /// By the number of the output.
    #[prost(map = "int64, message", tag = "3")]
    pub results: HashMap<i64, Descriptor>,
}

/// `google.rpc.Status` without its details.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RecordedError {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Descriptor {
    #[prost(string, tag = "1")]
    pub media_type: String,
    #[prost(string, tag = "2")]
    pub digest: String,
    #[prost(int64, tag = "3")]
    pub size: i64,
    #[prost(map = "string, string", tag = "5")]
    pub annotations: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct UpdateBuildHistoryRequest {
    #[prost(string, tag = "1")]
    pub reference: String,
    #[prost(bool, tag = "2")]
    pub pinned: bool,
    #[prost(bool, tag = "3")]
    pub delete: bool,
    #[prost(bool, tag = "4")]
    pub finalize: bool,
}
