//! `include`: the model of another project, with its own folder and environment, beside this one's.

use std::collections::BTreeMap;

use super::file::Scope;
use super::{Loader, find};
use crate::error::Error;
use crate::parse::node::{Map, Node, Value};
use crate::parse::paths::{dir, join, relative};

/// One entry of `include`.
struct Entry {
    paths: Vec<String>,
    directory: String,
    env_files: Vec<String>,
}

/// Takes in all projects that a file includes.
///
/// # Errors
/// One cannot be read, includes itself, or has a resource that is another one here.
pub fn apply(loader: &Loader<'_>, root: &mut Node, file: &str, scope: &Scope) -> Result<(), Error> {
    let Some(map) = root.map_mut() else { return Ok(()) };
    let Some(list) = map.remove("include") else { return Ok(()) };
    if list.is_null() {
        return Ok(());
    }
    let Some(entries) = list.list() else {
        return Err(Error::rule(list.at, "`include` must be a list"));
    };
    let mut including = scope.including.clone();
    including.push(file.to_owned());
    for node in entries {
        let entry = entry(loader, file, node)?;
        let imported = load(loader, &entry, node, scope, &including)?;
        import(imported, map)?;
    }
    Ok(())
}

fn entry(loader: &Loader<'_>, file: &str, node: &Node) -> Result<Entry, Error> {
    let texts = |name: &str| -> Result<Vec<String>, Error> {
        let Some(value) = node.get(name) else { return Ok(Vec::new()) };
        match &value.value {
            Value::Str(text) => Ok(vec![text.clone()]),
            Value::List(list) if list.iter().all(|n| n.str().is_some()) => {
                Ok(list.iter().filter_map(|n| n.str().map(str::to_owned)).collect())
            }
            _ => Err(Error::rule(value.at, format!("include.{name} must be a string or a list of strings"))),
        }
    };
    match &node.value {
        Value::Str(path) => {
            Ok(Entry { paths: vec![path.clone()], directory: String::new(), env_files: Vec::new() })
        }
        Value::Map(map) => {
            // Docker Compose passes over what it does not know here: files that it takes are taken, but not in silence.
            let known = |n: &str| matches!(n, "path" | "project_directory" | "env_file");
            for (name, value) in map.iter().filter(|(n, _)| !known(n) && !n.starts_with("x-")) {
                let line = value.key.line;
                loader.warn(format!("{file}:{line}: include has no attribute '{name}', it will be ignored"));
            }
            Ok(Entry {
                paths: texts("path")?,
                directory: texts("project_directory")?.pop().unwrap_or_default(),
                env_files: texts("env_file")?,
            })
        }
        _ => Err(Error::rule(node.at, "include entries must be a string or a mapping")),
    }
}

fn load(
    loader: &Loader<'_>,
    entry: &Entry,
    node: &Node,
    scope: &Scope,
    including: &[String],
) -> Result<Node, Error> {
    let local = |path: &str| if path.starts_with('/') { path.to_owned() } else { join(&scope.folder, path) };
    let here = |path: &String| match loader.bring(path) {
        Ok(brought) => Ok(brought.map_or_else(|| local(path), |brought| brought.file)),
        Err(error) => Err(Error::rule(node.at, error.to_string())),
    };
    let paths: Vec<String> = entry.paths.iter().map(here).collect::<Result<_, _>>()?;
    let Some(main) = paths.first() else {
        return Err(Error::rule(node.at, "include: missing property 'path'"));
    };
    if including.contains(main) {
        let mut chain = including.to_vec();
        chain.push(main.clone());
        let text =
            format!("include cycle detected:\n{}\n include {}", chain[0], chain[1..].join("\n include "));
        return Err(Error::rule(node.at, text));
    }
    let folder = if entry.directory.is_empty() { dir(main) } else { local(&entry.directory) };
    let seen = if entry.directory.starts_with('/') { None } else { relative(&scope.folder, &folder) };
    let env_files: Vec<String> = if entry.env_files.is_empty() {
        Some(join(&folder, ".env")).filter(|f| loader.disk.is_file(f)).into_iter().collect()
    } else {
        entry.env_files.iter().map(|f| local(f)).collect()
    };
    let mut environment = scope.environment.clone();
    let from_files = find::env_files(loader, &env_files, &scope.environment)
        .map_err(|e| Error::rule(node.at, e.to_string()))?;
    for (name, value) in from_files {
        environment.entry(name).or_insert(value);
    }
    let inner = Scope {
        relative: seen.unwrap_or_else(|| folder.clone()),
        folder,
        environment,
        skip: super::Skip { paths: false, ..scope.skip },
        including: including.to_vec(),
    };
    loader
        .model(&paths, &inner, &BTreeMap::new())
        .map_err(|e| if e.pos().is_some() { e } else { Error::rule(node.at, e.to_string()) })
}

fn import(mut imported: Node, into: &mut Map) -> Result<(), Error> {
    let Some(from) = imported.map_mut() else { return Ok(()) };
    for kind in ["services", "volumes", "networks", "secrets", "configs", "models"] {
        let Some(Value::Map(resources)) = from.remove(kind).map(|n| n.value) else { continue };
        let target = into.entry(kind.to_owned()).or_insert_with(|| Map::new().into());
        if target.is_null() {
            target.value = Value::Map(Map::new());
        }
        let Some(target) = target.map_mut() else { continue };
        for (name, resource) in resources {
            match target.get(&name) {
                Some(own) if *own == resource => {}
                Some(own) => {
                    let text = format!("{kind}.{name} conflicts with imported resource");
                    return Err(Error::rule(own.key, text));
                }
                None => {
                    target.insert(name, resource);
                }
            }
        }
    }
    Ok(())
}
