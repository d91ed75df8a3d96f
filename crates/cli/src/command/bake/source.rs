//! Which files are read: those that are named, those of `BUILDX_BAKE_FILE`, else what is called as bake files are.

use std::io::{ErrorKind, Read as _};

use dray_bake::{DEFAULT_FILES, File};

use crate::build_context::is_url;
use crate::command_error::Error;

/// More than a file of this size is no bake file.
const MAX_SIZE: u64 = 5 << 20;

/// Reads the files.
///
/// # Errors
/// One cannot be read, or there is none.
pub(super) fn read(named: &[String], arguments: &[String]) -> Result<Vec<File>, Error> {
    if let Some(address) = arguments.first().filter(|first| is_url(first)) {
        let text =
            format!("bake files of an address ({address}) are not read: clone it and bake in its folder");
        return Err(Error::Refused(text));
    }
    let of_environment = if named.is_empty() { of_environment()? } else { Vec::new() };
    let names: Vec<String> = named.iter().chain(&of_environment).cloned().collect();
    let files = match names.is_empty() {
        true => DEFAULT_FILES
            .iter()
            .filter_map(|name| one(name, true).transpose())
            .collect::<Result<Vec<_>, _>>()?,
        false => {
            let read = |name: &String| one(name.strip_prefix("cwd://").unwrap_or(name), false);
            names.iter().filter_map(|name| read(name).transpose()).collect::<Result<Vec<_>, _>>()?
        }
    };
    if files.is_empty() {
        return Err(Error::Refused("couldn't find a bake definition".into()));
    }
    Ok(files)
}

fn of_environment() -> Result<Vec<String>, Error> {
    let get = |name: &str| std::env::var(name).unwrap_or_default();
    let separator = Some(get("BUILDX_BAKE_PATH_SEPARATOR")).filter(|text| !text.is_empty());
    let list = get("BUILDX_BAKE_FILE");
    let names =
        list.split(separator.as_deref().unwrap_or(":")).map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| match name == "-" || std::fs::metadata(name).is_ok() {
            true => Ok(name.to_owned()),
            false => Err(Error::Refused(format!("stat {name}: no such file or directory"))),
        })
        .collect()
}

/// A file; none if it is only looked for and not there.
fn one(name: &str, only_if_there: bool) -> Result<Option<File>, Error> {
    let mut text = String::new();
    let read = match name {
        "-" => std::io::stdin().take(MAX_SIZE).read_to_string(&mut text),
        path => match std::fs::File::open(path) {
            Ok(file) => file.take(MAX_SIZE).read_to_string(&mut text),
            Err(error) if only_if_there && error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("open", path)(error)),
        },
    };
    read.map_err(Error::file("read", name))?;
    Ok(Some(File { name: name.to_owned(), text }))
}
