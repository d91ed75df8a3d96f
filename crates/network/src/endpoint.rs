//! Endpoints: a container's places on networks.
//!
//! An endpoint is a veth pair. Its far end is made in the container's namespace at once, up and named; what is left
//! to do there, addresses and default route, goes in one system call through a socket that was opened with the
//! namespace. Of several networks one gives the default route: the one with the highest priority, then the first by
//! name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::PoisonError;

use crate::cidr::Cidr;
use crate::config::{DEFAULT_GATEWAYS, Driver, Endpoint, EndpointConfig, NetworkState};
use crate::dns::Record;
use crate::error::{Error, Result};
use crate::host::inside;
use crate::mac;
use crate::netlink::route::{self, Gateway, Veth};
use crate::network::{Inner, State, addresses};
use crate::options;
use crate::publish;
use crate::sandbox::Sandbox;
use crate::share;
use crate::sublink;
use crate::sysctl;
use crate::virtual_ip;

/// Joins a container to a network.
pub fn attach(
    inner: &Inner,
    sandbox: &Sandbox,
    network_id: &str,
    config: &EndpointConfig,
) -> Result<Endpoint> {
    let (network, taken) = {
        let state = inner.state();
        let network = state.network(network_id)?.clone();
        let taken: Vec<String> =
            state.endpoints_of(sandbox.container_id()).map(|e| e.interface.clone()).collect();
        (network, taken)
    };
    let wanted_mac = config.mac.as_deref().filter(|m| !m.is_empty()).map(mac::parse).transpose()?;
    if let Some(name) = &config.interface {
        options::check_interface_name(name)?;
        if taken.contains(name) || name == "lo" {
            return Err(Error::InterfaceInUse(name.clone()));
        }
    }
    let (ip, ip6) = take_addresses(inner, &network, config)?;
    let mut endpoint = describe(sandbox, &network, config, wanted_mac, (ip, ip6), &taken);
    match config.service.clone().map(|service| virtual_ip::reserve(inner, &endpoint, service)) {
        None => {}
        Some(Ok(service)) => endpoint.service = Some(service),
        Some(Err(e)) => {
            let mut ipam = inner.ipam();
            addresses(&endpoint).into_iter().for_each(|addr| ipam.release(network_id, addr));
            return Err(e);
        }
    }
    match join(inner, sandbox, &network, &endpoint, &config.sysctls) {
        Ok(()) => Ok(endpoint),
        Err(e) => {
            inner.state().endpoints.remove(&endpoint.id);
            inner.names.remove(network_id, &endpoint.id);
            leave_service(inner, &endpoint);
            take_down(inner, &endpoint, Some(sandbox));
            Err(e)
        }
    }
}

/// Allocates addresses.
fn take_addresses(
    inner: &Inner,
    network: &NetworkState,
    config: &EndpointConfig,
) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>)> {
    let mut ipam = inner.ipam();
    let ip = ipam.take(&network.id, true, config.ip.map(IpAddr::V4))?;
    match ipam.take(&network.id, false, config.ip6.map(IpAddr::V6)) {
        Ok(ip6) => Ok((v4(ip), v6(ip6))),
        Err(e) => {
            ip.into_iter().for_each(|ip| ipam.release(&network.id, ip));
            Err(e)
        }
    }
}

