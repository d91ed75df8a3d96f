//! One address for all containers of a service, on a network of theirs: a connection to it goes to one that is ready.
//!
//! The address is translated in the namespace of the container that asks, by a table of ours there: the packets go
//! straight to the container that answers, which sees who asks, on networks without a way out too. The slots are dealt
//! out as those of shared ports are ([`crate::share`]).
//!
//! ```text
//! DNS: `web` is the address of the service, `tasks.web` are those of its containers
//! table inet dray_vip {                    in the namespace of each container on the network
//!   map to4      address . slot : container address      (to6 likewise)
//!   chain output, prerouting    nat
//! }
//! ```
//! Invariant: an address is taken from its network's subnet as long as a container of the service is on that network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::{Endpoint, NetworkState, VirtualService};
use crate::dns::Record;
use crate::error::{Error, Result};
use crate::host::inside;
use crate::netlink::{self, Socket};
use crate::network::{Inner, State};
use crate::nft::{Batch, Element, Family, Hook, Kind, Rule, SLOTS, Set};
use crate::sandbox::Sandbox;

const TABLE: &str = "dray_vip";
const INET: Family = Family::Inet;
const DSTNAT: i32 = -100;

/// A service's address on one network, and who is behind it.
#[derive(Debug)]
struct Virtual {
    service: VirtualService,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    endpoint_id: String,
    container_id: String,
    ip: Option<Ipv4Addr>,
    ip6: Option<Ipv6Addr>,
}

impl From<&Endpoint> for Member {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            endpoint_id: endpoint.id.clone(),
            container_id: endpoint.container_id.clone(),
            ip: endpoint.ip,
            ip6: endpoint.ip6,
        }
    }
}

/// All addresses of services, by network and service.
#[derive(Debug, Default)]
pub struct Virtuals(BTreeMap<(String, String), Virtual>);

impl Virtuals {
    fn on<'a>(&'a self, network_id: &'a str) -> impl Iterator<Item = &'a Virtual> {
        self.0.iter().filter(move |((network, _), _)| network == network_id).map(|(_, found)| found)
    }

    /// The networks on which a container is behind an address.
    pub fn networks_of(&self, container_id: &str) -> Vec<String> {
        let behind = |v: &Virtual| v.members.iter().any(|m| m.container_id == container_id);
        self.0.iter().filter(|(_, v)| behind(v)).map(|((network, _), _)| network.clone()).collect()
    }

    /// The other containers behind each of a container's addresses.
    pub fn others(&self, container_id: &str) -> Vec<Vec<String>> {
        let behind = |v: &&Virtual| v.members.iter().any(|m| m.container_id == container_id);
        let others = |v: &Virtual| {
            let ids = v.members.iter().map(|m| m.container_id.clone());
            ids.filter(|id| id != container_id).collect()
        };
        self.0.values().filter(behind).map(others).collect()
    }
}

/// The service with its address on the network of an endpoint: the one that it has, or one that is taken now. The
/// container counts as behind it from here on, so that the address stays.
pub fn reserve(inner: &Inner, endpoint: &Endpoint, mut service: VirtualService) -> Result<VirtualService> {
    let mut state = inner.state();
    let network = &endpoint.network_id;
    let key = (network.clone(), service.name.clone());
    if let Some(there) = state.virtuals.0.get_mut(&key) {
        (service.ip, service.ip6) = (there.service.ip, there.service.ip6);
        there.members.push(Member::from(endpoint));
        return Ok(service);
    }
    let mut ipam = inner.ipam();
    if endpoint.ip.is_some()
        && let Some(IpAddr::V4(ip)) = ipam.take(network, true, None)?
    {
        service.ip = Some(ip);
    }
    if endpoint.ip6.is_some() {
        match ipam.take(network, false, None) {
            Ok(Some(IpAddr::V6(ip6))) => service.ip6 = Some(ip6),
            Ok(_) => {}
            Err(e) => {
                service.ip.into_iter().for_each(|ip| ipam.release(network, ip.into()));
                return Err(e);
            }
        }
    }
    drop(ipam);
    let members = vec![Member::from(endpoint)];
    state.virtuals.0.insert(key, Virtual { service: service.clone(), members });
    Ok(service)
}

