//! The names of containers on user-defined networks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::answer::Lookup;

/// An endpoint's names and addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The endpoint.
    pub endpoint_id: String,
    /// Its container's name: the answer to reverse queries.
    pub name: String,
    /// All names it is found by, in lower case.
    pub names: Vec<String>,
    /// Its IPv4 address.
    pub ip: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ip6: Option<Ipv6Addr>,
}

impl Record {
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ip.map(IpAddr::V4).into_iter().chain(self.ip6.map(IpAddr::V6))
    }
}

#[derive(Debug, Default)]
struct Zone {
    name: String,
    records: Vec<Record>,
}

/// All names of all networks.
#[derive(Debug, Default)]
pub struct Names {
    zones: RwLock<HashMap<String, Zone>>,
    turn: AtomicUsize,
}

impl Names {
    /// Adds an endpoint to a network, in place of what it was before.
    pub fn add(&self, network_id: &str, network_name: &str, record: Record) {
        let mut zones = self.zones.write().unwrap_or_else(PoisonError::into_inner);
        let zone = zones.entry(network_id.to_owned()).or_default();
        network_name.clone_into(&mut zone.name);
        zone.records.retain(|r| r.endpoint_id != record.endpoint_id);
        zone.records.push(record);
    }

    /// Removes an endpoint.
    pub fn remove(&self, network_id: &str, endpoint_id: &str) {
        let mut zones = self.zones.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(zone) = zones.get_mut(network_id) {
            zone.records.retain(|r| r.endpoint_id != endpoint_id);
            if zone.records.is_empty() {
                zones.remove(network_id);
            }
        }
    }
}

/// The names that one container may know: those on its own networks.
#[derive(Clone, Debug)]
pub struct View {
    /// All names.
    pub names: Arc<Names>,
    /// The container's networks, the preferred one first.
    pub networks: Vec<String>,
}

impl Lookup for View {
    /// Several containers with one alias are all given, each query beginning with another of them.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let zones = self.names.zones.read().unwrap_or_else(PoisonError::into_inner);
        self.networks.iter().filter_map(|id| zones.get(id)).find_map(|zone| {
            let suffix = format!(".{}", zone.name.to_lowercase());
            let bare = name.strip_suffix(&suffix).unwrap_or(name);
            let has = |r: &&Record| r.names.iter().any(|n| n == name || n == bare);
            let mut found: Vec<&Record> = zone.records.iter().filter(has).collect();
            if found.is_empty() {
                return None;
            }
            if found.len() > 1 {
                let turn = self.names.turn.fetch_add(1, Ordering::Relaxed) % found.len();
                found.rotate_left(turn);
            }
            Some(found.iter().flat_map(|r| r.addresses()).collect())
        })
    }

    fn name_of(&self, addr: IpAddr) -> Option<String> {
        let zones = self.names.zones.read().unwrap_or_else(PoisonError::into_inner);
        self.networks.iter().filter_map(|id| zones.get(id)).find_map(|zone| {
            let record = zone.records.iter().find(|r| r.addresses().any(|a| a == addr))?;
            Some(format!("{}.{}", record.name, zone.name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(endpoint: &str, name: &str, last: u8) -> Record {
        Record {
            endpoint_id: endpoint.into(),
            name: name.into(),
            names: vec![name.into(), "shared".into()],
            ip: Some(Ipv4Addr::new(10, 0, 0, last)),
            ip6: None,
        }
    }

    fn view(networks: &[&str]) -> View {
        let names = Arc::new(Names::default());
        names.add("n1", "front", record("e1", "web", 2));
        names.add("n1", "front", record("e2", "api", 3));
        names.add("n2", "back", record("e3", "db", 4));
        View { names, networks: networks.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn only_ones_own_networks_are_seen() {
        let front = view(&["n1"]);
        assert_eq!(front.addresses("web"), Some(vec![IpAddr::from([10, 0, 0, 2])]));
        assert_eq!(front.addresses("web.front"), Some(vec![IpAddr::from([10, 0, 0, 2])]));
        assert_eq!(front.addresses("db"), None);
        assert_eq!(front.name_of(IpAddr::from([10, 0, 0, 4])), None);
        assert_eq!(view(&["n1", "n2"]).name_of(IpAddr::from([10, 0, 0, 4])).as_deref(), Some("db.back"));
    }

    #[test]
    fn shared_aliases_take_turns() {
        let front = view(&["n1"]);
        let first = front.addresses("shared").expect("known");
        let second = front.addresses("shared").expect("known");
        assert_eq!((first.len(), second.len()), (2, 2));
        assert_ne!(first[0], second[0]);
    }

    #[test]
    fn a_removed_endpoint_is_unknown() {
        let front = view(&["n1"]);
        front.names.remove("n1", "e1");
        assert_eq!(front.addresses("web"), None);
        assert_eq!(front.addresses("shared").map(|a| a.len()), Some(1));
    }
}
