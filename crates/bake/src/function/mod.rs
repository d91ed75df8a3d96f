//! The functions that every bake file has: what they take and what does them.
//!
//! ```text
//! number.rs   add, max, parseint …      text.rs        join, replace, upper …     pattern.rs   regex …
//! list.rs     concat, slice, range …    mapping.rs     merge, lookup, keys …      set.rs       setunion …
//! format.rs   format, formatlist        encode.rs      sha256, jsonencode …       network.rs   cidrsubnet …
//! time.rs     timestamp, formatdate
//! ```
//! `try`, `can` and `convert` look at expressions and not at values: they are the evaluator's.

mod encode;
mod format;
mod list;
mod mapping;
mod network;
mod number;
mod pattern;
mod set;
mod text;
mod time;

use crate::error::{Failure, Result};
use crate::eval::{Machine, failed};
use crate::source::Place;
use crate::syntax::expr::{Call, Expr};
use crate::value::{Type, Value};

/// What a function does; why it cannot.
type Run = fn(&Machine, &[Value]) -> Result<Value>;

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Whatever it is, but not null.
    Any,
    /// Null too.
    Nullable,
    Text,
    Number,
    Bool,
    /// A list of texts.
    Texts,
    /// A list of one type.
    List,
}

/// A function.
pub struct Function {
    name: &'static str,
    parameters: &'static [(&'static str, Takes)],
    /// What all further arguments are.
    rest: Option<(&'static str, Takes)>,
    run: Run,
}

const fn fixed(name: &'static str, parameters: &'static [(&'static str, Takes)], run: Run) -> Function {
    Function { name, parameters, rest: None, run }
}

const fn open(
    name: &'static str,
    parameters: &'static [(&'static str, Takes)],
    rest: (&'static str, Takes),
    run: Run,
) -> Function {
    Function { name, parameters, rest: Some(rest), run }
}

static ALL: &[&[Function]] = &[
    encode::ALL,
    format::ALL,
    list::ALL,
    mapping::ALL,
    network::ALL,
    number::ALL,
    pattern::ALL,
    set::ALL,
    text::ALL,
    time::ALL,
];

/// The function of a name.
pub fn find(name: &str) -> Option<&'static Function> {
    ALL.iter().flat_map(|some| some.iter()).find(|function| function.name == name)
}

/// All names.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().flat_map(|some| some.iter()).map(|function| function.name).chain(["try", "can", "convert"])
}

/// Whether a name is a function's.
pub fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
}

/// Refuses too few or too many arguments.
pub(crate) fn check_count<S: AsRef<str>>(
    call: &Call,
    parameters: &[S],
    open: bool,
    count: usize,
    place: Place,
) -> Result<()> {
    let name = &call.name;
    if count < parameters.len() {
        let missing = parameters[count].as_ref();
        let or_more = if open { "at least " } else { "" };
        let detail = format!(
            "Function {name:?} expects {or_more}{} argument(s). Missing value for {missing:?}.",
            parameters.len()
        );
        let end = Place { start: place.end.saturating_sub(1), ..place };
        return Err(Failure::at(end, "Not enough function arguments", detail));
    }
    if count > parameters.len() && !open {
        let first = call.arguments.get(parameters.len()).map_or(place, Expr::start);
        let detail = format!("Function {name:?} expects only {} argument(s).", parameters.len());
        return Err(Failure::at(first, "Too many function arguments", detail));
    }
    Ok(())
}

impl Function {
    /// Calls it.
    pub(crate) fn call(
        &self,
        machine: &Machine,
        arguments: &[Value],
        call: &Call,
        place: Place,
    ) -> Result<Value> {
        let names: Vec<&str> = self.parameters.iter().map(|(name, _)| *name).collect();
        check_count(call, &names, self.rest.is_some(), arguments.len(), place)?;
        let mut taken = Vec::with_capacity(arguments.len());
        for (number, argument) in arguments.iter().enumerate() {
            let parameter = self.parameters.get(number).copied().or(self.rest);
            let (name, takes) = parameter.unwrap_or(("", Takes::Any));
            let at = call.arguments.get(number).or(call.arguments.last()).map_or(place, Expr::start);
            let wrong = |why: String| {
                let detail = format!("Invalid value for {name:?} parameter: {why}.");
                Failure::at(at, "Invalid function argument", detail)
            };
            taken.push(take(argument, takes).map_err(wrong)?);
        }
        (self.run)(machine, &taken).map_err(|failure| match failure {
            Failure::Plain(why) | Failure::Undefined(why) => failed(self.name, &why, call.start()),
            other => other,
        })
    }
}

fn take(argument: &Value, takes: Takes) -> Result<Value, String> {
    if argument.is_null() && takes != Takes::Nullable {
        return Err("argument must not be null".to_owned());
    }
    match takes {
        Takes::Any | Takes::Nullable => Ok(argument.clone()),
        Takes::Text => argument.convert(&Type::Text),
        Takes::Number => argument.convert(&Type::Number),
        Takes::Bool => argument.convert(&Type::Bool),
        Takes::Texts => argument.convert(&Type::List(Box::new(Type::Text))),
        Takes::List => argument.convert(&Type::List(Box::new(Type::Any))),
    }
}

/// The text of an argument that was taken as one.
fn str(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        _ => "",
    }
}

/// The number of an argument that was taken as one.
fn num(value: &Value) -> crate::value::Number {
    match value {
        Value::Number(number) => *number,
        _ => 0usize.into(),
    }
}

/// A whole number from an argument.
fn whole(value: &Value) -> Result<i128> {
    num(value).whole().ok_or_else(|| "a whole number is required".into())
}

/// The items of a list, a set or a tuple.
fn items(value: &Value) -> &[Value] {
    match value {
        Value::List(_, items) => &items.all,
        _ => &[],
    }
}

/// The texts of a list of them.
fn strs(value: &Value) -> Vec<&str> {
    items(value).iter().map(str).collect()
}

#[cfg(test)]
mod tests;
