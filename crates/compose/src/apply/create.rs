//! The containers of a plan: made, made anew, removed; services that need no other at once.

use std::cell::RefCell;
use std::collections::BTreeMap;

use dray_api::Labels;
use dray_api::container::{Mount as ApiMount, MountType};
use dray_api::network::EndpointSettings;
use futures_util::future::try_join_all;
use tokio::sync::watch;

use super::roll::{Replacement, rolls};
use super::{Engine, Error, Include, Result, Status, shown};
use crate::model::project::Project;
use crate::model::service::Service;
use crate::plan::container::Wanted;
use crate::plan::{Action, Plan, Seen, ServicePlan, container_name, label, with_ids};

/// A container of `run`.
#[derive(Clone, Debug, Default)]
pub struct OneOff {
    /// Its name.
    pub name: String,
    /// More labels.
    pub labels: Labels,
    /// Whether somebody is at its stdin.
    pub attach_stdin: bool,
    /// Whether it goes away when it ends.
    pub auto_remove: bool,
    /// Whether others find it by the service's name.
    pub aliases: bool,
    /// Its image's id.
    pub image_id: Option<String>,
}

/// What the making of containers needs to know.
struct Making<'a> {
    project: &'a Project,
    images: &'a BTreeMap<String, String>,
    /// Whether anonymous volumes are taken over.
    inherit: bool,
    timeout: Option<i64>,
    many_networks: bool,
    /// Containers of each service so far: id and name.
    made: RefCell<BTreeMap<String, Vec<(String, String)>>>,
    /// Where containers that are rolled out are kept for the start; none if nothing is rolled out.
    rolled: Option<&'a RefCell<Vec<Replacement>>>,
}

