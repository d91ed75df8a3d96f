//! Changing a container that exists: name, limits, restart policy, terminal, networks.

use std::sync::Arc;

use dray_api::container::{ContainerUpdateRequest, ContainerUpdateResponse, Resources};
use dray_api::network::EndpointSettings;

use super::live::Container;
use super::service::Service;
use super::{Error, spec, validate};

impl Service {
    /// Gives a container another name.
    ///
    /// # Errors
    /// For a name that cannot be, is its own, or is taken.
    pub async fn rename(self: &Arc<Self>, called: &str, name: &str) -> Result<(), Error> {
        let (called, name) = (called.trim().to_owned(), name.trim().to_owned());
        if called.trim_start_matches('/').is_empty() || name.trim_start_matches('/').is_empty() {
            return Err(Error::EmptyName);
        }
        let container = self.registry.find(&called)?;
        self.blocking(move |service| service.rename_now(&container, &name)).await
    }

    fn rename_now(&self, container: &Arc<Container>, name: &str) -> Result<(), Error> {
        let _order = container.lifecycle.blocking_lock();
        let old = container.record();
        if old.name == name.trim_start_matches('/') {
            return Err(Error::SameName);
        }
        let name = self.registry.reserve(Some(name), &old.id)?;
        let renamed = super::record::Record { name: name.clone(), ..old.clone() };
        let told = match renamed.state.running && !renamed.state.restarting {
            true => self.networking.rename(&self.networked(&renamed)).map_err(Error::from),
            false => Ok(()),
        };
        told.and_then(|()| self.amend(container, |record| record.name.clone_from(&name)))
            .inspect_err(|_| self.registry.release(&name, &old.id))?;
        self.networking.know(&self.networked(&renamed));
        self.registry.release(&old.name, &old.id);
        self.announce(container, "rename", &[("oldName", format!("/{}", old.name))]);
        Ok(())
    }

    /// Changes limits and restart policy.
    ///
    /// # Errors
    /// For limits that cannot be, or that the kernel refuses; nothing is changed then.
    pub async fn update(
        self: &Arc<Self>,
        called: &str,
        request: ContainerUpdateRequest,
    ) -> Result<ContainerUpdateResponse, Error> {
        let called = called.to_owned();
        self.blocking(move |service| service.update_now(&called, request)).await
    }

    fn update_now(
        &self,
        called: &str,
        mut request: ContainerUpdateRequest,
    ) -> Result<ContainerUpdateResponse, Error> {
        // What cannot be is said before the container is looked for.
        validate::resources(&mut request.resources, &self.host, true, &mut Vec::new())?;
        validate::restart_policy(&request.restart_policy)?;
        let container = self.registry.find(called)?;
        let _order = container.lifecycle.blocking_lock();
        let mut record = container.record();
        if record.state.removing || record.state.dead {
            let reason = "container is marked for removal and cannot be \"update\"".into();
            return Err(Error::Update { id: container.id.clone(), reason });
        }
        let warnings = self.plan_limits(&container, &mut record, &mut request)?;
        self.apply_limits(&container, &request)?;
        self.amend(&container, |changed| changed.host.clone_from(&record.host))?;
        self.announce(&container, "update", &[]);
        Ok(ContainerUpdateResponse { warnings: Some(warnings) })
    }

    /// Changes limits and restart policy of the record, and leaves in the request what this host can do; gives warnings.
    /// The caller holds the container's order, applies the limits and writes the record.
    pub(super) fn plan_limits(
        &self,
        container: &Container,
        record: &mut super::record::Record,
        request: &mut ContainerUpdateRequest,
    ) -> Result<Vec<String>, Error> {
        let mut warnings = Vec::new();
        validate::resources(&mut request.resources, &self.host, true, &mut warnings)?;
        validate::restart_policy(&request.restart_policy)?;
        let refuse = |reason: String| Error::Update { id: container.id.clone(), reason };
        change_limits(&mut record.host.resources, &request.resources)
            .map_err(|reason| refuse(reason.into()))?;
        if !request.restart_policy.name.is_empty() {
            if record.host.auto_remove && request.restart_policy.name != "no" {
                return Err(refuse(
                    "Restart policy cannot be updated because AutoRemove is enabled for the container".into(),
                ));
            }
            record.host.restart_policy.clone_from(&request.restart_policy);
        }
        Ok(warnings)
    }

    /// Gives a container that runs the limits of a request.
    pub(super) fn apply_limits(
        &self,
        container: &Container,
        request: &ContainerUpdateRequest,
    ) -> Result<(), Error> {
        if container.is_up() {
            let limits = spec::resources(&request.resources)?;
            let refuse = |reason| Error::Update { id: container.id.clone(), reason };
            self.shim(container)?.update(&limits).map_err(|error| refuse(error.to_string()))?;
        }
        Ok(())
    }

