//! One client's connection: TCP with or without TLS, HTTP on it, and the bodies of answers.
//!
//! ```text
//! listener ─┬─ plain: Socket (sendfile) ── HTTP/1.1 ─┐
//!           └─ TLS:   rustls ── HTTP/1.1 or 2 ───────┴─ service ── Response<Body>
//! ```

mod body;
mod peer;
mod socket;

pub use body::Body;
pub(crate) use peer::{PATIENCE, leave_after};
pub use socket::{Lane, Socket};
