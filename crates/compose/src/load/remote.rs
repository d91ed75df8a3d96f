//! Where a file is that was written as the address of a git repository, or of a project in a registry.

use super::Loader;
use super::find::NAMES;
use super::git::{GitError, Source};
use super::registry::{self, RegistryError};
use super::switch;
use crate::artifact::MAIN;
use crate::error::{Error, Kind};
use crate::parse::paths::join;

/// A file from elsewhere, here.
pub(super) struct Brought {
    /// The file.
    pub(super) file: String,
    /// The folder of all that came with it.
    pub(super) root: String,
}

impl Loader<'_> {
    /// Brings what a path names, if it is in a repository or a registry.
    ///
    /// # Errors
    /// It, or the file in it, cannot be had.
    pub(super) fn bring(&self, path: &str) -> Result<Option<Brought>, Error> {
        if let Some(reference) = registry::reference(path) {
            return self.artifact(reference).map(Some).map_err(|error| Kind::Registry(error).into());
        }
        let Some(source) = Source::parse(path) else { return Ok(None) };
        let brought = source.and_then(|source| self.brought(&source));
        brought.map(Some).map_err(|error| Kind::Git(error).into())
    }

    fn artifact(&self, reference: &str) -> Result<Brought, RegistryError> {
        if !switch::is_on(&self.surroundings.borrow(), registry::ENABLED)? {
            return Err(RegistryError::Disabled);
        }
        let known = self.artifacts.borrow().get(reference).cloned();
        let root = match known {
            Some(root) => root,
            None => self.disk.fetch_artifact(reference)?,
        };
        self.artifacts.borrow_mut().insert(reference.to_owned(), root.clone());
        let file = join(&root, MAIN);
        if !self.disk.is_file(&file) {
            return Err(RegistryError::NoFile(reference.to_owned()));
        }
        Ok(Brought { file, root })
    }

    fn brought(&self, source: &Source) -> Result<Brought, GitError> {
        let known = self.checkouts.borrow().get(source).cloned();
        let root = match known {
            Some(root) => root,
            None => self.disk.fetch(source, &self.surroundings.borrow())?,
        };
        self.checkouts.borrow_mut().insert(source.clone(), root.clone());
        let place = if source.path.is_empty() { root.clone() } else { join(&root, &source.path) };
        let file = if self.disk.is_dir(&place) {
            NAMES.iter().map(|name| join(&place, name)).find(|file| self.disk.is_file(file))
        } else {
            Some(place).filter(|file| self.disk.is_file(file))
        };
        let file = file.ok_or_else(|| GitError::NoFile {
            written: source.written.clone(),
            path: if source.path.is_empty() { ".".into() } else { source.path.clone() },
        })?;
        // The repository may hold links.
        if !self.disk.real(&file).starts_with(&format!("{}/", self.disk.real(&root))) {
            return Err(GitError::Outside(source.path.clone()));
        }
        Ok(Brought { file, root })
    }
}
