//! Builders as buildx keeps them: names for where builds go. Dray builds in a daemon; so a builder is a daemon here, or
//! is refused with what can be done instead.
//!
//! ```text
//! <config>/buildx/instances/<name>   {"Name":…,"Driver":"docker","Nodes":[{"Name":…,"Endpoint":"a context"}]}
//! <config>/buildx/current            {"Key":"<context or address>","Name":"<builder>","Global":false}
//! ```
//! A context is a builder, too; one that is kept under the same name wins over it.

use std::path::{Path, PathBuf};

use dray_client::Endpoint;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::command_error::Error;
use crate::{connect, context, whole_file};

/// The driver of builders that are daemons.
pub const DOCKER: &str = "docker";

/// A builder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Builder {
    /// Its name.
    pub name: String,
    /// What carries out its builds; empty for that of a context.
    pub driver: String,
    /// Where.
    pub nodes: Vec<Node>,
    /// Whether it is a context.
    #[serde(skip)]
    pub is_context: bool,
}

/// A place of a builder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// A context, or an address.
    pub endpoint: String,
}

/// What `buildx use` has chosen.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Current {
    key: String,
    name: String,
    global: bool,
}

impl Builder {
    fn of_context(name: &str) -> Builder {
        let node = Node { name: name.to_owned(), endpoint: name.to_owned() };
        Builder { name: name.to_owned(), driver: String::new(), nodes: vec![node], is_context: true }
    }

    /// Whether its builds are a daemon's.
    pub fn is_daemon(&self) -> bool {
        self.driver.is_empty() || self.driver == DOCKER
    }

    /// The address of its daemon.
    ///
    /// # Errors
    /// It is none, or the context is not there.
    pub fn endpoint(&self, app: &App) -> Result<Endpoint, Error> {
        let place = self.nodes.first().map_or("", |node| &node.endpoint);
        if !self.is_daemon() {
            return Err(self.foreign(app, place));
        }
        if place == context::current(app) {
            return Ok(connect::find(app)?.endpoint);
        }
        match place {
            context::DEFAULT => Ok(Endpoint::parse(&connect::default_host(app), None)?),
            address if address.contains("://") => Ok(Endpoint::parse(address, None)?),
            name => context::endpoint(app, name),
        }
    }

    fn foreign(&self, app: &App, place: &str) -> Error {
        let at = if place.is_empty() { String::new() } else { format!(" at {place}") };
        Error::Refused(format!(
            "builder {:?} is of the driver {:?}{at}: {} builds in its daemon only.\n\
             Use --builder default for it, or --context for the daemon of another machine",
            self.name, self.driver, app.name
        ))
    }
}

/// Sees that the builder that is named is where the command builds: by the flag, else by `BUILDX_BUILDER`, else by what
/// `buildx use` has chosen where a command of buildx asks.
///
/// # Errors
/// There is no such builder, it is no daemon, or it is another one than the command speaks with already.
pub fn choose(app: &App, flag: &str) -> Result<(), Error> {
    let variable = std::env::var("BUILDX_BUILDER").unwrap_or_default();
    let builder = match [flag, &variable].into_iter().find(|name| !name.is_empty()) {
        Some(name) => named(app, name)?,
        None if app.called.split(' ').nth(1) == Some("buildx") => current(app)?,
        None => return Ok(()),
    };
    if builder.is_context && builder.name == context::current(app) {
        return Ok(());
    }
    if builder.is_context {
        // As buildx, for which a context is a builder only while it is the one in use.
        return Err(Error::Refused(format!(
            "use `{} --context={} buildx` to switch to context {:?}",
            app.name, builder.name, builder.name
        )));
    }
    if !app.speaks_with(builder.endpoint(app)?) {
        return Err(Error::Refused(format!(
            "builder {:?} is another daemon than the one that the images are for",
            builder.name
        )));
    }
    Ok(())
}

