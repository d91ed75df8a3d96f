//! Tokens to a tree of nodes.

use std::collections::HashMap;

use super::Error;
use super::lex::{Kind, Token, lex, line_of};

/// A part of a template.
#[derive(Debug)]
pub enum Node {
    Text(String),
    Print(Pipe),
    If { branches: Vec<(Pipe, Vec<Node>)>, otherwise: Vec<Node> },
    With { branches: Vec<(Pipe, Vec<Node>)>, otherwise: Vec<Node> },
    Range { over: Pipe, body: Vec<Node>, otherwise: Vec<Node> },
    Template { name: String, over: Option<Pipe>, at: Span },
    Break,
    Continue,
}

/// Where a node stands in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
    /// Where errors say that it stands: Go counts a chain of fields from its second.
    pub mark: usize,
}

/// `$a, $b := cmd | cmd`
#[derive(Debug)]
pub struct Pipe {
    pub declares: Vec<String>,
    pub assigns: bool,
    pub commands: Vec<Command>,
    pub at: Span,
}

/// A word and its arguments.
#[derive(Debug)]
pub struct Command {
    pub words: Vec<Expr>,
}

/// One operand.
#[derive(Debug)]
pub struct Expr {
    pub kind: ExprKind,
    pub at: Span,
}

/// What an operand is.
#[derive(Debug)]
pub enum ExprKind {
    Dot,
    Nil,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
    Fields(Vec<String>),
    Variable { name: String, fields: Vec<String> },
    Function(String),
    Pipe(Box<Pipe>),
    Chain { of: Box<Expr>, fields: Vec<String> },
}

/// A whole template with those that it defines.
#[derive(Debug, Default)]
pub struct Tree {
    pub root: Vec<Node>,
    pub defined: HashMap<String, Vec<Node>>,
    fields: Vec<String>,
}

impl Tree {
    pub fn names_field(&self, field: &str) -> bool {
        self.fields.iter().any(|f| f == field)
    }
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    at: usize,
    variables: Vec<String>,
    loops: usize,
    parens: usize,
    tree: Tree,
}

/// Parentheses nested deeper than this are refused.
const MAX_PARENS: usize = 100;

/// A condition and what it guards.
type Branch = (Pipe, Vec<Node>);

/// What ended a list of nodes.
enum Stop {
    End,
    Else,
    Eof,
}

/// Parses a template.
///
/// # Errors
/// A syntax error with its line.
pub fn parse(source: &str) -> Result<Tree, Error> {
    let tokens = lex(source)?;
    let mut p = Parser {
        source,
        tokens,
        at: 0,
        variables: vec!["$".into()],
        loops: 0,
        parens: 0,
        tree: Tree::default(),
    };
    let (root, stop) = p.list()?;
    match stop {
        Stop::Eof => {}
        Stop::End => return p.fail("unexpected {{end}}"),
        Stop::Else => return p.fail("unexpected {{else}}"),
    }
    p.tree.root = root;
    Ok(p.tree)
}

