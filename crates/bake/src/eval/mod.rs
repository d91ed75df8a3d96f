//! What expressions come to.
//!
//! A machine counts its steps and how much it makes: a bake file is anybody's (it may come from a repository), and must
//! not be able to fill the memory or to run for ever. What is beyond the limits is an error of the file.

mod operator;
mod traverse;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::error::{Failure, Result};
use crate::function;
use crate::source::Place;
use crate::syntax::expr::{Call, Expr, For, Kind};
use crate::value::{Mapping, Type, Value};

/// The largest value, written out.
const MAX_VALUE: u64 = 4 << 20;
/// How much may be made and looked at in all.
const MAX_WORK: u64 = 16 << 20;
/// How deep evaluation may go: expressions in functions in functions.
const MAX_DEPTH: usize = 2000;

/// A function of the file.
#[derive(Debug)]
pub struct UserFunction {
    pub parameters: Vec<String>,
    pub rest: Option<String>,
    pub result: Expr,
}

/// Names that are known within something, over those around it.
#[derive(Clone, Copy, Default)]
pub struct Scope<'a> {
    names: Option<&'a BTreeMap<String, Value>>,
    outer: Option<&'a Scope<'a>>,
}

impl<'a> Scope<'a> {
    /// These names over none but the file's.
    pub fn of(names: &'a BTreeMap<String, Value>) -> Scope<'a> {
        Scope { names: Some(names), outer: None }
    }

    fn inner(&'a self, names: &'a BTreeMap<String, Value>) -> Scope<'a> {
        Scope { names: Some(names), outer: Some(self) }
    }

    /// The value of a name that the file has not.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.names.and_then(|names| names.get(name)).or_else(|| self.outer?.get(name))
    }
}

/// What evaluates.
#[derive(Debug, Default)]
pub struct Machine {
    /// Names of the whole file.
    pub globals: RefCell<BTreeMap<String, Value>>,
    /// Functions of the file.
    pub functions: RefCell<BTreeMap<String, Rc<UserFunction>>>,
    work: Cell<u64>,
    depth: Cell<usize>,
}

impl Machine {
    /// Counts work.
    pub fn charge(&self, amount: u64) -> Result<()> {
        self.work.set(self.work.get().saturating_add(amount));
        match self.work.get() > MAX_WORK {
            true => Err("evaluating this file takes too much: it makes or repeats too many values".into()),
            false => Ok(()),
        }
    }

    /// Refuses what is too large.
    pub fn check_size(&self, weight: u64) -> Result<()> {
        match weight > MAX_VALUE {
            true => Err(format!("the value is too large: more than {} MiB", MAX_VALUE >> 20).into()),
            false => self.charge(weight),
        }
    }

    /// What an expression comes to.
    pub fn eval(&self, expr: &Expr, scope: &Scope) -> Result<Value> {
        let limit = |failure: Failure| failure.within("Limit exceeded", expr.place);
        self.charge(1).map_err(limit)?;
        self.depth.set(self.depth.get() + 1);
        let value = match self.depth.get() > MAX_DEPTH {
            true => Err(limit("functions call each other too deeply".into())),
            false => self.kind(expr, scope),
        };
        self.depth.set(self.depth.get() - 1);
        value
    }

    fn kind(&self, expr: &Expr, scope: &Scope) -> Result<Value> {
        let place = expr.place;
        let value = match &expr.kind {
            Kind::Null => return Ok(Value::Null),
            Kind::Bool(value) => return Ok(Value::Bool(*value)),
            Kind::Number(number) => return Ok(Value::Number(*number)),
            Kind::Variable(name) => return self.variable(name, place, scope),
            Kind::Attribute(base, name) => {
                return traverse::attribute(&self.eval(base, scope)?, name, base.place.after(place));
            }
            Kind::Inner(inner) => return self.eval(inner, scope),
            Kind::Text(text) => Value::from(text.as_str()),
            Kind::Template(parts) => self.template(parts, scope, place)?,
            Kind::Joined(list) => self.joined(list, scope)?,
            Kind::List(items) => {
                Value::tuple(items.iter().map(|item| self.eval(item, scope)).collect::<Result<_>>()?)
            }
            Kind::Object(items) => self.object(items, scope)?,
            Kind::Index(base, index) => {
                let (value, key) = (self.eval(base, scope)?, self.eval(index, scope)?);
                return traverse::index(&value, &key, base.place.after(place));
            }
            Kind::Splat(base, steps) => traverse::splat(self, &self.eval(base, scope)?, steps, scope, place)?,
            Kind::Conditional(condition, yes, no) => self.conditional(condition, yes, no, scope, place)?,
            Kind::Call(call) => self.call(call, scope, place)?,
            Kind::Negative(operand) => operator::negative(&self.eval(operand, scope)?, operand.place)?,
            Kind::Not(operand) => operator::not(&self.eval(operand, scope)?, operand.place)?,
            Kind::Binary(left, operator, right) => {
                operator::binary(self, left, *operator, right, scope, place)?
            }
            Kind::For(each) => self.each(each, scope, place)?,
        };
        self.check_size(value.weight()).map_err(|failure| failure.within("Limit exceeded", place))?;
        Ok(value)
    }

