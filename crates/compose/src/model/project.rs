//! A project: typed services and what they share, which of them are on, and what is selected of them.

use std::collections::{BTreeMap, BTreeSet};

use super::data::{Data, Form};
use super::field::{Extensions, Field, extensions};
use super::resource::{Config, Model, Network, Secret, Volume};
use super::service::Service;
use crate::error::{Error, Kind};
use crate::load::Loaded;
use crate::parse::node::{Map, Node, Path};

/// A project.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub directory: String,
    /// The files it was read from.
    pub files: Vec<String>,
    /// The environment of its variables.
    pub environment: BTreeMap<String, String>,
    /// The profiles that are on.
    pub profiles: Vec<String>,
    /// Services that are on.
    pub services: BTreeMap<String, Service>,
    /// Services that are off.
    pub disabled: BTreeMap<String, Service>,
    /// Networks.
    pub networks: BTreeMap<String, Network>,
    /// Volumes.
    pub volumes: BTreeMap<String, Volume>,
    /// Secrets.
    pub secrets: BTreeMap<String, Secret>,
    /// Configs.
    pub configs: BTreeMap<String, Config>,
    /// Models.
    pub models: BTreeMap<String, Model>,
    /// Fields named `x-…`.
    pub extensions: Extensions,
}

/// Which services come along with those that are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// What they depend on.
    Dependencies,
    /// What depends on them.
    Dependents,
    /// None.
    None,
}

fn rule(text: impl Into<String>) -> Error {
    Kind::Rule(text.into()).into()
}

impl Project {
    /// The project of a tree.
    ///
    /// # Errors
    /// A value is not of its type.
    pub fn new(loaded: &Loaded) -> Result<Project, Error> {
        let tree = &loaded.tree;
        let mut project = Project {
            name: loaded.name.clone(),
            directory: loaded.directory.clone(),
            files: loaded.files.clone(),
            environment: loaded.environment.clone(),
            profiles: Vec::new(),
            services: section(tree, "services")?,
            disabled: BTreeMap::new(),
            networks: section(tree, "networks")?,
            volumes: section(tree, "volumes")?,
            secrets: section(tree, "secrets")?,
            configs: section(tree, "configs")?,
            models: section(tree, "models")?,
            extensions: extensions(&Node::from(tree.clone())),
        };
        project.set_profiles(loaded.profiles.clone());
        Ok(project)
    }

    /// All services, on or off.
    pub fn all_services(&self) -> impl Iterator<Item = (&String, &Service)> {
        self.services.iter().chain(&self.disabled)
    }

    /// A service that is on.
    ///
    /// # Errors
    /// It is off, or there is none.
    pub fn service(&self, name: &str) -> Result<&Service, Error> {
        match self.services.get(name) {
            Some(service) => Ok(service),
            None if self.disabled.contains_key(name) => {
                Err(rule(format!("no such service: {name}: service is disabled")))
            }
            None => Err(rule(format!("no such service: {name}: not found"))),
        }
    }

    /// Switches services on and off by profiles.
    pub fn set_profiles(&mut self, profiles: Vec<String>) {
        let all: Vec<(String, Service)> = std::mem::take(&mut self.services)
            .into_iter()
            .chain(std::mem::take(&mut self.disabled))
            .collect();
        for (name, service) in all {
            let into = if service.has_profile(&profiles) { &mut self.services } else { &mut self.disabled };
            into.insert(name, service);
        }
        self.profiles = profiles;
    }

    /// Switches services on by their names: their profiles are on then.
    pub fn enable(&mut self, names: &[String]) {
        let off = names.iter().filter_map(|n| self.disabled.get(n)).flat_map(|s| s.profiles.clone());
        let profiles: Vec<String> = self.profiles.iter().cloned().chain(off).collect();
        self.set_profiles(profiles);
    }

