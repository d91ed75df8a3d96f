//! Container logs: which drivers there are, what their options may be, and reading them back.
//!
//! The shim writes; this module only reads. Both drivers that can be read keep the same form,
//! one JSON object a line:
//!
//! ```text
//! containers/<id>/<id>-json.log      newest      {"log":"text\n","stream":"stdout","time":"…"}
//! containers/<id>/<id>-json.log.1    older, renamed by the shim when the file reached max-size
//! containers/<id>/<id>-json.log.2    …at most max-file files in all
//! ```
//!
//! Unlike Docker, logs are bounded when nothing is said: [`DEFAULT_MAX_SIZE`] × [`DEFAULT_MAX_FILE`].

mod driver;
mod file;
mod stream;

pub use driver::{DEFAULT_MAX_FILE, DEFAULT_MAX_SIZE, Driver, Rotation, details};
pub use stream::{LogStream, Source};

use jiff::Timestamp;

use crate::ErrorKind;

/// Why logs cannot be configured or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No driver of that name.
    #[error("error looking up logging plugin {0}: plugin \"{0}\" not found")]
    UnknownDriver(String),
    /// The driver has no such option.
    #[error("unknown log opt '{option}' for {driver} log driver")]
    UnknownOption {
        /// The driver's name.
        driver: &'static str,
        /// The option it does not have.
        option: String,
    },
    /// The option's value cannot be read.
    #[error("invalid value for log opt '{option}': {value}")]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// What it was set to.
        value: String,
    },
    /// The driver keeps nothing that could be read.
    #[error("configured logging driver does not support reading")]
    NotReadable,
    /// The request asks for neither stream.
    #[error("Bad parameters: you must choose at least one stream")]
    NoStream,
    /// The log file cannot be read.
    #[error("reading log {path}: {source}")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownDriver(_)
            | Self::UnknownOption { .. }
            | Self::InvalidOption { .. }
            | Self::NoStream => ErrorKind::InvalidParameter,
            Self::NotReadable => ErrorKind::NotImplemented,
            Self::Read { .. } => ErrorKind::System,
        }
    }
}

/// Which part of a log is wanted, and in what form.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Show what the program wrote to its standard output.
    pub stdout: bool,
    /// Show what the program wrote to its standard error.
    pub stderr: bool,
    /// Keep the stream open and send what comes.
    pub follow: bool,
    /// Only entries of this time or later.
    pub since: Option<Timestamp>,
    /// Only entries of this time or earlier.
    pub until: Option<Timestamp>,
    /// Put each entry's time before it.
    pub timestamps: bool,
    /// Put the attributes chosen by the log options `labels`, `env` and `tag` before it.
    pub details: bool,
    /// Only so many of the last entries; all when none.
    pub tail: Option<u64>,
}
