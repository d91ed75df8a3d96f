//! What of containers is reachable from where, and why: read from what is known and from the host as it is.

use std::net::IpAddr;

use crate::config::{Bound, Driver, Endpoint, NetworkState, Proto};
use crate::error::{Error, Result};
use crate::netlink::route;
use crate::network::{Inner, Published, State, addresses};

/// Who can reach something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Whoever has a way to the address.
    Anyone,
    /// Those whom the host's INPUT rules let in.
    InputRules,
    /// Programs of this host.
    Host,
    /// Containers of a network, and this host.
    Network(String),
    /// Machines of the network that an interface of the host is on.
    Parent(String),
}

/// Something of a container that can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The container's id.
    pub container_id: String,
    /// Its name.
    pub container: String,
    /// The name of the network that it is reached through.
    pub network: String,
    /// The protocol and port in the container; all of them if absent.
    pub port: Option<(Proto, u16)>,
    /// Where it is asked for: an address of the host, or its own.
    pub address: IpAddr,
    /// The port there, where it is published.
    pub host_port: Option<u16>,
    /// The host's addresses that are meant, where it is published on all.
    pub addresses: Vec<IpAddr>,
    /// Who reaches it.
    pub from: Reach,
    /// Why.
    pub reason: String,
}

/// What the reasons are made of.
struct Facts {
    /// The host's addresses for others, without those of our own interfaces.
    host: Vec<IpAddr>,
    /// The host's INPUT rules, in words.
    input: InputRules,
}

/// Who decides what comes in, in words.
struct InputRules {
    v4: String,
    v6: String,
}

impl InputRules {
    /// As they are now.
    fn of(inner: &Inner) -> Result<Self> {
        let read = || InputRules { v4: input_rules(inner, true), v6: input_rules(inner, false) };
        inner.host.run(read)
    }

    /// Those for an address.
    fn at(&self, address: IpAddr) -> &str {
        if address.is_ipv4() { &self.v4 } else { &self.v6 }
    }

    /// Those for both families.
    fn whole(&self) -> String {
        if self.v4 == self.v6 { self.v4.clone() } else { format!("IPv4: {}; IPv6: {}", self.v4, self.v6) }
    }
}

/// All that can be reached.
pub fn list(inner: &Inner) -> Result<Vec<Exposure>> {
    let facts = Facts { host: host_addresses(inner)?, input: InputRules::of(inner)? };
    let state = inner.state();
    let mut found = Vec::new();
    for endpoint in state.endpoints.values() {
        let Some(network) = state.networks.get(&endpoint.network_id) else { continue };
        found.extend(addresses(endpoint).into_iter().map(|addr| own_address(network, endpoint, addr)));
        if let Some(published) = state.published.get(&endpoint.container_id)
            && leads_to(&state, published, endpoint)
        {
            found
                .extend(published.bound.iter().map(|b| publication(&facts, published, network, endpoint, b)));
        }
    }
    Ok(found)
}

/// Whether a container's published ports lead to this one of its endpoints.
fn leads_to(state: &State, published: &Published, endpoint: &Endpoint) -> bool {
    let to = |e: &Endpoint| published.all_mappings().any(|m| addresses(e).contains(&m.to));
    // Where nothing is translated, sockets of the daemon carry all of it to a bridge.
    let bridged = || {
        let of_bridge =
            |e: &&Endpoint| state.networks.get(&e.network_id).is_some_and(|n| n.driver == Driver::Bridge);
        state.endpoints_of(&endpoint.container_id).find(of_bridge).is_some_and(|e| e.id == endpoint.id)
    };
    if published.all_mappings().next().is_none() { bridged() } else { to(endpoint) }
}

fn own_address(network: &NetworkState, endpoint: &Endpoint, address: IpAddr) -> Exposure {
    let (from, reason) = match (&network.parent, network.icc) {
        (Some(parent), _) if !network.internal => (
            Reach::Parent(parent.name.clone()),
            format!(
                "{} of {}: it is a machine of that network, no rule of this host is in between",
                network.driver.as_str(),
                parent.name
            ),
        ),
        (Some(parent), _) => (
            Reach::Network(network.name.clone()),
            format!("{} without a way out ({})", network.driver.as_str(), parent.name),
        ),
        (None, true) => (
            Reach::Network(network.name.clone()),
            format!("on one bridge ({}); other bridges and machines are kept out", network.bridge),
        ),
        (None, false) => (
            Reach::Host,
            format!("enable_icc is off: containers of its own bridge ({}) are kept out too", network.bridge),
        ),
    };
    Exposure {
        container_id: endpoint.container_id.clone(),
        container: endpoint.name.clone(),
        network: network.name.clone(),
        port: None,
        address,
        host_port: None,
        addresses: Vec::new(),
        from,
        reason,
    }
}

fn publication(
    facts: &Facts,
    published: &Published,
    network: &NetworkState,
    endpoint: &Endpoint,
    bound: &Bound,
) -> Exposure {
    let ip = bound.host_ip;
    let mapping = published
        .all_mappings()
        .find(|m| (m.proto, m.host_ip, m.host_port) == (bound.proto, ip, bound.host_port));
    let (from, reason) = match mapping {
        _ if bound.host_port == 0 => {
            (Reach::Anyone, "routed: open at the container's own address".to_owned())
        }
        _ if ip.is_loopback() => (Reach::Host, "published on loopback".to_owned()),
        Some(m) if m.gated => (Reach::InputRules, format!("firewall-aware: {}", facts.input.at(ip))),
        Some(_) => (Reach::Anyone, "nat: translated before the host's INPUT rules are asked".to_owned()),
        None => (
            Reach::InputRules,
            format!("a socket of the daemon's, since the container has no IPv6: {}", facts.input.at(ip)),
        ),
    };
    let all = facts.host.iter().filter(|a| ip.is_unspecified() && a.is_ipv4() == ip.is_ipv4());
    Exposure {
        container_id: endpoint.container_id.clone(),
        container: endpoint.name.clone(),
        network: network.name.clone(),
        port: Some((bound.proto, bound.container_port)),
        address: ip,
        host_port: Some(bound.host_port).filter(|port| *port != 0),
        addresses: all.copied().collect(),
        from,
        reason,
    }
}

fn host_addresses(inner: &Inner) -> Result<Vec<IpAddr>> {
    let failed = |source| Error::Netlink { operation: "list addresses".into(), source };
    let (links, addresses) = {
        let socket = inner.route();
        (route::links(&socket).map_err(failed)?, route::addresses(&socket).map_err(failed)?)
    };
    let state = inner.state();
    let ours = |index: u32| {
        links.iter().any(|l| {
            l.index == index
                && (l.alias.starts_with(&inner.alias_prefix()) || state.bridges().any(|n| n.bridge == l.name))
        })
    };
    let others = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let found = addresses.into_iter().filter(|(index, _)| !ours(*index)).map(|(_, a)| a.addr());
    Ok(found.filter(others).collect())
}

/// The chains that decide what comes in, in words.
fn input_rules(inner: &Inner, v4: bool) -> String {
    let chains = inner.host_firewall.input_chains(v4);
    if chains.is_empty() {
        return "the host has no INPUT rules, everybody is let in".to_owned();
    }
    format!("{} decide", chains.join(", "))
}

/// What a container that shares the host's network exposes.
pub fn of_host(inner: &Inner) -> Result<(Vec<IpAddr>, String)> {
    let input = InputRules::of(inner)?.whole();
    Ok((host_addresses(inner)?, format!("shares the host's network: {input}")))
}
