//! The daemon: Docker's Engine API over the engine's services.
//!
//! ```text
//! listener (unix, tcp, fd://) ── tls ── connection ── version ── routes ── engine services
//!                                          │
//!                                          └ takeover: hijack without an Upgrade header
//! ```
//!
//! A route turns HTTP into a call of one service and its answer into HTTP, nothing more. The
//! status of an error is decided in `error.rs` alone.

mod body;
mod connection;
mod error;
mod extract;
mod hijack;
mod listener;
mod routes;
mod state;
mod takeover;
mod tls;
mod version;

pub use connection::{Server, ServerError};
pub use error::{ApiError, ApiResult};
pub use listener::{Host, HostError, ListenError, Listener};
pub use tls::{TlsError, TlsFiles};
