//! Containers joined to networks: what the container service asks of this one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use dray_api::container::PortMap;
use dray_api::network::{EndpointIpamConfig, EndpointSettings};
use dray_network::dns::{HostsEntry, ResolvMode, ResolvOverrides, hosts, resolv_conf};
use dray_network::{DnsConfig, Endpoint, EndpointConfig, Sandbox};

use super::record::Record;
use super::{Error, Joined, Service, ports, short};
use crate::ServiceError;
use crate::container::{Attached, ContainerNetworking, NetworkedContainer};

/// How a container is joined.
enum Mode {
    Host,
    None,
    Bridged,
}

fn mode(name: &str) -> Mode {
    match name {
        "host" => Mode::Host,
        "none" => Mode::None,
        _ => Mode::Bridged,
    }
}

/// The network that a mode names; `default` is the default bridge.
fn network_of(mode: &str) -> &str {
    if matches!(mode, "" | "default") { "bridge" } else { mode }
}

impl ContainerNetworking for Service {
    fn plan(
        &self,
        mode: &str,
        endpoints: BTreeMap<String, EndpointSettings>,
    ) -> Result<BTreeMap<String, EndpointSettings>, ServiceError> {
        Ok(self.plan_endpoints(mode, endpoints)?)
    }

    fn connect_all(&self, container: &NetworkedContainer) -> Result<Attached, ServiceError> {
        let attached = match mode(&container.mode) {
            Mode::Host => self.join_host(container),
            Mode::None => self.join_none(container),
            Mode::Bridged => self.join_networks(container),
        };
        if attached.is_err() {
            self.joined().remove(&container.id);
            if let Err(error) = self.network.remove_sandbox(&container.id) {
                tracing::warn!(%error, container = container.id, "network sandbox left behind");
            }
        }
        Ok(attached?)
    }

    fn disconnect_all(&self, container: &NetworkedContainer) {
        let joined = self.joined().remove(&container.id).unwrap_or_default();
        if let Err(error) = self.network.remove_sandbox(&container.id) {
            tracing::warn!(%error, container = container.id, "remove the network sandbox");
        }
        if !joined.is_empty() {
            self.remember(&container.id);
        }
        for joined in joined {
            self.announce("disconnect", &joined.network, Some(&container.id));
        }
    }

    fn restore(&self, container: &NetworkedContainer, ports: &PortMap) -> Result<(), ServiceError> {
        Ok(self.restore_container(container, ports)?)
    }

    fn connect(
        &self,
        container: &NetworkedContainer,
        network: &str,
        settings: EndpointSettings,
        running: bool,
    ) -> Result<(String, EndpointSettings), ServiceError> {
        Ok(self.connect_one(container, network, settings, running)?)
    }

    fn disconnect(
        &self,
        container: &NetworkedContainer,
        network: &str,
        running: bool,
        force: bool,
    ) -> Result<String, ServiceError> {
        Ok(self.disconnect_one(container, network, running, force)?)
    }

    fn rename(&self, container: &NetworkedContainer) -> Result<(), ServiceError> {
        self.network.rename(&container.id, &container.name);
        if let Some(joined) = self.joined().get_mut(&container.id) {
            for endpoint in joined.iter_mut().filter_map(|joined| joined.endpoint.as_mut()) {
                endpoint.name.clone_from(&container.name);
            }
        }
        Ok(())
    }
}

impl Service {
    fn plan_endpoints(
        &self,
        container_mode: &str,
        mut endpoints: BTreeMap<String, EndpointSettings>,
    ) -> Result<BTreeMap<String, EndpointSettings>, Error> {
        let main = network_of(container_mode);
        if let Some(settings) = endpoints.remove("default") {
            endpoints.entry("bridge".to_owned()).or_insert(settings);
        }
        // An endpoint may be named by the network's id; it is recorded by name.
        let mut planned = BTreeMap::new();
        for (term, settings) in endpoints {
            let found = self.find(&term).ok();
            check_settings(found.as_deref(), &term, &settings)?;
            planned.insert(found.map_or(term, |record| record.name.clone()), settings);
        }
        let main = self.find(main).map_or_else(|_| main.to_owned(), |record| record.name.clone());
        if planned.keys().any(|name| *name != main) {
            match mode(&main) {
                Mode::Host => {
                    return Err(Error::Mode(
                        "container cannot be connected to host network and other networks",
                    ));
                }
                Mode::None => {
                    return Err(Error::Mode(
                        "container cannot be connected to multiple networks with one of the networks in private (none) mode",
                    ));
                }
                Mode::Bridged => {}
            }
        }
        planned.entry(main).or_default();
        Ok(planned)
    }