/// A builder by its name.
///
/// # Errors
/// There is none.
pub fn named(app: &App, name: &str) -> Result<Builder, Error> {
    if let Some(found) = kept(&folder(app), name)? {
        return Ok(found);
    }
    let is_context = name == context::DEFAULT || context::list(app).iter().any(|c| c.name == name);
    if is_context {
        return Ok(Builder::of_context(name));
    }
    Err(Error::Refused(format!("no builder {name:?} found")))
}

/// The builder that is in use: the one that was chosen for this context or address, else the context.
///
/// # Errors
/// A file of buildx cannot be read.
pub fn current(app: &App) -> Result<Builder, Error> {
    let folder = folder(app);
    if let Some(text) = read(&folder.join("current"))? {
        // What cannot be read chooses nothing.
        let chosen: Current = serde_json::from_slice(&text).unwrap_or_default();
        if (chosen.global || chosen.key == key(app))
            && let Some(found) = kept(&folder, &chosen.name)?
        {
            return Ok(found);
        }
    }
    named(app, &context::current(app))
}

/// Chooses a builder for this context or address, or for all.
///
/// # Errors
/// There is none, it is a context that is not in use, or the choice cannot be written.
pub fn set_current(app: &App, name: &str, global: bool) -> Result<(), Error> {
    let folder = folder(app);
    let chosen = match kept(&folder, name)? {
        Some(found) => found.name,
        None if name == context::current(app) => String::new(),
        None if name == context::DEFAULT || context::list(app).iter().any(|c| c.name == name) => {
            return Err(Error::Refused(format!(
                "run `{} context use {name}` to switch to context {name}",
                app.name
            )));
        }
        None => return Err(Error::Refused(format!("failed to find instance {name:?}"))),
    };
    let current = Current { key: key(app), global: global && !chosen.is_empty(), name: chosen };
    let text = serde_json::to_vec(&current)
        .map_err(|source| Error::Json { what: "the builder in use".into(), source })?;
    std::fs::create_dir_all(&folder).map_err(Error::file("mkdir", &folder))?;
    whole_file::write(&folder.join("current"), &text, 0o666)
}

/// All builders: those that buildx keeps, then the contexts whose names none of them has.
///
/// # Errors
/// A file of buildx cannot be read.
pub fn all(app: &App) -> Result<Vec<Builder>, Error> {
    let folder = folder(app);
    let mut names: Vec<String> = std::fs::read_dir(folder.join("instances"))
        .map(|entries| entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort();
    let mut all = Vec::new();
    for name in names {
        all.extend(kept(&folder, &name)?);
    }
    let mut contexts: Vec<String> = context::list(app).into_iter().map(|c| c.name).collect();
    contexts.push(context::DEFAULT.to_owned());
    contexts.sort();
    contexts.dedup();
    let free: Vec<String> = contexts.into_iter().filter(|c| !all.iter().any(|b| b.name == *c)).collect();
    all.extend(free.iter().map(|name| Builder::of_context(name)));
    Ok(all)
}

/// Where buildx keeps its builders.
fn folder(app: &App) -> PathBuf {
    match std::env::var_os("BUILDX_CONFIG").filter(|path| !path.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => app.config().borrow().dir().join("buildx"),
    }
}

/// What a choice holds for: the context, or the address where there is none.
fn key(app: &App) -> String {
    match context::current(app) {
        name if name == context::DEFAULT => connect::default_host(app),
        name => name,
    }
}

/// A builder that buildx keeps. Its name is that of its file: a letter, then letters, digits, `.`, `-` and `_`.
fn kept(folder: &Path, name: &str) -> Result<Option<Builder>, Error> {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    if !is_name {
        return Ok(None);
    }
    let path = folder.join("instances").join(name.to_lowercase());
    let Some(text) = read(&path)? else { return Ok(None) };
    let found = serde_json::from_slice(&text)
        .map_err(|source| Error::Json { what: format!("builder {}", path.display()), source })?;
    Ok(Some(found))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("open", path)(e)),
    }
}
