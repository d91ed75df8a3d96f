//! Docker's client plugins, such as `docker-compose` and `docker-buildx`: programs that are commands of the client.
//! They find the daemon by `DOCKER_HOST`.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::app::App;
use crate::command_error::Error;

/// Where plugins are, after the configuration's own folder.
const FOLDERS: &[&str] = &[
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// The program of a plugin's command.
pub fn find(app: &App, word: &str) -> Option<PathBuf> {
    if !word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        return None;
    }
    let own = app.config().borrow().dir().join("cli-plugins");
    let folders = std::iter::once(own).chain(FOLDERS.iter().map(PathBuf::from));
    let is_program =
        |p: &PathBuf| p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    folders.map(|folder| folder.join(format!("docker-{word}"))).find(is_program)
}

/// Becomes the plugin; returns only if that fails.
pub fn become_it(app: &App, path: &Path, words: &[OsString]) -> Error {
    let endpoint = match app.client() {
        Ok(client) => client.endpoint(),
        Err(e) => return e,
    };
    let mut command = Command::new(path);
    command.args(words).env("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", &app.name);
    if endpoint.tls.is_none() {
        command.env("DOCKER_HOST", &endpoint.text).env_remove("DOCKER_CONTEXT");
    }
    Error::file("exec", path)(command.exec())
}
