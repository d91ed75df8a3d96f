//! Ports and mounts of a container that runs: changed in place, all of it or nothing.
//!
//! ```text
//! checked as a create is ─ mounts out ─ mounts in ─ ports ─ limits ─ written down ─ what went is let go
//!                          ◄─────── undone from the last to the first if one fails
//! ```
//! A container that does not run has only its record changed.

use std::sync::Arc;

use dray_api::Empty;
use dray_api::container::{ContainerUpdateResponse, Mount, MountType, PortBinding, PortMap};
use dray_api::extension::ContainerLiveUpdateRequest;
use dray_runtime::MountChange;

use super::Error;
use super::live::Container;
use super::mount::{self, MountPoint, clean, parse_bind, parse_mount};
use super::record::Record;
use super::service::Service;
use super::spec;
use super::validate::{Namespace, namespace};

/// What takes a step back again.
type Undo<'a> = Box<dyn FnOnce() -> Result<(), Error> + 'a>;

/// What changes.
#[derive(Debug, Default)]
struct Changes {
    publish: PortMap,
    /// As they are bound.
    withdraw: PortMap,
    attach: Vec<MountPoint>,
    detach: Vec<MountPoint>,
    /// Anonymous volumes made for it.
    made: Vec<String>,
}

impl Service {
    /// Changes ports, mounts and limits of a container, while it runs if it does. What fails leaves all as it was.
    ///
    /// # Errors
    /// `InvalidParameter` for what cannot be, `Conflict` for a container without a network of its own, and what
    /// network and kernel say.
    pub async fn update_live(
        self: &Arc<Self>,
        called: &str,
        request: ContainerLiveUpdateRequest,
    ) -> Result<ContainerUpdateResponse, Error> {
        let container = self.registry.find(called)?;
        self.blocking(move |service| {
            let _order = container.lifecycle.blocking_lock();
            let mut changes = Changes::default();
            let done = service.update_live_now(&container, &request, &mut changes);
            service.volumes.settle(&container.id);
            if done.is_err() {
                let made = changes.made.iter();
                made.for_each(|name| service.volumes.remove_anonymous(name, &container.id));
            }
            done
        })
        .await
    }

    fn update_live_now(
        self: &Arc<Self>,
        container: &Arc<Container>,
        request: &ContainerLiveUpdateRequest,
        changes: &mut Changes,
    ) -> Result<ContainerUpdateResponse, Error> {
        let old = container.record();
        if old.state.removing || old.state.dead {
            return Err(Error::MarkedForRemoval);
        }
        let mut record = old.clone();
        plan_ports(&mut record, request, changes)?;
        self.plan_mounts(&mut record, request, changes)?;
        let mut undo: Vec<Undo<'_>> = Vec::new();
        let done = self.carry_out(container, &old, &mut record, request, changes, &mut undo);
        match done {
            Ok(warnings) => {
                self.let_go(&record, &changes.detach);
                self.announce(container, "update", &[]);
                Ok(ContainerUpdateResponse { warnings: Some(warnings) })
            }
            Err(error) => {
                for step in undo.into_iter().rev() {
                    if let Err(error) = step() {
                        tracing::error!(container = container.id, %error, "take a change back");
                    }
                }
                self.let_go(&old, &changes.attach);
                Err(error)
            }
        }
    }

    /// The mounts that come and go; the record has them afterwards.
    fn plan_mounts(
        &self,
        record: &mut Record,
        request: &ContainerLiveUpdateRequest,
        changes: &mut Changes,
    ) -> Result<(), Error> {
        for target in &request.mount_remove {
            let target = clean(target);
            let at = record.mounts.iter().position(|point| point.destination == target);
            let at = at.ok_or_else(|| mount::Error::NotMounted(target.clone()))?;
            changes.detach.push(record.mounts.remove(at));
            forget_mount(record, &target);
        }
        for asked in &request.mount_add {
            let point = self.plan_mount(record, asked, changes)?;
            record.mounts.push(point.clone());
            record.host.mounts.get_or_insert_default().push(asked.clone());
            changes.attach.push(point);
        }
        record.mounts.sort_by(|a, b| a.destination.cmp(&b.destination));
        Ok(())
    }

    fn plan_mount(&self, record: &Record, asked: &Mount, changes: &mut Changes) -> Result<MountPoint, Error> {
        let mut point = parse_mount(asked)?;
        if point.kind == MountType::Image {
            // Its layers would have to be held like those of the container's own image.
            return Err(mount::Error::NotLive("image").into());
        }
        let tmpfs = record.host.tmpfs.iter().flatten().any(|(path, _)| clean(path) == point.destination);
        if tmpfs || record.mounts.iter().any(|other| other.destination == point.destination) {
            return Err(mount::Error::Duplicate(point.destination).into());
        }
        self.find_live_source(&mut point, &record.id, &mut changes.made)?;
        // What the image has there belongs to the running program now.
        point.copy = false;
        Ok(point)
    }

