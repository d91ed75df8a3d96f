//! Rust programs built with cargo-auditable: the crates, as packed JSON in a section.

use std::fs::File;

use serde::Deserialize;

use crate::inventory::{Ecosystem, Package};
use crate::program::{inflated, section};

const SECTION: &str = ".dep-v0";

#[derive(Deserialize)]
struct Document {
    packages: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    /// `build` for what only the build needed.
    #[serde(default)]
    kind: String,
}

/// The crates that are part of a program.
pub(crate) fn packages(file: &File, found_in: &str) -> Vec<Package> {
    section(file, SECTION).and_then(|packed| crates(&packed, found_in)).unwrap_or_default()
}

fn crates(packed: &[u8], found_in: &str) -> Option<Vec<Package>> {
    let document: Document = serde_json::from_slice(&inflated(packed)?).ok()?;
    let linked = document.packages.into_iter().filter(|part| part.kind != "build");
    Some(linked.map(|part| Package::new(Ecosystem::Rust, &part.name, &part.version, found_in)).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn crates_of_the_build_alone_are_no_part() {
        let text = br#"{"packages":[{"name":"serde","version":"1.0.0","source":"crates.io"},
            {"name":"cc","version":"1.1.0","source":"crates.io","kind":"build"},{"name":"app","version":"0.1.0","root":true}]}"#;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        let packed = encoder.finish().unwrap();
        let found = crates(&packed, "f").unwrap();
        let found: Vec<&str> = found.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(found, ["serde", "app"]);
        assert_eq!(crates(&packed[..packed.len() / 2], "f"), None);
        assert_eq!(crates(b"no", "f"), None);
    }
}
