//! Containers stopped, killed, removed; a whole project taken down, dependents before what they depend on.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{join_all, try_join_all};
use tokio::sync::watch;

use super::{Engine, Error, Include, Observed, Result, Status, shown};
use crate::model::project::Project;
use crate::model::service::Service;
use crate::plan::{Seen, label};

/// Which images go with a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Images {
    /// None.
    #[default]
    None,
    /// Those that have no name of their own.
    Local,
    /// All.
    All,
}

/// How a project is taken down.
#[derive(Clone, Debug, Default)]
pub struct Down {
    /// Only these services.
    pub services: Vec<String>,
    /// Containers of services that the project does not have, too.
    pub orphans: bool,
    /// How long containers have to stop.
    pub timeout: Option<i64>,
    /// Volumes, too.
    pub volumes: bool,
    /// Images, too.
    pub images: Images,
}

type Of<'a> = Option<(&'a str, &'a Service)>;

impl Engine<'_> {
    /// Stops containers, all at once, after their hooks.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn stop_containers(&self, containers: &[Seen], of: Of<'_>, timeout: Option<i64>) -> Result<()> {
        let stops = containers.iter().map(|c| self.stop_container(c, of, timeout));
        try_join_all(stops).await.map(|_| ())
    }

    async fn stop_container(&self, container: &Seen, of: Of<'_>, timeout: Option<i64>) -> Result<()> {
        let id = shown(container.name());
        self.tell(&id, Status::Working, "Stopping");
        if let Some((name, service)) = of.filter(|_| container.is_running()) {
            for hook in &service.pre_stop {
                match self.run_hook(container, name, service, hook, None).await {
                    Err(e) if e.is_not_found() || e.is_conflict() => break,
                    other => other?,
                }
            }
        }
        match self.client.container_stop(&container.summary.id, "", timeout).await {
            Ok(()) => {}
            Err(e) if e.is_not_found() => {}
            Err(e) => {
                self.tell(&id, Status::Error, "Error while Stopping");
                return Err(e.into());
            }
        }
        self.tell(&id, Status::Done, "Stopped");
        Ok(())
    }

    pub(super) async fn stop_and_remove(
        &self,
        container: &Seen,
        of: Of<'_>,
        timeout: Option<i64>,
        volumes: bool,
    ) -> Result<()> {
        self.stop_container(container, of, timeout).await?;
        self.remove_container(container, volumes).await
    }

    /// Removes a container.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn remove_container(&self, container: &Seen, volumes: bool) -> Result<()> {
        let id = shown(container.name());
        self.tell(&id, Status::Working, "Removing");
        match self.client.container_remove(&container.summary.id, volumes, false, true).await {
            Ok(()) => {}
            Err(e) if e.is_not_found() => {}
            Err(dray_client::Error::Api { status: 409, .. }) => {}
            Err(e) => {
                self.tell(&id, Status::Error, "Error while Removing");
                return Err(e.into());
            }
        }
        self.tell(&id, Status::Done, "Removed");
        Ok(())
    }

    /// Removes containers of services that the project does not have.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn remove_orphans(&self, orphans: &[Seen], timeout: Option<i64>) -> Result<()> {
        try_join_all(orphans.iter().map(|c| self.stop_and_remove(c, None, timeout, false))).await.map(|_| ())
    }

    /// Stops the services of a project, dependents first.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn stop(&self, project: &Project, services: &[String], timeout: Option<i64>) -> Result<()> {
        let seen = self.containers(&project.name, Include::Services, true, services).await?;
        self.in_reverse(project, &seen, async |name, service, own| {
            self.stop_containers(&own, Some((name, service)), timeout).await
        })
        .await
    }

    /// Takes a project down.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn down(&self, project: &Project, how: &Down) -> Result<bool> {
        let include = if how.orphans { Include::All } else { Include::Services };
        let seen = self.containers(&project.name, include, true, &[]).await?;
        let chosen = |c: &Seen| how.services.is_empty() || how.services.iter().any(|s| s == c.service());
        let known: BTreeSet<&String> = project.all_services().map(|(name, _)| name).collect();
        let (own, orphans): (Observed, Observed) =
            seen.iter().cloned().partition(|c| known.contains(&c.service().to_owned()));
        let own: Observed = own.into_iter().filter(chosen).collect();
        self.in_reverse(project, &own, async |name, service, containers| {
            let all = containers
                .iter()
                .map(|c| self.stop_and_remove(c, Some((name, service)), how.timeout, how.volumes));
            try_join_all(all).await.map(|_| ())
        })
        .await?;
        if how.orphans {
            self.remove_orphans(&orphans, how.timeout).await?;
        }
        if !how.services.is_empty() {
            return Ok(!own.is_empty());
        }
        let shared = self.down_shared(project, how).await?;
        Ok(!seen.is_empty() || shared)
    }

    async fn down_shared(&self, project: &Project, how: &Down) -> Result<bool> {
        let networks = project.networks.iter().filter(|(_, n)| !n.external);
        let removed: Vec<Result<()>> =
            join_all(networks.map(|(key, n)| self.remove_network(&project.name, key, &n.name))).await;
        let mut any = !removed.is_empty();
        removed.into_iter().collect::<Result<Vec<()>>>()?;
        if how.images != Images::None {
            for image in self.images_of(project, how.images) {
                any = true;
                self.remove_image(&image).await?;
            }
        }
        if how.volumes {
            let volumes = project.volumes.values().filter(|v| !v.external);
            let removed = join_all(volumes.map(|v| self.remove_volume(&v.name))).await;
            any |= !removed.is_empty();
            removed.into_iter().collect::<Result<Vec<()>>>()?;
        }
        Ok(any)
    }

    fn images_of(&self, project: &Project, which: Images) -> BTreeSet<String> {
        let all = project.services.iter();
        all.filter(|(_, s)| which == Images::All || s.image.is_empty())
            .map(|(name, s)| s.image_or_default(&project.name, name, self.separator))
            .collect()
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let id = format!("Image {image}");
        self.tell(&id, Status::Working, "Removing");
        match self.client.image_remove(image, false, false).await {
            Ok(_) => self.tell(&id, Status::Done, "Removed"),
            Err(e) if e.is_not_found() => {
                self.tell(&id, Status::Done, "Warning: No resource found to remove")
            }
            Err(dray_client::Error::Api { status: 409, .. }) => {
                self.tell(&id, Status::Warning, "Resource is still in use");
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// Does something with the containers of each service after it is done with those that depend on it.
    async fn in_reverse(
        &self,
        project: &Project,
        seen: &Observed,
        each: impl AsyncFn(&str, &Service, Observed) -> Result<()>,
    ) -> Result<()> {
        let mut done: BTreeMap<String, watch::Receiver<bool>> = BTreeMap::new();
        let mut work = Vec::new();
        let nothing = Service::default();
        let named: BTreeSet<String> = seen.iter().map(|c| c.service().to_owned()).collect();
        let off = named.into_iter().filter(|n| !project.services.contains_key(n));
        let order: Vec<String> = project.in_order().into_iter().chain(off).rev().collect();
        for name in order {
            let service =
                project.services.get(&name).or(project.disabled.get(&name)).unwrap_or(&nothing).clone();
            let dependents = project.services.iter().filter(|(_, s)| s.depends_on.contains_key(&name));
            let before: Vec<_> = dependents.filter_map(|(n, _)| done.get(n).cloned()).collect();
            let (finished, receiver) = watch::channel(false);
            done.insert(name.clone(), receiver);
            let own: Observed = seen.iter().filter(|c| c.service() == name).cloned().collect();
            let each = &each;
            work.push(async move {
                for mut other in before {
                    // A sender that is gone has failed, which ends this future too.
                    if other.wait_for(|done| *done).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                each(&name, &service, own).await?;
                finished.send_replace(true);
                Ok::<(), Error>(())
            });
        }
        try_join_all(work).await.map(|_| ())
    }

    /// Whether a label names a project that is there.
    pub fn is_of(container: &Seen, project: &str) -> bool {
        container.label(label::PROJECT) == project
    }
}
