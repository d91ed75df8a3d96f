//! Making networks: the predefined ones at start, and those that users ask for.

use std::net::IpAddr;
use std::sync::Arc;

use dray_api::Labels;
use dray_api::network::{Ipam, NetworkCreateRequest, NetworkCreateResponse};
use dray_network::{Driver, NetworkConfig, SubnetConfig, SubnetState};
use jiff::Timestamp;

use super::record::{KIND, PREDEFINED, Record};
use super::{Error, Service, ipam};
use crate::container::names;
use crate::timestamp;

const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";

impl Service {
    /// Makes a network.
    ///
    /// # Errors
    /// If the name is taken or reserved, the settings contradict each other, or the host refuses.
    pub fn create(&self, request: NetworkCreateRequest) -> Result<NetworkCreateResponse, Error> {
        if PREDEFINED.contains(&request.name.as_str()) || request.name == "default" {
            return Err(Error::Predefined(request.name));
        }
        if request.name.trim().is_empty() {
            return Err(Error::EmptyName);
        }
        let _making = self.making();
        if self.all().iter().any(|record| record.name == request.name) {
            return Err(Error::NameInUse(request.name));
        }
        let mut record = self.planned(request)?;
        if !record.config_only {
            record.state = Some(self.network.create(&config_of(&record)?)?);
        }
        let id = record.id.clone();
        if let Err(error) = self.keep(record) {
            let _ = self.network.remove(&id);
            return Err(error);
        }
        let record = self.find(&id)?;
        self.announce("create", &record, None);
        Ok(NetworkCreateResponse { id, warning: String::new() })
    }

    /// The record of a request, before anything is made.
    fn planned(&self, mut request: NetworkCreateRequest) -> Result<Record, Error> {
        let from = request.config_from.take().map(|from| from.network).unwrap_or_default();
        if !from.is_empty() {
            self.take_config(&from, &mut request)?;
        }
        let driver = match request.driver.as_str() {
            "" => "bridge",
            known @ ("bridge" | "macvlan" | "ipvlan") => known,
            "host" | "null" => return Err(Error::OnlyOne(request.driver)),
            "overlay" => return Err(Error::NoSwarm),
            other => return Err(Error::UnknownDriver(other.to_owned())),
        };
        let driver = if request.config_only { "null" } else { driver }.to_owned();
        if request.ingress || !matches!(request.scope.as_str(), "" | "local") {
            return Err(Error::NoSwarm);
        }
        let mut options = request.options.unwrap_or_default();
        for (key, value) in self.network.default_options(&driver) {
            options.entry(key).or_insert(value);
        }
        let by_option = options.get(ENABLE_IPV6).is_some_and(|value| value == "true" || value == "1");
        let enable_ipv6 = request.enable_ipv6.unwrap_or(by_option);
        let ipam = request.ipam.unwrap_or_default();
        if !matches!(ipam.driver.as_str(), "" | "default") {
            return Err(Error::IpamDriver(ipam.driver));
        }
        ipam::subnets(ipam.config.as_deref().unwrap_or_default(), enable_ipv6)?;
        Ok(Record {
            id: names::new_id(),
            name: request.name,
            created: timestamp::rfc3339(Timestamp::now()),
            driver,
            enable_ipv4: request.enable_ipv4.unwrap_or(true),
            enable_ipv6,
            ipam,
            internal: request.internal,
            attachable: request.attachable,
            config_only: request.config_only,
            config_from: from,
            options,
            labels: request.labels.unwrap_or_default(),
            state: None,
        })
    }

    /// Takes over the settings of a configuration-only network.
    fn take_config(&self, from: &str, request: &mut NetworkCreateRequest) -> Result<(), Error> {
        let config = self.all().into_iter().find(|record| record.name == from && record.config_only);
        let config = config.ok_or_else(|| Error::NoConfig(from.to_owned()))?;
        let has = |ipam: &Ipam| ipam.config.as_ref().is_some_and(|c| !c.is_empty());
        if request.ipam.as_ref().is_some_and(has) || request.config_only {
            return Err(Error::ConfigWithFrom);
        }
        request.ipam = Some(config.ipam.clone());
        request.options = Some(config.options.clone());
        request.enable_ipv6 = Some(config.enable_ipv6);
        request.internal = config.internal;
        let mut labels = config.labels.clone();
        labels.extend(request.labels.take().unwrap_or_default());
        request.labels = Some(labels);
        Ok(())
    }

    fn keep(&self, record: Record) -> Result<(), Error> {
        self.store.records().put(KIND, &record.id, Some(&record.name), &record)?;
        self.networks_mut().insert(record.id.clone(), Arc::new(record));
        Ok(())
    }

