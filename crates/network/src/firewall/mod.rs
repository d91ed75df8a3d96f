//! This daemon's own nftables table: address translation, published ports, isolation.
//!
//! ```text
//! table inet dray {
//!   set bridges     our bridges            set subnets4, subnets6   their subnets
//!   set foreign     bridges of Docker's containers
//!   map ports4      protocol . host address . port : container address . port   (ports6 likewise)
//!   map ports4_any  protocol . port : container address . port                  (ports6_any likewise)
//!   map asked4 ...  the same of ports behind the gate
//!   map spread4, spread4_any, spread_asked4 ...
//!                   protocol . [host address .] port . slot : container address . port, of ports that several share
//!   set sealed      bridges without a way out    set held    ports of the daemon's own sockets
//!   set open4, open6   protocol . container address . port: open to those who may ask a container itself
//!   chain guard        raw prerouting: no way to the host's own 127.0.0.0/8
//!   chain prerouting   nat: published ports, for what comes from outside and from containers
//!   chain output       nat: published ports, for programs of the host
//!   chain input        filter: no way to `held` from `sealed`
//!   chain postrouting  nat: containers behind the host's address; hairpin
//!   chain forward      filter: who may talk with whom
//! }
//! table ip dray, table ip6 dray {          only where a network is firewall-aware
//!   set admitted, admitted_any    what ports behind the gate are asked by
//!   chain admit        filter input, after everybody else's: once around through the gate
//! }
//! ```
//! The chains are made anew from the list of networks whenever it changes, in one batch: always whole, and the same
//! whatever was there before. Published ports are elements and never touch a rule; the packet path looks them up by
//! hash. Invariant: a container is reached from outside of its bridge only through a published port.
//!
//! Every rule names a bridge of ours. A table that a killed daemon left behind, and whose bridges are gone, so means
//! nothing to others who use the same addresses later.

mod rules;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::rules::{subnets, subnets_of};
use crate::config::{NetworkState, Proto};
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::netlink::{self, Socket};
use crate::nft::{Batch, Element, Family, Hook, Kind, Rule, Set};

const INET: Family = Family::Inet;
/// The tables of the gate.
const GATED: [(Family, bool); 2] = [(Family::Ip, true), (Family::Ip6, false)];
/// Before connection tracking.
const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;
/// After every rule of INPUT that an operator may have written, before connections are confirmed.
const LATE: i32 = 1000;

const BRIDGES: &str = "bridges";
const FOREIGN: &str = "foreign";
const SEALED: &str = "sealed";
const HELD: &str = "held";
const ADMITTED: &str = "admitted";
const ADMITTED_ANY: &str = "admitted_any";

/// What the rules are made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// All bridge networks.
    pub networks: &'a [NetworkState],
    /// Bridges of Docker's containers.
    pub foreign: &'a [String],
    /// The gate, where a network needs one.
    pub gate: Option<&'a Gate>,
}

/// What is published.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// What is translated.
    pub mappings: Vec<Mapping>,
    /// The ports at which the daemon's own sockets serve.
    pub held: Vec<(Proto, u16)>,
    /// What is open at containers' own addresses.
    pub openings: Vec<Opening>,
    /// What is translated to one of several.
    pub spreads: Vec<Spread>,
}

pub use crate::nft::SLOTS;

/// One slot of a shared port. A new connection falls on any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spread {
    /// The port, and where this slot leads.
    pub mapping: Mapping,
    /// The slot.
    pub slot: u32,
}

/// A port of a container that may be asked for at its own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Opening {
    /// The protocol.
    pub proto: Proto,
    /// The container's address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

/// A published port: where it is on the host and where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// The protocol.
    pub proto: Proto,
    /// The host's address; unspecified for all of its family.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
    /// The container's address.
    pub to: IpAddr,
    /// The container's port.
    pub to_port: u16,
    /// Whether the host's INPUT rules are asked.
    pub gated: bool,
}

/// The tables of a daemon.
#[derive(Debug)]
pub struct Firewall {
    table: String,
    socket: Mutex<Socket>,
    port: u32,
    /// Whether tables of the gate may be there.
    gated: AtomicBool,
}

impl Firewall {
    /// A handle on a table that may not be there yet, in the calling thread's network namespace.
    pub fn open(table: &str) -> Result<Self> {
        let socket = Socket::open(netlink::Family::Netfilter)
            .map_err(|source| Error::System { operation: "open a netfilter socket", source })?;
        let port = socket.port();
        let table = table.to_owned();
        Ok(Self { table, socket: Mutex::new(socket), port, gated: AtomicBool::new(true) })
    }