impl Engine<'_> {
    /// Carries a plan out: nothing is started. With `rolled`, running containers of services that are rolled out stay
    /// as they are, and what is to replace them is added there for the start.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn create(
        &self,
        project: &Project,
        plan: &Plan,
        images: &BTreeMap<String, String>,
        inherit: bool,
        timeout: Option<i64>,
        rolled: Option<&RefCell<Vec<Replacement>>>,
    ) -> Result<()> {
        let many_networks = self.speaks(1, 44).await?;
        let made = RefCell::default();
        let making = Making { project, images, inherit, timeout, many_networks, made, rolled };
        let mut done: BTreeMap<&str, watch::Receiver<bool>> = BTreeMap::new();
        let mut work = Vec::new();
        for service in &plan.services {
            let before: Vec<_> = service.after.iter().filter_map(|n| done.get(n.as_str()).cloned()).collect();
            let (finished, receiver) = watch::channel(false);
            done.insert(&service.name, receiver);
            let making = &making;
            work.push(async move {
                for mut other in before {
                    // A sender that is gone has failed, which ends this future too.
                    if other.wait_for(|done| *done).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                self.create_service(making, service).await?;
                finished.send_replace(true);
                Ok::<(), Error>(())
            });
        }
        try_join_all(work).await.map(|_| ())
    }

    async fn create_service(&self, making: &Making<'_>, plan: &ServicePlan) -> Result<()> {
        let mut service = making.project.services[&plan.name].clone();
        let references = making.made.borrow().clone();
        with_ids(&mut service, |name| references.get(name).and_then(|c| c.first()).map(|(id, _)| id.clone()));
        if let Some(missing) = unresolved(&service) {
            return Err(Error::NoContainer { what: missing, name: plan.name.clone() });
        }
        if !plan.stop.is_empty() {
            self.stop_containers(&plan.stop, None, making.timeout).await?;
        }
        // What a roll or a recreation that was cut off has left goes first: its names are needed again.
        let is_first =
            |action: &&Action| matches!(action, Action::Remove(seen) if rolls(&service) || seen.is_interim());
        let removals = plan.actions.iter().filter(is_first);
        try_join_all(removals.map(|a| self.act(making, &plan.name, &service, a))).await?;
        let others = plan.actions.iter().filter(|a| !is_first(a));
        let actions = others.map(|a| self.act(making, &plan.name, &service, a));
        let made: Vec<Option<(String, String)>> = try_join_all(actions).await?;
        self.mend_names(making, &service, plan).await?;
        making.made.borrow_mut().insert(plan.name.clone(), made.into_iter().flatten().collect());
        Ok(())
    }

    /// Gives containers their names that an interrupted recreation has left with interim ones.
    async fn mend_names(&self, making: &Making<'_>, service: &Service, plan: &ServicePlan) -> Result<()> {
        for action in &plan.actions {
            let Action::Keep(seen) = action else { continue };
            let title = self.name_of(making.project, &plan.name, service, seen.number().max(1));
            let interim = seen.name().strip_suffix(&format!("_{title}")).is_some_and(|id| id.len() == 12);
            if interim && !seen.label(label::REPLACE).is_empty() {
                self.client.container_rename(&seen.summary.id, &title).await?;
            }
        }
        Ok(())
    }

    async fn act(
        &self,
        making: &Making<'_>,
        name: &str,
        service: &Service,
        action: &Action,
    ) -> Result<Option<(String, String)>> {
        match action {
            Action::Keep(seen) => {
                if seen.is_running() {
                    self.tell(&shown(seen.name()), Status::Done, "Running");
                }
                Ok(Some((seen.summary.id.clone(), seen.name().to_owned())))
            }
            Action::Remove(seen) => {
                self.stop_and_remove(seen, Some((name, service)), making.timeout, false).await?;
                Ok(None)
            }
            Action::Create(number) => {
                let title = self.name_of(making.project, name, service, *number);
                self.tell(&shown(&title), Status::Working, "Creating");
                let id = self.make(making, name, service, *number, &title, &title, None).await;
                let id = self.told(&shown(&title), id)?;
                self.tell(&shown(&title), Status::Done, "Created");
                Ok(Some((id, title)))
            }
            Action::Recreate(seen) if seen.is_running() && rolls(service) && making.rolled.is_some() => {
                let number = seen.number().max(1);
                let title = self.name_of(making.project, name, service, number);
                let interim = interim_name(seen, &title);
                let new = self.make(making, name, service, number, &title, &interim, Some(seen)).await;
                let new = self.told(&shown(seen.name()), new)?;
                if let Some(rolled) = making.rolled {
                    rolled.borrow_mut().push(Replacement {
                        service: name.to_owned(),
                        old: seen.clone(),
                        new: new.clone(),
                        title: title.clone(),
                        timeout: making.timeout,
                        moved: RefCell::default(),
                    });
                }
                Ok(Some((new, title)))
            }
            Action::Recreate(seen) => {
                self.tell(&shown(seen.name()), Status::Working, "Recreate");
                let made = self.recreate(making, name, service, seen).await;
                let made = self.told(&shown(seen.name()), made)?;
                self.tell(&shown(seen.name()), Status::Done, "Recreated");
                Ok(Some(made))
            }
        }
    }

    fn told<T>(&self, id: &str, result: Result<T>) -> Result<T> {
        if let Err(e) = &result {
            self.tell(id, Status::Error, &e.to_string());
        }
        result
    }

    fn name_of(&self, project: &Project, name: &str, service: &Service, number: u32) -> String {
        if service.container_name.is_empty() {
            container_name(&project.name, name, number, self.separator)
        } else {
            service.container_name.clone()
        }
    }

    /// The new one is made under another name before the old one goes, so that a failure leaves the old one.
    async fn recreate(
        &self,
        making: &Making<'_>,
        name: &str,
        service: &Service,
        old: &Seen,
    ) -> Result<(String, String)> {
        let number = old.number().max(1);
        let title = self.name_of(making.project, name, service, number);
        let old_id = &old.summary.id;
        let interim = interim_name(old, &title);
        let id = self.make(making, name, service, number, &title, &interim, Some(old)).await?;
        self.client.container_stop(old_id, "", making.timeout).await?;
        match self.client.container_remove(old_id, false, false, false).await {
            Err(e) if !e.is_not_found() => return Err(e.into()),
            _ => {}
        }
        self.client.container_rename(&id, &title).await?;
        Ok((id, title))
    }

    #[allow(clippy::too_many_arguments, reason = "what makes one container")]
    async fn make(
        &self,
        making: &Making<'_>,
        name: &str,
        service: &Service,
        number: u32,
        title: &str,
        as_name: &str,
        old: Option<&Seen>,
    ) -> Result<String> {
        let mut labels = Labels::new();
        if old.is_some() {
            let replaced = if service.container_name.is_empty() {
                format!("{name}{}{number}", self.separator)
            } else {
                service.container_name.clone()
            };
            labels.insert(label::REPLACE.into(), replaced);
        }
        let inherited = match old {
            Some(old) if making.inherit => self.inherited(making.project, name, service, old).await?,
            _ => BTreeMap::new(),
        };
        let wanted = Wanted {
            project: making.project,
            name,
            service,
            number: Some(number),
            container_name: title,
            image_id: making.images.get(name).map(String::as_str),
            labels,
            links: links(making, service, number, self.separator),
            inherited,
            aliases: true,
            attach_stdin: false,
            auto_remove: false,
            many_networks: making.many_networks,
            separator: self.separator,
        };
        self.send(&wanted, as_name).await
    }

    async fn send(&self, wanted: &Wanted<'_>, as_name: &str) -> Result<String> {
        let environment = &wanted.project.environment;
        let platform = match wanted.service.platform.as_str() {
            "" => environment.get("DOCKER_DEFAULT_PLATFORM").map(String::as_str).unwrap_or_default(),
            own => own,
        };
        let request = wanted.request()?;
        let made = match self.client.container_create(as_name, platform, &request).await {
            Err(dray_client::Error::Api { status: 409, message }) => {
                return match self.same(as_name, request.config.labels.as_ref()).await? {
                    Some(id) => Ok(id),
                    None => Err(dray_client::Error::Api { status: 409, message }.into()),
                };
            }
            other => other?,
        };
        for warning in &made.warnings {
            self.tell(wanted.name, Status::Warning, warning);
        }
        for (network, settings) in wanted.later_networks() {
            self.connect(&network, &made.id, settings).await?;
        }
        Ok(made.id)
    }

    /// The container of this name if it is what was to be made: another run, or the end of one that was killed, has
    /// been quicker.
    async fn same(&self, name: &str, labels: Option<&Labels>) -> Result<Option<String>> {
        let found = match self.client.container_inspect(name).await {
            Ok(found) => found,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let theirs = found.config.labels.unwrap_or_default();
        let alike = [label::PROJECT, label::SERVICE, label::CONFIG_HASH, label::NUMBER]
            .iter()
            .all(|l| theirs.contains_key(*l) && theirs.get(*l) == labels.and_then(|own| own.get(*l)));
        Ok(alike.then_some(found.id))
    }

    async fn connect(&self, network: &str, container: &str, settings: EndpointSettings) -> Result<()> {
        let request = dray_api::network::NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(settings),
        };
        Ok(self.client.network_connect(network, &request).await?)
    }

    /// Anonymous volumes of the old container that the new one has at the same place.
    async fn inherited(
        &self,
        project: &Project,
        name: &str,
        service: &Service,
        old: &Seen,
    ) -> Result<BTreeMap<String, ApiMount>> {
        let volumes: Vec<_> = old.summary.mounts.iter().filter(|m| m.kind != MountType::Tmpfs).collect();
        if volumes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let image = service.image_or_default(&project.name, name, self.separator);
        let of_image = self.image_volumes(&image).await?;
        let mut inherited = BTreeMap::new();
        for mount in volumes {
            let anonymous =
                service.volumes.iter().any(|v| v.target == mount.destination && v.source.is_empty());
            let declared =
                service.volumes.iter().any(|v| v.target == mount.destination && !v.source.is_empty());
            if anonymous || (of_image.contains(&mount.destination) && !declared) {
                let source = if mount.kind == MountType::Volume { &mount.name } else { &mount.source };
                let taken = ApiMount {
                    kind: mount.kind.clone(),
                    source: source.clone(),
                    target: mount.destination.clone(),
                    read_only: !mount.rw,
                    ..ApiMount::default()
                };
                inherited.insert(mount.destination.clone(), taken);
            }
        }
        Ok(inherited)
    }

    async fn image_volumes(&self, image: &str) -> Result<Vec<String>> {
        let raw = match self.client.image_inspect_raw(image, "").await {
            Ok(raw) => raw,
            Err(e) if e.is_not_found() => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        let what = format!("image {image}");
        let value: serde_json::Value =
            serde_json::from_slice(&raw).map_err(|source| Error::Json { what, source })?;
        let volumes = value.pointer("/Config/Volumes").and_then(serde_json::Value::as_object);
        Ok(volumes.map(|v| v.keys().cloned().collect()).unwrap_or_default())
    }

    /// Makes a container for `run`.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn create_one_off(
        &self,
        project: &Project,
        name: &str,
        service: &Service,
        one_off: &OneOff,
    ) -> Result<String> {
        let many_networks = self.speaks(1, 44).await?;
        let seen = self.containers(&project.name, Include::Services, true, &[]).await?;
        let mut service = service.clone();
        with_ids(&mut service, |other| {
            seen.iter().find(|c| c.service() == other).map(|c| c.summary.id.clone())
        });
        if let Some(missing) = unresolved(&service) {
            return Err(Error::NoContainer { what: missing, name: name.to_owned() });
        }
        let wanted = Wanted {
            project,
            name,
            service: &service,
            number: None,
            container_name: &one_off.name,
            image_id: one_off.image_id.as_deref(),
            labels: one_off.labels.clone(),
            links: Vec::new(),
            inherited: BTreeMap::new(),
            aliases: one_off.aliases,
            attach_stdin: one_off.attach_stdin,
            auto_remove: one_off.auto_remove,
            many_networks,
            separator: self.separator,
        };
        self.send(&wanted, &one_off.name).await
    }
}

