//! The project that a command is about: its files by the flags before the command, the environment and the folder.

use std::collections::BTreeMap;
use std::io::Read as _;

use dray_compose::model::{Along, environment};
use dray_compose::{Loader, Project, Request, Skip};

use super::remote::Remote;
use super::say;
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, int, list, switch, text};

const DRY_RUN: Flag = switch("dry-run", NONE, "Execute command in dry run mode");

/// Flags that may as well stand after the command.
pub const PERSISTENT: &[Flag] = &[DRY_RUN];

/// Flags before the command.
pub const FLAGS: &[Flag] = &[
    switch("all-resources", NONE, "Include all resources, even those not used by services"),
    text("ansi", NONE, "When to print ANSI control characters (never, always, auto)").default("auto"),
    switch("compatibility", NONE, "Run in backward compatibility mode"),
    DRY_RUN,
    list("env-file", NONE, "Use other environment files than .env").shown("stringArray"),
    list("file", 'f', "Compose files").shown("stringArray"),
    int("parallel", NONE, "How much to do at once, -1 for no limit").default("-1"),
    list("profile", NONE, "Switch a profile on").shown("stringArray"),
    text("progress", NONE, "Kind of progress display (auto, tty, plain, json, quiet)"),
    switch("no-ansi", NONE, "Kept for old scripts").hidden(),
    text("project-directory", NONE, "Another working folder (default: that of the first Compose file)"),
    text("project-name", 'p', "Name of the project"),
    switch("verbose", NONE, "Show more output").hidden(),
    switch("version", 'v', "Show the version").hidden(),
    text("workdir", NONE, "Old name of --project-directory").hidden(),
];

/// How a project is loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// What is left out.
    pub skip: Skip,
    /// Leave `env_file` alone.
    pub keep_env_files: bool,
    /// Forget `label_file` when its labels have been taken.
    pub forget_label_files: bool,
    /// Take variables out of `env_file`, and keep in mind where they came from.
    pub remember_env_files: bool,
}

impl From<dray_compose::Error> for Error {
    fn from(error: dray_compose::Error) -> Error {
        Error::Refused(error.to_string())
    }
}

/// What the flags ask for.
///
/// # Errors
/// The current folder or standard input cannot be read.
pub fn request(app: &App, skip: Skip) -> Result<Request, Error> {
    let flags = &app.group;
    let files = flags.all("file");
    let stdin = if files.iter().any(|f| f == "-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(Error::io("read standard input"))?;
        Some(text)
    } else {
        None
    };
    let env_files = match flags.all("env-file") {
        none if none.is_empty() => {
            let list = std::env::var("COMPOSE_ENV_FILES").unwrap_or_default();
            list.split(',').filter(|f| !f.is_empty()).map(str::to_owned).collect()
        }
        given => given,
    };
    let directory =
        [flags.get("project-directory"), flags.get("workdir")].into_iter().find(|d| !d.is_empty());
    let current = std::env::current_dir().map_err(Error::io("find the current folder"))?;
    Ok(Request {
        files,
        name: flags.get("project-name").to_owned(),
        directory: directory.unwrap_or_default().to_owned(),
        env_files,
        profiles: flags.all("profile"),
        environment: process_environment(),
        current: current.display().to_string(),
        stdin,
        skip,
        forget_label_files: false,
    })
}

fn process_environment() -> BTreeMap<String, String> {
    let text = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

/// Loads the project, with the named services and what they depend on; all if none is named.
///
/// # Errors
/// A file breaks a rule, or a service does not exist.
pub fn load(app: &App, services: &[String], how: How) -> Result<Project, Error> {
    let disk = Remote::new(app);
    let loader = Loader::new(&disk);
    let request = Request { forget_label_files: how.forget_label_files, ..request(app, how.skip)? };
    let loaded = loader.project(&request);
    for warning in loader.warnings() {
        say::warn(&warning);
    }
    let mut project = loaded?;
    project.enable(services);
    project.select(services, Along::Dependencies)?;
    if !app.group.is("all-resources") {
        project.drop_unused();
    }
    if !how.keep_env_files {
        let resolved = environment::resolve(&mut project, &loader, !how.remember_env_files);
        for warning in loader.warnings() {
            say::warn(&warning);
        }
        resolved?;
    }
    Ok(project)
}

/// The project if there are files for it, and its name in any case.
///
/// # Errors
/// There are neither files nor a name.
pub fn maybe(app: &App, services: &[String]) -> Result<(Option<Project>, String), Error> {
    let given = app.group.get("project-name");
    if !given.is_empty() && app.group.all("file").is_empty() {
        return Ok((None, given.to_lowercase()));
    }
    match load(app, services, How::default()) {
        Ok(project) => {
            let name = project.name.clone();
            Ok((Some(project), name))
        }
        Err(error) => match std::env::var("COMPOSE_PROJECT_NAME").ok().filter(|n| !n.is_empty()) {
            Some(name) => Ok((None, name)),
            None => Err(error),
        },
    }
}

/// What stands between the parts of names: `-`, or `_` for compatibility.
pub fn separator(app: &App) -> &'static str {
    let env = std::env::var("COMPOSE_COMPATIBILITY").unwrap_or_default();
    if app.group.is("compatibility") || matches!(env.to_lowercase().as_str(), "1" | "t" | "true") {
        "_"
    } else {
        "-"
    }
}