    fn variable(&self, name: &str, place: Place, scope: &Scope) -> Result<Value> {
        if let Some(value) = scope.get(name) {
            return Ok(value.clone());
        }
        let globals = self.globals.borrow();
        if let Some(value) = globals.get(name) {
            return Ok(value.clone());
        }
        let like =
            globals.keys().find(|known| alike(known, name)).map(|known| format!(" Did you mean {known:?}?"));
        let detail = format!("There is no variable named {name:?}.{}", like.unwrap_or_default());
        Err(Failure::at(place, "Unknown variable", detail))
    }

    fn template(&self, parts: &[Expr], scope: &Scope, place: Place) -> Result<Value> {
        let mut text = String::new();
        for part in parts {
            let value = self.eval(part, scope)?;
            let place_of = match &part.kind {
                Kind::Inner(inner) => inner.place,
                _ => part.place,
            };
            text.push_str(&as_text(&value, place_of)?);
            if text.len() as u64 > MAX_VALUE {
                let limit = |failure: Failure| failure.within("Limit exceeded", place);
                self.check_size(text.len() as u64).map_err(limit)?;
            }
        }
        Ok(Value::from(text))
    }

    fn joined(&self, list: &Expr, scope: &Scope) -> Result<Value> {
        let mut text = String::new();
        for item in self.eval(list, scope)?.items().unwrap_or_default() {
            text.push_str(&as_text(&item, list.place)?);
        }
        Ok(Value::from(text))
    }

    fn object(&self, items: &[(Expr, Expr)], scope: &Scope) -> Result<Value> {
        let mut members = BTreeMap::new();
        for (key, value) in items {
            let name = self.eval(key, scope)?;
            if name.is_null() {
                return Err(Failure::at(key.place, "Null value as key", "Can't use a null value as a key."));
            }
            let wrong = |why| {
                Failure::at(key.place, "Incorrect key type", format!("Can't use this value as a key: {why}."))
            };
            members.insert(name.text().map_err(wrong)?, self.eval(value, scope)?);
        }
        Ok(Value::object(Mapping::Object, members))
    }

    /// Both results are looked at, for their common type; mistakes in the one that is not taken do not count.
    fn conditional(
        &self,
        condition: &Expr,
        yes: &Expr,
        no: &Expr,
        scope: &Scope,
        place: Place,
    ) -> Result<Value> {
        let (first, second) = (self.eval(yes, scope), self.eval(no, scope));
        let types = [&first, &second].map(|result| result.as_ref().map_or(Type::Any, Type::of));
        let Some(common) = types[0].common(&types[1]) else {
            let detail = format!(
                "The true and false result expressions must have consistent types. The 'true' value is {}, but the 'false' value is {}.",
                types[0].name(),
                types[1].name()
            );
            return Err(Failure::at(yes.place.to(no.place), "Inconsistent conditional result types", detail));
        };
        let condition_place = condition.place;
        let decided = match self.eval(condition, scope)? {
            Value::Null => {
                let detail = "The condition value is null. Conditions must either be true or false.";
                return Err(Failure::at(condition_place, "Null condition", detail));
            }
            other => other.convert(&Type::Bool),
        };
        let wrong = |_| {
            Failure::at(
                condition_place,
                "Incorrect condition type",
                "The condition expression must be of type bool.",
            )
        };
        let (taken, which) = match decided.map_err(wrong)? {
            Value::Bool(true) => (first?, "true"),
            _ => (second?, "false"),
        };
        taken.convert(&common).map_err(|why| {
            let detail = format!("The {which} result value has the wrong type: {why}.");
            Failure::at(place, "Inconsistent conditional result types", detail)
        })
    }

