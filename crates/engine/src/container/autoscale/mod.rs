//! Services whose number of containers follows what they have to do: started and stopped by the daemon, so that it goes
//! on when whoever brought the service up is gone.
//!
//! All that is needed stands in the containers' labels, so that the next daemon goes on too:
//! ```text
//! every second:  the containers of each service ─ their load ─ wanted ─ lasting? ─▶ more are made like those that are
//!                                                                               ─▶ the last ones stop, drained
//! ```
//! A service that changes (a roll, a stop, a health check that has not spoken) is left alone until it has settled. One
//! without a running container stays down.

mod policy;
mod replica;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dray_api::Labels;
use dray_api::extension::ServiceScale;
use jiff::Timestamp;

use self::policy::{History, Load, Policy};
use super::Error;
use super::live::Container;
use super::record::Record;
use super::service::Service;
use crate::timestamp::rfc3339;

/// How a container's service is scaled.
const AUTOSCALE: &str = "dev.dray.autoscale";
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const ONE_OFF: &str = "com.docker.compose.oneoff";
const CONFIG_HASH: &str = "com.docker.compose.config-hash";
/// Between two looks.
const PACE: Duration = Duration::from_secs(1);

/// A service: its project and its name.
type Key = (String, String);

/// What the autoscaler knows.
#[derive(Debug, Default)]
pub struct Autoscaler {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether somebody looks.
    awake: bool,
    services: BTreeMap<Key, Scaled>,
    /// By container: when its processor time was read, and what it was.
    cpu: HashMap<String, (Instant, u64)>,
}

/// A service that is scaled.
#[derive(Debug, Default)]
struct Scaled {
    history: History,
    /// Containers are being made or taken away.
    changing: bool,
    load: Load,
    wanted: usize,
    last: Option<Change>,
}

/// A change that was made.
#[derive(Debug, Clone)]
struct Change {
    at: Timestamp,
    from: usize,
    to: usize,
    reason: String,
}

/// The containers of a service at one moment.
#[derive(Debug, Default)]
struct Members {
    up: Vec<Arc<Container>>,
    /// Numbers that are taken, also by containers that do not run.
    numbers: BTreeSet<u32>,
    hashes: BTreeSet<String>,
    policies: BTreeSet<String>,
    settled: bool,
}

impl Autoscaler {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn label<'a>(record: &'a Record, name: &str) -> &'a str {
    record.config.labels.as_ref().and_then(|labels| labels.get(name)).map_or("", String::as_str)
}

/// The service that a container is scaled with.
fn key(record: &Record) -> Option<Key> {
    let (project, service) = (label(record, PROJECT), label(record, SERVICE));
    let scaled = !label(record, AUTOSCALE).is_empty() && label(record, ONE_OFF) != "True";
    (scaled && !service.is_empty()).then(|| (project.to_owned(), service.to_owned()))
}

/// Whether a container is neither on its way in nor on its way out.
fn is_settled(container: &Container) -> bool {
    let live = container.live();
    let state = &live.record.state;
    let starting = state.health.as_ref().is_some_and(|health| health.status == "starting");
    let interim = replica::number(&live.record) == 0 || is_interim(&live.record.name);
    !(state.starting || state.restarting || state.paused || starting || live.leaving || interim)
}

