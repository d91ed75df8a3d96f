//! Types of values, and their names for people.

use std::collections::BTreeMap;

use super::{Mapping, Sequence, Value};

/// A type, or what one has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Whatever it is.
    Any,
    Bool,
    Number,
    Text,
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>),
    Tuple(Vec<Type>),
    /// Names, with whether they may be missing.
    Object(BTreeMap<String, (Type, bool)>),
}

impl Type {
    /// The type of a value; of a null it is any.
    pub fn of(value: &Value) -> Type {
        match value {
            Value::Null => Type::Any,
            Value::Bool(_) => Type::Bool,
            Value::Number(_) => Type::Number,
            Value::Text(_) => Type::Text,
            Value::List(Sequence::Tuple, items) => Type::Tuple(items.all.iter().map(Type::of).collect()),
            Value::List(kind, items) => {
                let item =
                    Box::new(items.all.iter().map(Type::of).find(|t| *t != Type::Any).unwrap_or(Type::Any));
                if *kind == Sequence::Set { Type::Set(item) } else { Type::List(item) }
            }
            Value::Object(Mapping::Map, members) => {
                let member = members.all.values().map(Type::of).find(|t| *t != Type::Any);
                Type::Map(Box::new(member.unwrap_or(Type::Any)))
            }
            Value::Object(Mapping::Object, members) => Type::Object(
                members.all.iter().map(|(name, value)| (name.clone(), (Type::of(value), false))).collect(),
            ),
        }
    }

    /// Whether it holds just one thing.
    pub fn is_primitive(&self) -> bool {
        matches!(self, Type::Bool | Type::Number | Type::Text)
    }

    /// Its short name.
    pub fn name(&self) -> String {
        match self {
            Type::Any => "dynamic".to_owned(),
            Type::Bool => "bool".to_owned(),
            Type::Number => "number".to_owned(),
            Type::Text => "string".to_owned(),
            Type::List(item) => format!("list of {}", item.name()),
            Type::Set(item) => format!("set of {}", item.name()),
            Type::Map(item) => format!("map of {}", item.name()),
            Type::Tuple(_) => "tuple".to_owned(),
            Type::Object(_) => "object".to_owned(),
        }
    }

    /// Its name where it is asked for.
    pub fn wanted(&self) -> String {
        match self {
            Type::Any => "any type".to_owned(),
            Type::List(item) | Type::Set(item) | Type::Map(item) if **item == Type::Any => {
                format!("{} of any single type", self.name().split(' ').next().unwrap_or_default())
            }
            Type::List(item) => format!("list of {}", item.wanted()),
            Type::Set(item) => format!("set of {}", item.wanted()),
            Type::Map(item) => format!("map of {}", item.wanted()),
            other => other.name(),
        }
    }

    /// The type that two can be converted to; none if there is none.
    pub fn common(&self, other: &Type) -> Option<Type> {
        let list = |a: &Type, b: &Type| a.common(b).map(Box::new);
        match (self, other) {
            (a, b) if a == b => Some(a.clone()),
            (Type::Any, one) | (one, Type::Any) => Some(one.clone()),
            (a, b) if a.is_primitive() && b.is_primitive() => match (a, b) {
                (Type::Text, _) | (_, Type::Text) => Some(Type::Text),
                _ => None,
            },
            (Type::List(a), Type::List(b)) => Some(Type::List(list(a, b)?)),
            (Type::Set(a), Type::Set(b)) => Some(Type::Set(list(a, b)?)),
            (Type::Map(a), Type::Map(b)) => Some(Type::Map(list(a, b)?)),
            (Type::List(a) | Type::Set(a), Type::Set(b) | Type::List(b)) => Some(Type::List(list(a, b)?)),
            (Type::Tuple(a), Type::Tuple(b)) if a.len() == b.len() => {
                let each: Option<Vec<Type>> = a.iter().zip(b).map(|(a, b)| a.common(b)).collect();
                each.map(Type::Tuple)
            }
            (Type::Tuple(a), Type::Tuple(b)) => {
                let all = a.iter().chain(b).try_fold(Type::Any, |sum, one| sum.common(one))?;
                Some(Type::List(Box::new(all)))
            }
            (Type::Tuple(items), Type::List(item)) | (Type::List(item), Type::Tuple(items)) => {
                let all = items.iter().try_fold((**item).clone(), |sum, one| sum.common(one))?;
                Some(Type::List(Box::new(all)))
            }
            (Type::Tuple(items), Type::Set(item)) | (Type::Set(item), Type::Tuple(items)) => {
                let all = items.iter().try_fold((**item).clone(), |sum, one| sum.common(one))?;
                Some(Type::Set(Box::new(all)))
            }
            (Type::Object(members), Type::Map(item)) | (Type::Map(item), Type::Object(members)) => {
                let all = members.values().try_fold((**item).clone(), |sum, (one, _)| sum.common(one))?;
                Some(Type::Map(Box::new(all)))
            }
            (Type::Object(a), Type::Object(b)) if a.keys().eq(b.keys()) => {
                let each =
                    a.iter().map(|(name, (one, _))| Some((name.clone(), (one.common(&b[name].0)?, false))));
                each.collect::<Option<_>>().map(Type::Object)
            }
            (Type::Object(a), Type::Object(b)) => {
                let all =
                    a.values().chain(b.values()).try_fold(Type::Any, |sum, (one, _)| sum.common(one))?;
                Some(Type::Map(Box::new(all)))
            }
            _ => None,
        }
    }
}
