//! The end of a run: noticed, recorded, and followed by a restart, a removal or nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dray_runtime::{ExitStatus, Shim, exit_status, reap_lost};
use jiff::Timestamp;

use super::Error;
use super::live::Container;
use super::service::Service;

impl Service {
    /// Watches a running container; settles its exit when it comes.
    pub(super) fn watch_exit(self: &Arc<Self>, container: &Arc<Container>) {
        let service = Arc::clone(self);
        let container = Arc::clone(container);
        let run_dir = self.run_dir(&container.id);
        self.runtime.spawn(async move {
            let status = end_of(&run_dir).await;
            let settled = service.blocking(move |service| {
                service.settle(&container, &status);
                Ok(())
            });
            if let Err(error) = settled.await {
                tracing::error!(%error, "cannot settle the exit of a container");
            }
        });
    }

    /// Records how a run ended, takes its surroundings down, and does what comes next.
    pub(super) fn settle(self: &Arc<Self>, container: &Arc<Container>, status: &ExitStatus) {
        let order = container.lifecycle.blocking_lock();
        let record = container.record();
        if !record.state.running || record.state.restarting {
            return;
        }
        if let Some(task) = container.live().health.take() {
            task.abort();
        }
        self.take_down(&record);
        let finished = status.finished_at.parse().unwrap_or_else(|_| Timestamp::now());
        let ran = record.state.started_at.map(|began| finished.duration_since(began));
        let ran = ran.and_then(|ran| Duration::try_from(ran).ok()).unwrap_or_default();
        let pause = {
            let mut live = container.live();
            let stopped = live.record.manually_stopped || self.is_shutting_down();
            let policy = live.record.host.restart_policy.clone();
            let pause = live.restarts.next(&policy, status.code, stopped, ran);
            Self::clear_network(&mut live.record);
            if pause.is_some() {
                live.record.restart_count += 1;
                live.record.state.set_restarting(status.code, status.oom_killed, finished);
            } else {
                live.record.state.set_stopped(status.code, status.oom_killed, finished);
            }
            pause
        };
        self.save_state(container);
        // It says how the run ended: not before that is written.
        self.remove_run_dir(&record.id);
        if status.oom_killed {
            self.announce(container, "oom", &[]);
        }
        let attributes = [("exitCode", status.code.to_string()), ("execDuration", ran.as_secs().to_string())];
        self.announce(container, "die", &attributes);
        container.announce(true);
        drop(order);
        match pause {
            Some(pause) => self.restart_after(container, pause),
            None => {
                let remove = {
                    let live = container.live();
                    live.record.host.auto_remove && !live.manually_restarting
                };
                if remove {
                    self.auto_remove(container);
                }
            }
        }
    }

    /// Starts the container again after a pause, unless it is stopped or removed meanwhile.
    pub(super) fn restart_after(self: &Arc<Self>, container: &Arc<Container>, pause: Duration) {
        let service = Arc::clone(self);
        let container = Arc::clone(container);
        self.runtime.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = container.restart_wanted.notified() => {}
            }
            let done = service.blocking(move |service| {
                service.restart_now(&container);
                Ok(())
            });
            if let Err(error) = done.await {
                tracing::error!(%error, "cannot restart a container");
            }
        });
    }

    fn restart_now(self: &Arc<Self>, container: &Arc<Container>) {
        let wanted = container
            .with(|record| record.state.restarting && !record.manually_stopped && !record.state.removing);
        let error = match wanted && !self.is_shutting_down() {
            true => self.start_now(container, false).err(),
            false => None,
        };
        let order = container.lifecycle.blocking_lock();
        let stays_down = {
            let state = &mut container.live().record.state;
            let waiting = state.restarting;
            if waiting {
                let finished = state.finished_at.unwrap_or_else(Timestamp::now);
                state.set_stopped(state.exit_code, state.oom_killed, finished);
            }
            waiting
        };
        if stays_down {
            self.save_state(container);
            container.announce(false);
        }
        drop(order);
        let wanted = |error: &Error| {
            !matches!(error, Error::AlreadyRunning | Error::AlreadyStopped | Error::MarkedForRemoval)
        };
        if let Some(error) = error.filter(wanted) {
            tracing::warn!(container = container.id, %error, "cannot restart a container");
        }
    }

    /// Removes a container that was to be removed when it ends.
    pub(super) fn auto_remove(self: &Arc<Self>, container: &Arc<Container>) {
        match self.remove_now(container, true) {
            // Removed by somebody else, or started again: then its next end is the one.
            Ok(()) | Err(Error::RemovalInProgress(_) | Error::Remove { .. }) => {}
            Err(error) => {
                tracing::warn!(container = container.id, %error, "cannot remove a container that ended")
            }
        }
    }
}

impl Service {
    /// Waits for the end of an exec; none when its shim is gone or does not know it. Takes no thread meanwhile.
    pub(crate) async fn exec_end(self: &Arc<Self>, container: &str, exec: &str) -> Option<ExitStatus> {
        let container = self.registry.get(container)?;
        let exec = exec.to_owned();
        let wait = self.blocking(move |service| Ok(service.shim(&container)?.exec_wait(&exec)?));
        received(wait.await.ok()?).await
    }
}

/// Waits until the container of a run directory has ended, its shim killed or not.
async fn end_of(run_dir: &Path) -> ExitStatus {
    if let Some(shim) = Shim::open(run_dir)
        && let Ok(wait) = shim.wait()
        && let Some(status) = received(wait).await
    {
        return status;
    }
    let path = run_dir.to_owned();
    let lost = tokio::task::spawn_blocking(move || {
        if let Some(status) = exit_status(&path) {
            return status;
        }
        // The shim was killed: what is left of the container goes with it.
        reap_lost(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "cannot clean up after a lost shim");
            killed()
        })
    });
    lost.await.unwrap_or_else(|_| killed())
}

async fn received(wait: dray_runtime::ExitWait) -> Option<ExitStatus> {
    let copy = wait.as_stream().try_clone().ok()?;
    copy.set_nonblocking(true).ok()?;
    {
        let stream = tokio::net::UnixStream::from_std(copy).ok()?;
        stream.readable().await.ok()?;
    }
    wait.as_stream().set_nonblocking(false).ok()?;
    tokio::task::spawn_blocking(move || wait.recv().ok()).await.ok()?
}

fn killed() -> ExitStatus {
    ExitStatus { code: 137, oom_killed: false, finished_at: Timestamp::now().to_string() }
}