    /// Changes the container; each step leaves what takes it back.
    fn carry_out<'a>(
        self: &'a Arc<Self>,
        container: &'a Arc<Container>,
        old: &'a Record,
        record: &mut Record,
        request: &ContainerLiveUpdateRequest,
        changes: &'a Changes,
        undo: &mut Vec<Undo<'a>>,
    ) -> Result<Vec<String>, Error> {
        let up = container.is_up();
        // Limits that cannot be are refused before anything is touched.
        let mut update = request.update.clone();
        let warnings = match &mut update {
            Some(update) => self.plan_limits(container, record, update)?,
            None => Vec::new(),
        };
        for point in changes.detach.iter().filter(|_| up) {
            self.detach_mount(container, point)?;
            undo.push(Box::new(move || self.attach_mount(container, old, point)));
        }
        for point in changes.attach.iter().filter(|_| up) {
            self.attach_mount(container, record, point)?;
            undo.push(Box::new(move || self.detach_mount(container, point)));
        }
        if up && !(changes.publish.is_empty() && changes.withdraw.is_empty()) {
            if matches!(namespace(&record.host.network_mode), Namespace::Container(_)) {
                return Err(Error::NoPorts);
            }
            let networked = self.networked(record);
            record.ports =
                self.networking.republish(&networked, &old.ports, &changes.publish, &changes.withdraw)?;
            let now = record.ports.clone();
            undo.push(Box::new(move || {
                let added = bound_beyond(&now, &old.ports);
                let networked = self.networked(old);
                self.networking.republish(&networked, &now, &changes.withdraw, &added)?;
                Ok(())
            }));
        }
        if let Some(update) = &update {
            self.apply_limits(container, update)?;
            undo.push(Box::new(move || {
                if !container.is_up() {
                    return Ok(());
                }
                let limits = spec::resources(&old.host.resources)?;
                Ok(self.shim(container)?.update(&limits)?)
            }));
        }
        self.amend(container, |changed| {
            changed.host.clone_from(&record.host);
            changed.config.clone_from(&record.config);
            changed.mounts.clone_from(&record.mounts);
            changed.ports.clone_from(&record.ports);
        })?;
        Ok(warnings)
    }

    fn attach_mount(&self, container: &Container, record: &Record, point: &MountPoint) -> Result<(), Error> {
        let source = self.prepare_live_source(point, record)?;
        let user = self.user_of(record)?;
        let mount = spec::mount(point, source.as_ref(), (user.uid, user.gid));
        Ok(self.shim(container)?.change_mount(MountChange::Add(Box::new(mount)))?)
    }

    fn detach_mount(&self, container: &Container, point: &MountPoint) -> Result<(), Error> {
        Ok(self.shim(container)?.change_mount(MountChange::Remove(point.destination.clone().into()))?)
    }

    /// Volumes of these mounts that the container does not have otherwise are no longer used by it.
    fn let_go(&self, record: &Record, points: &[MountPoint]) {
        let kept = |name: &str| record.mounts.iter().any(|point| point.name == name);
        for point in points.iter().filter(|point| point.kind == MountType::Volume && !kept(&point.name)) {
            self.volumes.unmount(&point.name, &record.id);
        }
    }
}

/// The ports that come and go; the record asks for them, or no longer, afterwards.
fn plan_ports(
    record: &mut Record,
    request: &ContainerLiveUpdateRequest,
    changes: &mut Changes,
) -> Result<(), Error> {
    for (key, wanted) in &request.publish_remove {
        for wanted in wanted.iter().flatten() {
            let asked = withdraw_asked(record, key, wanted);
            let bound = withdraw_bound(record, key, wanted, changes);
            if !asked && !bound {
                return Err(Error::NotPublished { port: key.clone(), host: shown(wanted) });
            }
        }
    }
    for (key, bindings) in &request.publish_add {
        let bindings = bindings.clone().unwrap_or_default();
        record.config.exposed_ports.get_or_insert_default().insert(key.clone(), Empty);
        let all = record.host.port_bindings.get_or_insert_default().entry(key.clone()).or_insert(None);
        all.get_or_insert_default().extend(bindings.clone());
        changes.publish.entry(key.clone()).or_insert(None).get_or_insert_default().extend(bindings);
    }
    Ok(())
}

fn matches(wanted: &PortBinding, binding: &PortBinding) -> bool {
    let same = |wanted: &str, given: &str| wanted.is_empty() || wanted == given;
    same(&wanted.host_ip, &binding.host_ip) && same(&wanted.host_port, &binding.host_port)
}

