//! Rules of the whole tree that the schema does not have.

use super::node::{Map, Node, Path, Value};
use crate::error::Error;
use crate::model::autoscale::{self, Autoscale};

/// Checks a tree in its long forms.
///
/// # Errors
/// A rule does not hold.
pub fn check(node: &Node, path: &Path) -> Result<(), Error> {
    match path.parts() {
        [s, _] if s == "services" => autoscale(node, path)?,
        _ => {}
    }
    match path.parts() {
        [v, _] if v == "volumes" => external(node, path),
        [c, _] if c == "configs" => one_source(node, path, &["file", "environment", "content"]),
        [s, _] if s == "secrets" => one_source(node, path, &["file", "environment"]),
        [s, _, p, _] if s == "services" && p == "ports" => address(node, path),
        [s, _, g, _] if s == "services" && g == "gpus" => device_request(node, path),
        [s, _, d, w, _, p] if s == "services" && d == "develop" && w == "watch" && p == "path" => {
            match node.str() {
                Some("") => Err(Error::rule(node.at, format!("{path}: value can't be blank"))),
                _ => Ok(()),
            }
        }
        _ if path.matches("services.*.deploy.resources.reservations.devices.*") => device_request(node, path),
        _ => match &node.value {
            Value::Map(map) => map.iter().try_for_each(|(name, value)| check(value, &path.next(name))),
            Value::List(list) => list.iter().try_for_each(|value| check(value, &path.entry())),
            _ => Ok(()),
        },
    }
}

/// Containers that the daemon makes are like those that are there: what Compose does for each it cannot do.
fn autoscale(node: &Node, path: &Path) -> Result<(), Error> {
    let Some(scale) = node.get(autoscale::NAME) else { return Ok(()) };
    Autoscale::read(scale, &path.next(autoscale::NAME))?;
    let mut refused = ["container_name", "post_start", "pre_stop"]
        .iter()
        .filter_map(|name| node.get(name).map(|n| (name, n)));
    match refused.next() {
        None => Ok(()),
        Some((name, value)) => {
            let text = format!("{path}: {name} cannot be used with {}", autoscale::NAME);
            Err(Error::rule(value.key, text))
        }
    }
}

fn external(node: &Node, path: &Path) -> Result<(), Error> {
    let Some(map) = node.map() else { return Ok(()) };
    if map.get("external").map(|e| &e.value) != Some(&Value::Bool(true)) {
        return Ok(());
    }
    let other =
        map.iter().find(|(name, _)| !matches!(name.as_str(), "name" | "external") && !name.starts_with("x-"));
    match other {
        None => Ok(()),
        Some((name, value)) => {
            let text = format!("{path}: conflicting parameters \"external\" and {name:?} specified");
            Err(Error::rule(value.key, text))
        }
    }
}

fn one_source(node: &Node, path: &Path, names: &[&str]) -> Result<(), Error> {
    let none = Map::new();
    let map = node.map().unwrap_or(&none);
    let count = names.iter().filter(|n| map.contains_key(**n)).count();
    let all = names.join("|");
    if count > 1 {
        return Err(Error::rule(node.at, format!("{path}: {all} attributes are mutually exclusive")));
    }
    if count == 0 && !map.contains_key("driver") && !map.contains_key("external") {
        return Err(Error::rule(node.at, format!("{path}: one of {all} must be set")));
    }
    Ok(())
}

fn address(node: &Node, path: &Path) -> Result<(), Error> {
    let Some(ip) = node.get("host_ip") else { return Ok(()) };
    let text = ip.str().unwrap_or_default();
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::rule(ip.at, format!("{path}: invalid ip address: {text}"))),
    }
}

fn device_request(node: &Node, path: &Path) -> Result<(), Error> {
    let Some(map) = node.map() else { return Ok(()) };
    if map.contains_key("count") && map.contains_key("device_ids") {
        let text = format!("{path}: \"count\" and \"device_ids\" attributes are exclusive");
        return Err(Error::rule(node.at, text));
    }
    Ok(())
}
