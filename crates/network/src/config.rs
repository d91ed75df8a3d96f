//! What callers say about networks (settings) and what they store of them (states).
//!
//! The states are serde documents that the engine keeps; [`crate::Network::restore`] and friends take them back
//! after the daemon was restarted.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;
use crate::sublink::Parent;

/// Settings of a daemon's networking.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where `netns/<container id>` are bound.
    pub run_root: PathBuf,
    /// The name of this daemon's nftables table, unique among the daemons of a machine.
    pub table: String,
    /// The name of the default network's bridge.
    pub bridge_name: String,
    /// The default bridge's address and subnet (`--bip`); the first free pool otherwise.
    pub bip: Option<Cidr>,
    /// The rest of what the default bridge is to be.
    pub default_bridge: DefaultBridge,
    /// Options of networks that do not set them, by driver (`--default-network-opt`).
    pub default_options: BTreeMap<String, BTreeMap<String, String>>,
    /// The pools of which networks without a subnet get theirs (`--default-address-pool`).
    pub pools: Vec<Pool>,
    /// The host's resolver configuration: upstreams of the embedded DNS.
    pub resolv_conf: PathBuf,
    /// How many network namespaces are kept ready for the next containers.
    pub ready_sandboxes: usize,
    /// The MTU of bridges that do not say one; the kernel's own default otherwise.
    pub mtu: Option<u32>,
    /// How ports of networks that do not say are published.
    pub publish_mode: PublishMode,
}

/// How a bridge's containers of one family are joined to the world (`gateway_mode_ipv4`, `gateway_mode_ipv6`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// Behind the host's address; published ports are translated.
    #[default]
    Nat,
    /// The same, and whoever routes to a container reaches all of its ports.
    NatUnprotected,
    /// With their own addresses; published ports are open at those, and no port of the host's is used.
    Routed,
    /// Without an address of the bridge's own: not even the host is there.
    Isolated,
}

impl GatewayMode {
    /// The mode of its name in Docker's options.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "nat" => Self::Nat,
            "nat-unprotected" => Self::NatUnprotected,
            "routed" => Self::Routed,
            "isolated" => Self::Isolated,
            _ => return None,
        })
    }

    /// Whether containers are behind the host's address.
    #[must_use]
    pub fn translates(self) -> bool {
        matches!(self, Self::Nat | Self::NatUnprotected)
    }
}

/// What flags say about the network `bridge`, beyond its name, address and MTU.
#[derive(Clone, Debug, Default)]
pub struct DefaultBridge {
    /// IPv6 for its containers (`--ipv6`).
    pub ipv6: bool,
    /// Its IPv6 address and subnet (`--bip6`).
    pub bip6: Option<Cidr>,
    /// Where its containers' IPv4 addresses are taken from (`--fixed-cidr`).
    pub fixed_cidr: Option<Cidr>,
    /// Where their IPv6 addresses are taken from (`--fixed-cidr-v6`).
    pub fixed_cidr_v6: Option<Cidr>,
    /// Its containers' IPv4 gateway (`--default-gateway`).
    pub gateway: Option<Ipv4Addr>,
    /// Their IPv6 gateway (`--default-gateway-v6`).
    pub gateway_v6: Option<Ipv6Addr>,
    /// Driver options (`--icc`, `--ip-masq`, `--ip`).
    pub options: BTreeMap<String, String>,
}

/// What a published port owes to the host's own firewall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishMode {
    /// Nothing: it is translated before INPUT, as Docker's ports are.
    #[default]
    Nat,
    /// Connections begin only if the host's INPUT rules let them.
    FirewallAware,
}

impl PublishMode {
    /// `nat` or `firewall-aware`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::FirewallAware => "firewall-aware",
        }
    }
}

/// The text is no mode of publishing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid publish mode {0:?}: it is nat or firewall-aware")]
pub struct ParsePublishModeError(pub String);

impl std::str::FromStr for PublishMode {
    type Err = ParsePublishModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [Self::Nat, Self::FirewallAware].into_iter().find(|mode| mode.as_str() == text);
        known.ok_or_else(|| ParsePublishModeError(text.to_owned()))
    }
}

impl Config {
    /// Docker's defaults under a run root, for the table `dray` and the bridge `dray0`.
    #[must_use]
    pub fn new(run_root: impl Into<PathBuf>) -> Self {
        Self {
            run_root: run_root.into(),
            table: "dray".into(),
            bridge_name: "dray0".into(),
            bip: None,
            default_bridge: DefaultBridge::default(),
            default_options: BTreeMap::new(),
            pools: Pool::defaults(),
            resolv_conf: "/etc/resolv.conf".into(),
            ready_sandboxes: 2,
            mtu: None,
            publish_mode: PublishMode::Nat,
        }
    }
}