fn describe(
    sandbox: &Sandbox,
    network: &NetworkState,
    config: &EndpointConfig,
    wanted_mac: Option<route::Mac>,
    (ip, ip6): (Option<Ipv4Addr>, Option<Ipv6Addr>),
    taken: &[String],
) -> Endpoint {
    let id = config.id.clone().unwrap_or_else(mac::random_id);
    let prefix = network.container_iface_prefix.as_deref().unwrap_or("eth");
    let mut names = (0..).map(|n| format!("{prefix}{n}"));
    let chosen = config.interface.clone();
    let interface = chosen.or_else(|| names.find(|n| !taken.contains(n))).unwrap_or_default();
    let bridged = network.driver == Driver::Bridge;
    let gateway = |v4: bool| {
        let inhibited = network.internal || (v4 && network.inhibit_ipv4);
        let subnet = network.subnet(v4).filter(|_| !inhibited)?;
        // Of bridges another machine may be named.
        let named = subnet.aux.get(DEFAULT_GATEWAYS[usize::from(!v4)]).filter(|_| bridged);
        named.copied().or(subnet.gateway)
    };
    let length = |v4: bool, has: bool| network.subnet(v4).filter(|_| has).map_or(0, |s| s.subnet.prefix());
    let mac = mac_of(network.driver, wanted_mac, ip);
    let host_interface = match network.driver {
        Driver::Bridge => format!("veth{}", mac::random_id().get(..8).unwrap_or_default()),
        Driver::Macvlan | Driver::Ipvlan => String::new(),
    };
    let routed = !network.internal && network.parent.as_ref().is_some_and(|p| p.mode.is_routed());
    Endpoint {
        network_id: network.id.clone(),
        container_id: sandbox.container_id().to_owned(),
        name: config.name.clone(),
        aliases: config.aliases.clone(),
        interface,
        host_interface,
        mac,
        ip,
        prefix: length(true, ip.is_some()),
        gateway: v4(gateway(true)).filter(|_| ip.is_some()),
        ip6,
        prefix6: length(false, ip6.is_some()),
        gateway6: v6(gateway(false)).filter(|_| ip6.is_some()),
        gateway_priority: config.gateway_priority,
        routed,
        links: config.links.clone(),
        link_local: config.link_local.clone(),
        service: None,
        id,
    }
}

/// On a bridge the address that goes with the IPv4 address, on the parent's network one of its own: other machines
/// are there. An ipvlan has its parent's.
fn mac_of(driver: Driver, wanted: Option<route::Mac>, ip: Option<Ipv4Addr>) -> String {
    match driver {
        Driver::Bridge => mac::format(wanted.unwrap_or_else(|| ip.map_or_else(mac::random, mac::of_address))),
        Driver::Macvlan => mac::format(wanted.unwrap_or_else(mac::random)),
        Driver::Ipvlan => String::new(),
    }
}

fn v4(addr: Option<IpAddr>) -> Option<Ipv4Addr> {
    match addr {
        Some(IpAddr::V4(v4)) => Some(v4),
        _ => None,
    }
}

fn v6(addr: Option<IpAddr>) -> Option<Ipv6Addr> {
    match addr {
        Some(IpAddr::V6(v6)) => Some(v6),
        _ => None,
    }
}

/// Makes the interface, gives it what it needs, and tells the resolver.
fn join(
    inner: &Inner,
    sandbox: &Sandbox,
    network: &NetworkState,
    endpoint: &Endpoint,
    sysctls: &[(String, String)],
) -> Result<()> {
    forward(inner, network)?;
    match &network.parent {
        Some(parent) => sublink::attach(inner, sandbox, parent, network.mtu, endpoint)?,
        None => make_veth(inner, sandbox, network, endpoint)?,
    }
    let routes = {
        let mut state = inner.state();
        // Its bridge goes with a network that has no endpoints: that is so until this one is known.
        state.network(&network.id)?;
        state.endpoints.insert(endpoint.id.clone(), endpoint.clone());
        default_endpoint(&state, sandbox.container_id()).is_some_and(|e| e.id == endpoint.id)
    };
    if endpoint.ip6.is_some() || endpoint.link_local.iter().any(IpAddr::is_ipv6) {
        enable_ipv6(sandbox, endpoint)?;
    }
    set_sysctls(sandbox, endpoint, sysctls)?;
    configure(sandbox, endpoint, routes)?;
    announce(inner, sandbox, network, endpoint)
}

/// Switches on what a bridge that leads outside needs of the host.
fn forward(inner: &Inner, network: &NetworkState) -> Result<()> {
    if network.internal || network.driver != Driver::Bridge {
        return Ok(());
    }
    for v4 in [true, false] {
        if network.subnet(v4).is_some() {
            inner.settings.forward(&inner.host, v4)?;
        }
    }
    Ok(())
}

