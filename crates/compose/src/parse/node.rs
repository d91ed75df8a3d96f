//! The tree of a Compose file: values as YAML has them, each with the place it was written at.
//!
//! Merging, interpolation and normal forms work on this tree, so that an error found late still names line and column.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A place in a source: which source, and where; lines and columns count from 1. Line 0 is nowhere: what was made,
/// not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos {
    /// Index of the source in [`crate::load::Sources`].
    pub source: u32,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// A mapping. Its order is that of the names: Compose has no other.
pub type Map = BTreeMap<String, Node>;

/// A value and its place.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it begins.
    pub at: Pos,
    /// Where its name begins, in a mapping.
    pub key: Pos,
}

/// What a value is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `null`, `~`, or nothing.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number beyond the signed ones.
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// A number of single precision, which prints as such.
    Float32(f32),
    /// Text.
    Str(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(Map),
}

impl PartialEq for Node {
    /// Places do not matter.
    fn eq(&self, other: &Node) -> bool {
        self.value == other.value
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Node {
        Node { value, ..Node::default() }
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Node {
        Value::Str(text.to_owned()).into()
    }
}

impl From<String> for Node {
    fn from(text: String) -> Node {
        Value::Str(text).into()
    }
}

impl From<bool> for Node {
    fn from(value: bool) -> Node {
        Value::Bool(value).into()
    }
}

impl From<Map> for Node {
    fn from(map: Map) -> Node {
        Value::Map(map).into()
    }
}

/// A longer text counts as several values.
pub(super) const TEXT: usize = 64;

impl Node {
    /// This value at the place of another.
    #[must_use]
    pub fn at(mut self, like: &Node) -> Node {
        (self.at, self.key) = (like.at, like.key);
        self
    }

    /// As a mapping.
    pub fn map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// As a mapping.
    pub fn map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// As a sequence.
    pub fn list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// As text.
    pub fn str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a name of a mapping.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.map()?.get(name)
    }

    /// How many values it has; long texts count for more.
    pub fn weight(&self) -> usize {
        1 + match &self.value {
            Value::Str(text) => text.len() / TEXT,
            Value::List(list) => list.iter().map(Node::weight).sum(),
            Value::Map(map) => map.values().map(Node::weight).sum(),
            _ => 0,
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// A scalar as text, in the form that Go's `fmt.Sprint` gives it; `None` for sequences and mappings.
    pub fn text(&self) -> Option<String> {
        Some(match &self.value {
            Value::Null => "<nil>".to_owned(),
            Value::Bool(b) => b.to_string(),
            Value::Int(i) => i.to_string(),
            Value::Uint(u) => u.to_string(),
            Value::Float(f) => crate::render::number::go_float(*f),
            Value::Float32(f) => crate::render::number::go_float32(*f),
            Value::Str(s) => s.clone(),
            Value::List(_) | Value::Map(_) => return None,
        })
    }
}

/// Where in the tree a value is: names from the top. Patterns have `*` for any name, and `[]` stands for an entry of
/// a sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(Vec<String>);

impl Path {
    /// The path of a dotted text.
    pub fn of(text: &str) -> Path {
        Path(text.split('.').map(str::to_owned).collect())
    }

    /// One step down.
    #[must_use]
    pub fn next(&self, name: &str) -> Path {
        let mut parts = Vec::with_capacity(self.0.len() + 1);
        parts.extend_from_slice(&self.0);
        parts.push(name.to_owned());
        Path(parts)
    }

    /// One step down, into a sequence.
    #[must_use]
    pub fn entry(&self) -> Path {
        self.next("[]")
    }

    /// Its names.
    pub fn parts(&self) -> &[String] {
        &self.0
    }

    /// Whether it fits a dotted pattern.
    pub fn matches(&self, pattern: &str) -> bool {
        // Most patterns end otherwise, and a look at their end is enough.
        let last = pattern.rsplit('.').next();
        if last != Some("*") && last != self.0.last().map(String::as_str) {
            return false;
        }
        let mut wanted = pattern.split('.');
        for part in &self.0 {
            match wanted.next() {
                Some("*") => {}
                Some(name) if name == part => {}
                _ => return false,
            }
        }
        wanted.next().is_none()
    }

    /// The first of some patterns that it fits.
    pub fn find<'a, T>(&self, table: &'a [(&str, T)]) -> Option<&'a T> {
        table.iter().find(|(pattern, _)| self.matches(pattern)).map(|(_, value)| value)
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, part) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_char('.')?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_any() {
        let path = Path::of("services.web.ports").entry();
        assert!(path.matches("services.*.ports.[]"));
        assert!(path.matches("services.*.ports.*"));
        assert!(!path.matches("services.*.ports"));
        assert!(!path.matches("services.*.ports.*.*"));
        assert_eq!(path.to_string(), "services.web.ports.[]");
        assert!(Path::of("volumes.a").next("b.c").matches("volumes.*.*"));
    }
}
