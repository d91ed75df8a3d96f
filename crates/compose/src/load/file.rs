//! One file, and many over one another.

use std::collections::BTreeMap;

use super::find::read;
use super::{Loader, Skip, Variables, extends, include};
use crate::error::{Error, Kind};
use crate::parse::node::{Map, Node, Path, Value};
use crate::parse::paths::Base;
use crate::parse::{check, interpolate, merge, paths, schema, short, yaml};

/// What holds for the files of one project, included or not.
#[derive(Clone)]
pub struct Scope {
    /// The project's folder, absolute.
    pub folder: String,
    /// The same as seen from the project that includes it.
    pub relative: String,
    /// Values of variables.
    pub environment: BTreeMap<String, String>,
    /// What is left out.
    pub skip: Skip,
    /// The files that led here by `include`.
    pub including: Vec<String>,
}

/// Whether a file is read for itself, or for a service that another one extends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// For itself: extended, included, checked.
    Project,
    /// For a base of `extends`.
    Base,
}

impl Loader<'_> {
    /// The model of some files: merged, completed, checked, with absolute paths.
    ///
    /// # Errors
    /// A file breaks a rule.
    pub(super) fn model(
        &self,
        files: &[String],
        scope: &Scope,
        texts: &BTreeMap<String, String>,
    ) -> Result<Node, Error> {
        let mut tree: Node = Map::new().into();
        for file in files {
            tree = self.file(file, texts.get(file), scope, Purpose::Project, tree)?.0;
        }
        short::defaults(&mut tree, &Path::default());
        check::check(&tree, &Path::default())?;
        if !scope.skip.paths {
            self.resolve_paths(&mut tree, &scope.relative)?;
        }
        resolve_environment(&mut tree, &scope.environment);
        Ok(tree)
    }

    pub(super) fn resolve_paths(&self, tree: &mut Node, folder: &str) -> Result<(), Error> {
        let home = std::env::var("HOME").unwrap_or_default();
        let follow =
            |path: &str| if path.starts_with('/') { follow_links(self, path) } else { path.to_owned() };
        paths::resolve(tree, &Path::default(), &Base { folder, home: &home, follow: &follow })
    }

    /// A file over what earlier ones say; and the paths that it resets.
    pub(super) fn file(
        &self,
        name: &str,
        text: Option<&String>,
        scope: &Scope,
        purpose: Purpose,
        mut tree: Node,
    ) -> Result<(Node, Vec<Path>), Error> {
        let text = match text {
            Some(text) => text.clone(),
            None => read(self, name)?,
        };
        let source = self.sources.add(name, &text, &self.allowances.read)?;
        let mut cleared = Vec::new();
        for (number, document) in yaml::parse(&text, source)?.into_iter().enumerate() {
            if number > 0 {
                // Each is laid over all that came before it.
                self.sources.count(name)?;
            }
            cleared.clone_from(&document.cleared);
            tree = self.document(name, document, scope, purpose, tree)?;
        }
        Ok((tree, cleared))
    }

    fn document(
        &self,
        name: &str,
        document: yaml::Document,
        scope: &Scope,
        purpose: Purpose,
        mut tree: Node,
    ) -> Result<Node, Error> {
        let mut root = document.root;
        if root.map().is_none() {
            return Err(Error::at(root.at, Kind::NoMapping));
        }
        let top = Path::default();
        if !scope.skip.interpolation {
            let lookup = Variables { environment: &scope.environment, loader: self };
            interpolate::interpolate(&mut root, &top, &lookup)?;
        }
        if purpose == Purpose::Project {
            extends::apply(self, &mut root, name, scope, &document.cleared)?;
        }
        clear(&mut tree, &top, &document.cleared);
        if purpose == Purpose::Project {
            include::apply(self, &mut root, name, scope)?;
        }
        tree = merge::merge(tree, root, &top)?;
        merge::once(&mut tree, &top)?;
        if purpose == Purpose::Project {
            schema::validate(&tree, name)?;
            if tree.map_mut().is_some_and(|m| m.remove("version").is_some()) {
                self.warn(format!(
                    "{name}: the attribute `version` is obsolete, it will be ignored, please remove it to avoid potential confusion"
                ));
            }
        }
        let form = short::Form {
            lenient: scope.skip.interpolation,
            ports: &self.allowances.ports,
            warnings: &self.warnings,
        };
        let mut tree = short::lengthen(tree, &top, &form)?;
        omit_empty(&mut tree);
        merge::once(&mut tree, &top)?;
        Ok(tree)
    }
}

/// Removes what `!reset` and `!override` name.
pub fn clear(node: &mut Node, path: &Path, cleared: &[Path]) {
    if cleared.is_empty() {
        return;
    }
    let named = |at: &Path| cleared.iter().any(|c| c == at);
    match &mut node.value {
        Value::Map(map) => {
            map.retain(|name, _| !named(&path.next(name)));
            map.iter_mut().for_each(|(name, value)| clear(value, &path.next(name), cleared));
        }
        Value::List(list) => {
            for (i, value) in list.iter_mut().enumerate() {
                clear(value, &path.next(&format!("[{i}]")), cleared);
            }
        }
        _ => {}
    }
}

/// An empty DNS server is none.
fn omit_empty(tree: &mut Node) {
    let Some(services) = tree.map_mut().and_then(|m| m.get_mut("services")).and_then(Node::map_mut) else {
        return;
    };
    for service in services.values_mut().filter_map(Node::map_mut) {
        if let Some(Value::List(servers)) = service.get_mut("dns").map(|d| &mut d.value) {
            servers.retain(|s| !s.is_null() && s.str() != Some(""));
        }
    }
}

/// Gives `environment: [NAME]` its value where the environment has one, and configs of the environment theirs.
fn resolve_environment(tree: &mut Node, environment: &BTreeMap<String, String>) {
    let Some(root) = tree.map_mut() else { return };
    if let Some(services) = root.get_mut("services").and_then(Node::map_mut) {
        for service in services.values_mut().filter_map(Node::map_mut) {
            let Some(Value::List(list)) = service.get_mut("environment").map(|e| &mut e.value) else {
                continue;
            };
            list.retain(|entry| entry.str().is_some());
            for entry in list {
                if let Value::Str(text) = &mut entry.value
                    && let Some(value) = environment.get(text.as_str())
                {
                    *text = format!("{text}={value}");
                }
            }
        }
    }
    for (kind, field) in [("secrets", "x-#value"), ("configs", "content")] {
        let Some(resources) = root.get_mut(kind).and_then(Node::map_mut) else { continue };
        for resource in resources.values_mut().filter_map(Node::map_mut) {
            let found = resource.get("environment").and_then(Node::str).and_then(|n| environment.get(n));
            if let Some(value) = found.cloned() {
                resource.insert(field.into(), value.into());
            }
        }
    }
}

/// The first symbolic link of a path, followed.
fn follow_links(loader: &Loader<'_>, path: &str) -> String {
    let mut current = String::new();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        current = format!("{current}/{part}");
        let real = loader.disk.real(&current);
        if real != current {
            return path.replacen(&current, &real, 1);
        }
    }
    path.to_owned()
}