    /// Changes the size of a container's terminal.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn resize(self: &Arc<Self>, called: &str, height: u16, width: u16) -> Result<(), Error> {
        let container = self.registry.find(called)?;
        self.blocking(move |service| {
            service.shim(&container)?.resize(None, height, width)?;
            let size = [("height", height.to_string()), ("width", width.to_string())];
            service.announce(&container, "resize", &size);
            Ok(())
        })
        .await
    }

    /// Joins a container to a network.
    ///
    /// # Errors
    /// When the network refuses, or the container shares another's network.
    pub async fn connect_network(
        self: &Arc<Self>,
        called: &str,
        network: &str,
        settings: EndpointSettings,
    ) -> Result<(), Error> {
        let (container, network) = (self.registry.find(called)?, network.to_owned());
        self.blocking(move |service| {
            let _order = container.lifecycle.blocking_lock();
            let mut record = container.record();
            if record.state.removing || record.state.dead {
                return Err(Error::MarkedForRemoval);
            }
            let networked = service.networked(&record);
            let (name, endpoint) =
                service.networking.connect(&networked, &network, settings, container.is_up())?;
            record.endpoints.insert(name, endpoint);
            service.amend(&container, |changed| changed.endpoints.clone_from(&record.endpoints))
        })
        .await
    }

    /// Takes a container from a network.
    ///
    /// # Errors
    /// When it is not on it (unless `force`).
    pub async fn disconnect_network(
        self: &Arc<Self>,
        called: &str,
        network: &str,
        force: bool,
    ) -> Result<(), Error> {
        let (container, network) = (self.registry.find(called)?, network.to_owned());
        self.blocking(move |service| {
            let _order = container.lifecycle.blocking_lock();
            let mut record = container.record();
            let networked = service.networked(&record);
            let name = service.networking.disconnect(&networked, &network, container.is_up(), force)?;
            record.endpoints.remove(&name);
            service.amend(&container, |changed| changed.endpoints.clone_from(&record.endpoints))
        })
        .await
    }
}

/// Puts the limits that are given over those there are.
fn change_limits(limits: &mut Resources, given: &Resources) -> Result<(), &'static str> {
    let number = |old: &mut i64, new: i64| {
        if new != 0 {
            *old = new;
        }
    };
    if given.nano_cpus > 0 && (limits.cpu_period > 0 || limits.cpu_quota > 0) {
        return Err(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period or Quota has already been set",
        );
    }
    if (given.cpu_period > 0 || given.cpu_quota > 0) && limits.nano_cpus > 0 {
        return Err(
            "Conflicting options: CPU Period or Quota cannot be updated as NanoCPUs has already been set",
        );
    }
    if given.memory != 0 {
        // A limit above memory and swap together cannot be set without changing that as well.
        if given.memory_swap == 0 && limits.memory_swap > 0 && given.memory > limits.memory_swap {
            return Err(
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
            );
        }
        limits.memory = given.memory;
    }
    if given.blkio_weight != 0 {
        limits.blkio_weight = given.blkio_weight;
    }
    number(&mut limits.cpu_shares, given.cpu_shares);
    number(&mut limits.nano_cpus, given.nano_cpus);
    number(&mut limits.cpu_period, given.cpu_period);
    number(&mut limits.cpu_quota, given.cpu_quota);
    number(&mut limits.memory_swap, given.memory_swap);
    number(&mut limits.memory_reservation, given.memory_reservation);
    for (old, new) in
        [(&mut limits.cpuset_cpus, &given.cpuset_cpus), (&mut limits.cpuset_mems, &given.cpuset_mems)]
    {
        if !new.is_empty() {
            old.clone_from(new);
        }
    }
    if given.pids_limit.is_some() {
        limits.pids_limit = given.pids_limit;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_changes() {
        let mut limits =
            Resources { memory: 64 << 20, memory_swap: 128 << 20, cpu_shares: 5, ..Resources::default() };
        change_limits(&mut limits, &Resources { memory: 100 << 20, ..Resources::default() }).unwrap();
        assert_eq!((limits.memory, limits.memory_swap, limits.cpu_shares), (100 << 20, 128 << 20, 5));
        let more = Resources { memory: 200 << 20, ..Resources::default() };
        assert!(change_limits(&mut limits, &more).unwrap_err().contains("memoryswap"));
        let cpus = Resources { nano_cpus: 1, ..Resources::default() };
        change_limits(&mut limits, &cpus).unwrap();
        assert!(change_limits(&mut limits, &Resources { cpu_quota: 5000, ..Resources::default() }).is_err());
    }
}
