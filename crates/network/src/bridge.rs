//! Networks: their bridges, and the rules that go with them.

use crate::cidr::Cidr;
use crate::config::{Driver, GatewayMode, NetworkConfig, NetworkState};
use crate::error::{Error, Result};
use crate::firewall::Plan;
use crate::gate::{self, Gate};
use crate::mac;
use crate::netlink::route::{self, Link};
use crate::netlink::{Family, Socket};
use crate::network::{Inner, State};
use crate::options::{self, Options};
use crate::sublink;
use crate::sysctl;

/// Makes a network.
pub fn create(inner: &Inner, config: &NetworkConfig) -> Result<NetworkState> {
    if config.driver != Driver::Bridge {
        return sublink::create(inner, config);
    }
    let options = Options::parse(&config.options)?;
    let bridge = match &options.bridge {
        Some(name) => name.clone(),
        None => format!("br-{}", config.id.get(..12).unwrap_or(&config.id)),
    };
    options::check_interface_name(&bridge)?;
    if options.gateway_modes.contains(&GatewayMode::Isolated) && !config.internal {
        return Err(Error::IsolatedNotInternal);
    }
    let mut state = inner.state();
    // Made anew under its id: what is known of it counts no more.
    if state.networks.remove(&config.id).is_some() {
        inner.ipam().release_network(&config.id);
    }
    if let Some(other) = state.networks.values().find(|n| n.bridge == bridge) {
        return Err(Error::BridgeInUse(bridge, other.name.clone()));
    }
    let owns_bridge = clear_place(inner, &bridge)?;
    let host = host_prefixes(inner, &bridge)?;
    let families = (!config.no_ipv4, config.ipv6);
    let subnets = inner.ipam().plan(&config.id, &config.subnets, families, &host)?;
    let network = NetworkState {
        id: config.id.clone(),
        name: config.name.clone(),
        bridge,
        owns_bridge,
        subnets,
        internal: config.internal,
        icc: options.icc,
        masquerade: options.masquerade,
        mtu: options.mtu.or(inner.config.mtu),
        host_binding: options.host_binding,
        default_bridge: config.default_bridge,
        inhibit_ipv4: options.inhibit_ipv4,
        container_iface_prefix: options.container_iface_prefix,
        publish_mode: options.publish_mode,
        gateway_modes: options.gateway_modes,
        trusted_interfaces: options.trusted_interfaces,
        host_addresses: options.host_addresses,
        driver: Driver::Bridge,
        parent: None,
    };
    inner.ipam().reserve(&network.id, &network.subnets);
    own_subnets(inner, &network);
    state.networks.insert(network.id.clone(), network.clone());
    let made = make_bridge(inner, &network).and_then(|()| apply(inner, &state));
    if let Err(e) = made {
        forget(inner, &mut state, &network);
        return Err(e);
    }
    Ok(network)
}

/// Sees whether a bridge name is free. A bridge that an earlier daemon of ours left unrecorded goes; one of somebody
/// else's is used and left there. Says whether the bridge is ours to make.
fn clear_place(inner: &Inner, bridge: &str) -> Result<bool> {
    let Some(link) = find(inner, bridge)? else { return Ok(true) };
    if link.kind != "bridge" {
        return Err(Error::InvalidInterfaceName(format!("{bridge} (a {} of this name exists)", link.kind)));
    }
    if link.alias.starts_with(&inner.alias_prefix()) {
        let socket = inner.route();
        route::delete_link(&socket, link.index).map_err(|e| e.of(format!("remove bridge {bridge}")))?;
        return Ok(true);
    }
    Ok(false)
}

fn find(inner: &Inner, name: &str) -> Result<Option<Link>> {
    route::link(&inner.route(), name)
        .map_err(|source| Error::Netlink { operation: format!("look up interface {name}"), source })
}

