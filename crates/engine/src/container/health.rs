//! Health checks: probes at intervals, and what they say of the container.
//!
//! ```text
//! starting ──a probe succeeds──▶ healthy ◀──▶ unhealthy   after `retries` failures in a row
//! ```
//! Failures within the start period do not count.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dray_api::container::{ContainerConfig, Health, HealthConfig, HealthcheckResult};
use jiff::Timestamp;

use super::Error;
use super::live::Container;
use super::service::Service;
use crate::timestamp::rfc3339;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_RETRIES: i64 = 3;
/// How many results are kept.
const KEPT: usize = 5;

/// What one probe said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// 0 is healthy; −1 took too long.
    pub exit_code: i32,
    /// The beginning of what it wrote.
    pub output: String,
}

/// Runs a probe in a container: implemented by the exec service.
pub trait Prober: Send + Sync {
    /// Runs `argv` in the container, killed after `timeout`.
    fn probe(
        &self,
        container: String,
        argv: Vec<String>,
        timeout: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<Probe, Error>> + Send>>;
}

/// A health check with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    argv: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: i64,
}

impl Check {
    /// The check of a container; none when it has none.
    fn of(config: &ContainerConfig) -> Option<Self> {
        let health: &HealthConfig = config.healthcheck.as_ref()?;
        let (kind, words) = health.test.as_ref()?.split_first()?;
        let argv: Vec<String> = match kind.as_str() {
            "CMD" => words.to_vec(),
            "CMD-SHELL" => {
                let shell = config.shell.as_deref().filter(|shell| !shell.is_empty());
                let shell = shell.cloned().unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
                shell.into_iter().chain(words.iter().cloned()).collect()
            }
            _ => return None,
        };
        let time = |nanos: i64, default: Duration| match u64::try_from(nanos) {
            Ok(nanos) if nanos > 0 => Duration::from_nanos(nanos),
            _ => default,
        };
        (!argv.is_empty()).then(|| Self {
            argv,
            interval: time(health.interval, DEFAULT_INTERVAL),
            timeout: time(health.timeout, DEFAULT_TIMEOUT),
            start_period: time(health.start_period, Duration::ZERO),
            start_interval: time(health.start_interval, DEFAULT_START_INTERVAL),
            retries: if health.retries > 0 { health.retries } else { DEFAULT_RETRIES },
        })
    }

    /// How long until the next probe, for a container of this age.
    fn pause(&self, status: &str, age: Duration) -> Duration {
        if status == "starting" && age < self.start_period { self.start_interval } else { self.interval }
    }

    /// Takes a result in. True when the status has changed.
    fn note(&self, health: &mut Health, result: HealthcheckResult, age: Duration) -> bool {
        let before = health.status.clone();
        if result.exit_code == 0 {
            health.failing_streak = 0;
            health.status = "healthy".into();
        } else if health.status != "starting" || age >= self.start_period {
            health.failing_streak += 1;
            if health.failing_streak >= self.retries {
                health.status = "unhealthy".into();
            }
        }
        let log = health.log.get_or_insert_default();
        log.push(result);
        let old = log.len().saturating_sub(KEPT);
        log.drain(..old);
        health.status != before
    }
}

impl Service {
    /// Begins to probe a container that has started, if it has a health check.
    pub(super) fn start_health(self: &Arc<Self>, container: &Arc<Container>) {
        let check = container.with(|record| Check::of(&record.config));
        let mut live = container.live();
        let Some(check) = check else {
            live.record.state.health = None;
            return;
        };
        if live.record.state.health.is_none() || live.health.is_none() {
            let fresh = Health { status: "starting".into(), failing_streak: 0, log: Some(Vec::new()) };
            live.record.state.health = Some(fresh);
        }
        let (service, probed) = (Arc::clone(self), Arc::clone(container));
        let task = self.runtime.spawn(async move { service.probe_for_ever(&probed, &check).await });
        if let Some(old) = live.health.replace(task.abort_handle()) {
            old.abort();
        }
    }

    async fn probe_for_ever(self: &Arc<Self>, container: &Arc<Container>, check: &Check) {
        loop {
            let age = age(container);
            let status = container.with(|r| r.state.health.as_ref().map(|h| h.status.clone()));
            let Some(status) = status else { return };
            tokio::time::sleep(check.pause(&status, age)).await;
            if container.with(|record| record.state.paused) {
                continue;
            }
            if !container.is_up() {
                return;
            }
            self.probe_once(container, check).await;
        }
    }

