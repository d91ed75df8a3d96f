//! How a later file changes an earlier one: mappings are joined, sequences appended, scalars replaced; some places
//! have rules of their own. Then what a sequence says twice (a port, a variable, a mount) stands once, as last said.

use super::mount;
use super::node::{Map, Node, Path, Value};
use crate::error::Error;

type Rule = fn(Node, Node, &Path) -> Result<Node, Error>;

const RULES: &[(&str, Rule)] = &[
    ("networks.*.ipam.config", ipam),
    ("networks.*.labels", sequence),
    ("volumes.*.labels", sequence),
    ("services.*.annotations", sequence),
    ("services.*.build", build),
    ("services.*.build.args", sequence),
    ("services.*.build.additional_contexts", sequence),
    ("services.*.build.extra_hosts", extra_hosts),
    ("services.*.build.labels", sequence),
    ("services.*.command", replace),
    ("services.*.depends_on", depends_on),
    ("services.*.deploy.labels", sequence),
    ("services.*.dns", sequence),
    ("services.*.dns_opt", sequence),
    ("services.*.dns_search", sequence),
    ("services.*.entrypoint", replace),
    ("services.*.env_file", sequence),
    ("services.*.label_file", sequence),
    ("services.*.environment", sequence),
    ("services.*.extra_hosts", extra_hosts),
    ("services.*.healthcheck.test", replace),
    ("services.*.labels", sequence),
    ("services.*.volumes.*.volume.labels", sequence),
    ("services.*.logging", logging),
    ("services.*.models", names),
    ("services.*.networks", names),
    ("services.*.sysctls", sequence),
    ("services.*.tmpfs", sequence),
    ("services.*.ulimits.*", replace),
];

/// The first value as changed by the second.
///
/// # Errors
/// A mapping or sequence meets something else.
pub fn merge(base: Node, over: Node, path: &Path) -> Result<Node, Error> {
    if let Some(rule) = path.find(RULES) {
        return rule(base, over, path);
    }
    if over.is_null() {
        return Ok(base);
    }
    match (base.value, over.value) {
        (Value::Map(a), Value::Map(b)) => Ok(joined(a, b, path)?.at_of(over.at, over.key)),
        (Value::List(mut a), Value::List(b)) => {
            a.extend(b);
            Ok(Node { value: Value::List(a), at: over.at, key: over.key })
        }
        (Value::Map(_) | Value::List(_), _) => Err(Error::rule(over.at, format!("cannot override {path}"))),
        (_, value) => Ok(Node { value, at: over.at, key: over.key }),
    }
}

impl Node {
    fn at_of(mut self, at: super::node::Pos, key: super::node::Pos) -> Node {
        (self.at, self.key) = (at, key);
        self
    }
}

fn joined(mut base: Map, over: Map, path: &Path) -> Result<Node, Error> {
    for (name, value) in over {
        let merged = match base.remove(&name) {
            Some(old) => merge(old, value, &path.next(&name))?,
            None => value,
        };
        base.insert(name, merged);
    }
    Ok(base.into())
}

fn replace(_: Node, over: Node, _: &Path) -> Result<Node, Error> {
    Ok(over)
}

fn sequence(base: Node, over: Node, _: &Path) -> Result<Node, Error> {
    let (at, key) = (over.at, over.key);
    let mut entries = as_list(base);
    entries.extend(as_list(over));
    Ok(Node { value: Value::List(entries), at, key })
}

