//! A file's meaning: names are found out when something refers to them, whatever their order; what refers to itself is
//! an error.
//!
//! ```text
//! variable.rs   variables and attributes, the environment, --list=variables      kind.rs   types
//! function.rs   functions of the file                                         block.rs  groups, targets, matrices
//! ```

mod block;
mod function;
pub(crate) mod kind;
mod variable;

use std::collections::{BTreeMap, BTreeSet};

pub use variable::Variable;

use crate::error::{Failure, Result, Wrong};
use crate::eval::Machine;
use crate::source::Place;
use crate::syntax::expr::Expr;
use crate::syntax::{Attribute, Block, Body};
use crate::target::{Group, Target};
use crate::value::{Type, Value};
use block::{Made, State};

/// How long a chain of names that refer to each other may be.
const MAX_CHAIN: usize = 500;

/// What a file finds around it.
pub struct Options<'a> {
    /// Variables of the environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Variables that every file has.
    pub builtin: BTreeMap<String, String>,
}

/// Groups and targets.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Groups, in their order.
    pub groups: Vec<Group>,
    /// Targets, in their order.
    pub targets: Vec<Target>,
    /// Variables, by name.
    pub variables: Vec<Variable>,
}

/// Finds out what names mean.
struct Resolver<'a> {
    options: &'a Options<'a>,
    machine: Machine,
    variables: BTreeMap<String, &'a Block>,
    attributes: BTreeMap<String, &'a Attribute>,
    functions: BTreeMap<String, &'a Block>,
    kinds: BTreeMap<String, Type>,
    states: Vec<State<'a>>,
    /// Blocks by kind and name.
    blocks: BTreeMap<(String, String), Vec<usize>>,
    values_under_way: BTreeSet<String>,
    functions_under_way: BTreeSet<String>,
    chain: usize,
}

/// Kinds of blocks that become something.
const KINDS: &[&str] = &["group", "target"];

/// Puts what files say over a configuration.
pub(crate) fn resolve(bodies: &[Body], options: &Options<'_>, config: &mut Config) -> Result<()> {
    let mut resolver = Resolver {
        options,
        machine: Machine::default(),
        variables: BTreeMap::new(),
        attributes: BTreeMap::new(),
        functions: BTreeMap::new(),
        kinds: BTreeMap::new(),
        states: Vec::new(),
        blocks: BTreeMap::new(),
        values_under_way: BTreeSet::new(),
        functions_under_way: BTreeSet::new(),
        chain: 0,
    };
    resolver.take_in(bodies)?;
    resolver.resolve(config)
}

/// Refuses what is no name of a target.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    match !name.is_empty() && name.bytes().all(fits) {
        true => Ok(()),
        false => Err("only \"[a-zA-Z0-9_-]+\" are allowed".to_owned()),
    }
}

impl<'a> Resolver<'a> {
    fn take_in(&mut self, bodies: &'a [Body]) -> Result<()> {
        let is_reserved = |name: &str| KINDS.contains(&name) || self.options.builtin.contains_key(name);
        for body in bodies {
            for attribute in body.attributes.iter().filter(|a| !is_reserved(&a.name) && a.name != "function")
            {
                self.attributes.insert(attribute.name.clone(), attribute);
            }
            for block in &body.blocks {
                let known = KINDS.contains(&block.kind.as_str())
                    || matches!(block.kind.as_str(), "variable" | "function");
                if !known {
                    continue;
                }
                check_labels(block)?;
                let label = block.labels[0].0.clone();
                match block.kind.as_str() {
                    "variable" if !is_reserved(&label) => drop(self.variables.insert(label, block)),
                    "function" if !is_reserved(&label) => drop(self.functions.insert(label, block)),
                    "variable" | "function" => {}
                    _ => self.states.push(State::new(block)),
                }
            }
        }
        Ok(())
    }

    fn resolve(&mut self, config: &mut Config) -> Result<()> {
        let none = BTreeMap::new();
        let builtin: Vec<String> = self.options.builtin.keys().cloned().collect();
        for name in builtin {
            self.resolve_value(&name, &none)?;
        }
        let variables: Vec<(String, &Block)> =
            self.variables.iter().map(|(name, b)| (name.clone(), *b)).collect();
        for (name, block) in &variables {
            self.resolve_value(name, &none)
                .map_err(|f| f.within("Invalid value", block.body.place.start()))?;
        }
        config.variables = variables.iter().map(|(name, block)| self.shown(name, block)).collect();
        self.validate()?;
        let functions: Vec<(String, Place)> =
            self.functions.iter().map(|(n, b)| (n.clone(), place_of(b))).collect();
        for (name, place) in functions {
            self.resolve_function(&name).map_err(|f| f.within("Invalid function", place))?;
        }
        let renamed = self.name_all()?;
        self.resolve_all()?;
        self.collect(config);
        for (name, targets) in renamed {
            config.groups.push(Group { name, targets, ..Group::default() });
        }
        let attributes: Vec<(String, Place)> =
            self.attributes.iter().map(|(n, a)| (n.clone(), a.place)).collect();
        for (name, place) in attributes {
            self.resolve_value(&name, &none).map_err(|f| f.within("Invalid attribute", place))?;
        }
        Ok(())
    }

