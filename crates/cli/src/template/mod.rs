//! Go templates, as Docker's `--format` takes them: text/template's syntax and functions plus Docker's own
//! (`json`, `join`, `split`, `upper`, `lower`, `title`, `pad`, `truncate`).
//!
//! ```text
//! text ──lex──> tokens ──parse──> nodes ──run(value)──> output
//! ```
//! Error texts are those of Go's package, since scripts and people know them.

mod call;
mod lex;
mod parse;
mod print;
mod run;

use crate::value::Value;

pub use print::{float as text_of_float, text as text_of};

/// Why a template was refused or failed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// template: :LINE: WHAT
    #[error("template: :{line}: {what}")]
    Parse {
        /// Line of the template, from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// template: :LINE:COLUMN: executing "" at <CONTEXT>: WHAT
    #[error("template: :{line}:{column}: executing \"\" at <{context}>: {what}")]
    Run {
        /// Line of the template, from 1.
        line: usize,
        /// Byte in the line, from 0.
        column: usize,
        /// The node's text.
        context: String,
        /// What went wrong.
        what: String,
    },
}

/// How a template runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The line of a listing, or data.
    #[default]
    Data,
    /// The header of a table: functions that would spoil a column's title leave it alone.
    Header,
}

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    source: String,
    tree: parse::Tree,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// A syntax error, with Go's text.
    pub fn parse(source: &str) -> Result<Template, Error> {
        let tree = parse::parse(source)?;
        Ok(Template { source: source.to_owned(), tree })
    }

    /// Runs the template over `dot` and appends what it prints to `out`, also what came before an error.
    ///
    /// # Errors
    /// A field that is not there, or a function that cannot take its arguments.
    pub fn run(&self, dot: &Value, mode: Mode, out: &mut String) -> Result<(), Error> {
        run::Run::new(&self.source, &self.tree, mode).execute(dot, out)
    }

    /// Whether the template names a field anywhere, as `.Size`.
    pub fn names_field(&self, field: &str) -> bool {
        self.tree.names_field(field)
    }
}

#[cfg(test)]
mod tests;
