//! The OCI distribution server behind `dray registry serve` (distribution-spec 1.1, Docker registry v2).
//!
//! ```text
//! command ── config ─► serve ── connection (TCP, TLS, sendfile) ─► api (one module per noun)
//!                        │                                          │        │
//!                        └─ garbage (collector), retention          ▼        ▼
//!                                           access · rules · report   metadata   storage
//!                                           who        what   whom    SQLite     disk
//!                                           cache (copies of others)  PostgreSQL bucket
//!                                           replication (copies at others)
//! ```
//! Storage holds bytes under keys that are never used twice; the metadata say what they are and who has them, and
//! every change is one transaction there. Why that makes collection of garbage safe beside pushes is told in
//! [`metadata`].

pub mod access;
pub mod api;
mod cache;
pub mod command;
mod config;
pub mod connection;
mod duration;
pub mod garbage;
pub mod metadata;
pub mod name;
pub mod pattern;
mod remote;
mod replication;
pub mod report;
mod retention;
pub mod rules;
mod serve;
pub mod storage;
#[cfg(test)]
mod tests;
mod tls;

pub use command::main;
