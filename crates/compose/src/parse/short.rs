//! Short forms to long ones: `80:80` to a port, `./a:/b:ro` to a mount, a text to a build. Then what the
//! specification says where a file says nothing.

use std::cell::RefCell;

use super::allowance::{Allowance, PORTS};
use super::node::{Map, Node, Path, Value};
use super::{mount, port};
use crate::error::Error;

type Rule = fn(Node, &Path, &Form<'_>) -> Result<Node, Error>;

/// How lenient the change is: where variables are not replaced, a text that holds one stays.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// Leave texts that cannot be read as they are.
    pub lenient: bool,
    /// How many ports there may be.
    pub ports: &'a Allowance,
    /// What the user should hear.
    pub warnings: &'a RefCell<Vec<String>>,
}

impl Form<'_> {
    /// Tells of something, once.
    fn warn(&self, text: String) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }
}

const RULES: &[(&str, Rule)] = &[
    ("services.*.build.secrets.*", file_mount),
    ("services.*.build.provenance", text),
    ("services.*.build.sbom", text),
    ("services.*.build.additional_contexts", key_values),
    ("services.*.depends_on", depends_on),
    ("services.*.env_file", env_file),
    ("services.*.label_file", one_or_many),
    ("services.*.extends", extends),
    ("services.*.gpus", gpus),
    ("services.*.networks", names),
    ("services.*.models", names),
    ("services.*.volumes.*", volume),
    ("services.*.dns", one_or_many),
    ("services.*.devices.*", device),
    ("services.*.secrets.*", file_mount),
    ("services.*.configs.*", file_mount),
    ("services.*.ports", ports),
    ("services.*.build", build),
    ("services.*.build.ssh", ssh),
    ("services.*.ulimits.*", ulimit),
    ("services.*.build.ulimits.*", ulimit),
    ("services.*.develop.watch.*.ignore", one_or_many),
    ("services.*.develop.watch.*.include", one_or_many),
    ("volumes.*", maybe_external),
    ("networks.*", maybe_external),
    ("secrets.*", maybe_external),
    ("configs.*", maybe_external),
];

/// The tree with long forms only.
///
/// # Errors
/// A short form is none.
pub fn lengthen(node: Node, path: &Path, form: &Form<'_>) -> Result<Node, Error> {
    match path.find(RULES) {
        Some(rule) => {
            let like = Node { value: Value::Null, at: node.at, key: node.key };
            let mut long = rule(node, path, form)?;
            if long.at.line == 0 {
                long = long.at(&like);
            }
            Ok(long)
        }
        None => inside(node, path, form),
    }
}

fn inside(node: Node, path: &Path, form: &Form<'_>) -> Result<Node, Error> {
    let (at, key) = (node.at, node.key);
    let value = match node.value {
        Value::Map(map) => {
            let long =
                map.into_iter().map(|(name, v)| Ok((name.clone(), lengthen(v, &path.next(&name), form)?)));
            Value::Map(long.collect::<Result<_, Error>>()?)
        }
        Value::List(list) => {
            let entry = path.entry();
            Value::List(list.into_iter().map(|v| lengthen(v, &entry, form)).collect::<Result<_, _>>()?)
        }
        other => other,
    };
    Ok(Node { value, at, key })
}

fn mapping<const N: usize>(pairs: [(&str, Node); N]) -> Node {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map>().into()
}

fn invalid(node: &Node, path: &Path, what: &str) -> Error {
    Error::rule(node.at, format!("{path}: invalid type for {what}"))
}

fn text(node: Node, _: &Path, _: &Form<'_>) -> Result<Node, Error> {
    Ok(Node::from(node.text().unwrap_or_default()).at(&node))
}

fn one_or_many(node: Node, _: &Path, _: &Form<'_>) -> Result<Node, Error> {
    match node.value {
        Value::Str(_) => Ok(Value::List(vec![node]).into()),
        _ => Ok(node),
    }
}

fn names(node: Node, _: &Path, _: &Form<'_>) -> Result<Node, Error> {
    match &node.value {
        Value::List(list) => {
            let map: Map =
                list.iter().filter_map(|n| Some((n.str()?.to_owned(), Node::default().at(n)))).collect();
            Ok(map.into())
        }
        _ => Ok(node),
    }
}

fn key_values(node: Node, path: &Path, form: &Form<'_>) -> Result<Node, Error> {
    let Value::List(list) = &node.value else { return Ok(node) };
    let mut map = Map::new();
    for entry in list {
        match entry.str().and_then(|t| t.split_once('=')) {
            Some((name, value)) => {
                map.insert(name.to_owned(), Node::from(value).at(entry));
            }
            None if form.lenient => return Ok(node),
            None => {
                let value = entry.text().unwrap_or_default();
                return Err(Error::rule(
                    entry.at,
                    format!("{path}: invalid value {value}, expected key=value"),
                ));
            }
        }
    }
    Ok(map.into())
}

