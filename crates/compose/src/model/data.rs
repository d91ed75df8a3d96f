//! Values on their way out: what `config` prints, and what hashes are made of.

use crate::parse::node::{Node, Value};

/// Which of the two forms is written: they leave out different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `--format json`, and hashes.
    Json,
    /// `--format yaml`.
    Yaml,
}

/// A value with its names in the order in which they are written.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `null`
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number beyond the signed ones.
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// One of single precision.
    Float32(f32),
    /// Text.
    Str(String),
    /// JSON text as it is.
    Raw(String),
    /// A sequence.
    List(Vec<Data>),
    /// A mapping.
    Map(Vec<(String, Data)>),
}

impl From<&str> for Data {
    fn from(text: &str) -> Data {
        Data::Str(text.to_owned())
    }
}

impl From<&Node> for Data {
    fn from(node: &Node) -> Data {
        match &node.value {
            Value::Null => Data::Null,
            Value::Bool(b) => Data::Bool(*b),
            Value::Int(i) => Data::Int(*i),
            Value::Uint(u) => Data::Uint(*u),
            Value::Float(f) => Data::Float(*f),
            Value::Float32(f) => Data::Float32(*f),
            Value::Str(s) => Data::Str(s.clone()),
            Value::List(list) => Data::List(list.iter().map(Data::from).collect()),
            Value::Map(map) => Data::Map(map.iter().map(|(k, v)| (k.clone(), v.into())).collect()),
        }
    }
}
