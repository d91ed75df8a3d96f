//! This daemon's own nftables table: address translation, published ports, isolation.
//!
//! ```text
//! table inet dray {
//!   set bridges     our bridges            set subnets4, subnets6   their subnets
//!   set foreign     bridges of Docker's containers
//!   map ports4      protocol . host address . port : container address . port   (ports6 likewise)
//!   map ports4_any  protocol . port : container address . port                  (ports6_any likewise)
//!   chain guard        raw prerouting: no way to the host's own 127.0.0.0/8
//!   chain prerouting   nat: published ports, for what comes from outside and from containers
//!   chain output       nat: published ports, for programs of the host
//!   chain postrouting  nat: containers behind the host's address; hairpin
//!   chain forward      filter: who may talk with whom
//! }
//! ```
//! The chains are made anew from the list of networks whenever it changes, in one batch: always whole, and the same
//! whatever was there before. Published ports are elements and never touch a rule; the packet path looks them up by
//! hash. Invariant: a container is reached from outside of its bridge only through a published port.
//!
//! Every rule names a bridge of ours. A table that a killed daemon left behind, and whose bridges are gone, so means
//! nothing to others who use the same addresses later.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cidr::Cidr;
use crate::config::{NetworkState, Proto};
use crate::error::{Error, Result};
use crate::netlink::{self, Socket};
use crate::nft::{Batch, Element, Family, Field, Hook, Interface, Kind, Rule, Set, Verdict};

const INET: Family = Family::Inet;
/// Before connection tracking.
const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;

const BRIDGES: &str = "bridges";
const FOREIGN: &str = "foreign";

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
}

/// The table of a daemon.
#[derive(Debug)]
pub struct Firewall {
    table: String,
    socket: Mutex<Socket>,
}

impl Firewall {
    /// A handle on a table that may not be there yet, in the calling thread's network namespace.
    pub fn open(table: &str) -> Result<Self> {
        let socket = Socket::open(netlink::Family::Netfilter)
            .map_err(|source| Error::System { operation: "open a netfilter socket", source })?;
        Ok(Self { table: table.to_owned(), socket: Mutex::new(socket) })
    }

