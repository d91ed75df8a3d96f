//! A changed service is rolled out (`deploy.update_config`): so many containers at a time, each proven before the next, all
//! taken back if it goes wrong.
//!
//! ```text
//! stop-first    old stops ─ new starts ─ new is well ────────────────────┐
//! start-first   new starts beside old, without connections ─ new is      ├─ the next ones … ─ all old ones go
//!               well, and gets them ─ old gets no more of them, stops ───┘
//! ```
//! Old and new share their ports; where one of them does not, the new one starts without and they move to it.
//! Until the last one is well the old ones are kept, stopped, so that they can come back. A new one carries an interim name
//! until then; a roll that was cut off is recognised by it and done again by the next `up`.

use std::cell::RefCell;
use std::time::Duration;

use dray_api::container::PortMap;
use dray_api::extension::ContainerLiveUpdateRequest;
use futures_util::future::join_all;

use super::start::Start;
use super::wait::{Pace, healthy};
use super::{Engine, Error, Result, Status, shown};
use crate::model::deploy::UpdateConfig;
use crate::model::project::Project;
use crate::model::service::Service;
use crate::plan::{Seen, label};

/// How long a container without a health check has to run to count as well, where nothing is said.
const MONITOR: Duration = Duration::from_secs(5);

/// A container that is to be replaced: both are there, the new one has not been started.
#[derive(Debug)]
pub struct Replacement {
    /// Its service.
    pub service: String,
    /// The one that runs.
    pub old: Seen,
    /// The id of the one that comes to its place.
    pub new: String,
    /// The name that it gets.
    pub title: String,
    /// How long the old one has to stop, in seconds.
    pub timeout: Option<i64>,
    /// Ports that were taken from the old one.
    pub(super) moved: RefCell<PortMap>,
}

/// How a service wants to be rolled out.
struct Roll<'a> {
    project: &'a Project,
    name: &'a str,
    service: &'a Service,
    config: UpdateConfig,
    how: Start<'a>,
}

/// Whether a service is rolled out.
pub(super) fn rolls(service: &Service) -> bool {
    service.deploy.as_ref().is_some_and(|deploy| deploy.update_config.is_some())
}

