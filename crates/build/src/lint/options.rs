//! `# check=skip=A,B;error=true;experimental=all`: which rules count, and whether what they find ends the build.

use std::collections::BTreeSet;

use crate::dockerfile::{parse_bool, quoted};

use super::Rule;

/// Which rules count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    skip: Selected,
    experimental: Selected,
    /// Whether a warning ends the build.
    pub error: bool,
}

/// Rules by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Selected {
    all: bool,
    names: BTreeSet<String>,
}

/// Why options cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckOptionsError {
    /// Not a known option.
    #[error("invalid check option {option}", option = quoted(.0))]
    Option(String),
    /// `error=` of something that is neither yes nor no.
    #[error("failed to parse check option {option}: strconv.ParseBool: parsing {value}: invalid syntax", option = quoted(.option), value = quoted(.value))]
    Bool {
        /// The whole option.
        option: String,
        /// Its value.
        value: String,
    },
}

impl Selected {
    fn parse(text: &str) -> Selected {
        match text.trim() {
            "all" => Selected { all: true, names: BTreeSet::new() },
            list => {
                let names = list.split(',').map(|name| name.trim().to_owned()).collect();
                Selected { all: false, names }
            }
        }
    }

    fn has(&self, rule: &Rule) -> bool {
        self.all || self.names.contains(rule.name)
    }

    fn extend(&mut self, other: Selected) {
        self.all |= other.all;
        self.names.extend(other.names);
    }
}

impl CheckOptions {
    /// Reads the value of the directive.
    ///
    /// # Errors
    /// When an option is unknown or has a wrong value.
    pub fn parse(text: &str) -> Result<CheckOptions, CheckOptionsError> {
        let mut options = CheckOptions::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(options);
        }
        for option in text.splitn(3, ';') {
            let unknown = |name: &str| CheckOptionsError::Option(name.to_owned());
            let (name, value) = option.split_once('=').ok_or_else(|| unknown(option))?;
            match name.trim() {
                "skip" => options.skip = Selected::parse(value),
                "experimental" => options.experimental = Selected::parse(value),
                "error" => {
                    let value = value.trim();
                    let wrong =
                        || CheckOptionsError::Bool { option: option.to_owned(), value: value.to_owned() };
                    options.error = parse_bool(value).ok_or_else(wrong)?;
                }
                other => return Err(unknown(other)),
            }
        }
        Ok(options)
    }

    /// Whether a rule counts.
    pub(super) fn has(&self, rule: &Rule) -> bool {
        if rule.experimental { self.experimental.has(rule) } else { !self.skip.has(rule) }
    }

    /// The same with what a comment right above an instruction says (`# check=skip=A`).
    pub(super) fn with_comments(&self, comments: &[String]) -> CheckOptions {
        let mut options = self.clone();
        let found = comments.iter().find_map(|comment| directive(comment));
        // `error` is for the whole file.
        if let Some(Ok(more)) = found.map(CheckOptions::parse) {
            options.skip.extend(more.skip);
            options.experimental.extend(more.experimental);
        }
        options
    }
}

/// The value of a comment that is a `check` directive, up to the first blank.
fn directive(comment: &str) -> Option<&str> {
    let (name, value) = comment.split_once('=')?;
    let value = value.trim();
    (name.trim_end().eq_ignore_ascii_case("check") && !value.is_empty())
        .then(|| value.split(' ').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::rule;
    use super::*;

    #[test]
    fn rules_are_skipped_and_asked_for() {
        let options = CheckOptions::parse("skip=StageNameCasing, UndefinedVar ;error=true").expect("valid");
        assert!(options.error);
        assert!(!options.has(&rule::STAGE_NAME_CASING) && !options.has(&rule::UNDEFINED_VAR));
        assert!(options.has(&rule::FROM_AS_CASING));
        assert!(!options.has(&rule::INVALID_DEFINITION_DESCRIPTION));
        let options =
            CheckOptions::parse("skip=all;experimental=InvalidDefinitionDescription").expect("valid");
        assert!(!options.has(&rule::FROM_AS_CASING) && options.has(&rule::INVALID_DEFINITION_DESCRIPTION));
        assert_eq!(CheckOptions::parse(" "), Ok(CheckOptions::default()));
    }

    #[test]
    fn a_comment_skips_for_its_instruction() {
        let options = CheckOptions::default();
        let comments = ["what it does".to_owned(), "check=skip=UndefinedVar on purpose".to_owned()];
        assert!(!options.with_comments(&comments).has(&rule::UNDEFINED_VAR));
        assert!(options.with_comments(&comments[..1]).has(&rule::UNDEFINED_VAR));
        assert!(options.with_comments(&["check=nonsense".to_owned()]).has(&rule::UNDEFINED_VAR));
    }

    #[test]
    fn wrong_options_are_told() {
        let message = |text: &str| CheckOptions::parse(text).expect_err(text).to_string();
        assert_eq!(message("skip"), "invalid check option \"skip\"");
        assert_eq!(message("a=b"), "invalid check option \"a\"");
        assert_eq!(
            message("error=maybe"),
            "failed to parse check option \"error=maybe\": strconv.ParseBool: parsing \"maybe\": invalid syntax"
        );
    }
}
