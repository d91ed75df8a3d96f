//! `extends`: a service on the base of another, of this file or another one, along chains without cycles.

use super::Loader;
use super::file::{Purpose, Scope, clear};
use crate::error::Error;
use crate::parse::allowance::EXTENDED;
use crate::parse::merge;
use crate::parse::node::{Map, Node, Path, Value};
use crate::parse::paths::{dir, join, relative};

/// The services passed on the way, each with its file.
type Chain = Vec<(String, String)>;

/// Applies `extends` to all services of a file.
///
/// # Errors
/// A base does not exist, or a chain comes back to itself.
pub fn apply(
    loader: &Loader<'_>,
    root: &mut Node,
    file: &str,
    scope: &Scope,
    cleared: &[Path],
) -> Result<(), Error> {
    let Some(services) = root.map_mut().and_then(|m| m.get_mut("services")) else { return Ok(()) };
    if services.is_null() {
        return Ok(());
    }
    let at = services.at;
    let Some(map) = services.map_mut() else { return Err(Error::rule(at, "services must be a mapping")) };
    let names: Vec<String> = map.keys().cloned().collect();
    let walk = Walk { loader, scope, file };
    for name in names {
        let merged = walk.service(&name, map, &Vec::new(), cleared)?;
        map.insert(name, merged);
    }
    Ok(())
}

struct Walk<'a> {
    loader: &'a Loader<'a>,
    scope: &'a Scope,
    file: &'a str,
}

impl Walk<'_> {
    fn service(
        &self,
        name: &str,
        services: &mut Map,
        chain: &Chain,
        cleared: &[Path],
    ) -> Result<Node, Error> {
        let Some(service) = services.get(name).cloned() else { return Ok(Node::default()) };
        if service.is_null() {
            return Ok(service);
        }
        if service.map().is_none() {
            return Err(Error::rule(service.at, format!("services.{name} must be a mapping")));
        }
        let Some(extends) = service.get("extends").cloned() else { return Ok(service) };
        let (reference, from) = match &extends.value {
            Value::Map(map) => {
                let Some(reference) = map.get("service").and_then(Node::str) else {
                    return Err(Error::rule(extends.at, format!("extends.{name}.service is required")));
                };
                (reference.to_owned(), map.get("file").and_then(Node::str))
            }
            Value::Str(text) => (text.clone(), None),
            _ => return Ok(service),
        };
        let chain = extended(chain, from.unwrap_or(self.file), name, &extends)?;
        let base = match from {
            Some(other) => {
                let (mut services, base_cleared) = self.other_file(name, &reference, other, &extends)?;
                self.service(&reference, &mut services, &chain, &base_cleared)?
            }
            None if !services.contains_key(&reference) => {
                let text = format!(
                    "cannot extend service {name:?} in {}: service {reference:?} not found",
                    self.file
                );
                return Err(Error::rule(extends.at, text));
            }
            None => self.service(&reference, services, &chain, &[])?,
        };
        if base.is_null() {
            return Ok(service);
        }
        let merged = self.over(name, base, service, cleared)?;
        services.insert(name.to_owned(), merged.clone());
        Ok(merged)
    }

    /// The service over its base, of which what the service resets is taken away.
    fn over(&self, name: &str, base: Node, service: Node, cleared: &[Path]) -> Result<Node, Error> {
        let mut wrapped =
            Node::from(Map::from([("services".to_owned(), Map::from([(name.to_owned(), base)]).into())]));
        clear(&mut wrapped, &Path::default(), cleared);
        let base = wrapped
            .map_mut()
            .and_then(|m| m.remove("services"))
            .and_then(|mut s| s.map_mut().and_then(|m| m.remove(name)))
            .unwrap_or_else(|| Map::new().into());
        if !self.loader.allowances().extended.take(base.weight()) {
            let text = format!("services that extend others take over more than {EXTENDED} values");
            return Err(Error::rule(service.at, text));
        }
        let mut merged = merge::merge(base, service, &Path::of("services.x"))?;
        if let Some(map) = merged.map_mut() {
            map.remove("extends");
        }
        Ok(merged)
    }

    /// The services of another file, their paths as seen from the project's folder.
    fn other_file(
        &self,
        name: &str,
        reference: &str,
        other: &str,
        extends: &Node,
    ) -> Result<(Map, Vec<Path>), Error> {
        let folder = &self.scope.folder;
        let brought = self.loader.bring(other);
        let brought = brought.map_err(|e| Error::rule(extends.at, e.to_string()))?;
        let local = match &brought {
            Some(brought) => brought.file.clone(),
            None if other.starts_with('/') => other.to_owned(),
            None => join(folder, other),
        };
        let (mut tree, cleared) = self
            .loader
            .file(&local, None, self.scope, Purpose::Base, Map::new().into())
            .map_err(|e| if e.pos().is_some() { e } else { Error::rule(extends.at, e.to_string()) })?;
        let fail = |text: String| Err(Error::rule(extends.at, text));
        match tree.get("services") {
            None => return fail(format!("cannot extend service {name:?} in {local}: no services section")),
            Some(s) if s.map().is_none() => {
                return fail(format!(
                    "cannot extend service {name:?} in {local}: services must be a mapping"
                ));
            }
            Some(s) if s.get(reference).is_none() => {
                return fail(format!(
                    "cannot extend service {name:?} in {}: service {reference:?} not found in {other}",
                    self.file
                ));
            }
            Some(_) => {}
        }
        let seen = match brought {
            // As Docker Compose has it: wherever in the repository the file is.
            Some(brought) => brought.root,
            None => relative(folder, &dir(&local)).unwrap_or_else(|| dir(&local)),
        };
        self.loader.resolve_paths(&mut tree, &seen)?;
        let services = tree.map_mut().and_then(|m| m.remove("services")).map(|s| s.value);
        match services {
            Some(Value::Map(services)) => Ok((services, cleared)),
            _ => Ok((Map::new(), cleared)),
        }
    }
}

fn extended(chain: &Chain, file: &str, service: &str, node: &Node) -> Result<Chain, Error> {
    let link = (file.to_owned(), service.to_owned());
    let mut longer = chain.clone();
    longer.push(link.clone());
    if chain.contains(&link) {
        let mut text = format!("Circular reference:\n  {} in {}", longer[0].1, longer[0].0);
        for (file, service) in &longer[1..] {
            text.push_str(&format!("\n  extends {service} in {file}"));
        }
        return Err(Error::rule(node.at, text));
    }
    Ok(longer)
}
