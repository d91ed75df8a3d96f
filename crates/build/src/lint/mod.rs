//! Build checks: what is legal in a Dockerfile, but unwise. The rules, their names and sentences are BuildKit's.
//!
//! ```text
//! file     the text alone: casing, names of stages, empty continuations
//! from     FROM lines, with the global arguments
//! stage    instructions one after the other, with the environment that they would see: the image's that the stage
//!          begins with, then what ENV and ARG add
//! ```
//!
//! A build tells of what it finds as it comes to a stage, for by then the image that the stage begins with is there;
//! nothing is fetched for the checks alone. Where warnings shall end the build (`# check=error=true`), and for
//! `--check`, all stages are walked through first ([`walk`]).

mod file;
mod from;
mod options;
mod rule;
mod stage;
mod walk;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

pub(crate) use from::Noted;
pub use options::{CheckOptions, CheckOptionsError};
pub use rule::Rule;
pub(crate) use stage::{StageView, Surroundings};
pub(crate) use walk::walk;

use crate::dockerfile::{Instruction, Stage};
use crate::error::BuildError;

/// Something that a rule has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: &'static Rule,
    /// What it has found.
    pub detail: String,
    /// First and last line, from 1.
    pub lines: (usize, usize),
}

impl Warning {
    /// One line for people.
    pub fn short(&self) -> String {
        let Warning { rule, detail, lines: (line, _) } = self;
        match line {
            0 => format!("{}: {detail}", rule.name),
            line => format!("{}: {detail} (line {line})", rule.name),
        }
    }
}

/// Where something was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    comments: &'a [String],
    lines: (usize, usize),
}

impl<'a> From<&'a Stage> for Place<'a> {
    fn from(stage: &'a Stage) -> Self {
        Place { comments: &stage.comments, lines: (stage.line, stage.last_line) }
    }
}

impl<'a> From<&'a Instruction> for Place<'a> {
    fn from(instruction: &'a Instruction) -> Self {
        Place { comments: &instruction.comments, lines: (instruction.line, instruction.last_line) }
    }
}

/// Holds a Dockerfile against the rules and tells what it finds.
pub(crate) struct Linter<'a> {
    options: CheckOptions,
    tell: Box<dyn Fn(Warning) + Send + Sync + 'a>,
    violated: Mutex<BTreeSet<&'static str>>,
}

impl<'a> Linter<'a> {
    pub(crate) fn new(options: CheckOptions, tell: impl Fn(Warning) + Send + Sync + 'a) -> Self {
        Linter { options, tell: Box::new(tell), violated: Mutex::default() }
    }

    /// Whether warnings shall end the build.
    pub(crate) fn is_strict(&self) -> bool {
        self.options.error
    }

    /// An error if warnings shall end the build and there were any.
    pub(crate) fn verdict(&self) -> Result<(), BuildError> {
        let violated = self.violated.lock().unwrap_or_else(PoisonError::into_inner);
        match self.is_strict() && !violated.is_empty() {
            true => Err(BuildError::Checks(violated.iter().copied().collect())),
            false => Ok(()),
        }
    }

    fn found<'p>(&self, rule: &'static Rule, place: impl Into<Place<'p>>, detail: impl FnOnce() -> String) {
        let Place { comments, lines } = place.into();
        let counts = match comments {
            [] => self.options.has(rule),
            comments => self.options.with_comments(comments).has(rule),
        };
        if counts {
            self.violated.lock().unwrap_or_else(PoisonError::into_inner).insert(rule.name);
            (self.tell)(Warning { rule, detail: detail(), lines });
        }
    }
}

#[cfg(test)]
mod tests;