    fn join_host(&self, container: &NetworkedContainer) -> Result<Attached, Error> {
        let record = self.find("host")?;
        let attached = Attached {
            netns: None,
            sandbox_id: sandbox_id(&container.id),
            endpoints: lone_endpoint(&record, container),
            ports: PortMap::new(),
            hosts: self.host_hosts(container)?,
            resolv_conf: self.resolv_conf(container, ResolvMode::Host)?,
        };
        self.note(container, &record, None);
        Ok(attached)
    }

    fn join_none(&self, container: &NetworkedContainer) -> Result<Attached, Error> {
        let record = self.find("none")?;
        let sandbox = self.network.sandbox(&container.id)?;
        let attached = Attached {
            netns: Some(sandbox.path().to_owned()),
            sandbox_id: sandbox_id(&container.id),
            endpoints: lone_endpoint(&record, container),
            ports: ports::shown(&[], &container.exposed, &PortMap::new()),
            hosts: hosts(&container.hostname, &container.domainname, &[], &self.extra_hosts(container)?),
            resolv_conf: self.resolv_conf(container, ResolvMode::Filtered)?,
        };
        self.note(container, &record, None);
        Ok(attached)
    }

    fn join_networks(&self, container: &NetworkedContainer) -> Result<Attached, Error> {
        let wanted = ports::wanted(&container.bindings, &container.exposed, container.publish_all)?;
        let mut networks = Vec::new();
        for (name, settings) in &container.endpoints {
            networks.push((self.usable(name, settings)?, settings));
        }
        let sandbox = self.network.sandbox(&container.id)?;
        let embedded = networks.iter().any(|(record, _)| record.name != "bridge");
        self.network.set_dns(&sandbox, DnsConfig { servers: self.servers(container)? });

        // The main network first: its interface is eth0.
        let main = network_of(&container.mode).to_owned();
        networks.sort_by_key(|(record, _)| record.name != main && record.id != main);
        let mut endpoints = BTreeMap::new();
        let mut made: Vec<(Arc<Record>, Endpoint)> = Vec::new();
        for (record, settings) in networks {
            let endpoint = self.join(&sandbox, container, &record, settings)?;
            endpoints.insert(record.name.clone(), shown(&record, container, settings, &endpoint));
            made.push((record, endpoint));
        }
        let bound = match gateway_endpoint(&made) {
            Some(endpoint) if !wanted.is_empty() => self.network.publish(endpoint, &wanted)?,
            _ => Vec::new(),
        };
        let own: Vec<IpAddr> = made.iter().flat_map(|(_, endpoint)| addresses(endpoint)).collect();
        for (record, endpoint) in made {
            self.note(container, &record, Some(endpoint));
        }
        let resolv = if embedded { ResolvMode::Embedded } else { ResolvMode::Filtered };
        Ok(Attached {
            netns: Some(sandbox.path().to_owned()),
            sandbox_id: sandbox_id(&container.id),
            endpoints,
            ports: ports::shown(&bound, &container.exposed, &container.bindings),
            hosts: hosts(&container.hostname, &container.domainname, &own, &self.extra_hosts(container)?),
            resolv_conf: self.resolv_conf(container, resolv)?,
        })
    }

    /// The network, if endpoints can be made on it with these settings.
    fn usable(&self, term: &str, settings: &EndpointSettings) -> Result<Arc<Record>, Error> {
        let record = self.find(term)?;
        if record.config_only {
            return Err(Error::ConfigOnly);
        }
        check_settings(Some(&record), &record.name, settings)?;
        Ok(record)
    }

    fn join(
        &self,
        sandbox: &Sandbox,
        container: &NetworkedContainer,
        record: &Record,
        settings: &EndpointSettings,
    ) -> Result<Endpoint, Error> {
        let ipam = settings.ipam_config.clone().unwrap_or_default();
        let mut aliases = settings.aliases.clone().unwrap_or_default();
        aliases.push(container.hostname.clone());
        let config = EndpointConfig {
            id: None,
            name: container.name.clone(),
            aliases: unique(aliases),
            ip: parse(&ipam.ipv4_address),
            ip6: parse(&ipam.ipv6_address),
            mac: Some(settings.mac_address.clone()).filter(|mac| !mac.is_empty()),
            gateway_priority: i32::try_from(settings.gw_priority).unwrap_or(0),
        };
        Ok(self.network.attach(sandbox, &record.id, &config)?)
    }

