//! What is wrong with a bake file: the words, the place, the lines around it.

use std::fmt;

use crate::source::{self, File, Place};

/// A bake file cannot be read, or what was asked of it is not there.
#[derive(Debug, thiserror::Error)]
#[error("{excerpt}{message}")]
pub struct Error {
    message: String,
    excerpt: String,
}

impl Error {
    /// The words alone.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The lines that it is about; empty if it is about none.
    pub fn excerpt(&self) -> &str {
        &self.excerpt
    }

    pub(crate) fn plain(message: impl Into<String>) -> Error {
        Error { message: message.into(), excerpt: String::new() }
    }

    /// With the lines of the first place.
    pub(crate) fn of(failure: &Failure, files: &[File]) -> Error {
        match failure {
            Failure::Plain(message) | Failure::Undefined(message) => Error::plain(message.clone()),
            Failure::Wrong(wrongs) => {
                let first = &wrongs[0];
                let range = first.place.map(|place| format!("{}: ", source::range(files, place)));
                let others = match wrongs.len() {
                    1 => String::new(),
                    n => format!(", and {} other diagnostic(s)", n - 1),
                };
                let message = format!("{}{first}{others}", range.unwrap_or_default());
                let excerpt = first.place.map(|place| source::excerpt(files, place)).unwrap_or_default();
                Error { message, excerpt }
            }
        }
    }
}

/// One thing that is wrong in a file.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    /// What kind of mistake.
    pub summary: String,
    /// What just this one is.
    pub detail: String,
    /// Where.
    pub place: Option<Place>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.summary, self.detail)
    }
}

/// Why reading ends.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// Mistakes with places; at least one.
    Wrong(Vec<Wrong>),
    /// Without a place: who knows it gives it one.
    Plain(String),
    /// A name that nobody has defined; evaluation tells of it where it is used.
    Undefined(String),
}

impl Failure {
    pub fn at(place: Place, summary: impl Into<String>, detail: impl Into<String>) -> Failure {
        Failure::Wrong(vec![Wrong { summary: summary.into(), detail: detail.into(), place: Some(place) }])
    }

    /// With a place, if it has none.
    pub fn within(self, summary: &str, place: Place) -> Failure {
        match self {
            Failure::Plain(text) | Failure::Undefined(text) => Failure::at(place, summary, text),
            wrong => wrong,
        }
    }

    /// The words, without places.
    pub fn text(&self) -> String {
        match self {
            Failure::Plain(text) | Failure::Undefined(text) => text.clone(),
            Failure::Wrong(wrongs) => wrongs[0].to_string(),
        }
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Failure {
        Failure::Plain(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Failure {
        Failure::Plain(text.to_owned())
    }
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;
