//! From a command line to a tree: which files, which environment, which name; each file read, its variables
//! replaced, extended, included and merged; then normalised.
//!
//! ```text
//! find.rs      working folder, .env, COMPOSE_FILE, default names, project name
//! file.rs      one file: variables → extends → !reset → include → merge → schema → long forms
//! extends.rs   a service on the base of another       include.rs   a project in a project
//! disk.rs      what is read, behind a trait           git.rs       files in git repositories
//! remote.rs    where a file is that was written as a repository's
//! ```

mod disk;
mod extends;
mod file;
mod find;
mod git;
mod include;
mod remote;

use std::cell::RefCell;
use std::collections::BTreeMap;

pub use disk::{Disk, MemoryDisk, RealDisk};
pub use git::{GitError, Source};

use crate::error::Error;
use crate::model::{Project, consistent, environment};
use crate::parse::node::{Map, Node};
use crate::parse::normal;
use crate::parse::template::Lookup;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `-f`, in their order.
    pub files: Vec<String>,
    /// Those of them that were brought here from a registry: the project has neither its name nor its `.env` of them.
    pub brought: Vec<String>,
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
pub struct Sources(RefCell<Vec<(String, String)>>);

impl Sources {
    fn add(&self, name: &str, text: &str) -> u32 {
        let mut all = self.0.borrow_mut();
        all.push((name.to_owned(), text.to_owned()));
        u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
    }

    /// The error with its file and line.
    pub fn show(&self, error: Error) -> Error {
        let Some(pos) = error.pos() else { return error };
        match self.0.borrow().get(pos.source as usize) {
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
    /// Checkouts of repositories, so that each is asked for once.
    checkouts: RefCell<BTreeMap<Source, String>>,
    /// What decides how repositories are fetched: the environment of the process, and Compose's own variables of the
    /// user's `.env`. What comes with a repository has no say in it.
    surroundings: RefCell<BTreeMap<String, String>>,
}

/// The environment of a file's variables.
struct Variables<'a> {
    environment: &'a BTreeMap<String, String>,
    loader: &'a Loader<'a>,
}

impl Lookup for Variables<'_> {
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
            checkouts: RefCell::default(),
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
        environment::resolve_labels(&mut project, self, true)?;
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
            return Err(crate::error::Kind::Rule("empty compose file".into()).into());
        }
        if name.is_empty() {
            return Err(crate::error::Kind::Rule("project name must not be empty".into()).into());
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
