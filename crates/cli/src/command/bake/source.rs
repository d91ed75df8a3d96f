//! Which files are read: those that are named, those of `BUILDX_BAKE_FILE`, else what is called as bake files are.

use std::io::{ErrorKind, Read as _};

use dray_bake::{DEFAULT_FILES, File};

use super::remote::{HERE, Remote};
use crate::app::App;
use crate::build_context::is_url;
use crate::command_error::Error;

/// More than a file of this size is no bake file.
const MAX_SIZE: u64 = 5 << 20;

/// The words of the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// Where bake files are, if not here.
    pub address: Option<String>,
    /// What files know as `BAKE_CMD_CONTEXT`.
    pub command_context: String,
    /// What to build.
    pub targets: Vec<String>,
}

impl Words {
    /// Up to two addresses come before the targets.
    pub fn of(arguments: &[String]) -> Words {
        let addresses = arguments.iter().take(2).take_while(|word| is_url(word)).count();
        let (addresses, targets) = arguments.split_at(addresses);
        Words {
            address: addresses.first().cloned(),
            command_context: addresses.get(1).cloned().unwrap_or_else(|| HERE.to_owned()),
            targets: targets.to_vec(),
        }
    }
}

/// Reads the files: those of the address first, then those of this machine; and gives the place that the paths in them
/// are seen from, if it is not this folder.
///
/// # Errors
/// One cannot be read, or there is none.
pub(super) async fn read(
    app: &App,
    named: &[String],
    address: Option<&str>,
) -> Result<(Vec<File>, Option<Remote>), Error> {
    let of_environment = if named.is_empty() { of_environment()? } else { Vec::new() };
    let names: Vec<String> = named.iter().chain(&of_environment).cloned().collect();
    let here = |name: &String| name.strip_prefix(HERE).map(str::to_owned);
    let (files, remote) = match address {
        None => (local(names.iter().map(|name| here(name).unwrap_or_else(|| name.clone())))?, None),
        Some(address) => {
            let there: Vec<String> = names.iter().filter(|name| here(name).is_none()).cloned().collect();
            let (mut files, remote) = Remote::read(app, address, &there).await?;
            let mut names = names.iter().filter_map(here).peekable();
            if names.peek().is_some() {
                files.extend(local(names)?);
            }
            (files, remote)
        }
    };
    if files.is_empty() {
        return Err(Error::Refused("couldn't find a bake definition".into()));
    }
    Ok((files, remote))
}

/// Files of this machine; without names those that are called as bake files are.
fn local(names: impl Iterator<Item = String>) -> Result<Vec<File>, Error> {
    let mut names = names.peekable();
    match names.peek() {
        None => DEFAULT_FILES.iter().filter_map(|name| one(name, true).transpose()).collect(),
        Some(_) => names.filter_map(|name| one(&name, false).transpose()).collect(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_before_targets() {
        let words = |words: &[&str]| Words::of(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        let plain = words(&["app", "https://e.org/a.git"]);
        assert_eq!((plain.address, plain.targets.len()), (None, 2));
        let one = words(&["https://e.org/a.git#main", "app"]);
        assert_eq!(one.address.as_deref(), Some("https://e.org/a.git#main"));
        assert_eq!(
            (one.command_context.as_str(), one.targets.as_slice()),
            ("cwd://", &["app".to_owned()][..])
        );
        let two = words(&["https://e.org/a.hcl", "https://e.org/b.git"]);
        assert_eq!((two.command_context.as_str(), two.targets.len()), ("https://e.org/b.git", 0));
    }
}
