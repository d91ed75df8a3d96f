//! Stopping and signalling, freezing, and restarting by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dray_runtime::{Shim, ShimError};

use super::live::Container;
use super::record::State;
use super::service::Service;
use super::wait::{Wait, WaitCondition};
use super::{Error, signal};

/// How long the end of a killed container is waited for.
const AFTER_KILL: Duration = Duration::from_secs(10);
/// How long connections by shared ports are waited for where a container may take for ever to stop.
const DRAIN: Duration = Duration::from_secs(10);

impl Service {
    /// Stops a container: its stop signal, then after a while SIGKILL. `timeout` is in seconds, −1
    /// waits for ever, none is the container's own.
    ///
    /// # Errors
    /// `NotModified` when it does not run.
    pub async fn stop(
        self: &Arc<Self>,
        called: &str,
        timeout: Option<i64>,
        with: Option<&str>,
    ) -> Result<(), Error> {
        let container = self.registry.find(called)?;
        container.start_settled().await;
        if !container.with(|record| record.state.running) {
            return Err(Error::AlreadyStopped);
        }
        let with = with.filter(|with| !with.is_empty()).map(signal::parse).transpose()?;
        let service = Arc::clone(self);
        self.to_the_end(async move { service.stop_running(&container, timeout, with).await })
            .await
            .map_err(|source| Error::Stop { name: called.to_owned(), source: Box::new(source) })
    }

    /// Stops all containers at once, as the daemon ends: each as it wishes to be stopped, and killed when `limit`
    /// seconds are over, or five more than it has of its own. Restart policies still count at the next start.
    pub async fn stop_all(self: &Arc<Self>, limit: Option<u64>) {
        let running = self.registry.all().into_iter().filter(|one| one.with(|record| record.state.running));
        let mut stops = tokio::task::JoinSet::new();
        for container in running {
            let service = Arc::clone(self);
            stops.spawn(async move {
                let own = container.with(|record| record.config.stop_timeout);
                let own = u64::try_from(own.unwrap_or(service.config.stop_timeout)).ok();
                let stopped = service.stop_running(&container, None, None);
                let ended = match limit.zip(own) {
                    // Neither may be negative: that is without limit.
                    None => stopped.await,
                    Some((limit, own)) => {
                        let limit = Duration::from_secs(limit.max(own.saturating_add(5)));
                        match tokio::time::timeout(limit, stopped).await {
                            Ok(ended) => ended,
                            Err(_) => service.kill_and_wait(&container).await,
                        }
                    }
                };
                if let Err(error) = ended {
                    tracing::warn!(container = container.id, %error, "stop a container with the daemon");
                }
            });
        }
        while stops.join_next().await.is_some() {}
    }

    async fn stop_running(
        self: &Arc<Self>,
        container: &Arc<Container>,
        timeout: Option<i64>,
        with: Option<i32>,
    ) -> Result<(), Error> {
        let (own_signal, own_timeout) =
            container.with(|record| (stop_signal(&record.config.stop_signal), record.config.stop_timeout));
        let timeout = timeout.or(own_timeout).unwrap_or(self.config.stop_timeout);
        let limit = u64::try_from(timeout).ok().map(Duration::from_secs);
        let began = Instant::now();
        self.drain(container, limit.map_or(DRAIN, |limit| limit / 2)).await;
        let ended = Wait::on(container, WaitCondition::NotRunning);
        let signalled = self.send(container, with.unwrap_or(own_signal), true).await;
        let patience = match (limit, &signalled) {
            (None, Ok(())) => None,
            (Some(limit), Ok(())) => Some(limit.saturating_sub(began.elapsed())),
            (_, Err(_)) => Some(Duration::from_secs(2)),
        };
        let ended = ended.finish();
        match patience {
            None => drop(ended.await),
            Some(patience) => {
                if tokio::time::timeout(patience, ended).await.is_err() {
                    self.kill_and_wait(container).await?;
                }
            }
        }
        self.announce(container, "stop", &[]);
        Ok(())
    }

    /// Sends a signal; SIGKILL (and none) is waited for.
    ///
    /// # Errors
    /// When it does not run, or the signal is none.
    pub async fn kill(self: &Arc<Self>, called: &str, with: &str) -> Result<(), Error> {
        let number = if with.is_empty() { signal::KILL } else { signal::parse(with)? };
        let container = self.registry.find(called)?;
        let wrap = |source| Error::Kill { name: called.to_owned(), source: Box::new(source) };
        container.start_settled().await;
        if !container.with(|record| record.state.running) {
            return Err(wrap(Error::NotRunning(container.id.clone())));
        }
        if number == signal::KILL {
            let service = Arc::clone(self);
            let killed = self.to_the_end(async move { service.kill_and_wait(&container).await });
            return killed.await.map_err(wrap);
        }
        let own = container.with(|record| stop_signal(&record.config.stop_signal));
        self.send(&container, number, number == own).await.map_err(wrap)
    }

    /// Kills a container and waits for its end, which may have come already.
    pub(super) async fn kill_and_wait(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), Error> {
        let ended = Wait::on(container, WaitCondition::NotRunning);
        match self.send(container, signal::KILL, true).await {
            Ok(()) | Err(Error::NotRunning(_)) => {}
            Err(error) => tracing::warn!(container = container.id, %error, "cannot signal the shim"),
        }
        let ended = ended.finish();
        tokio::pin!(ended);
        if tokio::time::timeout(AFTER_KILL, &mut ended).await.is_ok() {
            return Ok(());
        }
        let run_dir = self.run_dir(&container.id);
        self.blocking(move |_| Ok(Shim::open(&run_dir).map(|shim| shim.kill_all()).transpose()?)).await?;
        tokio::time::timeout(Duration::from_secs(2), ended).await.map(drop).map_err(|_| Error::WouldNotDie)
    }

