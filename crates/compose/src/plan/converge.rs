//! Convergence: which containers stay, which are made anew, made, or removed.
//!
//! Nothing is asked and nothing is changed here. References to containers of other services are part of a service's
//! hash; where such a container will be made anew, its id is not known yet, and so those that refer to it are made
//! anew too.

use std::collections::{BTreeMap, BTreeSet};

use dray_api::container::{ContainerSummary, MountType};

use super::label;
use crate::model::autoscale::Autoscale;
use crate::model::hash;
use crate::model::project::Project;
use crate::model::service::Service;

/// A container that is there.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What the daemon lists.
    pub summary: ContainerSummary,
}

impl Seen {
    /// A label's value.
    pub fn label(&self, name: &str) -> &str {
        self.summary.labels.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Its service.
    pub fn service(&self) -> &str {
        self.label(label::SERVICE)
    }

    /// Its number among the replicas.
    pub fn number(&self) -> u32 {
        self.label(label::NUMBER).parse().unwrap_or(0)
    }

    /// Whether `run` made it.
    pub fn is_one_off(&self) -> bool {
        self.label(label::ONE_OFF) == "True"
    }

    /// Its name without the slash: of several, the one that is not a link's.
    pub fn name(&self) -> &str {
        let names = &self.summary.names;
        let own = names.iter().find(|n| n.matches('/').count() == 1).or(names.first());
        own.map(|n| n.trim_start_matches('/')).unwrap_or_default()
    }

    /// Whether it waits, under an interim name, to take the place of another.
    pub fn is_interim(&self) -> bool {
        let prefix = self.name().split_once('_').map_or("", |(prefix, _)| prefix);
        let is_id = prefix.len() == 12 && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id && !self.label(label::REPLACE).is_empty()
    }

    /// Whether it waits to take the place of this one.
    fn replaces(&self, old: &Seen) -> bool {
        let prefix = self.name().split_once('_').map_or("", |(prefix, _)| prefix);
        self.is_interim() && old.summary.id.starts_with(prefix)
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.summary.state == "running"
    }
}

/// When a container is made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recreate {
    /// When its configuration or image has changed.
    #[default]
    Diverged,
    /// Always.
    Force,
    /// Never.
    Never,
}

/// How a project is to be brought up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The services that were named.
    pub named: Vec<String>,
    /// For the services that were named.
    pub recreate: Recreate,
    /// For those that they depend on.
    pub recreate_dependencies: Recreate,
    /// Ids of the images by service.
    pub images: BTreeMap<String, String>,
    /// Ids of the networks by their names in the project.
    pub networks: BTreeMap<String, String>,
}

/// What happens with one container.
#[derive(Clone, Debug)]
pub enum Action {
    /// It stays.
    Keep(Seen),
    /// It is made anew under its name and number.
    Recreate(Seen),
    /// A new one, with this number.
    Create(u32),
    /// It goes.
    Remove(Seen),
}

/// What happens with one service.
#[derive(Clone, Debug)]
pub struct ServicePlan {
    /// The service.
    pub name: String,
    /// Services whose containers must be there before.
    pub after: Vec<String>,
    /// Dependents that are stopped first, since they restart with it.
    pub stop: Vec<Seen>,
    /// Its containers.
    pub actions: Vec<Action>,
}

/// All that happens before anything is started.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Containers of services that the project does not have.
    pub orphans: Vec<Seen>,
    /// The services, each after those it needs.
    pub services: Vec<ServicePlan>,
}

impl Plan {
    /// Whether nothing changes.
    pub fn is_settled(&self) -> bool {
        self.services.iter().flat_map(|s| &s.actions).all(|a| matches!(a, Action::Keep(_)))
    }
}