    fn restore_container(&self, container: &NetworkedContainer, ports: &PortMap) -> Result<(), Error> {
        let lone = match mode(&container.mode) {
            Mode::Host => Some("host"),
            Mode::None => Some("none"),
            Mode::Bridged => None,
        };
        if let Some(name) = lone {
            let record = self.find(name)?;
            if name == "none" {
                self.network.open_sandbox(&container.id)?;
            }
            self.keep_joined(container, &record, None);
            return Ok(());
        }
        let sandbox = self.network.open_sandbox(&container.id)?;
        self.network.set_dns(&sandbox, DnsConfig { servers: self.servers(container)? });
        let kept: Vec<Endpoint> = self.store.records().get(ENDPOINTS, &container.id)?.unwrap_or_default();
        let mut made = Vec::new();
        for endpoint in kept {
            let record = self.find(&endpoint.network_id)?;
            self.network.restore_endpoint(&sandbox, &endpoint)?;
            made.push((record, endpoint));
        }
        let bound = ports::bound(ports);
        if let Some(endpoint) = gateway_endpoint(&made).filter(|_| !bound.is_empty()) {
            self.network.restore_ports(endpoint, &bound)?;
        }
        for (record, endpoint) in made {
            self.keep_joined(container, &record, Some(endpoint));
        }
        Ok(())
    }

    fn connect_one(
        &self,
        container: &NetworkedContainer,
        network: &str,
        mut settings: EndpointSettings,
        running: bool,
    ) -> Result<(String, EndpointSettings), Error> {
        let record = self.usable(network, &settings)?;
        match mode(&container.mode) {
            Mode::Host => {
                return Err(Error::Mode(
                    "cannot connect container to host network - container must be created in host network mode",
                ));
            }
            Mode::None if record.name != "none" && running => {
                // Leaving `none` for a network is allowed; the sandbox is there already.
            }
            _ => {}
        }
        if record.name == "host" {
            return Err(Error::Mode(
                "cannot connect container to host network - container must be created in host network mode",
            ));
        }
        let here = self
            .joined()
            .get(&container.id)
            .is_some_and(|joined| joined.iter().any(|joined| joined.network.id == record.id));
        if here {
            return Err(Error::AlreadyConnected {
                container: container.name.clone(),
                network: record.name.clone(),
            });
        }
        settings.network_id.clone_from(&record.id);
        if !running {
            settings.dns_names = dns_names(&record, container, &settings);
            return Ok((record.name.clone(), settings));
        }
        let sandbox = self.network.open_sandbox(&container.id)?;
        let endpoint = self.join(&sandbox, container, &record, &settings)?;
        let settings = shown(&record, container, &settings, &endpoint);
        self.note(container, &record, Some(endpoint));
        Ok((record.name.clone(), settings))
    }

    fn disconnect_one(
        &self,
        container: &NetworkedContainer,
        network: &str,
        running: bool,
        force: bool,
    ) -> Result<String, Error> {
        let record = match self.find(network) {
            Ok(record) => record,
            Err(_) if force => return Ok(network.to_owned()),
            Err(error) => return Err(error),
        };
        if record.name == "host" && matches!(mode(&container.mode), Mode::Host) {
            return Err(Error::Mode(
                "container cannot be disconnected from host network or connected to host network",
            ));
        }
        if !container.endpoints.contains_key(&record.name) && !force {
            return Err(Error::NotConnected {
                container: container.id.clone(),
                network: record.name.clone(),
            });
        }
        if running {
            let left = self.joined().get_mut(&container.id).and_then(|joined| {
                let at = joined.iter().position(|joined| joined.network.id == record.id)?;
                Some(joined.remove(at))
            });
            if let Some(endpoint) = left.and_then(|joined| joined.endpoint) {
                self.network.detach(&endpoint)?;
            }
            self.remember(&container.id);
            self.announce("disconnect", &record, Some(&container.id));
        }
        Ok(record.name.clone())
    }

    fn note(&self, container: &NetworkedContainer, record: &Arc<Record>, endpoint: Option<Endpoint>) {
        self.keep_joined(container, record, endpoint);
        self.remember(&container.id);
        self.announce("connect", record, Some(&container.id));
    }