/// Puts a container behind its service's address.
pub fn enter(inner: &Inner, network: &NetworkState, endpoint: &Endpoint) -> Result<()> {
    let Some(service) = &endpoint.service else { return Ok(()) };
    let _one = inner.sharing();
    {
        let mut state = inner.state();
        let key = (network.id.clone(), service.name.clone());
        let there = state.virtuals.0.entry(key);
        let there = there.or_insert_with(|| Virtual { service: service.clone(), members: Vec::new() });
        there.members.retain(|member| member.endpoint_id != endpoint.id);
        there.members.push(Member::from(endpoint));
        for name in &service.names {
            if !there.service.names.contains(name) {
                there.service.names.push(name.clone());
            }
        }
        inner.names.add(&network.id, &network.name, record(&there.service));
    }
    write_network(inner, &network.id)
}

/// Takes an address again that an earlier daemon gave.
pub fn retake(inner: &Inner, endpoint: &Endpoint) {
    let Some(service) = &endpoint.service else { return };
    let mut ipam = inner.ipam();
    for address in addresses(service) {
        // Another container of the service may have taken it again.
        let _ = ipam.take(&endpoint.network_id, address.is_ipv4(), Some(address));
    }
}

/// Takes a container from behind its service's address; the last one gives the address back.
pub fn leave(inner: &Inner, endpoint: &Endpoint) -> Result<()> {
    let Some(service) = &endpoint.service else { return Ok(()) };
    let _one = inner.sharing();
    {
        let mut state = inner.state();
        let key = (endpoint.network_id.clone(), service.name.clone());
        let Some(there) = state.virtuals.0.get_mut(&key) else { return Ok(()) };
        there.members.retain(|member| member.endpoint_id != endpoint.id);
        if there.members.is_empty() {
            let gone = there.service.clone();
            state.virtuals.0.remove(&key);
            inner.names.remove(&endpoint.network_id, &record(&gone).endpoint_id);
            let mut ipam = inner.ipam();
            addresses(&gone).for_each(|address| ipam.release(&endpoint.network_id, address));
        }
    }
    write_network(inner, &endpoint.network_id)
}

/// Tells all containers of a network where its services are. The caller holds [`Inner::sharing`].
pub fn write_network(inner: &Inner, network_id: &str) -> Result<()> {
    let sandboxes: Vec<Sandbox> = {
        let state = inner.state();
        if state.restoring {
            return Ok(());
        }
        let on = state.endpoints.values().filter(|e| e.network_id == network_id);
        let ids: BTreeSet<&String> = on.map(|e| &e.container_id).collect();
        ids.into_iter().filter_map(|id| state.sandboxes.get(id).cloned()).collect()
    };
    let written = sandboxes.iter().map(|sandbox| write(inner, sandbox));
    Error::from_all(written.filter_map(Result::err).collect())
}

/// Tells all containers where services are, after all were found again.
pub fn write_all(inner: &Inner) -> Result<()> {
    let _one = inner.sharing();
    let sandboxes: Vec<Sandbox> = inner.state().sandboxes.values().cloned().collect();
    let written = sandboxes.iter().map(|sandbox| write(inner, sandbox));
    Error::from_all(written.filter_map(Result::err).collect())
}

/// Tells one container that has come to a network, if there is something to tell.
pub fn tell(inner: &Inner, sandbox: &Sandbox, network_id: &str) -> Result<()> {
    let has = {
        let state = inner.state();
        !state.restoring && state.virtuals.on(network_id).next().is_some()
    };
    if !has {
        return Ok(());
    }
    let _one = inner.sharing();
    write(inner, sandbox)
}

