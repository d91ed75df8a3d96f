//! Runs a parsed template over a value.

use super::lex::line_of;
use super::parse::{Command, Expr, ExprKind, Node, Pipe, Span, Tree};
use super::print::text;
use super::{Error, Mode, call};
use crate::value::Value;

/// Templates that call themselves stop here.
const MAX_DEPTH: usize = 100;

/// How a list of nodes ended.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// A run of a template.
pub struct Run<'a> {
    source: &'a str,
    tree: &'a Tree,
    mode: Mode,
    variables: Vec<(String, Value)>,
    depth: usize,
}

impl<'a> Run<'a> {
    pub fn new(source: &'a str, tree: &'a Tree, mode: Mode) -> Self {
        Run { source, tree, mode, variables: Vec::new(), depth: 0 }
    }

    pub fn execute(mut self, dot: &Value, out: &mut String) -> Result<(), Error> {
        self.variables.push(("$".into(), dot.clone()));
        let tree = self.tree;
        self.list(&tree.root, dot, out).map(|_| ())
    }

    fn fail<T>(&self, at: Span, what: impl Into<String>) -> Result<T, Error> {
        let before = &self.source[..at.mark];
        let column = before.rfind('\n').map_or(at.mark, |nl| at.mark - nl - 1);
        let context = self.source[at.start..at.end].trim().to_owned();
        Err(Error::Run { line: line_of(self.source, at.mark), column, context, what: what.into() })
    }

