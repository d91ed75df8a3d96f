//! Waiting for conditions: healthy, ended well, running. The daemon is asked again and again, quickly at first.

use std::time::Duration;

use dray_api::container::ContainerInspect;
use futures_util::future::try_join_all;

use super::{Engine, Error, Observed, Result, Status, has_containers, shown};
use crate::model::project::Project;
use crate::plan::Seen;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Its health check says so.
    Healthy,
    /// It ended with 0.
    Completed,
    /// Healthy if it has a health check, else running.
    RunningOrHealthy,
}

impl Condition {
    /// The condition of a dependency; none to wait for where being started is enough.
    pub fn of(text: &str) -> Option<Condition> {
        match text {
            "service_healthy" => Some(Condition::Healthy),
            "service_completed_successfully" => Some(Condition::Completed),
            _ => None,
        }
    }
}

/// Between two looks: short at first, then longer.
pub(super) struct Pace(Duration);

impl Default for Pace {
    fn default() -> Self {
        Pace(Duration::from_millis(15))
    }
}

impl Pace {
    pub(super) async fn next(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 3 / 2).min(Duration::from_millis(300));
    }
}

impl Engine<'_> {
    /// Waits for conditions of services, all at once. An optional one that fails is told of, not an error.
    ///
    /// # Errors
    /// A condition cannot come true any more.
    pub(super) async fn wait_for(
        &self,
        project: &Project,
        dependent: &str,
        conditions: &[(String, Condition, bool)],
        seen: &Observed,
    ) -> Result<()> {
        let waits = conditions.iter().filter(|(name, ..)| has_containers(project, name)).map(
            async |(name, condition, required)| {
                let containers: Vec<&Seen> = seen.iter().filter(|c| c.service() == name).collect();
                if containers.is_empty() {
                    let missing =
                        Error::MissingDependency { dependent: dependent.to_owned(), name: name.clone() };
                    return if *required { Err(missing) } else { Ok(()) };
                }
                self.tell_all(&containers, Status::Working, "Waiting");
                match self.wait_service(name, *condition, &containers).await {
                    Ok(word) => {
                        self.tell_all(&containers, Status::Done, word);
                        Ok(())
                    }
                    Err(e) if !required => {
                        let text = format!("Skipped: optional dependency {name:?} failed to start: {e}");
                        self.tell_all(&containers, Status::Warning, &text);
                        Ok(())
                    }
                    Err(e) => {
                        self.tell_all(&containers, Status::Error, "Error");
                        Err(match condition {
                            Condition::Healthy => Error::Dependency(Box::new(e)),
                            _ => e,
                        })
                    }
                }
            },
        );
        try_join_all(waits).await.map(|_| ())
    }

    fn tell_all(&self, containers: &[&Seen], status: Status, text: &str) {
        containers.iter().for_each(|c| self.tell(&shown(c.name()), status, text));
    }

    async fn wait_service(
        &self,
        name: &str,
        condition: Condition,
        containers: &[&Seen],
    ) -> Result<&'static str> {
        let word = if condition == Condition::Completed { "Exited" } else { "Healthy" };
        if self.client.rehearsal().is_some() {
            return Ok(word);
        }
        let mut pace = Pace::default();
        loop {
            let mut ready = true;
            for container in containers {
                let found = self.client.container_inspect(&container.summary.id).await?;
                ready &= match condition {
                    Condition::Completed => completed(name, &found)?,
                    Condition::Healthy => healthy(&found, false)?,
                    Condition::RunningOrHealthy => healthy(&found, true)?,
                };
            }
            if ready {
                return Ok(word);
            }
            pace.next().await;
        }
    }
}

/// A container that nothing will come of any more.
fn dead(found: &ContainerInspect) -> Result<()> {
    match found.state.status.as_str() {
        "dead" => Err(Error::Dead(found.name.trim_start_matches('/').to_owned())),
        _ => Ok(()),
    }
}

fn completed(service: &str, found: &ContainerInspect) -> Result<bool> {
    dead(found)?;
    if found.state.status != "exited" {
        return Ok(false);
    }
    match found.state.exit_code {
        0 => Ok(true),
        code => Err(Error::Incomplete { name: service.to_owned(), code }),
    }
}

/// Whether a container is healthy, or runs where it has no health check and that is enough.
pub(super) fn healthy(found: &ContainerInspect, or_running: bool) -> Result<bool> {
    dead(found)?;
    let name = found.name.trim_start_matches('/').to_owned();
    if found.state.status == "exited" {
        return Err(Error::Exited { name, code: found.state.exit_code });
    }
    let checked = found.config.healthcheck.as_ref().and_then(|h| h.test.as_ref());
    let none = checked.is_none_or(|test| test.iter().next().is_some_and(|first| first == "NONE"));
    if none && or_running && found.state.health.is_none() {
        return Ok(found.state.status == "running");
    }
    let Some(health) = &found.state.health else { return Err(Error::NoHealthCheck(name)) };
    match health.status.as_str() {
        "healthy" => Ok(true),
        "unhealthy" => {
            let last = health.log.as_ref().and_then(|l| l.last());
            Err(Error::Unhealthy { name, output: last.map(|l| (l.exit_code, l.output.clone())) })
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dead_is_not_waited_for() {
        let mut found = ContainerInspect { name: "/p-a-1".into(), ..ContainerInspect::default() };
        found.state.status = "dead".into();
        for waited in [completed("a", &found), healthy(&found, true), healthy(&found, false)] {
            let said = waited.unwrap_err().to_string();
            assert_eq!(said, "container p-a-1 is dead: its removal failed half-way");
        }
        found.state.status = "created".into();
        assert!(!completed("a", &found).unwrap());
        assert!(!healthy(&found, true).unwrap());
    }
}
