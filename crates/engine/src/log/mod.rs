//! Container logs: which drivers there are, what their options may be, and reading them back.
//!
//! The shim writes; this module only reads. Both drivers that can be read keep the same form,
//! one JSON object a line:
//!
//! ```text
//! containers/<id>/<id>-json.log      newest      {"log":"text\n","stream":"stdout","attrs":{…},"time":"…"}
//! containers/<id>/<id>-json.log.1    older, renamed by the shim when the file reached max-size;
//! containers/<id>/<id>-json.log.2.gz …packed with compress; at most max-file files in all
//! ```
//!
//! Unlike Docker, logs are bounded when nothing is said: [`DEFAULT_MAX_SIZE`] × [`DEFAULT_MAX_FILE`].

mod attribute;
mod driver;
mod file;
mod part;
mod stream;

pub use attribute::{Subject, attributes};
pub use driver::{DEFAULT_MAX_FILE, DEFAULT_MAX_SIZE, Driver, FileLog};
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
    #[error("unknown log opt '{0}' for json-file log driver")]
    UnknownOption(String),
    /// The other driver has no such option.
    #[error("unknown log opt '{0}' for log driver local")]
    UnknownLocalOption(String),
    /// Neither blocking nor non-blocking.
    #[error("logger: logging mode not supported: {0}")]
    UnknownMode(String),
    /// A buffer that nothing would use.
    #[error("logger: max-buffer-size option is only supported with 'mode=non-blocking'")]
    BufferWithoutMode,
    /// A buffer's size that is none.
    #[error("error parsing option max-buffer-size: {0}")]
    BufferSize(String),
    /// An option's value, when the container starts.
    #[error("failed to create task for container: failed to initialize logging driver: {0}")]
    Start(#[from] OptionError),
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
            | Self::UnknownOption(_)
            | Self::UnknownLocalOption(_)
            | Self::UnknownMode(_)
            | Self::BufferWithoutMode
            | Self::BufferSize(_)
            | Self::NoStream => ErrorKind::InvalidParameter,
            Self::NotReadable => ErrorKind::NotImplemented,
            Self::Start(_) | Self::Read { .. } => ErrorKind::System,
        }
    }
}

/// Why a log cannot be written as its options say.
#[derive(Debug, thiserror::Error)]
pub enum OptionError {
    /// `max-size` is no size.
    #[error("{0}")]
    Size(String),
    /// `max-size` is nothing.
    #[error("max-size must be a positive number")]
    NoSize,
    /// `max-file` is no number.
    #[error("strconv.Atoi: parsing \"{value}\": {reason}")]
    Integer {
        /// What it was set to.
        value: String,
        /// What is wrong with it, in Go's words.
        reason: &'static str,
    },
    /// `max-file` is nothing.
    #[error("max-file cannot be less than 1")]
    NoFile,
    /// `max-file` of the local driver is below nothing.
    #[error("max-file must not be negative")]
    NegativeFiles,
    /// `compress` is neither true nor false.
    #[error("strconv.ParseBool: parsing \"{0}\": invalid syntax")]
    Bool(String),
    /// `compress` of the local driver is neither.
    #[error("invalid boolean value for compress: {0}")]
    LocalBool(String),
    /// No older files, which alone are compressed.
    #[error("compress cannot be true when max-file is less than 2 or max-size is not set")]
    NothingToCompress,
    /// The same of the local driver.
    #[error("compression cannot be enabled when max file count is 1")]
    OneFileCompressed,
    /// A value of the local driver that cannot be read.
    #[error("invalid value for {option}: {value}: {reason}")]
    LocalValue {
        /// The option.
        option: &'static str,
        /// What it was set to.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A pattern that is none.
    #[error("error parsing regexp: {reason}: `{pattern}`")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tag's template that cannot be filled in.
    #[error("template: log-tag: {reason} in {template:?}")]
    Tag {
        /// The template.
        template: String,
        /// What is wrong with it.
        reason: String,
    },
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