    fn list(&mut self, nodes: &'a [Node], dot: &Value, out: &mut String) -> Result<Flow, Error> {
        for node in nodes {
            let flow = self.node(node, dot, out)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'a Node, dot: &Value, out: &mut String) -> Result<Flow, Error> {
        match node {
            Node::Text(t) => out.push_str(t),
            Node::Print(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.declares.is_empty() {
                    out.push_str(&text(&value));
                }
            }
            Node::If { branches, otherwise } => return self.branch(branches, otherwise, dot, false, out),
            Node::With { branches, otherwise } => return self.branch(branches, otherwise, dot, true, out),
            Node::Range { over, body, otherwise } => return self.range(over, body, otherwise, dot, out),
            Node::Template { name, over, at } => self.template(name, over.as_ref(), *at, dot, out)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn branch(
        &mut self,
        branches: &'a [(Pipe, Vec<Node>)],
        otherwise: &'a [Node],
        dot: &Value,
        moves_dot: bool,
        out: &mut String,
    ) -> Result<Flow, Error> {
        let scope = self.variables.len();
        for (pipe, body) in branches {
            let value = self.pipe(pipe, dot)?;
            if value.truthy() {
                let flow = self.list(body, if moves_dot { &value } else { dot }, out);
                self.variables.truncate(scope);
                return flow;
            }
        }
        let flow = self.list(otherwise, dot, out);
        self.variables.truncate(scope);
        flow
    }

    fn range(
        &mut self,
        over: &'a Pipe,
        body: &'a [Node],
        otherwise: &'a [Node],
        dot: &Value,
        out: &mut String,
    ) -> Result<Flow, Error> {
        let scope = self.variables.len();
        let value = self.pipe_value(over, dot)?;
        let items: Vec<(Value, Value)> = match value {
            Value::Nil | Value::NilPointer | Value::NilMap | Value::NilList | Value::Absent => Vec::new(),
            Value::List(l) => l.into_iter().enumerate().map(|(i, v)| (Value::Int(i as i128), v)).collect(),
            Value::Map(m) => m.into_iter().map(|(k, v)| (Value::Str(k), v)).collect(),
            Value::Struct(f) => {
                let sorted: std::collections::BTreeMap<_, _> = f.into_iter().collect();
                sorted.into_iter().map(|(k, v)| (Value::Str(k), v)).collect()
            }
            Value::Int(n) if (0..=1 << 20).contains(&n) => {
                (0..n).map(|i| (Value::Int(i), Value::Int(i))).collect()
            }
            v => return self.fail(over.at, format!("range can't iterate over {}", text(&v))),
        };
        if items.is_empty() {
            return self.list(otherwise, dot, out);
        }
        for (key, item) in items {
            self.variables.truncate(scope);
            match over.declares.as_slice() {
                [one] => self.bind(one, item.clone(), over.assigns),
                [k, v] => {
                    self.bind(k, key, over.assigns);
                    self.bind(v, item.clone(), over.assigns);
                }
                _ => {}
            }
            if self.list(body, &item, out)? == Flow::Break {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(Flow::Next)
    }

    fn template(
        &mut self,
        name: &str,
        over: Option<&'a Pipe>,
        at: Span,
        dot: &Value,
        out: &mut String,
    ) -> Result<(), Error> {
        let tree = self.tree;
        let Some(body) = tree.defined.get(name) else {
            return self.fail(at, format!("template \"{name}\" not defined"));
        };
        if self.depth >= MAX_DEPTH {
            return self.fail(at, format!("exceeded maximum template depth ({MAX_DEPTH})"));
        }
        let dot = match over {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Nil,
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$".into(), dot.clone())]);
        self.depth += 1;
        let done = self.list(body, &dot, out);
        self.depth -= 1;
        self.variables = outer;
        done.map(|_| ())
    }

    fn bind(&mut self, name: &str, value: Value, assigns: bool) {
        if assigns && let Some(slot) = self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            slot.1 = value;
            return;
        }
        self.variables.push((name.to_owned(), value));
    }

    /// The value of a pipeline, bound to the variables that it declares.
    fn pipe(&mut self, pipe: &'a Pipe, dot: &Value) -> Result<Value, Error> {
        let value = self.pipe_value(pipe, dot)?;
        for name in &pipe.declares {
            self.bind(name, value.clone(), pipe.assigns);
        }
        Ok(value)
    }

    fn pipe_value(&mut self, pipe: &'a Pipe, dot: &Value) -> Result<Value, Error> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last.take())?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(&mut self, command: &'a Command, dot: &Value, last: Option<Value>) -> Result<Value, Error> {
        let first = &command.words[0];
        let rest = &command.words[1..];
        match &first.kind {
            ExprKind::Function(name) => self.function(name, first.at, rest, dot, last),
            ExprKind::Fields(fields) => {
                let args = self.arguments(rest, dot, last)?;
                self.fields(dot.clone(), fields, first.at, &args)
            }
            ExprKind::Chain { of, fields } => {
                let value = self.expr(of, dot)?;
                let args = self.arguments(rest, dot, last)?;
                self.fields(value, fields, first.at, &args)
            }
            ExprKind::Variable { name, fields } if !fields.is_empty() => {
                let value = self.variable(name);
                let args = self.arguments(rest, dot, last)?;
                self.fields(value, fields, first.at, &args)
            }
            _ => {
                if !rest.is_empty() || last.is_some() {
                    let word = &self.source[first.at.start..first.at.end];
                    return self.fail(first.at, format!("can't give argument to non-function {word}"));
                }
                self.expr(first, dot)
            }
        }
    }

    fn arguments(
        &mut self,
        words: &'a [Expr],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Vec<Value>, Error> {
        let mut args = Vec::with_capacity(words.len() + 1);
        for word in words {
            args.push(self.expr(word, dot)?);
        }
        args.extend(last);
        Ok(args)
    }

    fn function(
        &mut self,
        name: &str,
        at: Span,
        words: &'a [Expr],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, Error> {
        if matches!(name, "and" | "or") {
            return self.short_circuit(name, at, words, dot, last);
        }
        let args = self.arguments(words, dot, last)?;
        let whole = words.last().map_or(at, |w| Span { end: w.at.end, ..at });
        call::call(name, &args, self.mode).or_else(|e| self.fail(if args.is_empty() { at } else { whole }, e))
    }

    fn short_circuit(
        &mut self,
        name: &str,
        at: Span,
        words: &'a [Expr],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let stops_at = name == "or";
        let mut value = None;
        for word in words {
            let v = self.expr(word, dot)?;
            if v.truthy() == stops_at {
                return Ok(v);
            }
            value = Some(v);
        }
        match last.or(value) {
            Some(v) => Ok(v),
            None => self.fail(at, format!("wrong number of args for {name}: want at least 1 got 0")),
        }
    }

    fn variable(&self, name: &str) -> Value {
        self.variables.iter().rev().find(|(n, _)| n == name).map_or(Value::Nil, |(_, v)| v.clone())
    }

    fn expr(&mut self, expr: &'a Expr, dot: &Value) -> Result<Value, Error> {
        match &expr.kind {
            ExprKind::Dot => Ok(dot.clone()),
            ExprKind::Nil => Ok(Value::Nil),
            ExprKind::Bool(b) => Ok(Value::Bool(*b)),
            ExprKind::Int(i) => Ok(Value::Int(*i)),
            ExprKind::Float(f) => Ok(Value::Float(*f)),
            ExprKind::Str(s) => Ok(Value::Str(s.clone())),
            ExprKind::Fields(fields) => self.fields(dot.clone(), fields, expr.at, &[]),
            ExprKind::Variable { name, fields } => {
                let value = self.variable(name);
                self.fields(value, fields, expr.at, &[])
            }
            ExprKind::Function(name) => self.function(name, expr.at, &[], dot, None),
            ExprKind::Pipe(pipe) => self.pipe(pipe, dot),
            ExprKind::Chain { of, fields } => {
                let value = self.expr(of, dot)?;
                self.fields(value, fields, expr.at, &[])
            }
        }
    }

    fn fields(&self, from: Value, fields: &[String], at: Span, args: &[Value]) -> Result<Value, Error> {
        let mut value = from;
        for (i, field) in fields.iter().enumerate() {
            let last = i + 1 == fields.len();
            value = self.field(&value, field, at, if last { args } else { &[] })?;
        }
        Ok(value)
    }

    fn field(&self, of: &Value, name: &str, at: Span, args: &[Value]) -> Result<Value, Error> {
        if let Value::Row(row) = of
            && name == "Label"
            && let Some(labels) = &row.labels
        {
            return match args {
                [Value::Str(key)] if self.mode == Mode::Header => Ok(Value::Str(label_header(key))),
                [Value::Str(key)] => Ok(Value::Str(labels.get(key).cloned().unwrap_or_default())),
                args => self.fail(at, format!("wrong number of args for Label: want 1 got {}", args.len())),
            };
        }
        if let Some(value) = of.member(name) {
            if !args.is_empty() {
                return self.fail(at, format!("{name} has arguments but cannot be invoked as function"));
            }
            return Ok(value);
        }
        match of {
            Value::Map(_) | Value::NilMap => Ok(Value::Nil),
            Value::Row(_) if self.mode == Mode::Header => Ok(Value::Nil),
            Value::Row(row) => {
                self.fail(at, format!("can't evaluate field {name} in type {}", row.type_name))
            }
            Value::Struct(_) => self.fail(at, format!("map has no entry for key \"{name}\"")),
            Value::Nil => self.fail(at, format!("nil data; no entry for key \"{name}\"")),
            Value::NilPointer => self.fail(at, format!("nil pointer evaluating interface {{}}.{name}")),
            _ => self.fail(at, format!("can't evaluate field {name} in type interface {{}}")),
        }
    }
}

/// The title of a column that shows a label: the last part of its key, dashes as spaces.
fn label_header(key: &str) -> String {
    key.rsplit('.').next().unwrap_or(key).replace(['-', '_'], " ")
}