/// What the host itself uses: its addresses' subnets and its routes, but for those of the bridge in question.
pub fn host_prefixes(inner: &Inner, bridge: &str) -> Result<Vec<Cidr>> {
    let index = find(inner, bridge)?.map(|l| l.index);
    let socket = inner.route();
    let failed = |source| Error::Netlink { operation: "list addresses and routes".into(), source };
    let addresses = route::addresses(&socket).map_err(failed)?;
    let routes = route::routes(&socket).map_err(failed)?;
    let of_addresses = addresses.into_iter().filter(|(i, _)| Some(*i) != index).map(|(_, a)| a.network());
    let of_routes = routes
        .into_iter()
        .filter(|r| r.destination.prefix() > 0 && (r.interface.is_none() || r.interface != index))
        .map(|r| r.destination);
    Ok(of_addresses.chain(of_routes).collect())
}

/// Makes a network's bridge, or completes one that is there.
fn make_bridge(inner: &Inner, network: &NetworkState) -> Result<()> {
    let name = &network.bridge;
    let link = match find(inner, name)? {
        Some(link) => link,
        None => {
            route::add_bridge(&inner.route(), name, &inner.alias(&network.id), mac::random(), network.mtu)
                .map_err(|e| e.of(format!("make bridge {name}")))?;
            settle_ipv6(inner, network)?;
            find(inner, name)?.ok_or_else(|| Error::InvalidInterfaceName(name.clone()))?
        }
    };
    let addresses: Vec<Cidr> = network
        .subnets
        .iter()
        .filter(|s| !(network.inhibit_ipv4 && s.subnet.is_ipv4()))
        .filter(|s| network.gateway_mode(s.subnet.is_ipv4()) != GatewayMode::Isolated)
        .filter_map(|s| Cidr::new(s.gateway?, s.subnet.prefix()))
        .collect();
    let socket = inner.route();
    route::configure(&socket, link.index, &addresses, &[])
        .map_err(|e| e.of(format!("set up bridge {name}")))?;
    drop(socket);
    if network.subnet(true).is_some() && !network.internal {
        // Answers to 127.0.0.1 come in by the bridge; the table lets nothing else to it.
        inner.host.run(|| sysctl::write(&format!("net/ipv4/conf/{name}/route_localnet"), "1"))??;
    }
    Ok(())
}

