//! Variables: defaults, types, what the environment says instead, and whether a value may be.

use std::collections::BTreeMap;

use super::{Resolver, kind};
use crate::csv;
use crate::error::{Failure, Result, Wrong};
use crate::eval::Scope;
use crate::syntax::Block;
use crate::value::{Mapping, Number, Type, Value, json};

/// Where a variable's JSON is, if it is not the variable itself.
const JSON_SUFFIX: &str = "_JSON";

/// A variable, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its type, if it has one.
    pub kind: String,
    /// Its value; none is null.
    pub value: Option<String>,
}

impl Resolver<'_> {
    /// Finds out the value of a name.
    pub(super) fn resolve_value(&mut self, name: &str, scope: &BTreeMap<String, Value>) -> Result<()> {
        if self.machine.globals.borrow().contains_key(name) || scope.contains_key(name) {
            return Ok(());
        }
        if !self.values_under_way.insert(name.to_owned()) {
            return Err(format!("variable cycle not allowed for {name}").into());
        }
        let value = self.enter(|resolver| resolver.value_of(name, scope));
        if matches!(value, Err(Failure::Undefined(_))) {
            self.values_under_way.remove(name);
        }
        let value = value?;
        self.machine.globals.borrow_mut().insert(name.to_owned(), value);
        Ok(())
    }

    fn value_of(&mut self, name: &str, scope: &BTreeMap<String, Value>) -> Result<Value> {
        if let Some(value) = self.options.builtin.get(name) {
            return Ok(Value::from(value.as_str()));
        }
        let block = self.variables.get(name).copied();
        let (default, kind) = match (self.attributes.get(name).copied(), block) {
            (Some(attribute), _) => (Some(&attribute.value), None),
            (None, Some(block)) => {
                let kind = block.body.attribute("type").map(|kind| kind::read(&kind.value)).transpose()?;
                (block.body.attribute("default").map(|default| &default.value), kind)
            }
            (None, None) => return Err(Failure::Undefined(format!("variable {name:?} does not exist"))),
        };
        if let Some(kind) = &kind {
            self.kinds.insert(name.to_owned(), kind.clone());
        }
        let mut value = match default {
            None => Value::Null,
            Some(default) => {
                self.load(default, scope, true)?;
                let value = self.machine.eval(default, &Scope::of(scope))?;
                let wanted = kind.clone().unwrap_or(Type::Any);
                value.convert(&wanted).map_err(|why| {
                    let wanted = wanted.name();
                    Failure::Plain(format!("invalid type {wanted} for variable {name} default value: {why}"))
                })?
            }
        };
        let given = self.given(name, kind.is_some());
        if default.is_none() && given.is_none() && kind.is_none() {
            return Ok(Value::from(""));
        }
        if let (Some((text, is_json)), Some(_)) = (given, block) {
            value = instead(name, &text, is_json, kind.as_ref(), default.is_some().then_some(&value))?;
        }
        Ok(value)
    }

    /// What the environment says, and whether that is JSON.
    fn given(&self, name: &str, prefers_json: bool) -> Option<(String, bool)> {
        let plain = (self.options.environment)(name);
        if plain.is_none() || prefers_json {
            let json = format!("{name}{JSON_SUFFIX}");
            let is_own = self.variables.contains_key(&json) || self.options.builtin.contains_key(&json);
            if !is_own && let Some(text) = (self.options.environment)(&json) {
                return Some((text, true));
            }
        }
        plain.map(|text| (text, false))
    }

    /// Holds the values against the conditions of their variables.
    pub(super) fn validate(&mut self) -> Result<()> {
        let mut wrongs: Vec<Wrong> = Vec::new();
        let blocks: Vec<&Block> = self.variables.values().copied().collect();
        for rule in
            blocks.iter().flat_map(|block| block.body.blocks.iter().filter(|b| b.kind == "validation"))
        {
            match self.holds(rule) {
                Ok(()) => {}
                Err(Failure::Wrong(more)) => wrongs.extend(more),
                Err(other) => {
                    let Failure::Wrong(more) = other.within("Invalid validation", rule.place) else {
                        continue;
                    };
                    wrongs.extend(more);
                }
            }
        }
        if wrongs.is_empty() { Ok(()) } else { Err(Failure::Wrong(wrongs)) }
    }

    fn holds(&mut self, rule: &Block) -> Result<()> {
        let required = |name: &str| {
            rule.body.attribute(name).ok_or_else(|| super::block::missing_argument(name, rule.body.place))
        };
        let (condition, message) = (required("condition")?, required("error_message")?);
        let none = BTreeMap::new();
        self.load(&condition.value, &none, true)?;
        let place = condition.value.place;
        let wrong = |detail: String| Failure::at(place, "Invalid condition result", detail);
        let result = match self.machine.eval(&condition.value, &Scope::default())? {
            Value::Null => {
                return Err(wrong(
                    "Condition expression must return either true or false, not null.".to_owned(),
                ));
            }
            other => other.convert(&Type::Bool),
        };
        if result.map_err(|why| wrong(format!("Invalid condition result value: {why}")))? == Value::Bool(true)
        {
            return Ok(());
        }
        self.load(&message.value, &none, true)?;
        let text = self.machine.eval(&message.value, &Scope::default())?;
        let text =
            text.text().unwrap_or_else(|_| "This check failed, but has an invalid error message.".to_owned());
        Err(Failure::at(place, "Validation failed", text))
    }

    /// A variable as `--list` shows it.
    pub(super) fn shown(&self, name: &str, block: &Block) -> Variable {
        let kind = self.kinds.get(name);
        let value = self.machine.globals.borrow().get(name).cloned().unwrap_or(Value::Null);
        let text = match &value {
            Value::Null => None,
            Value::Text(text) if kind.is_none_or(|kind| *kind == Type::Text) => Some(text.to_string()),
            Value::Bool(_) | Value::Number(_) if kind.is_none() => value.text().ok(),
            other => Some(json::compact(other)),
        };
        let description = match block.body.attribute("description").map(|attribute| &attribute.value.kind) {
            Some(crate::syntax::expr::Kind::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let kind = kind.map(Type::wanted).unwrap_or_default();
        Variable { name: name.to_owned(), description, kind, value: text }
    }
}

/// What the environment says, by the variable's type or by that of its default.
fn instead(
    name: &str,
    text: &str,
    is_json: bool,
    kind: Option<&Type>,
    default: Option<&Value>,
) -> Result<Value> {
    let unsupported =
        |kind: &Type| Failure::Plain(format!("unsupported type {} for variable {name}", kind.name()));
    match (kind, default) {
        (Some(kind), _) if is_json => {
            let read = json::read_as(text, kind);
            read.map_err(|why| Failure::Plain(format!("failed to convert variable {name} from JSON: {why}")))
        }
        (Some(kind @ (Type::List(_) | Type::Set(_) | Type::Tuple(_) | Type::Map(_))), _) => {
            let read = from_csv(name, text, kind);
            read.map_err(|why| Failure::Plain(format!("failed to convert variable {name} from CSV: {why}")))
        }
        (Some(kind), _) if kind.is_primitive() => Ok(primitive(name, text, kind)?),
        (Some(kind), _) => Err(unsupported(kind)),
        (None, None | Some(Value::Null)) => Ok(Value::from(text)),
        (None, Some(default)) => match Type::of(default) {
            kind if kind.is_primitive() => Ok(primitive(name, text, &kind)?),
            kind => Err(unsupported(&kind)),
        },
    }
}

fn primitive(name: &str, text: &str, kind: &Type) -> Result<Value, String> {
    match kind {
        Type::Text => Ok(Value::from(text)),
        Type::Bool => crate::target::change::boolean(text).map(Value::Bool).ok_or_else(|| {
            format!("failed to parse {name} as bool: strconv.ParseBool: parsing {text:?}: invalid syntax")
        }),
        Type::Number => Number::parse(text).map(Value::Number).ok_or_else(|| {
            format!("failed to parse {name} as number: strconv.ParseFloat: parsing {text:?}: invalid syntax")
        }),
        other => Err(format!("{name} of type {} is not a primitive", other.name())),
    }
}

fn from_csv(name: &str, text: &str, kind: &Type) -> Result<Value, String> {
    let fields = csv::fields(text).map_err(|why| format!("failed to parse {text} as CSV: {why}"))?;
    let one = |field: &String, item: &Type| {
        if !item.is_primitive() {
            return Err(format!("unsupported type {} for CSV specification", kind.name()));
        }
        let value = primitive(name, field, item);
        value.map_err(|why| format!("failed to parse element of type {}: {why}", kind.name()))
    };
    match kind {
        Type::List(item) | Type::Set(item) => {
            let all = fields.iter().map(|field| one(field, item)).collect::<Result<Vec<_>, _>>()?;
            Value::tuple(all).convert(kind)
        }
        Type::Tuple(items) if items.len() != fields.len() => {
            Err(format!("tuple expects {} elements but only {} provided", items.len(), fields.len()))
        }
        Type::Tuple(items) => {
            let all = fields.iter().zip(items).map(|(field, item)| one(field, item));
            Ok(Value::tuple(all.collect::<Result<_, _>>()?))
        }
        Type::Map(item) => {
            let mut all = BTreeMap::new();
            for field in &fields {
                let parts = csv::separated(field, ':')
                    .map_err(|why| format!("failed to parse {field} as k/v for variable {name}: {why}"))?;
                let [key, value] = parts.as_slice() else {
                    return Err(format!("expected one k/v pair but got {} pieces from {field}", parts.len()));
                };
                all.insert(key.clone(), one(value, item)?);
            }
            Ok(Value::object(Mapping::Map, all))
        }
        other => Err(format!("unsupported type {} for CSV specification", other.name())),
    }
}
