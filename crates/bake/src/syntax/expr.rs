//! Expressions, and the names that they refer to.

use std::collections::BTreeSet;

use crate::source::Place;
use crate::value::Number;

/// An expression.
#[derive(Debug, Clone)]
pub struct Expr {
    pub kind: Kind,
    pub place: Place,
}

/// What an expression is.
#[derive(Debug, Clone)]
pub enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    /// Parts of a string.
    Template(Vec<Expr>),
    /// The items of a list as parts of a string: `%{ for }`.
    Joined(Box<Expr>),
    List(Vec<Expr>),
    Object(Vec<(Expr, Expr)>),
    /// In brackets, or alone in a template: only its place differs.
    Inner(Box<Expr>),
    Variable(String),
    Attribute(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    /// `source.*.steps`, `source[*].steps`
    Splat(Box<Expr>, Vec<Step>),
    Conditional(Box<Expr>, Box<Expr>, Box<Expr>),
    Call(Call),
    Negative(Box<Expr>),
    Not(Box<Expr>),
    Binary(Box<Expr>, Operator, Box<Expr>),
    For(Box<For>),
}

/// `name(arguments...)`
#[derive(Debug, Clone)]
pub struct Call {
    pub name: String,
    pub name_place: Place,
    pub arguments: Vec<Expr>,
    /// The last argument is a list of arguments.
    pub expanded: bool,
}

impl Call {
    /// The name and the bracket after it.
    pub fn start(&self) -> Place {
        Place { end: self.name_place.end + 1, ..self.name_place }
    }
}

/// A step after a splat.
#[derive(Debug, Clone)]
pub enum Step {
    Attribute(String, Place),
    Index(Expr, Place),
}

/// `[for key, value in source : result if condition]`
#[derive(Debug, Clone)]
pub struct For {
    pub key: Option<String>,
    pub value: String,
    pub source: Expr,
    /// Of an object.
    pub result_key: Option<Expr>,
    pub result: Expr,
    pub condition: Option<Expr>,
    /// `...`: several of one key make a list.
    pub grouped: bool,
}

/// An operator between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    And,
    Or,
}

/// What an expression refers to.
#[derive(Debug, Default)]
pub struct References {
    /// Names and the attributes after them: `target.app.tags`.
    pub names: Vec<Vec<String>>,
    pub functions: Vec<String>,
}

impl Expr {
    /// An expression of a text.
    pub fn text(text: impl Into<String>, place: Place) -> Expr {
        Expr { kind: Kind::Text(text.into()), place }
    }

    /// Where mistakes in all of it are shown: its first part.
    pub fn start(&self) -> Place {
        match &self.kind {
            // Without the quotes.
            Kind::Text(_) if self.place.end > self.place.start + 2 => {
                Place { start: self.place.start + 1, end: self.place.end - 1, ..self.place }
            }
            Kind::Template(parts) => parts.first().map_or(self.place, |part| part.place),
            Kind::List(_) | Kind::Object(_) | Kind::For(_) => self.place.first(),
            Kind::Call(call) => call.start(),
            Kind::Conditional(first, ..) | Kind::Binary(first, ..) => first.start(),
            Kind::Inner(inner) => inner.start(),
            _ => self.place,
        }
    }

    /// The names that it refers to, without those that it binds itself.
    pub fn references(&self) -> References {
        let mut found = References::default();
        self.collect(&mut found, &mut Vec::new());
        found
    }

    fn collect(&self, found: &mut References, bound: &mut Vec<String>) {
        match &self.kind {
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
            Kind::Template(parts) | Kind::List(parts) => {
                parts.iter().for_each(|part| part.collect(found, bound));
            }
            Kind::Object(items) => items.iter().for_each(|(key, value)| {
                key.collect(found, bound);
                value.collect(found, bound);
            }),
            Kind::Variable(name) => add(found, bound, vec![name.clone()]),
            Kind::Attribute(base, name) => match self.path() {
                Some(path) => add(found, bound, path),
                None => {
                    let _ = name;
                    base.collect(found, bound);
                }
            },
            Kind::Index(base, index) => {
                base.collect(found, bound);
                index.collect(found, bound);
            }
            Kind::Splat(base, steps) => {
                base.collect(found, bound);
                for step in steps {
                    if let Step::Index(index, _) = step {
                        index.collect(found, bound);
                    }
                }
            }
            Kind::Conditional(condition, yes, no) => {
                [condition, yes, no].iter().for_each(|expr| expr.collect(found, bound));
            }
            Kind::Call(call) => {
                found.functions.push(call.name.clone());
                call.arguments.iter().for_each(|argument| argument.collect(found, bound));
            }
            Kind::Inner(one) | Kind::Joined(one) | Kind::Negative(one) | Kind::Not(one) => {
                one.collect(found, bound);
            }
            Kind::Binary(left, _, right) => {
                left.collect(found, bound);
                right.collect(found, bound);
            }
            Kind::For(each) => {
                each.source.collect(found, bound);
                let before = bound.len();
                bound.extend(each.key.iter().cloned().chain([each.value.clone()]));
                let inner = [each.result_key.as_ref(), Some(&each.result), each.condition.as_ref()];
                inner.into_iter().flatten().for_each(|expr| expr.collect(found, bound));
                bound.truncate(before);
            }
        }
    }

    /// `a.b.c` as its names.
    fn path(&self) -> Option<Vec<String>> {
        match &self.kind {
            Kind::Variable(name) => Some(vec![name.clone()]),
            Kind::Attribute(base, name) => {
                let mut path = base.path()?;
                path.push(name.clone());
                Some(path)
            }
            _ => None,
        }
    }
}

fn add(found: &mut References, bound: &[String], path: Vec<String>) {
    let is_bound: BTreeSet<&String> = bound.iter().collect();
    if !is_bound.contains(&path[0]) {
        found.names.push(path);
    }
}
