//! Groups and targets: a block becomes as many as its matrix has places, each with its own name; its fields are found
//! out one by one where others refer to them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Resolver, check_name};
use crate::error::{Failure, Result, Wrong};
use crate::eval::Scope;
use crate::source::Place;
use crate::syntax::Block;
use crate::target::{Group, Target};
use crate::value::{Mapping, Value};

/// The most targets that one block becomes.
const MAX_MATRIX: usize = 4096;

/// What a block becomes.
#[derive(Clone, Debug)]
pub(super) enum Made {
    Group(Group),
    Target(Box<Target>),
}

impl Made {
    fn of(kind: &str) -> Made {
        if kind == "group" { Made::Group(Group::default()) } else { Made::Target(Box::default()) }
    }

    fn fields(&self) -> &'static [&'static str] {
        match self {
            Made::Group(_) => crate::target::GROUP_FIELDS,
            Made::Target(_) => crate::target::TARGET_FIELDS,
        }
    }

    fn set(&mut self, field: &str, value: &Value) -> Result<(), String> {
        match self {
            Made::Group(group) => group.set(field, value),
            Made::Target(target) => target.set(field, value),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Made::Group(group) => group.to_value(),
            Made::Target(target) => target.to_value(),
        }
    }

    fn rename(&mut self, name: &str) {
        match self {
            Made::Group(group) => name.clone_into(&mut group.name),
            Made::Target(target) => name.clone_into(&mut target.name),
        }
    }
}

/// One of what a block becomes.
#[derive(Debug)]
pub(super) struct Copy {
    /// The matrix's values for it.
    pub names: BTreeMap<String, Value>,
    pub name: String,
    pub made: Made,
    done: BTreeSet<String>,
    under_way: BTreeSet<String>,
}

/// A block, and how far it is.
#[derive(Debug)]
pub(super) struct State<'a> {
    pub block: &'a Block,
    pub copies: Vec<Copy>,
    whole_under_way: bool,
}

impl<'a> State<'a> {
    pub fn new(block: &'a Block) -> State<'a> {
        State { block, copies: Vec::new(), whole_under_way: false }
    }
}

/// Something that must be there is not.
pub(super) fn missing_argument(name: &str, place: Place) -> Failure {
    let detail = format!("The argument {name:?} is required, but no definition was found.");
    Failure::at(place.start(), "Missing required argument", detail)
}

impl Resolver<'_> {
    /// Finds out which targets a block becomes, and their names.
    pub(super) fn name_block(&mut self, at: usize) -> Result<Vec<String>> {
        let block = self.states[at].block;
        let label = &block.labels[0].0;
        self.kind_value(&block.kind);
        let matrix = self.matrix(block)?;
        check_name(label)?;
        for names in matrix {
            let mut made = Made::of(&block.kind);
            let name = self.name_of(block, &names)?;
            check_name(&name)?;
            made.rename(&name);
            let (done, under_way) = (BTreeSet::new(), BTreeSet::new());
            self.states[at].copies.push(Copy { names, name, made, done, under_way });
        }
        let names: Vec<String> = self.states[at].copies.iter().map(|copy| copy.name.clone()).collect();
        let mut seen = BTreeSet::new();
        match names.iter().find(|name| !seen.insert(*name)) {
            Some(twice) => Err(format!("duplicate name {twice:?}").into()),
            None => Ok(names),
        }
    }

    fn name_of(&mut self, block: &Block, names: &BTreeMap<String, Value>) -> Result<String> {
        let Some(name) = block.body.attribute("name") else { return Ok(block.labels[0].0.clone()) };
        if block.kind == "group" {
            return Err("name is not supported for groups".into());
        }
        if block.body.attribute("matrix").is_none() {
            return Err("name requires matrix".into());
        }
        self.load(&name.value, names, true)?;
        let value = self.machine.eval(&name.value, &Scope::of(names))?;
        match value {
            Value::Null => Err("name must not be null".into()),
            other => Ok(other.text()?),
        }
    }