fn build(node: Node, path: &Path, form: &Form<'_>) -> Result<Node, Error> {
    match node.value {
        Value::Str(_) => Ok(mapping([("context", node)])),
        Value::Map(_) => inside(node, path, form),
        _ => Err(invalid(&node, path, "build")),
    }
}

fn extends(node: Node, path: &Path, _: &Form<'_>) -> Result<Node, Error> {
    match node.value {
        Value::Str(_) => Ok(mapping([("service", node)])),
        Value::Map(_) => Ok(node),
        _ => Err(invalid(&node, path, "extends")),
    }
}

/// `{condition: service_started, required: true}`
pub fn started() -> Node {
    mapping([("condition", "service_started".into()), ("required", true.into())])
}

fn depends_on(mut node: Node, path: &Path, _: &Form<'_>) -> Result<Node, Error> {
    match &mut node.value {
        Value::List(list) => {
            let map: Map = list.iter().filter_map(|n| Some((n.str()?.to_owned(), started().at(n)))).collect();
            Ok(map.into())
        }
        Value::Map(map) => {
            for (name, value) in map.iter_mut() {
                let at = value.at;
                let Some(dependency) = value.map_mut() else {
                    return Err(Error::rule(at, format!("{path}.{name}: unsupported value")));
                };
                dependency.entry("condition".into()).or_insert_with(|| "service_started".into());
                dependency.entry("required".into()).or_insert_with(|| true.into());
            }
            Ok(node)
        }
        _ => Err(invalid(&node, path, "depend_on")),
    }
}

fn env_file(mut node: Node, path: &Path, _: &Form<'_>) -> Result<Node, Error> {
    let long = |mut entry: Node| match &mut entry.value {
        Value::Str(_) => mapping([("path", entry), ("required", true.into())]),
        Value::Map(map) => {
            map.entry("required".into()).or_insert_with(|| true.into());
            entry
        }
        _ => entry,
    };
    match &mut node.value {
        Value::Str(_) => Ok(Value::List(vec![long(node)]).into()),
        Value::List(list) => Ok(Value::List(std::mem::take(list).into_iter().map(long).collect()).into()),
        _ => Err(invalid(&node, path, "env_file")),
    }
}

fn gpus(node: Node, path: &Path, form: &Form<'_>) -> Result<Node, Error> {
    match node.value {
        Value::Str(_) => Ok(Value::List(vec![mapping([("count", "all".into())])]).into()),
        Value::List(_) => inside(node, path, form),
        _ => Err(invalid(&node, path, "gpus")),
    }
}

fn ulimit(node: Node, path: &Path, _: &Form<'_>) -> Result<Node, Error> {
    match node.value {
        Value::Map(_) | Value::Int(_) => Ok(node),
        _ => Err(invalid(&node, path, "external")),
    }
}

fn file_mount(node: Node, path: &Path, _: &Form<'_>) -> Result<Node, Error> {
    match node.value {
        Value::Str(_) => Ok(mapping([("source", node)])),
        Value::Map(_) => Ok(node),
        _ => Err(Error::rule(node.at, format!("{path}: unsupported type"))),
    }
}

fn ssh(node: Node, path: &Path, _: &Form<'_>) -> Result<Node, Error> {
    let Value::List(list) = &node.value else {
        return if node.map().is_some() { Ok(node) } else { Err(invalid(&node, path, "ssh")) };
    };
    let mut map = Map::new();
    for entry in list {
        let text = entry.str().unwrap_or_default();
        match text.split_once('=') {
            Some((id, path)) => map.insert(id.to_owned(), Node::from(path).at(entry)),
            None if text == "default" => map.insert(text.to_owned(), Node::default().at(entry)),
            None => return Err(Error::rule(entry.at, format!("invalid ssh key {text:?}"))),
        };
    }
    Ok(map.into())
}

fn device(node: Node, path: &Path, form: &Form<'_>) -> Result<Node, Error> {
    let Value::Str(text) = &node.value else {
        return if node.map().is_some() {
            Ok(node)
        } else {
            Err(invalid(&node, path, "service volume mount"))
        };
    };
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 && !form.lenient {
        let text = format!("confusing device mapping, please use long syntax: {text}");
        return Err(Error::rule(node.at, text));
    }
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, "", "rwm"),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] => (*source, *target, *permissions),
        _ => ("", "", "rwm"),
    };
    let target = if target.is_empty() { source } else { target };
    Ok(mapping([("source", source.into()), ("target", target.into()), ("permissions", permissions.into())]))
}

fn ports(node: Node, path: &Path, form: &Form<'_>) -> Result<Node, Error> {
    let Value::List(list) = &node.value else { return Err(invalid(&node, path, "port")) };
    let mut long = Vec::new();
    for entry in list {
        match &entry.value {
            Value::Map(_) => long.push(entry.clone()),
            Value::Int(_) | Value::Str(_) => match port::parse(&entry.text().unwrap_or_default()) {
                Ok(parsed) if !form.ports.take(parsed.len()) => {
                    return Err(Error::rule(entry.at, format!("services have more than {PORTS} ports")));
                }
                Ok(parsed) => long.extend(parsed.into_iter().map(|p| p.node().at(entry))),
                Err(_) if form.lenient => return Ok(node),
                Err(text) => return Err(Error::rule(entry.at, text)),
            },
            _ => return Err(invalid(entry, path, "port")),
        }
    }
    Ok(Value::List(long).into())
}