    fn socket(&self) -> MutexGuard<'_, Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set<'a>(&'a self, name: &'a str, kind: Kind) -> Set<'a> {
        Set { family: INET, table: &self.table, name, kind }
    }

    /// Makes the table say what these networks need. Published ports stay.
    pub fn apply(&self, networks: &[NetworkState], foreign: &[String]) -> Result<()> {
        let mut batch = Batch::new();
        self.render(&mut batch, networks, foreign);
        self.commit(batch, "set up")
    }

    /// Makes the table anew with these networks and exactly these published ports.
    pub fn apply_all(&self, networks: &[NetworkState], foreign: &[String], ports: &[Mapping]) -> Result<()> {
        let mut batch = Batch::new();
        self.render(&mut batch, networks, foreign);
        for (name, kind) in MAPS {
            batch.flush_set(&self.set(name, kind));
        }
        self.write_ports(&mut batch, ports, Batch::add_elements);
        self.commit(batch, "set up with published ports")
    }

    /// Adds published ports.
    pub fn add_ports(&self, ports: &[Mapping]) -> Result<()> {
        let mut batch = Batch::new();
        self.write_ports(&mut batch, ports, Batch::add_elements);
        self.commit(batch, "publish ports in")
    }

    /// Removes published ports; those that are not there are removed already.
    pub fn delete_ports(&self, ports: &[Mapping]) -> Result<()> {
        let mut batch = Batch::new();
        self.write_ports(&mut batch, ports, Batch::delete_elements);
        match self.commit(batch, "withdraw ports from") {
            // One is missing, which fails the batch: each on its own.
            Err(e) if e.errno() == Some(libc::ENOENT) => {
                for port in ports {
                    let mut batch = Batch::new();
                    self.write_ports(&mut batch, &[*port], Batch::delete_elements);
                    match self.commit(batch, "withdraw a port from") {
                        Err(e) if e.errno() != Some(libc::ENOENT) => return Err(e),
                        _ => {}
                    }
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Removes the table with all in it.
    pub fn delete(&self) -> Result<()> {
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

    fn write_ports(&self, batch: &mut Batch, ports: &[Mapping], write: fn(&mut Batch, &Set<'_>, &[Element])) {
        for (name, kind) in MAPS {
            let of_map: Vec<Element> =
                ports.iter().filter(|p| p.kind() == kind).map(Mapping::element).collect();
            write(batch, &self.set(name, kind), &of_map);
        }
    }

    fn render(&self, batch: &mut Batch, networks: &[NetworkState], foreign: &[String]) {
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
        chain(batch, "forward", "filter", Hook::Forward, FILTER);
        self.write(batch, "guard", guard());
        self.write(batch, "prerouting", prerouting());
        self.write(batch, "output", output());
        self.write(batch, "postrouting", postrouting());
        self.write(batch, "leave", leave(networks));
        self.write(batch, "forward", forward());
        self.write(batch, "between", between(networks));
    }

    fn render_sets(&self, batch: &mut Batch, networks: &[NetworkState]) {
        let bridges: Vec<Element> = networks.iter().map(|n| Element::interface(&n.bridge)).collect();
        self.write_set(batch, &self.set(BRIDGES, Kind::Interfaces), &bridges);
        for v4 in [true, false] {
            let elements: Vec<Element> =
                subnets(networks, v4).flat_map(|(_, subnet)| Element::prefix(&subnet)).collect();
            self.write_set(batch, &self.set(subnets_of(v4), Kind::Prefixes(v4)), &elements);
        }
        for (name, kind) in MAPS {
            batch.add_set(&self.set(name, kind));
        }
    }

    fn write_set(&self, batch: &mut Batch, set: &Set<'_>, elements: &[Element]) {
        batch.add_set(set);
        batch.flush_set(set);
        batch.add_elements(set, elements);
    }

    fn write(&self, batch: &mut Batch, chain: &str, rules: Vec<Rule>) {
        for rule in rules {
            batch.add_rule(INET, &self.table, chain, &rule);
        }
    }
}

const MAPS: [(&str, Kind); 4] = [
    ("ports4", Kind::ByAddress(true)),
    ("ports4_any", Kind::ByPort(true)),
    ("ports6", Kind::ByAddress(false)),
    ("ports6_any", Kind::ByPort(false)),
];

impl Mapping {
    fn kind(&self) -> Kind {
        let v4 = self.host_ip.is_ipv4();
        if self.host_ip.is_unspecified() { Kind::ByPort(v4) } else { Kind::ByAddress(v4) }
    }

    fn element(&self) -> Element {
        let host = (!self.host_ip.is_unspecified()).then_some(self.host_ip);
        Element::translation(self.proto.number(), host, self.host_port, self.to, self.to_port)
    }
}

fn subnets_of(v4: bool) -> &'static str {
    if v4 { "subnets4" } else { "subnets6" }
}

fn subnets(networks: &[NetworkState], v4: bool) -> impl Iterator<Item = (&NetworkState, Cidr)> {
    let of = move |n: &NetworkState| {
        n.subnets.iter().map(|s| s.subnet).filter(move |s| s.is_ipv4() == v4).collect::<Vec<_>>()
    };
    networks.iter().flat_map(move |n| of(n).into_iter().map(move |s| (n, s)))
}

fn loopback(v4: bool) -> Option<Cidr> {
    let (addr, prefix) = if v4 { ([127, 0, 0, 0].into(), 8) } else { (IpAddr::V6(1.into()), 128) };
    Cidr::new(addr, prefix)
}

/// Bridges let 127.0.0.0/8 pass (`route_localnet`), so that localhost reaches published ports. Containers must not
/// use that to reach what listens on the host's localhost.
fn guard() -> Vec<Rule> {
    let drop = |net| {
        Rule::new()
            .interface_in(Interface::In, BRIDGES)
            .version(true)
            .address(Field::Destination, true, &net)
            .verdict(Verdict::Drop)
            .comment("no way to localhost")
    };
    loopback(true).map(drop).into_iter().collect()
}

/// What comes in. 127.0.0.0/8 from the wire is no localhost, whatever it says.
fn prerouting() -> Vec<Rule> {
    let keep = loopback(true).map(|net| {
        Rule::new().version(true).address(Field::Destination, true, &net).verdict(Verdict::Return)
    });
    keep.into_iter().chain(published()).collect()
}

/// What programs of this host send. ::1 cannot be translated to an address elsewhere: a forwarder serves it.
fn output() -> Vec<Rule> {
    let keep = loopback(false).map(|net| {
        Rule::new().version(false).address(Field::Destination, true, &net).verdict(Verdict::Return)
    });
    keep.into_iter().chain(published()).collect()
}

fn published() -> Vec<Rule> {
    vec![
        Rule::new().version(true).translate_by_address(true, "ports4"),
        Rule::new().version(true).local_destination().translate_by_port(true, "ports4_any"),
        Rule::new().version(false).translate_by_address(false, "ports6"),
        Rule::new().version(false).local_destination().translate_by_port(false, "ports6_any"),
    ]
}

fn postrouting() -> Vec<Rule> {
    let mut rules = Vec::new();
    // A program of this host that asked for 127.0.0.1: containers answer to the bridge's address.
    rules.extend(loopback(true).map(|net| {
        Rule::new()
            .interface_in(Interface::Out, BRIDGES)
            .version(true)
            .address(Field::Source, true, &net)
            .masquerade()
            .comment("localhost to a published port")
    }));
    for v4 in [true, false] {
        rules.push(
            Rule::new()
                .version(v4)
                .address_in(Field::Source, v4, subnets_of(v4))
                .verdict(Verdict::Jump("leave")),
        );
    }
    rules
}

fn leave(networks: &[NetworkState]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for v4 in [true, false] {
        for (network, subnet) in subnets(networks, v4).filter(|(n, _)| !n.internal) {
            let from = || Rule::new().version(v4).address(Field::Source, true, &subnet);
            if network.masquerade {
                rules.push(
                    from()
                        .interface(Interface::In, true, &network.bridge)
                        .interface(Interface::Out, false, &network.bridge)
                        .masquerade()
                        .comment(&network.name),
                );
            }
            // To a published port of the same bridge: the answer has to come back this way. The way in is not
            // known here when the kernel bridges such a packet instead of routing it.
            rules.push(
                from()
                    .interface(Interface::Out, true, &network.bridge)
                    .translated()
                    .masquerade()
                    .comment("hairpin"),
            );
        }
    }
    rules
}

fn forward() -> Vec<Rule> {
    vec![
        Rule::new().established().verdict(Verdict::Accept),
        Rule::new().interface_in(Interface::Out, BRIDGES).verdict(Verdict::Jump("between")),
        Rule::new().interface_in(Interface::In, BRIDGES).verdict(Verdict::Jump("between")),
    ]
}

fn between(networks: &[NetworkState]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for network in networks.iter().filter(|n| n.internal) {
        for (this, that) in [(Interface::In, Interface::Out), (Interface::Out, Interface::In)] {
            rules.push(
                Rule::new()
                    .interface(this, true, &network.bridge)
                    .interface(that, false, &network.bridge)
                    .verdict(Verdict::Drop)
                    .comment("internal"),
            );
        }
    }
    for network in networks {
        let within = || {
            Rule::new().interface(Interface::Out, true, &network.bridge).interface(
                Interface::In,
                true,
                &network.bridge,
            )
        };
        let to = || Rule::new().interface(Interface::Out, true, &network.bridge);
        if network.icc {
            rules.push(within().verdict(Verdict::Accept).comment(&network.name));
        }
        rules.push(to().translated().verdict(Verdict::Accept).comment("published"));
        rules.push(to().verdict(Verdict::Drop).comment("not published"));
    }
    let to_foreign = || Rule::new().interface_in(Interface::Out, FOREIGN);
    rules.push(to_foreign().translated().verdict(Verdict::Accept).comment("published by Docker"));
    rules.push(to_foreign().verdict(Verdict::Drop).comment("not published by Docker"));
    rules
}
