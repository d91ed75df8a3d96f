//! One type into another: by itself where nothing is lost, and numbers and truths from texts.

use std::collections::BTreeMap;

use super::{Mapping, Number, Sequence, Type, Value};

impl Value {
    /// The value as another type; nulls stay nulls.
    ///
    /// # Errors
    /// It cannot be that; the words are HCL's.
    pub fn convert(&self, to: &Type) -> Result<Value, String> {
        match (self, to) {
            (Value::Null, _) | (_, Type::Any) => Ok(self.clone()),
            (Value::Bool(_), Type::Bool)
            | (Value::Number(_), Type::Number)
            | (Value::Text(_), Type::Text) => Ok(self.clone()),
            (Value::Bool(value), Type::Text) => Ok(Value::from(value.to_string())),
            (Value::Number(number), Type::Text) => Ok(Value::from(number.to_string())),
            (Value::Text(text), Type::Number) => {
                let number = Number::parse(text).filter(|_| !text.contains(char::is_whitespace));
                number.map(Value::from).ok_or_else(|| "a number is required".to_owned())
            }
            (Value::Text(text), Type::Bool) => boolean(text).map(Value::from),
            (Value::List(..), Type::List(item)) => self.sequence(Sequence::List, item, to),
            (Value::List(..), Type::Set(item)) => self.sequence(Sequence::Set, item, to),
            (Value::List(Sequence::Tuple, items), Type::Tuple(kinds)) if items.all.len() == kinds.len() => {
                let one = |(item, kind): (&Value, &Type)| item.convert(kind);
                Ok(Value::tuple(items.all.iter().zip(kinds).map(one).collect::<Result<_, _>>()?))
            }
            (Value::Object(_, members), Type::Map(item)) => {
                let common = match &**item {
                    Type::Any => {
                        common(members.all.values()).ok_or("all map elements must have the same type")?
                    }
                    given => given.clone(),
                };
                let one = |(name, value): (&String, &Value)| {
                    let converted = value.convert(&common);
                    converted
                        .map(|value| (name.clone(), value))
                        .map_err(|why| format!("element {name:?}: {why}"))
                };
                Ok(Value::object(Mapping::Map, members.all.iter().map(one).collect::<Result<_, _>>()?))
            }
            (Value::Object(_, members), Type::Object(wanted)) => self.members(&members.all, wanted),
            _ => Err(self.mismatch(to)),
        }
    }

    fn sequence(&self, kind: Sequence, item: &Type, to: &Type) -> Result<Value, String> {
        let Value::List(from, items) = self else { return Err(self.mismatch(to)) };
        let common = match item {
            Type::Any => common(items.all.iter()).ok_or(format!(
                "all {} elements must have the same type",
                to.name().split(' ').next().unwrap_or("list")
            ))?,
            given => given.clone(),
        };
        let mut all = Vec::with_capacity(items.all.len());
        for (number, value) in items.all.iter().enumerate() {
            let converted = value.convert(&common);
            all.push(converted.map_err(|why| match from {
                Sequence::Set => why,
                _ => format!("element {number}: {why}"),
            })?);
        }
        Ok(if kind == Sequence::Set { Value::set(all) } else { Value::list(kind, all) })
    }

    fn members(
        &self,
        members: &BTreeMap<String, Value>,
        wanted: &BTreeMap<String, (Type, bool)>,
    ) -> Result<Value, String> {
        let missing: Vec<&String> = wanted
            .iter()
            .filter(|(name, (_, optional))| !optional && !members.contains_key(*name))
            .map(|(n, _)| n)
            .collect();
        let quoted: Vec<String> = missing.iter().map(|name| format!("{name:?}")).collect();
        match quoted.as_slice() {
            [] => {}
            [one] => return Err(format!("attribute {one} is required")),
            [one, other] => return Err(format!("attributes {one} and {other} are required")),
            [first @ .., last] => {
                return Err(format!("attributes {}, and {last} are required", first.join(", ")));
            }
        }
        let one = |(name, (kind, _)): (&String, &(Type, bool))| {
            let value = members.get(name).unwrap_or(&Value::Null).convert(kind);
            value.map(|value| (name.clone(), value)).map_err(|why| format!("attribute {name:?}: {why}"))
        };
        Ok(Value::object(Mapping::Object, wanted.iter().map(one).collect::<Result<_, _>>()?))
    }

    /// A set: sorted, each once.
    pub fn set(all: Vec<Value>) -> Value {
        let mut keyed: BTreeMap<(u8, String), Value> = BTreeMap::new();
        for value in all {
            let key = match &value {
                Value::Text(text) => (0, text.to_string()),
                // Numbers by their size, then all by what they look like.
                Value::Number(number) => (1, format!("{:040.12}", number.float())),
                other => (2, super::json::compact(other)),
            };
            keyed.entry(key).or_insert(value);
        }
        Value::list(Sequence::Set, keyed.into_values().collect())
    }

    fn mismatch(&self, to: &Type) -> String {
        let from = Type::of(self);
        match (&from, to) {
            (Type::Object(_), Type::Object(_)) | (Type::Tuple(_), Type::Tuple(_)) => {
                format!("{} required", to.wanted())
            }
            _ => format!("{} required, but have {}", to.name(), from.name()),
        }
    }

    /// The text of what has one.
    ///
    /// # Errors
    /// It has none.
    pub fn text(&self) -> Result<String, String> {
        match self.convert(&Type::Text)? {
            Value::Text(text) => Ok(text.to_string()),
            _ => Err("string required".to_owned()),
        }
    }
}

/// The type that all can be converted to.
fn common<'a>(values: impl Iterator<Item = &'a Value>) -> Option<Type> {
    let mut values = values.map(Type::of);
    values.try_fold(Type::Any, |sum, one| sum.common(&one))
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        "True" | "TRUE" => {
            Err("a bool is required; to convert from string, use lowercase \"true\"".to_owned())
        }
        "False" | "FALSE" => {
            Err("a bool is required; to convert from string, use lowercase \"false\"".to_owned())
        }
        _ => Err("a bool is required".to_owned()),
    }
}