fn extra_hosts(base: Node, over: Node, _: &Path) -> Result<Node, Error> {
    let (at, key) = (over.at, over.key);
    let mut entries = as_list(base);
    for entry in as_list(over) {
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    Ok(Node { value: Value::List(entries), at, key })
}

/// `{a: 1}` as `[a=1]`, a text as a sequence of one.
fn as_list(node: Node) -> Vec<Node> {
    let (at, key) = (node.at, node.key);
    match node.value {
        Value::List(list) => list,
        Value::Str(_) => vec![node],
        Value::Map(map) => {
            let mut list: Vec<Node> = map.into_iter().flat_map(|(name, value)| pairs(name, value)).collect();
            list.sort_by(|a, b| a.str().cmp(&b.str()));
            list
        }
        _ => Vec::new(),
    }
    .into_iter()
    .map(|n| if n.at.line == 0 { n.at_of(at, key) } else { n })
    .collect()
}

fn pairs(name: String, value: Node) -> Vec<Node> {
    let at = value.at;
    let pair = |text: String| Node { value: Value::Str(text), at, key: at };
    match &value.value {
        Value::Null => vec![pair(name)],
        Value::List(list) => {
            list.iter().map(|v| pair(format!("{name}={}", v.text().unwrap_or_default()))).collect()
        }
        _ => vec![pair(format!("{name}={}", value.text().unwrap_or_default()))],
    }
}

/// `[a, b]` as `{a: …, b: …}`.
fn as_map(node: Node, each: impl Fn() -> Node) -> Map {
    match node.value {
        Value::Map(map) => map,
        Value::List(list) => {
            list.into_iter().filter_map(|n| Some((n.str()?.to_owned(), each().at(&n)))).collect()
        }
        _ => Map::new(),
    }
}

fn names(base: Node, over: Node, path: &Path) -> Result<Node, Error> {
    let (at, key) = (over.at, over.key);
    Ok(joined(as_map(base, Node::default), as_map(over, Node::default), path)?.at_of(at, key))
}

fn depends_on(base: Node, over: Node, path: &Path) -> Result<Node, Error> {
    let (at, key) = (over.at, over.key);
    Ok(joined(as_map(base, super::short::started), as_map(over, super::short::started), path)?.at_of(at, key))
}

fn build(base: Node, over: Node, path: &Path) -> Result<Node, Error> {
    let (at, key) = (over.at, over.key);
    let long = |node: Node| match node.value {
        Value::Map(map) => map,
        Value::Str(_) => Map::from([("context".to_owned(), node)]),
        _ => Map::new(),
    };
    Ok(joined(long(base), long(over), path)?.at_of(at, key))
}

/// Options are joined only if both have the same driver, or one has none.
fn logging(base: Node, over: Node, path: &Path) -> Result<Node, Error> {
    let same = match (base.get("driver"), over.get("driver")) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    let (at, key) = (over.at, over.key);
    match (base.value, over.value) {
        (Value::Map(a), Value::Map(b)) if same => Ok(joined(a, b, path)?.at_of(at, key)),
        (_, value) => Ok(Node { value, at, key }),
    }
}

/// Pools are told apart by their subnets.
fn ipam(base: Node, over: Node, path: &Path) -> Result<Node, Error> {
    let (at, key) = (over.at, over.key);
    let (Value::List(bases), Value::List(overs)) = (base.value, over.value) else {
        return Err(Error::rule(at, format!("{path}: unexpected type")));
    };
    let mut pools: Vec<Node> = Vec::new();
    let subnet = |n: &Node| n.get("subnet").cloned();
    for original in bases {
        let mut right = as_map(original, Node::default);
        for other in overs.clone() {
            let left = as_map(other, Node::default);
            if left.get("subnet") != right.get("subnet")
                && !pools.iter().any(|p| subnet(p).as_ref() == left.get("subnet"))
            {
                pools.push(left.into());
                continue;
            }
            right = match joined(right, left, path)?.value {
                Value::Map(map) => map,
                _ => Map::new(),
            };
            let merged = Node::from(right.clone());
            match pools.iter_mut().find(|p| subnet(p) == subnet(&merged)) {
                Some(pool) => *pool = merged,
                None => pools.push(merged),
            }
        }
    }
    Ok(Node { value: Value::List(pools), at, key })
}

type Identity = fn(&Node, &Path) -> Result<String, Error>;

const UNIQUE: &[(&str, Identity)] = &[
    ("networks.*.labels", name_of),
    ("networks.*.ipam.options", name_of),
    ("services.*.annotations", name_of),
    ("services.*.build.args", name_of),
    ("services.*.build.additional_contexts", name_of),
    ("services.*.build.platform", name_of),
    ("services.*.build.tags", name_of),
    ("services.*.build.labels", name_of),
    ("services.*.cap_add", name_of),
    ("services.*.cap_drop", name_of),
    ("services.*.devices", device_of),
    ("services.*.configs", config_of),
    ("services.*.deploy.labels", name_of),
    ("services.*.dns", name_of),
    ("services.*.dns_opt", name_of),
    ("services.*.dns_search", name_of),
    ("services.*.environment", name_of),
    ("services.*.env_file", env_file_of),
    ("services.*.expose", expose_of),
    ("services.*.labels", name_of),
    ("services.*.links", name_of),
    ("services.*.networks.*.aliases", name_of),
    ("services.*.networks.*.link_local_ips", name_of),
    ("services.*.ports", port_of),
    ("services.*.profiles", name_of),
    ("services.*.secrets", secret_of),
    ("services.*.sysctls", name_of),
    ("services.*.tmpfs", name_of),
    ("services.*.volumes", volume_of),
];

/// Lets each thing of a sequence stand once: where it stood first, as it was said last.
///
/// # Errors
/// An entry cannot be told apart.
pub fn once(node: &mut Node, path: &Path) -> Result<(), Error> {
    match &mut node.value {
        Value::Map(map) => map.iter_mut().try_for_each(|(name, value)| once(value, &path.next(name))),
        Value::List(list) => {
            let Some(identity) = path.find(UNIQUE) else { return Ok(()) };
            let mut kept: Vec<Node> = Vec::with_capacity(list.len());
            let mut places = std::collections::HashMap::new();
            for (i, entry) in std::mem::take(list).into_iter().enumerate() {
                let name = identity(&entry, &path.next(&format!("[{i}]")))?;
                match places.get(&name) {
                    Some(&place) => kept[place] = entry,
                    None => {
                        places.insert(name, kept.len());
                        kept.push(entry);
                    }
                }
            }
            *list = kept;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn name_of(node: &Node, path: &Path) -> Result<String, Error> {
    match node.str() {
        Some(text) => Ok(text.split('=').next().unwrap_or(text).to_owned()),
        None => Err(Error::rule(node.at, format!("{path}: unexpected type"))),
    }
}

fn target_of(node: &Node, path: &Path, what: &str) -> Result<String, Error> {
    let target = node.get("target").and_then(Node::str);
    target
        .map(str::to_owned)
        .ok_or_else(|| Error::rule(node.at, format!("service {what} {path} is missing a mount target")))
}

fn volume_of(node: &Node, path: &Path) -> Result<String, Error> {
    match &node.value {
        Value::Map(_) => target_of(node, path, "volume"),
        Value::Str(text) => mount::target(text).map_err(|e| Error::rule(node.at, e)),
        _ => Ok(String::new()),
    }
}

fn device_of(node: &Node, path: &Path) -> Result<String, Error> {
    match &node.value {
        Value::Map(_) => target_of(node, path, "device"),
        Value::Str(text) => {
            let mut parts = text.split(':');
            let source = parts.next().unwrap_or_default();
            Ok(parts.next().unwrap_or(source).to_owned())
        }
        _ => Ok(String::new()),
    }
}

fn mounted(node: &Node, path: &Path, folder: &str) -> Result<String, Error> {
    match &node.value {
        Value::Str(text) => Ok(format!("{folder}/{text}")),
        Value::Map(map) => match map.get("target").and_then(Node::str) {
            Some(target) => Ok(target.to_owned()),
            None => Ok(format!("{folder}/{}", map.get("source").and_then(Node::str).unwrap_or_default())),
        },
        _ => Err(Error::rule(node.at, format!("{path}: unsupported expose value"))),
    }
}

fn config_of(node: &Node, path: &Path) -> Result<String, Error> {
    mounted(node, path, "")
}

fn secret_of(node: &Node, path: &Path) -> Result<String, Error> {
    mounted(node, path, "/run/secrets")
}

fn env_file_of(node: &Node, path: &Path) -> Result<String, Error> {
    match &node.value {
        Value::Map(map) => match map.get("path").and_then(Node::str) {
            Some(file) => Ok(file.to_owned()),
            None => Err(Error::rule(node.at, format!("environment path attribute {path} is missing"))),
        },
        _ => Ok(node.text().unwrap_or_default()),
    }
}

fn expose_of(node: &Node, path: &Path) -> Result<String, Error> {
    match &node.value {
        Value::Str(_) | Value::Int(_) => Ok(node.text().unwrap_or_default()),
        _ => Err(Error::rule(node.at, format!("{path}: unsupported expose value"))),
    }
}

fn port_of(node: &Node, path: &Path) -> Result<String, Error> {
    let Some(map) = node.map() else { return Ok(node.text().unwrap_or_default()) };
    let Some(target) = map.get("target").and_then(Node::text) else {
        return Err(Error::rule(node.at, format!("service ports {path} is missing a target port")));
    };
    let field =
        |name: &str, default: &str| map.get(name).and_then(Node::text).unwrap_or_else(|| default.to_owned());
    Ok(format!(
        "{}:{}:{target}/{}",
        field("host_ip", "0.0.0.0"),
        field("published", ""),
        field("protocol", "tcp")
    ))
}
