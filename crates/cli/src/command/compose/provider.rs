//! Services that a program provides (`provider:`): the program is run as Docker Compose runs it, and speaks JSON
//! lines.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use dray_compose::Project;
use dray_compose::model::service::Service;

use crate::app::App;
use crate::command_error::Error;

/// Runs the provider of a service: `up` or `down`.
///
/// # Errors
/// The program does not exist, fails, or tells of an error.
pub fn run(app: &App, project: &Project, name: &str, service: &Service, command: &str) -> Result<(), Error> {
    let Some(provider) = &service.provider else { return Ok(()) };
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
                _ => {}
            }
        }
    }
    let status = child.wait().map_err(Error::io("wait for a provider"))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Refused(format!("provider of service {name:?}: {status}")))
    }
}