    /// The number by which notifications tell our own changes from others'.
    pub fn port(&self) -> u32 {
        self.port
    }

    fn socket(&self) -> MutexGuard<'_, Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set<'a>(&'a self, name: &'a str, kind: Kind) -> Set<'a> {
        Set { family: INET, table: &self.table, name, kind }
    }

    /// Makes the tables say what these networks need. Published ports stay.
    pub fn apply(&self, plan: Plan<'_>) -> Result<()> {
        let mut batch = Batch::new();
        self.render(&mut batch, plan);
        self.commit(batch, "set up")?;
        self.settle_gate(plan.gate)
    }

    /// Makes the tables anew with these networks and exactly these published ports.
    pub fn apply_all(&self, plan: Plan<'_>, listing: &Listing) -> Result<()> {
        let mut batch = Batch::new();
        self.render(&mut batch, plan);
        for (name, kind) in MAPS.into_iter().chain(SPREADS) {
            batch.flush_set(&self.set(name, kind));
        }
        batch.flush_set(&self.set(HELD, Kind::Ports));
        for v4 in [true, false] {
            batch.flush_set(&self.set(open_of(v4), Kind::Addresses(v4)));
        }
        if plan.gate.is_some() {
            for (family, v4) in GATED {
                for set in self.admitted(family, v4) {
                    batch.flush_set(&set);
                }
            }
        }
        self.write_ports(&mut batch, listing, Batch::add_elements);
        self.commit(batch, "set up with published ports")?;
        self.settle_gate(plan.gate)
    }

    /// Adds published ports.
    pub fn add_ports(&self, listing: &Listing) -> Result<()> {
        let mut batch = Batch::new();
        self.write_ports(&mut batch, listing, Batch::add_elements);
        self.commit(batch, "publish ports in")
    }

    /// Removes what is published and adds other in one step: nobody sees the time between.
    pub fn change_ports(&self, gone: &Listing, new: &Listing) -> Result<()> {
        let mut batch = Batch::new();
        self.write_ports(&mut batch, gone, Batch::delete_elements);
        self.write_ports(&mut batch, new, Batch::add_elements);
        self.commit(batch, "change shared ports in")
    }

    /// Removes published ports; those that are not there are removed already.
    pub fn delete_ports(&self, listing: &Listing) -> Result<()> {
        let mut batch = Batch::new();
        self.write_ports(&mut batch, listing, Batch::delete_elements);
        match self.commit(batch, "withdraw ports from") {
            // One is missing, which fails the batch: each on its own.
            Err(e) if e.errno() == Some(libc::ENOENT) => self.delete_ports_singly(listing),
            other => other,
        }
    }

    fn delete_ports_singly(&self, listing: &Listing) -> Result<()> {
        let mappings = listing.mappings.iter().map(|m| Listing { mappings: vec![*m], ..Listing::default() });
        let held = listing.held.iter().map(|h| Listing { held: vec![*h], ..Listing::default() });
        let openings = listing.openings.iter().map(|o| Listing { openings: vec![*o], ..Listing::default() });
        for one in mappings.chain(held).chain(openings) {
            let mut batch = Batch::new();
            self.write_ports(&mut batch, &one, Batch::delete_elements);
            match self.commit(batch, "withdraw a port from") {
                Err(e) if e.errno() != Some(libc::ENOENT) => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the tables with all in them.
    pub fn delete(&self) -> Result<()> {
        self.settle_gate(None)?;
        let mut batch = Batch::new();
        batch.delete_table(INET, &self.table);
        match self.commit(batch, "remove") {
            Err(e) if e.errno() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// Whether the table is there.
    pub fn exists(&self) -> bool {
        crate::nft::tables(&self.socket(), INET).is_ok_and(|t| t.contains(&self.table))
    }

    fn commit(&self, batch: Batch, what: &str) -> Result<()> {
        batch.commit(&self.socket()).map_err(|e| e.of(format!("{what} nftables table inet {}", self.table)))
    }

    fn write_ports(&self, batch: &mut Batch, listing: &Listing, write: fn(&mut Batch, &Set<'_>, &[Element])) {
        let mappings = &listing.mappings;
        for (name, kind) in MAPS {
            let of_map: Vec<Element> =
                mappings.iter().filter(|p| p.map() == name).map(Mapping::element).collect();
            write(batch, &self.set(name, kind), &of_map);
        }
        let spreads = &listing.spreads;
        for (name, kind) in SPREADS {
            let of_map: Vec<Element> =
                spreads.iter().filter(|s| s.map() == name).map(Spread::element).collect();
            write(batch, &self.set(name, kind), &of_map);
        }
        let fronts = || spreads.iter().filter(|s| s.slot == 0).map(|s| &s.mapping);
        for (family, v4) in GATED {
            let [one, any] = self.admitted(family, v4);
            let gated = |p: &&Mapping| p.gated && p.host_ip.is_ipv4() == v4;
            let (to_any, to_one): (Vec<&Mapping>, Vec<&Mapping>) =
                mappings.iter().chain(fronts()).filter(gated).partition(|p| p.host_ip.is_unspecified());
            for (set, ports) in [(one, to_one), (any, to_any)] {
                write(batch, &set, &ports.into_iter().map(Mapping::key).collect::<Vec<_>>());
            }
        }
        let held: Vec<Element> =
            listing.held.iter().map(|(p, port)| Element::destination(p.number(), None, *port)).collect();
        write(batch, &self.set(HELD, Kind::Ports), &held);
        for v4 in [true, false] {
            let open: Vec<Element> =
                listing.openings.iter().filter(|o| o.address.is_ipv4() == v4).map(Opening::element).collect();
            write(batch, &self.set(open_of(v4), Kind::Addresses(v4)), &open);
        }
    }

    fn admitted(&self, family: Family, v4: bool) -> [Set<'_>; 2] {
        let table = &self.table;
        [
            Set { family, table, name: ADMITTED, kind: Kind::Addresses(v4) },
            Set { family, table, name: ADMITTED_ANY, kind: Kind::Ports },
        ]
    }

    /// Removes the tables of the gate where there is none.
    fn settle_gate(&self, gate: Option<&Gate>) -> Result<()> {
        if gate.is_some() || !self.gated.load(Ordering::Acquire) {
            return Ok(());
        }
        for (family, _) in GATED {
            let there = crate::nft::tables(&self.socket(), family).is_ok_and(|t| t.contains(&self.table));
            if there {
                let mut batch = Batch::new();
                batch.delete_table(family, &self.table);
                match self.commit(batch, "remove the gate of") {
                    Err(e) if e.errno() != Some(libc::ENOENT) => return Err(e),
                    _ => {}
                }
            }
        }
        self.gated.store(false, Ordering::Release);
        Ok(())
    }

    fn render(&self, batch: &mut Batch, plan: Plan<'_>) {
        let Plan { networks, foreign, gate } = plan;
        batch.add_table(INET, &self.table);
        self.render_sets(batch, networks);
        let others: Vec<Element> = foreign.iter().map(|n| Element::interface(n)).collect();
        self.write_set(batch, &self.set(FOREIGN, Kind::Interfaces), &others);
        let chain = |batch: &mut Batch, name: &str, kind: &str, hook: Hook, priority: i32| {
            batch.add_base_chain(INET, &self.table, name, kind, hook, priority);
        };
        // Chains that are jumped to come first: a rule can only name one that exists.
        for name in ["leave", "between"] {
            batch.add_chain(INET, &self.table, name);
        }
        chain(batch, "guard", "filter", Hook::Prerouting, RAW);
        chain(batch, "prerouting", "nat", Hook::Prerouting, DSTNAT);
        chain(batch, "output", "nat", Hook::Output, DSTNAT);
        chain(batch, "postrouting", "nat", Hook::Postrouting, SRCNAT);
        chain(batch, "input", "filter", Hook::Input, FILTER);
        chain(batch, "forward", "filter", Hook::Forward, FILTER);
        for (name, rules) in [
            ("guard", rules::guard()),
            ("prerouting", rules::prerouting(gate)),
            ("output", rules::output()),
            ("postrouting", rules::postrouting()),
            ("leave", rules::leave(networks)),
            ("input", rules::input()),
            ("forward", rules::forward()),
            ("between", rules::between(networks)),
        ] {
            self.write(batch, INET, name, rules);
        }
        if let Some(gate) = gate {
            self.render_gate(batch, networks, gate);
        }
    }

    fn render_gate(&self, batch: &mut Batch, networks: &[NetworkState], gate: &Gate) {
        self.gated.store(true, Ordering::Release);
        for (family, v4) in GATED {
            batch.add_table(family, &self.table);
            for set in self.admitted(family, v4) {
                batch.add_set(&set);
            }
            batch.add_base_chain(family, &self.table, "admit", "filter", Hook::Input, LATE);
            self.write(batch, family, "admit", rules::admit(networks, gate, v4));
        }
    }

    fn render_sets(&self, batch: &mut Batch, networks: &[NetworkState]) {
        let bridges: Vec<Element> = networks.iter().map(|n| Element::interface(&n.bridge)).collect();
        self.write_set(batch, &self.set(BRIDGES, Kind::Interfaces), &bridges);
        let internal = networks.iter().filter(|n| n.internal);
        let sealed: Vec<Element> = internal.map(|n| Element::interface(&n.bridge)).collect();
        self.write_set(batch, &self.set(SEALED, Kind::Interfaces), &sealed);
        batch.add_set(&self.set(HELD, Kind::Ports));
        for v4 in [true, false] {
            batch.add_set(&self.set(open_of(v4), Kind::Addresses(v4)));
        }
        for v4 in [true, false] {
            let elements: Vec<Element> =
                subnets(networks, v4).flat_map(|(_, subnet)| Element::prefix(&subnet)).collect();
            self.write_set(batch, &self.set(subnets_of(v4), Kind::Prefixes(v4)), &elements);
        }
        for (name, kind) in MAPS.into_iter().chain(SPREADS) {
            batch.add_set(&self.set(name, kind));
        }
    }

    fn write_set(&self, batch: &mut Batch, set: &Set<'_>, elements: &[Element]) {
        batch.add_set(set);
        batch.flush_set(set);
        batch.add_elements(set, elements);
    }

    fn write(&self, batch: &mut Batch, family: Family, chain: &str, rules: Vec<Rule>) {
        for rule in rules {
            batch.add_rule(family, &self.table, chain, &rule);
        }
    }
}

const MAPS: [(&str, Kind); 8] = [
    ("ports4", Kind::ByAddress(true)),
    ("ports4_any", Kind::ByPort(true)),
    ("ports6", Kind::ByAddress(false)),
    ("ports6_any", Kind::ByPort(false)),
    ("asked4", Kind::ByAddress(true)),
    ("asked4_any", Kind::ByPort(true)),
    ("asked6", Kind::ByAddress(false)),
    ("asked6_any", Kind::ByPort(false)),
];

/// The same for ports that several containers share.
const SPREADS: [(&str, Kind); 8] = [
    ("spread4", Kind::SpreadByAddress(true)),
    ("spread4_any", Kind::SpreadByPort(true)),
    ("spread6", Kind::SpreadByAddress(false)),
    ("spread6_any", Kind::SpreadByPort(false)),
    ("spread_asked4", Kind::SpreadByAddress(true)),
    ("spread_asked4_any", Kind::SpreadByPort(true)),
    ("spread_asked6", Kind::SpreadByAddress(false)),
    ("spread_asked6_any", Kind::SpreadByPort(false)),
];

/// The set of what is open at containers' own addresses.
fn open_of(v4: bool) -> &'static str {
    if v4 { "open4" } else { "open6" }
}

impl Opening {
    fn element(&self) -> Element {
        Element::destination(self.proto.number(), Some(self.address), self.port)
    }
}

impl Spread {
    fn map(&self) -> &'static str {
        SPREADS[self.mapping.map_index()].0
    }

    fn element(&self) -> Element {
        self.mapping.element().spread(self.slot)
    }
}

impl Mapping {
    /// The name of the map that it is an element of.
    fn map(&self) -> &'static str {
        MAPS[self.map_index()].0
    }

    fn map_index(&self) -> usize {
        let of_family = usize::from(self.gated) * 4 + usize::from(self.host_ip.is_ipv6()) * 2;
        of_family + usize::from(self.host_ip.is_unspecified())
    }

    fn host(&self) -> Option<IpAddr> {
        (!self.host_ip.is_unspecified()).then_some(self.host_ip)
    }

    fn element(&self) -> Element {
        Element::translation(self.proto.number(), self.host(), self.host_port, self.to, self.to_port)
    }

    fn key(&self) -> Element {
        Element::destination(self.proto.number(), self.host(), self.host_port)
    }
}