/// Tells a container that has left a network.
pub fn untell(inner: &Inner, sandbox: &Sandbox) -> Result<()> {
    let _one = inner.sharing();
    write(inner, sandbox)
}

/// Writes the table of a container, or takes it away where there is nothing to write.
fn write(inner: &Inner, sandbox: &Sandbox) -> Result<()> {
    let dealt = {
        let state = inner.state();
        let networks: BTreeSet<&String> =
            state.endpoints_of(sandbox.container_id()).map(|endpoint| &endpoint.network_id).collect();
        let all = networks.into_iter().flat_map(|id| state.virtuals.on(id));
        all.flat_map(|found| deal(&state, found)).collect::<Vec<_>>()
    };
    if dealt.is_empty() && !sandbox.has_virtuals() {
        return Ok(());
    }
    let operation = || format!("tell container {} where services are", sandbox.container_id());
    let failed = |source| Error::Netlink { operation: operation(), source };
    let commit = || -> std::io::Result<()> {
        let socket = Socket::open(netlink::Family::Netfilter)?;
        match render(&dealt).commit(&socket) {
            // Nothing there is what was asked for.
            Err(failed) if !(dealt.is_empty() && failed.is(libc::ENOENT)) => Err(failed.source),
            _ => Ok(()),
        }
    };
    inside(sandbox.namespace(), commit).map_err(failed)?.map_err(failed)?;
    sandbox.set_virtuals(!dealt.is_empty());
    Ok(())
}

/// From a service's address, by slot, to a container's.
type Dealt = (IpAddr, u32, IpAddr);

fn deal(state: &State, found: &Virtual) -> Vec<Dealt> {
    let mut dealt = Vec::new();
    for address in addresses(&found.service) {
        let of_family = |m: &Member| match address {
            IpAddr::V4(_) => m.ip.map(IpAddr::V4),
            IpAddr::V6(_) => m.ip6.map(IpAddr::V6),
        };
        let all = found.members.iter().filter_map(|m| Some((m.container_id.as_str(), of_family(m)?)));
        let best = state.shares.best_of(all);
        dealt.extend(best.iter().cycle().zip(0..SLOTS).map(|(to, slot)| (address, slot, *to)));
    }
    dealt
}

fn render(dealt: &[Dealt]) -> Batch {
    let mut batch = Batch::new();
    if dealt.is_empty() {
        batch.delete_table(INET, TABLE);
        return batch;
    }
    batch.add_table(INET, TABLE);
    for (name, v4) in [("to4", true), ("to6", false)] {
        let set = Set { family: INET, table: TABLE, name, kind: Kind::Virtual(v4) };
        let of_family = dealt.iter().filter(|(address, ..)| address.is_ipv4() == v4);
        let elements: Vec<Element> =
            of_family.map(|(address, slot, to)| Element::virtual_address(*address, *slot, *to)).collect();
        batch.add_set(&set);
        batch.flush_set(&set);
        batch.add_elements(&set, &elements);
    }
    for (chain, hook) in [("output", Hook::Output), ("prerouting", Hook::Prerouting)] {
        batch.add_base_chain(INET, TABLE, chain, "nat", hook, DSTNAT);
        for (name, v4) in [("to4", true), ("to6", false)] {
            batch.add_rule(INET, TABLE, chain, &Rule::new().version(v4).spread_addresses(v4, name));
        }
    }
    batch
}

fn addresses(service: &VirtualService) -> impl Iterator<Item = IpAddr> {
    service.ip.map(IpAddr::V4).into_iter().chain(service.ip6.map(IpAddr::V6))
}

fn record(service: &VirtualService) -> Record {
    let names = std::iter::once(&service.name).chain(&service.names);
    Record {
        endpoint_id: format!("service:{}", service.name),
        name: service.name.clone(),
        names: names.map(|name| name.to_lowercase()).collect(),
        ip: service.ip,
        ip6: service.ip6,
    }
}