    fn keep_joined(&self, container: &NetworkedContainer, record: &Arc<Record>, endpoint: Option<Endpoint>) {
        let joined = Joined { network: Arc::clone(record), endpoint };
        self.joined().entry(container.id.clone()).or_default().push(joined);
    }

    /// Writes down a running container's endpoints for the next daemon. A power cut ends the container
    /// too, so the disk need not be waited for.
    fn remember(&self, container: &str) {
        let endpoints: Vec<Endpoint> = self
            .joined()
            .get(container)
            .map(|joined| joined.iter().filter_map(|joined| joined.endpoint.clone()).collect())
            .unwrap_or_default();
        if let Err(error) = self.store.records().put_relaxed(ENDPOINTS, container, None, &endpoints) {
            tracing::error!(%error, container, "a restarted daemon will not know the container's endpoints");
        }
    }

    /// Clears away what was remembered of containers that no longer run, after all that run were restored.
    pub(crate) fn forget_others(&self) -> Result<(), Error> {
        for record in self.store.records().list::<Vec<Endpoint>>(ENDPOINTS)? {
            if !self.joined().contains_key(&record.id) {
                self.store.records().delete(ENDPOINTS, &record.id)?;
            }
        }
        Ok(())
    }

    fn servers(&self, container: &NetworkedContainer) -> Result<Vec<IpAddr>, Error> {
        if container.dns.is_empty() {
            return Ok(self.dns.servers.clone());
        }
        let parsed = container.dns.iter().map(|server| {
            server.parse().map_err(|_| Error::Address { what: "DNS server", value: server.clone() })
        });
        parsed.collect()
    }

    fn resolv_conf(&self, container: &NetworkedContainer, mode: ResolvMode) -> Result<String, Error> {
        let or =
            |own: &[String], default: &[String]| if own.is_empty() { default.to_vec() } else { own.to_vec() };
        let overrides = ResolvOverrides {
            servers: self.servers(container)?,
            search: or(&container.dns_search, &self.dns.search),
            options: or(&container.dns_options, &self.dns.options),
        };
        // A host without the file resolves nothing; containers then get Docker's fallback servers.
        let host = std::fs::read_to_string(&self.dns.resolv_conf).unwrap_or_default();
        Ok(resolv_conf(&host, mode, &overrides))
    }

    /// In host mode the host's own names count.
    fn host_hosts(&self, container: &NetworkedContainer) -> Result<String, Error> {
        let mut text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        for entry in self.extra_hosts(container)? {
            text.push_str(&format!("{}\t{}\n", entry.ip, entry.names.join(" ")));
        }
        Ok(text)
    }

    /// `--add-host` and links.
    fn extra_hosts(&self, container: &NetworkedContainer) -> Result<Vec<HostsEntry>, Error> {
        let mut entries = Vec::new();
        for extra in &container.extra_hosts {
            let invalid = || Error::Address { what: "extra host", value: extra.clone() };
            let (name, target) = extra.split_once(':').ok_or_else(invalid)?;
            let names = vec![name.to_owned()];
            if target == "host-gateway" {
                entries.extend(
                    self.host_gateways().into_iter().map(|ip| HostsEntry { ip, names: names.clone() }),
                );
                continue;
            }
            let plain = target.trim_start_matches('[').trim_end_matches(']');
            entries.push(HostsEntry { ip: plain.parse().map_err(|_| invalid())?, names });
        }
        for link in &container.links {
            let Some(ip) = link.ip.as_ref().and_then(|ip| ip.parse().ok()) else { continue };
            let names = unique(vec![link.alias.clone(), link.hostname.clone(), link.name.clone()]);
            entries.push(HostsEntry { ip, names });
        }
        Ok(entries)
    }

    fn host_gateways(&self) -> Vec<IpAddr> {
        if !self.dns.host_gateway.is_empty() {
            return self.dns.host_gateway.clone();
        }
        let bridge = self.find("bridge").ok().and_then(|record| record.state.clone());
        bridge.map(|state| state.subnets.iter().map(|subnet| subnet.gateway).collect()).unwrap_or_default()
    }
}

/// The kind of the records that say where running containers are joined.
const ENDPOINTS: &str = "endpoints";

/// The endpoint that gives the default route, and thereby the published ports.
fn gateway_endpoint(made: &[(Arc<Record>, Endpoint)]) -> Option<&Endpoint> {
    let routed = made.iter().filter(|(record, _)| !record.internal);
    let best = routed.min_by(|(a, x), (b, y)| {
        y.gateway_priority.cmp(&x.gateway_priority).then_with(|| a.name.cmp(&b.name))
    });
    best.or(made.first()).map(|(_, endpoint)| endpoint)
}

