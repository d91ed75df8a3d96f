//! The `--flags` of an instruction.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::dockerfile::error::{Fault, Located};
use crate::dockerfile::suggest::closest;
use crate::dockerfile::syntax::Word;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// `--x`, `--x=true`, `--x=false`.
    Bool,
    /// `--x=value`, once.
    One,
    /// `--x=value`, any number of times.
    Many,
}

/// The values that were given.
#[derive(Debug, Default)]
pub(super) struct Flags {
    given: BTreeMap<&'static str, Vec<Value>>,
}

#[derive(Debug)]
struct Value {
    text: String,
    at: Range<usize>,
}

impl Flags {
    /// Reads `words` against the flags that the instruction has.
    pub(super) fn parse(words: &[Word], known: &[(&'static str, Takes)]) -> Result<Flags, Located> {
        let mut flags = Flags::default();
        for word in words {
            let (flag, value) = match word.text.split_once('=') {
                Some((flag, value)) => (flag, Some(value)),
                None => (word.text.as_str(), None),
            };
            let name = flag.trim_start_matches("--");
            let Some((name, takes)) = known.iter().find(|(known, _)| *known == name) else {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                let suggestion = closest(name, &names, false);
                return Err(Fault::UnknownFlag { flag: flag.to_owned(), suggestion }.at(word.at.clone()));
            };
            let values = flags.given.entry(name).or_default();
            if !values.is_empty() && *takes != Takes::Many {
                return Err(Fault::DuplicateFlag(flag.to_owned()).at(word.at.clone()));
            }
            let text = checked(flag, value, *takes).map_err(|fault| fault.at(word.at.clone()))?;
            values.push(Value { text, at: word.at.clone() });
        }
        Ok(flags)
    }

    /// The value of a flag that takes one; an empty one counts as none.
    pub(super) fn one(&self, name: &str) -> Option<String> {
        self.located(name).map(|(text, _)| text.to_owned()).filter(|text| !text.is_empty())
    }

    /// The value and its place.
    pub(super) fn located(&self, name: &str) -> Option<(&str, Range<usize>)> {
        let value = self.given.get(name)?.first()?;
        Some((&value.text, value.at.clone()))
    }

    /// All values of a flag with their places.
    pub(super) fn many(&self, name: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.given.get(name).into_iter().flatten().map(|value| (value.text.as_str(), value.at.clone()))
    }

    /// All values of a flag.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.many(name).map(|(text, _)| text.to_owned()).collect()
    }

    /// A yes-or-no flag, if given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.located(name).map(|(text, _)| text == "true")
    }
}

fn checked(flag: &str, value: Option<&str>, takes: Takes) -> Result<String, Fault> {
    let missing = || Fault::MissingFlagValue(flag.to_owned());
    match (takes, value) {
        (Takes::Bool, None) => Ok("true".to_owned()),
        (Takes::Bool, Some("")) => Err(missing()),
        (Takes::Bool, Some(value)) => match value.to_ascii_lowercase().as_str() {
            on_off @ ("true" | "false") => Ok(on_off.to_owned()),
            _ => Err(Fault::NotBoolean { flag: flag.to_owned(), value: value.to_owned() }),
        },
        (_, None) => Err(missing()),
        (_, Some(value)) => Ok(value.to_owned()),
    }
}
