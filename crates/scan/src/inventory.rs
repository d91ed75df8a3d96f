//! What was found.

use std::collections::BTreeSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// A system with its packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The distribution; none if it does not say.
    pub system: Option<System>,
    /// What is installed, each once.
    pub packages: BTreeSet<Package>,
}

/// A distribution, as `os-release` names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct System {
    /// `debian`
    pub id: String,
    /// `12`
    pub version: String,
    /// `Debian GNU/Linux 12 (bookworm)`
    pub name: String,
}

/// Who made a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ecosystem {
    /// dpkg's database.
    Deb,
    /// Alpine's.
    Apk,
    /// RPM's.
    Rpm,
    /// Python's installed packages.
    Python,
    /// Packages in `node_modules`.
    Node,
    /// Modules of a Go program.
    Go,
    /// Crates of a Rust program.
    Rust,
}

/// A package that is installed, or part of a program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Whose it is.
    pub ecosystem: Ecosystem,
    /// Its name, with its scope or path.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64`; empty where that makes no difference.
    pub architecture: String,
    /// The source package it was built from, with its version if that is another.
    pub source: Option<(String, String)>,
    /// What it says of its licence.
    pub license: Option<String>,
    /// The file that it was found by, from the root.
    pub found_in: String,
}

impl Package {
    /// One with nothing but a name and a version.
    pub(crate) fn new(ecosystem: Ecosystem, name: &str, version: &str, found_in: &str) -> Self {
        Package {
            ecosystem,
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: String::new(),
            source: None,
            license: None,
            found_in: found_in.to_owned(),
        }
    }

    /// Its package URL (purl-spec).
    #[must_use]
    pub fn purl(&self, system: Option<&System>) -> String {
        let distribution = |default: &str| system.map_or(default.to_owned(), |system| system.id.clone());
        let (kind, name) = match self.ecosystem {
            Ecosystem::Deb => ("deb", format!("{}/{}", distribution("debian"), encoded(&self.name))),
            Ecosystem::Apk => ("apk", format!("{}/{}", distribution("alpine"), encoded(&self.name))),
            Ecosystem::Rpm => ("rpm", format!("{}/{}", distribution("redhat"), encoded(&self.name))),
            Ecosystem::Python => ("pypi", encoded(&self.name.to_lowercase().replace('_', "-"))),
            Ecosystem::Node => ("npm", segments(&self.name)),
            Ecosystem::Go => ("golang", segments(&self.name)),
            Ecosystem::Rust => ("cargo", encoded(&self.name)),
        };
        let mut purl = format!("pkg:{kind}/{name}");
        if !self.version.is_empty() {
            purl.push('@');
            purl.push_str(&encoded(&self.version));
        }
        let is_system = matches!(self.ecosystem, Ecosystem::Deb | Ecosystem::Apk | Ecosystem::Rpm);
        let distro = system.filter(|system| is_system && !system.version.is_empty());
        let qualifiers = [
            ("arch", Some(self.architecture.clone()).filter(|text| !text.is_empty())),
            ("distro", distro.map(|system| format!("{}-{}", system.id, system.version))),
        ];
        let qualifiers: Vec<String> = qualifiers
            .into_iter()
            .filter_map(|(key, value)| Some(format!("{key}={}", encoded(&value?))))
            .collect();
        if !qualifiers.is_empty() {
            purl.push('?');
            purl.push_str(&qualifiers.join("&"));
        }
        purl
    }
}

/// What a part of a package URL may have as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

fn segments(name: &str) -> String {
    name.split('/').map(encoded).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls_are_those_of_the_specification() {
        let system = System { id: "debian".into(), version: "12".into(), name: "Debian".into() };
        let mut package = Package::new(Ecosystem::Deb, "libc6", "2.36-9+deb12u9", "var/lib/dpkg/status");
        package.architecture = "amd64".into();
        assert_eq!(
            package.purl(Some(&system)),
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u9?arch=amd64&distro=debian-12"
        );
        let plain = |ecosystem, name: &str, version: &str| {
            Package::new(ecosystem, name, version, "x").purl(Some(&system))
        };
        assert_eq!(plain(Ecosystem::Node, "@types/node", "20.1.0"), "pkg:npm/%40types/node@20.1.0");
        assert_eq!(plain(Ecosystem::Python, "Ruamel_Yaml", "1!2"), "pkg:pypi/ruamel-yaml@1%212");
        assert_eq!(plain(Ecosystem::Go, "github.com/a/B", "v1.2.3"), "pkg:golang/github.com/a/B@v1.2.3");
        assert_eq!(plain(Ecosystem::Rust, "serde", "1.0.0"), "pkg:cargo/serde@1.0.0");
    }
}