fn make_veth(inner: &Inner, sandbox: &Sandbox, network: &NetworkState, endpoint: &Endpoint) -> Result<()> {
    let lost = || Error::UnknownNetwork(network.name.clone());
    let socket = inner.route();
    let name = &network.bridge;
    let bridge = route::link(&socket, name)
        .map_err(|source| Error::Netlink { operation: format!("look up interface {name}"), source })?
        .ok_or_else(lost)?;
    let veth = Veth {
        host: &endpoint.host_interface,
        alias: &inner.alias(&endpoint.id),
        master: bridge.index,
        peer: &endpoint.interface,
        mac: mac::parse(&endpoint.mac)?,
        mtu: network.mtu,
        isolated: !network.icc,
        hairpin: bridges_are_filtered(),
        namespace: sandbox.namespace(),
    };
    route::add_veth(&socket, &veth)
        .map_err(|e| e.of(format!("make {} in the sandbox of {}", endpoint.interface, endpoint.name)))?;
    Ok(())
}

/// Whether the IP rules see bridged packets too. Then the kernel bridges what is translated to an address of the
/// same bridge instead of routing it: a container that asks for its own published port needs its frames back.
fn bridges_are_filtered() -> bool {
    std::path::Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists()
}

/// Interfaces begin without IPv6.
fn enable_ipv6(sandbox: &Sandbox, endpoint: &Endpoint) -> Result<()> {
    let key = format!("net/ipv6/conf/{}/disable_ipv6", endpoint.interface);
    inside(sandbox.namespace(), || sysctl::write(&key, "0"))
        .map_err(|source| Error::System { operation: "enter a sandbox", source })?
}

/// Changes settings of the interface that the container asked for, before it is up.
fn set_sysctls(sandbox: &Sandbox, endpoint: &Endpoint, sysctls: &[(String, String)]) -> Result<()> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let write = |(key, value): &(String, String)| {
        let key = key.replace('.', "/").replace("IFNAME", &endpoint.interface);
        sysctl::write(&format!("net/{key}"), value)
    };
    inside(sandbox.namespace(), || sysctls.iter().try_for_each(write))
        .map_err(|source| Error::System { operation: "enter a sandbox", source })?
}

/// Gives an interface its addresses, and the default routes if they are to lead through it.
fn configure(sandbox: &Sandbox, endpoint: &Endpoint, routes: bool) -> Result<()> {
    let what = || format!("give {} of {} its addresses", endpoint.interface, endpoint.name);
    let v4 = endpoint.ip.and_then(|ip| Cidr::new(ip.into(), endpoint.prefix));
    let v6 = endpoint.ip6.and_then(|ip| Cidr::new(ip.into(), endpoint.prefix6));
    // The prefixes of RFC 3927 and RFC 4291.
    let link_local = endpoint.link_local.iter();
    let link_local = link_local.filter_map(|ip| Cidr::new(*ip, if ip.is_ipv4() { 16 } else { 64 }));
    let addresses: Vec<Cidr> = v4.into_iter().chain(v6).chain(link_local).collect();
    let gateways = if routes { default_routes(endpoint) } else { Vec::new() };
    sandbox.with_route(|socket| {
        let link = route::link(socket, &endpoint.interface)
            .map_err(|source| Error::Netlink { operation: what(), source })?
            .ok_or_else(|| Error::UnknownSandbox(endpoint.container_id.clone()))?;
        route::configure(socket, link.index, &addresses, &gateways).map_err(|e| e.of(what()))
    })
}

fn default_routes(endpoint: &Endpoint) -> Vec<Gateway> {
    if endpoint.routed {
        let families = [(true, endpoint.ip.is_some()), (false, endpoint.ip6.is_some())];
        return families.into_iter().filter(|(_, has)| *has).map(|(v4, _)| Gateway::Link { v4 }).collect();
    }
    let v4 = endpoint.gateway.map(IpAddr::V4);
    v4.into_iter().chain(endpoint.gateway6.map(IpAddr::V6)).map(Gateway::At).collect()
}

/// The endpoint that gives a container its default route.
fn default_endpoint<'a>(state: &'a State, container_id: &'a str) -> Option<&'a Endpoint> {
    let name = |e: &Endpoint| state.networks.get(&e.network_id).map(|n| n.name.clone());
    state
        .endpoints_of(container_id)
        .filter(|e| e.gateway.is_some() || e.gateway6.is_some() || e.routed)
        .max_by(|a, b| a.gateway_priority.cmp(&b.gateway_priority).then_with(|| name(b).cmp(&name(a))))
}

