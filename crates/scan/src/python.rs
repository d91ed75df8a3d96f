//! Python's installed packages: `METADATA` of a `.dist-info` folder, `PKG-INFO` of an `.egg-info` one, or a file of that
//! name itself.

use crate::inventory::{Ecosystem, Package};

/// The package that a file of metadata is about: its fields end with the first blank line.
pub(crate) fn package(text: &str, found_in: &str) -> Option<Package> {
    let head = text.split("\n\n").next()?.replace('\r', "");
    let field = |name: &str| {
        let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
        head.lines().find_map(value).filter(|value| !value.is_empty() && value != "UNKNOWN")
    };
    let (name, version) = (field("Name")?, field("Version")?);
    let license = field("License-Expression").or_else(|| field("License"));
    Some(Package { license, ..Package::new(Ecosystem::Python, &name, &version, found_in) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_end_with_a_blank_line() {
        let found =
            package("Metadata-Version: 2.1\r\nName: pip\r\nVersion: 24.0\r\nLicense: MIT\r\n\nName: no", "f");
        let found = found.unwrap();
        assert_eq!((found.name.as_str(), found.version.as_str()), ("pip", "24.0"));
        assert_eq!(found.license.as_deref(), Some("MIT"));
        assert_eq!(package("Name: x\n\nVersion: 1", "f"), None);
    }
}
