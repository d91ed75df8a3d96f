//! Members and items: `a.b`, `a["b"]`, `a[0]`, `a[*].b`.

use super::{Machine, Scope};
use crate::error::{Failure, Result};
use crate::source::Place;
use crate::syntax::expr::Step;
use crate::value::{Mapping, Sequence, Type, Value};

/// `value.name`
pub(super) fn attribute(value: &Value, name: &str, place: Place) -> Result<Value> {
    let wrong = |summary: &str, detail: String| Err(Failure::at(place, summary, detail));
    match value {
        Value::Object(kind, members) => match (members.all.get(name), kind) {
            (Some(member), _) => Ok(member.clone()),
            (None, Mapping::Object) => wrong(
                "Unsupported attribute",
                format!("This object does not have an attribute named {name:?}."),
            ),
            (None, Mapping::Map) => wrong(
                "Missing map element",
                format!("This map does not have an element with the key {name:?}."),
            ),
        },
        Value::Null => wrong(
            "Attempt to get attribute from null value",
            "This value is null, so it does not have any attributes.".to_owned(),
        ),
        Value::List(..) => {
            wrong("Unsupported attribute", "This value does not have any attributes.".to_owned())
        }
        other => {
            let kind = Type::of(other).name();
            wrong(
                "Unsupported attribute",
                format!("Can't access attributes on a primitive-typed value ({kind})."),
            )
        }
    }
}

/// `value[key]`
pub(super) fn index(value: &Value, key: &Value, place: Place) -> Result<Value> {
    let wrong = |detail: String| Failure::at(place, "Invalid index", detail);
    let no = |why: String| {
        wrong(format!("The given key does not identify an element in this collection value{why}"))
    };
    if value.is_null() {
        let detail = "This value is null, so it does not have any indices.";
        return Err(Failure::at(place, "Attempt to index null value", detail));
    }
    if key.is_null() {
        return Err(wrong("Can't use a null value as an indexing key.".to_owned()));
    }
    match value {
        Value::List(Sequence::Set, _) => Err(wrong(
            "Elements of a set are identified only by their value and don't have any separate index or key to select with, so it's only possible to perform operations across all elements of the set.".to_owned(),
        )),
        Value::List(_, items) => {
            let key = key.convert(&Type::Number).map_err(|why| no(format!(": {why}.")))?;
            let Value::Number(number) = key else { return Err(no(".".to_owned())) };
            let Some(whole) = number.whole() else {
                return Err(no(": indexing a sequence requires a whole number, but the given index has a fractional part.".to_owned()));
            };
            let found = usize::try_from(whole).ok().and_then(|at| items.all.get(at));
            found.cloned().ok_or_else(|| {
                no(match whole {
                    ..0 => ": a negative number is not a valid index for a sequence.",
                    _ if whole > items.all.len() as i128 => ".",
                    _ if items.all.is_empty() => ": the collection has no elements.",
                    _ => ": the given index is greater than or equal to the length of the collection.",
                }
                .to_owned())
            })
        }
        Value::Object(_, members) => {
            let name = key.text().map_err(|why| no(format!(": {why}.")))?;
            let hint = match key {
                Value::Number(_) => ". An object only supports looking up attributes by name, not by numeric index.",
                _ => ".",
            };
            members.all.get(&name).cloned().ok_or_else(|| no(hint.to_owned()))
        }
        _ => Err(wrong("This value does not have any indices.".to_owned())),
    }
}

/// `value[*].steps`: what is no list is one of one item, and null is one of none.
pub(super) fn splat(
    machine: &Machine,
    value: &Value,
    steps: &[Step],
    scope: &Scope,
    place: Place,
) -> Result<Value> {
    let (items, kind) = match value {
        Value::Null => (Vec::new(), Sequence::Tuple),
        Value::List(Sequence::Tuple, items) => (items.all.clone(), Sequence::Tuple),
        Value::List(_, items) => (items.all.clone(), Sequence::List),
        other => (vec![other.clone()], Sequence::Tuple),
    };
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        machine.charge(1).map_err(|failure| failure.within("Limit exceeded", place))?;
        let follow = |value: Value, step: &Step| match step {
            Step::Attribute(name, place) => attribute(&value, name, *place),
            Step::Index(key, place) => index(&value, &machine.eval(key, scope)?, *place),
        };
        all.push(steps.iter().try_fold(item, follow)?);
    }
    Ok(Value::list(kind, all))
}
