//! Networks: made, listed, removed, and containers joined to them.
//!
//! Every network is a record in the store; what runs on it now (endpoints of running containers) is
//! kept in memory only and comes back when containers are restored.

mod attach;
mod create;
mod endpoint;
mod error;
mod exposure;
mod ipam;
mod ports;
mod record;
mod resolve;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use dray_api::network::{NetworkInspect, NetworksPruneReport};
use dray_api::{Filters, Labels};
use dray_network::{Endpoint, Network};
use dray_store::Store;
use jiff::Timestamp;

use crate::{EventBus, timestamp};
pub use error::Error;
use record::{KIND, Record};

/// What containers get that say nothing themselves.
#[derive(Debug, Clone, Default)]
pub struct DnsDefaults {
    /// `--dns`.
    pub servers: Vec<IpAddr>,
    /// `--dns-search`.
    pub search: Vec<String>,
    /// `--dns-opt`.
    pub options: Vec<String>,
    /// `--host-gateway-ip`; the default bridge's address if empty.
    pub host_gateway: Vec<IpAddr>,
    /// The host's resolver configuration.
    pub resolv_conf: PathBuf,
}

/// Networks and the containers on them.
#[derive(Debug)]
pub struct Service {
    network: Network,
    store: Store,
    events: EventBus,
    dns: DnsDefaults,
    /// By id. Changed together with the records.
    networks: RwLock<BTreeMap<String, Arc<Record>>>,
    /// What is joined now, by container id.
    joined: Mutex<HashMap<String, Vec<Joined>>>,
    /// Held while a network is made, so that two of one name are not made at once. The ids are of networks that are on
    /// their way out.
    making: Mutex<BTreeSet<String>>,
}

/// A container on a network, now.
#[derive(Debug, Clone)]
struct Joined {
    network: Arc<Record>,
    /// The container's name.
    name: String,
    /// None on `host` and `none`.
    endpoint: Option<Endpoint>,
}

impl Service {
    /// Reads the records, makes the predefined networks where they are missing, and brings back those
    /// that the host lost.
    ///
    /// # Errors
    /// If the records cannot be read or the default bridge cannot be made.
    pub fn open(
        network: Network,
        store: Store,
        events: EventBus,
        dns: DnsDefaults,
    ) -> Result<Arc<Self>, Error> {
        let records = store.records().list::<Record>(KIND)?;
        let networks = records.into_iter().map(|found| (found.id, Arc::new(found.document))).collect();
        let service = Service {
            network,
            store,
            events,
            dns,
            networks: RwLock::new(networks),
            joined: Mutex::default(),
            making: Mutex::default(),
        };
        service.restore_networks();
        service.make_predefined()?;
        Ok(Arc::new(service))
    }

