//! The whole of a daemon's networking behind one handle.
//!
//! Locks are taken in this order and held only for a few system calls: `sharing`, `publishing`, `state`, `ipam`, `ports`,
//! then a socket's.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::bridge;
use crate::cidr::Cidr;
use crate::coexist::{self, HostFirewall};
use crate::config::{
    Bound, Config, DEFAULT_GATEWAYS, DnsConfig, Driver, Endpoint, EndpointConfig, NetworkConfig,
    NetworkState, PortBinding, SubnetConfig,
};
use crate::dns;
use crate::error::{Error, Result};
use crate::exposure::Exposure;
use crate::firewall::{Firewall, Listing, Mapping, Opening};
use crate::forwarder::Forwarder;
use crate::host::Host;
use crate::ipam::Ipam;
use crate::netlink::{self, Socket};
use crate::ports::{Held, Ports};
use crate::publish;
use crate::reaper::Reaper;
use crate::sandbox::{Nursery, Sandbox};
use crate::service::Service;
use crate::share::{self, Readiness, Shares};
use crate::sysctl::{self, Settings};
use crate::virtual_ip::Virtuals;

/// A daemon's networking; clones share it.
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) host: Host,
    pub(crate) route: Mutex<Socket>,
    pub(crate) firewall: Firewall,
    pub(crate) host_firewall: HostFirewall,
    pub(crate) settings: Settings,
    pub(crate) names: Arc<dns::Names>,
    pub(crate) dns: dns::Server,
    pub(crate) nursery: Nursery,
    pub(crate) reaper: Reaper,
    pub(crate) service: Service,
    pub(crate) state: Mutex<State>,
    /// Held for writing while the table is made anew from what is known, for reading while ports come or go: what is
    /// in the table and not yet known, or the other way round, would be lost.
    pub(crate) publishing: RwLock<()>,
    /// Held while ports that several containers share change.
    pub(crate) sharing: Mutex<()>,
    pub(crate) ipam: Mutex<Ipam>,
    pub(crate) ports: Mutex<Ports>,
}

/// What is there.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) networks: BTreeMap<String, NetworkState>,
    pub(crate) endpoints: HashMap<String, Endpoint>,
    pub(crate) sandboxes: HashMap<String, Sandbox>,
    pub(crate) published: HashMap<String, Published>,
    pub(crate) shares: Shares,
    pub(crate) virtuals: Virtuals,
    /// Between the first `restore` and `restore_done`: the packet path is left as an earlier daemon made it.
    pub(crate) restoring: bool,
}

/// A container's published ports.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) bound: Vec<Bound>,
    pub(crate) mappings: Vec<Mapping>,
    /// Mappings of ports that it shares: the table has them as far as it is this container's turn.
    pub(crate) shared: Vec<Mapping>,
    pub(crate) openings: Vec<Opening>,
    /// Sockets that hold IPv4 ports.
    pub(crate) held: Vec<Held>,
    pub(crate) forwarders: Vec<(Bound, Forwarder)>,
}

impl Published {
    /// Where it is reached, by itself or among others.
    pub(crate) fn all_mappings(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter().chain(&self.shared)
    }
}

impl State {
    pub(crate) fn network(&self, id: &str) -> Result<&NetworkState> {
        self.networks.get(id).ok_or_else(|| Error::UnknownNetwork(id.to_owned()))
    }

    pub(crate) fn endpoints_of<'a>(&'a self, container_id: &'a str) -> impl Iterator<Item = &'a Endpoint> {
        self.endpoints.values().filter(move |e| e.container_id == container_id)
    }

    pub(crate) fn all_networks(&self) -> Vec<NetworkState> {
        self.networks.values().cloned().collect()
    }

    /// The networks that have a bridge.
    pub(crate) fn bridges(&self) -> impl Iterator<Item = &NetworkState> {
        self.networks.values().filter(|n| n.driver == Driver::Bridge)
    }

