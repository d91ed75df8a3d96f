//! Ports of the host that several containers share: a new connection goes to one of those that are ready for it.
//!
//! Containers of one group that ask for the same port of the host all get it. In the table such a port has [`SLOTS`]
//! elements instead of one, dealt out to those of its containers that are best off; a new connection falls on any of
//! them. A container that is worse off, or about to stop, loses its slots in one step with their new owners' getting
//! them, and the connections that it has stay: the kernel remembers where they go. What a socket of the daemon's carries
//! (::1, IPv6 to containers without it) is dealt out by its forwarder.
//!
//! Invariant: who changes what is shared holds [`Inner::sharing`], and what the table says is what [`Shares`] says, or a
//! heal is on its way.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use crate::config::{Bound, Endpoint, Proto};
use crate::error::{Error, Result};
use crate::firewall::{Listing, Mapping, SLOTS, Spread};
use crate::forwarder::{self, Forwarder, Targets};
use crate::network::Inner;
use crate::ports::Held;
use crate::sockets::Sockets;
use crate::virtual_ip;

/// How long a program may take to listen before it is taken for one that does not tell.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How far a container is fit for new connections. Of those that share a port the best get them; where none is better,
/// the others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    /// It is.
    Ready,
    /// It will be.
    Starting,
    /// Its health check fails.
    Unhealthy,
    /// It stops, or is paused.
    Away,
}

/// Where a port is on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Front {
    proto: Proto,
    host_ip: IpAddr,
    host_port: u16,
}

impl From<&Bound> for Front {
    fn from(bound: &Bound) -> Self {
        Self { proto: bound.proto, host_ip: bound.host_ip, host_port: bound.host_port }
    }
}

/// A container that shares its ports, or the address of a service.
#[derive(Debug)]
struct Sharer {
    group: Option<String>,
    readiness: Readiness,
}

/// A port that is shared.
#[derive(Debug, Default)]
struct Share {
    members: Vec<Member>,
    held: Option<Held>,
    forwarder: Option<Forwarder>,
    targets: Arc<Targets>,
}

/// A container behind a shared port.
#[derive(Debug)]
struct Member {
    container_id: String,
    /// What the table translates, where it does.
    mapping: Option<Mapping>,
    /// Where a forwarder leads.
    target: Option<SocketAddr>,
}

/// All that is shared.
#[derive(Debug, Default)]
pub struct Shares {
    sharers: HashMap<String, Sharer>,
    fronts: BTreeMap<Front, Share>,
}

impl Shares {
    /// The group that a container shares its ports with.
    pub fn group(&self, container_id: &str) -> Option<String> {
        self.sharers.get(container_id)?.group.clone()
    }

    /// What the table says of all of it.
    pub fn spreads(&self) -> Vec<Spread> {
        self.fronts.keys().flat_map(|front| self.spread(front)).collect()
    }

    /// The slots of one port.
    fn spread(&self, front: &Front) -> Vec<Spread> {
        let Some(share) = self.fronts.get(front) else { return Vec::new() };
        let best: Vec<Mapping> = self.best(share, |member| member.mapping);
        let gated = best.iter().any(|mapping| mapping.gated);
        let slots = best.iter().cycle().zip(0..SLOTS);
        slots.map(|(to, slot)| Spread { mapping: Mapping { gated, ..*to }, slot }).collect()
    }

    /// What those of a port's containers have that are best off.
    fn best<T>(&self, share: &Share, of: impl Fn(&Member) -> Option<T>) -> Vec<T> {
        self.best_of(share.members.iter().filter_map(|m| Some((m.container_id.as_str(), of(m)?))))
    }

