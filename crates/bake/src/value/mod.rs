//! Values of HCL, and their types.
//!
//! Lists and objects are shared, so a value that is in many places is kept once; each knows how much text would come of
//! all of it, which is what limits hold on to.

mod convert;
pub mod json;
mod kind;
mod number;

use std::collections::BTreeMap;
use std::rc::Rc;

pub use kind::Type;
pub use number::Number;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(Rc<str>),
    List(Sequence, Rc<Items>),
    Object(Mapping, Rc<Members>),
}

/// What kind of list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// Its items are of one type.
    List,
    /// In an order of its own, each once.
    Set,
    /// Each item has its own type: what `[…]` makes.
    Tuple,
}

/// What kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Its members are of one type.
    Map,
    /// Each member has its own type: what `{…}` makes.
    Object,
}

/// What is in a list.
#[derive(Debug)]
pub struct Items {
    pub all: Vec<Value>,
    weight: u64,
}

/// What is in an object, by name.
#[derive(Debug)]
pub struct Members {
    pub all: BTreeMap<String, Value>,
    weight: u64,
}

impl PartialEq for Items {
    fn eq(&self, other: &Items) -> bool {
        self.all == other.all
    }
}

impl PartialEq for Members {
    fn eq(&self, other: &Members) -> bool {
        self.all == other.all
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Value {
        Value::Number(number)
    }
}

impl Value {
    /// A list of values.
    pub fn list(kind: Sequence, all: Vec<Value>) -> Value {
        let weight = all.iter().fold(1u64, |sum, item| sum.saturating_add(item.weight()));
        Value::List(kind, Rc::new(Items { all, weight }))
    }

    /// What `[…]` makes.
    pub fn tuple(all: Vec<Value>) -> Value {
        Value::list(Sequence::Tuple, all)
    }

    /// A list of texts.
    pub fn texts(all: impl IntoIterator<Item = String>) -> Value {
        Value::list(Sequence::List, all.into_iter().map(Value::from).collect())
    }

    /// An object, or a map.
    pub fn object(kind: Mapping, all: BTreeMap<String, Value>) -> Value {
        let member = |(name, value): (&String, &Value)| value.weight().saturating_add(name.len() as u64);
        let weight = all.iter().map(member).fold(1u64, u64::saturating_add);
        Value::Object(kind, Rc::new(Members { all, weight }))
    }

    /// An object with one more member, or another one of its name; what is no object becomes one.
    pub fn with_member(self, name: String, value: Value) -> Value {
        let (mut all, weight) = match self {
            Value::Object(_, members) => match Rc::try_unwrap(members) {
                Ok(own) => (own.all, own.weight),
                Err(shared) => (shared.all.clone(), shared.weight),
            },
            _ => (BTreeMap::new(), 1),
        };
        let added = value.weight().saturating_add(name.len() as u64);
        let name_weight = name.len() as u64;
        let before = all.insert(name, value).map_or(0, |old| old.weight() + name_weight);
        let weight = weight.saturating_sub(before).saturating_add(added);
        Value::Object(Mapping::Object, Rc::new(Members { all, weight }))
    }

    /// How much it is, written out.
    pub fn weight(&self) -> u64 {
        match self {
            Value::Null | Value::Bool(_) | Value::Number(_) => 1,
            Value::Text(text) => text.len() as u64 + 1,
            Value::List(_, items) => items.weight,
            Value::Object(_, members) => members.weight,
        }
    }

    /// Whether there is none.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// What is in a list or an object, in its order.
    pub fn items(&self) -> Option<Vec<Value>> {
        match self {
            Value::List(_, items) => Some(items.all.clone()),
            Value::Object(_, members) => Some(members.all.values().cloned().collect()),
            _ => None,
        }
    }
}
