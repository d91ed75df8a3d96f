//! Containers started in order of dependency, each after the conditions that it waits for; services that wait for
//! nothing at once.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::watch;

use super::hook::HookOutput;
use super::roll::Replacement;
use super::wait::Condition;
use super::{Engine, Error, Include, Observed, Result, Status, shown};
use crate::model::project::Project;
use crate::model::service::Service;
use crate::plan::Seen;

/// How to start.
#[derive(Clone, Copy, Default)]
pub struct Start<'a> {
    /// Wait until all services run or are healthy.
    pub wait: bool,
    /// For how long at most.
    pub timeout: Option<Duration>,
    /// Who hears what hooks write.
    pub hooks: Option<&'a dyn HookOutput>,
    /// Containers that replace running ones.
    pub rolled: &'a [Replacement],
}

impl Engine<'_> {
    /// Starts the services of a project.
    ///
    /// # Errors
    /// A condition does not come true, a hook fails, or the daemon refuses.
    pub async fn start(&self, project: &Project, how: Start<'_>) -> Result<()> {
        match how.timeout {
            None => self.start_all(project, how).await,
            Some(limit) => match tokio::time::timeout(limit, self.start_all(project, how)).await {
                Ok(done) => done,
                Err(_) => {
                    let nanos = i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX);
                    Err(Error::Timeout(dray_spec::golang::duration_text(nanos)))
                }
            },
        }
    }

    async fn start_all(&self, project: &Project, how: Start<'_>) -> Result<()> {
        let seen = self.containers(&project.name, Include::Services, true, &[]).await?;
        let mut started: BTreeMap<String, watch::Receiver<bool>> = BTreeMap::new();
        let mut work = Vec::new();
        for name in project.in_order() {
            let service = &project.services[&name];
            if service.provider.is_some() {
                continue;
            }
            let before: Vec<_> = service.depends_on.keys().filter_map(|n| started.get(n).cloned()).collect();
            let (done, receiver) = watch::channel(false);
            started.insert(name.clone(), receiver);
            let seen = &seen;
            work.push(async move {
                for mut other in before {
                    // A sender that is gone has failed, which ends this future too.
                    if other.wait_for(|done| *done).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                self.start_service(project, &name, service, seen, how).await?;
                done.send_replace(true);
                Ok::<(), Error>(())
            });
        }
        try_join_all(work).await?;
        if how.wait {
            let conditions: Vec<(String, Condition, bool)> =
                project.services.keys().map(|n| (n.clone(), final_condition(project, n), true)).collect();
            let now = self.seen_now(project, how).await?;
            self.wait_for(project, &project.name, &conditions, now.as_ref().unwrap_or(&seen)).await?;
        }
        Ok(())
    }

    async fn start_service(
        &self,
        project: &Project,
        name: &str,
        service: &Service,
        seen: &Observed,
        how: Start<'_>,
    ) -> Result<()> {
        if service.replicas() == 0 {
            return Ok(());
        }
        let now = self.seen_now(project, how).await?;
        let seen = now.as_ref().unwrap_or(seen);
        let conditions: Vec<(String, Condition, bool)> = service
            .depends_on
            .iter()
            .filter_map(|(n, d)| Some((n.clone(), Condition::of(&d.condition)?, d.required)))
            .collect();
        self.wait_for(project, name, &conditions, seen).await?;
        let own: Vec<&Seen> = seen.iter().filter(|c| c.service() == name).collect();
        if own.is_empty() {
            return Err(Error::NothingToStart(name.to_owned()));
        }
        let mut rolled: Vec<&Replacement> = how.rolled.iter().filter(|one| one.service == name).collect();
        rolled.sort_by_key(|one| one.old.number());
        if !rolled.is_empty() {
            self.roll(project, name, service, &rolled, how).await?;
        }
        let replaced =
            |c: &Seen| rolled.iter().any(|one| one.new == c.summary.id || one.old.summary.id == c.summary.id);
        for container in own.iter().filter(|c| !c.is_running() && !replaced(c)) {
            self.start_container(project, name, service, container, how.hooks).await?;
        }
        Ok(())
    }

    /// What is there now, where a roll may have changed it since it was looked at.
    async fn seen_now(&self, project: &Project, how: Start<'_>) -> Result<Option<Observed>> {
        if how.rolled.is_empty() {
            return Ok(None);
        }
        self.containers(&project.name, Include::Services, true, &[]).await.map(Some)
    }

    pub(super) async fn start_container(
        &self,
        project: &Project,
        name: &str,
        service: &Service,
        container: &Seen,
        hooks: Option<&dyn HookOutput>,
    ) -> Result<()> {
        let id = &container.summary.id;
        self.put_files(project, name, service, id).await?;
        self.tell(&shown(container.name()), Status::Working, "Starting");
        if let Err(e) = self.client.container_start(id, "").await {
            self.tell(&shown(container.name()), Status::Error, "Error");
            return Err(e.into());
        }
        for hook in &service.post_start {
            self.run_hook(container, name, service, hook, hooks).await?;
        }
        self.tell(&shown(container.name()), Status::Done, "Started");
        Ok(())
    }
}

/// What `--wait` waits for: an end where others wait for one, else running or healthy.
fn final_condition(project: &Project, name: &str) -> Condition {
    let ends =
        |s: &Service| s.depends_on.get(name).is_some_and(|d| d.condition == "service_completed_successfully");
    if project.services.values().any(ends) { Condition::Completed } else { Condition::RunningOrHealthy }
}
