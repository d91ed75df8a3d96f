//! Volumes of a project.

use dray_api::volume::{Volume as Found, VolumeCreateRequest};
use futures_util::future::try_join_all;

use super::{Engine, Error, Result, Status};
use crate::model::hash;
use crate::model::project::Project;
use crate::model::resource::Volume;
use crate::plan::label;

impl Engine<'_> {
    /// Sees that all volumes are there. One whose configuration has changed stays as it is, with a warning: making it
    /// anew would lose its data.
    ///
    /// # Errors
    /// An external one is missing, or the daemon refuses.
    pub async fn ensure_volumes(&self, project: &Project) -> Result<()> {
        let all = project.volumes.iter().map(|(key, volume)| self.ensure_volume(project, key, volume));
        try_join_all(all).await.map(|_| ())
    }

    async fn ensure_volume(&self, project: &Project, key: &str, volume: &Volume) -> Result<()> {
        let found = match self.client.volume_inspect_raw(&volume.name).await {
            Ok(raw) => raw,
            Err(e) if e.is_not_found() && volume.external => {
                return Err(Error::NoVolume(volume.name.clone()));
            }
            Err(e) if e.is_not_found() => return self.create_volume(project, key, volume).await,
            Err(e) => return Err(e.into()),
        };
        if volume.external {
            return Ok(());
        }
        let what = format!("volume {}", volume.name);
        let found: Found = serde_json::from_slice(&found).map_err(|source| Error::Json { what, source })?;
        let labels = found.labels.unwrap_or_default();
        let name = &volume.name;
        let warning = match labels.get(label::PROJECT) {
            None => Some(format!(
                "volume {name:?} already exists but was not created by Docker Compose. Use `external: true` to use an existing volume"
            )),
            Some(other) if *other != project.name => Some(format!(
                "volume {name:?} already exists but was created for project {other:?} (expected {:?}). Use `external: true` to use an existing volume",
                project.name
            )),
            Some(_) if labels.get(label::CONFIG_HASH).is_some_and(|h| *h != hash::volume(volume)) => {
                Some(format!(
                    "Volume {name:?} exists but doesn't match configuration in compose file. It is kept as it is; remove it to have it made anew"
                ))
            }
            Some(_) => None,
        };
        if let Some(text) = warning {
            self.tell(&format!("Volume {name}"), Status::Warning, &text);
        }
        Ok(())
    }

    async fn create_volume(&self, project: &Project, key: &str, volume: &Volume) -> Result<()> {
        let id = format!("Volume {}", volume.name);
        self.tell(&id, Status::Working, "Creating");
        let mut labels = volume.labels.0.clone();
        let mut set = |name: &str, value: &str| labels.insert(name.to_owned(), value.to_owned());
        set(label::VOLUME, key);
        set(label::PROJECT, &project.name);
        set(label::VERSION, label::COMPOSE_VERSION);
        set(label::CONFIG_HASH, &hash::volume(volume));
        let request = VolumeCreateRequest {
            name: volume.name.clone(),
            driver: volume.driver.clone(),
            driver_opts: Some(volume.driver_opts.0.clone()),
            labels: Some(labels),
            cluster_volume_spec: None,
        };
        match self.client.volume_create(&request).await {
            Ok(_) => {
                self.tell(&id, Status::Done, "Created");
                Ok(())
            }
            Err(e) => {
                self.tell(&id, Status::Error, "Error");
                Err(e.into())
            }
        }
    }

    /// Removes a volume; one that is still used stays.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn remove_volume(&self, name: &str) -> Result<()> {
        let id = format!("Volume {name}");
        match self.client.volume_inspect_raw(name).await {
            Err(e) if e.is_not_found() => return Ok(()),
            _ => self.tell(&id, Status::Working, "Removing"),
        }
        match self.client.volume_remove(name, true).await {
            Ok(()) => self.tell(&id, Status::Done, "Removed"),
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
}
