//! The names of containers on user-defined networks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::answer::Lookup;
use crate::cidr::Cidr;

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

/// What is never asked of others, also while nobody answers to it.
#[derive(Debug, Default)]
struct Private {
    /// By container, running or not.
    names: HashMap<String, Vec<String>>,
    /// How many containers have a name.
    count: HashMap<String, usize>,
    /// By network.
    subnets: HashMap<String, Vec<Cidr>>,
}

impl Private {
    fn forget(&mut self, container_id: &str) {
        for name in self.names.remove(container_id).unwrap_or_default() {
            if let Some(count) = self.count.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    self.count.remove(&name);
                }
            }
        }
    }
}

/// All names of all networks.
#[derive(Debug, Default)]
pub struct Names {
    zones: RwLock<HashMap<String, Zone>>,
    private: RwLock<Private>,
    turn: AtomicUsize,
}

impl Names {
    /// Keeps the names of a container, by network, from being asked of others, in place of those it had before. A name
    /// with a dot may be somebody's in the world: it is theirs while no container with it runs.
    pub fn keep(&self, container_id: &str, names: &[(String, Vec<String>)]) {
        let mut kept: Vec<String> = Vec::new();
        for (network, names) in names {
            for name in names.iter().filter(|n| !n.is_empty() && !n.contains('.')) {
                let name = name.to_lowercase();
                kept.extend([format!("{name}.{}", network.to_lowercase()), name]);
            }
        }
        kept.sort_unstable();
        kept.dedup();
        let mut private = self.private.write().unwrap_or_else(PoisonError::into_inner);
        private.forget(container_id);
        for name in &kept {
            *private.count.entry(name.clone()).or_default() += 1;
        }
        private.names.insert(container_id.to_owned(), kept);
    }

    /// Lets go of the names of a container that is gone.
    pub fn forget(&self, container_id: &str) {
        self.private.write().unwrap_or_else(PoisonError::into_inner).forget(container_id);
    }

    /// Says which subnets are a network's own; none if it is gone.
    pub fn set_subnets(&self, network_id: &str, subnets: Vec<Cidr>) {
        let mut private = self.private.write().unwrap_or_else(PoisonError::into_inner);
        if subnets.is_empty() {
            private.subnets.remove(network_id);
        } else {
            private.subnets.insert(network_id.to_owned(), subnets);
        }
    }

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
    /// Names of its own for others (`--link`), in lower case: network, and the other's name there.
    pub links: HashMap<String, (String, String)>,
    /// Whether names without a dot are never asked of others: it asks again with its search domains (`ndots`).
    pub dotless_stay: bool,
}

impl View {
    /// What a name of the container's own stands for on a network.
    fn linked<'a>(&'a self, network: &str, name: &'a str) -> &'a str {
        match self.links.get(name) {
            Some((on, target)) if on == network => target,
            _ => name,
        }
    }
}

impl Lookup for View {
    /// Several containers with one alias are all given, each query beginning with another of them.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let zones = self.names.zones.read().unwrap_or_else(PoisonError::into_inner);
        self.networks.iter().filter_map(|id| Some((id, zones.get(id)?))).find_map(|(id, zone)| {
            let suffix = format!(".{}", zone.name.to_lowercase());
            let bare = self.linked(id, name.strip_suffix(&suffix).unwrap_or(name));
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

    fn is_private(&self, name: &str) -> bool {
        if self.dotless_stay && !name.contains('.') {
            return true;
        }
        let private = self.names.private.read().unwrap_or_else(PoisonError::into_inner);
        self.links.contains_key(name) || private.count.contains_key(name)
    }

    fn is_ours(&self, addr: IpAddr) -> bool {
        let private = self.names.private.read().unwrap_or_else(PoisonError::into_inner);
        private.subnets.values().flatten().any(|subnet| subnet.contains(addr))
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
        View {
            names,
            networks: networks.iter().map(ToString::to_string).collect(),
            links: HashMap::new(),
            dotless_stay: false,
        }
    }

    #[test]
    fn names_of_containers_are_private_until_they_are_gone() {
        let front = view(&["n1"]);
        let on = |network: &str, names: &[&str]| {
            (network.to_owned(), names.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        front.names.keep("c1", &[on("front", &["Store", "store.example"]), on("back", &["store"])]);
        front.names.keep("c2", &[on("front", &["store"])]);
        for name in ["store", "store.front", "store.back"] {
            assert!(front.is_private(name), "{name}");
        }
        assert!(!front.is_private("store.example"), "somebody's in the world");
        front.names.forget("c1");
        assert!(front.is_private("store") && !front.is_private("store.back"), "the other's");
        front.names.keep("c2", &[on("front", &["renamed"])]);
        assert!(!front.is_private("store") && front.is_private("renamed"));
        assert!(!front.is_private("nas"));
        assert!(View { dotless_stay: true, ..front.clone() }.is_private("nas"));

        front.names.set_subnets("n1", vec!["10.0.0.0/24".parse().expect("subnet")]);
        assert!(front.is_ours(IpAddr::from([10, 0, 0, 99])) && !front.is_ours(IpAddr::from([10, 0, 1, 1])));
        front.names.set_subnets("n1", Vec::new());
        assert!(!front.is_ours(IpAddr::from([10, 0, 0, 99])));
    }

    #[test]
    fn links_are_ones_own_names_for_others() {
        let mut both = view(&["n1", "n2"]);
        both.links.insert("store".into(), ("n2".into(), "db".into()));
        assert_eq!(both.addresses("store"), Some(vec![IpAddr::from([10, 0, 0, 4])]));
        assert_eq!(both.addresses("store.back"), Some(vec![IpAddr::from([10, 0, 0, 4])]));
        assert_eq!(view(&["n1", "n2"]).addresses("store"), None, "nobody else's");
        both.names.remove("n2", "e3");
        assert_eq!(both.addresses("store"), None);
        assert!(both.is_private("store"));
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
