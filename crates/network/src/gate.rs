//! The gate: how connections to published ports pass the host's own INPUT rules (`firewall-aware`).
//!
//! The address of a published port is translated before the kernel sees that a packet is for this host. So the rules
//! that the host's operator wrote for INPUT are never asked. Here they are: what begins a connection to such a port is
//! left as it is until all of INPUT let it pass. Then our own chain, the last one there, sends it once around, through
//! a pair of interfaces that leads from this host to itself, and on its second way in it is translated. From then on
//! the kernel knows the connection and translates its packets at once.
//!
//! ```text
//! client ──▶ prerouting ──▶ input: the host's rules ──▶ our `admit`, after them: a copy goes out, the packet ends
//!                                                             │ out
//! container ◀── forward ◀── prerouting: translated ◀── back ──┘
//! ```
//! No process is part of it: the container sees the client's own address, and what is published goes on without a
//! daemon. Invariant: the pair is there as long as a network needs it, and no other packet goes through it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cidr::Cidr;
use crate::config::{NetworkState, PublishMode};
use crate::error::{Error, Result};
use crate::mac;
use crate::netlink::route;
use crate::network::{Inner, State};
use crate::sysctl;

/// What follows the prefix in the alias of both ends.
pub const ALIAS: &str = "gate";
/// IPv4's dummy address (RFC 7600): the kernel checks sources only on interfaces that have one.
const DUMMY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// Where copies are sent: nobody has these addresses, and the way out asks nobody for them.
const NEXT4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 9);
const NEXT6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The pair, as rules name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The index of the end by which copies leave.
    pub out: u32,
    /// The name of the end by which they come back.
    pub back: String,
}

/// Where copies of a family are sent.
pub fn next_hop(v4: bool) -> IpAddr {
    if v4 { NEXT4.into() } else { NEXT6.into() }
}

/// Whether ports of a network go through the gate.
pub fn guards(inner: &Inner, network: &NetworkState) -> bool {
    network.publish_mode.unwrap_or(inner.config.publish_mode) == PublishMode::FirewallAware
}

/// The gate, made if it is not there, where a network needs one.
pub fn open(inner: &Inner, state: &State) -> Result<Option<Gate>> {
    if !state.bridges().any(|network| guards(inner, network)) {
        return Ok(None);
    }
    let (out, back) = names(&inner.config.table);
    let failed = |source| Error::Netlink { operation: format!("look up interface {out}"), source };
    if route::link(&inner.route(), &out).map_err(failed)?.is_none() {
        make(inner, &out, &back)?;
    }
    let found = route::link(&inner.route(), &out).map_err(failed)?;
    let found = found.ok_or_else(|| Error::InvalidInterfaceName(out.clone()))?;
    Ok(Some(Gate { out: found.index, back }))
}

/// Takes the pair away. No error if it is not there.
pub fn remove(inner: &Inner) -> Result<()> {
    let (out, _) = names(&inner.config.table);
    let failed = |source| Error::Netlink { operation: format!("look up interface {out}"), source };
    let Some(link) = route::link(&inner.route(), &out).map_err(failed)? else { return Ok(()) };
    match route::delete_link(&inner.route(), link.index) {
        Err(e) if !e.is(libc::ENODEV) => Err(e.of(format!("remove interface {out}"))),
        _ => Ok(()),
    }
}

fn make(inner: &Inner, out: &str, back: &str) -> Result<()> {
    let pair = route::Loop { out, back, alias: &inner.alias(ALIAS), mac: mac::random() };
    route::add_loop(&inner.route(), &pair).map_err(|e| e.of(format!("make interfaces {out} and {back}")))?;
    inner.host.run(|| settle(out, back))??;
    for (name, address) in
        [(out, Cidr::new(OWN6.into(), 64)), (back, Cidr::new(DUMMY.into(), 32)), (back, None), (out, None)]
    {
        // A host without IPv6 has no use for the first.
        let needed = address.is_none_or(|a| a.is_ipv4() || sysctl::read(DISABLED6).is_ok_and(|v| v == "0"));
        if needed {
            configure(inner, name, address)?;
        }
    }
    Ok(())
}

const DISABLED6: &str = "net/ipv6/conf/all/disable_ipv6";

fn configure(inner: &Inner, name: &str, address: Option<Cidr>) -> Result<()> {
    let socket = inner.route();
    let failed = |source| Error::Netlink { operation: format!("look up interface {name}"), source };
    let link = route::link(&socket, name).map_err(failed)?;
    let link = link.ok_or_else(|| Error::InvalidInterfaceName(name.to_owned()))?;
    let addresses: Vec<Cidr> = address.into_iter().collect();
    route::configure(&socket, link.index, &addresses, &[])
        .map_err(|e| e.of(format!("set up interface {name}")))
}

/// Packets come back by an interface that does not lead to where they come from: that must be allowed, even where
/// the host is strict (the larger of both settings counts, and 2 is the lenient one).
fn settle(out: &str, back: &str) -> Result<()> {
    sysctl::write(&format!("net/ipv4/conf/{back}/rp_filter"), "2")?;
    for (name, key, value) in [
        // No addresses of their own making.
        (out, "addr_gen_mode", "1"),
        (back, "addr_gen_mode", "1"),
        (out, "accept_ra", "0"),
        (back, "accept_ra", "0"),
    ] {
        match sysctl::write(&format!("net/ipv6/conf/{name}/{key}"), value) {
            // A kernel without IPv6.
            Err(e) if e.errno() != Some(libc::ENOENT) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// The names of a daemon's pair: daemons side by side have one each.
fn names(table: &str) -> (String, String) {
    // FNV-1a: the same for the next daemon, and short.
    let hash = table.bytes().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    (format!("gate{hash:08x}o"), format!("gate{hash:08x}b"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ_between_daemons() {
        let ((out, back), (other, _)) = (names("dray"), names("dray-0123abcd"));
        assert!(out.len() <= 15 && out != back && out != other, "{out} {back} {other}");
        assert_eq!(names("dray").0, out);
    }
}
