//! The embedded resolver at 127.0.0.11, and the texts of `resolv.conf` and `hosts`.
//!
//! ```text
//! container: query to 127.0.0.11:53 ──nftables of the namespace──▶ 127.0.0.11:20053, a socket of the daemon's
//!   known name of a network of the container  ▶ answered from `Names`
//!   anything else                             ▶ an upstream, asked from the host's namespace
//! ```
//! The sockets are made in the container's namespace and served by tasks of the daemon; port 53 stays free for the
//! container's own use.

mod answer;
mod files;
mod message;
mod names;
mod serve;
mod upstream;

pub use answer::{Action, Lookup, handle};
pub use files::{HostsEntry, ResolvMode, ResolvOverrides, hosts, nameservers, resolv_conf};
pub use message::{Question, Rcode};
pub(crate) use names::{Names, Record};
pub(crate) use serve::{Served, Server, Sockets, open_sockets};
