//! Which images are listed and pruned: Docker's filters as pure functions.

use std::collections::BTreeMap;

use dray_spec::Reference;
use dray_spec::glob::Glob;
use jiff::Timestamp;

use crate::Image;

/// The conditions of `docker images --filter` and `docker image prune --filter`; all must hold, and of each
/// repeated one any, but every label.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Without any name (true), or with one (false).
    pub dangling: Option<bool>,
    /// `key` or `key=value`.
    pub labels: Vec<String>,
    /// The same, but must not be there.
    pub without_labels: Vec<String>,
    /// Made before one of these images.
    pub before: Option<Timestamp>,
    /// Made after this image.
    pub since: Option<Timestamp>,
    /// Patterns of names, `app*`, `*/app:v?`.
    pub references: Vec<String>,
    /// Made before this time.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// True if the image fulfils every condition.
    #[must_use]
    pub fn matches(&self, image: &Image) -> bool {
        let created = created(image);
        self.dangling.is_none_or(|dangling| dangling == is_dangling(image))
            && self.before.is_none_or(|before| created < before)
            && self.since.is_none_or(|since| created > since)
            && self.until.is_none_or(|until| created <= until)
            && self.matches_labels(image)
            && (self.references.is_empty() || self.names(image).next().is_some())
    }

    /// The image's names that the reference patterns fit; all of them without a pattern. Docker lists an
    /// image under these alone.
    pub fn names<'a>(&'a self, image: &'a Image) -> impl Iterator<Item = &'a Reference> {
        image.tags.iter().chain(&image.repo_digests).filter(|name| {
            self.references.is_empty() || self.references.iter().any(|p| familiar_match(p, name))
        })
    }

    fn matches_labels(&self, image: &Image) -> bool {
        let none = BTreeMap::new();
        let labels = image.config.labels().unwrap_or(&none);
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|actual| actual == value),
            None => labels.contains_key(wanted),
        };
        self.labels.iter().all(has) && !self.without_labels.iter().any(has)
    }
}

/// True if the image has no name with a tag.
#[must_use]
pub fn is_dangling(image: &Image) -> bool {
    image.tags.is_empty() && image.repo_digests.is_empty()
}

/// When the image was made; the beginning of time if it does not say.
#[must_use]
pub fn created(image: &Image) -> Timestamp {
    image.created.parse().unwrap_or(Timestamp::MIN)
}

/// True if the pattern (Go's `path.Match`: `*` and `?` do not cross a `/`) fits the name as it is shown, with or
/// without its tag. A broken pattern fits nothing.
#[must_use]
pub fn familiar_match(pattern: &str, name: &Reference) -> bool {
    let Ok(glob) = Glob::path(pattern) else { return false };
    glob.matches(&name.familiar()) || glob.matches(&name.familiar_name())
}

#[cfg(test)]
mod tests {
    use dray_spec::RunConfig;

    use super::*;
    use crate::images::tests::{Fixture, diff_id};

    fn image(names: &[&str]) -> Image {
        let mut image = Fixture::new().image(30, &[], names);
        let labels = [("a".to_string(), "1".to_string()), ("b".into(), String::new())];
        image.config.config = Some(RunConfig { labels: Some(labels.into()), ..RunConfig::default() });
        image
    }

    fn with(change: impl FnOnce(&mut Filter)) -> Filter {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    }

    #[test]
    fn dangling_means_without_name() {
        let mut bare = image(&[]);
        assert!(with(|f| f.dangling = Some(true)).matches(&bare));
        assert!(!with(|f| f.dangling = Some(false)).matches(&bare));
        assert!(with(|f| f.dangling = Some(false)).matches(&image(&["app"])));
        bare.repo_digests.push(format!("app@{}", diff_id("m")).parse().unwrap());
        assert!(!with(|f| f.dangling = Some(true)).matches(&bare));
    }

    #[test]
    fn labels() {
        let image = image(&[]);
        for (labels, without, expected) in [
            (vec!["a"], vec![], true),
            (vec!["a=1", "b"], vec![], true),
            (vec!["a=2"], vec![], false),
            (vec!["c"], vec![], false),
            (vec![], vec!["c"], true),
            (vec![], vec!["a"], false),
            (vec![], vec!["a=2"], true),
        ] {
            let filter = with(|f| {
                f.labels = labels.iter().map(ToString::to_string).collect();
                f.without_labels = without.iter().map(ToString::to_string).collect();
            });
            assert_eq!(filter.matches(&image), expected, "{labels:?} {without:?}");
        }
    }

    #[test]
    fn times() {
        let image = image(&[]);
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        assert!(with(|f| f.before = at("2026-01-01T00:00:31Z")).matches(&image));
        assert!(!with(|f| f.before = at("2026-01-01T00:00:30Z")).matches(&image));
        assert!(with(|f| f.since = at("2026-01-01T00:00:29Z")).matches(&image));
        assert!(!with(|f| f.since = at("2026-01-01T00:00:30Z")).matches(&image));
        assert!(with(|f| f.until = at("2026-01-01T00:00:30Z")).matches(&image));
        assert!(!with(|f| f.until = at("2026-01-01T00:00:29Z")).matches(&image));
    }

    #[test]
    fn references() {
        let image = image(&["app:v1", "x.io/team/app:v2"]);
        for (pattern, count) in [
            ("app", 1),
            ("app:v1", 1),
            ("app:*", 1),
            ("a?p", 1),
            ("a[a-q]p", 1),
            ("a[^p]p", 0),
            ("a[", 0),
            ("*", 1),
            ("*/*/*", 1),
            ("x.io/team/app:v[12]", 1),
            ("nothing", 0),
        ] {
            let filter = with(|f| f.references = vec![pattern.into()]);
            assert_eq!(filter.names(&image).count(), count, "{pattern}");
            assert_eq!(filter.matches(&image), count > 0, "{pattern}");
        }
        assert_eq!(Filter::default().names(&image).count(), 2);
    }
}