    async fn probe_once(self: &Arc<Self>, container: &Arc<Container>, check: &Check) {
        let Some(prober) = self.prober.get() else { return };
        let began = Timestamp::now();
        let probed = prober.probe(container.id.clone(), check.argv.clone(), check.timeout).await;
        let probe = probed.unwrap_or_else(|error| Probe { exit_code: -1, output: error.to_string() });
        let result = HealthcheckResult {
            start: rfc3339(began),
            end: rfc3339(Timestamp::now()),
            exit_code: i64::from(probe.exit_code),
            output: probe.output,
        };
        let age = age(container);
        let changed = {
            let mut live = container.live();
            if !live.record.state.running {
                return;
            }
            let Some(health) = live.record.state.health.as_mut() else { return };
            check.note(health, result, age).then(|| health.status.clone())
        };
        self.save_state(container);
        if let Some(status) = changed {
            let settled = Arc::clone(container);
            let settle = self.blocking(move |service| {
                service.settle_readiness(&settled);
                Ok(())
            });
            if let Err(error) = settle.await {
                tracing::error!(%error, "deal out a shared port anew");
            }
            self.announce(container, &format!("health_status: {status}"), &[]);
            if status == "unhealthy" && container.with(restarts_unhealthy) {
                // Not here: the restart ends this task.
                let (service, id) = (Arc::clone(self), container.id.clone());
                self.runtime.spawn(async move {
                    if let Err(error) = service.restart(&id, None, None).await {
                        tracing::warn!(container = id, %error, "restart an unhealthy container");
                    }
                });
            }
        }
    }
}

/// Containers with this label are restarted when they become unhealthy.
const RESTART_UNHEALTHY: &str = "dev.dray.restart-unhealthy";

fn restarts_unhealthy(record: &super::record::Record) -> bool {
    let label = record.config.labels.as_ref().and_then(|labels| labels.get(RESTART_UNHEALTHY));
    label.is_some_and(|value| value == "true")
}

fn age(container: &Container) -> Duration {
    let began = container.with(|record| record.state.started_at);
    began
        .map(|began| Timestamp::now().duration_since(began))
        .and_then(|age| age.try_into().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dray_api::container::Argv;

    fn config(words: &[&str]) -> ContainerConfig {
        let test = Some(Argv(words.iter().map(|word| (*word).to_owned()).collect()));
        let second = 1_000_000_000;
        let healthcheck = Some(HealthConfig {
            test,
            interval: second,
            start_period: 10 * second,
            retries: 2,
            ..HealthConfig::default()
        });
        ContainerConfig { healthcheck, ..ContainerConfig::default() }
    }

    fn result(code: i64) -> HealthcheckResult {
        HealthcheckResult { exit_code: code, ..HealthcheckResult::default() }
    }

    #[test]
    fn what_is_run() {
        assert_eq!(Check::of(&config(&["CMD", "true"])).unwrap().argv, ["true"]);
        assert_eq!(Check::of(&config(&["CMD-SHELL", "exit 1"])).unwrap().argv, ["/bin/sh", "-c", "exit 1"]);
        assert!(Check::of(&config(&["NONE"])).is_none());
        assert!(Check::of(&ContainerConfig::default()).is_none());
    }

    #[test]
    fn from_starting_to_unhealthy_and_back() {
        let check = Check::of(&config(&["CMD", "true"])).unwrap();
        let mut health = Health { status: "starting".into(), ..Health::default() };
        let (young, old) = (Duration::from_secs(1), Duration::from_secs(11));
        assert!(!check.note(&mut health, result(1), young), "failures in the start period do not count");
        assert_eq!(health.failing_streak, 0);
        assert!(!check.note(&mut health, result(1), old));
        assert!(check.note(&mut health, result(1), old));
        assert_eq!((health.status.as_str(), health.failing_streak), ("unhealthy", 2));
        assert!(check.note(&mut health, result(0), old));
        assert_eq!((health.status.as_str(), health.failing_streak), ("healthy", 0));
        for _ in 0..9 {
            check.note(&mut health, result(0), old);
        }
        assert_eq!(health.log.unwrap().len(), KEPT);
    }

    #[test]
    fn probes_are_closer_while_it_starts() {
        let check = Check::of(&config(&["CMD", "true"])).unwrap();
        assert_eq!(check.pause("starting", Duration::from_secs(1)), DEFAULT_START_INTERVAL);
        assert_eq!(check.pause("starting", Duration::from_secs(11)), Duration::from_secs(1));
        assert_eq!(check.pause("healthy", Duration::from_secs(1)), Duration::from_secs(1));
    }
}