    fn call(&self, call: &Call, scope: &Scope, place: Place) -> Result<Value> {
        let name = call.name.as_str();
        match name {
            "try" => return self.try_each(call, scope),
            "can" if call.arguments.len() == 1 => {
                return Ok(Value::Bool(self.eval(&call.arguments[0], scope).is_ok()));
            }
            "convert" if call.arguments.len() == 2 => {
                let kind = crate::definition::kind::read(&call.arguments[1])?;
                let value = self.eval(&call.arguments[0], scope)?.convert(&kind);
                return value.map_err(|why| failed(name, &why, call.start()));
            }
            _ => {}
        }
        let own = self.functions.borrow().get(name).cloned();
        let known = function::find(name);
        if own.is_none() && known.is_none() {
            let like = function::names().find(|known| alike(known, name));
            let like = like.map(|known| format!(" Did you mean {known:?}?")).unwrap_or_default();
            let detail = format!("There is no function named {name:?}.{like}");
            return Err(Failure::at(call.name_place, "Call to unknown function", detail));
        }
        let arguments = self.arguments(call, scope)?;
        for argument in &arguments {
            self.charge(argument.weight()).map_err(|failure| failure.within("Limit exceeded", place))?;
        }
        match (own, known) {
            (Some(own), _) => self.call_own(call, &own, arguments, place),
            (None, Some(known)) => known.call(self, &arguments, call, place),
            (None, None) => Ok(Value::Null),
        }
    }

    fn arguments(&self, call: &Call, scope: &Scope) -> Result<Vec<Value>> {
        let mut arguments = Vec::new();
        for (number, argument) in call.arguments.iter().enumerate() {
            let value = self.eval(argument, scope)?;
            if !call.expanded || number + 1 < call.arguments.len() {
                arguments.push(value);
                continue;
            }
            let wrong =
                |detail: &str| Err(Failure::at(argument.place, "Invalid expanding argument value", detail));
            match value {
                Value::List(_, items) => arguments.extend(items.all.iter().cloned()),
                Value::Null => return wrong("The expanding argument (indicated by ...) must not be null."),
                _ => {
                    return wrong(
                        "The expanding argument (indicated by ...) must be of a tuple, list, or set type.",
                    );
                }
            }
        }
        Ok(arguments)
    }

    /// A function of the file.
    fn call_own(
        &self,
        call: &Call,
        own: &UserFunction,
        arguments: Vec<Value>,
        place: Place,
    ) -> Result<Value> {
        function::check_count(call, &own.parameters, own.rest.is_some(), arguments.len(), place)?;
        let mut names = BTreeMap::new();
        let mut arguments = arguments.into_iter();
        for (parameter, value) in own.parameters.iter().zip(arguments.by_ref()) {
            names.insert(parameter.clone(), value);
        }
        if let Some(rest) = &own.rest {
            names.insert(rest.clone(), Value::tuple(arguments.collect()));
        }
        self.eval(&own.result, &Scope::of(&names))
    }

    fn try_each(&self, call: &Call, scope: &Scope) -> Result<Value> {
        let mut whys = Vec::new();
        for argument in &call.arguments {
            match self.eval(argument, scope) {
                Ok(value) => return Ok(value),
                Err(failure) => whys.push(format!("- {}", failure.text())),
            }
        }
        let why = format!(
            "no expression succeeded:\n{}\n\nAt least one expression must produce a successful result",
            whys.join("\n")
        );
        Err(failed("try", &why, call.start()))
    }