    /// All that is published.
    pub(crate) fn listing(&self) -> Listing {
        Listing {
            mappings: self.published.values().flat_map(|p| p.mappings.iter().copied()).collect(),
            held: self.published.values().flat_map(|p| publish::held(&p.bound)).collect(),
            openings: self.published.values().flat_map(|p| p.openings.iter().copied()).collect(),
            spreads: self.shares.spreads(),
        }
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ipam(&self) -> MutexGuard<'_, Ipam> {
        self.ipam.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whoever adds or removes published ports.
    pub(crate) fn publishing(&self) -> RwLockReadGuard<'_, ()> {
        self.publishing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whoever makes the table anew.
    pub(crate) fn unpublishing(&self) -> RwLockWriteGuard<'_, ()> {
        self.publishing.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whoever changes what several containers share.
    pub(crate) fn sharing(&self) -> MutexGuard<'_, ()> {
        self.sharing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn route(&self) -> MutexGuard<'_, Socket> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The alias by which a later daemon knows an interface of ours.
    pub(crate) fn alias(&self, id: &str) -> String {
        format!("{}{id}", self.alias_prefix())
    }

    pub(crate) fn alias_prefix(&self) -> String {
        format!("dray:{}:", self.config.table)
    }

    /// Looks after the firewall when somebody changed it: our tables were flushed or altered, or the host's were made
    /// anew without our rules. (Docker's networks change its rules and its bridges, which ours name.)
    pub(crate) fn heal(&self) {
        let healed = {
            let _alone = self.unpublishing();
            let state = self.state();
            let idle = state.networks.is_empty() || state.restoring;
            if idle { Ok(()) } else { bridge::write_rules(self, &state, true).map(drop) }
        };
        for result in [healed, self.host_firewall.ensure()] {
            if let Err(e) = result {
                tracing::warn!("after a change of the host's firewall: {e}");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.reaper.stop();
        self.service.stop();
    }
}

impl Network {
    /// Opens the networking of a daemon in the network namespace of the calling thread. Touches no packet path yet.
    ///
    /// # Errors
    /// No right to use netlink, or the run root cannot be written.
    pub fn open(config: Config) -> Result<Network> {
        let failed = |source| Error::System { operation: "open a route socket", source };
        let host = Host::here()?;
        let nursery = Nursery::open(&config.run_root, config.ready_sandboxes)?;
        let service = Service::start()?;
        let names = Arc::new(dns::Names::default());
        let ipv6 = Path::new("/proc/sys/net/ipv6").exists();
        let inner = Arc::new(Inner {
            route: Mutex::new(Socket::open(netlink::Family::Route).map_err(failed)?),
            firewall: Firewall::open(&config.table)?,
            host_firewall: HostFirewall::open(&config.table)?,
            settings: Settings::open(config.run_root.join("network-settings.json")),
            dns: dns::Server::new(service.handle().clone(), config.resolv_conf.clone(), Arc::clone(&names)),
            reaper: Reaper::start()?,
            state: Mutex::default(),
            publishing: RwLock::default(),
            sharing: Mutex::default(),
            ports: Mutex::new(Ports::new(ephemeral_ports(), ipv6)),
            host,
            names,
            nursery,
            service,
            ipam: Mutex::new(Ipam::new(config.pools.clone())),
            config,
        });
        watch(&inner)?;
        Ok(Network { inner })
    }

    /// The settings of the network `bridge`: the configured bridge name, `--bip` and MTU.
    #[must_use]
    pub fn default_bridge(&self, id: &str) -> NetworkConfig {
        let config = &self.inner.config;
        let bridge = &config.default_bridge;
        let subnets = [
            subnet_of(config.bip, bridge.fixed_cidr, bridge.gateway.map(IpAddr::V4)),
            subnet_of(bridge.bip6, bridge.fixed_cidr_v6, bridge.gateway_v6.map(IpAddr::V6))
                .filter(|_| bridge.ipv6),
        ];
        let name = ("com.docker.network.bridge.name".to_owned(), config.bridge_name.clone());
        NetworkConfig {
            id: id.to_owned(),
            name: "bridge".to_owned(),
            subnets: subnets.into_iter().flatten().collect(),
            ipv6: bridge.ipv6,
            options: bridge.options.clone().into_iter().chain([name]).collect(),
            default_bridge: true,
            ..NetworkConfig::default()
        }
    }

    /// What networks of a driver get for options that they do not set.
    #[must_use]
    pub fn default_options(&self, driver: &str) -> BTreeMap<String, String> {
        self.inner.config.default_options.get(driver).cloned().unwrap_or_default()
    }

    /// Makes a bridge network.
    ///
    /// # Errors
    /// The subnet overlaps, an option makes no sense, or the kernel refuses.
    pub fn create(&self, config: &NetworkConfig) -> Result<NetworkState> {
        bridge::create(&self.inner, config)
    }

    /// Makes a known network again after a restart; idempotent. The packet path follows with
    /// [`Network::restore_done`].
    ///
    /// # Errors
    /// The kernel refuses its bridge.
    pub fn restore(&self, state: &NetworkState) -> Result<()> {
        bridge::restore(&self.inner, state)
    }

    /// Removes a network without endpoints.
    ///
    /// # Errors
    /// It is not known, has endpoints, or the kernel refuses.
    pub fn remove(&self, id: &str) -> Result<()> {
        bridge::remove(&self.inner, id)
    }

    /// A container's network namespace with lo up, taken from the pool or made. One that is there is given again.
    ///
    /// # Errors
    /// It cannot be made or bound.
    pub fn sandbox(&self, container_id: &str) -> Result<Sandbox> {
        if let Some(sandbox) = self.inner.state().sandboxes.get(container_id) {
            return Ok(sandbox.clone());
        }
        // One that an earlier daemon left is of a container that is gone.
        self.inner.nursery.unbind(container_id)?;
        let sandbox = self.inner.nursery.sandbox(container_id)?;
        self.inner.state().sandboxes.insert(container_id.to_owned(), sandbox.clone());
        Ok(sandbox)
    }

    /// The namespace of a container that runs, also if an earlier daemon made it.
    ///
    /// # Errors
    /// It is not there.
    pub fn open_sandbox(&self, container_id: &str) -> Result<Sandbox> {
        if let Some(sandbox) = self.inner.state().sandboxes.get(container_id) {
            return Ok(sandbox.clone());
        }
        let sandbox = self.inner.nursery.reopen(container_id)?;
        self.inner.state().sandboxes.insert(container_id.to_owned(), sandbox.clone());
        Ok(sandbox)
    }

    /// Takes a sandbox down with all its endpoints and published ports. No error if it is not there.
    ///
    /// # Errors
    /// Something stayed; everything else was removed.
    pub fn remove_sandbox(&self, container_id: &str) -> Result<()> {
        crate::endpoint::remove_sandbox(&self.inner, container_id)
    }

    /// A container's upstreams (`--dns`), before its first attach.
    pub fn set_dns(&self, sandbox: &Sandbox, dns: DnsConfig) {
        *sandbox.inner.dns_config.lock().unwrap_or_else(PoisonError::into_inner) = dns;
    }

    /// Keeps the names of a container, by network, from being asked of the world, whether it runs or not. They are
    /// those that it had before no more.
    pub fn keep_names(&self, container_id: &str, names: &[(String, Vec<String>)]) {
        self.inner.names.keep(container_id, names);
    }

    /// Lets go of the names of a container that is gone.
    pub fn forget_names(&self, container_id: &str) {
        self.inner.names.forget(container_id);
    }

    /// Joins a container to a network.
    ///
    /// # Errors
    /// The network is not known, an address is taken or none is left, or the kernel refuses.
    pub fn attach(&self, sandbox: &Sandbox, network_id: &str, config: &EndpointConfig) -> Result<Endpoint> {
        crate::endpoint::attach(&self.inner, sandbox, network_id, config)
    }

    /// Makes a known endpoint of a running container known again after a restart; idempotent.
    ///
    /// # Errors
    /// Its network is not known, or DNS cannot be served in its sandbox.
    pub fn restore_endpoint(&self, sandbox: &Sandbox, endpoint: &Endpoint) -> Result<()> {
        crate::endpoint::restore(&self.inner, sandbox, endpoint)
    }

    /// Takes a container off a network (published ports that lead to this endpoint go too).
    ///
    /// # Errors
    /// Something stayed; everything else was removed.
    pub fn detach(&self, endpoint: &Endpoint) -> Result<()> {
        crate::endpoint::detach(&self.inner, endpoint)
    }

    /// Changes the DNS name of a container on all its networks.
    pub fn rename(&self, container_id: &str, name: &str) {
        crate::endpoint::rename(&self.inner, container_id, name);
    }

    /// Publishes ports of a container on the host: all or none.
    ///
    /// # Errors
    /// A port is in use, in Docker's words.
    pub fn publish(&self, endpoint: &Endpoint, ports: &[PortBinding]) -> Result<Vec<Bound>> {
        crate::publish::publish(&self.inner, endpoint, ports)
    }

    /// Makes published ports of a running container known again after a restart; idempotent.
    ///
    /// # Errors
    /// The kernel refuses the table.
    pub fn restore_ports(&self, endpoint: &Endpoint, ports: &[Bound]) -> Result<()> {
        crate::publish::restore(&self.inner, endpoint, ports)
    }

    /// Says how far a container is fit for new connections that others of its kind could have as well: those that share
    /// the ports which they publish, by a group's name, and those behind the address of a service. Comes before
    /// [`Network::attach`], [`Network::publish`], [`Network::restore_endpoint`] and [`Network::restore_ports`].
    pub fn share(&self, container_id: &str, group: Option<String>, readiness: Readiness) {
        share::set_sharer(&self.inner, container_id, group, readiness);
    }

    /// Says how far a container that shares is fit for new connections now. Nothing for others.
    ///
    /// # Errors
    /// The kernel refuses the table.
    pub fn set_readiness(&self, container_id: &str, readiness: Readiness) -> Result<()> {
        share::set_readiness(&self.inner, container_id, readiness)
    }

    /// Takes a container that shares and is starting for ready as soon as its program listens. Nothing for others.
    pub fn ready_when_listening(&self, container_id: &str) {
        share::ready_when_listening(&self.inner, container_id);
    }

    /// How many connections a container has that shares; none where no other container can take its place.
    ///
    /// # Errors
    /// The kernel does not list them.
    pub fn shared_connections(&self, container_id: &str) -> Result<Option<usize>> {
        share::connections(&self.inner, container_id)
    }

    /// How many connections others have to a container; none for one without a network of its own.
    ///
    /// # Errors
    /// The kernel does not list them.
    pub fn connections(&self, container_id: &str) -> Result<Option<usize>> {
        share::all_connections(&self.inner, container_id)
    }

    /// Withdraws all published ports of a container.
    ///
    /// # Errors
    /// The kernel refuses; the ports are free nonetheless.
    pub fn unpublish(&self, container_id: &str) -> Result<()> {
        crate::publish::withdraw(&self.inner, container_id)
    }

    /// Withdraws some published ports of a container.
    ///
    /// # Errors
    /// The kernel refuses; the ports are free nonetheless.
    pub fn withdraw(&self, container_id: &str, ports: &[Bound]) -> Result<()> {
        crate::publish::withdraw_some(&self.inner, container_id, ports)
    }

    /// After all that lives was restored: makes the packet path right and removes veths, namespaces, bridges and
    /// published ports of what is gone. Called once after start, also if there was nothing to restore.
    ///
    /// # Errors
    /// Something stayed; everything else was done.
    pub fn restore_done(&self) -> Result<()> {
        crate::lifecycle::restore_done(&self.inner)
    }

    /// What of containers is reachable from where, and why.
    ///
    /// # Errors
    /// The host's interfaces cannot be listed.
    pub fn exposure(&self) -> Result<Vec<Exposure>> {
        crate::exposure::list(&self.inner)
    }

    /// The same of whatever listens in the host's own network: at which addresses, and who decides.
    ///
    /// # Errors
    /// The host's interfaces cannot be listed.
    pub fn host_exposure(&self) -> Result<(Vec<IpAddr>, String)> {
        crate::exposure::of_host(&self.inner)
    }

    /// What the operator should know: a host firewall that would block containers and cannot be taught.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.inner.host.run(|| self.inner.host_firewall.warnings()).unwrap_or_default()
    }

    /// Stops serving and gives the host's firewall back as it was found. While containers run, their bridges and
    /// our own table stay; without any, all that was made goes: table, bridges, settings.
    ///
    /// # Errors
    /// Something stayed; everything else was done.
    pub fn shutdown(&self) -> Result<()> {
        crate::lifecycle::shutdown(&self.inner)
    }

    /// Stops serving and removes everything that was made, also under running containers.
    ///
    /// # Errors
    /// Something stayed; everything else was done.
    pub fn purge(&self) -> Result<()> {
        crate::lifecycle::purge(&self.inner)
    }
}

/// The default bridge's subnet by its address (`--bip`) and the range for containers (`--fixed-cidr`), either of which
/// may say it; with another gateway than the bridge (`--default-gateway`).
fn subnet_of(bip: Option<Cidr>, range: Option<Cidr>, route: Option<IpAddr>) -> Option<SubnetConfig> {
    let subnet = bip.or(range).map(|cidr| cidr.network());
    if subnet.is_none() && route.is_none() {
        return None;
    }
    // A bip without host bits names the subnet alone.
    let gateway = bip.map(|bip| bip.addr()).filter(|addr| Some(*addr) != subnet.map(|subnet| subnet.addr()));
    let ip_range = range.map(|range| range.network()).filter(|range| Some(*range) != subnet);
    let aux = route.map(|ip| (DEFAULT_GATEWAYS[usize::from(ip.is_ipv6())].to_owned(), ip));
    Some(SubnetConfig { subnet, gateway, ip_range, aux: aux.into_iter().collect() })
}

fn watch(inner: &Arc<Inner>) -> Result<()> {
    let weak = Arc::downgrade(inner);
    let (table, port) = (inner.config.table.clone(), inner.firewall.port());
    inner.service.watch(
        move |message| coexist::concerns(message, &table, port),
        move || weak.upgrade().map(|inner| inner.heal()).is_some(),
    )
}

/// The ports that the kernel itself would choose from.
fn ephemeral_ports() -> RangeInclusive<u16> {
    let text = sysctl::read("net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first > 0 && first <= last => first..=last,
        _ => 32768..=60999,
    }
}

/// The addresses of an endpoint.
pub(crate) fn addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    let v4 = endpoint.ip.map(IpAddr::V4);
    v4.into_iter().chain(endpoint.ip6.map(IpAddr::V6)).collect()
}