    /// The values of the matrix for each place of it; one place without values where there is none.
    fn matrix(&mut self, block: &Block) -> Result<Vec<BTreeMap<String, Value>>> {
        let Some(matrix) = block.body.attribute("matrix") else { return Ok(vec![BTreeMap::new()]) };
        if block.kind == "group" {
            return Err("matrix is not supported for groups".into());
        }
        let none = BTreeMap::new();
        self.load(&matrix.value, &none, true)?;
        let Value::Object(_, members) = self.machine.eval(&matrix.value, &Scope::default())? else {
            return Err("matrix must be a map".into());
        };
        let mut places = vec![BTreeMap::new()];
        for (name, values) in &members.all {
            let values = values.items().ok_or("matrix values must be a list")?;
            if places.len().saturating_mul(values.len()) > MAX_MATRIX {
                return Err(format!("matrix has more than {MAX_MATRIX} places").into());
            }
            let with = |value: &Value| {
                let longer = |place: &BTreeMap<String, Value>| {
                    let mut place = place.clone();
                    place.insert(name.clone(), value.clone());
                    place
                };
                places.iter().map(longer).collect::<Vec<_>>()
            };
            places = values.iter().flat_map(with).collect();
        }
        Ok(places)
    }

    /// There is a value for the kind of block, even if nothing is in it yet.
    fn kind_value(&self, kind: &str) {
        let empty = || Value::object(Mapping::Object, BTreeMap::new());
        self.machine.globals.borrow_mut().entry(kind.to_owned()).or_insert_with(empty);
    }

    /// Finds out fields of a block: one, or all.
    pub(super) fn resolve_block(&mut self, at: usize, field: Option<&str>) -> Result<()> {
        let whole = field.is_none();
        if whole && std::mem::replace(&mut self.states[at].whole_under_way, true) {
            let block = self.states[at].block;
            return Err(
                format!("reference cycle not allowed for {}.{}", block.kind, block.labels[0].0).into()
            );
        }
        let resolved = self.enter(|resolver| resolver.resolve_copies(at, field));
        if whole {
            self.states[at].whole_under_way = false;
        }
        resolved
    }

    fn resolve_copies(&mut self, at: usize, field: Option<&str>) -> Result<()> {
        let block = self.states[at].block;
        self.kind_value(&block.kind);
        for number in 0..self.states[at].copies.len() {
            let copy = &mut self.states[at].copies[number];
            if let Some(field) = field {
                if copy.done.contains(field) {
                    return Ok(());
                }
                if !copy.under_way.insert(field.to_owned()) {
                    let name = &copy.name;
                    return Err(
                        format!("reference cycle not allowed for {}.{name}.{field}", block.kind).into()
                    );
                }
            }
            let names = copy.names.clone();
            let wanted = |name: &str| {
                copy.made.fields().contains(&name)
                    && !copy.done.contains(name)
                    && field.is_none_or(|field| field == name)
            };
            let attributes: Vec<_> = block.body.attributes.iter().filter(|a| wanted(&a.name)).collect();
            for attribute in &attributes {
                self.load(&attribute.value, &names, true)?;
            }
            if field.is_none() && block.kind == "group" && block.body.attribute("targets").is_none() {
                return Err(missing_argument("targets", block.body.place));
            }
            let mut wrongs: Vec<Wrong> = Vec::new();
            for attribute in &attributes {
                let place = attribute.value.place;
                let value = self.machine.eval(&attribute.value, &Scope::of(&names));
                let set = value.and_then(|value| {
                    let set = self.states[at].copies[number].made.set(&attribute.name, &value);
                    set.map_err(|why| {
                        Failure::at(
                            attribute.value.start(),
                            "Unsuitable value type",
                            format!("Unsuitable value: {why}"),
                        )
                    })
                });
                match set {
                    Ok(()) => {}
                    Err(Failure::Wrong(more)) => wrongs.extend(more),
                    Err(other) => return Err(other.within("Invalid expression", place)),
                }
            }
            if !wrongs.is_empty() {
                return Err(Failure::Wrong(wrongs));
            }
            let copy = &mut self.states[at].copies[number];
            copy.done.extend(attributes.iter().map(|attribute| attribute.name.clone()));
            copy.done.extend(field.map(str::to_owned));
            let (name, value) = (copy.name.clone(), copy.made.to_value());
            self.remember(&block.kind, name, value);
        }
        Ok(())
    }

    /// Puts a block's value where others find it.
    fn remember(&self, kind: &str, name: String, value: Value) {
        let mut globals = self.machine.globals.borrow_mut();
        let all = globals.remove(kind).unwrap_or(Value::Null);
        globals.insert(kind.to_owned(), all.with_member(name, value));
    }
}
