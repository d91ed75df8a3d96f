//! `use_api_socket`: a service that speaks with the daemon, with the credentials of the user who brings it up.
//!
//! ```text
//! /var/run/docker.sock               the daemon's socket
//! /run/secrets/docker/config.json    the credentials; DOCKER_CONFIG says so, unless the service sets it itself
//! ```

use dray_client::Host;
use dray_compose::Project;
use dray_compose::model::resource::{Config, FileObject};
use dray_compose::model::service::{FileMount, Mount};

use crate::app::App;
use crate::command_error::Error;

/// Where Docker's socket is, on the host and in the container.
const SOCKET: &str = "/var/run/docker.sock";
/// The folder of the configuration in the container.
const FOLDER: &str = "/run/secrets/docker";
/// No file can name a config so.
const CONFIG: &str = "#apisocket";

/// Gives services what they need to speak with the daemon: before anything is made or started of the project.
///
/// # Errors
/// A helper does not give the credentials.
pub(super) fn give(app: &App, project: &mut Project) -> Result<(), Error> {
    if !project.services.values().any(|service| service.use_api_socket) {
        return Ok(());
    }
    let content = app.config().borrow().as_file_of_credentials()?;
    project.configs.insert(CONFIG.to_owned(), Config(FileObject { content, ..FileObject::default() }));
    // A daemon of another machine has its socket where Docker's is.
    let source = match &app.client()?.endpoint().host {
        Host::Unix(path) => path.display().to_string(),
        Host::Tcp { .. } | Host::Ssh(_) => SOCKET.to_owned(),
    };
    for service in project.services.values_mut().filter(|service| service.use_api_socket) {
        let (kind, source, target) = ("bind".to_owned(), source.clone(), SOCKET.to_owned());
        service.volumes.push(Mount { kind, source, target, ..Mount::default() });
        service.environment.0.entry("DOCKER_CONFIG".to_owned()).or_insert_with(|| Some(FOLDER.to_owned()));
        let target = format!("{FOLDER}/config.json");
        service.configs.push(FileMount { source: CONFIG.to_owned(), target, ..FileMount::default() });
    }
    Ok(())
}
