//! Patterns of names in the configuration: `team/*`, `**`, `v1.*`; pure.
//!
//! `*` stands for any characters but a slash, `**` for any characters, `?` for one that is no slash. Everything else
//! stands for itself.

use serde::{Deserialize, Deserializer};

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern that the text is; every text is one.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether it fits all of a name.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        fits(self.0.as_bytes(), name.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// Goes back to the last star only, so the time is bounded by the product of the lengths. A `**` remembered later
/// than a `*` replaces it: what the earlier one could still take, the later one can take as well.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut single: Option<(usize, usize)> = None;
    let mut double: Option<(usize, usize)> = None;
    loop {
        if pattern[p..].starts_with(b"**") {
            p += 2;
            (double, single) = (Some((p, n)), None);
        } else if pattern.get(p) == Some(&b'*') {
            p += 1;
            single = Some((p, n));
        } else if n < name.len()
            && pattern.get(p).is_some_and(|want| *want == name[n] || *want == b'?' && name[n] != b'/')
        {
            (p, n) = (p + 1, n + 1);
        } else if n == name.len() && p == pattern.len() {
            return true;
        } else if let Some((after, taken)) =
            single.filter(|(_, taken)| name.get(*taken).is_some_and(|byte| *byte != b'/'))
        {
            single = Some((after, taken + 1));
            (p, n) = (after, taken + 1);
        } else if let Some((after, taken)) = double.filter(|(_, taken)| *taken < name.len()) {
            (double, single) = (Some((after, taken + 1)), None);
            (p, n) = (after, taken + 1);
        } else {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, fitting, others) in [
            ("a", &["a"][..], &["", "b", "aa", "a/a"][..]),
            ("team/*", &["team/a", "team/"], &["team", "team/a/b", "steam/a"]),
            ("**", &["", "a", "a/b/c"], &[]),
            ("team/**", &["team/a", "team/a/b"], &["team", "other/team/a"]),
            ("**/app", &["a/app", "a/b/app"], &["app", "a/apps"]),
            ("*/app/*", &["a/app/b"], &["a/b/app/c", "a/app/b/c"]),
            ("**/x*y/z", &["a/xy/z", "a/b/x12y/z", "xy/xy/z"], &["a/x/y/z", "xy/z"]),
            ("v?.*", &["v1.0", "v2."], &["v10.0", "v/.0", "v1"]),
            ("a*b*c", &["abc", "axbxbxc"], &["abxcx", "ab/c"]),
        ] {
            let pattern = Pattern::new(pattern);
            for name in fitting {
                assert!(pattern.fits(name), "{pattern:?} {name}");
            }
            for name in others {
                assert!(!pattern.fits(name), "{pattern:?} {name}");
            }
        }
    }

    #[test]
    fn many_stars_take_no_eternity() {
        let pattern = Pattern::new("*a".repeat(100) + "b");
        assert!(!pattern.fits(&"a".repeat(5000)));
        let pattern = Pattern::new("**a*".repeat(50) + "b");
        assert!(!pattern.fits(&"a/".repeat(2500)));
    }
}