    /// The networks that match, newest last.
    ///
    /// # Errors
    /// For a filter that networks do not have.
    pub fn list(&self, filters: &Filters) -> Result<Vec<NetworkInspect>, Error> {
        filters.validate(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
        let matching = self.matching(filters)?;
        Ok(matching.iter().map(|record| record.to_wire()).collect())
    }

    /// One network with its containers.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Ambiguous`].
    pub fn inspect(&self, term: &str, scope: &str) -> Result<NetworkInspect, Error> {
        if !matches!(scope, "" | "local") {
            return Err(Error::NotFound(term.to_owned()));
        }
        let record = self.find(term)?;
        let mut wire = record.to_wire();
        for (container, joined) in self.joined().iter() {
            let here = joined.iter().find(|joined| joined.network.id == record.id);
            if let Some(joined) = here {
                let shown = match &joined.endpoint {
                    Some(endpoint) => record::endpoint_resource(endpoint),
                    None => record::lone_resource(&record, container, &joined.name),
                };
                wire.containers.insert(container.clone(), shown);
            }
        }
        Ok(wire)
    }

    /// Removes a network that nothing runs on.
    ///
    /// # Errors
    /// If it is not there, predefined, or in use.
    pub fn remove(&self, term: &str) -> Result<(), Error> {
        let record = self.find(term)?;
        if record.predefined() {
            return Err(Error::CannotRemovePredefined(record.name.clone()));
        }
        self.remove_record(&record)
    }

    fn remove_record(&self, record: &Record) -> Result<(), Error> {
        {
            let mut leaving = self.making();
            if record.config_only && self.all().iter().any(|other| other.config_from == record.name) {
                return Err(Error::ConfigInUse(record.name.clone()));
            }
            let endpoints = self.endpoints_of(&record.id);
            if !endpoints.is_empty() {
                let name = format!("{} id {}", record.name, record.id);
                return Err(Error::ActiveEndpoints { name, endpoints: endpoints.join(", ") });
            }
            if record.config_only {
                return self.take_down(record);
            }
            // Somebody else may be at it, or through with it.
            if !self.networks().contains_key(&record.id) || !leaving.insert(record.id.clone()) {
                return Err(Error::NotFound(record.name.clone()));
            }
        }
        // The kernel takes its time with a bridge: nobody else has to wait for that.
        let removed = self.take_down(record);
        self.making().remove(&record.id);
        removed?;
        self.announce("destroy", record, None);
        Ok(())
    }

    fn take_down(&self, record: &Record) -> Result<(), Error> {
        if record.state.is_some() {
            match self.network.remove(&record.id) {
                Ok(()) | Err(dray_network::Error::UnknownNetwork(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.store.records().delete(KIND, &record.id)?;
        self.networks_mut().remove(&record.id);
        Ok(())
    }

    /// Removes all networks that nothing runs on.
    ///
    /// # Errors
    /// For a filter that pruning does not have.
    pub fn prune(&self, filters: &Filters) -> Result<NetworksPruneReport, Error> {
        filters.validate(&["label", "label!", "until"])?;
        let mut deleted = Vec::new();
        for record in self.matching(filters)? {
            if record.predefined() || record.config_only || !self.endpoints_of(&record.id).is_empty() {
                continue;
            }
            match self.remove_record(&record) {
                Ok(()) => deleted.push(record.name.clone()),
                Err(error) => tracing::warn!(%error, network = record.name, "prune"),
            }
        }
        self.events.publish("network", "prune", "", Labels::from([("reclaimed".into(), "0".into())]));
        Ok(NetworksPruneReport { networks_deleted: (!deleted.is_empty()).then_some(deleted) })
    }

    /// Addresses for new networks, what the operator should know, and the rest of the packets' side.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Who has this name, id or unique beginning of an id.
    fn find(&self, term: &str) -> Result<Arc<Record>, Error> {
        let networks = self.networks();
        if let Some(record) = networks.get(term) {
            return Ok(Arc::clone(record));
        }
        if let Some(record) = networks.values().find(|record| record.name == term) {
            return Ok(Arc::clone(record));
        }
        let mut begin = networks.values().filter(|record| !term.is_empty() && record.id.starts_with(term));
        match (begin.next(), begin.count()) {
            (Some(record), 0) => Ok(Arc::clone(record)),
            (Some(_), more) => Err(Error::Ambiguous { term: term.to_owned(), count: more + 1 }),
            (None, _) => Err(Error::NotFound(term.to_owned())),
        }
    }

    fn matching(&self, filters: &Filters) -> Result<Vec<Arc<Record>>, Error> {
        let dangling = match filters.contains("dangling") {
            true => Some(filters.get_bool("dangling", false)?),
            false => None,
        };
        if let Some(wrong) = filters.get("type").find(|kind| !matches!(*kind, "builtin" | "custom")) {
            return Err(Error::FilterValue(format!("invalid filter: 'type'='{wrong}'")));
        }
        let until = until(filters)?;
        let mut found = self.all();
        found.retain(|record| {
            let used = record.predefined() || !self.endpoints_of(&record.id).is_empty();
            let kind = if record.predefined() { "builtin" } else { "custom" };
            let created = record.created.parse::<Timestamp>().ok();
            filters.exact("driver", &record.driver)
                && filters.substring("name", &record.name)
                && filters.prefix("id", &record.id)
                && filters.match_labels(&record.labels)
                && filters.exact("scope", "local")
                && filters.exact("type", kind)
                && dangling.is_none_or(|dangling| dangling != used)
                && until.is_none_or(|until| created.is_none_or(|created| created <= until))
        });
        found.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.name.cmp(&b.name)));
        Ok(found)
    }

    fn all(&self) -> Vec<Arc<Record>> {
        self.networks().values().cloned().collect()
    }

    /// `name:"web" id:"0123456789ab"` of what runs on a network.
    fn endpoints_of(&self, network: &str) -> Vec<String> {
        let joined = self.joined();
        let here = joined.values().flatten().filter(|joined| joined.network.id == network);
        here.filter_map(|joined| joined.endpoint.as_ref())
            .map(|endpoint| format!("name:\"{}\" id:\"{}\"", endpoint.name, short(&endpoint.id)))
            .collect()
    }

    fn announce(&self, action: &str, record: &Record, container: Option<&str>) {
        let mut attributes =
            Labels::from([("name".into(), record.name.clone()), ("type".into(), record.driver.clone())]);
        if let Some(container) = container {
            attributes.insert("container".into(), container.to_owned());
        }
        self.events.publish("network", action, &record.id, attributes);
    }

    fn networks(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Record>>> {
        self.networks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn making(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn networks_mut(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<Record>>> {
        self.networks.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn joined(&self) -> MutexGuard<'_, HashMap<String, Vec<Joined>>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn until(filters: &Filters) -> Result<Option<Timestamp>, Error> {
    let mut values = filters.get("until");
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::FilterValue("more than one until filter specified".to_owned()));
    }
    timestamp::moment("until", value, Timestamp::now()).map_err(|error| Error::FilterValue(error.to_string()))
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
