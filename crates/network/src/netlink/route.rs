//! rtnetlink: links (bridge, veth), addresses and routes.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::wire::{self, Attrs, Message, Messages, read_u32};
use super::{Failed, Socket};
use crate::cidr::Cidr;

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const SETLINK: u16 = 19;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_LINK: u16 = 5;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const BRPORT_STATE: u16 = 1;
const BRPORT_HAIRPIN: u16 = 4;
const BRPORT_LEARNING: u16 = 8;
const BRPORT_UNICAST_FLOOD: u16 = 9;
const BRPORT_FLUSH: u16 = 24;
const BRPORT_MCAST_FLOOD: u16 = 27;
const BRPORT_BCAST_FLOOD: u16 = 30;
const BRPORT_ISOLATED: u16 = 33;

const IFF_UP: u32 = 1;
const IFF_NOARP: u32 = 0x80;
/// The largest MTU of a pair.
const LARGEST_MTU: u32 = 65_535;
const AF_BRIDGE: u8 = 7;
const LINK_HEADER: usize = 16;
const ADDR_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

/// A MAC address.
pub type Mac = [u8; 6];

/// A link as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `bridge`, `veth`; empty for hardware.
    pub kind: String,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// Its alias.
    pub alias: String,
    /// Its MAC address, where it has one.
    pub mac: Option<Mac>,
    /// Whether it is up.
    pub up: bool,
    /// Its MTU.
    pub mtu: u32,
}

/// A veth pair whose far end is made directly in another namespace.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// The name here.
    pub host: &'a str,
    /// The alias here.
    pub alias: &'a str,
    /// The bridge to join.
    pub master: u32,
    /// The name there.
    pub peer: &'a str,
    /// The MAC address there.
    pub mac: Mac,
    /// The MTU of both.
    pub mtu: Option<u32>,
    /// Forbid it to talk with other ports for which this is set.
    pub isolated: bool,
    /// Let frames go back to where they came from.
    pub hairpin: bool,
    /// Where the far end goes.
    pub namespace: BorrowedFd<'a>,
}

/// A veth pair with both ends here: what goes out of one comes in by the other.
#[derive(Clone, Copy, Debug)]
pub struct Loop<'a> {
    /// The end that sends. It asks nobody for hardware addresses.
    pub out: &'a str,
    /// The end that receives.
    pub back: &'a str,
    /// The alias of both.
    pub alias: &'a str,
    /// The MAC address of both: an interface that asks nobody writes its own as the receiver's.
    pub mac: Mac,
}

/// An interface in another namespace that shares one of ours.
#[derive(Clone, Copy, Debug)]
pub struct Sub<'a> {
    /// The index of the one it shares.
    pub parent: u32,
    /// Its first name: one that neither namespace has.
    pub name: &'a str,
    /// How it shares.
    pub kind: SubKind,
    /// Its MAC address, where it has one of its own.
    pub mac: Option<Mac>,
    /// Its MTU; the parent's if absent.
    pub mtu: Option<u32>,
    /// Where it goes.
    pub namespace: BorrowedFd<'a>,
}

/// How an interface shares another, in the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubKind {
    /// `MACVLAN_MODE_*`.
    Macvlan(u32),
    /// `IPVLAN_MODE_*` and `IPVLAN_F_*`.
    Ipvlan {
        /// The mode.
        mode: u16,
        /// The flags.
        flags: u16,
    },
}

/// A route as the kernel shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; the default route has length 0.
    pub destination: Cidr,
    /// Through which interface.
    pub interface: Option<u32>,
}

