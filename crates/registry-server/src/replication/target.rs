//! A registry that is copied to, and what of ours it gets.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Notify;

use super::Change;
use crate::duration::Span;
use crate::name::Repository;
use crate::pattern::Pattern;
use crate::remote::{Remote, RemoteError, RemoteRule};

/// How often a request is tried before the copy is given up for now.
const ATTEMPTS: u32 = 3;

/// A target in the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ReplicationRule {
    /// What it is called in commands and figures.
    pub(crate) name: String,
    /// The registry.
    pub(crate) registry: RemoteRule,
    /// What stands before the repositories' names there.
    #[serde(default)]
    pub(crate) prefix: String,
    /// Which repositories; all, if there are none.
    #[serde(default)]
    pub(crate) repositories: Vec<Pattern>,
    /// Which of their tags; all, if there are none.
    #[serde(default)]
    pub(crate) tags: Vec<Pattern>,
    /// Whether signatures and whatever else refers to the images goes along.
    #[serde(default = "yes")]
    pub(crate) referrers: bool,
    /// Whether tags that are not here are deleted there.
    #[serde(default)]
    pub(crate) deletes: bool,
    /// Whether a push is followed at once.
    #[serde(default = "yes")]
    pub(crate) on_push: bool,
    /// How often everything is compared.
    #[serde(default)]
    pub(crate) every: Option<Span>,
}

fn yes() -> bool {
    true
}

/// Why a target cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicationError {
    /// A name that figures and commands could not hold.
    #[error("replication: {0:?} is no name of a target: letters, digits and . _ - only")]
    Name(String),
    /// Two of one name.
    #[error("replication: there are two targets with the name {0}")]
    Twice(String),
    /// Nothing would ever happen.
    #[error("replication: target {0} has neither on-push nor every")]
    Never(String),
    /// The registry.
    #[error("replication: {0}")]
    Remote(#[from] RemoteError),
}

/// A registry that is copied to.
pub(crate) struct Target {
    rule: ReplicationRule,
    remote: Remote,
    /// There may be something to do.
    pub(super) changed: Notify,
}

impl Target {
    pub(super) fn open(rule: &ReplicationRule) -> Result<Self, ReplicationError> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if rule.name.is_empty() || !rule.name.chars().all(plain) {
            return Err(ReplicationError::Name(rule.name.clone()));
        }
        if !rule.on_push && rule.every.is_none_or(|every| every.0.is_zero()) {
            return Err(ReplicationError::Never(rule.name.clone()));
        }
        let remote = Remote::open(&rule.registry, ATTEMPTS)?;
        Ok(Self { rule: rule.clone(), remote, changed: Notify::new() })
    }

    pub(super) fn name(&self) -> &str {
        &self.rule.name
    }

    pub(super) fn domain(&self) -> &str {
        self.remote.domain()
    }

    pub(super) fn every(&self) -> Option<Duration> {
        self.rule.every.map(|every| every.0).filter(|every| !every.is_zero())
    }

    /// Whether it gets a repository.
    pub(super) fn takes(&self, repository: &Repository) -> bool {
        any(&self.rule.repositories, repository.as_str())
    }

    /// Whether it gets a change of a repository at once.
    pub(super) fn follows(&self, repository: &Repository, change: Change) -> bool {
        self.rule.on_push && (change == Change::Grown || self.rule.deletes) && self.takes(repository)
    }

    /// Whether it gets a tag.
    pub(super) fn takes_tag(&self, tag: &str) -> bool {
        any(&self.rule.tags, tag)
    }

    pub(super) fn with_referrers(&self) -> bool {
        self.rule.referrers
    }

    pub(super) fn with_deletes(&self) -> bool {
        self.rule.deletes
    }

    /// A repository's name there.
    pub(super) fn path(&self, repository: &Repository) -> String {
        match self.rule.prefix.trim_matches('/') {
            "" => repository.to_string(),
            prefix => format!("{prefix}/{repository}"),
        }
    }

    /// The repository there.
    pub(super) fn repository(
        &self,
        repository: &Repository,
    ) -> Result<dray_registry::Repository, dray_registry::Error> {
        self.remote.repository(&self.path(repository))
    }
}

fn any(patterns: &[Pattern], name: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.fits(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> ReplicationRule {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_a_target_gets() {
        let text = r#"{"name":"dr","registry":{"url":"https://x.test"},"prefix":"/copy/","repositories":["a/**"],"tags":["v*"]}"#;
        let target = Target::open(&rule(text)).unwrap();
        let name = |text: &str| Repository::parse(text).unwrap();
        assert!(target.takes(&name("a/b")) && !target.takes(&name("b")));
        assert!(target.takes_tag("v1") && !target.takes_tag("latest"));
        assert_eq!(target.path(&name("a/b")), "copy/a/b");
        assert!(target.follows(&name("a/b"), Change::Grown) && !target.follows(&name("a/b"), Change::Shrunk));
        assert!(target.with_referrers() && !target.with_deletes() && target.every().is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| Target::open(&rule(text)).err().expect("it is wrong").to_string();
        assert!(
            error(r#"{"name":"a b","registry":{"url":"https://x.test"}}"#).contains("\"a b\" is no name")
        );
        assert!(error(r#"{"name":"a","registry":{"url":"x"}}"#).contains("\"x\" is not https://"));
        assert!(
            error(r#"{"name":"a","on-push":false,"registry":{"url":"https://x.test"}}"#).contains("neither")
        );
    }
}
