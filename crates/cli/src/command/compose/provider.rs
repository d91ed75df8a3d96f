//! Services that a program provides (`provider:`): the program is run as Docker Compose runs it, and speaks JSON
//! lines.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use dray_compose::Project;
use dray_compose::model::service::Service;

use crate::app::App;
use crate::command_error::Error;

/// Runs all providers, and gives what they tell to the services that depend on them: each variable with the provider's
/// name before its own.
///
/// # Errors
/// As [`run`].
pub fn up(app: &App, project: &mut Project) -> Result<(), Error> {
    let provided: Vec<String> =
        project.services.iter().filter(|(_, s)| s.provider.is_some()).map(|(name, _)| name.clone()).collect();
    for name in provided {
        let variables = run(app, project, &name, &project.services[&name], "up")?;
        let prefix = name.to_uppercase();
        for service in project.services.values_mut().filter(|s| s.depends_on.contains_key(&name)) {
            for (variable, value) in &variables {
                service.environment.0.insert(format!("{prefix}_{variable}"), Some(value.clone()));
            }
        }
    }
    Ok(())
}

/// Runs the provider of a service: `up` or `down`. Gives the variables that it tells.
///
/// # Errors
/// The program does not exist, fails, or tells of an error.
pub fn run(
    app: &App,
    project: &Project,
    name: &str,
    service: &Service,
    command: &str,
) -> Result<BTreeMap<String, String>, Error> {
    let mut variables = BTreeMap::new();
    let Some(provider) = service.provider.as_ref().filter(|_| !app.group.is("dry-run")) else {
        return Ok(variables);
    };
    let path = crate::plugin::find(app, &provider.kind).unwrap_or_else(|| provider.kind.clone().into());
    let mut words =
        vec!["compose".to_owned(), format!("--project-name={}", project.name), command.to_owned()];
    for (option, values) in provider.options.iter() {
        words.extend(values.iter().map(|v| format!("--{option}={v}")));
    }
    words.push(name.to_owned());
    let missing = |e: std::io::Error| {
        Error::Refused(format!("provider {:?} of service {name:?} cannot be run: {e}", provider.kind))
    };
    let mut child = Command::new(path)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(missing)?;
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let line = line.map_err(Error::io("read a provider's output"))?;
            let Ok(message) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            let text = message["message"].as_str().unwrap_or_default();
            match message["type"].as_str() {
                Some("error") => return Err(Error::Refused(text.to_owned())),
                Some("info") => app.warn(format!("{name}: {text}")),
                Some("setenv") => {
                    let Some((variable, value)) = text.split_once('=') else {
                        let text = format!("invalid response from plugin: {line}");
                        return Err(Error::Refused(text));
                    };
                    variables.insert(variable.to_owned(), value.to_owned());
                }
                _ => {}
            }
        }
    }
    let status = child.wait().map_err(Error::io("wait for a provider"))?;
    if status.success() {
        Ok(variables)
    } else {
        Err(Error::Refused(format!("provider of service {name:?}: {status}")))
    }
}