/// Makes the plan.
pub fn plan(project: &Project, seen: &[Seen], options: &Options) -> Plan {
    let known: BTreeSet<&String> = project.all_services().map(|(name, _)| name).collect();
    let orphans = seen.iter().filter(|c| !c.is_one_off() && !known.contains(&c.service().to_owned()));
    let mut planner = Planner { project, seen, options, ids: BTreeMap::new() };
    let order = project.in_order();
    let services =
        order.iter().filter(|n| project.services[*n].provider.is_none()).map(|n| planner.service(n));
    Plan { services: services.collect(), orphans: orphans.cloned().collect() }
}

struct Planner<'a> {
    project: &'a Project,
    seen: &'a [Seen],
    options: &'a Options,
    /// The first container of each service so far; none if it will be a new one.
    ids: BTreeMap<String, Option<String>>,
}

impl Planner<'_> {
    fn service(&mut self, name: &str) -> ServicePlan {
        let service = &self.project.services[name];
        let after = references(service);
        let resolved = self.resolve(service);
        let own: Vec<(Seen, bool)> = self
            .seen
            .iter()
            .filter(|c| c.service() == name && !c.is_one_off())
            .map(|c| (c.clone(), self.diverged(name, resolved.as_ref(), c)))
            .collect();
        let next = own.iter().map(|(c, _)| c.number()).max().unwrap_or(0) + 1;
        let surplus = surplus(&own);
        let (surplus, mut own): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|(c, _)| surplus.contains(&c.summary.id));
        // Those that are as they should be stay first; of them, the lowest numbers. Of the others, what a roll that was
        // cut off has left goes last.
        own.sort_by_key(|(c, diverged)| {
            (*diverged, *diverged && c.is_interim(), c.number(), c.summary.created)
        });
        let said = service.replicas();
        let wanted = match Autoscale::of(service).filter(|_| service.scale.is_none()) {
            // The daemon has found out how many there should be.
            Some(scale) => scale.replicas(own.len(), said),
            None => usize::try_from(said).unwrap_or(0),
        };
        let missing = u32::try_from(wanted.saturating_sub(own.len())).unwrap_or(0);
        let mut actions = Vec::new();
        for (i, (seen, diverged)) in own.into_iter().enumerate() {
            actions.push(match (i < wanted, diverged) {
                (false, _) => Action::Remove(seen),
                (true, true) => Action::Recreate(seen),
                (true, false) => Action::Keep(seen),
            });
        }
        actions.extend(surplus.into_iter().map(|(seen, _)| Action::Remove(seen)));
        actions.extend((0..missing).map(|i| Action::Create(next + i)));
        let first = actions.iter().find_map(|a| match a {
            Action::Keep(c) => Some(Some(c.summary.id.clone())),
            Action::Recreate(_) | Action::Create(_) => Some(None),
            Action::Remove(_) => None,
        });
        self.ids.insert(name.to_owned(), first.flatten());
        let changes = actions.iter().any(|a| matches!(a, Action::Recreate(_)));
        let stop = if changes { self.restarting_dependents(name) } else { Vec::new() };
        ServicePlan { name: name.to_owned(), after, stop, actions }
    }

    /// The service with its references as ids; none if one of them is not known yet.
    fn resolve(&self, service: &Service) -> Option<Service> {
        let mut resolved = service.clone();
        let mut unknown = false;
        with_ids(&mut resolved, |name| {
            let id = self.ids.get(name).cloned().flatten();
            unknown |= id.is_none();
            id
        });
        (!unknown).then_some(resolved)
    }

    fn diverged(&self, name: &str, resolved: Option<&Service>, seen: &Seen) -> bool {
        let named = self.options.named.is_empty() || self.options.named.iter().any(|n| n == name);
        let policy = if named { self.options.recreate } else { self.options.recreate_dependencies };
        match policy {
            Recreate::Never => return false,
            Recreate::Force => return true,
            Recreate::Diverged => {}
        }
        let Some(service) = resolved else { return true };
        // A roll that was cut off is done again.
        let rolled = service.deploy.as_ref().is_some_and(|deploy| deploy.update_config.is_some());
        if rolled && seen.is_interim() {
            return true;
        }
        if seen.label(label::CONFIG_HASH) != hash::service(service) {
            return true;
        }
        // Docker Compose's hash has no extension fields.
        let scaled = Autoscale::of(service).map(|scale| scale.label()).unwrap_or_default();
        if seen.label(label::AUTOSCALE) != scaled {
            return true;
        }
        let image = self.options.images.get(name).map(String::as_str).unwrap_or_default();
        if seen.label(label::IMAGE) != image {
            return true;
        }
        let lacks_network = match seen.is_running() {
            true => self.lacks_network(service, seen),
            false => self.left_network(service, seen),
        };
        lacks_network || self.lacks_volume(service, seen)
    }

    fn lacks_network(&self, service: &Service, seen: &Seen) -> bool {
        let connected = seen.summary.network_settings.networks.clone().unwrap_or_default();
        service
            .networks
            .keys()
            .filter_map(|key| self.options.networks.get(key))
            .any(|id| !connected.values().any(|endpoint| endpoint.network_id == *id))
    }

    /// Whether a container that does not run was taken out of a network that then was to be made anew. Its endpoints
    /// need not have ids yet; of networks that are not the project's the name may be an id.
    fn left_network(&self, service: &Service, seen: &Seen) -> bool {
        let Some(connected) = &seen.summary.network_settings.networks else { return false };
        service
            .networks
            .keys()
            .filter_map(|key| self.project.networks.get(key))
            .any(|network| !network.external && !connected.contains_key(&network.name))
    }

    fn lacks_volume(&self, service: &Service, seen: &Seen) -> bool {
        let named = service.volumes.iter().filter(|v| v.kind == "volume" && !v.source.is_empty());
        named.filter_map(|v| self.project.volumes.get(&v.source)).any(|volume| {
            !seen.summary.mounts.iter().any(|m| m.kind == MountType::Volume && m.name == volume.name)
        })
    }

    fn restarting_dependents(&self, name: &str) -> Vec<Seen> {
        let restarts = |service: &Service| service.depends_on.get(name).is_some_and(|d| d.restart);
        let dependents: BTreeSet<&String> =
            self.project.services.iter().filter(|(_, s)| restarts(s)).map(|(n, _)| n).collect();
        let of_them =
            |c: &&Seen| c.is_running() && !c.is_one_off() && dependents.contains(&c.service().to_owned());
        self.seen.iter().filter(of_them).cloned().collect()
    }
}

