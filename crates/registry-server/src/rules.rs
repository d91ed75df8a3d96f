//! The rules of a registry about what is kept: immutable tags, quotas, warnings, whether anything may be deleted.
//! Pure; who may do what is [`crate::access`]'s.

use serde::Deserialize;

use crate::access::Principal;
use crate::api::{Problem, now};
use crate::metadata::Quota;
use crate::name::Repository;
use crate::pattern::Pattern;

/// A robot's owner is warned so long before its secret ends.
const EXPIRY_NOTICE: i64 = 7 * 24 * 60 * 60 * 1000;
/// The specification's limit of all warnings of an answer together.
const WARNINGS: usize = 4096;

/// The rules.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Whether manifests are taken whose blobs or manifests are not there.
    pub sparse: bool,
    /// Whether nothing may be deleted by clients.
    pub keep_all: bool,
    /// Tags that cannot be moved once they are set.
    pub immutable: Vec<ImmutableTags>,
    /// Limits to what repositories hold.
    pub quotas: Vec<QuotaRule>,
    /// What clients are told with each answer.
    pub warnings: Vec<WarningRule>,
}

/// Tags that cannot be moved or deleted once they are set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImmutableTags {
    /// Repositories.
    pub repositories: Vec<Pattern>,
    /// Their tags.
    pub tags: Vec<Pattern>,
}

/// A limit to what the repositories under a prefix hold together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaRule {
    /// A repository, or the beginning of names up to a slash; empty for the whole registry.
    #[serde(default)]
    pub prefix: String,
    /// Bytes.
    pub bytes: u64,
}

/// A text that clients show to their users.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarningRule {
    /// Repositories.
    pub repositories: Vec<Pattern>,
    /// The text.
    pub text: String,
}

impl Rules {
    /// Whether a tag cannot be moved once it is set.
    #[must_use]
    pub fn is_immutable(&self, repository: &Repository, tag: &str) -> bool {
        self.immutable.iter().any(|rule| any(&rule.repositories, repository.as_str()) && any(&rule.tags, tag))
    }

    /// Whether any tag of a repository may be immutable.
    #[must_use]
    pub fn has_immutable(&self, repository: &Repository) -> bool {
        self.immutable.iter().any(|rule| any(&rule.repositories, repository.as_str()))
    }

    /// The quotas that a repository is under.
    #[must_use]
    pub fn quotas(&self, repository: &Repository) -> Vec<Quota> {
        let under = |prefix: &str| {
            let rest = repository.as_str().strip_prefix(prefix);
            prefix.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let rules = self.quotas.iter().filter(|rule| under(&rule.prefix));
        rules.map(|rule| Quota { prefix: rule.prefix.clone(), bytes: rule.bytes }).collect()
    }

    /// Whether clients may delete.
    ///
    /// # Errors
    /// They may not.
    pub fn may_delete(&self) -> Result<(), Problem> {
        match self.keep_all {
            true => Err(Problem::Method("DELETE: deletion is disabled".into())),
            false => Ok(()),
        }
    }

    /// `Warning` headers for a client.
    #[must_use]
    pub fn warnings(&self, repository: Option<&Repository>, who: &Principal) -> Vec<String> {
        let mut texts: Vec<String> = Vec::new();
        if let Some(name) = repository {
            let fitting = self.warnings.iter().filter(|rule| any(&rule.repositories, name.as_str()));
            texts.extend(fitting.map(|rule| rule.text.clone()));
        }
        if let Some(left) =
            who.ends().map(|ends| ends.saturating_sub(now())).filter(|left| *left < EXPIRY_NOTICE)
        {
            let hours = left.max(0) / (60 * 60 * 1000);
            texts.push(format!("The secret of this robot account ends in {hours} hours."));
        }
        let mut room = WARNINGS;
        let headers = texts.iter().map(|text| format!("299 - \"{}\"", quoted(text)));
        headers
            .take_while(|header| {
                room = room.saturating_sub(header.len());
                room > 0
            })
            .collect()
    }
}

fn any(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.fits(name))
}

/// The inside of a quoted string: no controls, quotes and backslashes escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for letter in text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }) {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().copied().map(Pattern::new).collect()
    }

    fn name(text: &str) -> Repository {
        Repository::parse(text).unwrap()
    }

    #[test]
    fn immutable_tags_are_of_their_repositories() {
        let rule = ImmutableTags { repositories: patterns(&["prod/**"]), tags: patterns(&["v*"]) };
        let rules = Rules { immutable: vec![rule], ..Rules::default() };
        assert!(rules.is_immutable(&name("prod/app"), "v1"));
        assert!(!rules.is_immutable(&name("prod/app"), "latest"));
        assert!(!rules.is_immutable(&name("dev/app"), "v1"));
    }

    #[test]
    fn quotas_end_at_a_slash() {
        let quota = |prefix: &str| QuotaRule { prefix: prefix.into(), bytes: 1 };
        let rules = Rules { quotas: vec![quota(""), quota("team"), quota("team/a")], ..Rules::default() };
        let of = |text: &str| rules.quotas(&name(text)).iter().map(|q| q.prefix.clone()).collect::<Vec<_>>();
        assert_eq!(of("team/a"), ["", "team", "team/a"]);
        assert_eq!(of("team/ab"), ["", "team"]);
        assert_eq!(of("teams"), [""]);
    }

    #[test]
    fn warnings_keep_to_the_form() {
        let rule = |text: &str| WarningRule { repositories: patterns(&["old/*"]), text: text.into() };
        let rules =
            Rules { warnings: vec![rule("say \"no\"\n"), rule(&"x".repeat(5000))], ..Rules::default() };
        let warnings = rules.warnings(Some(&name("old/app")), &Principal::Anonymous);
        assert_eq!(warnings, ["299 - \"say \\\"no\\\" \""]);
        assert!(rules.warnings(Some(&name("new/app")), &Principal::Anonymous).is_empty());
    }
}