    /// Leaves only the services that are named, and those that come along.
    ///
    /// # Errors
    /// One does not exist.
    pub fn select(&mut self, names: &[String], along: Along) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        let mut chosen = BTreeSet::new();
        let mut open: Vec<(String, bool)> = names.iter().map(|n| (n.clone(), true)).collect();
        while let Some((name, required)) = open.pop() {
            let Some(service) = self.services.get(&name) else {
                if required {
                    return Err(rule(format!("no such service: {name}")));
                }
                continue;
            };
            if !chosen.insert(name.clone()) {
                continue;
            }
            match along {
                Along::Dependencies => {
                    open.extend(service.depends_on.iter().map(|(n, d)| (n.clone(), d.required)));
                }
                Along::Dependents => {
                    let dependents = self.services.iter().filter(|(_, s)| s.depends_on.contains_key(&name));
                    open.extend(dependents.map(|(n, _)| (n.clone(), true)));
                }
                Along::None => {}
            }
        }
        let off: Vec<String> = self.services.keys().filter(|n| !chosen.contains(*n)).cloned().collect();
        self.disable(&off);
        for service in self.services.values_mut() {
            service.depends_on.retain(|name, _| chosen.contains(name));
        }
        Ok(())
    }

    /// Switches services off; nothing depends on them any more.
    pub fn disable(&mut self, names: &[String]) {
        for name in names {
            if let Some(service) = self.services.remove(name) {
                self.disabled.insert(name.clone(), service);
            }
        }
        for service in self.services.values_mut() {
            service.depends_on.retain(|name, _| !names.contains(name));
        }
    }

    /// Drops resources that no service uses.
    pub fn drop_unused(&mut self) {
        let mut networks = BTreeSet::new();
        let mut volumes = BTreeSet::new();
        let mut secrets = BTreeSet::new();
        let mut configs = BTreeSet::new();
        let mut models = BTreeSet::new();
        for service in self.services.values() {
            networks.extend(service.networks.keys().cloned());
            let named = service.volumes.iter().filter(|v| v.kind == "volume" && !v.source.is_empty());
            volumes.extend(named.map(|v| v.source.clone()));
            secrets.extend(service.secrets.iter().map(|s| s.source.clone()));
            secrets.extend(service.build.iter().flat_map(|b| &b.secrets).map(|s| s.source.clone()));
            configs.extend(service.configs.iter().map(|c| c.source.clone()));
            models.extend(service.models.keys().cloned());
        }
        self.networks.retain(|name, _| networks.contains(name));
        self.volumes.retain(|name, _| volumes.contains(name));
        self.secrets.retain(|name, _| secrets.contains(name));
        self.configs.retain(|name, _| configs.contains(name));
        self.models.retain(|name, _| models.contains(name));
    }

    /// Names of services, each after those that it depends on.
    pub fn in_order(&self) -> Vec<String> {
        fn visit(project: &Project, name: &str, done: &mut Vec<String>) {
            if done.iter().any(|d| d == name) {
                return;
            }
            let Some(service) = project.services.get(name) else { return };
            service.depends_on.keys().for_each(|dependency| visit(project, dependency, done));
            if !done.iter().any(|d| d == name) {
                done.push(name.to_owned());
            }
        }
        let mut done = Vec::new();
        self.services.keys().for_each(|name| visit(self, name, &mut done));
        done
    }

    /// As `config` writes it.
    pub fn write(&self, form: Form) -> Data {
        let mut fields: Vec<(String, Data)> = Vec::new();
        let mut add = |name: &str, data: Data| fields.push((name.to_owned(), data));
        if !self.name.is_empty() || form == Form::Json {
            add("name", Data::Str(self.name.clone()));
        }
        add("services", self.services.write(form));
        let sections = [
            ("networks", self.networks.write(form), self.networks.is_empty()),
            ("volumes", self.volumes.write(form), self.volumes.is_empty()),
            ("secrets", self.secrets.write(form), self.secrets.is_empty()),
            ("configs", self.configs.write(form), self.configs.is_empty()),
            ("models", self.models.write(form), self.models.is_empty() || form == Form::Json),
        ];
        for (name, data, empty) in sections {
            if !empty {
                add(name, data);
            }
        }
        fields.extend(super::field::written(&self.extensions));
        if form == Form::Json {
            fields.sort_by(|a, b| a.0.cmp(&b.0));
        }
        Data::Map(fields)
    }
}

fn section<T: Field>(tree: &Map, name: &str) -> Result<BTreeMap<String, T>, Error> {
    match tree.get(name) {
        Some(node) => BTreeMap::read(node, &Path::of(name)),
        None => Ok(BTreeMap::new()),
    }
}