/// Of containers (each with whether it has diverged) the ids of those that a recreation which was cut off has left beside
/// the one in whose place they are: the old one where the new one is as it should be, else the new one.
fn surplus(own: &[(Seen, bool)]) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for (new, diverged) in own {
        if let Some((old, outdated)) = own.iter().find(|(old, _)| new.replaces(old)) {
            let one = if *outdated && !*diverged { old } else { new };
            ids.insert(one.summary.id.clone());
        }
    }
    ids
}

/// Services whose containers a service names: shared namespaces, links, volumes.
fn references(service: &Service) -> Vec<String> {
    let mut names = BTreeSet::new();
    for mode in [&service.network_mode, &service.ipc, &service.pid] {
        names.extend(mode.strip_prefix("service:").map(str::to_owned));
    }
    for link in &service.links {
        names.insert(link.split(':').next().unwrap_or(link).to_owned());
    }
    for from in service.volumes_from.iter().filter(|v| !v.starts_with("container:")) {
        names.insert(from.split(':').next().unwrap_or(from).to_owned());
    }
    names.into_iter().collect()
}

/// Puts ids of containers where a service names another one.
pub fn with_ids(service: &mut Service, mut id_of: impl FnMut(&str) -> Option<String>) {
    for mode in [&mut service.network_mode, &mut service.ipc, &mut service.pid] {
        if let Some(name) = mode.strip_prefix("service:").map(str::to_owned) {
            *mode = format!("container:{}", id_of(&name).unwrap_or_default());
        }
    }
    for from in &mut service.volumes_from {
        let parts: Vec<&str> = from.split(':').collect();
        *from = match parts.as_slice() {
            ["container", id, ..] => (*id).to_owned(),
            [name, ..] => id_of(name).unwrap_or_default(),
            [] => String::new(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(services: &[(&str, i64, &[&str])]) -> Project {
        let service = |image: &str, replicas: i64, on: &[&str]| Service {
            image: image.to_owned(),
            scale: Some(replicas),
            depends_on: on
                .iter()
                .map(|d| {
                    let dependency = crate::model::service::Dependency {
                        restart: true,
                        required: true,
                        ..Default::default()
                    };
                    ((*d).to_owned(), dependency)
                })
                .collect(),
            ..Service::default()
        };
        let all = services.iter().map(|(n, r, on)| ((*n).to_owned(), service(n, *r, on)));
        Project { name: "p".into(), services: all.collect(), ..Project::default() }
    }

    fn seen(project: &Project, service: &str, number: u32) -> Seen {
        let hash = project.services.get(service).map(hash::service).unwrap_or_default();
        let labels = [
            (label::SERVICE, service.to_owned()),
            (label::NUMBER, number.to_string()),
            (label::CONFIG_HASH, hash),
            (label::ONE_OFF, "False".into()),
        ];
        Seen {
            summary: ContainerSummary {
                id: format!("{service}{number}"),
                names: vec![format!("/p-{service}-{number}")],
                state: "running".into(),
                labels: labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
                ..ContainerSummary::default()
            },
        }
    }

    fn shown(plan: &Plan) -> String {
        let action = |a: &Action| match a {
            Action::Keep(c) => format!("keep {}", c.name()),
            Action::Recreate(c) => format!("recreate {}", c.name()),
            Action::Create(n) => format!("create {n}"),
            Action::Remove(c) => format!("remove {}", c.name()),
        };
        let service = |s: &ServicePlan| {
            format!("{}: {}", s.name, s.actions.iter().map(action).collect::<Vec<_>>().join(", "))
        };
        plan.services.iter().map(service).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn nothing_there_is_made_in_order() {
        let p = project(&[("a", 1, &["b"]), ("b", 2, &[])]);
        assert_eq!(shown(&plan(&p, &[], &Options::default())), "b: create 1, create 2; a: create 1");
    }

    #[test]
    fn what_is_right_stays_and_numbers_go_on() {
        let p = project(&[("a", 3, &[])]);
        let there = [seen(&p, "a", 2), seen(&p, "a", 1)];
        assert_eq!(shown(&plan(&p, &there, &Options::default())), "a: keep p-a-1, keep p-a-2, create 3");
    }

    #[test]
    fn what_has_changed_is_made_anew_and_dependents_stop() {
        let old = project(&[("a", 1, &["b"]), ("b", 1, &[])]);
        let there = [seen(&old, "a", 1), seen(&old, "b", 1)];
        let mut new = old.clone();
        new.services.get_mut("b").unwrap().hostname = "h".into();
        let made = plan(&new, &there, &Options::default());
        assert_eq!(shown(&made), "b: recreate p-b-1; a: keep p-a-1");
        assert_eq!(made.services[0].stop.iter().map(Seen::name).collect::<Vec<_>>(), ["p-a-1"]);
        let never = Options { recreate: Recreate::Never, ..Options::default() };
        assert!(plan(&new, &there, &never).is_settled());
    }

    #[test]
    fn scaling_down_removes_changed_ones_and_high_numbers_first() {
        let p = project(&[("a", 1, &[])]);
        let mut changed = seen(&p, "a", 1);
        changed.summary.labels.insert(label::CONFIG_HASH.into(), "other".into());
        let there = [changed, seen(&p, "a", 2), seen(&p, "a", 3)];
        assert_eq!(
            shown(&plan(&p, &there, &Options::default())),
            "a: keep p-a-2, remove p-a-3, remove p-a-1"
        );
    }

    #[test]
    fn a_shared_namespace_follows_its_container() {
        let mut p = project(&[("a", 1, &["b"]), ("b", 1, &[])]);
        p.services.get_mut("a").unwrap().network_mode = "service:b".into();
        let mut resolved = p.clone();
        resolved.services.get_mut("a").unwrap().network_mode = "container:b1".into();
        let there = [seen(&resolved, "a", 1), seen(&p, "b", 1)];
        assert!(plan(&p, &there, &Options::default()).is_settled());
        p.services.get_mut("b").unwrap().hostname = "h".into();
        assert_eq!(shown(&plan(&p, &there, &Options::default())), "b: recreate p-b-1; a: recreate p-a-1");
    }

    #[test]
    fn what_a_roll_has_left_goes_and_the_roll_is_done_again() {
        let mut p = project(&[("a", 1, &[])]);
        let deploy = crate::model::deploy::Deploy {
            update_config: Some(crate::model::deploy::UpdateConfig::default()),
            ..Default::default()
        };
        let mut old = seen(&p, "a", 1);
        old.summary.labels.insert(label::CONFIG_HASH.into(), "other".into());
        p.services.get_mut("a").unwrap().deploy = Some(deploy);
        let mut new = seen(&p, "a", 1);
        new.summary.names = vec!["/0123456789ab_p-a-1".into()];
        new.summary.labels.insert(label::REPLACE.into(), "a-1".into());
        let made = shown(&plan(&p, &[new, old], &Options::default()));
        assert_eq!(made, "a: recreate p-a-1, remove 0123456789ab_p-a-1");
    }

    #[test]
    fn what_a_recreation_has_left_is_not_one_of_those_wanted() {
        let p = project(&[("a", 2, &[])]);
        let old = |number| {
            let mut old = seen(&p, "a", number);
            old.summary.id = format!("{number}123456789abcdef");
            old.summary.labels.insert(label::CONFIG_HASH.into(), "other".into());
            old
        };
        let mut new = seen(&p, "a", 1);
        new.summary.names = vec!["/1123456789ab_p-a-1".into()];
        new.summary.labels.insert(label::REPLACE.into(), "a-1".into());
        let there = [old(1), new, old(2)];
        let made =
            |p: &Project, recreate| shown(&plan(p, &there, &Options { recreate, ..Options::default() }));
        assert_eq!(made(&p, Recreate::Diverged), "a: keep 1123456789ab_p-a-1, recreate p-a-2, remove p-a-1");
        let left = "remove 1123456789ab_p-a-1";
        assert_eq!(made(&p, Recreate::Never), format!("a: keep p-a-1, keep p-a-2, {left}"));
        let p = project(&[("a", 3, &[])]);
        assert_eq!(made(&p, Recreate::Force), format!("a: recreate p-a-1, recreate p-a-2, {left}, create 3"));
    }

    #[test]
    fn one_that_was_taken_out_of_its_network_is_made_anew() {
        let mut p = project(&[("a", 1, &[])]);
        p.services.get_mut("a").unwrap().networks.insert("n".into(), None);
        let network = crate::model::resource::Network { name: "p_n".into(), ..Default::default() };
        p.networks.insert("n".into(), network);
        let mut one = seen(&p, "a", 1);
        one.summary.state = "exited".into();
        let mut there = |networks: &[&str]| {
            let all = networks.iter().map(|name| ((*name).to_owned(), Default::default()));
            one.summary.network_settings.networks = Some(all.collect());
            shown(&plan(&p, std::slice::from_ref(&one), &Options::default()))
        };
        assert_eq!(there(&["p_n"]), "a: keep p-a-1");
        assert_eq!(there(&[]), "a: recreate p-a-1");
    }

    #[test]
    fn orphans_are_found() {
        let p = project(&[("a", 1, &[])]);
        let there = [seen(&p, "gone", 1)];
        assert_eq!(plan(&p, &there, &Options::default()).orphans.len(), 1);
    }
}
