//! The Dockerfile: text to typed instructions, with positions.
//!
//! ```text
//! text ── logical ──► logical lines (continuations joined, comments dropped, directives read)
//!              │ syntax: name, flags, words of each line; heredocs are read from the lines behind it
//!              ▼
//!         statements ── interpret ──► Stage { FROM …, instructions }
//! ```
//!
//! Two kinds of errors follow Docker's: a file whose lines cannot be split is *failed to parse*, whatever comes
//! before; a line that makes no sense as an instruction is a *dockerfile parse error on line n*. Either shows
//! the place (see [`ParseError`]). Variables are not expanded here: that needs the state of the build
//! (see [`crate::expand`]).

mod csv;
mod device;
mod error;
mod excerpt;
mod flag;
mod healthcheck;
mod heredoc;
mod instruction;
mod interpret;
mod logical;
mod mount;
mod suggest;
mod syntax;

pub use device::DeviceError;
pub(crate) use dray_spec::golang::{duration_text, parse_bool, quoted};
pub use error::{Fault, ParseError};
pub use excerpt::excerpt;
pub use healthcheck::Healthcheck;
pub use heredoc::Heredoc;
pub use instruction::{
    Add, ArgPair, Command, CommandLine, Copy, Device, Instruction, KeyValue, RunCommand, Security, SourceFile,
};
pub use mount::{Mount, MountError, MountKind, Sharing};
pub(crate) use suggest::{closest, did_you_mean};

use std::sync::Arc;

use logical::Reader;

/// A parsed Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The name it was read from, for messages.
    pub name: String,
    /// The escape character: `\`, or a backtick by directive.
    pub escape: char,
    /// Its text.
    pub text: Arc<str>,
    /// Value of the `syntax` directive.
    pub syntax: Option<String>,
    /// Value of the `check` directive.
    pub check: Option<String>,
    /// The `ARG` instructions before the first `FROM`.
    pub global_args: Vec<Instruction>,
    /// The stages, in order; never empty in what was parsed.
    pub stages: Vec<Stage>,
    /// What is legal, but unwise.
    pub warnings: Vec<String>,
    /// The last lines of instructions that blank lines interrupt.
    pub empty_continuations: Vec<usize>,
}

/// A build stage: `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Name after `AS`, in lower case.
    pub name: Option<String>,
    /// `AS` and the name as written.
    pub alias: Option<(String, String)>,
    /// `FROM` as written.
    pub keyword: String,
    /// The comments right above it, without `#`.
    pub comments: Vec<String>,
    /// Image or stage to begin with, as written.
    pub base: String,
    /// `--platform`, as written.
    pub platform: Option<String>,
    /// The `FROM` line, trimmed.
    pub text: String,
    /// Line of `FROM`.
    pub line: usize,
    /// Last line of it.
    pub last_line: usize,
    /// The instructions.
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// What stands for a text that cannot be parsed where only its name and text matter: no stages.
    pub fn unreadable(name: &str, text: &str) -> Dockerfile {
        Dockerfile {
            name: name.to_owned(),
            escape: '\\',
            text: text.into(),
            syntax: None,
            check: None,
            global_args: Vec::new(),
            stages: Vec::new(),
            warnings: Vec::new(),
            empty_continuations: Vec::new(),
        }
    }

    /// Index of the stage that `name` (a name, in any case, or an index) means; the last of several.
    pub fn stage_index(&self, name: &str) -> Option<usize> {
        let by_name =
            self.stages.iter().rposition(|s| s.name.as_ref().is_some_and(|n| n.eq_ignore_ascii_case(name)));
        by_name.or_else(|| name.parse().ok().filter(|index| *index < self.stages.len()))
    }
}

/// Parses a whole Dockerfile; `name` is for messages.
///
/// # Errors
/// The first fault, with its place.
pub fn parse(text: &str, name: &str) -> Result<Dockerfile, ParseError> {
    if text.is_empty() {
        return Err(ParseError::empty(name));
    }
    let mut reader = Reader::new(text, name);
    let mut builder = interpret::FileBuilder::default();
    let mut first_fault = None;
    while let Some(statement) = reader.next_statement()? {
        if first_fault.is_none() {
            first_fault = builder.add(&statement).err().map(|fault| reader.place(&statement.line, fault));
        }
    }
    if let Some(error) = first_fault {
        return Err(error);
    }
    builder.finish(reader)
}

/// Whether a `# syntax=` names the frontend that is built in here: the official one, in any version.
pub fn is_own_frontend(syntax: &str) -> bool {
    let name = syntax.split_whitespace().next().unwrap_or_default();
    let official = ["docker/dockerfile", "docker/dockerfile-upstream"];
    dray_spec::Reference::parse(name)
        .is_ok_and(|name| name.domain() == "docker.io" && official.contains(&name.familiar_name().as_str()))
}

/// Whether a word opens a heredoc.
pub(crate) fn is_heredoc(word: &str) -> bool {
    matches!(heredoc::parse(word), Ok(Some(_)))
}

/// Parses the text of an `ONBUILD` trigger: one instruction that may stand in a stage.
///
/// # Errors
/// When it is no such instruction.
pub fn parse_trigger(text: &str) -> Result<Instruction, ParseError> {
    let mut reader = Reader::new(text, "ONBUILD");
    let Some(statement) = reader.next_statement()? else {
        return Err(reader.no_instructions());
    };
    let instruction = interpret::instruction(&statement).map_err(|f| reader.place(&statement.line, f))?;
    if reader.next_statement()?.is_some() {
        return Err(reader.place(&statement.line, Fault::TriggerNotSingle.at(statement.line.whole())));
    }
    Ok(instruction)
}

/// Parses lines of instructions without `FROM`, as `docker commit --change` and `docker import --change` give
/// them.
///
/// # Errors
/// The first fault, with its place.
pub fn parse_changes(text: &str) -> Result<Vec<Instruction>, ParseError> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(text, "changes");
    let mut instructions = Vec::new();
    while let Some(statement) = reader.next_statement()? {
        instructions.push(interpret::instruction(&statement).map_err(|f| reader.place(&statement.line, f))?);
    }
    Ok(instructions)
}

#[cfg(test)]
mod tests;