/// Tells the resolver of an endpoint, and the container of its networks. The default bridge has no names.
fn announce(inner: &Inner, sandbox: &Sandbox, network: &NetworkState, endpoint: &Endpoint) -> Result<()> {
    if network.default_bridge {
        sandbox.take_dns_sockets();
        return Ok(());
    }
    inner.names.add(&network.id, &network.name, record(endpoint));
    let mut dns = sandbox.inner.dns.lock().unwrap_or_else(PoisonError::into_inner);
    if dns.is_none() {
        let config = sandbox.inner.dns_config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *dns = Some(inner.dns.serve(sandbox, config)?);
    }
    drop(dns);
    update_scope(inner, sandbox);
    if endpoint.service.is_some() {
        virtual_ip::enter(inner, network, endpoint)
    } else {
        virtual_ip::tell(inner, sandbox, &network.id)
    }
}

/// Takes a container from behind its service's address.
fn leave_service(inner: &Inner, endpoint: &Endpoint) {
    if let Err(e) = virtual_ip::leave(inner, endpoint) {
        tracing::warn!("{e}");
    }
}

fn record(endpoint: &Endpoint) -> Record {
    let short = endpoint.container_id.get(..12).unwrap_or(&endpoint.container_id);
    // Those are the names of the service's own address.
    let of_service = |name: &str| {
        endpoint.service.as_ref().is_some_and(|s| s.name == name || s.names.iter().any(|n| n == name))
    };
    let names = std::iter::once(endpoint.name.as_str())
        .chain(endpoint.aliases.iter().map(String::as_str))
        .chain([short])
        .filter(|n| !n.is_empty() && !of_service(n));
    let task = endpoint.service.iter().flat_map(|s| std::iter::once(&s.name).chain(&s.names));
    let names: Vec<String> =
        names.map(str::to_owned).chain(task.map(|name| format!("tasks.{name}"))).collect();
    Record {
        endpoint_id: endpoint.id.clone(),
        name: endpoint.name.clone(),
        names: names.iter().map(|name| name.to_lowercase()).collect(),
        ip: endpoint.ip,
        ip6: endpoint.ip6,
    }
}

/// Tells a container's resolver which networks it is on, and whether one of them leads outside.
fn update_scope(inner: &Inner, sandbox: &Sandbox) {
    let (networks, links, outside) = {
        let state = inner.state();
        let mut endpoints: Vec<&Endpoint> = state.endpoints_of(sandbox.container_id()).collect();
        let name = |e: &Endpoint| state.networks.get(&e.network_id).map(|n| n.name.clone());
        endpoints.sort_by_key(|e| (std::cmp::Reverse(e.gateway_priority), name(e)));
        let outside =
            endpoints.iter().any(|e| state.networks.get(&e.network_id).is_some_and(|n| !n.internal));
        let links = endpoints.iter().flat_map(|e| links(e)).collect();
        (endpoints.iter().map(|e| e.network_id.clone()).collect(), links, outside)
    };
    if let Some(served) = &*sandbox.inner.dns.lock().unwrap_or_else(PoisonError::into_inner) {
        served.set_networks(networks, links, outside);
    }
}

/// A container's own names for others, as the resolver wants them.
fn links(endpoint: &Endpoint) -> impl Iterator<Item = (String, (String, String))> {
    endpoint.links.iter().map(|(target, alias)| {
        // Names know the beginning of an id only.
        let id = target.len() == 64 && target.bytes().all(|b| b.is_ascii_hexdigit());
        let target = if id { &target[..12] } else { target };
        (alias.to_lowercase(), (endpoint.network_id.clone(), target.to_lowercase()))
    })
}

/// Makes an endpoint of a running container known again.
pub fn restore(inner: &Inner, sandbox: &Sandbox, endpoint: &Endpoint) -> Result<()> {
    let network = {
        let mut state = inner.state();
        let network = state.network(&endpoint.network_id)?.clone();
        state.endpoints.insert(endpoint.id.clone(), endpoint.clone());
        network
    };
    let mut ipam = inner.ipam();
    for addr in addresses(endpoint) {
        // Taken already is what was asked for.
        let _ = ipam.take(&network.id, addr.is_ipv4(), Some(addr));
    }
    drop(ipam);
    virtual_ip::retake(inner, endpoint);
    forward(inner, &network)?;
    announce(inner, sandbox, &network, endpoint)
}

