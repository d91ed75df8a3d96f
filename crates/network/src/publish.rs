//! Publishing ports: sockets that hold them, map elements that translate, forwarders for what cannot be translated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, RwLockReadGuard};

use crate::config::{Bound, Driver, Endpoint, GatewayMode, NetworkState, PortBinding, Proto};
use crate::error::{Error, Result};
use crate::firewall::{Listing, Mapping, Opening};
use crate::forwarder::{self, Targets};
use crate::gate;
use crate::netlink::conntrack::{self, Which};
use crate::netlink::{Family, Socket, route};
use crate::network::{Inner, Published, addresses};
use crate::ports::{Held, Owner};
use crate::share;

/// Publishes ports of a container: all or none.
pub fn publish(inner: &Inner, endpoint: &Endpoint, ports: &[PortBinding]) -> Result<Vec<Bound>> {
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    let _one = share::guard(inner, &endpoint.container_id);
    let (network, gated, group) = {
        let state = inner.state();
        let network = state.network(&endpoint.network_id)?;
        // As with Docker: nothing leads into an internal network, what is on the parent's network is there already,
        // and asking for it is no error.
        if network.internal || network.driver != Driver::Bridge {
            return Ok(Vec::new());
        }
        (network.clone(), gate::guards(inner, network), state.shares.group(&endpoint.container_id))
    };
    let shared = inner.publishing();
    let owner = owner(endpoint, group.as_deref());
    // Without IPv6 of its own, what comes by it is carried to IPv4: that mode counts.
    let mode = |v4: bool| network.gateway_mode(v4 || network.subnet(false).is_none());
    let families = [true, false].map(|v4| mode(v4) != GatewayMode::Routed);
    let held = inner.host.run(|| inner.ports().take(owner, ports, network.host_binding, families))??;
    let routed = routed(&network, endpoint, ports);
    let bound: Vec<Bound> = held.iter().map(|h| h.bound).chain(routed.iter().copied()).collect();
    let mut listing = listing(&network, endpoint, &bound, gated);
    let dealt = group.map(|_| std::mem::take(&mut listing.mappings));
    let shared = match add(inner, &listing, shared) {
        Ok(shared) => shared,
        Err(e) => {
            inner.ports().release(&bound, &endpoint.container_id);
            return Err(e);
        }
    };
    let Some(dealt) = dealt else {
        forget_earlier(inner, &listing.mappings);
        record(inner, endpoint, held, listing, &routed);
        return Ok(bound);
    };
    record_shared(inner, endpoint, &bound, listing, &dealt);
    drop(shared);
    share::join(inner, endpoint, held, &dealt).inspect_err(|_| {
        if let Err(e) = take_back(inner, &endpoint.container_id, &bound) {
            tracing::warn!("{e}");
        }
    })?;
    forget_earlier(inner, &dealt);
    Ok(bound)
}

fn owner<'a>(endpoint: &'a Endpoint, group: Option<&'a str>) -> Owner<'a> {
    let Endpoint { id, container_id, name, .. } = endpoint;
    Owner { container_id, name, endpoint_id: id, group }
}

/// Adds ports to the table, which somebody may just have removed: then it is made again first.
fn add<'a>(
    inner: &'a Inner,
    listing: &Listing,
    shared: RwLockReadGuard<'a, ()>,
) -> Result<RwLockReadGuard<'a, ()>> {
    match inner.firewall.add_ports(listing) {
        Ok(()) => Ok(shared),
        Err(e) if e.errno() == Some(libc::ENOENT) => {
            drop(shared);
            inner.heal();
            let shared = inner.publishing();
            inner.firewall.add_ports(listing).map(|()| shared)
        }
        Err(e) => Err(e),
    }
}