/// Takes bindings out of those asked for; one without a port stands for whatever port it got.
fn withdraw_asked(record: &mut Record, key: &str, wanted: &PortBinding) -> bool {
    let Some(all) = record.host.port_bindings.as_mut() else { return false };
    let Some(Some(bindings)) = all.get_mut(key) else { return false };
    let before = bindings.len();
    bindings.retain(|binding| !matches(wanted, binding));
    if bindings.len() == before
        && let Some(any) = bindings.iter().position(|binding| binding.host_port.is_empty())
        && bound_at(record.ports.get(key), wanted)
    {
        bindings.remove(any);
    }
    let changed = bindings.len() != before;
    if bindings.is_empty() {
        all.remove(key);
    }
    changed
}

fn bound_at(ports: Option<&Option<Vec<PortBinding>>>, wanted: &PortBinding) -> bool {
    ports.into_iter().flatten().flatten().any(|bound| matches(wanted, bound))
}

fn withdraw_bound(record: &Record, key: &str, wanted: &PortBinding, changes: &mut Changes) -> bool {
    let bound = record.ports.get(key).into_iter().flatten().flatten();
    let gone: Vec<PortBinding> = bound.filter(|bound| matches(wanted, bound)).cloned().collect();
    if gone.is_empty() {
        return false;
    }
    changes.withdraw.entry(key.to_owned()).or_insert(None).get_or_insert_default().extend(gone);
    true
}

fn shown(binding: &PortBinding) -> String {
    [binding.host_ip.as_str(), binding.host_port.as_str()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(":")
}

/// What is bound now and was not before.
fn bound_beyond(now: &PortMap, before: &PortMap) -> PortMap {
    let known = |key: &str, bound: &PortBinding| {
        before.get(key).into_iter().flatten().flatten().any(|other| other == bound)
    };
    let mut beyond = PortMap::new();
    for (key, bound) in now {
        let new: Vec<PortBinding> =
            bound.iter().flatten().filter(|bound| !known(key, bound)).cloned().collect();
        if !new.is_empty() {
            beyond.insert(key.clone(), Some(new));
        }
    }
    beyond
}

/// Takes a mount out of what the container was made with.
fn forget_mount(record: &mut Record, target: &str) {
    if let Some(binds) = &mut record.host.binds {
        binds.retain(|raw| parse_bind(raw, "").is_ok_and(|point| point.destination != target));
    }
    if let Some(mounts) = &mut record.host.mounts {
        mounts.retain(|mount| clean(&mount.target) != target);
    }
    if let Some(volumes) = &mut record.config.volumes {
        volumes.retain(|path, _| clean(path) != target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(ip: &str, port: &str) -> PortBinding {
        PortBinding { host_ip: ip.into(), host_port: port.into() }
    }

    fn map(key: &str, bindings: &[(&str, &str)]) -> PortMap {
        let bindings = bindings.iter().map(|(ip, port)| binding(ip, port)).collect();
        PortMap::from([(key.to_owned(), Some(bindings))])
    }

    fn running() -> Record {
        let mut record = Record::default();
        record.host.port_bindings = Some(map("80/tcp", &[("", "8080"), ("127.0.0.1", "")]));
        record.ports = map("80/tcp", &[("0.0.0.0", "8080"), ("::", "8080"), ("127.0.0.1", "32768")]);
        record
    }

    fn plan(record: &mut Record, remove: PortMap) -> Result<Changes, String> {
        let request = ContainerLiveUpdateRequest { publish_remove: remove, ..Default::default() };
        let mut changes = Changes::default();
        plan_ports(record, &request, &mut changes).map_err(|error| error.to_string())?;
        Ok(changes)
    }

    #[test]
    fn a_port_goes_with_all_its_addresses() {
        let mut record = running();
        let changes = plan(&mut record, map("80/tcp", &[("", "8080")])).unwrap();
        assert_eq!(changes.withdraw, map("80/tcp", &[("0.0.0.0", "8080"), ("::", "8080")]));
        assert_eq!(record.host.port_bindings, Some(map("80/tcp", &[("127.0.0.1", "")])));
    }

    #[test]
    fn a_port_that_nobody_chose_goes_by_the_one_it_got() {
        let mut record = running();
        let changes = plan(&mut record, map("80/tcp", &[("", "32768")])).unwrap();
        assert_eq!(changes.withdraw, map("80/tcp", &[("127.0.0.1", "32768")]));
        assert_eq!(record.host.port_bindings, Some(map("80/tcp", &[("", "8080")])));
        let changes = plan(&mut running(), map("80/tcp", &[("", "")])).unwrap();
        assert_eq!(changes.withdraw["80/tcp"].as_ref().map(Vec::len), Some(3));
        let error = plan(&mut running(), map("80/tcp", &[("10.0.0.1", "81")])).unwrap_err();
        assert_eq!(error, "port 80/tcp is not published at 10.0.0.1:81");
    }

    #[test]
    fn what_is_new_is_what_was_not_bound() {
        let now = map("80/tcp", &[("0.0.0.0", "1"), ("0.0.0.0", "2")]);
        assert_eq!(
            bound_beyond(&now, &map("80/tcp", &[("0.0.0.0", "1")])),
            map("80/tcp", &[("0.0.0.0", "2")])
        );
    }
}
