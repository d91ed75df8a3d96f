//! Retention: which tags go by themselves, and when.
//!
//! The first rule whose repositories fit decides. A tag is kept if any of the rule's reasons holds, or if it is
//! immutable; what its manifest then no longer needs is the collector's.

use serde::Deserialize;

use crate::api::now;
use crate::duration::Span;
use crate::metadata::{self, Deleted, Metadata, Millis, TagRecord};
use crate::name::Repository;
use crate::pattern::Pattern;
use crate::rules::Rules;

/// Repositories that are looked at at once.
const PAGE: usize = 500;

/// Reasons to keep tags; those without any go.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RetentionRule {
    /// Repositories.
    pub(crate) repositories: Vec<Pattern>,
    /// The newest so many.
    #[serde(default)]
    pub(crate) keep_last: Option<usize>,
    /// Those that were set within this time.
    #[serde(default)]
    pub(crate) keep_within: Option<Span>,
    /// Those whose names fit.
    #[serde(default)]
    pub(crate) keep_tags: Vec<Pattern>,
}

impl RetentionRule {
    /// Whether it keeps anything; one that does not is a mistake.
    pub(crate) fn keeps_something(&self) -> bool {
        self.keep_last.is_some_and(|last| last > 0)
            || self.keep_within.is_some()
            || !self.keep_tags.is_empty()
    }

    /// The tags that go, of all tags of a repository, the newest first.
    fn plan<'a>(&self, tags: &'a [TagRecord], now: Millis) -> Vec<&'a TagRecord> {
        let keeps = |(at, tag): (usize, &TagRecord)| {
            self.keep_last.is_some_and(|last| at < last)
                || self.keep_within.is_some_and(|age| now.saturating_sub(tag.updated) <= age.millis())
                || self.keep_tags.iter().any(|pattern| pattern.fits(&tag.name))
        };
        tags.iter().enumerate().filter(|one| !keeps(*one)).map(|(_, tag)| tag).collect()
    }
}

/// A tag that went, or would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expired {
    /// Its repository.
    pub(crate) repository: Repository,
    /// The tag.
    pub(crate) tag: TagRecord,
}

/// Applies the rules to all repositories; with `dry_run` nothing is deleted.
///
/// # Errors
/// The metadata fail; what was deleted until then is deleted.
pub(crate) async fn apply(
    metadata: &dyn Metadata,
    retention: &[RetentionRule],
    rules: &Rules,
    dry_run: bool,
) -> metadata::Result<Vec<Expired>> {
    let mut expired = Vec::new();
    let mut after: Option<String> = None;
    while !retention.is_empty() {
        let names = metadata.repositories(after.as_deref(), PAGE).await?;
        let Some(last) = names.last() else { break };
        after = Some(last.clone());
        for repository in names.iter().filter_map(|name| Repository::parse(name)) {
            let fits = |rule: &&RetentionRule| rule.repositories.iter().any(|p| p.fits(repository.as_str()));
            let Some(rule) = retention.iter().find(fits) else { continue };
            let tags = metadata.tag_records(&repository).await?;
            for tag in rule.plan(&tags, now()) {
                if rules.is_immutable(&repository, &tag.name) {
                    continue;
                }
                // A tag that has been set meanwhile is a new one.
                if dry_run || metadata.expire_tag(&repository, tag).await? == Deleted::Deleted {
                    expired.push(Expired { repository: repository.clone(), tag: tag.clone() });
                }
            }
        }
    }
    Ok(expired)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dray_spec::Digest;

    const HOUR: Millis = 60 * 60 * 1000;

    /// Tags by name, each an hour older than the one before it.
    fn tags(names: &[&str]) -> Vec<TagRecord> {
        let record = |(at, name): (usize, &&str)| TagRecord {
            name: (*name).to_owned(),
            digest: Digest::sha256_of(b""),
            updated: 100 * HOUR - at as Millis * HOUR,
        };
        names.iter().enumerate().map(record).collect()
    }

    fn plan(rule: &str) -> Vec<String> {
        let rule: RetentionRule = serde_json::from_str(rule).unwrap();
        let tags = tags(&["c5", "c4", "v1", "c3", "latest", "c2"]);
        rule.plan(&tags, 100 * HOUR).into_iter().map(|tag| tag.name.clone()).collect()
    }

    #[test]
    fn any_reason_keeps_a_tag() {
        assert_eq!(plan(r#"{"repositories":[],"keep-last":4}"#), ["latest", "c2"]);
        assert_eq!(plan(r#"{"repositories":[],"keep-within":"2h"}"#), ["c3", "latest", "c2"]);
        assert_eq!(plan(r#"{"repositories":[],"keep-tags":["v*","latest"]}"#), ["c5", "c4", "c3", "c2"]);
        let all = r#"{"repositories":[],"keep-last":1,"keep-within":"1h","keep-tags":["v*","latest"]}"#;
        assert_eq!(plan(all), ["c3", "c2"]);
        assert_eq!(plan(r#"{"repositories":[],"keep-last":99}"#), [""; 0]);
    }

    #[test]
    fn a_rule_without_a_reason_is_a_mistake() {
        for rule in [r#"{"repositories":["**"]}"#, r#"{"repositories":["**"],"keep-last":0}"#] {
            assert!(!serde_json::from_str::<RetentionRule>(rule).unwrap().keeps_something(), "{rule}");
        }
    }
}