/// The name of a container until the one that it replaces is gone.
fn interim_name(old: &Seen, title: &str) -> String {
    let old = &old.summary.id;
    format!("{}_{title}", &old[..old.len().min(12)])
}

/// What a service shares with a container that is not there.
fn unresolved(service: &Service) -> Option<&'static str> {
    let open = |mode: &str| mode == "container:";
    if open(&service.network_mode) {
        return Some("network namespace");
    }
    if open(&service.ipc) {
        return Some("IPC namespace");
    }
    if open(&service.pid) {
        return Some("PID namespace");
    }
    service.volumes_from.iter().any(String::is_empty).then_some("volume")
}

/// Links by all names that an old Compose gave them.
fn links(making: &Making<'_>, service: &Service, number: u32, separator: &str) -> Vec<String> {
    let made = making.made.borrow();
    let mut links = Vec::new();
    for link in &service.links {
        let (target, alias) = link.split_once(':').unwrap_or((link, link));
        for (_, container) in made.get(target).into_iter().flatten() {
            links.push(format!("{container}:{alias}"));
            links.push(format!("{container}:{target}{separator}{number}"));
            links.push(format!(
                "{container}:{}",
                container_name(&making.project.name, target, number, separator)
            ));
        }
    }
    for link in &service.external_links {
        let (target, alias) = link.split_once(':').unwrap_or((link, link));
        links.push(format!("{target}:{alias}"));
    }
    links
}