    /// Names all blocks; blocks that have become others are groups of those.
    fn name_all(&mut self) -> Result<Vec<(String, Vec<String>)>> {
        let mut renamed: Vec<((String, String), Vec<String>)> = Vec::new();
        let mut blocks: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
        for at in 0..self.states.len() {
            let (label, place) = self.states[at].block.labels[0].clone();
            let kind = self.states[at].block.kind.clone();
            let names = self.name_block(at).map_err(|f| f.within("Invalid name", place))?;
            for name in &names {
                blocks.entry((kind.clone(), name.clone())).or_default().push(at);
            }
            let key = (kind, label);
            let entry = match renamed.iter_mut().find(|(other, _)| *other == key) {
                Some((_, entry)) => entry,
                None => {
                    renamed.push((key, Vec::new()));
                    &mut renamed.last_mut().expect("just pushed").1
                }
            };
            entry.extend(names.into_iter().filter(|name| !entry.contains(name)).collect::<Vec<_>>());
        }
        self.blocks = blocks;
        let changed =
            |((_, label), names): &((String, String), Vec<String>)| names.as_slice() != [label.clone()];
        Ok(renamed.into_iter().filter(changed).map(|((_, label), names)| (label, names)).collect())
    }

    fn resolve_all(&mut self) -> Result<()> {
        let mut wrongs: Vec<Wrong> = Vec::new();
        for at in 0..self.states.len() {
            let place = self.states[at].block.place;
            match self.resolve_block(at, None) {
                Ok(()) => {}
                Err(Failure::Wrong(more)) => wrongs.extend(more),
                Err(other) => return Err(other.within("Invalid block", place)),
            }
        }
        if wrongs.is_empty() { Ok(()) } else { Err(Failure::Wrong(wrongs)) }
    }

    /// Blocks of one name come over each other: targets field by field, groups as a whole.
    fn collect(&mut self, config: &mut Config) {
        for copy in self.states.drain(..).flat_map(|state| state.copies) {
            match copy.made {
                Made::Group(group) => match config.groups.iter_mut().find(|other| other.name == group.name) {
                    Some(other) => *other = group,
                    None => config.groups.push(group),
                },
                Made::Target(target) => {
                    match config.targets.iter_mut().find(|other| other.name == target.name) {
                        Some(other) => other.merge(&target),
                        None => config.targets.push(*target),
                    }
                }
            }
        }
    }

    /// One name further.
    fn enter<T>(&mut self, further: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.chain >= MAX_CHAIN {
            return Err(format!("more than {MAX_CHAIN} names refer to each other in a chain").into());
        }
        self.chain += 1;
        let done = further(self);
        self.chain -= 1;
        done
    }

    /// Finds out all that an expression refers to.
    fn load(&mut self, expr: &Expr, scope: &BTreeMap<String, Value>, may_be_missing: bool) -> Result<()> {
        let references = expr.references();
        for function in &references.functions {
            let resolved = self.resolve_function(function);
            skip(resolved, may_be_missing).map_err(|f| f.within("Invalid expression", expr.place))?;
        }
        for path in &references.names {
            self.resolve_name(path, scope, may_be_missing, expr.place)?;
        }
        Ok(())
    }

    fn resolve_name(
        &mut self,
        path: &[String],
        scope: &BTreeMap<String, Value>,
        may_be_missing: bool,
        place: Place,
    ) -> Result<()> {
        let wrong = |detail: String| Err(Failure::at(place, "Invalid expression", detail));
        let name = &path[0];
        if scope.contains_key(name) || !KINDS.contains(&name.as_str()) {
            let resolved = self.resolve_value(name, scope);
            return skip(resolved, may_be_missing).map_err(|f| f.within("Invalid expression", place));
        }
        let Some(label) = path.get(1) else { return wrong(format!("cannot access {name} as a variable")) };
        let found = self.blocks.get(&(name.clone(), label.clone())).cloned().unwrap_or_default();
        for at in found {
            let resolved = self.resolve_block(at, path.get(2).map(String::as_str));
            skip(resolved, may_be_missing).map_err(|f| f.within("Invalid expression", place))?;
        }
        Ok(())
    }
}

/// Where mistakes of a function without a result are shown.
fn place_of(function: &Block) -> Place {
    function.body.attribute("params").map_or(function.labels[0].1, |parameters| parameters.place)
}

/// What nobody has defined is told of where it is evaluated.
fn skip(resolved: Result<()>, may_be_missing: bool) -> Result<()> {
    match resolved {
        Err(Failure::Undefined(_)) if may_be_missing => Ok(()),
        other => other,
    }
}

fn check_labels(block: &Block) -> Result<()> {
    let kind = &block.kind;
    match block.labels.len() {
        1 => Ok(()),
        0 => {
            let detail = format!("All {kind} blocks must have 1 labels (name).");
            Err(Failure::at(block.body.place.first(), format!("Missing name for {kind}"), detail))
        }
        _ => {
            let detail = format!("Only 1 labels (name) are expected for {kind} blocks.");
            Err(Failure::at(block.labels[1].1, format!("Extraneous label for {kind}"), detail))
        }
    }
}
