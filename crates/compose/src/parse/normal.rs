//! What a file leaves out: the default network, names of networks and volumes, dependencies that links and shared
//! namespaces mean, the values of variables that are only named.

use std::collections::BTreeMap;

use super::node::{Map, Node, Value};

/// Completes a tree.
pub fn normalize(root: &mut Map, env: &BTreeMap<String, String>) {
    default_network(root);
    if let Some(services) = root.get_mut("services").and_then(Node::map_mut) {
        services.values_mut().filter_map(Node::map_mut).for_each(|service| complete(service, env));
    }
    name_resources(root);
}

fn default_network(root: &mut Map) {
    let mut used = false;
    if let Some(services) = root.get_mut("services").and_then(Node::map_mut) {
        for service in services.values_mut().filter_map(Node::map_mut) {
            if service.contains_key("provider") || service.contains_key("network_mode") {
                continue;
            }
            match service.get("networks").and_then(Node::map) {
                Some(networks) if !networks.is_empty() => used |= networks.contains_key("default"),
                _ => {
                    let networks = Map::from([("default".to_owned(), Node::default())]);
                    service.insert("networks".into(), networks.into());
                    used = true;
                }
            }
        }
    }
    let declared = root.get("networks").and_then(Node::map).is_some_and(|n| n.contains_key("default"));
    if used && !declared {
        let networks = root.entry("networks".into()).or_default();
        if networks.is_null() {
            networks.value = Value::Map(Map::new());
        }
        if let Some(map) = networks.map_mut() {
            map.insert("default".into(), Node::default());
        }
    }
}

fn complete(service: &mut Map, env: &BTreeMap<String, String>) {
    if service.get("pull_policy").and_then(Node::str) == Some("if_not_present") {
        service.insert("pull_policy".into(), "missing".into());
    }
    if let Some(build) = service.get_mut("build").and_then(Node::map_mut) {
        build.entry("context".into()).or_insert_with(|| ".".into());
        if !build.contains_key("dockerfile_inline") {
            build.entry("dockerfile".into()).or_insert_with(|| "Dockerfile".into());
        }
        if let Some(args) = build.get_mut("args") {
            valued(args, env, false);
        }
    }
    if let Some(environment) = service.get_mut("environment") {
        valued(environment, env, true);
    }
    depend(service);
    if let Some(Value::List(volumes)) = service.get_mut("volumes").map(|v| &mut v.value) {
        for volume in volumes.iter_mut().filter_map(Node::map_mut) {
            if let Some(Value::Str(target)) = volume.get_mut("target").map(|t| &mut t.value) {
                *target = dray_spec::glob::clean_path(target);
            }
        }
    }
}

/// Gives names without a value that of the environment.
fn valued(node: &mut Node, env: &BTreeMap<String, String>, keep: bool) {
    match &mut node.value {
        Value::Map(map) => {
            map.retain(|name, value| {
                if value.is_null() {
                    match env.get(name) {
                        Some(found) => value.value = Value::Str(found.clone()),
                        None => return keep,
                    }
                }
                true
            });
        }
        Value::List(list) => list.retain_mut(|entry| {
            let Value::Str(text) = &mut entry.value else { return true };
            if text.contains('=') {
                return true;
            }
            match env.get(text.as_str()) {
                Some(found) => {
                    *text = format!("{text}={found}");
                    true
                }
                None => keep,
            }
        }),
        _ => {}
    }
}

/// Links, shared namespaces and shared volumes are dependencies.
fn depend(service: &mut Map) {
    let texts = |name: &str| -> Vec<String> {
        service
            .get(name)
            .and_then(Node::list)
            .unwrap_or_default()
            .iter()
            .filter_map(|n| n.str().map(str::to_owned))
            .collect()
    };
    let mut wanted: Vec<(String, bool)> = Vec::new();
    for link in texts("links") {
        let parts: Vec<&str> = link.split(':').collect();
        wanted.push((if parts.len() == 2 { parts[0] } else { &link }.to_owned(), true));
    }
    for namespace in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        let other = service.get(namespace).and_then(Node::str).and_then(|t| t.strip_prefix("service:"));
        wanted.extend(other.map(|o| (o.to_owned(), true)));
    }
    for from in texts("volumes_from").iter().filter(|v| !v.starts_with("container:")) {
        wanted.push((from.split(':').next().unwrap_or(from).to_owned(), false));
    }
    if wanted.is_empty() {
        return;
    }
    let node = service.entry("depends_on".into()).or_insert_with(|| Map::new().into());
    let Some(on) = node.map_mut() else { return };
    for (name, restart) in wanted {
        on.entry(name).or_insert_with(|| {
            let mut started = super::short::started();
            if let Some(map) = started.map_mut() {
                map.insert("restart".into(), restart.into());
            }
            started
        });
    }
}

fn name_resources(root: &mut Map) {
    let project = root.get("name").and_then(Node::str).unwrap_or_default().to_owned();
    for kind in ["networks", "volumes", "configs", "secrets"] {
        let Some(resources) = root.get_mut(kind).and_then(Node::map_mut) else { continue };
        for (key, resource) in resources {
            if resource.is_null() {
                resource.value = Value::Map(Map::new());
            }
            let Some(map) = resource.map_mut() else { continue };
            if map.get("name").is_none_or(Node::is_null) {
                let external = map.get("external").and_then(Node::text).is_some_and(|t| t == "true");
                let name = if external { key.clone() } else { format!("{project}_{key}") };
                map.insert("name".into(), name.into());
            }
        }
    }
}
