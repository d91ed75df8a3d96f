//! BuildKit's protocol, without a builder behind it: what travels between a build client and the daemon.
//!
//! ```text
//! client                                     daemon
//! POST /grpc     ── taken over, HTTP/2 ──►   grpc::serve: Control, LLBBridge      (the client calls)
//! POST /session  ── taken over, HTTP/2 ──►   Sessions: filesync, auth, secrets    (the daemon calls)
//! ```
//! The messages in [`proto`] hold the fields that are used here; what else a peer sends is skipped, as protobuf
//! has it. [`grpc`] is the little of gRPC that this takes: unary calls and streams, statuses with details, over a
//! connection that is already there.

pub mod content;
pub mod filesend;
mod filesync;
pub mod grpc;
pub mod log;
pub mod proto;
mod session;

pub use filesend::{ArchiveWriter, SentFiles};
pub use filesync::{ArchiveReader, FileSyncError, Held, NothingHeld, StatKind, Wanted, copy_as_tar, go_mode};
pub use session::{AGENT_ID, Session, SessionError, Sessions};
