//! From a command line to a tree: which files, which environment, which name; each file read, its variables
//! replaced, extended, included and merged; then normalised.
//!
//! ```text
//! find.rs      working folder, .env, COMPOSE_FILE, default names, project name
//! file.rs      one file: variables → extends → !reset → include → merge → schema → long forms
//! extends.rs   a service on the base of another       include.rs   a project in a project
//! disk.rs      what is read, behind a trait
//! git.rs       files in git repositories              registry.rs  projects in registries
//! remote.rs    where a file is that was written as one of these; switch.rs turns them off
//! ```

mod disk;
mod extends;
mod file;
mod find;
mod git;
mod include;
mod registry;
mod remote;
mod switch;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

pub use disk::{Disk, MemoryDisk, RealDisk};
pub use git::{GitError, Source};
pub use registry::RegistryError;
pub use switch::NoSwitch;

use crate::error::{Error, Kind};
use crate::model::{Project, consistent, environment};
use crate::parse::allowance::{Allowance, Allowances, READ};
use crate::parse::node::{Map, Node};
use crate::parse::normal;
use crate::parse::template::Lookup;

/// How many files a project is read from at most; one that is read again counts again.
const MAX_READS: usize = 5_000;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `-f`, in their order.
    pub files: Vec<String>,
    /// `-p`.
    pub name: String,
    /// `--project-directory`.
    pub directory: String,
    /// `--env-file`.
    pub env_files: Vec<String>,
    /// `--profile`.
    pub profiles: Vec<String>,
    /// The environment of the process.
    pub environment: BTreeMap<String, String>,
    /// The current folder.
    pub current: String,
    /// What `-f -` reads.
    pub stdin: Option<String>,
    /// What is left out.
    pub skip: Skip,
    /// Forget where labels came from: what `config` shows, and not what containers are made of.
    pub forget_label_files: bool,
}

/// Steps that are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skip {
    /// Variables stay as they are.
    pub interpolation: bool,
    /// Nothing is completed.
    pub normalization: bool,
    /// Paths stay as they are.
    pub paths: bool,
    /// References are not checked.
    pub consistency: bool,
}

/// A project's tree, and what was found on the way to it.
#[derive(Debug)]
pub struct Loaded {
    /// The tree.
    pub tree: Map,
    /// The project's name.
    pub name: String,
    /// Its folder.
    pub directory: String,
    /// The files it was read from.
    pub files: Vec<String>,
    /// The environment of its variables.
    pub environment: BTreeMap<String, String>,
    /// The profiles that are on.
    pub profiles: Vec<String>,
}

/// What was read, for the lines that errors show.
#[derive(Debug, Default)]
pub struct Sources {
    all: RefCell<Vec<(String, String)>>,
    /// How often a file was read.
    reads: Cell<usize>,
}

impl Sources {
    fn add(&self, name: &str, text: &str, allowed: &Allowance) -> Result<u32, Error> {
        if !allowed.take(text.len()) {
            let text = format!("{name}: more than {} MiB of files are included and extended", READ >> 20);
            return Err(Kind::Rule(text).into());
        }
        self.count(name)?;
        let mut all = self.all.borrow_mut();
        let known = all.iter().position(|(other, read)| other == name && read == text);
        let place = known.unwrap_or_else(|| {
            all.push((name.to_owned(), text.to_owned()));
            all.len() - 1
        });
        Ok(u32::try_from(place).unwrap_or(u32::MAX))
    }

    /// A few files that include one another twice each are read more often with each of them, without an end.
    fn count(&self, name: &str) -> Result<(), Error> {
        self.reads.set(self.reads.get() + 1);
        if self.reads.get() > MAX_READS {
            let text = format!("{name}: more than {MAX_READS} files are included and extended");
            return Err(Kind::Rule(text).into());
        }
        Ok(())
    }

    /// The error with its file and line.
    pub fn show(&self, error: Error) -> Error {
        let Some(pos) = error.pos() else { return error };
        match self.all.borrow().get(pos.source as usize) {
            Some((name, text)) => error.shown(name, text),
            None => error,
        }
    }
}

/// Where loading happens: the disk, and what it has to tell.
pub struct Loader<'a> {
    disk: &'a dyn Disk,
    sources: Sources,
    warnings: RefCell<Vec<String>>,
    allowances: Allowances,
    /// Checkouts of repositories, so that each is asked for once.
    checkouts: RefCell<BTreeMap<Source, String>>,
    /// The same of registries' projects.
    artifacts: RefCell<BTreeMap<String, String>>,
    /// What decides how they are fetched: the environment of the process, and Compose's own variables of the
    /// user's `.env`. What comes with a repository has no say in it.
    surroundings: RefCell<BTreeMap<String, String>>,
}

