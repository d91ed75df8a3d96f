//! Living with the host's own firewall.
//!
//! Docker and ufw set the policy of `ip filter FORWARD` to drop, and a packet must be accepted by every table. So
//! there two rules per bridge of ours are put before all others: at the top of `DOCKER-USER` where Docker made that,
//! else of `FORWARD`. They accept what our own table lets pass, are written as `iptables-nft` writes them (it must
//! be able to read its own tables) and carry a comment by which they are found again. Nothing else of the host's is
//! touched. firewalld (on nftables) rejects at the end of its chain what no zone of its knows: there the same two rules
//! stand first. It also drops IPv6 whose way back is not the way that it came (`IPv6_rpfilter`), as hosts do whose
//! operator asked for that in `raw` or `mangle`: what comes back through the gate has passed all of it before, at the
//! interface that it came by, and one rule says so. What was put there goes when the daemon stops; where containers go on without it, with the next daemon
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
/// Tables of `iptables` where sources are checked.
const RAW: &str = "raw";
const MANGLE: &str = "mangle";
const PREROUTING: &str = "PREROUTING";
const DOCKER_USER: &str = "DOCKER-USER";
const FIREWALLD: &str = "firewalld";

/// What is let through at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    /// What is forwarded from and to our bridges.
    Bridges,
    /// What comes back through the gate.
    Gate,
}

/// A chain of the host's that decides about what we let pass.
#[derive(Clone, Copy, Debug)]
struct Place {
    family: Family,
    table: &'static str,
    /// The chain in the packet path.
    chain: &'static str,
    /// One that it jumps to first, made for rules of others.
    user: Option<&'static str>,
    passing: Passing,
}

const PLACES: [Place; 8] = [
    forwarding(Family::Ip, TABLE, FORWARD, Some(DOCKER_USER)),
    forwarding(Family::Ip6, TABLE, FORWARD, Some(DOCKER_USER)),
    forwarding(Family::Inet, FIREWALLD, "filter_FORWARD", None),
    arriving(Family::Inet, FIREWALLD, "filter_PREROUTING"),
    arriving(Family::Ip, RAW, PREROUTING),
    arriving(Family::Ip6, RAW, PREROUTING),
    arriving(Family::Ip, MANGLE, PREROUTING),
    arriving(Family::Ip6, MANGLE, PREROUTING),
];

const fn forwarding(
    family: Family,
    table: &'static str,
    chain: &'static str,
    user: Option<&'static str>,
) -> Place {
    Place { family, table, chain, user, passing: Passing::Bridges }
}

const fn arriving(family: Family, table: &'static str, chain: &'static str) -> Place {
    Place { family, table, chain, user: None, passing: Passing::Gate }
}

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

/// Interfaces of ours that the host's rules must let pass.
#[derive(Clone, Debug, Default)]
struct Ours {
    bridges: Vec<String>,
    /// The end of the gate by which packets come back.
    gate: Option<String>,
}

/// Our rules in the host's tables.
#[derive(Debug)]
pub struct HostFirewall {
    own_table: String,
    socket: Mutex<Socket>,
    ours: Mutex<Ours>,
    /// Whether somebody has its table to itself.
    refused: AtomicBool,
}

impl HostFirewall {
    /// Touches nothing yet. Works on the calling thread's network namespace.
    pub fn open(own_table: &str) -> Result<Self> {
        let socket = Socket::open(netlink::Family::Netfilter)
            .map_err(|source| Error::System { operation: "open a netfilter socket", source })?;
        let (ours, refused) = (Mutex::default(), AtomicBool::default());
        Ok(Self { own_table: own_table.to_owned(), socket: Mutex::new(socket), ours, refused })
    }

    fn socket(&self) -> MutexGuard<'_, Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which bridges are ours and where the gate leads back, and sees to it that they are let through.
    pub fn set_interfaces(&self, bridges: Vec<String>, gate: Option<String>) -> Result<()> {
        *self.ours.lock().unwrap_or_else(PoisonError::into_inner) = Ours { bridges, gate };
        self.ensure()
    }

    /// Puts our rules where they are missing and removes those that are no longer wanted. Others change their tables
    /// at the same time, which fails a batch: then it looks again.
    pub fn ensure(&self) -> Result<()> {
        self.ensure_once().or_else(|_| self.ensure_once()).or_else(|_| self.ensure_once())
    }