/// A range of addresses which is cut into subnets of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The whole range.
    pub base: Cidr,
    /// The prefix length of each subnet cut from it.
    pub size: u8,
}

impl Pool {
    /// The pools that Docker uses when none are configured.
    #[must_use]
    pub fn defaults() -> Vec<Pool> {
        let v4 = |a, b, prefix, size| {
            let base = Cidr::new(IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), prefix);
            base.map(|base| Pool { base, size })
        };
        [
            v4(172, 17, 16, 16),
            v4(172, 18, 16, 16),
            v4(172, 19, 16, 16),
            v4(172, 20, 14, 16),
            v4(172, 24, 14, 16),
            v4(172, 28, 14, 16),
            v4(192, 168, 16, 20),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What links a network's containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of their own.
    #[default]
    Bridge,
    /// An interface of the host, each with a MAC address of its own.
    Macvlan,
    /// An interface of the host, all with its MAC address.
    Ipvlan,
}

impl Driver {
    /// `bridge`, `macvlan` or `ipvlan`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }

    /// The driver of a name that [`Driver::as_str`] gives.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Bridge, Self::Macvlan, Self::Ipvlan].into_iter().find(|d| d.as_str() == name)
    }
}

/// A network to be made.
#[derive(Clone, Debug, Default)]
pub struct NetworkConfig {
    /// The network's 64 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Wanted subnets; an IPv4 one is chosen from the pools when none is given.
    pub subnets: Vec<SubnetConfig>,
    /// No way in or out (`--internal`).
    pub internal: bool,
    /// Give it an IPv6 subnet even if none was given (`--ipv6`).
    pub ipv6: bool,
    /// No IPv4 addresses (`--ipv4=false`).
    pub no_ipv4: bool,
    /// Driver options: `com.docker.network.bridge.*`, `com.docker.network.driver.mtu`, `parent`, `macvlan_mode`.
    pub options: BTreeMap<String, String>,
    /// The network named `bridge`: no embedded DNS for its endpoints.
    pub default_bridge: bool,
    /// What links its containers.
    pub driver: Driver,
}

/// The auxiliary addresses of bridges that are their containers' gateways, as Docker calls them: IPv4, IPv6.
pub const DEFAULT_GATEWAYS: [&str; 2] = ["DefaultGatewayIPv4", "DefaultGatewayIPv6"];

/// A wanted subnet (`--subnet`, `--ip-range`, `--gateway`, `--aux-address`).
#[derive(Clone, Debug, Default)]
pub struct SubnetConfig {
    /// The subnet; from the pools if absent.
    pub subnet: Option<Cidr>,
    /// Where addresses are given out from; the whole subnet if absent.
    pub ip_range: Option<Cidr>,
    /// The bridge's own address; the first of the subnet if absent.
    pub gateway: Option<IpAddr>,
    /// Addresses that are used by others.
    pub aux: BTreeMap<String, IpAddr>,
}

/// A network as it is: what the engine stores and shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkState {
    /// The network's 64 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its bridge's interface name; empty for other drivers.
    pub bridge: String,
    /// Whether the bridge was made for this network, and goes with it.
    pub owns_bridge: bool,
    /// Its subnets, IPv4 first.
    pub subnets: Vec<SubnetState>,
    /// No way in or out.
    pub internal: bool,
    /// Whether containers on it may talk with each other.
    pub icc: bool,
    /// Whether containers' addresses are hidden behind the host's.
    pub masquerade: bool,
    /// The MTU of its interfaces.
    pub mtu: Option<u32>,
    /// Where ports without a host address are published.
    pub host_binding: Option<IpAddr>,
    /// The network named `bridge`.
    pub default_bridge: bool,
    /// The bridge has no address of its own and containers no default route through it.
    #[serde(default)]
    pub inhibit_ipv4: bool,
    /// The prefix of interface names in containers.
    #[serde(default)]
    pub container_iface_prefix: Option<String>,
    /// How its ports are published; as the daemon says if absent.
    #[serde(default)]
    pub publish_mode: Option<PublishMode>,
    /// How its containers are joined to the world: by IPv4, by IPv6.
    #[serde(default)]
    pub gateway_modes: [GatewayMode; 2],
    /// Interfaces by which published ports may be asked for at the containers' own addresses.
    #[serde(default)]
    pub trusted_interfaces: Vec<String>,
    /// The host's addresses that containers are hidden behind; that of the way out if absent.
    #[serde(default)]
    pub host_addresses: Vec<IpAddr>,
    /// What links its containers.
    #[serde(default)]
    pub driver: Driver,
    /// The interface that macvlan and ipvlan link them to.
    #[serde(default)]
    pub parent: Option<Parent>,
}

impl NetworkState {
    /// How containers of a family are joined to the world.
    #[must_use]
    pub fn gateway_mode(&self, v4: bool) -> GatewayMode {
        self.gateway_modes[usize::from(!v4)]
    }

