//! Variables in all texts of a tree, and the types that texts with variables get: `replicas: ${N}` is a number.

use super::node::{Node, Path, Value};
use super::template::{self, Lookup};
use crate::error::{Error, Kind};

#[derive(Clone, Copy)]
enum To {
    Int,
    Float,
    Float32,
    Bool,
}

const CASTS: &[(&str, To)] = &[
    ("services.*.cpu_count", To::Int),
    ("services.*.cpu_percent", To::Float),
    ("services.*.cpu_period", To::Int),
    ("services.*.cpu_quota", To::Int),
    ("services.*.cpu_rt_period", To::Int),
    ("services.*.cpu_rt_runtime", To::Int),
    ("services.*.cpus", To::Float32),
    ("services.*.cpu_shares", To::Int),
    ("services.*.init", To::Bool),
    ("services.*.deploy.replicas", To::Int),
    ("services.*.deploy.update_config.parallelism", To::Int),
    ("services.*.deploy.update_config.max_failure_ratio", To::Float),
    ("services.*.deploy.rollback_config.parallelism", To::Int),
    ("services.*.deploy.rollback_config.max_failure_ratio", To::Float),
    ("services.*.deploy.restart_policy.max_attempts", To::Int),
    ("services.*.deploy.placement.max_replicas_per_node", To::Int),
    ("services.*.healthcheck.retries", To::Int),
    ("services.*.healthcheck.disable", To::Bool),
    ("services.*.oom_kill_disable", To::Bool),
    ("services.*.oom_score_adj", To::Int),
    ("services.*.pids_limit", To::Int),
    ("services.*.ports.[].target", To::Int),
    ("services.*.privileged", To::Bool),
    ("services.*.read_only", To::Bool),
    ("services.*.scale", To::Int),
    ("services.*.stdin_open", To::Bool),
    ("services.*.tty", To::Bool),
    ("services.*.ulimits.*", To::Int),
    ("services.*.ulimits.*.hard", To::Int),
    ("services.*.ulimits.*.soft", To::Int),
    ("services.*.volumes.[].read_only", To::Bool),
    ("services.*.volumes.[].volume.nocopy", To::Bool),
    ("networks.*.external", To::Bool),
    ("networks.*.internal", To::Bool),
    ("networks.*.attachable", To::Bool),
    ("networks.*.enable_ipv4", To::Bool),
    ("networks.*.enable_ipv6", To::Bool),
    ("volumes.*.external", To::Bool),
    ("secrets.*.external", To::Bool),
    ("configs.*.external", To::Bool),
];

/// Replaces the variables of a tree's texts.
///
/// # Errors
/// An expression is none, a required variable is missing, or the result is not of its type.
pub fn interpolate(node: &mut Node, path: &Path, lookup: &dyn Lookup) -> Result<(), Error> {
    let at = node.at;
    match &mut node.value {
        Value::Str(text) => {
            let new = template::substitute(text, lookup)
                .map_err(|source| Error::at(at, Kind::Template { path: path.to_string(), source }))?;
            node.value = match path.find(CASTS) {
                None => Value::Str(new),
                Some(to) => cast(&new, *to)
                    .map_err(|text| Error::at(at, Kind::Cast { path: path.to_string(), text }))?,
            };
            Ok(())
        }
        Value::Map(map) => {
            map.iter_mut().try_for_each(|(name, value)| interpolate(value, &path.next(name), lookup))
        }
        Value::List(list) => {
            let entry = path.entry();
            list.iter_mut().try_for_each(|value| interpolate(value, &entry, lookup))
        }
        _ => Ok(()),
    }
}

fn cast(text: &str, to: To) -> Result<Value, String> {
    let syntax = |function: &str| format!("strconv.{function}: parsing {text:?}: invalid syntax");
    match to {
        To::Int => text.parse().map(Value::Int).map_err(|_| syntax("Atoi")),
        To::Float => text.parse().map(Value::Float).map_err(|_| syntax("ParseFloat")),
        To::Float32 => text.parse().map(Value::Float32).map_err(|_| syntax("ParseFloat")),
        To::Bool => boolean(text).map(Value::Bool).ok_or_else(|| format!("invalid boolean: {text}")),
    }
}

/// YAML 1.1's booleans too.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => Some(true),
        "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}
