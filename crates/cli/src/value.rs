//! The data that templates see: JSON with the order of its keys kept, and Go's difference between a struct
//! (fields, in order) and a map (sorted keys), which decides how `{{.}}` and `{{json .}}` print.
//!
//! Engine API answers are Go structs on the wire; only the members named in [`MAP_MEMBERS`] are maps.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use dray_spec::golang::write_json_string;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Members of API answers which hold a map and not a struct.
const MAP_MEMBERS: &[&str] = &[
    "Annotations",
    "Attributes",
    "AuxiliaryAddresses",
    "AuxAddress",
    "Config/Labels",
    "Containers",
    "Data",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "LogOpts",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Runtimes",
    "Status",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
    "Details",
    "IndexConfigs",
    "PidsStats/",
    "networks",
    "stats",
];

/// Members which are pointers in Go: null prints as `<nil>`, not as an empty list.
const POINTER_MEMBERS: &[&str] = &[
    "Health",
    "Healthcheck",
    "Init",
    "IPAMConfig",
    "OomKillDisable",
    "MemorySwappiness",
    "PidsLimit",
    "StopTimeout",
    "UsageData",
    "ClusterVolume",
    "Swarm",
    "BlkioStats",
    "Descriptor",
    "ImageManifestDescriptor",
    "ConfigFrom",
];

/// Members that an answer leaves out when they are empty, with what stands for them then.
const OMITTED_STRINGS: &[&str] = &[
    "MacAddress",
    "Platform",
    "Variant",
    "OsVersion",
    "Author",
    "Comment",
    "StopSignal",
    "CgroupnsMode",
    "Runtime",
    "DockerVersion",
    "Parent",
    "Container",
    "VirtualSize",
    "Error",
    "Name",
    "Source",
    "Driver",
];
const OMITTED_LISTS: &[&str] =
    &["Mounts", "OnBuild", "Shell", "Aliases", "Links", "DNSNames", "Warnings", "Entrypoint"];

/// A value in a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: a key that a map lacks, or null.
    Nil,
    /// A null pointer of Go, which prints as `<nil>`.
    NilPointer,
    /// A null map.
    NilMap,
    /// A null slice.
    NilList,
    /// An empty field that JSON leaves out: prints as nothing.
    Absent,
    /// A point in time, in RFC 3339: prints as Go's `time.Time`.
    Time(String),
    /// A boolean.
    Bool(bool),
    /// Any integer.
    Int(i128),
    /// A number with a fraction.
    Float(f64),
    /// A string.
    Str(String),
    /// An array or slice.
    List(Vec<Value>),
    /// A struct: its fields in their order.
    Struct(Vec<(String, Value)>),
    /// A map: keys sorted.
    Map(BTreeMap<String, Value>),
    /// A line of a table: what its columns say.
    Row(Rc<Row>),
}

/// One line of a listing: the columns that a template can name, and the labels behind `.Label "key"`.
#[derive(Debug, PartialEq, Default)]
pub struct Row {
    /// The type that Docker's error texts name, such as `*formatter.ContainerContext`.
    pub type_name: &'static str,
    /// Column name and content.
    pub fields: Vec<(&'static str, Value)>,
    /// What `.Label` looks into; `None` where the noun has no labels.
    pub labels: Option<BTreeMap<String, String>>,
}

impl Row {
    /// The content of a column.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }
}

impl Value {
    /// The truth of a value as `if` sees it: empty is false.
    pub fn truthy(&self) -> bool {
        match self {
            Value::Nil | Value::NilPointer | Value::NilMap | Value::NilList | Value::Absent => false,
            Value::Bool(b) => *b,
            Value::Int(i) => *i != 0,
            Value::Float(f) => *f != 0.0,
            Value::Str(s) => !s.is_empty(),
            Value::List(l) => !l.is_empty(),
            Value::Map(m) => !m.is_empty(),
            Value::Struct(_) | Value::Row(_) | Value::Time(_) => true,
        }
    }

    /// Parses JSON, keeping the order of keys.
    ///
    /// # Errors
    /// The text is not JSON.
    pub fn from_json(text: &[u8]) -> Result<Value, serde_json::Error> {
        let mut de = serde_json::Deserializer::from_slice(text);
        let value = Seed { member: "" }.deserialize(&mut de)?;
        de.end()?;
        Ok(value)
    }

    /// The value of anything that serialises, in the order of its fields.
    ///
    /// # Errors
    /// It does not serialise.
    pub fn of<T: serde::Serialize>(it: &T) -> Result<Value, serde_json::Error> {
        Value::from_json(&serde_json::to_vec(it)?)
    }

