//! Values of HCL as the fields of a target or group, and back for references.

use std::collections::BTreeMap;

use super::entry::Listed;
use super::{Group, Pairs, Target};
use crate::value::{Mapping, Type, Value};

/// The fields of a target, as files call them.
pub(crate) const TARGET_FIELDS: &[&str] = &[
    "description",
    "inherits",
    "annotations",
    "attest",
    "context",
    "contexts",
    "dockerfile",
    "dockerfile-inline",
    "args",
    "labels",
    "tags",
    "cache-from",
    "cache-to",
    "target",
    "secret",
    "ssh",
    "platforms",
    "output",
    "pull",
    "no-cache",
    "network",
    "no-cache-filter",
    "shm-size",
    "ulimits",
    "call",
    "entitlements",
    "extra-hosts",
];

/// The fields of a group.
pub(crate) const GROUP_FIELDS: &[&str] = &["description", "targets"];

type Read<T> = Result<T, String>;

fn text(value: &Value) -> Read<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::List(..) | Value::Object(..) => Err(value.text().err().unwrap_or_default()),
        other => other.text().map(Some),
    }
}

fn required(value: &Value) -> Read<String> {
    text(value)?.ok_or_else(|| "null value is not allowed".to_owned())
}

fn boolean(value: &Value) -> Read<Option<bool>> {
    match value.convert(&Type::Bool)? {
        Value::Bool(value) => Ok(Some(value)),
        _ => Ok(None),
    }
}

fn texts(value: &Value) -> Read<Option<Vec<String>>> {
    match value.convert(&Type::List(Box::new(Type::Text)))? {
        Value::List(_, items) => items.all.iter().map(required).collect::<Read<_>>().map(Some),
        _ => Ok(None),
    }
}

fn pairs(value: &Value) -> Read<Option<Pairs>> {
    match value.convert(&Type::Map(Box::new(Type::Text)))? {
        Value::Object(_, members) => members
            .all
            .iter()
            .map(|(name, value)| Ok((name.clone(), text(value)?)))
            .collect::<Read<_>>()
            .map(Some),
        _ => Ok(None),
    }
}

fn named(value: &Value) -> Read<Option<BTreeMap<String, String>>> {
    let Some(pairs) = pairs(value)? else { return Ok(None) };
    let one = |(name, value): (String, Option<String>)| match value {
        Some(value) => Ok((name, value)),
        None => Err("null value is not allowed".to_owned()),
    };
    pairs.into_iter().map(one).collect::<Read<_>>().map(Some)
}

impl Target {
    /// Sets a field.
    ///
    /// # Errors
    /// The value is none for it.
    pub(crate) fn set(&mut self, field: &str, value: &Value) -> Read<()> {
        match field {
            "description" => self.description = required(value)?,
            "inherits" => self.inherits = texts(value)?,
            "annotations" => self.annotations = texts(value)?,
            "attest" => self.attest = Listed::decode(value)?,
            "context" => self.context = text(value)?,
            "contexts" => self.contexts = named(value)?,
            "dockerfile" => self.dockerfile = text(value)?,
            "dockerfile-inline" => self.dockerfile_inline = text(value)?,
            "args" => self.args = pairs(value)?,
            "labels" => self.labels = pairs(value)?,
            "tags" => self.tags = texts(value)?,
            "cache-from" => self.cache_from = Listed::decode(value)?,
            "cache-to" => self.cache_to = Listed::decode(value)?,
            "target" => self.target = text(value)?,
            "secret" => self.secrets = Listed::decode(value)?,
            "ssh" => self.ssh = Listed::decode(value)?,
            "platforms" => self.platforms = texts(value)?,
            "output" => self.outputs = Listed::decode(value)?,
            "pull" => self.pull = boolean(value)?,
            "no-cache" => self.no_cache = boolean(value)?,
            "network" => self.network = text(value)?,
            "no-cache-filter" => self.no_cache_filter = texts(value)?,
            "shm-size" => self.shm_size = text(value)?,
            "ulimits" => self.ulimits = texts(value)?,
            "call" => self.call = text(value)?,
            "entitlements" => self.entitlements = texts(value)?,
            "extra-hosts" => self.extra_hosts = pairs(value)?,
            _ => {}
        }
        Ok(())
    }

    /// All of it as a value: `target.name`.
    pub(crate) fn to_value(&self) -> Value {
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        let truth = |value: Option<bool>| value.map_or(Value::Null, Value::Bool);
        let texts = |texts: &Option<Vec<String>>| match texts {
            Some(texts) => Value::texts(texts.iter().cloned()),
            None => Value::Null,
        };
        let pairs = |pairs: &Option<Pairs>| match pairs {
            Some(pairs) => {
                let one = |(name, value): (&String, &Option<String>)| (name.clone(), text(value));
                Value::object(Mapping::Map, pairs.iter().map(one).collect())
            }
            None => Value::Null,
        };
        let contexts = self.contexts.as_ref().map(|contexts| {
            contexts.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect()
        });
        let all = [
            ("name", Value::from(self.name.as_str())),
            ("description", Value::from(self.description.as_str())),
            ("inherits", texts(&self.inherits)),
            ("annotations", texts(&self.annotations)),
            ("attest", listed(&self.attest)),
            ("context", text(&self.context)),
            ("contexts", pairs(&contexts)),
            ("dockerfile", text(&self.dockerfile)),
            ("dockerfile-inline", text(&self.dockerfile_inline)),
            ("args", pairs(&self.args)),
            ("labels", pairs(&self.labels)),
            ("tags", texts(&self.tags)),
            ("cache-from", listed(&self.cache_from)),
            ("cache-to", listed(&self.cache_to)),
            ("target", text(&self.target)),
            ("secret", listed(&self.secrets)),
            ("ssh", listed(&self.ssh)),
            ("platforms", texts(&self.platforms)),
            ("output", listed(&self.outputs)),
            ("pull", truth(self.pull)),
            ("no-cache", truth(self.no_cache)),
            ("network", text(&self.network)),
            ("no-cache-filter", texts(&self.no_cache_filter)),
            ("shm-size", text(&self.shm_size)),
            ("ulimits", texts(&self.ulimits)),
            ("call", text(&self.call)),
            ("entitlements", texts(&self.entitlements)),
            ("extra-hosts", pairs(&self.extra_hosts)),
        ];
        Value::object(
            Mapping::Object,
            all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        )
    }
}

fn listed<T: Listed>(entries: &Option<Vec<T>>) -> Value {
    let all = entries.iter().flatten().map(Listed::to_value).collect();
    Value::list(crate::value::Sequence::List, all)
}

impl Group {
    /// Sets a field.
    ///
    /// # Errors
    /// The value is none for it.
    pub(crate) fn set(&mut self, field: &str, value: &Value) -> Read<()> {
        match field {
            "description" => self.description = required(value)?,
            "targets" => self.targets = texts(value)?.unwrap_or_default(),
            _ => {}
        }
        Ok(())
    }

    /// All of it as a value: `group.name`.
    pub(crate) fn to_value(&self) -> Value {
        let all = [
            ("name", Value::from(self.name.as_str())),
            ("description", Value::from(self.description.as_str())),
            ("targets", Value::texts(self.targets.iter().cloned())),
        ];
        Value::object(
            Mapping::Object,
            all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        )
    }
}
