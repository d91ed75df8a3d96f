//! Packets: bridges, addresses, published ports and DNS, through netlink.
//!
//! [`Network`] is the whole of a daemon's networking. It is synchronous (netlink answers in microseconds); the
//! embedded DNS and the IPv6 forwarders run on one thread of their own.

mod bridge;
pub mod cidr;
mod coexist;
mod config;
pub mod dns;
mod endpoint;
mod error;
mod exposure;
mod firewall;
mod forwarder;
mod gate;
mod host;
mod ipam;
mod lifecycle;
mod mac;
mod netlink;
mod network;
mod nft;
mod options;
mod ports;
mod publish;
mod reaper;
mod sandbox;
mod service;
mod share;
mod sockets;
mod sublink;
mod sysctl;
mod virtual_ip;

pub use cidr::Cidr;
pub use config::{
    Bound, Config, DefaultBridge, DnsConfig, Driver, Endpoint, EndpointConfig, GatewayMode, NetworkConfig,
    NetworkState, ParsePublishModeError, Pool, PortBinding, Proto, PublishMode, SubnetConfig, SubnetState,
    VirtualService,
};
pub use error::{Error, ErrorKind, Result};
pub use exposure::{Exposure, Reach};
pub use mac::{follows as mac_follows, parse as parse_mac};
pub use network::Network;
pub use sandbox::Sandbox;
pub use share::Readiness;
pub use sublink::{Flag, Mode, Parent};

/// What the fuzz targets look into.
#[cfg(fuzzing)]
pub mod fuzzing {
    use crate::netlink::{route, wire};

    /// Reads an answer of the kernel's: its messages, their attributes, links and routes in them.
    pub fn netlink(bytes: &[u8]) -> usize {
        let mut count = 0;
        for message in wire::messages(bytes) {
            count += usize::from(message.errno().is_some());
            count += message.attrs(16).map(|(_, payload)| wire::Attrs::of(payload).count()).sum::<usize>();
            count += usize::from(route::parse_link(&message).is_some());
            count += usize::from(route::parse_route(&message).is_some());
        }
        count
    }
}
