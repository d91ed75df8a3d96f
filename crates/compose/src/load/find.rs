//! Which files, which environment, which name: the command line, then the environment, then `.env`, then the folder.

use std::collections::BTreeMap;

use dray_spec::glob::clean_path;

use super::git::Source;
use super::registry;
use super::{Loader, Request, Variables};
use crate::error::{Error, Kind, SystemError};
use crate::parse::node::{Node, Value};
use crate::parse::paths::{dir, join};
use crate::parse::{dotenv, template, yaml};

/// Names of a project's file, the best first.
pub(super) const NAMES: &[&str] =
    &["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// Names of the file that is merged over it.
const OVERRIDES: &[&str] = &[
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What was found.
pub struct Found {
    /// The folder that gives the project its name and its `.env`, absolute.
    pub directory: String,
    /// The folder that the project's paths begin at: the same, or that of a file from elsewhere.
    pub base: String,
    /// The files, absolute, or `-`.
    pub files: Vec<String>,
    /// The text of each.
    pub texts: BTreeMap<String, String>,
    /// The environment with `.env`.
    pub environment: BTreeMap<String, String>,
    /// The profiles that are on.
    pub profiles: Vec<String>,
}

/// Go's `filepath.Abs`.
fn absolute(current: &str, path: &str) -> String {
    if path.starts_with('/') { clean_path(path) } else { join(current, path) }
}

fn rule(text: impl Into<String>) -> Error {
    Kind::Rule(text.into()).into()
}

/// Finds files and environment.
///
/// # Errors
/// There is no file, or one cannot be read.
pub fn find(loader: &Loader<'_>, request: &Request) -> Result<Found, Error> {
    let mut environment = request.environment.clone();
    environment.entry("PWD".into()).or_insert_with(|| request.current.clone());
    let mut files = request.files.clone();
    add_env_files(loader, request, &folder(request, &files), &mut environment)?;
    if files.is_empty()
        && let Some(list) = environment.get("COMPOSE_FILE")
    {
        let separator = environment.get("COMPOSE_PATH_SEPARATOR").filter(|s| !s.is_empty());
        let separator = separator.map_or(":", String::as_str);
        files = list
            .split(separator)
            .map(|f| if f == "-" { f.into() } else { absolute(&request.current, f) })
            .collect();
    }
    if files.is_empty() {
        files = default_files(loader, &folder(request, &files));
    }
    let directory = folder(request, &files);
    add_env_files(loader, request, &directory, &mut environment)?;
    let profiles = if request.profiles.is_empty() {
        let list = environment.get("COMPOSE_PROFILES").map(String::as_str).unwrap_or_default();
        list.split(',').map(|p| p.trim().to_owned()).collect()
    } else {
        request.profiles.clone()
    };
    if normal_name(&request.name) != request.name {
        return Err(invalid_name(&request.name));
    }
    if files.is_empty() {
        return Err(rule("no configuration file provided: not found"));
    }
    loader.surroundings.replace(surroundings(request, &environment));
    let (files, base) = brought(loader, request, files)?;
    let base = base.unwrap_or_else(|| directory.clone());
    let mut texts = BTreeMap::new();
    for file in &files {
        let text = if file == "-" { request.stdin.clone().unwrap_or_default() } else { read(loader, file)? };
        texts.insert(file.clone(), text);
    }
    Ok(Found { directory, base, files, texts, environment, profiles })
}

fn surroundings(request: &Request, environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let own = environment.iter().filter(|(name, _)| name.starts_with("COMPOSE_"));
    own.chain(&request.environment).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The files, absolute and here; and the folder of the first that lay in a repository or a registry.
fn brought(
    loader: &Loader<'_>,
    request: &Request,
    files: Vec<String>,
) -> Result<(Vec<String>, Option<String>), Error> {
    let mut base = None;
    let mut here = Vec::with_capacity(files.len());
    for file in files {
        match loader.bring(&file)? {
            Some(brought) => {
                base.get_or_insert_with(|| dir(&brought.file));
                here.push(brought.file);
            }
            None if file == "-" => here.push(file),
            None => here.push(absolute(&request.current, &file)),
        }
    }
    Ok((here, base))
}

/// Reads a file.
///
/// # Errors
/// The system refuses.
pub fn read(loader: &Loader<'_>, path: &str) -> Result<String, Error> {
    loader.disk.read(path).map_err(|e| {
        let what = if loader.disk.is_dir(path) { "read" } else { "open" };
        Kind::File { what, path: path.to_owned(), source: SystemError(e) }.into()
    })
}

fn folder(request: &Request, files: &[String]) -> String {
    if !request.directory.is_empty() {
        return absolute(&request.current, &request.directory);
    }
    match files.iter().find(|f| *f != "-") {
        Some(file) if Source::parse(file).is_none() && registry::reference(file).is_none() => {
            dir(&absolute(&request.current, file))
        }
        _ => request.current.clone(),
    }
}

fn default_files(loader: &Loader<'_>, from: &str) -> Vec<String> {
    let mut folder = from.to_owned();
    loop {
        let candidates = present(loader, NAMES, &folder);
        if let Some(winner) = candidates.first() {
            if candidates.len() > 1 {
                loader.warn(format!(
                    "Found multiple config files with supported names: {}",
                    candidates.join(", ")
                ));
                loader.warn(format!("Using {winner}"));
            }
            let overrides = present(loader, OVERRIDES, &folder);
            if overrides.len() > 1 {
                loader.warn(format!(
                    "Found multiple override files with supported names: {}",
                    overrides.join(", ")
                ));
                loader.warn(format!("Using {}", overrides[0]));
            }
            return std::iter::once(winner.clone()).chain(overrides.first().cloned()).collect();
        }
        let parent = dir(&folder);
        if parent == folder {
            return Vec::new();
        }
        folder = parent;
    }
}

fn present(loader: &Loader<'_>, names: &[&str], folder: &str) -> Vec<String> {
    names
        .iter()
        .map(|n| join(folder, n))
        .filter(|p| loader.disk.is_file(p) || loader.disk.is_dir(p))
        .collect()
}

fn add_env_files(
    loader: &Loader<'_>,
    request: &Request,
    folder: &str,
    environment: &mut BTreeMap<String, String>,
) -> Result<(), Error> {
    let files: Vec<String> = if request.env_files.is_empty() {
        let off = request.environment.get("COMPOSE_DISABLE_ENV_FILE").map(String::as_str).unwrap_or_default();
        let file = join(folder, ".env");
        if matches!(off, "1" | "t" | "T" | "true" | "TRUE" | "True") || !loader.disk.is_file(&file) {
            return Ok(());
        }
        vec![file]
    } else {
        request.env_files.iter().map(|f| absolute(&request.current, f)).collect()
    };
    for (name, value) in env_files(loader, &files, environment)? {
        environment.entry(name).or_insert(value);
    }
    Ok(())
}

/// The variables of env files; the environment is asked first for what they refer to.
///
/// # Errors
/// One does not exist or is none.
pub fn env_files(
    loader: &Loader<'_>,
    files: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut vars = BTreeMap::new();
    for file in files {
        if loader.disk.is_dir(file) {
            return Err(rule(format!("{file} is a directory")));
        }
        if !loader.disk.is_file(file) {
            return Err(rule(format!("couldn't find env file: {file}")));
        }
        let text = read(loader, file)?;
        let outer = Variables { environment, loader };
        dotenv::parse(&text, &mut vars, &outer)
            .map_err(|source| Error::from(Kind::EnvFile { path: file.clone(), source }))?;
    }
    Ok(vars)
}

fn invalid_name(name: &str) -> Error {
    rule(format!(
        "invalid project name {name:?}: must consist only of lowercase alphanumeric characters, hyphens, and underscores as well as start with a letter or number"
    ))
}

/// A project's name of any text: small letters, digits, `-` and `_`, and not one of these two first.
pub fn normal_name(text: &str) -> String {
    let lower = text.to_lowercase();
    let kept: String =
        lower.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(*c)).collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}

/// The project's name: `-p`, then `COMPOSE_PROJECT_NAME`, then the files' `name`, then the folder's name.
///
/// # Errors
/// It is none.
pub fn project_name(loader: &Loader<'_>, request: &Request, found: &Found) -> Result<String, Error> {
    let from_env = found.environment.get("COMPOSE_PROJECT_NAME").filter(|n| !n.is_empty());
    let given = if request.name.is_empty() { from_env } else { Some(&request.name) };
    if let Some(name) = given {
        return if normal_name(name) == *name { Ok(name.clone()) } else { Err(invalid_name(name)) };
    }
    let written = found.files.iter().filter_map(|f| written_name(&found.texts[f])).next_back();
    let named = written.is_some();
    let mut name = written.unwrap_or_default();
    if !request.skip.interpolation {
        let lookup = Variables { environment: &found.environment, loader };
        name = template::substitute(&name, &lookup)
            .map_err(|source| Error::from(Kind::Template { path: "name".into(), source }))?;
    }
    if !request.skip.normalization {
        name = normal_name(&name);
    }
    if !name.is_empty() || named {
        return Ok(name);
    }
    let base = found.directory.rsplit('/').next().unwrap_or_default();
    let real = loader.disk.real(&found.directory);
    if real.rsplit('/').next() != Some(base) {
        loader.warn(format!(
            "project has been loaded without an explicit name from a symlink. Using name {base:?}"
        ));
    }
    Ok(normal_name(base))
}

/// A file's own `name`; a file that is broken is told of later.
fn written_name(text: &str) -> Option<String> {
    let documents = yaml::parse(text, 0).ok()?;
    let mut names = documents.iter().filter_map(|d| match d.root.get("name").map(|n: &Node| &n.value) {
        Some(Value::Str(name)) if !name.is_empty() => Some(name.clone()),
        _ => None,
    });
    names.next_back()
}
