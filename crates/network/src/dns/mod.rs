//! The embedded resolver, and the texts of `resolv.conf` and `hosts`.

mod files;

pub use files::{HostsEntry, ResolvMode, ResolvOverrides, hosts, nameservers, resolv_conf};