/// Makes published ports of a running container known again.
pub fn restore(inner: &Inner, endpoint: &Endpoint, ports: &[Bound]) -> Result<()> {
    let known: Vec<Bound> =
        inner.state().published.get(&endpoint.container_id).map(|p| p.bound.clone()).unwrap_or_default();
    let new: Vec<Bound> = ports.iter().filter(|b| !known.contains(b)).copied().collect();
    let _one = share::guard(inner, &endpoint.container_id);
    let (network, group) = {
        let state = inner.state();
        (state.network(&endpoint.network_id)?.clone(), state.shares.group(&endpoint.container_id))
    };
    let shared = inner.publishing();
    let (routed, taken): (Vec<Bound>, Vec<Bound>) = new.iter().partition(|b| b.host_port == 0);
    let held = inner.host.run(|| inner.ports().retake(owner(endpoint, group.as_deref()), &taken))?;
    let mut listing = listing(&network, endpoint, &new, gate::guards(inner, &network));
    let dealt = group.map(|_| std::mem::take(&mut listing.mappings));
    if !inner.state().restoring {
        inner.firewall.add_ports(&listing)?;
    }
    let Some(dealt) = dealt else {
        record(inner, endpoint, held, listing, &routed);
        return Ok(());
    };
    record_shared(inner, endpoint, &new, listing, &dealt);
    drop(shared);
    share::join(inner, endpoint, held, &dealt)
}

/// What is published of a routed network: ports of the container's, none of the host's.
fn routed(network: &NetworkState, endpoint: &Endpoint, ports: &[PortBinding]) -> Vec<Bound> {
    let any: [(IpAddr, bool); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), endpoint.ip.is_some()),
        (Ipv6Addr::UNSPECIFIED.into(), endpoint.ip6.is_some()),
    ];
    let families =
        any.into_iter().filter(|(ip, has)| *has && network.gateway_mode(ip.is_ipv4()) == GatewayMode::Routed);
    families
        .flat_map(|(host_ip, _)| {
            ports.iter().filter(move |p| p.host_ip.is_none_or(|ip| ip.is_ipv4() == host_ip.is_ipv4())).map(
                move |p| Bound { proto: p.proto, container_port: p.container_port, host_ip, host_port: 0 },
            )
        })
        .collect()
}

fn listing(network: &NetworkState, endpoint: &Endpoint, bound: &[Bound], gated: bool) -> Listing {
    Listing {
        mappings: mappings(endpoint, bound, gated),
        held: held(bound).collect(),
        openings: openings(network, endpoint, bound),
        spreads: Vec::new(),
    }
}

/// What may be asked for at the container's own address.
fn openings(network: &NetworkState, endpoint: &Endpoint, bound: &[Bound]) -> Vec<Opening> {
    let open = |b: &&Bound| b.host_port == 0 || !network.trusted_interfaces.is_empty();
    let opening = |b: &Bound| {
        let address = match b.host_ip {
            IpAddr::V4(_) => endpoint.ip.map(IpAddr::V4),
            IpAddr::V6(_) => endpoint.ip6.map(IpAddr::V6),
        };
        address.map(|address| Opening { proto: b.proto, address, port: b.container_port })
    };
    let mut found: Vec<Opening> = bound.iter().filter(open).filter_map(opening).collect();
    found.sort_by_key(|o| (o.proto, o.address, o.port));
    found.dedup();
    found
}

/// Whether a publication is one that an opening may be for.
fn opens(bound: &Bound, opening: &Opening) -> bool {
    (bound.proto, bound.container_port) == (opening.proto, opening.port)
        && bound.host_ip.is_ipv4() == opening.address.is_ipv4()
}

/// The ports that are served by sockets of the daemon's own, whatever the table does.
pub fn held(bound: &[Bound]) -> impl Iterator<Item = (Proto, u16)> {
    let served = bound.iter().filter(|b| b.host_ip.is_ipv6() && b.proto != Proto::Sctp && b.host_port != 0);
    served.map(|b| (b.proto, b.host_port))
}

/// What the table has to translate: IPv4 to IPv4, IPv6 to IPv6, but never what goes to ::1. What is published on
/// loopback comes from this host alone: INPUT has no say in it.
fn mappings(endpoint: &Endpoint, bound: &[Bound], gated: bool) -> Vec<Mapping> {
    let target = |b: &Bound| match b.host_ip {
        IpAddr::V4(_) => endpoint.ip.map(IpAddr::V4),
        IpAddr::V6(v6) => endpoint.ip6.filter(|_| !v6.is_loopback()).map(IpAddr::V6),
    };
    let map = |b: &Bound| {
        let Bound { proto, host_ip, host_port, container_port } = *b;
        let gated = gated && !host_ip.is_loopback();
        target(b).map(|to| Mapping { proto, host_ip, host_port, to, to_port: container_port, gated })
    };
    bound.iter().filter(|b| b.host_port != 0).filter_map(map).collect()
}

