//! Living with the host's own firewall.
//!
//! Docker and ufw set the policy of `ip filter FORWARD` to drop, and a packet must be accepted by every table. So
//! there two rules per bridge of ours are put before all others: at the top of `DOCKER-USER` where Docker made that,
//! else of `FORWARD`. They accept what our own table lets pass, are written as `iptables-nft` writes them (it must
//! be able to read its own tables) and carry a comment by which they are found again. Nothing else of the host's is
//! touched. firewalld (on nftables) rejects at the end of its chain what no zone of its knows: there the same two rules
//! stand first. What was put there goes when the daemon stops; where containers go on without it, with the next daemon
//! that finds none of them alive.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::netlink::{self, Socket};
use crate::nft::{self, Batch, Chain, Family, Interface, Rule, Verdict};

const TABLE: &str = "filter";
const FORWARD: &str = "FORWARD";
const DOCKER_USER: &str = "DOCKER-USER";
const FIREWALLD: &str = "firewalld";

/// A chain of the host's that decides about what is forwarded.
#[derive(Clone, Copy, Debug)]
struct Place {
    family: Family,
    table: &'static str,
    /// The chain in the packet path.
    forward: &'static str,
    /// One that it jumps to first, made for rules of others.
    user: Option<&'static str>,
    /// Whether it refuses what no rule of it accepts, whatever its policy says.
    refuses: bool,
}

const PLACES: [Place; 3] = [
    Place { family: Family::Ip, table: TABLE, forward: FORWARD, user: Some(DOCKER_USER), refuses: false },
    Place { family: Family::Ip6, table: TABLE, forward: FORWARD, user: Some(DOCKER_USER), refuses: false },
    Place { family: Family::Inet, table: FIREWALLD, forward: "filter_FORWARD", user: None, refuses: true },
];

impl Place {
    fn find<'a>(&self, chains: &'a [Chain], name: &str) -> Option<&'a Chain> {
        chains.iter().find(|c| c.family == self.family as u8 && c.table == self.table && c.name == name)
    }

    /// A rule of ours; in tables of `iptables-nft` in its own form.
    fn rule(&self, which: Interface, bridge: &str, comment: &str) -> Rule {
        let rule = match self.family {
            Family::Inet => Rule::new().interface(which, true, bridge),
            _ => Rule::new().interface_as_iptables(which, bridge),
        };
        rule.counter().verdict(Verdict::Accept).comment(comment)
    }
}

/// Our rules in the host's tables.
#[derive(Debug)]
pub struct HostFirewall {
    own_table: String,
    socket: Mutex<Socket>,
    bridges: Mutex<Vec<String>>,
    /// Whether somebody has its table to itself.
    refused: AtomicBool,
}

impl HostFirewall {
    /// Touches nothing yet. Works on the calling thread's network namespace.
    pub fn open(own_table: &str) -> Result<Self> {
        let socket = Socket::open(netlink::Family::Netfilter)
            .map_err(|source| Error::System { operation: "open a netfilter socket", source })?;
        let (bridges, refused) = (Mutex::default(), AtomicBool::default());
        Ok(Self { own_table: own_table.to_owned(), socket: Mutex::new(socket), bridges, refused })
    }

    fn socket(&self) -> MutexGuard<'_, Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which bridges are ours, and sees to it that they are let through.
    pub fn set_bridges(&self, bridges: Vec<String>) -> Result<()> {
        *self.bridges.lock().unwrap_or_else(PoisonError::into_inner) = bridges;
        self.ensure()
    }

    /// Puts our rules where they are missing and removes those that are no longer wanted. Others change their tables
    /// at the same time, which fails a batch: then it looks again.
    pub fn ensure(&self) -> Result<()> {
        self.ensure_once().or_else(|_| self.ensure_once()).or_else(|_| self.ensure_once())
    }

    fn ensure_once(&self) -> Result<()> {
        let socket = self.socket();
        let bridges = self.bridges.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = |source| Error::Netlink { operation: "list the host's firewall".into(), source };
        let chains = nft::chains(&socket).map_err(read)?;
        for place in &PLACES {
            let wanted = self.wanted(&socket, place, &chains, &bridges).map_err(read)?;
            let found = self.found(&socket, place, &chains).map_err(read)?;
            let mut names: Vec<(&str, &str)> =
                found.iter().map(|(chain, _, comment)| (*chain, comment.as_str())).collect();
            let mut sought: Vec<(&str, &str)> =
                wanted.iter().map(|(chain, comment, _)| (*chain, comment.as_str())).collect();
            names.sort_unstable();
            sought.sort_unstable();
            if names != sought {
                match self.replace(&socket, place, &found, &wanted) {
                    // A newer firewalld has its table to itself: that is told of.
                    Err(e) if e.errno() == Some(libc::EPERM) && place.refuses => {
                        self.refused.store(true, Ordering::Relaxed);
                    }
                    other => other?,
                }
            }
        }
        Ok(())
    }

