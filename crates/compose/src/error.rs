//! Why a Compose file cannot be used: what is wrong, where it stands, and the line itself.

use std::fmt::{self, Write as _};

use crate::load::{GitError, RegistryError};
use crate::parse::node::Pos;
use crate::parse::{dotenv, template};

/// An error, with its place where it has one.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    pos: Option<Pos>,
    /// File and line of the place, once the sources are known.
    shown: Option<(String, String)>,
}

/// What is wrong. The words are Docker Compose's where it has words for it.
#[derive(Debug, thiserror::Error)]
pub enum Kind {
    /// The text is no YAML.
    #[error("yaml: {0}")]
    Yaml(String),
    /// Aliases blow the document up.
    #[error("yaml: document contains excessive aliasing")]
    Aliases,
    /// Values nest too deep.
    #[error("yaml: values nest deeper than {0}")]
    Depth(usize),
    /// A name stands twice in a mapping.
    #[error("mapping key {name:?} already defined at line {line}")]
    Twice {
        /// The name.
        name: String,
        /// Where it stands first.
        line: u32,
    },
    /// A name is no text.
    #[error("non-string key {place}: {key}")]
    NonStringKey {
        /// The mapping.
        place: String,
        /// The name.
        key: String,
    },
    /// The top of a file is no mapping.
    #[error("top-level object must be a mapping")]
    NoMapping,
    /// Something is not as the schema has it.
    #[error("validating {file}: {text}")]
    Schema {
        /// The file.
        file: String,
        /// What is wrong.
        text: String,
        /// A known name that is like the one that stands there.
        near: Option<String>,
    },
    /// Variables of a value.
    #[error("{}", interpolation(.path, .source))]
    Template {
        /// The value.
        path: String,
        /// What is wrong.
        source: template::Error,
    },
    /// A value with its variables replaced is not of its type.
    #[error("error while interpolating {path}: failed to cast to expected type: {text}")]
    Cast {
        /// The value.
        path: String,
        /// What is wrong.
        text: String,
    },
    /// A file cannot be read.
    #[error("{what} {path}: {source}")]
    File {
        /// The operation.
        what: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        source: SystemError,
    },
    /// An env file.
    #[error("failed to read {path}: {source}")]
    EnvFile {
        /// The file.
        path: String,
        /// What is wrong.
        source: dotenv::Error,
    },
    /// A file in a git repository.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A project in a registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Any other rule that does not hold; the text says which, in Docker Compose's words.
    #[error("{0}")]
    Rule(String),
}

fn interpolation(path: &str, source: &template::Error) -> String {
    match source {
        template::Error::Invalid(text) => format!(
            "invalid interpolation format for {path}.\nYou may need to escape any $ with another $.\n{text}"
        ),
        template::Error::Required { .. } | template::Error::TooLong => {
            format!("error while interpolating {path}: {source}")
        }
    }
}

/// What the system said, as Go programs print it.
#[derive(Debug)]
pub struct SystemError(pub std::io::Error);

impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error").next().unwrap_or(&text);
        let mut chars = text.chars();
        match chars.next().filter(|_| self.0.raw_os_error().is_some()) {
            Some(first) => write!(f, "{}{}", first.to_lowercase(), chars.as_str()),
            None => f.write_str(text),
        }
    }
}

impl std::error::Error for SystemError {}

impl Error {
    /// An error at a place.
    pub fn at(pos: Pos, kind: Kind) -> Error {
        Error(Box::new(Inner { kind, pos: (pos.line > 0).then_some(pos), shown: None }))
    }

    /// A rule that does not hold at a place.
    pub fn rule(pos: Pos, text: impl Into<String>) -> Error {
        Error::at(pos, Kind::Rule(text.into()))
    }

    /// What is wrong.
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// Where.
    pub fn pos(&self) -> Option<Pos> {
        self.0.pos
    }

    /// Adds the file's name and the line's text.
    #[must_use]
    pub fn shown(mut self, file: &str, text: &str) -> Error {
        if let (Some(pos), None) = (self.0.pos, &self.0.shown) {
            let line = text.lines().nth(pos.line as usize - 1).unwrap_or_default();
            self.0.shown = Some((file.to_owned(), line.chars().take(160).collect()));
        }
        self
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Error {
        Error(Box::new(Inner { kind, pos: None, shown: None }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.kind)?;
        let (Some(pos), Some((file, line))) = (self.0.pos, &self.0.shown) else { return Ok(()) };
        let number = pos.line.to_string();
        let margin = " ".repeat(number.len());
        write!(f, "\n{margin}--> {file}:{}:{}", pos.line, pos.column)?;
        if line.trim().is_empty() {
            return Ok(());
        }
        let indent: String =
            line.chars().take(pos.column as usize - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "\n{margin} |\n{number} | {line}\n{margin} | {indent}^")?;
        if let Kind::Schema { near: Some(near), .. } = &self.0.kind {
            f.write_char(' ')?;
            write!(f, "did you mean '{near}'?")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