fn maybe_external(node: Node, path: &Path, form: &Form<'_>) -> Result<Node, Error> {
    if node.is_null() {
        return Ok(node);
    }
    let mut node = inside(node, path, form)?;
    let at = node.at;
    let Some(map) = node.map_mut() else { return Ok(node) };
    let Some(external) = map.get("external").filter(|e| e.map().is_some()).cloned() else { return Ok(node) };
    map.insert("external".into(), Node::from(true).at(&external));
    if let Some(name) = external.get("name") {
        form.warn(format!("{path}: external.name is deprecated. Please set name and external: true"));
        match map.get("name") {
            Some(own) if own != name => {
                return Err(Error::rule(
                    at,
                    format!("{path}: name and external.name conflict; only use name"),
                ));
            }
            Some(_) => {}
            None => {
                map.insert("name".into(), name.clone());
            }
        }
    }
    Ok(node)
}

fn volume(node: Node, path: &Path, form: &Form<'_>) -> Result<Node, Error> {
    let Value::Str(spec) = &node.value else {
        return if node.map().is_some() {
            Ok(node)
        } else {
            Err(invalid(&node, path, "service volume mount"))
        };
    };
    match mount::parse(spec) {
        Ok(mount) => Ok(mount.node(spec)),
        Err(_) if form.lenient => Ok(node),
        Err(text) => Err(Error::rule(node.at, text)),
    }
}

/// Sets what the specification says where the file says nothing.
pub fn defaults(node: &mut Node, path: &Path) {
    if path.matches("services.*.build") {
        if let Some(map) = node.map_mut() {
            map.entry("context".into()).or_insert_with(|| ".".into());
        }
    } else if path.matches("services.*.secrets.*") {
        if let Some(map) = node.map_mut() {
            let source = map.get("source").and_then(Node::text).unwrap_or_default();
            map.entry("target".into()).or_insert_with(|| format!("/run/secrets/{source}").into());
        }
    } else if path.matches("services.*.ports.*") {
        if let Some(map) = node.map_mut() {
            map.entry("protocol".into()).or_insert_with(|| "tcp".into());
            map.entry("mode".into()).or_insert_with(|| "ingress".into());
        }
    } else if path.matches("services.*.deploy.resources.reservations.devices.*")
        || path.matches("services.*.gpus.*")
    {
        if let Some(map) = node.map_mut()
            && !map.contains_key("count")
            && !map.contains_key("device_ids")
        {
            map.insert("count".into(), "all".into());
        }
    } else {
        match &mut node.value {
            Value::Map(map) => map.iter_mut().for_each(|(name, value)| defaults(value, &path.next(name))),
            Value::List(list) => list.iter_mut().for_each(|value| defaults(value, &path.entry())),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::yaml;

    fn long(text: &str) -> Result<Node, Error> {
        let root = yaml::parse(text, 0).unwrap().remove(0).root;
        let form = Form { lenient: false, ports: &Allowance::new(PORTS), warnings: &RefCell::default() };
        lengthen(root, &Path::default(), &form)
    }

    fn service(text: &str) -> Node {
        let root = long(&format!("services:\n  a:\n    {text}\n")).unwrap();
        root.get("services").unwrap().get("a").unwrap().clone()
    }

    #[test]
    fn mounts() {
        let volume = |spec: &str| {
            service(&format!("volumes: ['{spec}']")).get("volumes").unwrap().list().unwrap()[0].clone()
        };
        let bind = volume("./a:/b/../c:ro,z");
        assert_eq!(bind.get("type").unwrap().str(), Some("bind"));
        assert_eq!(bind.get("target").unwrap().str(), Some("/c"));
        assert_eq!(bind.get("bind").unwrap().get("selinux").unwrap().str(), Some("z"));
        assert_eq!(bind.get("read_only").unwrap().value, Value::Bool(true));
        let anonymous = volume("/data");
        assert!(anonymous.get("source").is_none() && anonymous.get("target").unwrap().str() == Some("/data"));
        let named = volume("data:/data:nocopy");
        assert_eq!(named.get("volume").unwrap().get("nocopy").unwrap().value, Value::Bool(true));
    }

    #[test]
    fn what_is_no_mount_is_told_with_its_place() {
        let error = long("services:\n  a:\n    volumes:\n      - aa::b\n").unwrap_err();
        assert_eq!(error.kind().to_string(), "invalid spec: aa::b: empty section between colons");
        assert_eq!(error.pos().unwrap().line, 4);
    }

    #[test]
    fn dependencies() {
        let on = service("depends_on: [b]").get("depends_on").unwrap().get("b").unwrap().clone();
        assert_eq!(on.get("condition").unwrap().str(), Some("service_started"));
    }
}