fn check_settings(record: Option<&Record>, name: &str, settings: &EndpointSettings) -> Result<(), Error> {
    let mut wrong = Vec::new();
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    if matches!(name, "bridge" | "host" | "none" | "default") {
        if !ipam.ipv4_address.is_empty() || !ipam.ipv6_address.is_empty() {
            wrong.push("user-specified IP address is supported on user-defined networks only".to_owned());
        }
        if settings.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty()) {
            wrong.push("network-scoped aliases are only supported for user-defined networks".to_owned());
        }
    }
    check_addresses(record, &ipam, &mut wrong);
    if wrong.is_empty() { Ok(()) } else { Err(Error::Endpoint(wrong)) }
}

fn check_addresses(record: Option<&Record>, ipam: &EndpointIpamConfig, wrong: &mut Vec<String>) {
    for (text, v4) in [(&ipam.ipv4_address, true), (&ipam.ipv6_address, false)] {
        if text.is_empty() {
            continue;
        }
        let address = text.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() == v4 && !ip.is_unspecified());
        let Some(address) = address else {
            wrong.push(format!("invalid {} address: {text}", if v4 { "IPv4" } else { "IPv6" }));
            continue;
        };
        let Some(state) = record.and_then(|record| record.state.as_ref()) else { continue };
        if !state.subnet(v4).is_some_and(|subnet| subnet.subnet.contains(address)) {
            wrong.push(format!("no configured subnet contains IP address {address}"));
        }
    }
}

/// An endpoint as inspect shows it.
fn shown(
    record: &Record,
    container: &NetworkedContainer,
    asked: &EndpointSettings,
    endpoint: &Endpoint,
) -> EndpointSettings {
    let text = |ip: Option<String>| ip.unwrap_or_default();
    EndpointSettings {
        ipam_config: asked.ipam_config.clone(),
        links: asked.links.clone(),
        aliases: asked.aliases.clone(),
        mac_address: endpoint.mac.clone(),
        driver_opts: asked.driver_opts.clone(),
        gw_priority: asked.gw_priority,
        network_id: record.id.clone(),
        endpoint_id: endpoint.id.clone(),
        gateway: text(endpoint.gateway.map(|ip| ip.to_string())),
        ip_address: text(endpoint.ip.map(|ip| ip.to_string())),
        ip_prefix_len: endpoint.prefix.into(),
        ipv6_gateway: text(endpoint.gateway6.map(|ip| ip.to_string())),
        global_ipv6_address: text(endpoint.ip6.map(|ip| ip.to_string())),
        global_ipv6_prefix_len: endpoint.prefix6.into(),
        dns_names: dns_names(record, container, asked),
    }
}

/// On user-defined networks: the name, the aliases, the short id, the host name.
fn dns_names(
    record: &Record,
    container: &NetworkedContainer,
    asked: &EndpointSettings,
) -> Option<Vec<String>> {
    if record.predefined() {
        return None;
    }
    let mut names = vec![container.name.clone()];
    names.extend(asked.aliases.clone().unwrap_or_default());
    names.push(short(&container.id).to_owned());
    names.push(container.hostname.clone());
    Some(unique(names))
}

fn lone_endpoint(record: &Record, container: &NetworkedContainer) -> BTreeMap<String, EndpointSettings> {
    let asked = container.endpoints.get(&record.name).cloned().unwrap_or_default();
    let id = dray_spec::Digest::sha256_of(format!("{}/{}", record.id, container.id).as_bytes());
    let settings =
        EndpointSettings { network_id: record.id.clone(), endpoint_id: id.hex().to_owned(), ..asked };
    BTreeMap::from([(record.name.clone(), settings)])
}

/// A sandbox has an id of its own, the same for each life of a container.
fn sandbox_id(container: &str) -> String {
    dray_spec::Digest::sha256_of(format!("sandbox/{container}").as_bytes()).hex().to_owned()
}

fn addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    endpoint.ip.map(IpAddr::V4).into_iter().chain(endpoint.ip6.map(IpAddr::V6)).collect()
}

fn parse<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn unique(names: Vec<String>) -> Vec<String> {
    let mut seen = Vec::new();
    for name in names {
        if !name.is_empty() && !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}
