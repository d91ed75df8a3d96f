//! The disk that projects are read from: the machine's own, and what lies in registries, fetched with the user's
//! credentials.
//!
//! ```text
//! <cache>/docker-compose/<digest of the manifest>/   compose.yaml, env files …   appears when it is whole
//! ```

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use dray_compose::artifact::{self, Part};
use dray_compose::load::{Disk, GitError, RealDisk, RegistryError, Source};
use dray_registry::Repository;
use dray_spec::Reference;

use super::publish::repository;
use crate::app::App;
use crate::command_error::Error;

/// Files of the machine, of git repositories and of registries.
pub struct Remote<'a> {
    app: &'a App,
    disk: RealDisk,
}

impl<'a> Remote<'a> {
    /// With the credentials of a user.
    pub fn new(app: &'a App) -> Remote<'a> {
        Remote { app, disk: RealDisk::default() }
    }

    fn bring(&self, named: &str) -> Result<PathBuf, Box<dyn StdError + Send + Sync>> {
        let reference = Reference::parse(named)?.tagged();
        let tag = reference.digest().map(ToString::to_string);
        let tag = tag.or_else(|| reference.tag().map(str::to_owned)).unwrap_or_default();
        let from = repository(self.app, &reference, false).map_err(|e| e.to_string())?;
        let cache = cache_dir().join("docker-compose");
        // The command's own event loop is at work already; this one is done before anything else begins.
        let fetched = std::thread::scope(|scope| scope.spawn(|| fetched(&from, &tag, &cache)).join());
        fetched.unwrap_or_else(|_| Err("the thread that fetches it has ended".into()))
    }
}

impl Disk for Remote<'_> {
    fn read(&self, path: &str) -> io::Result<String> {
        self.disk.read(path)
    }

    fn is_file(&self, path: &str) -> bool {
        self.disk.is_file(path)
    }

    fn is_dir(&self, path: &str) -> bool {
        self.disk.is_dir(path)
    }

    fn real(&self, path: &str) -> String {
        self.disk.real(path)
    }

    fn fetch(&self, source: &Source, environment: &BTreeMap<String, String>) -> Result<String, GitError> {
        self.disk.fetch(source, environment)
    }

    fn fetch_artifact(&self, reference: &str) -> Result<String, RegistryError> {
        match self.bring(reference) {
            Ok(folder) => Ok(folder.display().to_string()),
            Err(source) => Err(RegistryError::Fetch { reference: reference.to_owned(), source }),
        }
    }
}

fn fetched(from: &Repository, tag: &str, cache: &Path) -> Result<PathBuf, Box<dyn StdError + Send + Sync>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let project = artifact::resolve(from, tag).await?;
        let folder = cache.join(project.digest.hex());
        if !folder.is_dir() {
            let parts = artifact::parts(from, &project).await?;
            place(&parts, &folder).map_err(|e| e.to_string())?;
        }
        Ok(folder)
    })
}

/// Writes the files of a project into a folder of theirs.
fn place(parts: &[Part], folder: &Path) -> Result<(), Error> {
    let draft = folder.with_extension(format!("draft-{}", std::process::id()));
    let written = write(parts, &draft).and_then(|()| match std::fs::rename(&draft, folder) {
        // Somebody else has brought the same.
        Err(_) if folder.is_dir() => Ok(()),
        other => other.map_err(Error::file("rename", &draft)),
    });
    let _ = std::fs::remove_dir_all(&draft);
    written
}

fn write(parts: &[Part], folder: &Path) -> Result<(), Error> {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).map_err(Error::file("mkdir", folder))?;
    for part in parts {
        let path = folder.join(&part.name);
        std::fs::write(&path, &part.content).map_err(Error::file("write", &path))?;
    }
    Ok(())
}

fn cache_dir() -> PathBuf {
    let named = std::env::var_os("XDG_CACHE_HOME").filter(|d| !d.is_empty()).map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"))
}