/// Takes a container off a network.
pub fn detach(inner: &Inner, endpoint: &Endpoint) -> Result<()> {
    let withdrawn = publish::withdraw_to(inner, endpoint);
    inner.names.remove(&endpoint.network_id, &endpoint.id);
    let (known, sandbox) = {
        let mut state = inner.state();
        let known = state.endpoints.remove(&endpoint.id).is_some();
        (known, state.sandboxes.get(&endpoint.container_id).cloned())
    };
    leave_service(inner, endpoint);
    if let Some(Err(e)) = sandbox.as_ref().map(|sandbox| virtual_ip::untell(inner, sandbox)) {
        tracing::warn!("{e}");
    }
    if known {
        take_down(inner, endpoint, sandbox.as_ref());
        // The container runs on: it must not see the interface any more when this returns.
        inner.reaper.flush();
    }
    let rerouted = sandbox.map_or(Ok(()), |sandbox| {
        update_scope(inner, &sandbox);
        reroute(inner, &sandbox)
    });
    Error::from_all([withdrawn, rerouted].into_iter().filter_map(Result::err).collect())
}

/// Gives a container its default route by another of its networks, if one is left.
fn reroute(inner: &Inner, sandbox: &Sandbox) -> Result<()> {
    let next = default_endpoint(&inner.state(), sandbox.container_id()).cloned();
    next.map_or(Ok(()), |endpoint| configure(sandbox, &endpoint, true))
}

/// Cuts an endpoint off at once, so that its addresses are free, and removes its interface in the background.
fn take_down(inner: &Inner, endpoint: &Endpoint, sandbox: Option<&Sandbox>) {
    let interface = &endpoint.host_interface;
    if interface.is_empty() {
        if let Some(Err(e)) = sandbox.map(|sandbox| sublink::detach(sandbox, endpoint)) {
            tracing::warn!("{e}");
        }
        let mut ipam = inner.ipam();
        addresses(endpoint).into_iter().for_each(|addr| ipam.release(&endpoint.network_id, addr));
        return;
    }
    let cut = {
        let socket = inner.route();
        match route::link(&socket, interface) {
            Ok(Some(link)) => route::disable_port(&socket, link.index).map_err(|failed| failed.source),
            Ok(None) => Ok(()),
            Err(e) => Err(e),
        }
    };
    if let Err(e) = cut {
        // The addresses are free nonetheless: the container's end goes with its namespace.
        tracing::warn!("cut off interface {interface}: {e}");
    }
    let mut ipam = inner.ipam();
    addresses(endpoint).into_iter().for_each(|addr| ipam.release(&endpoint.network_id, addr));
    drop(ipam);
    inner.reaper.remove(interface.clone());
}

/// Takes a container's sandbox down with all that is in it.
pub fn remove_sandbox(inner: &Inner, container_id: &str) -> Result<()> {
    let withdrawn = publish::withdraw(inner, container_id);
    let (sandbox, endpoints) = {
        let mut state = inner.state();
        let endpoints: Vec<Endpoint> = state.endpoints_of(container_id).cloned().collect();
        endpoints.iter().for_each(|e| {
            state.endpoints.remove(&e.id);
        });
        (state.sandboxes.remove(container_id), endpoints)
    };
    share::forget(inner, container_id);
    if let Some(sandbox) = &sandbox {
        sandbox.inner.dns.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
    for endpoint in &endpoints {
        inner.names.remove(&endpoint.network_id, &endpoint.id);
        leave_service(inner, endpoint);
        take_down(inner, endpoint, sandbox.as_ref());
    }
    let unbound = inner.nursery.unbind(container_id);
    if let Some(sandbox) = sandbox {
        inner.reaper.keep(sandbox);
    }
    Error::from_all([withdrawn, unbound].into_iter().filter_map(Result::err).collect())
}

/// Changes a container's name.
pub fn rename(inner: &Inner, container_id: &str, name: &str) {
    let mut state = inner.state();
    let networks = state.networks.clone();
    for endpoint in state.endpoints.values_mut().filter(|e| e.container_id == container_id) {
        name.clone_into(&mut endpoint.name);
        if let Some(network) = networks.get(&endpoint.network_id).filter(|n| !n.default_bridge) {
            inner.names.add(&network.id, &network.name, record(endpoint));
        }
    }
}
