//! Connection tracking: forgetting connections of a published port that is withdrawn, and those that nobody has
//! translated before it was published.
//!
//! A UDP client goes on sending to the address that the first packet was translated to for as long as its entry
//! lives; a port that is published anew elsewhere would never see it. So does a TCP client whose first packet was
//! not answered.

use std::net::IpAddr;

use super::Socket;
use super::wire::{self, Attrs, Messages};

const CT_GET: u16 = (1 << 8) | 1;
const CT_DELETE: u16 = (1 << 8) | 2;
const HEADER: usize = 4;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const STATUS: u16 = 3;
/// IPS_SEEN_REPLY.
const ANSWERED: u32 = 1 << 1;

/// Which connections are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those that nobody has answered.
    Unanswered,
}

/// Forgets connections of a protocol that were translated to this address and port.
///
/// # Errors
/// The kernel's, where it tracks no connections.
pub fn forget(socket: &Socket, which: Which, proto: u8, addr: IpAddr, port: u16) -> std::io::Result<()> {
    let family = if addr.is_ipv4() { 2 } else { 10 };
    let mut request = Messages::new();
    request.begin(CT_GET, wire::DUMP, &[family, 0, 0, 0]);
    let mut doomed = Vec::new();
    socket.query(request, |m| {
        let attrs = m.attrs(HEADER);
        if replies_from(attrs.nested(TUPLE_REPLY), proto, addr, port)
            && (which == Which::All || !answered(&attrs))
            && let Some(orig) = attrs.find(TUPLE_ORIG)
        {
            doomed.push(orig.to_vec());
        }
    })?;
    delete(socket, family, &doomed);
    Ok(())
}

/// Forgets connections of a protocol, of IPv4 or IPv6, that are not translated and go where `doomed` says.
///
/// # Errors
/// The kernel's, where it tracks no connections.
pub fn forget_plain(
    socket: &Socket,
    proto: u8,
    v4: bool,
    doomed: impl Fn(IpAddr, u16) -> bool,
) -> std::io::Result<()> {
    let family = if v4 { 2 } else { 10 };
    let mut request = Messages::new();
    request.begin(CT_GET, wire::DUMP, &[family, 0, 0, 0]);
    let mut found = Vec::new();
    socket.query(request, |m| {
        let attrs = m.attrs(HEADER);
        let (orig, reply) = (attrs.nested(TUPLE_ORIG), attrs.nested(TUPLE_REPLY));
        if let Some((addr, port)) = destination(orig, proto)
            && replies_from(reply, proto, addr, port)
            && doomed(addr, port)
        {
            found.extend(attrs.find(TUPLE_ORIG).map(<[u8]>::to_vec));
        }
    })?;
    delete(socket, family, &found);
    Ok(())
}

fn delete(socket: &Socket, family: u8, entries: &[Vec<u8>]) {
    for orig in entries {
        let mut request = Messages::new();
        request.begin(CT_DELETE, wire::ACK, &[family, 0, 0, 0]);
        request.nest(TUPLE_ORIG, |m| m.raw(orig));
        // An entry that ran out meanwhile is what was asked for.
        let _ = socket.send(request);
    }
}

/// Where what a tuple describes goes, if it is of this protocol.
fn destination(tuple: Attrs<'_>, proto: u8) -> Option<(IpAddr, u16)> {
    let (ip, parts) = (tuple.nested(TUPLE_IP), tuple.nested(TUPLE_PROTO));
    if parts.find(1) != Some(&[proto]) {
        return None;
    }
    let v4 = ip.find(2).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(IpAddr::from);
    let v6 = || ip.find(4).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(IpAddr::from);
    let port = parts.find(3).and_then(|bytes| <[u8; 2]>::try_from(bytes).ok()).map(u16::from_be_bytes)?;
    Some((v4.or_else(v6)?, port))
}

fn answered(attrs: &Attrs<'_>) -> bool {
    let status = attrs.find(STATUS).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    status.is_some_and(|status| status & ANSWERED != 0)
}

fn replies_from(reply: Attrs<'_>, proto: u8, addr: IpAddr, port: u16) -> bool {
    let source = reply.nested(TUPLE_IP);
    let source = match addr {
        IpAddr::V4(v4) => source.find(1) == Some(v4.octets().as_slice()),
        IpAddr::V6(v6) => source.find(3) == Some(v6.octets().as_slice()),
    };
    let parts = reply.nested(TUPLE_PROTO);
    source && parts.find(1) == Some(&[proto]) && parts.find(2) == Some(port.to_be_bytes().as_slice())
}
