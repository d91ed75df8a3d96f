//! gRPC over HTTP/2: length-prefixed messages, and a status in the trailers.
//!
//! ```text
//! message:   0 (not compressed) │ length, 4 bytes big-endian │ protobuf
//! trailers:  grpc-status, grpc-message (percent-encoded), grpc-status-details-bin (base64 of google.rpc.Status)
//! ```

mod client;
mod messages;
mod server;
mod status;

pub use client::{Channel, Outgoing, Pacing, Uploading};
pub use messages::Messages;
pub use server::{Call, Reply, ReplySender, Service, serve};
pub(crate) use status::Wire as WireStatus;
pub use status::{Any, Code, Status};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// The largest message that is read, as BuildKit has it.
const MAX_MESSAGE: usize = 16 << 20;
/// What stands before a message.
const PREFIX: usize = 5;

/// A message as it travels.
fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // A growing buffer has room.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}