    /// Sends a signal to the init; `stopping` says that it is meant to end: then no restart follows.
    async fn send(
        self: &Arc<Self>,
        container: &Arc<Container>,
        number: i32,
        stopping: bool,
    ) -> Result<(), Error> {
        let container = Arc::clone(container);
        self.blocking(move |service| service.send_now(&container, number, stopping)).await
    }

    fn send_now(&self, container: &Arc<Container>, number: i32, stopping: bool) -> Result<(), Error> {
        let mut state = self.note_stop(container, stopping)?;
        if state.starting {
            // Its restart policy is about to start it: the signal is for what comes of that.
            drop(container.lifecycle.blocking_lock());
            state = self.note_stop(container, stopping)?;
        }
        self.save_state(container);
        if state.restarting {
            container.restart_wanted.notify_one();
            return Ok(());
        }
        let sent = self.shim(container).and_then(|shim| {
            shim.kill(number)?;
            // A frozen program gets the signal only once it is thawed.
            if stopping && state.paused {
                shim.resume()?;
            }
            Ok(())
        });
        match sent {
            // It is ending by itself; whoever waits for the end will see it.
            Ok(()) | Err(Error::Shim(ShimError::NotRunning | ShimError::Gone { .. })) => {}
            Err(error) => return Err(error),
        }
        self.announce(container, "kill", &[("signal", number.to_string())]);
        Ok(())
    }

    /// What a container that runs is doing at the moment from which on its restart policy leaves it alone.
    fn note_stop(&self, container: &Container, stopping: bool) -> Result<State, Error> {
        let live = &mut *container.live();
        if !live.record.state.running {
            return Err(Error::NotRunning(container.id.clone()));
        }
        live.record.manually_stopped |= stopping && !self.is_shutting_down();
        Ok(live.record.state.clone())
    }

    /// The shim of a running container.
    pub(crate) fn shim(&self, container: &Container) -> Result<Shim, Error> {
        Shim::open(&self.run_dir(&container.id)).ok_or_else(|| Error::NotRunning(container.id.clone()))
    }

    /// Stops a container if it runs, and starts it.
    ///
    /// # Errors
    /// What stood in the way.
    pub async fn restart(
        self: &Arc<Self>,
        called: &str,
        timeout: Option<i64>,
        with: Option<&str>,
    ) -> Result<(), Error> {
        let container = self.registry.find(called)?;
        let with = with.filter(|with| !with.is_empty()).map(signal::parse).transpose()?;
        container.start_settled().await;
        let service = Arc::clone(self);
        self.to_the_end(async move {
            let restarted = service.stop_and_start(&container, timeout, with).await;
            container.live().manually_restarting = false;
            restarted?;
            service.announce(&container, "restart", &[]);
            Ok(())
        })
        .await
        .map_err(|source| Error::Restart { name: called.to_owned(), source: Box::new(source) })
    }

    async fn stop_and_start(
        self: &Arc<Self>,
        container: &Arc<Container>,
        timeout: Option<i64>,
        with: Option<i32>,
    ) -> Result<(), Error> {
        if container.with(|record| record.state.running) {
            container.live().manually_restarting = true;
            self.stop_running(container, timeout, with).await?;
        }
        let starting = Arc::clone(container);
        match self.blocking(move |service| service.start_now(&starting, true)).await {
            Err(Error::AlreadyRunning) => Ok(()),
            started => started,
        }
    }

    /// Freezes a container.
    ///
    /// # Errors
    /// When it does not run, is frozen, or waits for its restart.
    pub async fn pause(self: &Arc<Self>, called: &str) -> Result<(), Error> {
        let container = self.registry.find(called)?;
        self.blocking(move |service| service.freeze(&container, true)).await
    }

    /// Lets a frozen container go on.
    ///
    /// # Errors
    /// When it is not frozen.
    pub async fn unpause(self: &Arc<Self>, called: &str) -> Result<(), Error> {
        let container = self.registry.find(called)?;
        self.blocking(move |service| service.freeze(&container, false)).await
    }

    fn freeze(self: &Arc<Self>, container: &Arc<Container>, freeze: bool) -> Result<(), Error> {
        let _order = container.lifecycle.blocking_lock();
        let id = container.id.clone();
        let state = container.with(|record| record.state.clone());
        match state {
            _ if !freeze && !state.paused => return Err(Error::NotPaused(id)),
            _ if !state.running => return Err(Error::NotRunning(id)),
            _ if freeze && state.paused => return Err(Error::AlreadyPaused(id)),
            _ if state.restarting => return Err(Error::Restarting(id)),
            _ => {}
        }
        let shim = self.shim(container)?;
        let done = if freeze {
            self.turn_away(container);
            shim.pause().inspect_err(|_| self.settle_readiness(container))
        } else {
            shim.resume()
        };
        // What cannot be done to a container that is ending is not the cgroup's fault.
        done.map_err(|error| self.shim(container).map_or_else(|ended| ended, |_| error.into()))?;
        container.live().record.state.paused = freeze;
        self.settle_readiness(container);
        self.save_state(container);
        self.announce(container, if freeze { "pause" } else { "unpause" }, &[]);
        Ok(())
    }
}

/// The signal that stops a container: its own, or SIGTERM.
fn stop_signal(configured: &str) -> i32 {
    signal::parse(configured).unwrap_or(signal::TERM)
}
