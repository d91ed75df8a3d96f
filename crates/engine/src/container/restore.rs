//! Finding containers again when the daemon starts, however the last one ended.
//!
//! ```text
//! record says     shim answers        what is done
//! starting        yes                 it runs: go on as if the start had been acknowledged
//! starting        not yet             a shim is making it: waited for
//! starting        no                  it has ended or never began: settled
//! running         yes                 joined again: networks, health, exit
//! running         no                  settled with the shim's exit file, or as killed
//! removing, dead  —                   the removal is finished
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dray_runtime::{Shim, await_start, exit_status, reap_lost};
use jiff::Timestamp;

use super::Error;
use super::live::Container;
use super::record::Record;
use super::restart::at_boot;
use super::service::{KIND, Service};
use super::validate::{Namespace, namespace};

/// How long a start that the last daemon has left half done may take.
const START: Duration = Duration::from_secs(10);

impl Service {
    /// Reads all containers from the store and joins those that run. Gives those that their restart policy wants
    /// started: see [`Service::come_back`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn restore(self: &Arc<Self>) -> Result<Vec<Arc<Container>>, Error> {
        self.blocking(Self::restore_now).await
    }

    /// Starts, in the background, what [`Service::restore`] gave: after the networks have cleared away what belongs to
    /// no running container, or what these get meanwhile would go with it.
    pub fn come_back(self: &Arc<Self>, returning: Vec<Arc<Container>>) {
        let coming: Arc<BTreeSet<String>> = Arc::new(returning.iter().map(|c| c.id.clone()).collect());
        for container in returning {
            let (service, coming) = (Arc::clone(self), Arc::clone(&coming));
            self.runtime.spawn(async move {
                service.await_dependencies(&container, &coming).await;
                let id = container.id.clone();
                let started = service.blocking(move |service| service.start_now(&container, true)).await;
                if let Err(error) = started {
                    tracing::warn!(container = id, %error, "cannot restart a container");
                }
            });
        }
    }

    fn restore_now(self: &Arc<Self>) -> Result<Vec<Arc<Container>>, Error> {
        self.sweep_removed();
        let records = self.store.records().list::<Record>(KIND)?;
        let mut containers = Vec::new();
        for stored in records {
            let mut record = stored.document;
            // The name lives in its own column as well; a rename changes both at once.
            record.name = stored.name.unwrap_or(record.name);
            let container = Arc::new(Container::new(record));
            self.registry.insert(Arc::clone(&container));
            containers.push(container);
        }
        self.sweep_unborn();
        let mut restart = Vec::new();
        for container in containers {
            self.networking.know(&self.networked(&container.record()));
            if self.restore_one(&container) {
                restart.push(container);
            }
        }
        self.sweep_runs();
        self.volumes.release_unused();
        Ok(restart)
    }

    /// Removes the folders of containers whose creation was cut off before it was written down. They are empty; what
    /// holds anything is nobody's to delete.
    fn sweep_unborn(&self) {
        let Some(folder) = self.folder("x").parent().map(std::path::Path::to_owned) else { return };
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            if id.starts_with('.') || self.registry.get(&id).is_some() {
                continue;
            }
            for part in ["upper", "work/work", "work", ""] {
                let _ = std::fs::remove_dir(entry.path().join(part));
            }
        }
    }

    /// Removes the run directories of containers that do not run: a daemon that was killed between writing down an end
    /// and this has left them.
    fn sweep_runs(&self) {
        let Some(folder) = self.run_dir("x").parent().map(std::path::Path::to_owned) else { return };
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for id in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
            if !self.registry.get(&id).is_some_and(|container| container.is_up()) {
                self.remove_run_dir(&id);
            }
        }
    }

    /// Brings one container's record in line with what is true. True when it is to be started.
    fn restore_one(self: &Arc<Self>, container: &Arc<Container>) -> bool {
        let state = container.with(|record| record.state.clone());
        if state.removing || state.dead {
            if let Err(error) = self.remove_now(container, state.removing_volumes) {
                tracing::warn!(container = container.id, %error, "cannot finish a removal");
            }
            return false;
        }
        if state.starting || (state.running && !state.restarting) {
            self.find_again(container);
        }
        let record = container.record();
        if record.state.running && !record.state.restarting {
            return false;
        }
        if record.host.auto_remove && record.started_before {
            self.auto_remove(container);
            return false;
        }
        let waited = record.state.restarting;
        if waited {
            let state = &mut container.live().record.state;
            let finished = state.finished_at.unwrap_or_else(Timestamp::now);
            state.set_stopped(state.exit_code, state.oom_killed, finished);
        }
        if waited {
            self.save_state(container);
            container.announce(false);
        }
        record.started_before
            && at_boot(&record.host.restart_policy, record.state.exit_code, record.manually_stopped)
    }

    /// A container that was starting or running when the last daemon ended.
    fn find_again(self: &Arc<Self>, container: &Arc<Container>) {
        let run_dir = self.run_dir(&container.id);
        if container.with(|record| record.state.starting) {
            await_start(&run_dir, START);
        }
        let ended = exit_status(&run_dir).is_some();
        if let Some(found) = Shim::open(&run_dir).and_then(|shim| shim.state()).filter(|_| !ended) {
            let mut live = container.live();
            let state = &mut live.record.state;
            if state.starting || state.pid != found.init_pid {
                let began = state.started_at.filter(|_| !state.starting).unwrap_or_else(Timestamp::now);
                state.set_running(found.init_pid, found.init_start_time, began);
                live.record.started_before = true;
            }
            drop(live);
            self.join_again(container);
            return;
        }
        // Counted as running, so that the end is settled like any other.
        container.live().record.state.running = true;
        let status = exit_status(&run_dir).or_else(|| reap_lost(&run_dir).ok()).unwrap_or_else(|| {
            let finished_at = Timestamp::now().to_string();
            dray_runtime::ExitStatus { code: 137, oom_killed: false, finished_at }
        });
        self.settle(container, &status);
    }

    fn join_again(self: &Arc<Self>, container: &Arc<Container>) {
        let record = container.record();
        if !matches!(namespace(&record.host.network_mode), Namespace::Container(_))
            && let Err(error) = self.networking.restore(&self.networked(&record), &record.ports)
        {
            tracing::warn!(container = record.id, %error, "cannot restore the networks of a running container");
        }
        for point in record.mounts.iter().filter(|point| !point.name.is_empty()) {
            if point.kind == dray_api::container::MountType::Volume
                && let Err(error) = self.volumes.mount(&point.name, &record.id)
            {
                tracing::warn!(container = record.id, %error, "cannot hold a volume of a running container");
            }
        }
        if let Ok(paused) = self.shim(container).and_then(|shim| Ok(shim.is_paused()?)) {
            container.live().record.state.paused = paused;
        }
        self.save_state(container);
        container.announce(false);
        // Before the health check begins anew: the last daemon's word counts until there is another.
        self.settle_readiness(container);
        self.start_health(container);
        self.wake_autoscaler(container);
        self.watch_exit(container);
    }
}