    /// What those of some containers have that are best off.
    pub fn best_of<'a, T>(&self, all: impl Iterator<Item = (&'a str, T)>) -> Vec<T> {
        let mut all: Vec<(Readiness, T)> = all.map(|(id, has)| (self.readiness(id), has)).collect();
        let best = all.iter().map(|(readiness, _)| *readiness).min();
        all.retain(|(readiness, _)| Some(*readiness) == best);
        all.into_iter().map(|(_, has)| has).collect()
    }

    fn readiness(&self, container_id: &str) -> Readiness {
        self.sharers.get(container_id).map_or(Readiness::Away, |sharer| sharer.readiness)
    }

    /// Tells forwarders where new connections go.
    fn aim(&self, fronts: &[Front]) {
        for share in fronts.iter().filter_map(|front| self.fronts.get(front)) {
            share.targets.set(self.best(share, |member| member.target));
        }
    }

    fn fronts_of(&self, container_id: &str) -> Vec<Front> {
        let has = |share: &Share| share.members.iter().any(|m| m.container_id == container_id);
        self.fronts.iter().filter(|(_, share)| has(share)).map(|(front, _)| *front).collect()
    }

    /// The ports on which a container's program listens when it is ready.
    fn awaited(&self, container_id: &str) -> Vec<u16> {
        let fronts = self.fronts.iter().filter(|(front, _)| front.proto == Proto::Tcp);
        let members = fronts.flat_map(|(_, share)| &share.members);
        let own = members.filter(|member| member.container_id == container_id);
        let mut ports: Vec<u16> = own.filter_map(|m| m.target.map(|target| target.port())).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Whether of some containers one may get connections.
    fn any_fit<'a>(&self, mut ids: impl Iterator<Item = &'a str>) -> bool {
        ids.any(|id| self.readiness(id) < Readiness::Away)
    }

    /// Whether at each of a container's ports another one can take its place; none if it shares no port.
    fn can_leave(&self, container_id: &str) -> Option<bool> {
        let fronts = self.fronts_of(container_id);
        let others = |front: &Front| {
            let ids = self.fronts[front].members.iter().map(|m| m.container_id.as_str());
            self.any_fit(ids.filter(|id| *id != container_id))
        };
        (!fronts.is_empty()).then(|| fronts.iter().all(others))
    }
}

/// Says that a container shares its ports with others of a group, or the address of a service.
pub fn set_sharer(inner: &Inner, container_id: &str, group: Option<String>, readiness: Readiness) {
    inner.state().shares.sharers.insert(container_id.to_owned(), Sharer { group, readiness });
}

/// A container is gone.
pub fn forget(inner: &Inner, container_id: &str) {
    inner.state().shares.sharers.remove(container_id);
}

/// For whoever changes what a container shares; nothing for one that does not share.
pub fn guard<'a>(inner: &'a Inner, container_id: &str) -> Option<MutexGuard<'a, ()>> {
    let shares = inner.state().shares.sharers.contains_key(container_id);
    shares.then(|| inner.sharing())
}

/// Puts a container behind its ports.
pub fn join(inner: &Inner, endpoint: &Endpoint, held: Vec<Held>, mappings: &[Mapping]) -> Result<()> {
    let address = endpoint.ip.map(IpAddr::V4).or(endpoint.ip6.map(IpAddr::V6));
    let fronts: Vec<Front> = held.iter().map(|one| Front::from(&one.bound)).collect();
    change(inner, &fronts, |shares| {
        for mut one in held {
            let front = Front::from(&one.bound);
            let share = shares.fronts.entry(front).or_default();
            let leads = |m: &&Mapping| {
                (m.proto, m.host_ip, m.host_port) == (front.proto, front.host_ip, front.host_port)
            };
            share.members.push(Member {
                container_id: endpoint.container_id.clone(),
                mapping: mappings.iter().find(leads).copied(),
                target: address.map(|address| SocketAddr::new(address, one.bound.container_port)),
            });
            let serves = front.host_ip.is_ipv6() && front.proto != Proto::Sctp;
            match one.socket.take() {
                Some(socket) if serves => {
                    let (runtime, targets) = (inner.service.handle(), Arc::clone(&share.targets));
                    share.forwarder = forwarder::serve(runtime, front.proto, socket, targets);
                }
                Some(socket) => share.held = Some(Held { bound: one.bound, socket: Some(socket) }),
                None => {}
            }
        }
    })
}

