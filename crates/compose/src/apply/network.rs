//! Networks of a project: found, made, made anew when their configuration has changed, removed.

use std::collections::BTreeMap;

use dray_api::Filters;
use dray_api::network::{
    Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest, NetworkInspect,
};
use futures_util::future::try_join_all;

use super::{Engine, Error, Include, Result, Status};
use crate::model::hash;
use crate::model::project::Project;
use crate::model::resource::Network;
use crate::plan::container::endpoint;
use crate::plan::{Seen, label};

impl Engine<'_> {
    /// Sees that all networks are there; their ids by their names in the project.
    ///
    /// # Errors
    /// An external one is missing, one belongs to something else, or the daemon refuses.
    pub async fn ensure_networks(&self, project: &Project) -> Result<BTreeMap<String, String>> {
        if project.networks.is_empty() {
            return Ok(BTreeMap::new());
        }
        let listed = self.client.network_list(&Filters::default()).await?;
        let ids = project.networks.iter().map(async |(key, network)| {
            Ok::<_, Error>((key.clone(), self.ensure_network(project, key, network, &listed).await?))
        });
        Ok(try_join_all(ids).await?.into_iter().collect())
    }

    async fn ensure_network(
        &self,
        project: &Project,
        key: &str,
        network: &Network,
        listed: &[NetworkInspect],
    ) -> Result<String> {
        let name = &network.name;
        let same: Vec<&NetworkInspect> =
            listed.iter().filter(|n| n.name == *name || (network.external && n.id == *name)).collect();
        if network.external {
            return match same.as_slice() {
                [one] => Ok(one.id.clone()),
                [] => Err(Error::NoNetwork(name.clone())),
                _ => Err(Error::ManyNetworks(name.clone())),
            };
        }
        let owner = |n: &NetworkInspect| n.labels.get(label::PROJECT).cloned();
        let ours = same.iter().find(|n| owner(n).as_ref() == Some(&project.name));
        let Some(found) = ours.or(same.first()) else {
            return self.create_network(project, key, network, &[]).await;
        };
        let said = found.labels.get(label::NETWORK).cloned().unwrap_or_default();
        match owner(found) {
            None => self.foreign(name, "by compose"),
            Some(other) if other != project.name => {
                self.foreign(name, &format!("for project {:?}", project.name))
            }
            Some(_) => {}
        }
        if said != key {
            return Err(Error::ForeignNetwork {
                name: name.clone(),
                label: label::NETWORK,
                found: said,
                wanted: key.to_owned(),
            });
        }
        let have = found.labels.get(label::CONFIG_HASH).map(String::as_str).unwrap_or_default();
        if have.is_empty() || have == hash::network(network) {
            return Ok(found.id.clone());
        }
        let connected = self.remove_diverged(project, key, network).await?;
        self.create_network(project, key, network, &connected).await
    }

    fn foreign(&self, name: &str, how: &str) {
        let text = format!(
            "a network with name {name} exists but was not created {how}.\nSet `external: true` to use an existing network"
        );
        self.tell(&format!("Network {name}"), Status::Warning, &text);
    }

    async fn create_network(
        &self,
        project: &Project,
        key: &str,
        network: &Network,
        connected: &[Seen],
    ) -> Result<String> {
        let id = format!("Network {}", network.name);
        self.tell(&id, Status::Working, "Creating");
        let made = match self.client.network_create(&request(project, key, network)).await {
            Ok(made) => made,
            Err(dray_client::Error::Api { status: 409, message }) => {
                // Another run, or the end of one that was killed, has been quicker.
                let listed = self.client.network_list(&Filters::default()).await?;
                let ours = |n: &&NetworkInspect| {
                    n.name == network.name && n.labels.get(label::PROJECT) == Some(&project.name)
                };
                let Some(found) = listed.iter().find(ours) else {
                    let source = dray_client::Error::Api { status: 409, message };
                    return Err(Error::NetworkCreate { name: network.name.clone(), source });
                };
                self.tell(&id, Status::Done, "Created");
                return Ok(found.id.clone());
            }
            Err(source) => {
                self.tell(&id, Status::Error, "Error");
                return Err(Error::NetworkCreate { name: network.name.clone(), source });
            }
        };
        self.tell(&id, Status::Done, "Created");
        for container in connected {
            let before = container.summary.network_settings.networks.as_ref();
            let links = before.and_then(|all| all.get(&network.name)?.links.clone()).unwrap_or_default();
            // By the names that it had: the others look for its service.
            let name = container.service();
            let settings = project
                .services
                .get(name)
                .map(|service| endpoint(service, key, container.name(), Some(name), links));
            let request =
                NetworkConnectRequest { container: container.summary.id.clone(), endpoint_config: settings };
            self.client.network_connect(&network.name, &request).await?;
        }
        Ok(made.id)
    }

    /// Takes a network away whose configuration has changed; the containers that were in it stop.
    async fn remove_diverged(&self, project: &Project, key: &str, network: &Network) -> Result<Vec<Seen>> {
        let users: Vec<String> = project
            .services
            .iter()
            .filter(|(_, s)| s.networks.contains_key(key))
            .map(|(n, _)| n.clone())
            .collect();
        let containers = self.containers(&project.name, Include::Services, true, &users).await?;
        self.stop_containers(&containers, None, None).await?;
        for container in &containers {
            let request = NetworkDisconnectRequest { container: container.summary.id.clone(), force: true };
            match self.client.network_disconnect(&network.name, &request).await {
                Err(e) if !e.is_not_found() => return Err(e.into()),
                _ => {}
            }
        }
        self.client
            .network_remove(&network.name)
            .await
            .map_err(|source| Error::NetworkRemove { name: network.name.clone(), source })?;
        self.tell(&format!("Network {}", network.name), Status::Done, "Removed");
        Ok(containers)
    }

    /// Removes a network of the project; one that is still used stays.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn remove_network(&self, project: &str, key: &str, name: &str) -> Result<()> {
        let mut filters = Filters::default();
        filters.add("label", format!("{}={project}", label::PROJECT));
        filters.add("label", format!("{}={key}", label::NETWORK));
        let listed = self.client.network_list(&filters).await?;
        let id = format!("Network {name}");
        for network in listed.iter().filter(|n| n.name == name) {
            self.tell(&id, Status::Working, "Removing");
            match self.client.network_remove(&network.id).await {
                Ok(()) => self.tell(&id, Status::Done, "Removed"),
                Err(e) if e.is_not_found() => self.tell(&id, Status::Warning, "No resource found to remove"),
                Err(dray_client::Error::Api { status: 403 | 409, .. }) => {
                    self.tell(&id, Status::Warning, "Resource is still in use");
                }
                Err(source) => {
                    self.tell(&id, Status::Error, "Error");
                    return Err(Error::NetworkRemove { name: name.to_owned(), source });
                }
            }
        }
        Ok(())
    }
}

