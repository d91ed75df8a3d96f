//! What can go wrong with networks, in Docker's words.

use dray_api::filters::FilterError;

use crate::{ErrorKind, ServiceError};

/// A failed operation on a network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has this name, id or beginning of an id.
    #[error("network {0} not found")]
    NotFound(String),
    /// Several ids begin with this.
    #[error("{count} matches found based on ID prefix: network {term} is ambiguous")]
    Ambiguous {
        /// What was asked for.
        term: String,
        /// How many there are.
        count: usize,
    },
    /// The name is taken.
    #[error("network with name {0} already exists")]
    NameInUse(String),
    /// No name at all.
    #[error("invalid name: name is empty")]
    EmptyName,
    /// A name of the daemon's own networks.
    #[error("operation is not permitted on predefined {0} network ")]
    Predefined(String),
    /// The daemon's own networks stay.
    #[error("{0} is a pre-defined network and cannot be removed")]
    CannotRemovePredefined(String),
    /// Containers run on it.
    #[error("error while removing network: network {name} has active endpoints ({endpoints})")]
    ActiveEndpoints {
        /// The network's name.
        name: String,
        /// `name:"web" id:"0123456789ab"` of each.
        endpoints: String,
    },
    /// Another network takes its configuration from it.
    #[error("configuration network \"{0}\" is in use")]
    ConfigInUse(String),
    /// The configuration to take is not there.
    #[error("configuration network \"{0}\" not found")]
    NoConfig(String),
    /// Settings beside a configuration taken from elsewhere.
    #[error(
        "user-specified configurations are not supported if the network depends on a configuration network"
    )]
    ConfigWithFrom,
    /// A configuration has no endpoints.
    #[error("cannot create endpoint on configuration-only network")]
    ConfigOnly,
    /// No such driver.
    #[error("could not find plugin {0} in v1 plugin registry: plugin not found")]
    UnknownDriver(String),
    /// A driver of which there is one network only.
    #[error("only one instance of \"{0}\" network is allowed")]
    OnlyOne(String),
    /// Something that needs a cluster.
    #[error(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."
    )]
    NoSwarm,
    /// Subnets, ranges or gateways that contradict each other.
    #[error("invalid network config:\n{}", joined(.0))]
    Ipam(Vec<String>),
    /// No such address management.
    #[error("Invalid IPAM driver: {0}")]
    IpamDriver(String),
    /// Settings of an endpoint that contradict the network.
    #[error("invalid endpoint settings:\n{}", joined(.0))]
    Endpoint(Vec<String>),
    /// What a new container's endpoints are to be, network by network.
    #[error("{}", joined(.0))]
    Endpoints(Vec<String>),
    /// A host or server whose address is none.
    #[error("invalid {what} {value}")]
    Address {
        /// What it was to be.
        what: &'static str,
        /// As given.
        value: String,
    },
    /// A hardware address that is none.
    #[error("invalid MAC address {0}")]
    MacAddress(String),
    /// Several networks and one that excludes others.
    #[error("{0}")]
    Mode(&'static str),
    /// Publishing ports of a container that has no network of its own.
    #[error("a container without a network of its own publishes no ports")]
    NoPorts,
    /// The container is on it already.
    #[error("endpoint with name {container} already exists in network {network}")]
    AlreadyConnected {
        /// The container's name.
        container: String,
        /// The network's name.
        network: String,
    },
    /// The container is not on it.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// The container's id.
        container: String,
        /// The network's name.
        network: String,
    },
    /// A published port that cannot be read.
    #[error("invalid port specification: \"{0}\"")]
    Port(String),
    /// A filter that the list does not take.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A value that a filter does not take.
    #[error("{0}")]
    FilterValue(String),
    /// The packets' side failed.
    #[error("{0}")]
    Network(#[from] dray_network::Error),
    /// The record could not be kept.
    #[error(transparent)]
    Store(#[from] dray_store::Error),
    /// A container's file that cannot be changed.
    #[error("write {}: {source}", path.display())]
    ContainerFile {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// One fault as it is, several as a list, as Docker joins them.
fn joined(faults: &[String]) -> String {
    match faults {
        [one] => one.clone(),
        several => several
            .iter()
            .map(|fault| format!("* {}", fault.replace('\n', "\n\t")))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

impl Error {
    /// Which kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        use dray_network::ErrorKind as Kind;
        match self {
            Self::NotFound(_) | Self::NoConfig(_) | Self::UnknownDriver(_) => ErrorKind::NotFound,
            Self::NameInUse(_) => ErrorKind::Conflict,
            Self::Predefined(_)
            | Self::CannotRemovePredefined(_)
            | Self::ActiveEndpoints { .. }
            | Self::ConfigInUse(_)
            | Self::ConfigWithFrom
            | Self::ConfigOnly
            | Self::OnlyOne(_)
            | Self::NoSwarm
            | Self::AlreadyConnected { .. } => ErrorKind::Forbidden,
            Self::Ambiguous { .. }
            | Self::EmptyName
            | Self::Ipam(_)
            | Self::Address { .. }
            | Self::Endpoints(_)
            | Self::MacAddress(_)
            | Self::IpamDriver(_)
            | Self::Endpoint(_)
            | Self::Mode(_)
            | Self::NoPorts
            | Self::Port(_)
            | Self::Filter(_)
            | Self::FilterValue(_) => ErrorKind::InvalidParameter,
            Self::Network(error) => match error.kind() {
                Kind::InvalidParameter => ErrorKind::InvalidParameter,
                Kind::NotFound => ErrorKind::NotFound,
                Kind::Forbidden => ErrorKind::Forbidden,
                Kind::Conflict => ErrorKind::Conflict,
                Kind::Unavailable => ErrorKind::Unavailable,
                Kind::System => ErrorKind::System,
            },
            Self::NotConnected { .. } | Self::Store(_) | Self::ContainerFile { .. } => ErrorKind::System,
        }
    }
}

impl From<Error> for ServiceError {
    fn from(error: Error) -> Self {
        ServiceError::new(error.kind(), error)
    }
}
