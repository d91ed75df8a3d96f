//! Packets: bridges, addresses, published ports and DNS, through netlink.
//!
//! [`Network`] is the whole of a daemon's networking. It is synchronous (netlink answers in microseconds); the
//! embedded DNS and the IPv6 forwarders run on one thread of their own.

pub mod cidr;
mod config;
pub mod dns;
mod error;
mod network;
mod sandbox;

pub use cidr::Cidr;
pub use config::{
    Bound, Config, DnsConfig, Endpoint, EndpointConfig, NetworkConfig, NetworkState, Pool, PortBinding,
    Proto, SubnetConfig, SubnetState,
};
pub use error::{Error, ErrorKind, Result};
pub use network::Network;
pub use sandbox::Sandbox;
