//! What a command is: its place, usage, flags, and the function that runs it.

use std::future::Future;
use std::pin::Pin;

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, Parsed};

/// What a command returns: its exit code.
pub type Done = Result<u8, Error>;

/// A running command.
pub type Running<'a> = Pin<Box<dyn Future<Output = Done> + 'a>>;

/// How many arguments a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Args {
    /// None.
    No,
    /// Just so many.
    Exactly(usize),
    /// So many or more.
    AtLeast(usize),
    /// So many or fewer.
    AtMost(usize),
    /// From the first to the second.
    Range(usize, usize),
    /// Any number.
    Any,
}

/// A command.
pub struct Command {
    /// Name in its group, or at the top.
    pub name: &'static str,
    /// Other names in its group.
    pub aliases: &'static [&'static str],
    /// All full names, for help.
    pub also: &'static [&'static str],
    /// Usage after the name; more lines for more forms.
    pub usage: &'static [&'static str],
    /// One line.
    pub about: &'static str,
    /// More lines, for its own help.
    pub details: &'static str,
    /// Tables of flags.
    pub flags: &'static [&'static [Flag]],
    /// Arguments.
    pub args: Args,
    /// Whether flags may stand after arguments.
    pub interspersed: bool,
    /// What it does.
    pub run: for<'a> fn(&'a App, Parsed) -> Running<'a>,
}

impl Command {
    /// A command with the usual shape.
    pub const fn new(
        name: &'static str,
        usage: &'static [&'static str],
        args: Args,
        about: &'static str,
        run: for<'a> fn(&'a App, Parsed) -> Running<'a>,
    ) -> Command {
        Command {
            name,
            aliases: &[],
            also: &[],
            usage,
            about,
            details: "",
            flags: &[],
            args,
            interspersed: true,
            run,
        }
    }

    /// With flags.
    pub const fn flags(mut self, flags: &'static [&'static [Flag]]) -> Command {
        self.flags = flags;
        self
    }

    /// With other names in its group.
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Command {
        self.aliases = aliases;
        self
    }

    /// With all full names.
    pub const fn also(mut self, also: &'static [&'static str]) -> Command {
        self.also = also;
        self
    }

    /// With more help.
    pub const fn details(mut self, details: &'static str) -> Command {
        self.details = details;
        self
    }

    /// The first argument ends the flags: what follows is a program's.
    pub const fn program(mut self) -> Command {
        self.interspersed = false;
        self
    }

    /// Whether it is called so in its group.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// The usage lines, with the command as called.
    pub fn usage_text(&self, called: &str) -> String {
        let lines: Vec<String> =
            self.usage.iter().map(|u| format!("{called} {u}").trim_end().to_owned()).collect();
        lines.join("\n\t")
    }

    /// Refuses a wrong number of arguments.
    ///
    /// # Errors
    /// It is wrong.
    pub fn check_args(&self, app: &str, called: &str, count: usize) -> Result<(), Error> {
        let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
        let (wants, see) = match self.args {
            Args::No if count > 0 => ("accepts no arguments".to_owned(), "Run"),
            Args::Exactly(n) if count != n => (format!("requires {n} {}", plural(n)), "Run"),
            Args::AtLeast(n) if count < n => (format!("requires at least {n} {}", plural(n)), "See"),
            Args::AtMost(n) if count > n => (format!("requires at most {n} {}", plural(n)), "Run"),
            Args::Range(min, max) if count < min || count > max => {
                (format!("requires at least {min} and at most {max} {}", plural(max)), "Run")
            }
            _ => return Ok(()),
        };
        let (app, command, usage) = (app.to_owned(), called.to_owned(), self.usage_text(called));
        Err(Error::Arguments { app, command, wants, usage, see })
    }
}

/// Commands of one noun.
pub struct Group {
    /// The noun.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// Its commands.
    pub commands: &'static [&'static Command],
}
