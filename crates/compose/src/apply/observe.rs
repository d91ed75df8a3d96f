//! What is there of a project: its containers, found by their labels.

use std::collections::{BTreeMap, BTreeSet};

use dray_api::Filters;
use dray_client::container::ListOptions;

use super::{Engine, Error, Result};
use crate::model::project::Project;
use crate::model::resource::{Network, Volume};
use crate::model::service::Dependency;
use crate::plan::{Seen, label};

/// Which containers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    /// Those of services and those of `run`.
    All,
    /// Those of services only.
    Services,
}

/// Containers of a project.
pub type Observed = Vec<Seen>;

impl Engine<'_> {
    /// The containers of a project, of all services or some; also those that do not run, if asked for.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn containers(
        &self,
        project: &str,
        include: Include,
        all: bool,
        services: &[String],
    ) -> Result<Observed> {
        let mut filters = Filters::default();
        filters.add("label", format!("{}={project}", label::PROJECT));
        filters.add("label", label::CONFIG_HASH);
        if include == Include::Services {
            filters.add("label", format!("{}=False", label::ONE_OFF));
        }
        if let [service] = services {
            filters.add("label", format!("{}={service}", label::SERVICE));
        }
        let listed =
            self.client.container_list(&ListOptions { all, filters, ..ListOptions::default() }).await?;
        let mut seen: Observed = listed.into_iter().map(|summary| Seen { summary }).collect();
        seen.retain(|c| services.is_empty() || services.iter().any(|s| s == c.service()));
        seen.sort_by(|a, b| (a.service(), a.number(), a.name()).cmp(&(b.service(), b.number(), b.name())));
        Ok(seen)
    }

    /// One container of a service: the one of this number, or the first.
    ///
    /// # Errors
    /// There is none.
    pub async fn container(&self, project: &str, service: &str, index: u32, all: bool) -> Result<Seen> {
        let mut seen = self.containers(project, Include::All, all, &[service.to_owned()]).await?;
        seen.sort_by_key(|c| (c.is_one_off(), c.number()));
        let found = seen.into_iter().find(|c| index == 0 || (c.number() == index && !c.is_one_off()));
        found.ok_or_else(|| Error::NotRunning { service: service.to_owned(), index })
    }

    /// A project made of what is there, for commands without files.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn project_of(&self, name: &str) -> Result<Project> {
        let seen = self.containers(name, Include::Services, true, &[]).await?;
        let mut project = Project { name: name.to_owned(), ..Project::default() };
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for container in &seen {
            *counts.entry(container.service().to_owned()).or_default() += 1;
            let service = project.services.entry(container.service().to_owned()).or_default();
            service.image.clone_from(&container.summary.image);
            service.depends_on.extend(dependencies(container.label(label::DEPENDS_ON)));
        }
        let known: BTreeSet<String> = project.services.keys().cloned().collect();
        for (name, service) in &mut project.services {
            service.scale = counts.get(name).copied();
            service.depends_on.retain(|other, _| known.contains(other));
        }
        let mut filters = Filters::default();
        filters.add("label", format!("{}={name}", label::PROJECT));
        for network in self.client.network_list(&filters).await? {
            let key = network.labels.get(label::NETWORK).cloned().unwrap_or_else(|| network.name.clone());
            project.networks.insert(key, Network { name: network.name, ..Network::default() });
        }
        for volume in self.client.volume_list(&filters).await?.volumes {
            let labels = volume.labels.unwrap_or_default();
            let key = labels.get(label::VOLUME).cloned().unwrap_or_else(|| volume.name.clone());
            project.volumes.insert(key, Volume { name: volume.name, ..Volume::default() });
        }
        Ok(project)
    }
}

/// `db:service_healthy:false,cache:service_started:true`
fn dependencies(label: &str) -> BTreeMap<String, Dependency> {
    let one = |text: &str| {
        let mut parts = text.split(':');
        let name = parts.next().filter(|n| !n.is_empty())?;
        let condition = parts.next().unwrap_or("service_started").to_owned();
        let restart = parts.next() == Some("true");
        Some((name.to_owned(), Dependency { condition, restart, ..Dependency::default() }))
    };
    label.split(',').filter_map(one).collect()
}
