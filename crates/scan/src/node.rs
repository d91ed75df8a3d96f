//! Packages in `node_modules`.

use std::path::{Component, Path};

use serde::Deserialize;
use serde_json::Value;

use crate::inventory::{Ecosystem, Package};

/// Whether a `package.json` is that of an installed package: right below `node_modules`, or below a scope there.
pub(crate) fn is_package(path: &Path) -> bool {
    let parts: Vec<&str> = path
        .components()
        .filter_map(|part| if let Component::Normal(name) = part { name.to_str() } else { None })
        .collect();
    match parts[..] {
        [.., "node_modules", scope, _, _] if scope.starts_with('@') => true,
        [.., "node_modules", name, _] => !name.starts_with('@'),
        _ => false,
    }
}

#[derive(Deserialize)]
struct Document {
    name: String,
    version: String,
    #[serde(default)]
    license: Value,
}

/// The package that a `package.json` is about.
pub(crate) fn package(text: &str, found_in: &str) -> Option<Package> {
    let document: Document = serde_json::from_str(text).ok()?;
    if document.name.is_empty() || document.version.is_empty() {
        return None;
    }
    // It was an object with a type once.
    let license = document.license.as_str().or_else(|| document.license["type"].as_str());
    let license = license.map(str::to_owned);
    Some(Package { license, ..Package::new(Ecosystem::Node, &document.name, &document.version, found_in) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        for (path, is) in [
            ("app/node_modules/express/package.json", true),
            ("app/node_modules/@types/node/package.json", true),
            ("app/node_modules/a/node_modules/b/package.json", true),
            ("app/node_modules/@types/package.json", false),
            ("app/node_modules/express/lib/package.json", false),
            ("app/package.json", false),
        ] {
            assert_eq!(is_package(Path::new(path)), is, "{path}");
        }
        let old = package(r#"{"name":"a","version":"1","license":{"type":"ISC"}}"#, "f").unwrap();
        assert_eq!(old.license.as_deref(), Some("ISC"));
        assert_eq!(package(r#"{"name":"a"}"#, "f"), None);
    }
}
