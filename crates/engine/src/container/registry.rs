//! All containers in memory: found by name, id or the beginning of an id in microseconds.

use dray_api::container::MountType;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use super::live::Container;
use super::{Error, names};

/// The index of all containers. Shared by the services that must know who uses what of theirs.
#[derive(Debug, Default)]
pub struct Registry {
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    by_id: BTreeMap<String, Arc<Container>>,
    /// Names that are taken, those of containers still being created among them.
    by_name: HashMap<String, String>,
}

/// A container that uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUser {
    /// The container's id.
    pub id: String,
    /// It runs.
    pub running: bool,
}

impl Registry {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn read<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Index) -> T) -> T {
        change(&mut self.index.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The container of this id, name, or beginning of an id.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, called: &str) -> Result<Arc<Container>, Error> {
        if called.is_empty() {
            return Err(Error::EmptyId);
        }
        let missing = || Error::NotFound(called.to_owned());
        self.read(|index| {
            if let Some(container) = index.by_id.get(called) {
                return Ok(Arc::clone(container));
            }
            let name = called.strip_prefix('/').unwrap_or(called);
            if let Some(container) = index.by_name.get(name).and_then(|id| index.by_id.get(id)) {
                return Ok(Arc::clone(container));
            }
            let mut found =
                index.by_id.range(called.to_owned()..).take_while(|(id, _)| id.starts_with(called));
            match (found.next(), found.next()) {
                (Some((_, only)), None) => Ok(Arc::clone(only)),
                (Some(_), Some(_)) => Err(Error::Ambiguous(called.to_owned())),
                (None, _) => Err(missing()),
            }
        })
    }

    /// The container of this very id.
    pub fn get(&self, id: &str) -> Option<Arc<Container>> {
        self.read(|index| index.by_id.get(id).map(Arc::clone))
    }

    /// All containers.
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.read(|index| index.by_id.values().map(Arc::clone).collect())
    }

    /// Takes a name for an id; none makes one up.
    ///
    /// # Errors
    /// For a name that cannot be, or is taken.
    pub fn reserve(&self, name: Option<&str>, id: &str) -> Result<String, Error> {
        let Some(name) = name else { return Ok(self.reserve_random(id)) };
        let bare = name.strip_prefix('/').unwrap_or(name);
        if !names::is_valid(bare) {
            return Err(Error::InvalidName(name.to_owned()));
        }
        self.write(|index| match index.by_name.get(bare) {
            Some(holder) if holder != id => {
                Err(Error::NameConflict { name: bare.to_owned(), holder: holder.clone() })
            }
            _ => {
                index.by_name.insert(bare.to_owned(), id.to_owned());
                Ok(bare.to_owned())
            }
        })
    }

    fn reserve_random(&self, id: &str) -> String {
        let mut attempt = 0;
        loop {
            let name = if attempt < 20 { names::random(attempt) } else { id[..12].to_owned() };
            if self.reserve(Some(&name), id).is_ok() {
                return name;
            }
            attempt += 1;
        }
    }

    /// Gives a name back, if this id has it.
    pub fn release(&self, name: &str, id: &str) {
        self.write(|index| {
            if index.by_name.get(name).is_some_and(|holder| holder == id) {
                index.by_name.remove(name);
            }
        });
    }

    /// Adds a container under its name.
    pub fn insert(&self, container: Arc<Container>) {
        let name = container.name();
        self.write(|index| {
            index.by_name.insert(name, container.id.clone());
            index.by_id.insert(container.id.clone(), container);
        });
    }

    /// Forgets a container and its name.
    pub fn remove(&self, id: &str) {
        self.write(|index| {
            index.by_id.remove(id);
            index.by_name.retain(|_, holder| holder != id);
        });
    }

    /// Ids of the containers that have this volume.
    pub fn volume_users(&self, volume: &str) -> Vec<String> {
        let uses =
            |c: &Arc<Container>| c.with(|record| record.mounts.iter().any(|mount| mount.name == volume));
        self.all().into_iter().filter(uses).map(|container| container.id.clone()).collect()
    }

    /// Containers made from this image (`sha256:…`), or that have it mounted.
    pub fn image_users(&self, image: &str) -> Vec<ImageUser> {
        let user = |c: Arc<Container>| {
            let running = c.with(|record| {
                let mounts = || record.mounts.iter().any(|m| m.kind == MountType::Image && m.source == image);
                (record.image == image || mounts()).then_some(record.state.running)
            })?;
            Some(ImageUser { id: c.id.clone(), running })
        };
        self.all().into_iter().filter_map(user).collect()
    }

    /// Ids of the containers, running or not, that are to be on this network.
    pub fn network_users(&self, name: &str) -> Vec<String> {
        let uses = |c: &Arc<Container>| c.with(|record| record.endpoints.contains_key(name));
        self.all().into_iter().filter(uses).map(|container| container.id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::Record;

    fn registry(containers: &[(&str, &str)]) -> Registry {
        let registry = Registry::new();
        for (id, name) in containers {
            let record = Record { id: (*id).into(), name: (*name).into(), ..Record::default() };
            registry.insert(Arc::new(Container::new(record)));
        }
        registry
    }

    #[test]
    fn found_by_id_name_and_prefix() {
        let registry = registry(&[("abc1", "web"), ("abd2", "db"), ("ff00", "abc")]);
        let id =
            |called: &str| registry.find(called).map(|c| c.id.clone()).map_err(|error| error.to_string());
        assert_eq!(id("abc1"), Ok("abc1".into()));
        assert_eq!(id("/web"), Ok("abc1".into()));
        assert_eq!(id("abd"), Ok("abd2".into()));
        assert_eq!(id("abc"), Ok("ff00".into()), "a name goes before the beginning of an id");
        assert_eq!(id("ab"), Err("multiple IDs found with provided prefix: ab".into()));
        assert_eq!(id("nope"), Err("No such container: nope".into()));
        assert_eq!(id(""), Err("invalid name or ID supplied: \"\"".into()));
    }

    #[test]
    fn names_are_taken_once() {
        let registry = registry(&[("abc1", "web")]);
        let text = registry.reserve(Some("/web"), "new").unwrap_err().to_string();
        assert_eq!(
            text,
            "Conflict. The container name \"/web\" is already in use by container \"abc1\". You have to remove (or rename) that container to be able to reuse that name."
        );
        assert_eq!(registry.reserve(Some("other"), "new").unwrap(), "other");
        registry.release("other", "somebody else");
        assert!(registry.reserve(Some("other"), "third").is_err());
        registry.release("other", "new");
        assert!(registry.reserve(Some("other"), "third").is_ok());
        let text = registry.reserve(Some("no good"), "x").unwrap_err().to_string();
        assert_eq!(text, "Invalid container name (no good), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
        assert!(!registry.reserve(None, &"e".repeat(64)).unwrap().is_empty());
    }
}
