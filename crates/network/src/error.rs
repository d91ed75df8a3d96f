//! What can go wrong with networks, in the words that Docker's users know.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::cidr::Cidr;

/// The result of an operation on networks.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation on a network, a sandbox, an endpoint or a published port.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The wanted subnet is used by another network.
    #[error("Pool overlaps with other one on this address space")]
    PoolOverlap,
    /// Every subnet of the default pools is used.
    #[error("all predefined address pools have been fully subnetted")]
    PoolsExhausted,
    /// Every subnet of the default pools is used by networks, by host addresses or by host routes.
    #[error(
        "could not find an available, non-overlapping {0} address pool among the defaults to assign to the network"
    )]
    NoFreePool(&'static str),
    /// All addresses of the subnet are in use.
    #[error("no available addresses on this pool")]
    NoAddress,
    /// The wanted address is in use.
    #[error("Address already in use")]
    AddressInUse,
    /// The wanted address lies in no subnet of the network.
    #[error("invalid endpoint settings: no configured subnet contains IP address {0}")]
    AddressOutOfRange(IpAddr),
    /// A gateway or auxiliary address lies outside of its subnet.
    #[error("no matching subnet for {what} {addr}")]
    NotInSubnet {
        /// What the address was to be.
        what: &'static str,
        /// The address.
        addr: IpAddr,
    },
    /// The gateway that containers are to have lies outside of their subnet.
    #[error("default gateway ip must be part of the network: {0}")]
    DefaultGateway(IpAddr),
    /// An address range lies outside of its subnet.
    #[error("no matching subnet for range {0}")]
    RangeOutside(Cidr),
    /// An option of the network cannot be understood.
    #[error("failed to parse {key} value: {value} ({reason})")]
    InvalidOption {
        /// The option's key.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A network that even the host is kept out of must not lead elsewhere either.
    #[error("gateway mode 'isolated' can only be used for an internal network")]
    IsolatedNotInternal,
    /// A bridge or interface name that the kernel would refuse.
    #[error("invalid interface name: {0:?}")]
    InvalidInterfaceName(String),
    /// A wanted interface name that another network of the container has.
    #[error("interface {0} is in use by another network of the container")]
    InterfaceInUse(String),
    /// A MAC address that is none.
    #[error("invalid MAC address: {0}")]
    InvalidMac(String),
    /// A macvlan or ipvlan cannot be linked to loopback.
    #[error("loopback interface is not a valid {0} parent link")]
    ParentIsLoopback(&'static str),
    /// A mode or flag that a driver does not know.
    #[error("requested {what} '{value}' is not valid, {default}")]
    DriverMode {
        /// `macvlan mode`, `ipvlan mode` or `ipvlan flag`.
        what: &'static str,
        /// What was asked for.
        value: String,
        /// What would have been taken.
        default: &'static str,
    },
    /// One of two networks wants their parent for itself.
    #[error(
        "{}macvlan network {network} is already using parent interface {parent}{}",
        if *whole { "cannot use mode passthru, " } else { "" },
        if *whole { "" } else { " in mode passthru" }
    )]
    ParentTaken {
        /// The id of the other network.
        network: String,
        /// The parent.
        parent: String,
        /// Whether it is the new network that wants it.
        whole: bool,
    },
    /// An interface is the parent of one driver only.
    #[error("interface {parent} is already the parent of {driver} network {network}")]
    ParentOfOther {
        /// The parent.
        parent: String,
        /// The other network's driver.
        driver: &'static str,
        /// The other network's name.
        network: String,
    },
    /// The parent, or the interface whose VLAN it would be, is not there.
    #[error("-o parent interface was not found on the host: {0}")]
    ParentNotFound(String),
    /// A parent that is not there and whose name is not that of a VLAN.
    #[error("invalid subinterface vlan name {0}, example formatting is eth0.10")]
    NoVlanName(String),
    /// A name of too many parts.
    #[error("required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received {0}")]
    VlanName(String),
    /// A VLAN that is no number.
    #[error("unable to parse a valid vlan id from: {0} (ex. eth0.10 for vlan 10)")]
    VlanId(String),
    /// A number that no VLAN has.
    #[error("vlan id must be between 1-4094, received: {0}")]
    VlanRange(i64),
    /// Another network uses this bridge.
    #[error("networks have same bridge name: {0} is used by network {1}")]
    BridgeInUse(String, String),
    /// No network with this id is known here.
    #[error("network {0} not found")]
    UnknownNetwork(String),
    /// The network still has endpoints.
    #[error("error while removing network: network {name} has active endpoints ({endpoints})")]
    ActiveEndpoints {
        /// The network's name.
        name: String,
        /// `name:"c1" id:"0123456789ab"` of each, joined.
        endpoints: String,
    },
    /// The sandbox of this container does not exist.
    #[error("network sandbox of container {0} not found")]
    UnknownSandbox(String),
    /// A published port is taken by another container of this daemon.
    #[error(
        "driver failed programming external connectivity on endpoint {name} ({id}): Bind for {ip}:{port} failed: port is already allocated"
    )]
    PortAllocated {
        /// The container's name.
        name: String,
        /// The endpoint's id.
        id: String,
        /// The host address.
        ip: IpAddr,
        /// The host port.
        port: u16,
    },
    /// A published port is taken by another program, or its host address is not here.
    #[error(
        "driver failed programming external connectivity on endpoint {name} ({id}): failed to bind host port {addr}/{proto}: {}",
        errno_text(source)
    )]
    PortBind {
        /// The container's name.
        name: String,
        /// The endpoint's id.
        id: String,
        /// `address:port` on the host.
        addr: std::net::SocketAddr,
        /// `tcp`, `udp` or `sctp`.
        proto: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No free port in the wanted or ephemeral range.
    #[error(
        "driver failed programming external connectivity on endpoint {name} ({id}): all ports are allocated"
    )]
    PortsExhausted {
        /// The container's name.
        name: String,
        /// The endpoint's id.
        id: String,
    },
    /// The kernel refused a netlink request.
    #[error("netlink: {operation}: {}", errno_text(source))]
    Netlink {
        /// What was asked for, with its subject.
        operation: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file, mount or sysctl could not be read or changed.
    #[error("{operation} {}: {}", path.display(), errno_text(source))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A namespace could not be made or entered, or a thread not started.
    #[error("{operation}: {}", errno_text(source))]
    System {
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Several steps of a clean-up failed; all were tried.
    #[error("{}", join(.0))]
    Several(Vec<Error>),
}

/// The kinds of failure, as the Engine API tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request makes no sense (400).
    InvalidParameter,
    /// The thing does not exist (404).
    NotFound,
    /// The request is understood and refused (403).
    Forbidden,
    /// Something is in the way (409).
    Conflict,
    /// A resource is used up (503).
    Unavailable,
    /// The machine failed (500).
    System,
}

impl Error {
    /// Which kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::PoolOverlap | Self::AddressInUse | Self::ActiveEndpoints { .. } => ErrorKind::Forbidden,
            Self::BridgeInUse(..) => ErrorKind::Conflict,
            Self::PoolsExhausted
            | Self::NotInSubnet { .. }
            | Self::DefaultGateway(_)
            | Self::AddressOutOfRange(_)
            | Self::RangeOutside(_)
            | Self::InvalidOption { .. }
            | Self::InvalidInterfaceName(_)
            | Self::InterfaceInUse(_)
            | Self::InvalidMac(_) => ErrorKind::InvalidParameter,
            Self::UnknownNetwork(_) | Self::UnknownSandbox(_) | Self::NoFreePool(_) => ErrorKind::NotFound,
            Self::NoAddress => ErrorKind::Unavailable,
            _ => ErrorKind::System,
        }
    }

    /// One error of many, or success where there were none.
    pub(crate) fn from_all(mut errors: Vec<Error>) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }

    /// The kernel's error number, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::PortBind { source, .. }
            | Self::Netlink { source, .. }
            | Self::Io { source, .. }
            | Self::System { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// The text of an errno in the form that Docker's users know: lower case, without the number.
fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn join(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
