//! Functions of the file: names of parameters and a result.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Resolver;
use crate::error::{Failure, Result};
use crate::eval::UserFunction;
use crate::function;
use crate::syntax::Block;
use crate::syntax::expr::{Expr, Kind};

impl Resolver<'_> {
    /// Makes a function ready; one that every file has stays what it is.
    pub(super) fn resolve_function(&mut self, name: &str) -> Result<()> {
        if function::is_known(name) || self.machine.functions.borrow().contains_key(name) {
            return Ok(());
        }
        let Some(block) = self.functions.get(name).copied() else {
            return Err(Failure::Undefined(format!("function {name:?} does not exist")));
        };
        if !self.functions_under_way.insert(name.to_owned()) {
            return Err(format!("function cycle not allowed for {name}").into());
        }
        let function = self.enter(|resolver| resolver.function(name, block))?;
        self.machine.functions.borrow_mut().insert(name.to_owned(), Rc::new(function));
        Ok(())
    }

    fn function(&mut self, name: &str, block: &Block) -> Result<UserFunction> {
        let result = block.body.attribute("result");
        let result = result.ok_or_else(|| format!("empty result not allowed for {name}"))?;
        let parameters = block.body.attribute("params");
        let parameters = parameters.ok_or_else(|| format!("empty params not allowed for {name}"))?;
        let Kind::List(parameters) = &parameters.value.kind else {
            return Err(Failure::at(
                parameters.value.place,
                "Invalid expression",
                "A static list expression is required.",
            ));
        };
        let parameters: Vec<String> = parameters.iter().map(parameter).collect::<Result<_>>()?;
        let rest = block.body.attribute("variadic_params").map(|rest| parameter(&rest.value)).transpose()?;
        let own: BTreeSet<&String> = parameters.iter().chain(&rest).collect();
        let references = result.value.references();
        for called in &references.functions {
            self.resolve_function(called).map_err(|f| f.within("Invalid expression", result.value.place))?;
        }
        let none = BTreeMap::new();
        for path in references.names.iter().filter(|path| !own.contains(&path[0])) {
            self.resolve_name(path, &none, false, result.value.place)?;
        }
        Ok(UserFunction { parameters, rest, result: result.value.clone() })
    }
}

/// A parameter is a name; in JSON it stands in quotes.
fn parameter(expr: &Expr) -> Result<String> {
    match &expr.kind {
        Kind::Variable(name) | Kind::Text(name) => Ok(name.clone()),
        _ => Err(Failure::at(
            expr.place,
            "Invalid param element",
            "Each parameter name must be an identifier.",
        )),
    }
}
