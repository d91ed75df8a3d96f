//! Variables that turn a kind of remote file off: Docker Compose's own, which are read as Go reads truth.

use std::collections::BTreeMap;

/// A variable that is set to neither yes nor no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} environment variable expects boolean value: {value:?} is neither true nor false")]
pub struct NoSwitch {
    name: &'static str,
    value: String,
}

/// Whether a kind of remote file is on; it is where nothing is said.
///
/// # Errors
/// The variable says neither.
pub fn is_on(environment: &BTreeMap<String, String>, name: &'static str) -> Result<bool, NoSwitch> {
    match environment.get(name).map(String::as_str) {
        None | Some("" | "1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(NoSwitch { name, value: other.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_no_and_neither() {
        let set = |value: &str| is_on(&BTreeMap::from([("X".to_owned(), value.to_owned())]), "X");
        assert_eq!(is_on(&BTreeMap::new(), "X"), Ok(true));
        assert_eq!([set(""), set("1"), set("False")], [Ok(true), Ok(true), Ok(false)]);
        assert_eq!(
            set("yes").unwrap_err().to_string(),
            "X environment variable expects boolean value: \"yes\" is neither true nor false"
        );
    }
}
