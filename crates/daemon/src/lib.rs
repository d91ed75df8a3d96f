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

mod blocking;
mod body;
mod buildkit;
mod config;
mod connection;
mod credentials;
mod daemon;
mod error;
mod extract;
mod handed;
mod hijack;
mod hosted;
mod linger;
mod listener;
mod read_ahead;
mod reload;
mod routes;
mod state;
mod takeover;
mod tls;
mod unread;
mod version;
mod websocket;

pub use daemon::{DaemonError, main};
pub use hosted::Hosted;
