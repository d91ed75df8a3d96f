//! The one place that turns failures of commands into words and exit codes.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::format::listing;

/// Exit code when the command line or the daemon refuses to run a container.
pub const REFUSED: u8 = 125;
/// Exit code when the program cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit code when the program does not exist.
pub const NOT_FOUND: u8 = 127;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon, or the way to it.
    #[error(transparent)]
    Client(#[from] dray_client::Error),
    /// A `--format`.
    #[error(transparent)]
    Listing(#[from] listing::Error),
    /// A flag or its value.
    #[error("{text}\n\nUsage:  {usage}\n\nRun '{command} --help' for more information")]
    Flag {
        /// What pflag says.
        text: String,
        /// The command's usage line.
        usage: String,
        /// The command as called.
        command: String,
    },
    /// The number of arguments.
    #[error("{app}: '{command}' {wants}\n\nUsage:  {usage}\n\n{see} '{command} --help' for more information")]
    Arguments {
        /// What the program is called.
        app: String,
        /// The command as called.
        command: String,
        /// What it wants.
        wants: String,
        /// The command's usage line.
        usage: String,
        /// `See` or `Run`, as Docker has it.
        see: &'static str,
    },
    /// No such command.
    #[error("{app}: unknown command: {command}\n\n{usage}Run '{parent} --help' for more information")]
    UnknownCommand {
        /// What the program is called.
        app: String,
        /// The whole command.
        command: String,
        /// The group's usage, if it is in one.
        usage: String,
        /// The group.
        parent: String,
    },
    /// A failure of `run` or `create`, which point to their help.
    #[error("{app}: {source}\n\nRun '{command} --help' for more information")]
    WithHelp {
        /// What the program is called.
        app: String,
        /// The command as called.
        command: String,
        /// Exit code.
        code: u8,
        /// The failure itself.
        source: Box<Error>,
    },
    /// The command asks for something that cannot be done; the text says what, in Docker's words.
    #[error("{0}")]
    Refused(String),
    /// A file.
    #[error("{what} {path}: {source}")]
    File {
        /// The operation.
        what: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        source: Sys,
    },
    /// A stream.
    #[error("{what}: {source}")]
    Io {
        /// The operation.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// JSON that is not what it should be.
    #[error("{what}: {source}")]
    Json {
        /// What was read.
        what: String,
        /// Where it went wrong.
        source: serde_json::Error,
    },
    /// A message stream of the daemon told of an error.
    #[error("{message}")]
    Stream {
        /// The daemon's text.
        message: String,
        /// Exit code.
        code: u8,
    },
    /// Several arguments failed, each for itself.
    #[error("{}", lines(.0))]
    Several(Vec<Error>),
    /// All is said; only the exit code is left.
    #[error("exit status {0}")]
    Exit(u8),
    /// An error with an exit code of its own.
    #[error("{source}")]
    Coded {
        /// Exit code.
        code: u8,
        /// The error.
        source: Box<Error>,
    },
}

/// What the system said, in the short form that Go programs print: `no such file or directory`.
#[derive(Debug)]
pub struct Sys(pub io::Error);

impl std::fmt::Display for Sys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&errno_text(&self.0))
    }
}

impl std::error::Error for Sys {}

/// The text of a system error without Rust's `(os error N)`, in lower case.
pub fn errno_text(e: &io::Error) -> String {
    let text = e.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    match (e.raw_os_error(), chars.next()) {
        (Some(_), Some(first)) => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

fn lines(errors: &[Error]) -> String {
    let mut out = String::new();
    for (i, e) in errors.iter().enumerate() {
        let _ = write!(out, "{}{e}", if i > 0 { "\n" } else { "" });
    }
    out
}

impl Error {
    /// An operation on a file that failed.
    pub fn file(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().display().to_string();
        move |source| Error::File { what, path, source: Sys(source) }
    }

    /// An operation on a stream that failed; a reader that went away ends the program without words.
    pub fn io(what: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| match source.kind() {
            io::ErrorKind::BrokenPipe => Error::Exit(141),
            _ => Error::Io { what, source },
        }
    }

    /// With an exit code of its own.
    pub fn with_code(self, code: u8) -> Error {
        Error::Coded { code, source: Box::new(self) }
    }

    /// One error of several, none of none.
    ///
    /// # Errors
    /// There are any.
    pub fn all(mut errors: Vec<Error>) -> Result<(), Error> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several(errors)),
        }
    }

    /// The program's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Error::Flag { .. } => REFUSED,
            Error::WithHelp { code, .. }
            | Error::Stream { code, .. }
            | Error::Exit(code)
            | Error::Coded { code, .. } => *code,
            _ => 1,
        }
    }

    /// What standard error shows; nothing if all is said.
    pub fn words(&self) -> Option<String> {
        match self {
            Error::Exit(_) => None,
            e => Some(e.to_string()),
        }
    }

    /// Whether the daemon said that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Client(e) if e.is_not_found())
    }
}