/// The environment of a file's variables.
struct Variables<'a> {
    environment: &'a BTreeMap<String, String>,
    loader: &'a Loader<'a>,
}

impl Lookup for Variables<'_> {
    fn allowance(&self) -> &Allowance {
        &self.loader.allowances.expanded
    }

    fn get(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn missing(&self, name: &str) {
        self.loader.warn(format!("The {name:?} variable is not set. Defaulting to a blank string."));
    }
}

impl<'a> Loader<'a> {
    /// A loader of files of a disk.
    pub fn new(disk: &'a dyn Disk) -> Loader<'a> {
        Loader {
            disk,
            sources: Sources::default(),
            warnings: RefCell::default(),
            allowances: Allowances::default(),
            checkouts: RefCell::default(),
            artifacts: RefCell::default(),
            surroundings: RefCell::default(),
        }
    }

    /// What the user should hear, each once.
    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.borrow_mut())
    }

    /// The sources read.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What files may cost still.
    pub fn allowances(&self) -> &Allowances {
        &self.allowances
    }

    /// The disk.
    pub fn disk(&self) -> &dyn Disk {
        self.disk
    }

    /// Tells of something, once.
    pub fn warn(&self, text: String) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Loads a project: the services of the profiles that are on, references checked, labels resolved.
    ///
    /// # Errors
    /// A file cannot be read or breaks a rule; the error shows the line.
    pub fn project(&self, request: &Request) -> Result<Project, Error> {
        let loaded = self.load(request)?;
        self.typed(&loaded, request).map_err(|e| self.sources.show(e))
    }

    fn typed(&self, loaded: &Loaded, request: &Request) -> Result<Project, Error> {
        let mut project = Project::new(loaded)?;
        if !request.skip.consistency {
            consistent::check(&project, loaded)?;
        }
        environment::resolve_labels(&mut project, self, request.forget_label_files)?;
        Ok(project)
    }

    /// Loads a project's tree.
    ///
    /// # Errors
    /// A file cannot be read or breaks a rule; the error shows the line.
    pub fn load(&self, request: &Request) -> Result<Loaded, Error> {
        self.load_tree(request).map_err(|e| self.sources.show(e))
    }

    fn load_tree(&self, request: &Request) -> Result<Loaded, Error> {
        let mut found = find::find(self, request)?;
        let name = find::project_name(self, request, &found)?;
        if request.skip.interpolation {
            // Docker Compose's raw model knows nothing of the environment.
            found.environment.clear();
        }
        found.environment.insert("COMPOSE_PROJECT_NAME".into(), name.clone());
        let scope = file::Scope {
            folder: found.base.clone(),
            relative: found.base.clone(),
            environment: found.environment.clone(),
            skip: request.skip,
            including: Vec::new(),
        };
        let tree = self.model(&found.files, &scope, &found.texts)?;
        let mut tree = match tree.value {
            crate::parse::node::Value::Map(map) => map,
            _ => Map::new(),
        };
        if tree.is_empty() {
            return Err(Kind::Rule("empty compose file".into()).into());
        }
        if name.is_empty() {
            return Err(Kind::Rule("project name must not be empty".into()).into());
        }
        if !request.skip.normalization {
            tree.insert("name".into(), Node::from(name.as_str()));
            normal::normalize(&mut tree, &found.environment);
        }
        Ok(Loaded {
            tree,
            name,
            directory: found.base,
            files: found.files,
            environment: found.environment,
            profiles: found.profiles,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_include_one_another_twice_come_to_an_end() {
        let mut files = BTreeMap::from([("/p/compose.yaml".to_owned(), "include: [a0.yaml]\n".to_owned())]);
        for i in 0..30 {
            let next = i + 1;
            files.insert(
                format!("/p/a{i}.yaml"),
                format!("include:\n  - a{next}.yaml\n  - path: [a{next}.yaml]\n"),
            );
        }
        files.insert("/p/a30.yaml".to_owned(), "services: {a: {image: a}}\n".to_owned());
        let disk = MemoryDisk(files);
        let request = Request { name: "p".into(), current: "/p".into(), ..Request::default() };
        let error = Loader::new(&disk).load(&request).unwrap_err().to_string();
        assert!(error.contains("more than 5000 files are included and extended"), "{error}");
    }
}
