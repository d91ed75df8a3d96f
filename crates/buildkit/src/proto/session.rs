//! What clients serve: `Auth`, `Secrets`, and fsutil's packets of `FileSync`.

use std::collections::HashMap;

use prost::{Enumeration, Message};

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CredentialsRequest {
    #[prost(string, tag = "1")]
    pub host: String,
}

/// Without a user name, the secret is an identity token.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CredentialsResponse {
    #[prost(string, tag = "1")]
    pub username: String,
    #[prost(string, tag = "2")]
    pub secret: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetSecretRequest {
    #[prost(string, tag = "1")]
    pub id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetSecretResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
}

/// `moby.sshforward.v1.CheckAgentRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CheckAgentRequest {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// `fsutil.types.Packet`.
#[derive(Clone, PartialEq, Message)]
pub struct Packet {
    #[prost(enumeration = "PacketType", tag = "1")]
    pub kind: i32,
    /// Of a `STAT`; none for the last.
    #[prost(message, optional, tag = "2")]
    pub stat: Option<Stat>,
    /// The place of a file among the `STAT`s.
    #[prost(uint32, tag = "3")]
    pub id: u32,
    /// Content of a file (nothing at its end), or the text of an error.
    #[prost(bytes = "bytes", tag = "4")]
    pub data: bytes::Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum PacketType {
    Stat = 0,
    Req = 1,
    Data = 2,
    Fin = 3,
    Err = 4,
}

/// `fsutil.types.Stat`.
#[derive(Clone, PartialEq, Message)]
pub struct Stat {
    #[prost(string, tag = "1")]
    pub path: String,
    /// Go's `os.FileMode`.
    #[prost(uint32, tag = "2")]
    pub mode: u32,
    #[prost(uint32, tag = "3")]
    pub uid: u32,
    #[prost(uint32, tag = "4")]
    pub gid: u32,
    #[prost(int64, tag = "5")]
    pub size: i64,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "6")]
    pub mod_time: i64,
    /// Target of a symbolic link, or the earlier name of a hard link.
    #[prost(string, tag = "7")]
    pub linkname: String,
    #[prost(int64, tag = "8")]
    pub devmajor: i64,
    #[prost(int64, tag = "9")]
    pub devminor: i64,
    #[prost(map = "string, bytes", tag = "10")]
    pub xattrs: HashMap<String, Vec<u8>>,
}