fn request(project: &Project, key: &str, network: &Network) -> NetworkCreateRequest {
    let mut labels = network.labels.0.clone();
    let mut set = |name: &str, value: &str| labels.insert(name.to_owned(), value.to_owned());
    set(label::NETWORK, key);
    set(label::PROJECT, &project.name);
    set(label::VERSION, label::COMPOSE_VERSION);
    set(label::CONFIG_HASH, &hash::network(network));
    let pools: Vec<IpamConfig> = network
        .ipam
        .config
        .iter()
        .map(|pool| IpamConfig {
            subnet: pool.subnet.clone(),
            ip_range: pool.ip_range.clone(),
            gateway: pool.gateway.clone(),
            auxiliary_addresses: (!pool.aux_addresses.is_empty()).then(|| pool.aux_addresses.0.clone()),
        })
        .collect();
    let asked = !pools.is_empty() || !network.ipam.driver.is_empty();
    NetworkCreateRequest {
        name: network.name.clone(),
        driver: network.driver.clone(),
        options: Some(network.driver_opts.0.clone()),
        internal: network.internal,
        attachable: network.attachable,
        enable_ipv4: network.enable_ipv4,
        enable_ipv6: network.enable_ipv6,
        labels: Some(labels),
        ipam: asked.then(|| Ipam { driver: network.ipam.driver.clone(), options: None, config: Some(pools) }),
        ..NetworkCreateRequest::default()
    }
}