/// Takes a container away from its ports, or from some of them. The last one closes their sockets.
pub fn leave(inner: &Inner, container_id: &str, ports: Option<&[Bound]>) -> Result<()> {
    let mut fronts = inner.state().shares.fronts_of(container_id);
    fronts.retain(|front| ports.is_none_or(|ports| ports.iter().any(|b| Front::from(b) == *front)));
    if fronts.is_empty() {
        return Ok(());
    }
    let mut gone = Vec::new();
    let changed = change(inner, &fronts, |shares| {
        for front in &fronts {
            let Some(share) = shares.fronts.get_mut(front) else { continue };
            share.members.retain(|member| member.container_id != container_id);
            if share.members.is_empty() {
                gone.extend(shares.fronts.remove(front));
            }
        }
    });
    let forwarders = gone.into_iter().filter_map(|share| share.forwarder).collect();
    forwarder::close(forwarders);
    changed
}

/// Says how far a container is fit for new connections.
pub fn set_readiness(inner: &Inner, container_id: &str, readiness: Readiness) -> Result<()> {
    alter_readiness(inner, container_id, |_| readiness)
}

fn alter_readiness(
    inner: &Inner,
    container_id: &str,
    next: impl FnOnce(Readiness) -> Readiness,
) -> Result<()> {
    let Some(_one) = guard(inner, container_id) else { return Ok(()) };
    let (fronts, networks) = {
        let state = inner.state();
        (state.shares.fronts_of(container_id), state.virtuals.networks_of(container_id))
    };
    let changed = change(inner, &fronts, |shares| {
        if let Some(sharer) = shares.sharers.get_mut(container_id) {
            sharer.readiness = next(sharer.readiness);
        }
    });
    let told = networks.iter().map(|network| virtual_ip::write_network(inner, network));
    Error::from_all(std::iter::once(changed).chain(told).filter_map(Result::err).collect())
}

/// Changes what is shared, and what the table and the forwarders of these ports say.
fn change(inner: &Inner, fronts: &[Front], alter: impl FnOnce(&mut Shares)) -> Result<()> {
    let changed = {
        let _shared = inner.publishing();
        let mut state = inner.state();
        let slots = |shares: &Shares| fronts.iter().flat_map(|f| shares.spread(f)).collect::<Vec<_>>();
        let before = slots(&state.shares);
        alter(&mut state.shares);
        let after = slots(&state.shares);
        state.shares.aim(fronts);
        let restoring = state.restoring;
        drop(state);
        let beyond = |these: &[Spread], those: &[Spread]| Listing {
            spreads: these.iter().filter(|spread| !those.contains(spread)).copied().collect(),
            ..Listing::default()
        };
        let (gone, new) = (beyond(&before, &after), beyond(&after, &before));
        match restoring || (gone.spreads.is_empty() && new.spreads.is_empty()) {
            true => Ok(()),
            false => inner.firewall.change_ports(&gone, &new),
        }
    };
    match changed {
        // Somebody has changed the table: it is made anew of what is known.
        Err(e) if matches!(e.errno(), Some(libc::ENOENT | libc::EEXIST)) => {
            inner.heal();
            Ok(())
        }
        other => other,
    }
}

/// How many connections a container has that shares; none where no other can take its place.
pub fn connections(inner: &Inner, container_id: &str) -> Result<Option<usize>> {
    let can_leave = {
        let state = inner.state();
        let services = state.virtuals.others(container_id);
        let by_port = state.shares.can_leave(container_id);
        let by_service = services.iter().all(|ids| state.shares.any_fit(ids.iter().map(String::as_str)));
        by_port.unwrap_or(!services.is_empty()) && by_service
    };
    if can_leave { all_connections(inner, container_id) } else { Ok(None) }
}

/// How many connections others have to a container.
pub fn all_connections(inner: &Inner, container_id: &str) -> Result<Option<usize>> {
    let sandbox = inner.state().sandboxes.get(container_id).cloned();
    let Some(sandbox) = sandbox else { return Ok(None) };
    let failed = |source| Error::System { operation: "list a container's connections", source };
    Ok(Some(Sockets::of(&sandbox).map_err(failed)?.served()))
}