    fn ensure_once(&self) -> Result<()> {
        let socket = self.socket();
        let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = |source| Error::Netlink { operation: "list the host's firewall".into(), source };
        let chains = nft::chains(&socket).map_err(read)?;
        for place in &PLACES {
            let wanted = self.wanted(&socket, place, &chains, &ours).map_err(read)?;
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
                    Err(e) if e.errno() == Some(libc::EPERM) && place.table == FIREWALLD => {
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

    /// Our rules that should be in a chain of the host's: none where it lets everything pass.
    fn wanted(
        &self,
        socket: &Socket,
        place: &Place,
        chains: &[Chain],
        ours: &Ours,
    ) -> io::Result<Vec<(&'static str, String, Rule)>> {
        let here = |c: &&Chain| match place.passing {
            Passing::Bridges => c.forwards(),
            Passing::Gate => c.arrives(),
        };
        let Some(decider) = place.find(chains, place.chain).filter(here) else {
            return Ok(Vec::new());
        };
        let foreign = nft::rules(socket, place.family, place.table, place.chain)?;
        let mut foreign = foreign.iter().filter(|r| !self.is_ours(r.comment.as_deref()));
        let decides = match place.passing {
            Passing::Bridges => decider.drops || foreign.next().is_some(),
            Passing::Gate => foreign.any(|r| r.checks_source),
        };
        if !decides {
            return Ok(Vec::new());
        }
        let user = place.user.filter(|name| place.find(chains, name).is_some());
        let chain = user.unwrap_or(place.chain);
        let rule = |which, word, interface: &str| {
            let comment = format!("{}{word} {interface}", self.mark());
            let rule = place.rule(which, interface, &comment);
            (chain, comment, rule)
        };
        Ok(match place.passing {
            Passing::Bridges => ours
                .bridges
                .iter()
                .flat_map(|b| [rule(Interface::In, "from", b), rule(Interface::Out, "to", b)])
                .collect(),
            Passing::Gate => ours.gate.iter().map(|gate| rule(Interface::In, "from", gate)).collect(),
        })
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
        for name in std::iter::once(place.chain).chain(place.user) {
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
        self.set_interfaces(Vec::new(), None)
    }

    /// Who decides about what comes in to this host by IPv4 or IPv6: `inet filter input (policy drop)`. Works on the
    /// calling thread's network namespace.
    pub fn input_chains(&self, v4: bool) -> Vec<String> {
        let socket = self.socket();
        let chains = nft::chains(&socket).unwrap_or_default();
        let other = if v4 { Family::Ip6 } else { Family::Ip };
        let inputs =
            chains.iter().filter(|c| c.receives() && c.table != self.own_table && c.family != other as u8);
        let mut found: Vec<String> = inputs
            .filter(|c| c.drops || decides(&socket, c.family, &c.table, &c.name))
            .map(|c| {
                let family = Family::name(c.family);
                let policy = if c.drops { "drop" } else { "accept" };
                format!("{family} {} {} (policy {policy})", c.table, c.name)
            })
            .collect();
        let (names, tool) = LEGACY[usize::from(!v4)];
        if legacy_filters(names) {
            found.push(format!("{tool} INPUT"));
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
                 --add-interface=<bridge>), and IPv6 ports of firewall-aware networks stay closed unless it is told \
                 IPv6_rpfilter=no"
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

/// Whether a chain has a rule that does more than jump to chains without such rules, which is what a firewall that was
/// turned off leaves behind. A chain that cannot be read counts as one that decides.
fn decides(socket: &Socket, family: u8, table: &str, chain: &str) -> bool {
    let Ok(rules) = nft::rules(socket, Family::of(family), table, chain) else { return true };
    // The kernel knows no circles of chains.
    rules.iter().any(|rule| rule.jump.as_ref().is_none_or(|to| decides(socket, family, table, to)))
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
/// host's own tables or firewalld's changed, or anything of our own tables by another than `own_port`.
pub fn concerns(message: &netlink::wire::Message<'_>, own_table: &str, own_port: u32) -> bool {
    const TABLE_GONE: u16 = (10 << 8) | 2;
    // Chains and rules: made or removed.
    const CHANGES: std::ops::RangeInclusive<u16> = (10 << 8) | 3..=(10 << 8) | 8;
    // Tables, chains, rules, sets and elements, all of which name their table first.
    const OBJECTS: std::ops::RangeInclusive<u16> = 10 << 8..=(10 << 8) | 14;
    match message.attrs(4).str(1) {
        Some(TABLE | FIREWALLD | RAW | MANGLE) => {
            CHANGES.contains(&message.kind) || message.kind == TABLE_GONE
        }
        Some(table) => table == own_table && OBJECTS.contains(&message.kind) && message.port != own_port,
        None => false,
    }
}