    /// Brings back what a reboot took. A network that cannot come back stays known, so that it can be
    /// removed; containers on it fail to start with the reason.
    pub(super) fn restore_networks(&self) {
        for record in self.all().iter().filter(|record| record.name != "bridge") {
            if let Some(state) = &record.state
                && let Err(error) = self.network.restore(state)
            {
                tracing::error!(%error, network = record.name, "cannot restore the network");
            }
        }
    }

    pub(super) fn make_predefined(&self) -> Result<(), Error> {
        for (name, driver) in [("host", "host"), ("none", "null")] {
            if self.find(name).is_err() {
                self.keep(predefined(name, driver))?;
            }
        }
        self.make_default_bridge()
    }

    /// The default bridge follows the flags: when they changed, it is made anew under its old id.
    fn make_default_bridge(&self) -> Result<(), Error> {
        let known = self.find("bridge").ok();
        let mut record = known.as_deref().cloned().unwrap_or_else(|| predefined("bridge", "bridge"));
        let config = self.network.default_bridge(&record.id);
        if let Some(state) = record.state.as_ref().filter(|state| still_wanted(state, &config)) {
            match self.network.restore(state) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "the default bridge cannot be restored; it is made anew")
                }
            }
        }
        let state = self.network.create(&config)?;
        record.enable_ipv6 = config.ipv6;
        record.options = default_options(&state);
        record.state = Some(state);
        self.keep(record)
    }
}

/// Whether the default bridge is still as the flags say.
fn still_wanted(state: &dray_network::NetworkState, config: &NetworkConfig) -> bool {
    let is_v4 = |wanted: &SubnetConfig| {
        let named = wanted.aux.values().next().map(IpAddr::is_ipv4);
        wanted.subnet.map(|subnet| subnet.is_ipv4()).or(named).unwrap_or(true)
    };
    let subnet_stays = |wanted: &SubnetConfig| {
        state.subnet(is_v4(wanted)).is_some_and(|have| {
            wanted.subnet.is_none_or(|subnet| have.subnet == subnet && have.ip_range == wanted.ip_range)
                && wanted.gateway.is_none_or(|gateway| have.gateway == Some(gateway))
        })
    };
    let aux_stays = |have: &SubnetState| {
        let wanted = config.subnets.iter().find(|wanted| is_v4(wanted) == have.subnet.is_ipv4());
        wanted.map_or(have.aux.is_empty(), |wanted| wanted.aux == have.aux)
    };
    let option = |key: &str| config.options.get(&format!("com.docker.network.bridge.{key}"));
    let switch = |key: &str, have: bool| option(key).is_none_or(|value| *value == have.to_string());
    config.subnets.iter().all(subnet_stays)
        && state.subnets.iter().all(aux_stays)
        && config.ipv6 == state.subnet(false).is_some()
        && option("name").is_none_or(|name| *name == state.bridge)
        && switch("enable_icc", state.icc)
        && switch("enable_ip_masquerade", state.masquerade)
        && option("host_binding_ipv4").and_then(|ip| ip.parse().ok()) == state.host_binding
}

fn predefined(name: &str, driver: &str) -> Record {
    Record {
        id: names::new_id(),
        name: name.to_owned(),
        created: timestamp::rfc3339(Timestamp::now()),
        driver: driver.to_owned(),
        enable_ipv4: true,
        enable_ipv6: false,
        ipam: Ipam { driver: "default".to_owned(), options: None, config: None },
        internal: false,
        attachable: false,
        config_only: false,
        config_from: String::new(),
        options: Labels::new(),
        labels: Labels::new(),
        state: None,
    }
}

/// What `docker network inspect bridge` shows as options.
fn default_options(state: &dray_network::NetworkState) -> Labels {
    let option = |key: &str, value: String| (format!("com.docker.network.{key}"), value);
    let mtu = state.mtu.unwrap_or(1500);
    let binding = state.host_binding.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
    [
        option("bridge.default_bridge", "true".to_owned()),
        option("bridge.enable_icc", state.icc.to_string()),
        option("bridge.enable_ip_masquerade", state.masquerade.to_string()),
        option("bridge.host_binding_ipv4", binding),
        option("bridge.name", state.bridge.clone()),
        option("driver.mtu", mtu.to_string()),
    ]
    .into()
}

fn config_of(record: &Record) -> Result<NetworkConfig, Error> {
    Ok(NetworkConfig {
        id: record.id.clone(),
        name: record.name.clone(),
        subnets: ipam::subnets(record.ipam.config.as_deref().unwrap_or_default(), record.enable_ipv6)?,
        internal: record.internal,
        ipv6: record.enable_ipv6,
        no_ipv4: !record.enable_ipv4,
        options: record.options.clone(),
        default_bridge: false,
        driver: Driver::from_name(&record.driver).unwrap_or_default(),
    })
}
