//! What an artifact cannot hold, and what the user should think of before others see it.

use std::fmt::Write as _;

use dray_compose::Project;
use dray_compose::load::{RealDisk, Source};
use dray_compose::model::service::{Mount, Service};
use dray_compose::parse::node::{Node, Value};
use dray_compose::parse::yaml;

use super::{refused, secret};
use crate::app::App;
use crate::command_error::Error;

/// Whether a project can be an artifact at all.
///
/// # Errors
/// It includes files of this machine, or has services without an image's name.
pub(super) fn can_be_published(project: &Project) -> Result<(), Error> {
    for file in &project.files {
        let text = std::fs::read_to_string(file).map_err(Error::file("open", file))?;
        let documents = yaml::parse(&text, 0)?;
        let includes = documents.iter().filter_map(|d| d.root.get("include")?.list()).flatten();
        if includes.flat_map(included).any(|path| !is_remote(path)) {
            return refused("cannot publish compose file with local includes".into());
        }
    }
    let bare: Vec<String> = project
        .services
        .iter()
        .filter(|(_, s)| s.build.is_some() && s.image.is_empty())
        .map(|(name, _)| format!("- {name:?}\n"))
        .collect();
    if bare.is_empty() {
        return Ok(());
    }
    refused(format!(
        "your Compose stack cannot be published as it only contains a build section for service(s):\n{}",
        bare.concat()
    ))
}

fn included(entry: &Node) -> Vec<&str> {
    match &entry.value {
        Value::Str(path) => vec![path],
        Value::List(list) => list.iter().filter_map(Node::str).collect(),
        Value::Map(map) => map.get("path").map(included).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn is_remote(path: &str) -> bool {
    path.starts_with("oci://") || Source::parse(path).is_some()
}

/// Asks about all that others would see; whether the user agrees to it.
///
/// # Errors
/// Variables are in it that nobody has said may be, or a file cannot be read.
pub(super) fn is_meant(app: &App, project: &Project, with_env: bool) -> Result<bool, Error> {
    // One after the other: what is not agreed to is not looked at further.
    let questions: [&dyn Fn() -> Result<Option<String>, Error>; 3] =
        [&|| Ok(binds(project)), &|| secrets(project), &|| variables(project, with_env)];
    for question in questions {
        if let Some(question) = question()?
            && !app.confirm(&question)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn binds(project: &Project) -> Option<String> {
    let of = |(name, s): (&String, &Service)| {
        let binds: String = s.volumes.iter().filter(|v| v.kind == "bind").map(|v| shown(v) + "\n").collect();
        if binds.is_empty() { String::new() } else { name.clone() + &binds }
    };
    let found: String = project.services.iter().map(of).collect();
    (!found.is_empty()).then(|| {
        format!(
            "you are about to publish bind mounts declaration within your OCI artifact.\n\
             only the bind mount declarations will be added to the OCI artifact (not content)\n\
             please double check that you are not mounting potential user's sensitive directories or data\n\
             {found}Are you ok to publish these bind mount declarations?"
        )
    })
}

/// `source:target:options`
fn shown(mount: &Mount) -> String {
    let bind = mount.bind.clone().unwrap_or_default();
    let options = [if mount.read_only { "ro" } else { "rw" }, &bind.selinux, &bind.propagation];
    let options: Vec<&str> = options.into_iter().filter(|o| !o.is_empty()).collect();
    format!("{}:{}:{}", mount.source, mount.target, options.join(","))
}

fn secrets(project: &Project) -> Result<Option<String>, Error> {
    let found = secret::find(project, &RealDisk::default())?;
    let list: String = found.iter().map(|s| format!("{}\n{:?}: {}\n", s.kind, s.key, s.value)).collect();
    Ok((!list.is_empty()).then(|| {
        format!(
            "you are about to publish sensitive data within your OCI artifact.\n\
             please double check that you are not leaking sensitive data\n\
             {list}Are you ok to publish these sensitive data?"
        )
    }))
}

fn variables(project: &Project, with_env: bool) -> Result<Option<String>, Error> {
    let (mut declared, mut list) = (String::new(), String::new());
    for (name, service) in &project.services {
        if !service.env_file.is_empty() {
            let _ = writeln!(declared, "service {name:?} has env_file declared.");
        }
        if service.environment.is_empty() {
            continue;
        }
        let _ = writeln!(declared, "service {name:?} has environment variable(s) declared.");
        let _ = writeln!(list, "Service/Config  {name}");
        for (variable, value) in service.environment.iter() {
            let _ = writeln!(list, "{variable}={}", value.as_deref().unwrap_or_default());
        }
    }
    for config in project.configs.values().map(|c| &c.0).filter(|c| !c.environment.is_empty()) {
        let name = &config.name;
        let _ = writeln!(declared, "config {name:?} is declare as an environment variable.");
        let _ = writeln!(list, "Service/Config  {name}\n{name}={}", config.environment);
    }
    if !with_env && !declared.is_empty() {
        return refused(format!(
            "{declared}To avoid leaking sensitive data, you must either explicitly allow the sending of environment variables by using the --with-env flag,\nor remove sensitive data from your Compose configuration"
        ));
    }
    Ok((!list.is_empty()).then(|| {
        format!(
            "you are about to publish environment variables within your OCI artifact.\n\
             please double check that you are not leaking sensitive data\n\
             {list}Are you ok to publish these environment variables?"
        )
    }))
}