impl Engine<'_> {
    /// Replaces a service's containers.
    ///
    /// # Errors
    /// One does not get well; what becomes of the others says `failure_action`.
    pub(super) async fn roll(
        &self,
        project: &Project,
        name: &str,
        service: &Service,
        all: &[&Replacement],
        how: Start<'_>,
    ) -> Result<()> {
        let deploy = service.deploy.clone().unwrap_or_default();
        let config = deploy.update_config.unwrap_or_default();
        let size = match config.parallelism {
            None => 1,
            Some(0) => all.len(),
            Some(size) => usize::try_from(size).unwrap_or(all.len()),
        };
        let delay = duration(config.delay.0);
        let roll = Roll { project, name, service, config, how };
        let (mut done, mut failed): (Vec<&Replacement>, usize) = (Vec::new(), 0);
        let mut first_error = None;
        for (number, batch) in all.chunks(size.max(1)).enumerate() {
            if number > 0 {
                tokio::time::sleep(delay).await;
            }
            let results = join_all(batch.iter().map(|one| self.replace(&roll, one))).await;
            for (one, result) in batch.iter().zip(results) {
                match result {
                    Ok(()) => done.push(one),
                    Err(error) => {
                        failed += 1;
                        let error = self.take_back_after(one, error).await?;
                        first_error.get_or_insert(error);
                    }
                }
            }
            let tolerated = f64::from(roll.config.max_failure_ratio) * all.len() as f64;
            if failed as f64 <= tolerated || roll.config.failure_action == "continue" {
                continue;
            }
            let mut source = first_error.take().unwrap_or(Error::NothingToStart(name.to_owned()));
            let rest = all.chunks(size.max(1)).skip(number + 1).flatten();
            for one in rest {
                self.client.container_remove(&one.new, false, false, true).await?;
            }
            let rollback = roll.config.failure_action == "rollback";
            if rollback {
                for one in done.iter().rev() {
                    source = self.take_back_after(one, source).await?;
                }
            } else {
                self.finish(&done).await?;
            }
            let source = Box::new(source);
            let (name, new) = (name.to_owned(), done.len());
            return Err(match rollback {
                true => Error::RolledBack { name, source },
                false => Error::RollPaused { name, new, all: all.len(), source },
            });
        }
        self.finish(&done).await?;
        match first_error {
            Some(source) if done.len() < all.len() => Err(Error::RollPaused {
                name: name.to_owned(),
                new: done.len(),
                all: all.len(),
                source: Box::new(source),
            }),
            _ => Ok(()),
        }
    }

    async fn replace(&self, roll: &Roll<'_>, one: &Replacement) -> Result<()> {
        let id = shown(&one.title);
        self.tell(&id, Status::Working, "Updating");
        let replaced = self.replace_quietly(roll, one).await;
        match &replaced {
            Ok(()) => self.tell(&id, Status::Done, "Updated"),
            Err(error) => self.tell(&id, Status::Error, &error.to_string()),
        }
        replaced
    }

    async fn replace_quietly(&self, roll: &Roll<'_>, one: &Replacement) -> Result<()> {
        let old = std::slice::from_ref(&one.old);
        let of = Some((roll.name, roll.service));
        let start_first = roll.config.order == "start-first";
        let ports = if start_first { self.withhold_ports(one).await? } else { PortMap::new() };
        if !start_first {
            self.stop_containers(old, of, one.timeout).await?;
        }
        let new = new_one(one);
        self.start_container(roll.project, roll.name, roll.service, &new, roll.how.hooks).await?;
        self.well(one, &roll.config).await?;
        if start_first {
            if !ports.is_empty() {
                // A roll that was cut off may have taken them already.
                let found = self.client.container_inspect(&one.old.summary.id).await?;
                let has = found.host_config.port_bindings.unwrap_or_default();
                let mut taken = ports.clone();
                taken.retain(|key, _| has.contains_key(key));
                one.moved.replace(ports.clone());
                if !taken.is_empty() {
                    self.withdraw(&one.old.summary.id, &taken).await?;
                }
                self.publish(&one.new, &ports).await?;
            }
            self.stop_containers(old, of, one.timeout).await?;
        }
        Ok(())
    }

    /// Ports that the old and the new one cannot have at once are published by the new one later.
    async fn withhold_ports(&self, one: &Replacement) -> Result<PortMap> {
        let found = self.client.container_inspect(&one.new).await?;
        let mut ports = found.host_config.port_bindings.unwrap_or_default();
        for bindings in ports.values_mut() {
            bindings
                .get_or_insert_default()
                .retain(|binding| !matches!(binding.host_port.as_str(), "" | "0"));
        }
        ports.retain(|_, bindings| bindings.as_ref().is_some_and(|bindings| !bindings.is_empty()));
        let has_fixed = !ports.is_empty();
        let group = |labels: Option<&dray_api::Labels>| {
            labels
                .and_then(|labels| labels.get(label::SHARE_PORTS))
                .filter(|group| !group.is_empty())
                .cloned()
        };
        let shared = group(found.config.labels.as_ref());
        if shared.is_some() && shared == group(Some(&one.old.summary.labels)) {
            ports.clear();
        }
        if has_fixed {
            // Of none, for those that stay: a daemon that cannot share ports says so before anything happens.
            match self.withdraw(&one.new, &ports).await {
                Err(Error::Client(error)) if error.is_not_found() => {
                    return Err(Error::NoMove(one.service.clone()));
                }
                other => other?,
            }
        }
        Ok(ports)
    }

    async fn publish(&self, container: &str, ports: &PortMap) -> Result<()> {
        let request = ContainerLiveUpdateRequest { publish_add: ports.clone(), ..Default::default() };
        self.client.container_update_live(container, &request).await?;
        Ok(())
    }

    async fn withdraw(&self, container: &str, ports: &PortMap) -> Result<()> {
        let request = ContainerLiveUpdateRequest { publish_remove: ports.clone(), ..Default::default() };
        self.client.container_update_live(container, &request).await?;
        Ok(())
    }

    /// Waits until a container is healthy, or has run long enough.
    async fn well(&self, one: &Replacement, config: &UpdateConfig) -> Result<()> {
        let mut pace = Pace::default();
        let mut since = None;
        loop {
            let mut found = self.client.container_inspect(&one.new).await?;
            found.name.clone_from(&one.title);
            if found.restart_count > 0 {
                return Err(Error::Exited { name: found.name, code: found.state.exit_code });
            }
            let monitor = match config.monitor.0 {
                0 if found.state.health.is_some() => Duration::ZERO,
                0 => MONITOR,
                nanos => duration(nanos),
            };
            if healthy(&found, true)? {
                let since = since.get_or_insert_with(tokio::time::Instant::now);
                if since.elapsed() >= monitor {
                    return Ok(());
                }
            } else {
                since = None;
            }
            pace.next().await;
        }
    }

    /// Takes one back; the error that this is done for, which says so if there is nothing to come back.
    async fn take_back_after(&self, one: &Replacement, error: Error) -> Result<Error> {
        if self.take_back(one).await? {
            return Ok(error);
        }
        Ok(Error::Gone { name: one.old.name().to_owned(), source: Box::new(error) })
    }

    /// The new one goes, the old one runs again with what it had. Where somebody has removed the old one meanwhile, the
    /// new one stays: better one that is not well than none. Whether the old one is back.
    async fn take_back(&self, one: &Replacement) -> Result<bool> {
        let id = shown(one.old.name());
        self.tell(&id, Status::Working, "Rolling back");
        let found = match self.client.container_inspect(&one.old.summary.id).await {
            Err(error) if error.is_not_found() => {
                self.tell(&id, Status::Warning, "Gone, its successor stays");
                return self.keep_new(one).await.map(|()| false);
            }
            found => found?,
        };
        match self.client.container_remove(&one.new, false, false, true).await {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        // What it publishes still was not taken from it.
        let has = found.host_config.port_bindings.unwrap_or_default();
        let mut back = one.moved.take();
        back.retain(|key, _| !has.contains_key(key));
        if !back.is_empty() {
            self.publish(&one.old.summary.id, &back).await?;
        }
        if found.state.status != "running" {
            self.client.container_start(&one.old.summary.id, "").await?;
        }
        self.tell(&id, Status::Done, "Rolled back");
        Ok(true)
    }

    /// Gives the new one its name, if it is there; it may be that its start was what failed.
    async fn keep_new(&self, one: &Replacement) -> Result<()> {
        match self.client.container_rename(&one.new, &one.title).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The old ones go, the new ones get their names.
    async fn finish(&self, done: &[&Replacement]) -> Result<()> {
        for one in done {
            match self.client.container_remove(&one.old.summary.id, false, false, false).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
            self.client.container_rename(&one.new, &one.title).await?;
        }
        Ok(())
    }
}

fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// The new container as those see it who start one.
fn new_one(one: &Replacement) -> Seen {
    let mut summary = one.old.summary.clone();
    summary.id.clone_from(&one.new);
    summary.names = vec![format!("/{}", one.title)];
    summary.state = "created".into();
    Seen { summary }
}