/// Keeps what was made, and starts forwarders on the IPv6 sockets.
fn record(inner: &Inner, endpoint: &Endpoint, held: Vec<Held>, listing: Listing, routed: &[Bound]) {
    let target = endpoint.ip.map(IpAddr::V4).or(endpoint.ip6.map(IpAddr::V6));
    let mut state = inner.state();
    let published = state.published.entry(endpoint.container_id.clone()).or_default();
    published.mappings.extend(listing.mappings);
    published.openings.extend(listing.openings);
    published.bound.extend(routed);
    for mut one in held {
        published.bound.push(one.bound);
        let serves = one.bound.host_ip.is_ipv6() && one.bound.proto != Proto::Sctp;
        let socket = if serves { one.socket.take() } else { None };
        match (socket, target) {
            (Some(socket), Some(to)) => {
                let to = SocketAddr::new(to, one.bound.container_port);
                let runtime = inner.service.handle();
                let to = Arc::new(Targets::from(to));
                let forwarder = forwarder::serve(runtime, one.bound.proto, socket, to);
                published.forwarders.extend(forwarder.map(|forwarder| (one.bound, forwarder)));
            }
            _ => published.held.push(one),
        }
    }
}

/// Keeps what was made of ports that are shared, beside what [`share`] keeps.
fn record_shared(inner: &Inner, endpoint: &Endpoint, bound: &[Bound], listing: Listing, dealt: &[Mapping]) {
    let mut state = inner.state();
    let published = state.published.entry(endpoint.container_id.clone()).or_default();
    published.bound.extend(bound);
    published.openings.extend(listing.openings);
    published.shared.extend(dealt);
}

/// Withdraws all published ports of a container.
pub fn withdraw(inner: &Inner, container_id: &str) -> Result<()> {
    let _one = share::guard(inner, container_id);
    let left = share::leave(inner, container_id, None);
    let _shared = inner.publishing();
    let Some(published) = inner.state().published.remove(container_id) else { return left };
    let closed = close(inner, container_id, published);
    Error::from_all([left, closed].into_iter().filter_map(Result::err).collect())
}

/// Withdraws some published ports of a container; the others stay as they are.
pub fn withdraw_some(inner: &Inner, container_id: &str, ports: &[Bound]) -> Result<()> {
    let _one = share::guard(inner, container_id);
    take_back(inner, container_id, ports)
}

fn take_back(inner: &Inner, container_id: &str, ports: &[Bound]) -> Result<()> {
    let left = share::leave(inner, container_id, Some(ports));
    let _shared = inner.publishing();
    let taken = {
        let mut state = inner.state();
        let Some(all) = state.published.get_mut(container_id) else { return left };
        let of = |m: &Mapping| {
            let leads_from = |b: &Bound| {
                (b.proto, b.host_ip, b.host_port, b.container_port)
                    == (m.proto, m.host_ip, m.host_port, m.to_port)
            };
            ports.iter().any(leads_from)
        };
        let bound = all.bound.extract_if(.., |bound| ports.contains(bound)).collect();
        // What is left may need the same opening.
        let closed = |o: &Opening| !all.bound.iter().any(|b| opens(b, o));
        Published {
            openings: all.openings.extract_if(.., |opening| closed(opening)).collect(),
            bound,
            mappings: all.mappings.extract_if(.., |mapping| of(mapping)).collect(),
            shared: all.shared.extract_if(.., |mapping| of(mapping)).collect(),
            held: all.held.extract_if(.., |held| ports.contains(&held.bound)).collect(),
            forwarders: all.forwarders.extract_if(.., |(bound, _)| ports.contains(bound)).collect(),
        }
    };
    let closed = close(inner, container_id, taken);
    Error::from_all([left, closed].into_iter().filter_map(Result::err).collect())
}