    /// The subnet of a family, where the network has one.
    #[must_use]
    pub fn subnet(&self, v4: bool) -> Option<&SubnetState> {
        self.subnets.iter().find(|s| s.subnet.is_ipv4() == v4)
    }
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetState {
    /// The subnet, host bits zero.
    pub subnet: Cidr,
    /// Where addresses are given out from.
    pub ip_range: Option<Cidr>,
    /// The bridge's own address. Of macvlan and ipvlan: another machine's, if one was named.
    pub gateway: Option<IpAddr>,
    /// Addresses that are used by others.
    #[serde(default)]
    pub aux: BTreeMap<String, IpAddr>,
}

/// How a container wants to be joined to a network.
#[derive(Clone, Debug, Default)]
pub struct EndpointConfig {
    /// The endpoint's id; made up if absent.
    pub id: Option<String>,
    /// The container's name: a DNS name, and part of error messages.
    pub name: String,
    /// Further DNS names on this network (aliases, host name). The container's short id is added.
    pub aliases: Vec<String>,
    /// A wanted IPv4 address.
    pub ip: Option<Ipv4Addr>,
    /// A wanted IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// A wanted MAC address, `02:42:ac:11:00:02`; derived from the IPv4 address if absent.
    pub mac: Option<String>,
    /// Names of its own for others on this network (`--link`): the other's name or id, and what it is called.
    pub links: Vec<(String, String)>,
    /// Further addresses of the interface, of the link alone (`--link-local-ip`).
    pub link_local: Vec<IpAddr>,
    /// The interface's name; the network's prefix with a number if absent.
    pub interface: Option<String>,
    /// Settings of the interface, by their name below `net/`, with `IFNAME` for its own.
    pub sysctls: Vec<(String, String)>,
    /// Among several networks the one with the highest priority gives the default route.
    pub gateway_priority: i32,
    /// The service whose containers have one address together; that is chosen here.
    pub service: Option<VirtualService>,
}

/// A service whose containers are reached by one address on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualService {
    /// Its name, a DNS name; `tasks.` with it are the containers.
    pub name: String,
    /// Further DNS names of it.
    pub names: Vec<String>,
    /// Its IPv4 address.
    pub ip: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ip6: Option<Ipv6Addr>,
}

/// A container's place on a network: what the engine stores and shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The endpoint's 64 hex digits.
    pub id: String,
    /// The network it is on.
    pub network_id: String,
    /// The container it belongs to.
    pub container_id: String,
    /// The container's name.
    pub name: String,
    /// Its further DNS names.
    pub aliases: Vec<String>,
    /// The interface's name in the container.
    pub interface: String,
    /// The interface's other end on the host; empty for macvlan and ipvlan, which have none.
    pub host_interface: String,
    /// The MAC address; empty for ipvlan, where it is the parent's.
    pub mac: String,
    /// The IPv4 address.
    pub ip: Option<Ipv4Addr>,
    /// Its prefix length, 0 without address.
    pub prefix: u8,
    /// The IPv4 gateway, absent on internal networks.
    pub gateway: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// Its prefix length, 0 without address.
    pub prefix6: u8,
    /// The IPv6 gateway, absent on internal networks.
    pub gateway6: Option<Ipv6Addr>,
    /// Its claim on the default route.
    pub gateway_priority: i32,
    /// Whether the default route leads into the interface without a gateway.
    #[serde(default)]
    pub routed: bool,
    /// Names of its own for others on this network.
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// Further addresses, of the link alone.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// The service behind whose address it is.
    #[serde(default)]
    pub service: Option<VirtualService>,
}

/// A transport protocol whose ports can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Proto {
    /// `tcp`, `udp` or `sctp`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// The protocol of a name that [`Proto::as_str`] gives.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|p| p.as_str() == name)
    }

    /// The number of the IP header's protocol field.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// A wanted publication of a container's port (`-p`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBinding {
    /// The protocol.
    pub proto: Proto,
    /// The port in the container.
    pub container_port: u16,
    /// The host's address; the network's default if absent (all, IPv4 and IPv6).
    pub host_ip: Option<IpAddr>,
    /// The host's port, or the first of a range to choose one from; 0 for any ephemeral one.
    pub host_port: u16,
    /// The last port of the range; equal to `host_port` where there is none.
    pub host_port_end: u16,
}

/// A port that is published. One wanted publication without a host address gives two: IPv4 and IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bound {
    /// The protocol.
    pub proto: Proto,
    /// The port in the container.
    pub container_port: u16,
    /// The host's address.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
}

/// What a container asks of its resolver on user-defined networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// Upstreams of this container alone (`--dns`); the host's if empty.
    pub servers: Vec<IpAddr>,
    /// Names without a dot are never asked upstream: the container sets `ndots` above 0 and asks for them with its
    /// search domains.
    pub dotless_stay: bool,
}