/// The name of a container that is to take another's place: `0123456789ab_p-web-1`.
fn is_interim(name: &str) -> bool {
    name.split_once('_').is_some_and(|(id, _)| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl Service {
    /// A container runs: if its service is scaled, somebody has to look.
    pub(super) fn wake_autoscaler(self: &Arc<Self>, container: &Container) {
        if container.with(key).is_none() {
            return;
        }
        let mut state = self.autoscaler.state();
        if std::mem::replace(&mut state.awake, true) {
            return;
        }
        drop(state);
        let service = Arc::downgrade(self);
        self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(PACE).await;
                let Some(service) = service.upgrade() else { return };
                if service.is_shutting_down() || !service.look().await {
                    return;
                }
            }
        });
    }

    /// Looks at all services that are scaled. False when there are none, and nobody has to look.
    async fn look(self: &Arc<Self>) -> bool {
        let members = self.scaled();
        let runs = |all: &BTreeMap<Key, Members>| all.values().any(|members| !members.up.is_empty());
        self.autoscaler.state().services.retain(|key, _| members.contains_key(key));
        if !runs(&members) {
            {
                let mut state = self.autoscaler.state();
                state.awake = false;
                state.cpu.clear();
            }
            // One that has started since has found somebody awake.
            return runs(&self.scaled()) && !std::mem::replace(&mut self.autoscaler.state().awake, true);
        }
        for (key, members) in members {
            if let Err(error) = self.look_at(&key, members).await {
                tracing::debug!(project = key.0, service = key.1, %error, "look at a service that is scaled");
            }
        }
        true
    }

    /// The containers of all services that are scaled.
    fn scaled(&self) -> BTreeMap<Key, Members> {
        let mut all: BTreeMap<Key, Members> = BTreeMap::new();
        for container in self.registry().all() {
            let Some(key) = container.with(key) else { continue };
            let members = all.entry(key).or_insert_with(|| Members { settled: true, ..Members::default() });
            let record = container.record();
            members.numbers.insert(replica::number(&record));
            let waits = record.state.status() == "created";
            if !record.state.running {
                // One that was made and is about to be started is part of a change.
                members.settled &= !waits && !record.state.removing;
                continue;
            }
            members.settled &= is_settled(&container);
            members.hashes.insert(label(&record, CONFIG_HASH).to_owned());
            members.policies.insert(label(&record, AUTOSCALE).to_owned());
            members.up.push(container);
        }
        for members in all.values_mut() {
            members.settled &= members.hashes.len() <= 1 && members.policies.len() <= 1;
            members.up.sort_by_key(|container| container.with(replica::number));
        }
        all
    }

    async fn look_at(self: &Arc<Self>, key: &Key, members: Members) -> Result<(), Error> {
        let Some(text) = members.policies.first().filter(|_| !members.up.is_empty()) else { return Ok(()) };
        let policy = Policy::parse(text).map_err(Error::Autoscale)?;
        let ids: Vec<String> = members.up.iter().map(|container| container.id.clone()).collect();
        let measured = self.blocking(move |service| Ok(service.measure(&ids))).await?;
        let now = members.up.len();
        let decided = {
            let mut state = self.autoscaler.state();
            let scaled = state.services.entry(key.clone()).or_default();
            scaled.load = measured.unwrap_or(scaled.load);
            if scaled.changing || !members.settled || measured.is_none() {
                scaled.history.clear();
                scaled.wanted = now;
                return Ok(());
            }
            scaled.wanted = policy.wanted(now, scaled.load);
            let decided = scaled.history.decide(Instant::now(), now, scaled.wanted, &policy);
            scaled.changing = decided.is_some();
            decided.map(|to| (to, reason(&policy, scaled.load)))
        };
        if let Some((to, reason)) = decided {
            let (service, key) = (Arc::clone(self), key.clone());
            self.runtime.spawn(async move { service.scale(&key, &members, to, reason).await });
        }
        Ok(())
    }

    /// The average load of containers; none before they have been looked at twice.
    fn measure(&self, ids: &[String]) -> Option<Load> {
        let mut sum = Load::default();
        let mut known = true;
        for id in ids {
            let Some(container) = self.registry().get(id) else { continue };
            let connections = self.networking.connections(id).unwrap_or(0);
            let Ok(used) = self.shim(&container).and_then(|shim| Ok(shim.stats()?)) else { continue };
            let now = Instant::now();
            let last = self.autoscaler.state().cpu.insert(id.clone(), (now, used.cpu.total));
            #[allow(clippy::cast_precision_loss, reason = "a share of a second")]
            match last {
                Some((then, total)) if now > then => {
                    let spent = used.cpu.total.saturating_sub(total) as f64;
                    sum.cpu += spent / now.duration_since(then).as_nanos() as f64 * 100.0;
                }
                _ => known = false,
            }
            #[allow(clippy::cast_precision_loss, reason = "no container has so many")]
            let count = connections as f64;
            sum.connections += count;
        }
        #[allow(clippy::cast_precision_loss, reason = "no service has so many")]
        let count = ids.len() as f64;
        known.then_some(Load { cpu: sum.cpu / count, connections: sum.connections / count })
    }

    /// Makes it so many containers.
    async fn scale(self: &Arc<Self>, key: &Key, members: &Members, to: usize, reason: String) {
        let from = members.up.len();
        let attributes = Labels::from([
            ("name".to_owned(), format!("{}/{}", key.0, key.1)),
            ("replicas.old".to_owned(), from.to_string()),
            ("replicas.new".to_owned(), to.to_string()),
            ("reason".to_owned(), reason.clone()),
        ]);
        self.events.publish("service", "update", &format!("{}/{}", key.0, key.1), attributes);
        let changed =
            if to > from { self.grow(members, to - from).await } else { self.shrink(members, to).await };
        if let Err(error) = changed {
            tracing::warn!(project = key.0, service = key.1, %error, "scale a service");
        }
        if let Some(scaled) = self.autoscaler.state().services.get_mut(key) {
            scaled.changing = false;
            scaled.history.clear();
            scaled.last = Some(Change { at: Timestamp::now(), from, to, reason });
        }
    }

    async fn grow(self: &Arc<Self>, members: &Members, more: usize) -> Result<(), Error> {
        let Some(like) = members.up.first().map(|container| container.record()) else { return Ok(()) };
        for number in replica::free_numbers(&members.numbers).take(more) {
            self.replicate(&like, number).await?;
        }
        Ok(())
    }

    /// Those of the highest numbers go, all at once.
    async fn shrink(self: &Arc<Self>, members: &Members, to: usize) -> Result<(), Error> {
        let mut stops = tokio::task::JoinSet::new();
        for container in members.up.iter().skip(to) {
            let (service, id) = (Arc::clone(self), container.id.clone());
            stops.spawn(async move {
                match service.stop(&id, None, None).await {
                    Ok(()) | Err(Error::AlreadyStopped) => service.remove(&id, true, true).await,
                    Err(error) => Err(error),
                }
            });
        }
        let mut first = Ok(());
        while let Some(stopped) = stops.join_next().await {
            let stopped = stopped.unwrap_or_else(|error| Err(Error::Interrupted(error.to_string())));
            first = first.and(stopped);
        }
        first
    }

    /// What is scaled, and how it stands.
    pub fn scales(&self) -> Vec<ServiceScale> {
        let members = self.scaled();
        let state = self.autoscaler.state();
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let one = |(key, members): (Key, Members)| {
            let policy = Policy::parse(members.policies.first()?).ok()?;
            let scaled = state.services.get(&key);
            let last = scaled.and_then(|scaled| scaled.last.clone());
            let load = scaled.map(|scaled| scaled.load).unwrap_or_default();
            Some(ServiceScale {
                project: key.0,
                service: key.1,
                replicas: count(members.up.len()),
                min: count(policy.min),
                max: count(policy.max),
                wanted: count(scaled.map_or(members.up.len(), |scaled| scaled.wanted)),
                cpu: load.cpu,
                target_cpu: policy.cpu,
                connections: load.connections,
                target_connections: policy.connections,
                changed_at: last.as_ref().map(|last| rfc3339(last.at)).unwrap_or_default(),
                changed_from: count(last.as_ref().map_or(0, |last| last.from)),
                changed_to: count(last.as_ref().map_or(0, |last| last.to)),
                reason: last.map(|last| last.reason).unwrap_or_default(),
            })
        };
        members.into_iter().filter_map(one).collect()
    }
}

/// Why a number is changed.
fn reason(policy: &Policy, load: Load) -> String {
    let cpu = policy.cpu.map(|target| format!("cpu {:.0}% of {target:.0}%", load.cpu));
    let connections =
        policy.connections.map(|target| format!("connections {:.1} of {target:.0}", load.connections));
    [cpu, connections].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