    /// A member of a struct or map; the outer `None` says that there is none of this name.
    pub fn member(&self, name: &str) -> Option<Value> {
        match self {
            Value::Map(m) => m.get(name).cloned(),
            Value::Struct(fields) => fields
                .iter()
                .find(|(n, _)| n == name)
                .or_else(|| fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)))
                .map(|(_, v)| v.clone())
                .or_else(|| omitted(name)),
            Value::Row(row) => row.field(name).cloned(),
            _ => None,
        }
    }

    /// Go's JSON of this value, one line, without HTML escapes.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        write_json(self, &mut out);
        out
    }
}

/// What Go's zero value would be for a member that the wire leaves out when empty.
fn omitted(name: &str) -> Option<Value> {
    if POINTER_MEMBERS.contains(&name) {
        return Some(Value::NilPointer);
    }
    if OMITTED_STRINGS.contains(&name) {
        return Some(Value::Str(String::new()));
    }
    if OMITTED_LISTS.contains(&name) {
        return Some(Value::List(Vec::new()));
    }
    MAP_MEMBERS.contains(&name).then(|| Value::Map(BTreeMap::new()))
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::Str(s.to_owned())
    }
}
impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::Str(s)
    }
}
impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}
impl From<i64> for Value {
    fn from(i: i64) -> Self {
        Value::Int(i.into())
    }
}

struct Seed<'a> {
    member: &'a str,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Int(v.into()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Int(v.into()))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::Float(v))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::Str(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::Str(v))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(match self.member {
            m if POINTER_MEMBERS.contains(&m) => Value::NilPointer,
            m if MAP_MEMBERS.contains(&m) => Value::NilMap,
            _ => Value::NilList,
        })
    }
    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(v) = seq.next_element_seed(Seed { member: "" })? {
            list.push(v);
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if fields.len() > 1_000_000 {
                return Err(A::Error::custom("too many members"));
            }
            let value = map.next_value_seed(Seed { member: &key })?;
            fields.push((key, value));
        }
        if MAP_MEMBERS.contains(&self.member) {
            return Ok(Value::Map(fields.into_iter().collect()));
        }
        Ok(Value::Struct(fields))
    }
}

fn write_json(v: &Value, out: &mut String) {
    match v {
        Value::Nil | Value::NilPointer | Value::NilMap | Value::NilList | Value::Absent => {
            out.push_str("null")
        }
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(i) => out.push_str(&i.to_string()),
        Value::Float(f) => out.push_str(&crate::template::text_of_float(*f)),
        Value::Str(s) | Value::Time(s) => write_json_string(s, false, out),
        Value::List(l) => {
            out.push('[');
            for (i, v) in l.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json(v, out);
            }
            out.push(']');
        }
        Value::Struct(fields) => write_members(fields.iter().map(|(k, v)| (k.as_str(), v)), out),
        Value::Map(m) => write_members(m.iter().map(|(k, v)| (k.as_str(), v)), out),
        Value::Row(row) => {
            let mut fields: Vec<_> = row.fields.iter().map(|(k, v)| (*k, v)).collect();
            fields.sort_by_key(|(k, _)| *k);
            let mut text = String::new();
            write_members(fields.into_iter(), &mut text);
            // Go's own encoder of a row escapes what HTML gives a meaning to.
            out.push_str(&text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"));
        }
    }
}

fn write_members<'a>(members: impl Iterator<Item = (&'a str, &'a Value)>, out: &mut String) {
    out.push('{');
    for (i, (k, v)) in members.filter(|(_, v)| **v != Value::Absent).enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_json_string(k, false, out);
        out.push(':');
        write_json(v, out);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_kind_of_members() {
        let v = Value::from_json(br#"{"b":1,"a":{"z":null,"y":[1,2.5,"x"]},"Labels":{"b":"1","a":"2"}}"#)
            .unwrap();
        assert_eq!(v.to_json(), r#"{"b":1,"a":{"z":null,"y":[1,2.5,"x"]},"Labels":{"a":"2","b":"1"}}"#);
        assert!(matches!(v.member("Labels"), Some(Value::Map(_))));
        assert!(v.member("nothing").is_none());
        assert_eq!(v.member("Health"), Some(Value::NilPointer));
    }

    #[test]
    fn go_names_find_json_keys_of_other_case() {
        let v = Value::from_json(br#"{"Id":"abc"}"#).unwrap();
        assert_eq!(v.member("ID"), Some(Value::from("abc")));
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        let mut out = String::new();
        write_json_string("a\"\\\n\u{1}<é>", false, &mut out);
        assert_eq!(out, "\"a\\\"\\\\\\n\\u0001<é>\"");
    }
}