fn link_header(family: u8, index: u32, up: bool) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if up {
        header[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
        header[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    }
    header
}

pub(crate) fn parse_link(message: &Message<'_>) -> Option<Link> {
    if message.kind != NEWLINK {
        return None;
    }
    let attrs = message.attrs(LINK_HEADER);
    Some(Link {
        index: read_u32(message.body, 4)?,
        name: attrs.str(IFLA_IFNAME)?.to_owned(),
        kind: attrs.nested(IFLA_LINKINFO).str(INFO_KIND).unwrap_or_default().to_owned(),
        master: attrs.u32(IFLA_MASTER),
        alias: attrs.str(IFLA_IFALIAS).unwrap_or_default().to_owned(),
        mac: attrs.find(IFLA_ADDRESS).and_then(|m| m.try_into().ok()),
        up: read_u32(message.body, 8)? & IFF_UP != 0,
        mtu: attrs.u32(IFLA_MTU).unwrap_or(0),
    })
}

/// All links.
pub fn links(socket: &Socket) -> io::Result<Vec<Link>> {
    let mut request = Messages::new();
    request.begin(GETLINK, wire::DUMP, &link_header(0, 0, false));
    let mut found = Vec::new();
    socket.query(request, |m| found.extend(parse_link(m)))?;
    Ok(found)
}

/// The link of a name, if there is one.
pub fn link(socket: &Socket, name: &str) -> io::Result<Option<Link>> {
    let mut request = Messages::new();
    request.begin(GETLINK, 0, &link_header(0, 0, false));
    request.attr_str(IFLA_IFNAME, name);
    let mut found = None;
    match socket.query(request, |m| found = parse_link(m)) {
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(e) => Err(e),
        Ok(()) => Ok(found),
    }
}

/// Makes a bridge that is up.
pub fn add_bridge(
    socket: &Socket,
    name: &str,
    alias: &str,
    mac: Mac,
    mtu: Option<u32>,
) -> Result<(), Failed> {
    let mut request = Messages::new();
    request.begin(NEWLINK, wire::CREATE | wire::EXCL | wire::ACK, &link_header(0, 0, true));
    request.attr_str(IFLA_IFNAME, name);
    request.attr(IFLA_ADDRESS, &mac);
    if let Some(mtu) = mtu {
        request.attr_u32(IFLA_MTU, mtu);
    }
    request.nest(IFLA_LINKINFO, |m| m.attr(INFO_KIND, b"bridge"));
    socket.send(request)?;
    write_alias(socket, name, alias)
}

/// Makes an interface of a kind without settings (`dummy`, `bridge`) that is up.
pub fn add_plain(socket: &Socket, kind: &str, name: &str, alias: &str) -> Result<(), Failed> {
    let mut request = Messages::new();
    request.begin(NEWLINK, wire::CREATE | wire::EXCL | wire::ACK, &link_header(0, 0, true));
    request.attr_str(IFLA_IFNAME, name);
    request.nest(IFLA_LINKINFO, |m| m.attr(INFO_KIND, kind.as_bytes()));
    socket.send(request)?;
    write_alias(socket, name, alias)
}

/// Makes the interface of a VLAN, up.
pub fn add_vlan(socket: &Socket, name: &str, alias: &str, master: u32, id: u16) -> Result<(), Failed> {
    const VLAN_ID: u16 = 1;
    let mut request = Messages::new();
    request.begin(NEWLINK, wire::CREATE | wire::EXCL | wire::ACK, &link_header(0, 0, true));
    request.attr_str(IFLA_IFNAME, name);
    request.attr_u32(IFLA_LINK, master);
    request.nest(IFLA_LINKINFO, |m| {
        m.attr(INFO_KIND, b"vlan");
        m.nest(INFO_DATA, |m| m.attr(VLAN_ID, &id.to_ne_bytes()));
    });
    socket.send(request)?;
    write_alias(socket, name, alias)
}

/// The kernel takes an alias only of a link that exists.
fn write_alias(socket: &Socket, name: &str, alias: &str) -> Result<(), Failed> {
    let mut request = Messages::new();
    request.begin(NEWLINK, wire::ACK, &link_header(0, 0, true));
    request.attr_str(IFLA_IFNAME, name);
    request.attr(IFLA_IFALIAS, alias.as_bytes());
    socket.send(request)
}

/// Gives an interface that is down another name.
pub fn rename(socket: &Socket, name: &str, new: &str) -> Result<(), Failed> {
    let failed = |source| Failed { index: 0, source };
    let found = link(socket, name).map_err(failed)?;
    let index = found.ok_or_else(|| failed(io::Error::from_raw_os_error(libc::ENODEV)))?.index;
    let mut request = Messages::new();
    request.begin(NEWLINK, wire::ACK, &link_header(0, index, false));
    request.attr_str(IFLA_IFNAME, new);
    socket.send(request)
}

/// Makes an interface that shares another, in its namespace and still down. Kernels before 6.8 look for its name in our
/// namespace too.
pub fn add_sub(socket: &Socket, sub: &Sub<'_>) -> Result<(), Failed> {
    const MODE: u16 = 1;
    const IPVLAN_FLAGS: u16 = 2;
    let mut request = Messages::new();
    request.begin(NEWLINK, wire::CREATE | wire::EXCL | wire::ACK, &link_header(0, 0, false));
    request.attr_str(IFLA_IFNAME, sub.name);
    request.attr_u32(IFLA_LINK, sub.parent);
    request.attr_u32(IFLA_NET_NS_FD, sub.namespace.as_raw_fd().cast_unsigned());
    if let Some(mac) = sub.mac {
        request.attr(IFLA_ADDRESS, &mac);
    }
    if let Some(mtu) = sub.mtu {
        request.attr_u32(IFLA_MTU, mtu);
    }
    request.nest(IFLA_LINKINFO, |m| match sub.kind {
        SubKind::Macvlan(mode) => {
            m.attr(INFO_KIND, b"macvlan");
            m.nest(INFO_DATA, |m| m.attr_u32(MODE, mode));
        }
        SubKind::Ipvlan { mode, flags } => {
            m.attr(INFO_KIND, b"ipvlan");
            m.nest(INFO_DATA, |m| {
                m.attr(MODE, &mode.to_ne_bytes());
                m.attr(IPVLAN_FLAGS, &flags.to_ne_bytes());
            });
        }
    });
    socket.send(request)
}

/// Makes a veth pair: this end up and joined to its bridge, the far end in its namespace.
pub fn add_veth(socket: &Socket, veth: &Veth<'_>) -> Result<(), Failed> {
    let mut request = Messages::new();
    request.begin(NEWLINK, wire::CREATE | wire::EXCL | wire::ACK, &link_header(0, 0, true));
    request.attr_str(IFLA_IFNAME, veth.host);
    request.attr_u32(IFLA_MASTER, veth.master);
    if let Some(mtu) = veth.mtu {
        request.attr_u32(IFLA_MTU, mtu);
    }
    one_queue(&mut request);
    request.nest(IFLA_LINKINFO, |m| {
        m.attr(INFO_KIND, b"veth");
        m.nest(INFO_DATA, |m| {
            m.nest(VETH_INFO_PEER, |m| {
                // Not up yet: the kernel refuses that while the pair is half made.
                m.raw(&link_header(0, 0, false));
                m.attr_str(IFLA_IFNAME, veth.peer);
                m.attr(IFLA_ADDRESS, &veth.mac);
                one_queue(m);
                if let Some(mtu) = veth.mtu {
                    m.attr_u32(IFLA_MTU, mtu);
                }
                m.attr_u32(IFLA_NET_NS_FD, veth.namespace.as_raw_fd().cast_unsigned());
            });
        });
    });
    request.begin(NEWLINK, wire::ACK, &link_header(0, 0, true));
    request.attr_str(IFLA_IFNAME, veth.host);
    request.attr(IFLA_IFALIAS, veth.alias.as_bytes());
    if veth.isolated || veth.hairpin {
        request.nest(IFLA_LINKINFO, |m| {
            m.attr(INFO_SLAVE_KIND, b"bridge");
            m.nest(INFO_SLAVE_DATA, |m| {
                m.attr(BRPORT_HAIRPIN, &[u8::from(veth.hairpin)]);
                m.attr(BRPORT_ISOLATED, &[u8::from(veth.isolated)]);
            });
        });
    }
    socket.send(request)
}

/// Makes a pair that leads from here to here, both ends still down.
pub fn add_loop(socket: &Socket, pair: &Loop<'_>) -> Result<(), Failed> {
    let mut silent = link_header(0, 0, false);
    silent[8..12].copy_from_slice(&IFF_NOARP.to_ne_bytes());
    silent[12..16].copy_from_slice(&IFF_NOARP.to_ne_bytes());
    let end = |m: &mut Messages, name: &str| {
        m.attr_str(IFLA_IFNAME, name);
        m.attr(IFLA_ADDRESS, &pair.mac);
        // Whole datagrams: fragments were put together on the way here.
        m.attr_u32(IFLA_MTU, LARGEST_MTU);
        one_queue(m);
    };
    let mut request = Messages::new();
    request.begin(NEWLINK, wire::CREATE | wire::EXCL | wire::ACK, &silent);
    end(&mut request, pair.out);
    request.nest(IFLA_LINKINFO, |m| {
        m.attr(INFO_KIND, b"veth");
        m.nest(INFO_DATA, |m| {
            m.nest(VETH_INFO_PEER, |m| {
                m.raw(&link_header(0, 0, false));
                end(m, pair.back);
            });
        });
    });
    // The kernel takes an alias only of a link that exists.
    for name in [pair.out, pair.back] {
        request.begin(NEWLINK, wire::ACK, &link_header(0, 0, false));
        request.attr_str(IFLA_IFNAME, name);
        request.attr(IFLA_IFALIAS, pair.alias.as_bytes());
    }
    socket.send(request)
}

/// A pair gets a queue per processor unless told, each with objects in sysfs that take their time to make. They
/// serve XDP alone: plain packets of a pair are never queued.
fn one_queue(request: &mut Messages) {
    request.attr_u32(IFLA_NUM_TX_QUEUES, 1);
    request.attr_u32(IFLA_NUM_RX_QUEUES, 1);
}

/// Stops a bridge port at once: no frame goes through any more, and the bridge forgets who is behind it.
///
/// Asked of the bridge family: the way by which ports get their other settings ends with an event that makes the
/// bridge enable the port again.
pub fn disable_port(socket: &Socket, index: u32) -> Result<(), Failed> {
    let mut request = Messages::new();
    request.begin(SETLINK, wire::ACK, &link_header(AF_BRIDGE, index, false));
    request.nest(IFLA_PROTINFO, |m| {
        m.attr(BRPORT_STATE, &[0]);
        // Should a late event of its carrier enable it, nothing leads there any more.
        for flag in [BRPORT_LEARNING, BRPORT_UNICAST_FLOOD, BRPORT_MCAST_FLOOD, BRPORT_BCAST_FLOOD] {
            m.attr(flag, &[0]);
        }
        m.attr(BRPORT_FLUSH, &[]);
    });
    socket.send(request)
}

/// Sets a link up.
pub fn set_up(socket: &Socket, index: u32) -> Result<(), Failed> {
    let mut request = Messages::new();
    request.begin(NEWLINK, wire::ACK, &link_header(0, index, true));
    socket.send(request)
}

/// Removes a link.
pub fn delete_link(socket: &Socket, index: u32) -> Result<(), Failed> {
    let mut request = Messages::new();
    request.begin(DELLINK, wire::ACK, &link_header(0, index, false));
    socket.send(request)
}

/// Removes several links with one wait of the kernel: they are put into a group that goes as one.
pub fn delete_links(socket: &Socket, names: &[String], group: u32) -> Result<(), Failed> {
    let mut request = Messages::new();
    for name in names {
        request.begin(NEWLINK, wire::ACK, &link_header(0, 0, false));
        request.attr_str(IFLA_IFNAME, name);
        request.attr_u32(IFLA_GROUP, group);
    }
    // A link that is gone already is what was asked for.
    match socket.send(request) {
        Err(failed) if !failed.is(libc::ENODEV) => return Err(failed),
        _ => {}
    }
    let mut request = Messages::new();
    request.begin(DELLINK, wire::ACK, &link_header(0, 0, false));
    request.attr_u32(IFLA_GROUP, group);
    match socket.send(request) {
        Err(failed) if failed.is(libc::ENODEV) => Ok(()),
        other => other,
    }
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

fn af(v4: bool) -> u8 {
    // AF_INET and AF_INET6.
    if v4 { 2 } else { 10 }
}

fn write_address(request: &mut Messages, kind: u16, flags: u16, index: u32, addr: Cidr) {
    const IFA_F_NODAD: u8 = 2;
    let mut header = [0; ADDR_HEADER];
    header[0] = af(addr.is_ipv4());
    header[1] = addr.prefix();
    header[2] = if addr.is_ipv4() { 0 } else { IFA_F_NODAD };
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    request.begin(kind, flags, &header);
    let bytes = octets(addr.addr());
    request.attr(2, &bytes);
    request.attr(1, &bytes);
    if let (IpAddr::V4(v4), true) = (addr.addr(), addr.prefix() < 31) {
        let host = u32::MAX.checked_shr(u32::from(addr.prefix())).unwrap_or(0);
        request.attr(4, &(u32::from(v4) | host).to_be_bytes());
    }
}

/// Where a default route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// To a machine.
    At(IpAddr),
    /// Into the interface, for IPv4 or IPv6.
    Link {
        /// Whether it is for IPv4.
        v4: bool,
    },
}

fn write_default_route(request: &mut Messages, kind: u16, flags: u16, index: u32, gateway: Gateway) {
    const UNIVERSE: u8 = 0;
    const LINK: u8 = 253;
    let (v4, scope) = match gateway {
        Gateway::At(addr) => (addr.is_ipv4(), UNIVERSE),
        Gateway::Link { v4 } => (v4, LINK),
    };
    // family, dst len, src len, tos, table main, protocol boot, scope, type unicast
    let header = [af(v4), 0, 0, 0, 254, 3, scope, 1, 0, 0, 0, 0];
    request.begin(kind, flags, &header);
    if let Gateway::At(addr) = gateway {
        request.attr(5, &octets(addr));
    }
    request.attr_u32(4, index);
}

/// Sets an interface up with its addresses and its default routes, in one system call.
pub fn configure(
    socket: &Socket,
    index: u32,
    addresses: &[Cidr],
    gateways: &[Gateway],
) -> Result<(), Failed> {
    let mut request = Messages::new();
    request.begin(NEWLINK, wire::ACK, &link_header(0, index, true));
    for addr in addresses {
        write_address(&mut request, NEWADDR, wire::CREATE | wire::REPLACE | wire::ACK, index, *addr);
    }
    for gateway in gateways {
        let flags = wire::CREATE | wire::REPLACE | wire::ACK;
        write_default_route(&mut request, NEWROUTE, flags, index, *gateway);
    }
    socket.send(request)
}

/// Takes an address off an interface.
pub fn delete_address(socket: &Socket, index: u32, addr: Cidr) -> Result<(), Failed> {
    let mut request = Messages::new();
    write_address(&mut request, DELADDR, wire::ACK, index, addr);
    socket.send(request)
}

/// All addresses with their interfaces' indexes.
pub fn addresses(socket: &Socket) -> io::Result<Vec<(u32, Cidr)>> {
    let mut request = Messages::new();
    request.begin(GETADDR, wire::DUMP, &[0; ADDR_HEADER]);
    let mut found = Vec::new();
    socket.query(request, |m| {
        let attrs = m.attrs(ADDR_HEADER);
        let addr = attrs.find(2).or_else(|| attrs.find(1)).and_then(address_of);
        let prefix = m.body.get(1).copied();
        if let (NEWADDR, Some(addr), Some(prefix), Some(index)) = (m.kind, addr, prefix, read_u32(m.body, 4))
        {
            found.extend(Cidr::new(addr, prefix).map(|c| (index, c)));
        }
    })?;
    Ok(found)
}

/// All unicast routes of the main table.
pub fn routes(socket: &Socket) -> io::Result<Vec<Route>> {
    let mut request = Messages::new();
    request.begin(GETROUTE, wire::DUMP, &[0; ROUTE_HEADER]);
    let mut found = Vec::new();
    socket.query(request, |m| found.extend(parse_route(m)))?;
    Ok(found)
}

pub(crate) fn parse_route(message: &Message<'_>) -> Option<Route> {
    let (family, length) = (*message.body.first()?, *message.body.get(1)?);
    let (table, kind) = (*message.body.get(4)?, *message.body.get(7)?);
    if message.kind != NEWROUTE || table != 254 || kind != 1 {
        return None;
    }
    let attrs: Attrs<'_> = message.attrs(ROUTE_HEADER);
    let none: IpAddr = match family {
        2 => IpAddr::from([0u8; 4]),
        10 => IpAddr::from([0u8; 16]),
        _ => return None,
    };
    let destination = attrs.find(1).map_or(Some(none), address_of)?;
    Some(Route { destination: Cidr::new(destination, length)?, interface: attrs.u32(4) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hostile_answers_are_read_or_skipped(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 16u16..28) {
            let message = Message { kind, sequence: 0, port: 0, body: &bytes };
            let _ = parse_link(&message);
            if let Some(route) = parse_route(&message) {
                prop_assert!(route.destination.prefix() <= 128);
            }
        }
    }
}
