//! What containers need of the network: implemented by the engine's network service.
//!
//! All calls are made on blocking threads; none may block on another container's work.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dray_api::container::PortMap;
use dray_api::network::EndpointSettings;
use dray_api::{Labels, StringSet};
use dray_network::Readiness;

use crate::ServiceError;

/// A container as the network sees it.
#[derive(Debug, Clone, Default)]
pub struct NetworkedContainer {
    /// The container's id.
    pub id: String,
    /// Its name, without the leading slash.
    pub name: String,
    /// Its host name, for `/etc/hosts`.
    pub hostname: String,
    /// Its domain name, for `/etc/hosts`.
    pub domainname: String,
    /// Its labels, for events.
    pub labels: Labels,
    /// `HostConfig.NetworkMode` as recorded: `default`, `bridge`, `host`, `none`, a network's name or
    /// id. Never `container:<id>`: such a container has no endpoints of its own.
    pub mode: String,
    /// Its endpoints by network name: as asked for before the first start, as they were afterwards.
    pub endpoints: BTreeMap<String, EndpointSettings>,
    /// `HostConfig.PortBindings`.
    pub bindings: PortMap,
    /// Ports that the image or the request exposes.
    pub exposed: StringSet,
    /// Publish all exposed ports on random host ports.
    pub publish_all: bool,
    /// `HostConfig.Dns`.
    pub dns: Vec<String>,
    /// `HostConfig.DnsSearch`.
    pub dns_search: Vec<String>,
    /// `HostConfig.DnsOptions`.
    pub dns_options: Vec<String>,
    /// `HostConfig.ExtraHosts`, `host-gateway` still in it.
    pub extra_hosts: Vec<String>,
    /// Legacy links, resolved.
    pub links: Vec<Link>,
}

/// A legacy link to another container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Id of the container linked to.
    pub id: String,
    /// Its name, without the leading slash.
    pub name: String,
    /// Its host name.
    pub hostname: String,
    /// What it is called here.
    pub alias: String,
    /// Its address on the network where both are, when it runs.
    pub ip: Option<String>,
}

/// A container joined to all its networks.
#[derive(Debug, Clone, Default)]
pub struct Attached {
    /// The network namespace to enter; none for `host`.
    pub netns: Option<PathBuf>,
    /// `NetworkSettings.SandboxID`.
    pub sandbox_id: String,
    /// The endpoints with all that was allocated, by network name.
    pub endpoints: BTreeMap<String, EndpointSettings>,
    /// `NetworkSettings.Ports`: published ports with what they were bound to, exposed ones with `None`.
    pub ports: PortMap,
    /// The text of `/etc/hosts`.
    pub hosts: String,
    /// The text of `/etc/resolv.conf`.
    pub resolv_conf: String,
}

/// The network's side of a container's life.
pub trait ContainerNetworking: Send + Sync {
    /// Checks the networks asked for at create, as far as Docker does then, and gives the endpoints
    /// to record. A network that does not exist yet is no error here; it is at start.
    ///
    /// # Errors
    /// `InvalidParameter` for settings that contradict the mode or the network.
    fn plan(
        &self,
        mode: &str,
        endpoints: BTreeMap<String, EndpointSettings>,
    ) -> Result<BTreeMap<String, EndpointSettings>, ServiceError>;

    /// Makes the sandbox, joins the container to all its networks and publishes its ports; emits the
    /// `connect` events. When it fails, nothing is left of it.
    ///
    /// # Errors
    /// `NotFound` for a network that does not exist, `Conflict` or `System` for a port or an address
    /// in use, in Docker's words.
    fn connect_all(&self, container: &NetworkedContainer) -> Result<Attached, ServiceError>;

    /// Takes all of it down again; emits the `disconnect` events. Goes on over errors and logs them;
    /// may finish in the background. Does nothing for a container that is not connected.
    fn disconnect_all(&self, container: &NetworkedContainer);

    /// Registers a container that was found running when the daemon started: its endpoints and ports
    /// exist already.
    ///
    /// # Errors
    /// When its sandbox or endpoints are gone.
    fn restore(&self, container: &NetworkedContainer, ports: &PortMap) -> Result<(), ServiceError>;

    /// Joins a container to one more network: now when `running`, else only checked. Gives the
    /// network's name and the endpoint to record; emits the `connect` event when running.
    ///
    /// # Errors
    /// When the network does not exist, or refuses the settings.
    fn connect(
        &self,
        container: &NetworkedContainer,
        network: &str,
        settings: EndpointSettings,
        running: bool,
    ) -> Result<(String, EndpointSettings), ServiceError>;

    /// Takes a container from a network and gives that network's name; emits the `disconnect` event
    /// when running.
    ///
    /// # Errors
    /// When the network does not exist (unless `force`).
    fn disconnect(
        &self,
        container: &NetworkedContainer,
        network: &str,
        running: bool,
        force: bool,
    ) -> Result<String, ServiceError>;

    /// A container exists, whether it runs or not: its names are not asked of the world. Called again when its name or
    /// its networks change.
    fn know(&self, container: &NetworkedContainer);

    /// A container exists no more.
    fn forget(&self, id: &str);

    /// Changes the published ports of a running container: `now` is what it has, `remove` what of that goes, `add` what
    /// is wanted beside it. Gives what it has then. When it fails, nothing has changed.
    ///
    /// # Errors
    /// `Conflict` for a container without a network of its own; for a port in use in Docker's words.
    fn republish(
        &self,
        container: &NetworkedContainer,
        now: &PortMap,
        add: &PortMap,
        remove: &PortMap,
    ) -> Result<PortMap, ServiceError>;

    /// Says how far a container that shares its ports is fit for new connections. Nothing for others.
    fn set_readiness(&self, id: &str, readiness: Readiness);

    /// Takes a container that shares its ports for ready as soon as its program listens.
    fn ready_when_listening(&self, id: &str);

    /// How many connections a container has by ports that it shares; none where no other container can take its place.
    fn shared_connections(&self, id: &str) -> Option<usize>;

    /// How many connections others have to a container; none for one without a network of its own.
    fn connections(&self, id: &str) -> Option<usize>;

    /// The container's name changed: names in DNS follow.
    ///
    /// # Errors
    /// When the names cannot be changed.
    fn rename(&self, container: &NetworkedContainer) -> Result<(), ServiceError>;
}