/// Takes a container that is starting for ready as soon as its program listens on the ports that it shares.
pub fn ready_when_listening(inner: &Arc<Inner>, container_id: &str) {
    if inner.state().shares.readiness(container_id) != Readiness::Starting {
        return;
    }
    let (weak, id, until) = (Arc::downgrade(inner), container_id.to_owned(), Instant::now() + PATIENCE);
    let look = move || {
        let mut pause = FIRST_LOOK;
        while let Some(inner) = weak.upgrade() {
            if inner.state().shares.readiness(&id) != Readiness::Starting {
                return;
            }
            if listens(&inner, &id) || Instant::now() > until {
                let ready = |now| if now == Readiness::Starting { Readiness::Ready } else { now };
                if let Err(e) = alter_readiness(&inner, &id, ready) {
                    tracing::warn!(container = id, "{e}");
                }
                return;
            }
            drop(inner);
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    if let Err(e) = std::thread::Builder::new().name("listening".into()).spawn(look) {
        tracing::warn!("wait for a container that is to share a port: {e}");
    }
}

/// Whether a container's program listens on all that it is asked for.
fn listens(inner: &Inner, container_id: &str) -> bool {
    let (ports, sandbox) = {
        let state = inner.state();
        (state.shares.awaited(container_id), state.sandboxes.get(container_id).cloned())
    };
    let sockets = sandbox.and_then(|sandbox| Sockets::of(&sandbox).ok()).unwrap_or_default();
    // What a service is asked for is not said anywhere.
    !sockets.listening.is_empty() && ports.iter().all(|port| sockets.listening.contains(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(text: &str) -> Front {
        Front { proto: Proto::Tcp, host_ip: text.parse().expect(text), host_port: 8080 }
    }

    fn shares(members: &[(&str, Readiness)]) -> (Shares, Front) {
        let mut shares = Shares::default();
        let front = front("0.0.0.0");
        for (n, (id, readiness)) in members.iter().enumerate() {
            let sharer = Sharer { group: Some("web".into()), readiness: *readiness };
            shares.sharers.insert((*id).to_owned(), sharer);
            let to: IpAddr = [10, 0, 0, u8::try_from(n).expect("few")].into();
            let mapping = Mapping {
                proto: Proto::Tcp,
                host_ip: front.host_ip,
                host_port: 8080,
                to,
                to_port: 80,
                gated: false,
            };
            shares.fronts.entry(front).or_default().members.push(Member {
                container_id: (*id).to_owned(),
                mapping: Some(mapping),
                target: Some(SocketAddr::new(to, 80)),
            });
        }
        (shares, front)
    }

    /// How many slots lead to each address.
    fn dealt(shares: &Shares, front: &Front) -> Vec<(String, usize)> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for spread in shares.spread(front) {
            *counts.entry(spread.mapping.to.to_string()).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    #[test]
    fn slots_are_dealt_out_to_those_that_are_best_off() {
        use Readiness::{Away, Ready, Starting, Unhealthy};
        let to = |pairs: &[(&str, usize)]| -> Vec<(String, usize)> {
            pairs.iter().map(|(ip, n)| ((*ip).to_owned(), *n)).collect()
        };
        let (all, front) = shares(&[("a", Ready), ("b", Ready), ("c", Ready)]);
        assert_eq!(dealt(&all, &front), to(&[("10.0.0.0", 40), ("10.0.0.1", 40), ("10.0.0.2", 40)]));
        let (mixed, _) = shares(&[("a", Unhealthy), ("b", Ready), ("c", Starting)]);
        assert_eq!(dealt(&mixed, &front), to(&[("10.0.0.1", 120)]));
        let (young, _) = shares(&[("a", Away), ("b", Starting), ("c", Starting)]);
        assert_eq!(dealt(&young, &front), to(&[("10.0.0.1", 60), ("10.0.0.2", 60)]));
        let (last, _) = shares(&[("a", Away)]);
        assert_eq!(dealt(&last, &front), to(&[("10.0.0.0", 120)]));
    }

    #[test]
    fn who_leaves_waits_only_while_another_takes_its_place() {
        use Readiness::{Away, Ready, Unhealthy};
        assert_eq!(shares(&[("a", Away), ("b", Ready)]).0.can_leave("a"), Some(true));
        assert_eq!(shares(&[("a", Away), ("b", Unhealthy)]).0.can_leave("a"), Some(true));
        assert_eq!(shares(&[("a", Away), ("b", Away)]).0.can_leave("a"), Some(false));
        assert_eq!(shares(&[("a", Away)]).0.can_leave("a"), Some(false));
        assert_eq!(Shares::default().can_leave("a"), None);
    }
}
