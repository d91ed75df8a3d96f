//! What the process was told about its cloud: the variables of its environment. They are read here once, so that
//! what becomes of them can be tested without changing this process's own.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Variables, without those that are empty or no text.
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The first of these that is set.
    pub(super) fn any(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Whether a variable says yes.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes"))
    }

    /// Names and values of those that begin so.
    pub(super) fn beginning(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let fits = move |(name, _): &(&str, &str)| name.starts_with(prefix);
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).filter(fits)
    }

    /// A file that a variable names, or the one that is usual in the home folder.
    pub(super) fn file(&self, name: &str, usual: &str) -> Option<PathBuf> {
        let named = self.get(name).map(PathBuf::from);
        named.or_else(|| self.get("HOME").map(|home| PathBuf::from(home).join(usual)))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}