    fn each(&self, each: &For, scope: &Scope, place: Place) -> Result<Value> {
        let source = self.eval(&each.source, scope)?;
        let (mut list, mut members, mut groups) =
            (Vec::new(), BTreeMap::new(), BTreeMap::<String, Vec<Value>>::new());
        let mut made = 0u64;
        for (key, value) in pairs(&source, each.source.place)? {
            let mut names = BTreeMap::from([(each.value.clone(), value)]);
            if let Some(name) = &each.key {
                names.insert(name.clone(), key);
            }
            let inner = scope.inner(&names);
            if let Some(condition) = &each.condition
                && !truth(&self.eval(condition, &inner)?, condition.place)?
            {
                continue;
            }
            let result = self.eval(&each.result, &inner)?;
            made = made.saturating_add(result.weight());
            if made > MAX_VALUE {
                self.check_size(made).map_err(|failure| failure.within("Limit exceeded", place))?;
            }
            let Some(result_key) = &each.result_key else {
                list.push(result);
                continue;
            };
            let name = key_text(&self.eval(result_key, &inner)?, result_key.place)?;
            if each.grouped {
                groups.entry(name).or_default().push(result);
            } else if members.insert(name.clone(), result).is_some() {
                let detail = format!(
                    "Two different items produced the key {name:?} in this 'for' expression. If duplicates are expected, use the ellipsis (...) after the value expression to enable grouping by key."
                );
                return Err(Failure::at(result_key.place, "Duplicate object key", detail));
            }
        }
        Ok(match (&each.result_key, each.grouped) {
            (None, _) => Value::tuple(list),
            (Some(_), false) => Value::object(Mapping::Object, members),
            (Some(_), true) => {
                let all = groups.into_iter().map(|(name, values)| (name, Value::tuple(values))).collect();
                Value::object(Mapping::Object, all)
            }
        })
    }
}

/// The error of a function.
pub fn failed(name: &str, why: &str, place: Place) -> Failure {
    Failure::at(place, "Error in function call", format!("Call to function {name:?} failed: {why}."))
}

/// Keys and values of what can be gone through.
fn pairs(source: &Value, place: Place) -> Result<Vec<(Value, Value)>> {
    let numbered = |(number, value): (usize, &Value)| (Value::Number(number.into()), value.clone());
    match source {
        Value::List(crate::value::Sequence::Set, items) => {
            Ok(items.all.iter().map(|value| (value.clone(), value.clone())).collect())
        }
        Value::List(_, items) => Ok(items.all.iter().enumerate().map(numbered).collect()),
        Value::Object(_, members) => {
            Ok(members.all.iter().map(|(name, value)| (Value::from(name.as_str()), value.clone())).collect())
        }
        Value::Null => {
            let detail = "A null value cannot be used as the collection in a 'for' expression.";
            Err(Failure::at(place, "Iteration over null value", detail))
        }
        other => {
            let kind = Type::of(other).name();
            let detail =
                format!("A value of type {kind} cannot be used as the collection in a 'for' expression.");
            Err(Failure::at(place, "Iteration over non-iterable value", detail))
        }
    }
}

fn truth(value: &Value, place: Place) -> Result<bool> {
    if value.is_null() {
        let detail = "The value of the 'if' clause must not be null.";
        return Err(Failure::at(place, "Invalid 'for' condition", detail));
    }
    let wrong = |why| {
        Failure::at(place, "Invalid 'for' condition", format!("The 'if' clause value is invalid: {why}."))
    };
    Ok(value.convert(&Type::Bool).map_err(wrong)? == Value::Bool(true))
}

fn key_text(value: &Value, place: Place) -> Result<String> {
    if value.is_null() {
        let detail = "Key expression in 'for' expression must not produce a null value.";
        return Err(Failure::at(place, "Invalid object key", detail));
    }
    let wrong = |why| {
        Failure::at(
            place,
            "Invalid object key",
            format!("The key expression produced an invalid result: {why}."),
        )
    };
    value.text().map_err(wrong)
}

fn as_text(value: &Value, place: Place) -> Result<String> {
    const SUMMARY: &str = "Invalid template interpolation value";
    if value.is_null() {
        let detail = "The expression result is null. Cannot include a null value in a string template.";
        return Err(Failure::at(place, SUMMARY, detail));
    }
    let wrong = |why| {
        Failure::at(place, SUMMARY, format!("Cannot include the given value in a string template: {why}."))
    };
    value.text().map_err(wrong)
}

/// Whether one may have been meant by the other: as many letters but for one or two.
fn alike(known: &str, name: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (known.chars().take(64).collect(), name.chars().take(64).collect());
    if a.len().abs_diff(b.len()) > 2 {
        return false;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()] < 3
}
