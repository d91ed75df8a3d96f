//! What of containers is reachable from where, and why: as `dray network exposure` shows it.

use std::net::IpAddr;

use dray_api::Filters;
use dray_api::extension::NetworkExposure;
use dray_network::{Exposure, Reach};

use super::{Error, Service};

/// The values of the filter `from`.
const FROM: [&str; 5] = ["anyone", "input-rules", "host", "network", "parent"];

impl Service {
    /// All that can be reached, by container, then published ports first.
    ///
    /// # Errors
    /// For a filter that this list does not have, or if the host's interfaces cannot be listed.
    pub fn exposure(&self, filters: &Filters) -> Result<Vec<NetworkExposure>, Error> {
        filters.validate(&["container", "from", "network"])?;
        if let Some(wrong) = filters.get("from").find(|from| !FROM.contains(from)) {
            return Err(Error::FilterValue(format!("invalid filter 'from={wrong}': {}", FROM.join(", "))));
        }
        let mut found: Vec<NetworkExposure> = self.network.exposure()?.into_iter().map(wire).collect();
        found.extend(self.on_the_host()?);
        found.retain(|one| {
            let named = filters.exact("container", &one.container);
            (named || filters.prefix("container", &one.container_id))
                && filters.exact("network", &one.network)
                && filters.exact("from", &one.from)
        });
        let key = |one: &NetworkExposure| {
            (
                one.container.clone(),
                one.port == 0,
                one.container_port,
                one.protocol.clone(),
                one.address.clone(),
            )
        };
        found.sort_by_key(key);
        Ok(found)
    }

    /// Containers that share the host's network.
    fn on_the_host(&self) -> Result<Vec<NetworkExposure>, Error> {
        let sharing: Vec<(String, String)> = {
            let joined = self.joined();
            let on_host = joined.iter().flat_map(|(id, all)| all.iter().map(move |one| (id, one)));
            let on_host = on_host.filter(|(_, one)| one.network.name == "host");
            on_host.map(|(id, one)| (id.clone(), one.name.clone())).collect()
        };
        if sharing.is_empty() {
            return Ok(Vec::new());
        }
        let (addresses, reason) = self.network.host_exposure()?;
        let row = |(container_id, container): (String, String)| NetworkExposure {
            container,
            container_id,
            network: "host".to_owned(),
            addresses: texts(&addresses),
            from: "input-rules".to_owned(),
            reason: reason.clone(),
            ..NetworkExposure::default()
        };
        Ok(sharing.into_iter().map(row).collect())
    }
}

fn texts(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

fn wire(one: Exposure) -> NetworkExposure {
    let (from, whose) = match one.from {
        Reach::Anyone => ("anyone", String::new()),
        Reach::InputRules => ("input-rules", String::new()),
        Reach::Host => ("host", String::new()),
        Reach::Network(name) => ("network", name),
        Reach::Parent(name) => ("parent", name),
    };
    NetworkExposure {
        container: one.container,
        container_id: one.container_id,
        network: one.network,
        protocol: one.port.map(|(proto, _)| proto.as_str().to_owned()).unwrap_or_default(),
        container_port: one.port.map_or(0, |(_, port)| port.into()),
        address: one.address.to_string(),
        port: one.host_port.map_or(0, Into::into),
        addresses: texts(&one.addresses),
        from: from.to_owned(),
        from_name: whose,
        reason: one.reason,
    }
}
