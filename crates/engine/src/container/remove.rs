//! Removing a container: gone from sight at once, its files a moment later.

use std::path::Path;
use std::sync::Arc;

use super::Error;
use super::live::Container;
use super::service::{KIND, Service};

/// Folders renamed to this wait to be deleted.
const REMOVED: &str = ".removed-";

impl Service {
    /// Removes a container; a running one only with `force`. `volumes` takes its anonymous volumes
    /// along.
    ///
    /// # Errors
    /// `Conflict` when it runs or is being removed already.
    pub async fn remove(self: &Arc<Self>, called: &str, force: bool, volumes: bool) -> Result<(), Error> {
        let container = self.registry.find(called)?;
        let (service, called) = (Arc::clone(self), called.to_owned());
        self.to_the_end(async move { service.remove_whole(container, &called, force, volumes).await }).await
    }

    async fn remove_whole(
        self: &Arc<Self>,
        container: Arc<Container>,
        called: &str,
        force: bool,
        volumes: bool,
    ) -> Result<(), Error> {
        let runs = loop {
            match begin(&container, called, force)? {
                Begun::Starting => container.start_settled().await,
                Begun::Removal { runs } => break runs,
            }
        };
        if runs {
            let killed = self.kill_and_wait(&container).await;
            if let Err(error) = killed.inspect_err(|_| container.live().removing = false) {
                let reason = format!("could not kill container: {error}");
                return Err(Error::Remove { name: container.name(), reason });
            }
        }
        self.blocking(move |service| service.finish_removal(&container, volumes)).await
    }

    /// Removes a stopped container on this thread.
    pub(super) fn remove_now(&self, container: &Arc<Container>, volumes: bool) -> Result<(), Error> {
        while let Begun::Starting = begin(container, &container.id, false)? {
            drop(container.lifecycle.blocking_lock());
        }
        self.finish_removal(container, volumes)
    }

    /// The removal has begun and the container does not run.
    pub(super) fn finish_removal(&self, container: &Arc<Container>, volumes: bool) -> Result<(), Error> {
        let _order = container.lifecycle.blocking_lock();
        if container.with(|record| record.state.running && !record.state.restarting) {
            container.live().removing = false;
            let reason =
                "container is running: stop the container before removing or force remove".to_owned();
            return Err(Error::Remove { name: container.name(), reason });
        }
        container.restart_wanted.notify_one();
        {
            let state = &mut container.live().record.state;
            (state.removing, state.restarting, state.running) = (true, false, false);
            // A daemon that is killed now finishes what was asked for, no more.
            state.removing_volumes = volumes;
        }
        self.save_state(container);
        let record = container.record();
        let folder = self.folder(&record.id);
        let hidden = self.hide(&folder, &record.id);
        if volumes && hidden.is_ok() {
            // Before the record goes: a daemon that is killed now would know of them no more.
            let anonymous = record.mounts.iter().filter(|point| point.anonymous);
            anonymous.for_each(|point| self.volumes.remove_anonymous(&point.name, &record.id));
        }
        let deleted = hidden.and_then(|()| self.forget_record(container));
        if let Err(error) = deleted {
            {
                let mut live = container.live();
                live.removing = false;
                (live.record.state.removing, live.record.state.dead) = (false, true);
            }
            self.save_state(container);
            container.announce_removed(error.to_string());
            return Err(error);
        }
        self.registry.remove(&record.id);
        self.networking.forget(&record.id);
        container.live().pending.clear();
        self.announce(container, "destroy", &[]);
        container.announce_removed(String::new());
        Ok(())
    }

    fn forget_record(&self, container: &Container) -> Result<(), Error> {
        let _saving = container.saving();
        self.store.records().batch(|tx| {
            tx.delete(KIND, &container.id)?;
            tx.release(&container.id)
        })?;
        container.live().removed = true;
        Ok(())
    }

    /// Puts a container's folder out of the way and deletes it in the background.
    fn hide(&self, folder: &Path, id: &str) -> Result<(), Error> {
        let hidden = folder.with_file_name(format!("{REMOVED}{id}"));
        match std::fs::rename(folder, &hidden) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("unable to remove filesystem: rename", folder)(error)),
        }
        self.runtime.spawn_blocking(move || delete(&hidden));
        Ok(())
    }

    /// Deletes what an earlier daemon had put out of the way and not deleted any more.
    pub(super) fn sweep_removed(&self) {
        let Some(folder) = self.folder("x").parent().map(Path::to_owned) else { return };
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let left = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(REMOVED));
        left.for_each(|entry| delete(&entry.path()));
    }
}

/// What a look at a container that is to be removed has come to.
enum Begun {
    /// It is being started: what comes of that has to be waited for.
    Starting,
    /// Nobody starts it any more.
    Removal {
        /// It runs, or waits for its restart.
        runs: bool,
    },
}

/// Begins a removal, in one step with the look at what the container is doing: no start comes in between.
fn begin(container: &Container, called: &str, force: bool) -> Result<Begun, Error> {
    let mut live = container.live();
    if live.removing {
        return Err(Error::RemovalInProgress(called.to_owned()));
    }
    let state = &live.record.state;
    if state.starting {
        return Ok(Begun::Starting);
    }
    let runs = state.running;
    if runs && !force {
        let reason = if state.paused {
            "container is paused and must be unpaused first".to_owned()
        } else {
            let status = state.status();
            format!("container is {status}: stop the container before removing or force remove")
        };
        return Err(Error::Remove { name: live.record.name.clone(), reason });
    }
    live.removing = true;
    Ok(Begun::Removal { runs })
}

fn delete(folder: &Path) {
    if let Err(error) = dray_store::remove_tree(folder) {
        tracing::warn!(path = %folder.display(), %error, "cannot delete the files of a removed container");
    }
}