/// A bridge without an IPv6 subnet speaks no IPv6, and none takes routes or addresses from what containers announce.
fn settle_ipv6(inner: &Inner, network: &NetworkState) -> Result<()> {
    let key = |name: &str| format!("net/ipv6/conf/{}/{name}", network.bridge);
    let (name, value) =
        if network.subnet(false).is_some() { ("accept_ra", "0") } else { ("disable_ipv6", "1") };
    match inner.host.run(|| sysctl::write(&key(name), value))? {
        // A kernel without IPv6.
        Err(e) if e.errno() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// Makes the packet path follow the list of networks.
pub fn apply(inner: &Inner, state: &State) -> Result<()> {
    if state.restoring {
        return Ok(());
    }
    let gate = write_rules(inner, state, false)?;
    let open = state.bridges().filter(|n| !n.internal).map(|n| n.bridge.clone());
    if let Err(e) = inner.host_firewall.set_interfaces(open.collect(), gate.map(|gate| gate.back)) {
        // The network is there; the watch tries again with the next change of the host's firewall.
        tracing::warn!("{e}");
    }
    Ok(())
}

/// Writes our tables: those of the networks alone, or anew with all that is published. Gives the gate that they need.
pub fn write_rules(inner: &Inner, state: &State, anew: bool) -> Result<Option<Gate>> {
    let networks: Vec<NetworkState> = state.bridges().cloned().collect();
    let (foreign, gate) = (foreign_bridges(inner, state)?, gate::open(inner, state)?);
    let plan = Plan { networks: &networks, foreign: &foreign, gate: gate.as_ref() };
    if anew {
        inner.firewall.apply_all(plan, &state.listing())?;
    } else {
        inner.firewall.apply(plan)?;
    }
    if gate.is_none() {
        gate::remove(inner)?;
    }
    Ok(gate)
}

/// Bridges of containers that are not ours: Docker's. Where the host drops what nobody accepts, our own acceptance
/// would let our containers reach those that Docker does not publish.
pub fn foreign_bridges(inner: &Inner, state: &State) -> Result<Vec<String>> {
    let links = route::links(&inner.route())
        .map_err(|source| Error::Netlink { operation: "list interfaces".into(), source })?;
    let ours = |name: &str| state.networks.values().any(|n| n.bridge == name);
    let dockers = |name: &str| {
        name == "docker0"
            || name
                .strip_prefix("br-")
                .is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    // One of ours that is on its way out is nobody else's.
    let prefix = inner.alias_prefix();
    let bridges = links.into_iter().filter(|l| l.kind == "bridge" && !l.alias.starts_with(&prefix));
    let names = bridges.map(|l| l.name);
    Ok(names.filter(|n| dockers(n) && !ours(n)).collect())
}

/// Makes a known network again.
pub fn restore(inner: &Inner, network: &NetworkState) -> Result<()> {
    if network.driver != Driver::Bridge {
        return sublink::restore(inner, network);
    }
    let mut state = inner.state();
    state.restoring = true;
    inner.ipam().reserve(&network.id, &network.subnets);
    own_subnets(inner, network);
    state.networks.insert(network.id.clone(), network.clone());
    make_bridge(inner, network)
}

/// Removes a network without endpoints.
pub fn remove(inner: &Inner, id: &str) -> Result<()> {
    let mut state = inner.state();
    let network = state.network(id)?.clone();
    let active: Vec<String> = state
        .endpoints
        .values()
        .filter(|e| e.network_id == id)
        .map(|e| format!("name:\"{}\" id:\"{}\"", e.name, e.id.get(..12).unwrap_or(&e.id)))
        .collect();
    if !active.is_empty() {
        return Err(Error::ActiveEndpoints { name: network.name, endpoints: active.join(", ") });
    }
    if network.driver != Driver::Bridge {
        forget(inner, &mut state, &network);
        return apply(inner, &state);
    }
    state.networks.remove(id);
    inner.names.set_subnets(id, Vec::new());
    let link = find(inner, &network.bridge);
    let applied = apply(inner, &state);
    drop(state);
    // The kernel takes its time with it, in which others may go on. Its addresses are taken until then.
    if let Err(e) = link.and_then(|link| remove_found(inner, &network, link)) {
        tracing::warn!("{e}");
    }
    inner.ipam().release_network(id);
    applied
}

/// Nobody else has names for addresses of a bridge.
fn own_subnets(inner: &Inner, network: &NetworkState) {
    inner.names.set_subnets(&network.id, network.subnets.iter().map(|s| s.subnet).collect());
}

/// Forgets a network and takes its bridge down as far as it is there.
fn forget(inner: &Inner, state: &mut State, network: &NetworkState) {
    state.networks.remove(&network.id);
    inner.ipam().release_network(&network.id);
    inner.names.set_subnets(&network.id, Vec::new());
    if let Err(e) = remove_link(inner, state, network) {
        tracing::warn!("{e}");
    }
}

/// Removes what links a network's containers.
pub fn remove_link(inner: &Inner, state: &State, network: &NetworkState) -> Result<()> {
    if network.driver == Driver::Bridge {
        remove_bridge(inner, network)
    } else {
        sublink::remove_parent(inner, state, network)
    }
}

/// Removes a network's bridge, if it was made for it; else its addresses on it.
fn remove_bridge(inner: &Inner, network: &NetworkState) -> Result<()> {
    remove_found(inner, network, find(inner, &network.bridge)?)
}

/// The same of one that was looked up: another one may have got its name since. The socket that all others use is left
/// to them.
fn remove_found(inner: &Inner, network: &NetworkState, link: Option<Link>) -> Result<()> {
    let Some(link) = link else { return Ok(()) };
    let failed = |source| Error::System { operation: "open a route socket", source };
    let socket = inner.host.run(|| Socket::open(Family::Route))?.map_err(failed)?;
    if network.owns_bridge {
        return match route::delete_link(&socket, link.index) {
            Err(e) if !e.is(libc::ENODEV) => Err(e.of(format!("remove bridge {}", network.bridge))),
            _ => Ok(()),
        };
    }
    for addr in network.subnets.iter().filter_map(|s| Cidr::new(s.gateway?, s.subnet.prefix())) {
        // Not there is what was asked for.
        let _ = route::delete_address(&socket, link.index, addr);
    }
    Ok(())
}