impl Parser<'_> {
    fn fail<T>(&self, what: impl Into<String>) -> Result<T, Error> {
        let at = self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |t| t.start);
        Err(Error::Parse { line: line_of(self.source, at), what: what.into() })
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|t| &t.kind)
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Kind::Space) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn list(&mut self) -> Result<(Vec<Node>, Stop), Error> {
        let mut nodes = Vec::new();
        loop {
            let Some(token) = self.next() else { return Ok((nodes, Stop::Eof)) };
            if let Kind::Text(text) = token.kind {
                nodes.push(Node::Text(text));
                continue;
            }
            self.skip_space();
            let Some(Kind::Keyword(word)) = self.peek().cloned() else {
                nodes.push(Node::Print(self.pipe("command")?));
                self.close("command")?;
                continue;
            };
            if word == "nil" {
                return self.fail("nil is not a command");
            }
            self.at += 1;
            self.skip_space();
            match word {
                "end" => {
                    self.close("end")?;
                    return Ok((nodes, Stop::End));
                }
                "else" => return Ok((nodes, Stop::Else)),
                word => {
                    if let Some(node) = self.control(word)? {
                        nodes.push(node);
                    }
                }
            }
        }
    }

    fn control(&mut self, word: &str) -> Result<Option<Node>, Error> {
        Ok(Some(match word {
            "if" => {
                let (branches, otherwise) = self.branches("if")?;
                Node::If { branches, otherwise }
            }
            "with" => {
                let (branches, otherwise) = self.branches("with")?;
                Node::With { branches, otherwise }
            }
            "range" => self.range()?,
            "break" | "continue" => {
                if self.loops == 0 {
                    return self.fail(format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                self.close(word)?;
                if word == "break" { Node::Break } else { Node::Continue }
            }
            "define" => {
                let name = self.name("define clause")?;
                self.close("define clause")?;
                let body = self.until_end("define")?;
                self.tree.defined.insert(name, body);
                return Ok(None);
            }
            "block" => {
                let start = self.at;
                let name = self.name("block clause")?;
                self.skip_space();
                let over = self.pipe("block clause")?;
                self.close("block clause")?;
                let body = self.until_end("block")?;
                self.tree.defined.insert(name.clone(), body);
                Node::Template { name, over: Some(over), at: self.span(start) }
            }
            _ => {
                let start = self.at;
                let name = self.name("template clause")?;
                self.skip_space();
                let over = if self.peek() == Some(&Kind::Close) {
                    None
                } else {
                    Some(self.pipe("template clause")?)
                };
                self.close("template clause")?;
                Node::Template { name, over, at: self.span(start) }
            }
        }))
    }

    fn span(&self, from: usize) -> Span {
        let start = self.tokens.get(from).map_or(0, |t| t.start);
        let end = self.tokens.get(self.at.saturating_sub(1)).map_or(start, |t| t.end);
        Span { start, end: end.max(start), mark: start }
    }

    fn name(&mut self, clause: &str) -> Result<String, Error> {
        match self.next() {
            Some(Token { kind: Kind::Str(name), .. }) => Ok(name),
            _ => self.fail(format!("unexpected token in {clause}")),
        }
    }

    fn close(&mut self, context: &str) -> Result<(), Error> {
        self.skip_space();
        match self.peek() {
            Some(Kind::Close) => {
                self.at += 1;
                Ok(())
            }
            _ => self.unexpected(context),
        }
    }

    fn until_end(&mut self, what: &str) -> Result<Vec<Node>, Error> {
        let (body, stop) = self.list()?;
        match stop {
            Stop::End => Ok(body),
            Stop::Else => self.fail(format!("unexpected {{{{else}}}} in {what} clause")),
            Stop::Eof => self.fail("unexpected EOF"),
        }
    }

    fn branches(&mut self, word: &str) -> Result<(Vec<Branch>, Vec<Node>), Error> {
        let scope = self.variables.len();
        let mut branches = Vec::new();
        loop {
            let pipe = self.pipe(word)?;
            self.close(word)?;
            let (body, stop) = self.list()?;
            branches.push((pipe, body));
            match stop {
                Stop::Eof => return self.fail("unexpected EOF"),
                Stop::End => {
                    self.variables.truncate(scope);
                    return Ok((branches, Vec::new()));
                }
                Stop::Else => {}
            }
            if let Some(Kind::Keyword(w)) = self.peek()
                && *w == word
            {
                self.at += 1;
                self.skip_space();
                continue;
            }
            self.close("else")?;
            let otherwise = self.until_end(word)?;
            self.variables.truncate(scope);
            return Ok((branches, otherwise));
        }
    }

    fn range(&mut self) -> Result<Node, Error> {
        let scope = self.variables.len();
        let over = self.pipe("range")?;
        self.close("range")?;
        self.loops += 1;
        let (body, stop) = self.list()?;
        self.loops -= 1;
        let otherwise = match stop {
            Stop::Eof => return self.fail("unexpected EOF"),
            Stop::End => Vec::new(),
            Stop::Else => {
                self.close("else")?;
                self.until_end("range")?
            }
        };
        self.variables.truncate(scope);
        Ok(Node::Range { over, body, otherwise })
    }

    fn unexpected<T>(&self, context: &str) -> Result<T, Error> {
        let Some(token) = self.tokens.get(self.at) else { return self.fail("unexpected EOF") };
        let text = &self.source[token.start..token.end];
        let shown = match &token.kind {
            Kind::Keyword(_) => format!("<{text}>"),
            Kind::Identifier(_) | Kind::Close | Kind::Open => {
                format!("\"{text}\"").replace("\"}}\"", "\"}}\"")
            }
            _ => dray_spec::golang::quoted(text),
        };
        let at = token.start;
        Err(Error::Parse { line: line_of(self.source, at), what: format!("unexpected {shown} in {context}") })
    }

    fn declarations(&mut self, context: &str) -> Result<(Vec<String>, bool), Error> {
        let begin = self.at;
        let mut names = Vec::new();
        loop {
            self.skip_space();
            let Some(Kind::Variable(name)) = self.peek().cloned() else { break };
            self.at += 1;
            names.push(name);
            self.skip_space();
            match self.peek() {
                Some(Kind::Declare | Kind::Assign) => {
                    let assigns = self.peek() == Some(&Kind::Assign);
                    self.at += 1;
                    if !assigns {
                        self.variables.extend(names.iter().cloned());
                    }
                    return Ok((names, assigns));
                }
                Some(Kind::Comma) if context == "range" && names.len() < 2 => self.at += 1,
                _ => break,
            }
        }
        self.at = begin;
        Ok((Vec::new(), false))
    }

    fn pipe(&mut self, context: &str) -> Result<Pipe, Error> {
        self.skip_space();
        let start = self.at;
        let (declares, assigns) = self.declarations(context)?;
        let mut commands = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(Kind::Close | Kind::Right) | None => break,
                _ => {}
            }
            commands.push(self.command()?);
            self.skip_space();
            if self.peek() == Some(&Kind::Pipe) {
                self.at += 1;
                self.skip_space();
                if matches!(self.peek(), Some(Kind::Close | Kind::Right) | None) {
                    return self.fail(format!("missing value for {context}"));
                }
                continue;
            }
            break;
        }
        if commands.is_empty() {
            return self.fail(format!("missing value for {context}"));
        }
        for (i, c) in commands.iter().enumerate().skip(1) {
            let callable = c.words.first().is_some_and(|w| {
                matches!(
                    w.kind,
                    ExprKind::Function(_)
                        | ExprKind::Fields(_)
                        | ExprKind::Chain { .. }
                        | ExprKind::Variable { .. }
                        | ExprKind::Pipe(_)
                )
            });
            if !callable {
                return self.fail(format!("non executable command in pipeline stage {}", i + 1));
            }
        }
        Ok(Pipe { declares, assigns, commands, at: self.span(start) })
    }

    fn command(&mut self) -> Result<Command, Error> {
        let mut words = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(Kind::Close | Kind::Right | Kind::Pipe) | None => break,
                _ => words.push(self.operand()?),
            }
            match self.peek() {
                Some(Kind::Space | Kind::Close | Kind::Right | Kind::Pipe) | None => {}
                _ => return self.unexpected("operand"),
            }
        }
        if words.is_empty() {
            return self.fail("empty command");
        }
        Ok(Command { words })
    }

    fn fields(&mut self) -> Vec<String> {
        let mut fields = Vec::new();
        while let Some(Kind::Field(name)) = self.peek().cloned() {
            self.tree.fields.push(name.clone());
            fields.push(name);
            self.at += 1;
        }
        fields
    }

    fn operand(&mut self) -> Result<Expr, Error> {
        let start = self.at;
        let Some(token) = self.next() else { return self.fail("unexpected EOF") };
        let kind = match token.kind {
            Kind::Field(_) => {
                self.at -= 1;
                ExprKind::Fields(self.fields())
            }
            Kind::Variable(name) => {
                if !self.variables.contains(&name) {
                    self.at -= 1;
                    return self.fail(format!("undefined variable \"{name}\""));
                }
                ExprKind::Variable { name, fields: self.fields() }
            }
            Kind::Dot => ExprKind::Dot,
            Kind::Bool(b) => ExprKind::Bool(b),
            Kind::Int(i) => ExprKind::Int(i),
            Kind::Float(f) => ExprKind::Float(f),
            Kind::Str(s) => ExprKind::Str(s),
            Kind::Keyword("nil") => ExprKind::Nil,
            Kind::Identifier(name) => {
                if !super::call::exists(&name) {
                    self.at -= 1;
                    return self.fail(format!("function \"{name}\" not defined"));
                }
                ExprKind::Function(name)
            }
            Kind::Left => {
                self.parens += 1;
                if self.parens > MAX_PARENS {
                    return self.fail("parentheses are nested too deeply");
                }
                let pipe = self.pipe("parenthesized pipeline")?;
                self.parens -= 1;
                match self.next() {
                    Some(Token { kind: Kind::Right, .. }) => ExprKind::Pipe(Box::new(pipe)),
                    _ => {
                        self.at -= 1;
                        return self.unexpected("parenthesized pipeline");
                    }
                }
            }
            _ => {
                self.at -= 1;
                return self.unexpected("command");
            }
        };
        let mut at = self.span(start);
        if matches!(kind, ExprKind::Fields(_) | ExprKind::Variable { .. })
            && let Some(second) = self.tokens[..self.at].get(start + 1)
        {
            at.mark = second.start;
        }
        let expr = Expr { kind, at };
        if !matches!(self.peek(), Some(Kind::Field(_))) {
            return Ok(expr);
        }
        match expr.kind {
            ExprKind::Pipe(_) | ExprKind::Function(_) => {
                let mark = self.tokens.get(self.at).map_or(at.start, |t| t.start);
                let fields = self.fields();
                Ok(Expr {
                    at: Span { mark, ..self.span(start) },
                    kind: ExprKind::Chain { of: Box::new(expr), fields },
                })
            }
            ExprKind::Dot => self.fail("unexpected . after term \".\""),
            _ => self.unexpected("operand"),
        }
    }
}
