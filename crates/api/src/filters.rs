//! The `filters` query parameter: `{"label":{"a=b":true}}`, or the older `{"label":["a=b"]}`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::json::Labels;

/// Values by filter name. No filter matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

/// A filter that cannot be used. The messages are Docker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterError {
    /// Not JSON of either form.
    Syntax(String),
    /// A name that this list does not know.
    Unknown(String),
    /// A value that the name does not take.
    Value { name: String, values: Vec<String> },
}

impl std::fmt::Display for FilterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FilterError::Syntax(_) => f.write_str("invalid filter"),
            FilterError::Unknown(name) => write!(f, "invalid filter '{name}'"),
            FilterError::Value { name, values } => {
                write!(f, "invalid filter '{name}=[{}]'", values.join(" "))
            }
        }
    }
}

impl std::error::Error for FilterError {}

impl Filters {
    /// Reads the query parameter; an empty one is no filter.
    ///
    /// # Errors
    /// [`FilterError::Syntax`] if it has neither of the two forms.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Values {
            Set(BTreeMap<String, bool>),
            List(Vec<String>),
        }
        if text.is_empty() {
            return Ok(Filters::default());
        }
        let read: Option<BTreeMap<String, Values>> =
            serde_json::from_str(text).map_err(|e| FilterError::Syntax(e.to_string()))?;
        let fields = read.unwrap_or_default().into_iter().map(|(name, values)| {
            let values = match values {
                Values::Set(set) => set.into_iter().filter(|(_, on)| *on).map(|(value, _)| value).collect(),
                Values::List(list) => list.into_iter().collect(),
            };
            (name, values)
        });
        Ok(Filters(fields.collect()))
    }

    /// The query parameter's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let fields: BTreeMap<&str, BTreeMap<&str, bool>> = self
            .0
            .iter()
            .map(|(name, values)| (name.as_str(), values.iter().map(|v| (v.as_str(), true)).collect()))
            .collect();
        serde_json::to_string(&fields).unwrap_or_default()
    }

    /// Adds a value.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.entry(name.into()).or_default().insert(value.into());
    }

    /// Removes a filter and returns its values.
    pub fn take(&mut self, name: &str) -> Vec<String> {
        self.0.remove(name).unwrap_or_default().into_iter().collect()
    }

    /// Whether there is no filter at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the filter is given.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The values of a filter.
    pub fn get(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Refuses names that are not accepted.
    ///
    /// # Errors
    /// [`FilterError::Unknown`] with the first such name.
    pub fn validate(&self, accepted: &[&str]) -> Result<(), FilterError> {
        match self.0.keys().find(|name| !accepted.contains(&name.as_str())) {
            Some(name) => Err(FilterError::Unknown(name.clone())),
            None => Ok(()),
        }
    }

    /// A boolean filter, with its value when not given.
    ///
    /// # Errors
    /// [`FilterError::Value`] if the values are not one boolean.
    pub fn get_bool(&self, name: &str, default: bool) -> Result<bool, FilterError> {
        let Some(values) = self.0.get(name).filter(|values| !values.is_empty()) else { return Ok(default) };
        let on = values.contains("1") || values.contains("true");
        let off = values.contains("0") || values.contains("false");
        if on == off || values.len() > 2 {
            let values = values.iter().cloned().collect();
            return Err(FilterError::Value { name: name.to_owned(), values });
        }
        Ok(on)
    }

    /// Whether the filter is absent or has exactly this value.
    #[must_use]
    pub fn exact(&self, name: &str, value: &str) -> bool {
        self.0.get(name).is_none_or(|values| values.is_empty() || values.contains(value))
    }

    /// Whether the filter is absent or one of its values is a prefix of `value`.
    #[must_use]
    pub fn prefix(&self, name: &str, value: &str) -> bool {
        self.0
            .get(name)
            .is_none_or(|values| values.is_empty() || values.iter().any(|v| value.starts_with(v.as_str())))
    }

    /// Whether the filter is absent or one of its values is contained in `value`.
    #[must_use]
    pub fn substring(&self, name: &str, value: &str) -> bool {
        self.0
            .get(name)
            .is_none_or(|values| values.is_empty() || values.iter().any(|v| value.contains(v.as_str())))
    }

    /// Whether every `key` or `key=value` of the filter is among the labels.
    #[must_use]
    pub fn labels(&self, name: &str, labels: &Labels) -> bool {
        self.get(name).all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        })
    }

    /// As [`Filters::labels`] for `label` and, negated, `label!`.
    #[must_use]
    pub fn match_labels(&self, labels: &Labels) -> bool {
        self.labels("label", labels) && (!self.contains("label!") || !self.labels("label!", labels))
    }
}

impl FromIterator<(String, String)> for Filters {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let mut filters = Filters::default();
        for (name, value) in pairs {
            filters.add(name, value);
        }
        filters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms() {
        let set = Filters::parse(r#"{"label":{"a=b":true,"c":true,"off":false}}"#).unwrap();
        let list = Filters::parse(r#"{"label":["a=b","c"]}"#).unwrap();
        assert_eq!(set, list);
        assert_eq!(set.to_json(), r#"{"label":{"a=b":true,"c":true}}"#);
        assert!(Filters::parse("null").unwrap().is_empty());
        assert!(Filters::parse("[").is_err());
    }

    #[test]
    fn names_what_is_wrong() {
        let filters = Filters::parse(r#"{"foo":["1"],"dangling":["maybe"]}"#).unwrap();
        assert_eq!(filters.validate(&["dangling"]).unwrap_err().to_string(), "invalid filter 'foo'");
        let error = filters.get_bool("dangling", false).unwrap_err();
        assert_eq!(error.to_string(), "invalid filter 'dangling=[maybe]'");
        assert!(filters.get_bool("none", true).unwrap());
    }

    #[test]
    fn labels_match_by_key_or_pair() {
        let labels = Labels::from([("a".into(), "b".into()), ("c".into(), String::new())]);
        assert!(Filters::parse(r#"{"label":["a=b","c"]}"#).unwrap().match_labels(&labels));
        assert!(!Filters::parse(r#"{"label":["a=x"]}"#).unwrap().match_labels(&labels));
        assert!(!Filters::parse(r#"{"label!":["a"]}"#).unwrap().match_labels(&labels));
        assert!(Filters::parse(r#"{"label!":["z"]}"#).unwrap().match_labels(&labels));
    }
}
