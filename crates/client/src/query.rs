//! Query strings.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const KEEP: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Encodes one segment of a path.
pub fn segment(text: &str) -> String {
    const NAME: &AsciiSet = &KEEP.remove(b'/').remove(b':').remove(b'@');
    utf8_percent_encode(text, NAME).to_string()
}

/// A query string being put together.
#[derive(Clone, Debug, Default)]
pub struct Query(String);

impl Query {
    /// An empty query.
    pub fn new() -> Query {
        Query::default()
    }

    /// Adds a pair.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl AsRef<str>) -> Query {
        self.add(key, value.as_ref());
        self
    }

    /// Adds a pair unless the value is empty.
    #[must_use]
    pub fn with_some(self, key: &str, value: impl AsRef<str>) -> Query {
        if value.as_ref().is_empty() { self } else { self.with(key, value) }
    }

    /// Adds `key=1` when set.
    #[must_use]
    pub fn with_flag(self, key: &str, set: bool) -> Query {
        if set { self.with(key, "1") } else { self }
    }

    /// Adds filters unless there are none.
    #[must_use]
    pub fn with_filters(self, filters: &dray_api::Filters) -> Query {
        if filters.is_empty() { self } else { self.with("filters", filters.to_json()) }
    }

    /// Adds a pair.
    pub fn add(&mut self, key: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(&utf8_percent_encode(key, KEEP).to_string());
        self.0.push('=');
        self.0.push_str(&utf8_percent_encode(value, KEEP).to_string());
    }

    /// `path?query`, or the path alone.
    pub fn on(&self, path: &str) -> String {
        if self.0.is_empty() { path.to_owned() } else { format!("{path}?{}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_encoded() {
        let q = Query::new().with("t", "a/b:c").with_some("x", "").with_flag("all", true);
        assert_eq!(q.on("/build"), "/build?t=a%2Fb%3Ac&all=1");
        assert_eq!(Query::new().on("/info"), "/info");
        assert_eq!(segment("localhost:5000/a b"), "localhost:5000/a%20b");
    }
}
