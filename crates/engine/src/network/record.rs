//! What is kept of a network, and how the API shows it.

use dray_api::Labels;
use dray_api::network::{ConfigReference, EndpointResource, Ipam, IpamConfig, NetworkInspect};
use dray_network::{Endpoint, NetworkState};
use serde::{Deserialize, Serialize};

/// The record's kind in the store.
pub(super) const KIND: &str = "network";

/// Names of the networks that are always there.
pub(super) const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

/// A network's document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub id: String,
    pub name: String,
    pub created: String,
    /// `bridge`, `macvlan`, `ipvlan`, `host` or `null`.
    pub driver: String,
    pub enable_ipv4: bool,
    pub enable_ipv6: bool,
    /// As asked for.
    pub ipam: Ipam,
    pub internal: bool,
    pub attachable: bool,
    pub config_only: bool,
    pub config_from: String,
    pub options: Labels,
    pub labels: Labels,
    /// What was made of it; none for `host`, `null` and configurations.
    pub state: Option<NetworkState>,
}

impl Record {
    pub fn predefined(&self) -> bool {
        PREDEFINED.contains(&self.name.as_str())
    }

    /// As list and inspect answer, without containers.
    pub fn to_wire(&self) -> NetworkInspect {
        NetworkInspect {
            name: self.name.clone(),
            id: self.id.clone(),
            created: self.created.clone(),
            scope: "local".to_owned(),
            driver: self.driver.clone(),
            enable_ipv4: self.enable_ipv4,
            enable_ipv6: self.enable_ipv6,
            ipam: self.shown_ipam(),
            internal: self.internal,
            attachable: self.attachable,
            ingress: false,
            config_from: ConfigReference { network: self.config_from.clone() },
            config_only: self.config_only,
            containers: Default::default(),
            options: self.options.clone(),
            labels: self.labels.clone(),
        }
    }

    /// What was asked for where something was, with what was chosen for the rest.
    fn shown_ipam(&self) -> Ipam {
        let driver = if self.ipam.driver.is_empty() { "default" } else { &self.ipam.driver }.to_owned();
        let Some(state) = &self.state else {
            return Ipam { driver, options: self.ipam.options.clone(), config: self.ipam.config.clone() };
        };
        let asked = self.ipam.config.clone().unwrap_or_default();
        let config = state.subnets.iter().map(|subnet| {
            let network = subnet.subnet.to_string();
            let found = asked.iter().find(|config| config.subnet == network).cloned();
            let mut shown = found.unwrap_or_else(|| IpamConfig { subnet: network, ..Default::default() });
            if let (true, Some(gateway)) = (shown.gateway.is_empty(), subnet.gateway) {
                shown.gateway = gateway.to_string();
            }
            if shown.auxiliary_addresses.is_none() && !subnet.aux.is_empty() {
                let named = subnet.aux.iter().map(|(name, address)| (name.clone(), address.to_string()));
                shown.auxiliary_addresses = Some(named.collect());
            }
            shown
        });
        Ipam { driver, options: self.ipam.options.clone(), config: Some(config.collect()) }
    }
}

/// The id of an endpoint on `host` or `none`, which has no interface.
pub(super) fn lone_endpoint_id(network: &str, container: &str) -> String {
    dray_spec::Digest::sha256_of(format!("{network}/{container}").as_bytes()).hex().to_owned()
}

/// A container on `host` or `none` in the inspected network.
pub(super) fn lone_resource(record: &Record, container: &str, name: &str) -> EndpointResource {
    EndpointResource {
        name: name.to_owned(),
        endpoint_id: lone_endpoint_id(&record.id, container),
        ..EndpointResource::default()
    }
}

/// A container in an inspected network.
pub(super) fn endpoint_resource(endpoint: &Endpoint) -> EndpointResource {
    let address = |ip: Option<String>, prefix| ip.map(|ip| format!("{ip}/{prefix}")).unwrap_or_default();
    EndpointResource {
        name: endpoint.name.clone(),
        endpoint_id: endpoint.id.clone(),
        mac_address: endpoint.mac.clone(),
        ipv4_address: address(endpoint.ip.map(|ip| ip.to_string()), endpoint.prefix),
        ipv6_address: address(endpoint.ip6.map(|ip| ip.to_string()), endpoint.prefix6),
    }
}
