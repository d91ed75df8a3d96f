//! Types in files: `string`, `list(number)`, `object({name = string})`.

use std::collections::BTreeMap;

use crate::error::{Failure, Result};
use crate::source::Place;
use crate::syntax::expr::{Call, Expr, Kind};
use crate::syntax::native;
use crate::value::Type;

const SUMMARY: &str = "Invalid type specification";

fn wrong<T>(place: Place, detail: impl Into<String>) -> Result<T> {
    Err(Failure::at(place, SUMMARY, detail))
}

/// Reads a type; in JSON it is an expression in quotes.
pub(crate) fn read(expr: &Expr) -> Result<Type> {
    match &expr.kind {
        Kind::Inner(inner) => read(inner),
        Kind::Text(text) => match native::expression(text, expr.place.file, expr.place.start + 1)? {
            Expr { kind: Kind::Text(_), .. } => no_type(expr.place),
            inner => read(&inner),
        },
        Kind::Variable(name) => match name.as_str() {
            "bool" => Ok(Type::Bool),
            "string" => Ok(Type::Text),
            "number" => Ok(Type::Number),
            "any" => Ok(Type::Any),
            "list" | "set" | "map" => wrong(
                expr.place,
                format!("The {name} type constructor requires one argument specifying the element type."),
            ),
            "object" => wrong(
                expr.place,
                "The object type constructor requires one argument specifying the attribute types and values as a map.",
            ),
            "tuple" => wrong(
                expr.place,
                "The tuple type constructor requires one argument specifying the element types as a list.",
            ),
            _ => wrong(expr.place, format!("The keyword {name:?} is not a valid type specification.")),
        },
        Kind::Call(call) => constructor(call, expr.place),
        _ => no_type(expr.place),
    }
}

fn no_type(place: Place) -> Result<Type> {
    wrong(
        place,
        "A type specification is either a primitive type keyword (bool, number, string) or a complex type constructor call, like list(string).",
    )
}

fn constructor(call: &Call, place: Place) -> Result<Type> {
    let name = call.name.as_str();
    let argument = match (name, call.arguments.as_slice()) {
        ("bool" | "string" | "number", _) => {
            return wrong(place, format!("Primitive type keyword {name:?} does not expect arguments."));
        }
        ("any", _) => return wrong(place, "Type constraint keyword \"any\" does not expect arguments."),
        ("list" | "set" | "map" | "object" | "tuple", [one]) => one,
        ("list" | "set" | "map", _) => {
            return wrong(
                place,
                format!("The {name} type constructor requires one argument specifying the element type."),
            );
        }
        ("object" | "tuple", _) => {
            return wrong(place, format!("The {name} type constructor requires one argument."));
        }
        _ => return wrong(place, format!("Keyword {name:?} is not a valid type constructor.")),
    };
    match (name, &argument.kind) {
        ("list", _) => Ok(Type::List(Box::new(read(argument)?))),
        ("set", _) => Ok(Type::Set(Box::new(read(argument)?))),
        ("map", _) => Ok(Type::Map(Box::new(read(argument)?))),
        ("tuple", Kind::List(items)) => Ok(Type::Tuple(items.iter().map(read).collect::<Result<_>>()?)),
        ("tuple", _) => wrong(argument.place, "Tuple type constructor requires a list of element types."),
        (_, Kind::Object(members)) => object(members),
        _ => wrong(
            argument.place,
            "Object type constructor requires a map whose keys are attribute names and whose values are the corresponding attribute types.",
        ),
    }
}

fn object(members: &[(Expr, Expr)]) -> Result<Type> {
    let mut all = BTreeMap::new();
    for (key, value) in members {
        let name = match &key.kind {
            Kind::Text(name) | Kind::Variable(name) => name.clone(),
            _ => return wrong(key.place, "Object constructor map keys must be attribute names."),
        };
        let member = match &value.kind {
            Kind::Call(call) if call.name == "optional" => match call.arguments.as_slice() {
                [kind, ..] if call.arguments.len() <= 2 => (read(kind)?, true),
                _ => {
                    return wrong(
                        value.place,
                        "Optional attribute modifier requires the attribute type as its argument.",
                    );
                }
            },
            _ => (read(value)?, false),
        };
        if all.insert(name, member).is_some() {
            return wrong(key.place, "Object constructor map keys must be unique.");
        }
    }
    Ok(Type::Object(all))
}
