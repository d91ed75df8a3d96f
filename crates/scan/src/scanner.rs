//! Goes through a root and hands each file to who knows its kind.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::Stat;

use crate::inventory::{Inventory, Package, System};
use crate::root::{Root, ScanError};
use crate::{apk, dpkg, go, node, python, rpm, rust};

/// The most of a text that is read: a large dpkg database has some MiB.
const MAX_TEXT: u64 = 128 << 20;
/// The most of a file of metadata.
const MAX_METADATA: u64 = 4 << 20;
/// Packages of one root.
const MAX_PACKAGES: usize = 200_000;

/// Finds what a root is made of.
///
/// # Errors
/// If a folder cannot be read. A file that cannot be read, or is none of those it seems, has nothing to say.
pub fn scan(root: BorrowedFd<'_>) -> Result<Inventory, ScanError> {
    let root = Root::new(root);
    let mut inventory = Inventory { system: system(&root), ..Inventory::default() };
    let mut visit = |path: &Path, stat: &Stat| {
        if inventory.packages.len() < MAX_PACKAGES
            && let Some(kind) = Kind::of(path, stat)
        {
            inventory.packages.extend(kind.read(&root, path));
        }
    };
    root.walk(&mut visit)?;
    Ok(inventory)
}

/// What a file may be, as far as its name and its mode say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dpkg,
    Apk,
    Rpm,
    Python,
    Node,
    Program,
}

impl Kind {
    fn of(path: &Path, stat: &Stat) -> Option<Kind> {
        let text = path.to_str()?;
        let name = path.file_name()?.to_str()?;
        let folder = path.parent()?.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let status = text.strip_prefix("var/lib/dpkg/status.d/");
        Some(match name {
            _ if text == "var/lib/dpkg/status" => Kind::Dpkg,
            _ if status.is_some_and(|name| !name.contains('/') && !name.ends_with(".md5sums")) => Kind::Dpkg,
            "installed" if matches!(text, "lib/apk/db/installed" | "usr/lib/apk/db/installed") => Kind::Apk,
            "rpmdb.sqlite" => Kind::Rpm,
            "METADATA" if folder.ends_with(".dist-info") => Kind::Python,
            "PKG-INFO" if folder.ends_with(".egg-info") => Kind::Python,
            name if name.ends_with(".egg-info") => Kind::Python,
            "package.json" if node::is_package(path) => Kind::Node,
            _ if stat.st_mode & 0o111 != 0 && stat.st_size > 4096 => Kind::Program,
            _ => return None,
        })
    }

    fn read(self, root: &Root<'_>, path: &Path) -> Vec<Package> {
        let shown = path.to_string_lossy();
        let text = |most| root.text(path, most).unwrap_or_default();
        match self {
            Kind::Dpkg => dpkg::packages(&text(MAX_TEXT), &shown),
            Kind::Apk => apk::packages(&text(MAX_TEXT), &shown),
            Kind::Rpm => root.open(path).map(|file| rpm::packages(&file, &shown)).unwrap_or_default(),
            Kind::Python => python::package(&text(MAX_METADATA), &shown).into_iter().collect(),
            Kind::Node => node::package(&text(MAX_METADATA), &shown).into_iter().collect(),
            Kind::Program => {
                let Ok(file) = root.open(path) else { return Vec::new() };
                let mut packages = go::packages(&file, &shown);
                packages.extend(rust::packages(&file, &shown));
                packages
            }
        }
    }
}

/// The distribution, by `os-release`.
fn system(root: &Root<'_>) -> Option<System> {
    let files = ["etc/os-release", "usr/lib/os-release"];
    let text = files.iter().find_map(|file| root.text(file, MAX_METADATA))?;
    let value = |key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
    };
    let system = System { id: value("ID"), version: value("VERSION_ID"), name: value("PRETTY_NAME") };
    (!system.id.is_empty()).then_some(system)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::inventory::Ecosystem;

    #[test]
    fn packages_are_found_wherever_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n");
        // An absolute link is one of the image.
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        symlink("/usr/lib/os-release", dir.path().join("etc/os-release")).unwrap();
        put("var/lib/dpkg/status", "Package: base-files\nStatus: install ok installed\nVersion: 12\n");
        put("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2024a\n");
        put("var/lib/dpkg/status.d/tzdata.md5sums", "Package: no\nVersion: 1\n");
        put(
            "usr/lib/python3/site-packages/Flask-3.0.dist-info/METADATA",
            "Name: Flask\nVersion: 3.0\n\nName: no\n",
        );
        put("app/node_modules/@a/b/package.json", r#"{"name":"@a/b","version":"1.0.0"}"#);
        put("app/node_modules/@a/b/test/package.json", r#"{"name":"no","version":"1.0.0"}"#);
        put("app/package.json", r#"{"name":"no","version":"1.0.0"}"#);
        put("proc/node_modules/x/package.json", r#"{"name":"no","version":"1.0.0"}"#);
        put("app/node_modules/broken/package.json", "{");
        symlink("/", dir.path().join("app/loop")).unwrap();
        let root = fs::File::open(dir.path()).unwrap();
        let inventory = scan(root.as_fd()).unwrap();
        assert_eq!(inventory.system.unwrap().id, "debian");
        let found: Vec<(Ecosystem, &str, &str)> =
            inventory.packages.iter().map(|p| (p.ecosystem, p.name.as_str(), p.version.as_str())).collect();
        assert_eq!(
            found,
            [
                (Ecosystem::Deb, "base-files", "12"),
                (Ecosystem::Deb, "tzdata", "2024a"),
                (Ecosystem::Python, "Flask", "3.0"),
                (Ecosystem::Node, "@a/b", "1.0.0"),
            ]
        );
    }
}