/// Withdraws the published ports of a container that lead to one endpoint of it.
pub fn withdraw_to(inner: &Inner, endpoint: &Endpoint) -> Result<()> {
    let leads_here = {
        let state = inner.state();
        let published = state.published.get(&endpoint.container_id);
        let here = |m: &Mapping| {
            Some(m.to) == endpoint.ip.map(IpAddr::V4) || Some(m.to) == endpoint.ip6.map(IpAddr::V6)
        };
        let open = |o: &Opening| addresses(endpoint).contains(&o.address);
        published.is_some_and(|p| p.all_mappings().any(here) || p.openings.iter().any(open))
    };
    if leads_here { withdraw(inner, &endpoint.container_id) } else { Ok(()) }
}

fn close(inner: &Inner, container_id: &str, mut published: Published) -> Result<()> {
    // Another socket may serve the same port at another address.
    let last = |(proto, port): &(Proto, u16)| {
        !inner.ports().serves(*proto, *port, |ip, container| {
            container == container_id && published.bound.iter().any(|b| b.host_ip == ip)
        })
    };
    let held = self::held(&published.bound).filter(last).collect();
    let mappings = published.mappings.clone();
    let listing = Listing { mappings, held, openings: published.openings.clone(), ..Listing::default() };
    let removed = inner.firewall.delete_ports(&listing);
    // Sockets close before others may take their ports.
    published.held.clear();
    forwarder::close(
        std::mem::take(&mut published.forwarders).into_iter().map(|(_, forwarder)| forwarder).collect(),
    );
    inner.ports().release(&published.bound, container_id);
    let forgotten = forget_connections(inner, &published);
    if let Err(e) = &forgotten {
        // Entries run out by themselves.
        tracing::debug!("{e}");
    }
    removed
}

/// Ends what the kernel remembers of UDP clients that have asked for these ports while nothing was published there: it
/// would go on to translate nothing as long as they ask.
fn forget_earlier(inner: &Inner, mappings: &[Mapping]) {
    let udp: Vec<&Mapping> = mappings.iter().filter(|mapping| mapping.proto == Proto::Udp).collect();
    if udp.is_empty() {
        return;
    }
    let forget = || {
        let local = route::addresses(&inner.route())?;
        let socket = Socket::open(Family::Netfilter)?;
        // What goes to another machine by the same number is none of ours.
        let here = |addr: IpAddr| local.iter().any(|(_, cidr)| cidr.addr() == addr);
        let doomed = |addr: IpAddr, port: u16| {
            let asked = |m: &&Mapping| m.host_port == port && m.host_ip.is_ipv4() == addr.is_ipv4();
            let at = |m: &&Mapping| m.host_ip == addr || (m.host_ip.is_unspecified() && here(addr));
            udp.iter().copied().filter(asked).any(|m| at(&m))
        };
        for v4 in [true, false] {
            if udp.iter().any(|m| m.host_ip.is_ipv4() == v4) {
                conntrack::forget_plain(&socket, Proto::Udp.number(), v4, doomed)?;
            }
        }
        std::io::Result::Ok(())
    };
    if let Err(e) = inner.host.run(forget).and_then(|done| {
        done.map_err(|source| Error::Netlink { operation: "forget connections".into(), source })
    }) {
        // Entries run out by themselves, where clients are patient.
        tracing::debug!("{e}");
    }
}

/// Ends what the kernel remembers of clients that would wait for a container that is gone: UDP has no connection whose
/// end would tell them, and who has not been answered yet at a shared port can be by another one.
fn forget_connections(inner: &Inner, published: &Published) -> Result<()> {
    let failed = |source| Error::Netlink { operation: "forget connections".into(), source };
    let which = |m: &Mapping| match m.proto {
        Proto::Udp => Some(Which::All),
        Proto::Tcp | Proto::Sctp => published.shared.contains(m).then_some(Which::Unanswered),
    };
    let of = |m: &Mapping| Some((which(m)?, m.proto.number(), m.to, m.to_port));
    let doomed: Vec<_> = published.all_mappings().filter_map(of).collect();
    if doomed.is_empty() {
        return Ok(());
    }
    let forget = || {
        let socket = Socket::open(Family::Netfilter).map_err(failed)?;
        let each = |(which, proto, to, port)| conntrack::forget(&socket, which, proto, to, port);
        doomed.into_iter().try_for_each(each).map_err(failed)
    };
    inner.host.run(forget)?
}