    fn replace(
        &self,
        socket: &Socket,
        place: &Place,
        found: &[(&'static str, u64, String)],
        wanted: &[(&'static str, String, Rule)],
    ) -> Result<()> {
        let mut batch = Batch::new();
        for (chain, handle, _) in found {
            batch.delete_rule(place.family, place.table, chain, *handle);
        }
        for (chain, _, rule) in wanted {
            batch.insert_rule(place.family, place.table, chain, rule);
        }
        batch.commit(socket).map_err(|e| e.of("add rules to the host's firewall"))
    }

    /// Our rules that should be in a family's table: none where the host lets everything pass.
    fn wanted(
        &self,
        socket: &Socket,
        place: &Place,
        chains: &[Chain],
        bridges: &[String],
    ) -> io::Result<Vec<(&'static str, String, Rule)>> {
        let Some(forward) = place.find(chains, place.forward).filter(|c| c.forwards()) else {
            return Ok(Vec::new());
        };
        let foreign = nft::rules(socket, place.family, place.table, place.forward)?;
        let decides = forward.drops || foreign.iter().any(|r| !self.is_ours(r.comment.as_deref()));
        if !decides {
            return Ok(Vec::new());
        }
        let user = place.user.filter(|name| place.find(chains, name).is_some());
        let chain = user.unwrap_or(place.forward);
        let rules = bridges.iter().flat_map(|bridge| {
            [(Interface::In, "from"), (Interface::Out, "to")].map(|(which, word)| {
                let comment = format!("{}{word} {bridge}", self.mark());
                let rule = place.rule(which, bridge, &comment);
                (chain, comment, rule)
            })
        });
        Ok(rules.collect())
    }

    fn mark(&self) -> String {
        format!("dray {}: ", self.own_table)
    }

    fn is_ours(&self, comment: Option<&str>) -> bool {
        comment.is_some_and(|c| c.starts_with(&self.mark()))
    }

    fn found(
        &self,
        socket: &Socket,
        place: &Place,
        chains: &[Chain],
    ) -> io::Result<Vec<(&'static str, u64, String)>> {
        let mut found = Vec::new();
        for name in std::iter::once(place.forward).chain(place.user) {
            if place.find(chains, name).is_some() {
                let rules = nft::rules(socket, place.family, place.table, name)?;
                found.extend(rules.into_iter().filter_map(|r| {
                    let comment = r.comment.filter(|c| self.is_ours(Some(c)))?;
                    Some((name, r.handle, comment))
                }));
            }
        }
        Ok(found)
    }

    /// Takes all our rules out again.
    pub fn remove(&self) -> Result<()> {
        self.set_bridges(Vec::new())
    }

    /// Who decides about what comes in to this host: `inet filter input (policy drop)`. Works on the calling thread's
    /// network namespace.
    pub fn input_chains(&self) -> Vec<String> {
        let chains = nft::chains(&self.socket()).unwrap_or_default();
        let inputs = chains.iter().filter(|c| c.receives() && c.table != self.own_table);
        let mut found: Vec<String> = inputs
            .map(|c| {
                let family = Family::name(c.family);
                let policy = if c.drops { "drop" } else { "accept" };
                format!("{family} {} {} (policy {policy})", c.table, c.name)
            })
            .collect();
        for (names, tool) in LEGACY {
            if legacy_filters(names) {
                found.push(format!("{tool} INPUT"));
            }
        }
        found
    }

    /// What may keep packets from containers and is not ours to change.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (names, tool) in LEGACY {
            if legacy_filters(names) {
                warnings.push(format!(
                    "the host uses {tool}, which Dray does not change: if its FORWARD policy is DROP, containers \
                     reach nothing until it accepts their bridges ({tool} -I FORWARD -i <bridge> -j ACCEPT)"
                ));
            }
        }
        if self.refused.load(Ordering::Relaxed) {
            warnings.push(
                "firewalld has its table to itself (NftablesTableOwner), which Dray cannot change: containers reach \
                 nothing until their bridges are in a zone that lets them (firewall-cmd --permanent --zone=trusted \
                 --add-interface=<bridge>)"
                    .to_owned(),
            );
        }
        let chains = nft::chains(&self.socket()).unwrap_or_default();
        let blocking = |c: &&Chain| {
            let handled = c.table == TABLE && c.name == FORWARD && c.family != Family::Inet as u8;
            c.forwards() && c.drops && c.table != self.own_table && !handled
        };
        warnings.extend(chains.iter().filter(blocking).map(|c| {
            format!(
                "the host's firewall drops forwarded packets by default (nftables table {}, chain {}): containers \
                 reach nothing until it accepts their bridges",
                c.table, c.name
            )
        }));
        warnings
    }
}

/// Where the kernel names the tables of the old tools.
const LEGACY: [(&str, &str); 2] =
    [("ip_tables_names", "iptables-legacy"), ("ip6_tables_names", "ip6tables-legacy")];

fn legacy_filters(names: &str) -> bool {
    // The thread's own: /proc/net is that of the process's first thread.
    let tables = fs::read_to_string(format!("/proc/thread-self/net/{names}")).unwrap_or_default();
    tables.lines().any(|t| t == TABLE)
}

/// Whether a notification of nftables means that somebody may have removed what is ours: rules or chains of the
/// host's filter tables or firewalld's changed, or anything of our own tables by another than `own_port`.
pub fn concerns(message: &netlink::wire::Message<'_>, own_table: &str, own_port: u32) -> bool {
    const TABLE_GONE: u16 = (10 << 8) | 2;
    // Chains and rules: made or removed.
    const CHANGES: std::ops::RangeInclusive<u16> = (10 << 8) | 3..=(10 << 8) | 8;
    // Tables, chains, rules, sets and elements, all of which name their table first.
    const OBJECTS: std::ops::RangeInclusive<u16> = 10 << 8..=(10 << 8) | 14;
    match message.attrs(4).str(1) {
        Some(TABLE | FIREWALLD) => CHANGES.contains(&message.kind) || message.kind == TABLE_GONE,
        Some(table) => table == own_table && OBJECTS.contains(&message.kind) && message.port != own_port,
        None => false,
    }
}
