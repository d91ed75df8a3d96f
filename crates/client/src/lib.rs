//! A client of the Engine API: Docker's protocol over a unix socket, TCP or TLS.
//!
//! ```text
//! container.rs image.rs … one method per endpoint, over the types of dray-api
//! request.rs              version negotiation, errors, one idle connection kept
//! stream.rs               multiplexed stdio, JSON streams, hijacked connections
//! connect.rs endpoint.rs  where the daemon is and how to get there
//! rehearsal.rs            nothing is sent that would change something
//! ```
//! The version is negotiated without an extra round trip: the first request goes out with the newest version, and a
//! daemon that finds it too new names its own, with which the request is sent again. Only requests with a streamed
//! body, which cannot be sent twice, ask with `_ping` first.

pub mod build;
pub mod connect;
pub mod container;
pub mod endpoint;
pub mod error;
pub mod exec;
pub mod extension;
pub mod handover;
pub mod image;
pub mod network;
pub mod query;
pub mod rehearsal;
pub mod request;
pub mod ssh;
pub mod stream;
pub mod system;
pub mod volume;

pub use connect::Tls;
pub use dray_api as api;
pub use endpoint::{Endpoint, Host};
pub use error::Error;
pub use query::Query;
pub use request::Call;
pub use request::{Client, Upload};
pub use stream::{Body, Channel, Frames, Hijacked, JsonStream};

/// What this crate's operations return.
pub type Result<T> = std::result::Result<T, Error>;
