//! The whole of a daemon's networking behind one handle.

use crate::config::{
    Bound, Config, DnsConfig, Endpoint, EndpointConfig, NetworkConfig, NetworkState, PortBinding,
};
use crate::error::Result;
use crate::sandbox::Sandbox;

/// A daemon's networking; clones share it.
#[derive(Clone, Debug)]
pub struct Network {}

#[allow(unused_variables, missing_docs)]
impl Network {
    /// Opens the networking of a daemon in the network namespace of the calling thread. Touches no packet path yet.
    pub fn open(config: Config) -> Result<Network> {
        unimplemented!()
    }

    /// The settings of the network `bridge`: the configured bridge name, `--bip` and MTU.
    pub fn default_bridge(&self, id: &str) -> NetworkConfig {
        unimplemented!()
    }

    /// Makes a bridge network.
    pub fn create(&self, config: &NetworkConfig) -> Result<NetworkState> {
        unimplemented!()
    }

    /// Makes a known network again after a restart; idempotent.
    pub fn restore(&self, state: &NetworkState) -> Result<()> {
        unimplemented!()
    }

    /// Removes a network without endpoints.
    pub fn remove(&self, id: &str) -> Result<()> {
        unimplemented!()
    }

    /// A container's network namespace with lo up, taken from the pool or made.
    pub fn sandbox(&self, container_id: &str) -> Result<Sandbox> {
        unimplemented!()
    }

    /// The namespace that an earlier daemon made for a container which still runs.
    pub fn open_sandbox(&self, container_id: &str) -> Result<Sandbox> {
        unimplemented!()
    }

    /// Takes a sandbox down with all its endpoints and published ports. No error if it is not there.
    pub fn remove_sandbox(&self, container_id: &str) -> Result<()> {
        unimplemented!()
    }

    /// A container's upstreams (`--dns`), before its first attach.
    pub fn set_dns(&self, sandbox: &Sandbox, dns: DnsConfig) {
        unimplemented!()
    }

    /// Joins a container to a network.
    pub fn attach(&self, sandbox: &Sandbox, network_id: &str, config: &EndpointConfig) -> Result<Endpoint> {
        unimplemented!()
    }

    /// Makes a known endpoint of a running container known again after a restart; idempotent.
    pub fn restore_endpoint(&self, sandbox: &Sandbox, endpoint: &Endpoint) -> Result<()> {
        unimplemented!()
    }

    /// Takes a container off a network (published ports of the endpoint go too).
    pub fn detach(&self, endpoint: &Endpoint) -> Result<()> {
        unimplemented!()
    }

    /// Changes the DNS name of a container on all its networks.
    pub fn rename(&self, container_id: &str, name: &str) {
        unimplemented!()
    }

    /// Publishes ports of a container on the host: all or none.
    pub fn publish(&self, endpoint: &Endpoint, ports: &[PortBinding]) -> Result<Vec<Bound>> {
        unimplemented!()
    }

    /// Makes published ports of a running container known again after a restart; idempotent.
    pub fn restore_ports(&self, endpoint: &Endpoint, ports: &[Bound]) -> Result<()> {
        unimplemented!()
    }

    /// Withdraws all published ports of a container.
    pub fn unpublish(&self, container_id: &str) -> Result<()> {
        unimplemented!()
    }

    /// After all that lives was restored: removes veths, namespaces, bridges and published ports of what is gone.
    pub fn restore_done(&self) -> Result<()> {
        unimplemented!()
    }

    /// What the operator should know: a host firewall that would block containers and cannot be taught.
    pub fn warnings(&self) -> Vec<String> {
        unimplemented!()
    }

    /// Stops serving. While containers run their data path stays; without any, table, rules and sysctls go.
    pub fn shutdown(&self) -> Result<()> {
        unimplemented!()
    }

    /// Stops serving and removes everything that was made: bridges, table, rules, sysctls.
    pub fn purge(&self) -> Result<()> {
        unimplemented!()
    }
}
