//! Configs and secrets whose content comes from the environment or the Compose file: put into the container before it
//! starts. Those that are files are mounts.

use std::io::Cursor;

use dray_client::Upload;

use super::{Engine, Error, Result};
use crate::model::project::Project;
use crate::model::resource::FileObject;
use crate::model::service::{FileMount, Service};
use crate::plan::container::target;

impl Engine<'_> {
    /// Puts a service's contents into one of its containers.
    ///
    /// # Errors
    /// A variable is missing, the container is read-only, or the daemon refuses.
    pub async fn put_files(&self, project: &Project, name: &str, service: &Service, id: &str) -> Result<()> {
        let secrets =
            service.secrets.iter().filter_map(|m| Some(("secret", m, &project.secrets.get(&m.source)?.0)));
        let configs =
            service.configs.iter().filter_map(|m| Some(("config", m, &project.configs.get(&m.source)?.0)));
        for (kind, mount, object) in secrets.chain(configs) {
            let Some(content) = content(project, kind, object)? else { continue };
            if service.read_only {
                return Err(Error::ReadOnly { kind, name: object.name.clone(), service: name.to_owned() });
            }
            let folder = if kind == "secret" { "/run/secrets/" } else { "/" };
            let tar = pack(&target(mount, folder), mount, &content)?;
            self.client.container_copy_to(id, "/", true, Upload::tar(Cursor::new(tar))).await?;
        }
        Ok(())
    }
}

fn content(project: &Project, kind: &'static str, object: &FileObject) -> Result<Option<String>> {
    if !object.content.is_empty() {
        return Ok(Some(object.content.clone()));
    }
    if object.environment.is_empty() {
        return Ok(None);
    }
    match project.environment.get(&object.environment) {
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => Ok(Some(value.clone())),
        None => {
            Err(Error::NoVariable { variable: object.environment.clone(), kind, name: object.name.clone() })
        }
    }
}

fn pack(at: &str, mount: &FileMount, content: &str) -> Result<Vec<u8>> {
    let failed = |source| Error::Stream { what: "packing a file for a container", source };
    let mut header = tar::Header::new_ustar();
    let mode = mount.mode.map_or(0o444, |m| u32::try_from(m.0).unwrap_or(0o444));
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    header.set_uid(mount.uid.parse().unwrap_or(0));
    header.set_gid(mount.gid.parse().unwrap_or(0));
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    header.set_mtime(seconds.map(|d| d.as_secs()).unwrap_or(0));
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, at.trim_start_matches('/'), content.as_bytes()).map_err(failed)?;
    tar.into_inner().map_err(failed)
}
