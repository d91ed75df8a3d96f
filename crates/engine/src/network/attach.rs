//! Containers joined to networks: what the container service asks of this one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use dray_api::container::PortMap;
use dray_api::network::EndpointSettings;
use dray_network::dns::{ResolvMode, hosts};
use dray_network::{Endpoint, EndpointConfig, Readiness, Sandbox, VirtualService};

use super::endpoint::{
    IFNAME, addresses, check_settings, dns_names, driver_opt, gateway_endpoint, lone_endpoint, parse, shown,
    split_link, sysctls, unique,
};
use super::record::{PREDEFINED, Record};
use super::{Error, Joined, Service, ports, short};
use crate::ServiceError;
use crate::container::{Attached, ContainerNetworking, NetworkedContainer, share};

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

    fn know(&self, container: &NetworkedContainer) {
        if let Mode::Bridged = mode(&container.mode) {
            self.network.keep_names(&container.id, &names_by_network(container));
        }
    }

    fn forget(&self, id: &str) {
        self.network.forget_names(id);
    }

    fn republish(
        &self,
        container: &NetworkedContainer,
        now: &PortMap,
        add: &PortMap,
        remove: &PortMap,
    ) -> Result<PortMap, ServiceError> {
        Ok(self.republish_ports(container, now, add, remove)?)
    }

    fn set_readiness(&self, id: &str, readiness: Readiness) {
        if let Err(error) = self.network.set_readiness(id, readiness) {
            tracing::warn!(%error, container = id, "deal out a shared port anew");
        }
    }

    fn ready_when_listening(&self, id: &str) {
        self.network.ready_when_listening(id);
    }

    fn shared_connections(&self, id: &str) -> Option<usize> {
        self.network.shared_connections(id).unwrap_or_else(|error| {
            tracing::warn!(%error, container = id, "count the connections of a shared port");
            None
        })
    }

    fn connections(&self, id: &str) -> Option<usize> {
        self.network.connections(id).unwrap_or_else(|error| {
            tracing::warn!(%error, container = id, "count a container's connections");
            None
        })
    }

    fn rename(&self, container: &NetworkedContainer) -> Result<(), ServiceError> {
        self.network.rename(&container.id, &container.name);
        if let Some(joined) = self.joined().get_mut(&container.id) {
            for joined in joined.iter_mut() {
                joined.name.clone_from(&container.name);
                if let Some(endpoint) = &mut joined.endpoint {
                    endpoint.name.clone_from(&container.name);
                }
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
        let (mut planned, mut wrong) = (BTreeMap::new(), Vec::new());
        for (term, settings) in endpoints {
            let found = self.find(&term).ok();
            if let Err(error) = check_settings(found.as_deref(), &term, &settings) {
                wrong.push(format!("invalid config for network {term}: {error}"));
            }
            planned.insert(found.map_or(term, |record| record.name.clone()), settings);
        }
        if !wrong.is_empty() {
            return Err(Error::Endpoints(wrong));
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
        self.network.set_dns(&sandbox, self.dns_config(container)?);
        self.share(container);

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

    fn share(&self, container: &NetworkedContainer) {
        let group = share::group(&container.labels);
        if group.is_some() || share::service(&container.labels).is_some() {
            self.network.share(&container.id, group, Readiness::Starting);
        }
    }

    /// The service behind whose address a container is on a network. The names that only it has are not the service's.
    fn service(
        &self,
        container: &NetworkedContainer,
        record: &Record,
        aliases: &[String],
    ) -> Option<VirtualService> {
        let name = share::service(&container.labels).filter(|_| record.name != "bridge")?;
        let own = [&container.name, &container.hostname, &name];
        let names = aliases.iter().filter(|alias| !own.contains(alias)).cloned().collect();
        Some(VirtualService { name, names, ..VirtualService::default() })
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
            service: self.service(container, record, &aliases),
            aliases: unique(aliases),
            ip: parse(&ipam.ipv4_address),
            ip6: parse(&ipam.ipv6_address),
            mac: Some(settings.mac_address.clone()).filter(|mac| !mac.is_empty()),
            gateway_priority: i32::try_from(settings.gw_priority).unwrap_or(0),
            links: settings.links.iter().flatten().map(|link| split_link(link)).collect(),
            link_local: ipam.link_local_ips.iter().flatten().filter_map(|ip| parse(ip)).collect(),
            interface: driver_opt(settings, IFNAME).map(str::to_owned),
            sysctls: sysctls(settings).map_err(|wrong| Error::Endpoint(vec![wrong]))?,
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
        self.network.set_dns(&sandbox, self.dns_config(container)?);
        self.share(container);
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

    fn republish_ports(
        &self,
        container: &NetworkedContainer,
        now: &PortMap,
        add: &PortMap,
        remove: &PortMap,
    ) -> Result<PortMap, Error> {
        let wanted = ports::wanted(add, &Default::default(), false)?;
        let made: Vec<(Arc<Record>, Endpoint)> = self
            .joined()
            .get(&container.id)
            .into_iter()
            .flatten()
            .filter_map(|joined| Some((Arc::clone(&joined.network), joined.endpoint.clone()?)))
            .collect();
        let endpoint = gateway_endpoint(&made).ok_or(Error::NoPorts)?;
        let gone = ports::bound(remove);
        // What goes is held until what comes is there, unless that wants the same port of the host.
        let new = if gone.iter().any(|bound| wanted.iter().any(|wanted| ports::may_take(wanted, bound))) {
            self.network.withdraw(&container.id, &gone)?;
            self.network.publish(endpoint, &wanted).inspect_err(|_| {
                if let Err(error) = self.network.restore_ports(endpoint, &gone) {
                    tracing::error!(%error, container = container.id, "publish a port again");
                }
            })?
        } else {
            let new = self.network.publish(endpoint, &wanted)?;
            self.network.withdraw(&container.id, &gone)?;
            new
        };
        let kept = ports::bound(now).into_iter().filter(|bound| !gone.contains(bound));
        let bound: Vec<_> = kept.chain(new).collect();
        Ok(ports::shown(&bound, &container.exposed, &container.bindings))
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
        let mut known = container.clone();
        known.endpoints.insert(record.name.clone(), settings.clone());
        self.know(&known);
        if !running {
            settings.dns_names = dns_names(&record, container, &settings);
            return Ok((record.name.clone(), settings));
        }
        let sandbox = self.network.open_sandbox(&container.id)?;
        let endpoint = self.join(&sandbox, container, &record, &settings)?;
        let settings = shown(&record, container, &settings, &endpoint);
        self.tell_container(container, &record, &endpoint)?;
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
                self.untell_container(container, &endpoint)?;
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
        let joined = Joined { network: Arc::clone(record), name: container.name.clone(), endpoint };
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
}

/// All that a container goes by, on each network that has names.
fn names_by_network(container: &NetworkedContainer) -> Vec<(String, Vec<String>)> {
    let named = container.endpoints.iter().filter(|(network, _)| !PREDEFINED.contains(&network.as_str()));
    let names = |settings: &EndpointSettings| {
        let own = [container.name.clone(), container.hostname.clone(), short(&container.id).to_owned()];
        own.into_iter().chain(settings.aliases.clone().unwrap_or_default()).collect()
    };
    named.map(|(network, settings)| (network.clone(), names(settings))).collect()
}

/// The kind of the records that say where running containers are joined.
const ENDPOINTS: &str = "endpoints";

/// A sandbox has an id of its own, the same for each life of a container.
fn sandbox_id(container: &str) -> String {
    dray_spec::Digest::sha256_of(format!("sandbox/{container}").as_bytes()).hex().to_owned()
}
