//! `env_file` and `label_file`: their variables go into the service's own.

use std::collections::BTreeMap;

use super::project::Project;
use crate::error::{Error, Kind, SystemError};
use crate::load::Loader;
use crate::parse::allowance::Allowance;
use crate::parse::dotenv;
use crate::parse::template::Lookup;

/// Resolves `env_file` of all services, and variables that are only named; the files are forgotten then, or not.
///
/// # Errors
/// A file that must be there is not, or is none.
pub fn resolve(project: &mut Project, loader: &Loader<'_>, discard: bool) -> Result<(), Error> {
    let around = project.environment.clone();
    for service in project.services.values_mut() {
        for (name, value) in service.environment.iter_mut() {
            if value.is_none() {
                *value = around.get(name).cloned();
            }
        }
        let own = service.environment.clone();
        let mut vars: BTreeMap<String, String> =
            own.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
        for file in &service.env_file {
            if !loader.disk().is_file(&file.path) && !loader.disk().is_dir(&file.path) {
                if file.required {
                    return Err(missing("env", &file.path, "stat"));
                }
                continue;
            }
            let text = loader.disk().read(&file.path).map_err(|e| unreadable(&file.path, e))?;
            let outer = Outer { around: &around, own: &own, loader };
            match file.format.as_str() {
                "" => dotenv::parse(&text, &mut vars, &outer)
                    .map_err(|source| Error::from(Kind::EnvFile { path: file.path.clone(), source }))?,
                "raw" => raw(&text, &mut vars, &around),
                other => {
                    return Err(Kind::Rule(format!("unsupported env_file format {other:?}")).into());
                }
            }
        }
        let mut resolved: BTreeMap<String, Option<String>> =
            vars.into_iter().map(|(name, value)| (name, Some(value))).collect();
        resolved.extend(own.0);
        service.environment.0 = resolved;
        if discard {
            service.env_file.clear();
        }
    }
    Ok(())
}

/// Resolves `label_file` of all services.
///
/// # Errors
/// A file is not there, or is none.
pub fn resolve_labels(project: &mut Project, loader: &Loader<'_>, discard: bool) -> Result<(), Error> {
    for service in project.services.values_mut() {
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for path in &service.label_file {
            if !loader.disk().is_file(path) {
                return Err(missing("label", path, "stat"));
            }
            let text = loader.disk().read(path).map_err(|e| unreadable(path, e))?;
            let known = labels.clone();
            let outer = Outer { around: &known, own: &Default::default(), loader };
            dotenv::parse(&text, &mut labels, &outer)
                .map_err(|source| Error::from(Kind::EnvFile { path: path.clone(), source }))?;
        }
        labels.extend(std::mem::take(&mut service.labels.0));
        service.labels.0 = labels;
        if discard {
            service.label_file.clear();
        }
    }
    Ok(())
}

/// Lines as they are: `docker run --env-file`'s own format.
fn raw(text: &str, vars: &mut BTreeMap<String, String>, around: &BTreeMap<String, String>) {
    for line in text.lines().map(str::trim_start).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        match line.split_once('=') {
            Some((name, value)) => {
                vars.insert(name.to_owned(), value.to_owned());
            }
            None => {
                vars.extend(around.get(line).map(|value| (line.to_owned(), value.clone())));
            }
        }
    }
}

fn missing(what: &str, path: &str, operation: &str) -> Error {
    Kind::Rule(format!("{what} file {path} not found: {operation} {path}: no such file or directory")).into()
}

fn unreadable(path: &str, source: std::io::Error) -> Error {
    Kind::File { what: "open", path: path.to_owned(), source: SystemError(source) }.into()
}

/// The project's environment, then the service's.
struct Outer<'a> {
    around: &'a BTreeMap<String, String>,
    own: &'a super::kind::Environment,
    loader: &'a Loader<'a>,
}

impl Lookup for Outer<'_> {
    fn allowance(&self) -> &Allowance {
        &self.loader.allowances().expanded
    }

    fn get(&self, name: &str) -> Option<String> {
        self.around.get(name).cloned().or_else(|| self.own.get(name).cloned().flatten())
    }

    fn missing(&self, name: &str) {
        self.loader.warn(format!("The {name:?} variable is not set. Defaulting to a blank string."));
    }
}
