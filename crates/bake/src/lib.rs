//! Bake files: HCL, JSON and Compose files become targets of builds, as `docker buildx bake` has them.
//!
//! ```text
//! source.rs   files, places      syntax/      text → expressions       value/     values, types, numbers
//! eval/       expressions → values            function/   what every file can call
//! definition/ names → groups and targets      compose.rs  services → targets
//! target/     one target: its fields, merging, --set, JSON
//! select.rs   names → what is built           entitlement.rs  what may be had of this machine
//! ```
//! Nothing here prints or builds; of the disk only what Compose files name is read. A file may be anybody's: what it
//! takes to evaluate is bounded, and it is done on a stack of its own.

mod compose;
pub mod csv;
mod definition;
pub mod entitlement;
mod error;
mod eval;
mod function;
mod select;
pub mod source;
mod syntax;
pub mod target;
mod value;

use std::collections::BTreeMap;

pub use compose::attest_text;
pub use definition::{Config, Variable};
pub use error::Error;
pub use select::Plan;
pub use source::File;

use entitlement::Allowed;
use error::Failure;

/// Names that are looked for where none is given, in the order in which they come over each other.
pub const DEFAULT_FILES: &[&str] = &[
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

/// The largest file.
const MAX_FILE: usize = 4 << 20;
/// As deep as evaluation goes at most, with room.
const STACK: usize = 512 << 20;

/// What is around files.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// Variables of the environment.
    pub environment: BTreeMap<String, String>,
    /// Variables that every file has.
    pub builtin: BTreeMap<String, String>,
    /// The folder that names are seen from, in full.
    pub folder: String,
}

/// Reads files: groups, targets and variables.
///
/// # Errors
/// One has a mistake; the error shows the lines.
pub fn read(files: &[File], around: &Around) -> Result<Config, Error> {
    deep(|| read_here(files, around))
}

/// Reads files and resolves names to targets.
///
/// # Errors
/// A file has a mistake, a name is not there, a change is wrong.
pub fn plan(
    files: &[File],
    around: &Around,
    names: &[String],
    changes: &[String],
    allowed: &mut Allowed,
) -> Result<Plan, Error> {
    deep(|| {
        let config = read_here(files, around)?;
        let environment = |name: &str| around.environment.get(name).cloned();
        select::select(&config, names, changes, &environment, allowed).map_err(Error::plain)
    })
}

/// Runs on a stack that is large enough for all that limits let through.
fn deep<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("bake".into()).stack_size(STACK).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| Error::plain(format!("start a thread: {error}")))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn read_here(files: &[File], around: &Around) -> Result<Config, Error> {
    let wrong = |failure: Failure| Error::of(&failure, files);
    let of_compose = compose::Around { folder: &around.folder, environment: &around.environment };
    let (mut composes, mut bodies) = (Vec::new(), Vec::new());
    for (number, file) in files.iter().enumerate() {
        if file.text.len() > MAX_FILE {
            return Err(Error::plain(format!("{}: more than {} MiB", file.name, MAX_FILE >> 20)));
        }
        if compose::is_compose(file, &of_compose).map_err(Error::plain)? {
            composes.push(file);
        } else {
            bodies.push(syntax::read(file, number).map_err(wrong)?);
        }
    }
    let mut config = match composes.as_slice() {
        [] => Config::default(),
        files => compose::read(files, &of_compose)
            .map_err(|why| Error::plain(format!("failed to parse compose file: {why}")))?,
    };
    if !bodies.is_empty() {
        let environment = |name: &str| around.environment.get(name).cloned();
        let options = definition::Options { environment: &environment, builtin: around.builtin.clone() };
        definition::resolve(&bodies, &options, &mut config).map_err(wrong)?;
    }
    for group in &mut config.groups {
        let mut seen = std::collections::BTreeSet::new();
        group.targets.retain(|target| seen.insert(target.clone()));
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
