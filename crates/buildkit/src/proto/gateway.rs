//! `moby.buildkit.v1.frontend.LLBBridge`: how a client drives a build from its own side.

use std::collections::HashMap;

use prost::{Message, Oneof};

use super::{Definition, WorkerRecord};
use crate::grpc::Status;

#[derive(Clone, PartialEq, Message)]
pub struct PongResponse {
    #[prost(message, repeated, tag = "1")]
    pub frontend_api_caps: Vec<ApiCap>,
    #[prost(message, repeated, tag = "2")]
    pub llb_caps: Vec<ApiCap>,
    #[prost(message, repeated, tag = "3")]
    pub workers: Vec<WorkerRecord>,
}

/// Something that the daemon can do.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ApiCap {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(bool, tag = "2")]
    pub enabled: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct SolveRequest {
    #[prost(message, optional, tag = "1")]
    pub definition: Option<Definition>,
    #[prost(string, tag = "2")]
    pub frontend: String,
    #[prost(map = "string, string", tag = "3")]
    pub frontend_opt: HashMap<String, String>,
    #[prost(map = "string, message", tag = "13")]
    pub frontend_inputs: HashMap<String, Definition>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SolveResponse {
    #[prost(message, optional, tag = "3")]
    pub result: Option<Solved>,
}

/// Named `Result` there.
#[derive(Clone, PartialEq, Message)]
pub struct Solved {
    #[prost(oneof = "Refs", tags = "1, 3, 4")]
    pub result: Option<Refs>,
    /// What is said of it, or the answer to a subrequest.
    #[prost(map = "string, bytes", tag = "10")]
    pub metadata: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Refs {
    #[prost(string, tag = "1")]
    Deprecated(String),
    #[prost(message, tag = "3")]
    One(Ref),
    #[prost(message, tag = "4")]
    Many(RefMap),
}

#[derive(Clone, PartialEq, Message)]
pub struct Ref {
    #[prost(string, tag = "1")]
    pub id: String,
    /// What stands for it as the input of another build.
    #[prost(message, optional, tag = "2")]
    pub def: Option<Definition>,
}

/// A file of a result, or with a range a part of it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ReadFileRequest {
    #[prost(string, tag = "1")]
    pub reference: String,
    #[prost(string, tag = "2")]
    pub path: String,
    #[prost(message, optional, tag = "3")]
    pub range: Option<FileRange>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct FileRange {
    #[prost(int64, tag = "1")]
    pub offset: i64,
    /// 0 for all that is there.
    #[prost(int64, tag = "2")]
    pub length: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ReadFileResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StatFileRequest {
    #[prost(string, tag = "1")]
    pub reference: String,
    #[prost(string, tag = "2")]
    pub path: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct StatFileResponse {
    #[prost(message, optional, tag = "1")]
    pub stat: Option<super::session::Stat>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RefMap {
    #[prost(map = "string, message", tag = "1")]
    pub refs: HashMap<String, Ref>,
}

impl Solved {
    /// The one result that it names; empty names stand for none.
    #[must_use]
    pub fn only(&self) -> Option<&str> {
        let id = match self.result.as_ref()? {
            Refs::Deprecated(id) => id.as_str(),
            Refs::One(one) => one.id.as_str(),
            Refs::Many(map) if map.refs.len() == 1 => map.refs.values().next()?.id.as_str(),
            Refs::Many(_) => return None,
        };
        Some(id).filter(|id| !id.is_empty())
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct ReturnRequest {
    #[prost(message, optional, tag = "1")]
    pub result: Option<Solved>,
    #[prost(message, optional, tag = "2")]
    error: Option<crate::grpc::WireStatus>,
}

impl ReturnRequest {
    /// Why the client gave up, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Status> {
        self.error.clone().map(Status::from)
    }
}
