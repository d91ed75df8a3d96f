//! dpkg's database: paragraphs of fields (deb-control(5)), in one file, or a file for each package where there is no
//! dpkg.

use crate::inventory::{Ecosystem, Package};

/// The packages that are installed.
pub(crate) fn packages(text: &str, found_in: &str) -> Vec<Package> {
    text.split("\n\n").filter_map(|paragraph| package(paragraph, found_in)).collect()
}

fn package(paragraph: &str, found_in: &str) -> Option<Package> {
    let field = |name: &str| {
        let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
        paragraph.lines().find_map(value).filter(|value| !value.is_empty())
    };
    // Without a state it is there because its file is.
    if field("Status").is_some_and(|status| !status.ends_with(" installed")) {
        return None;
    }
    let (name, version) = (field("Package")?, field("Version")?);
    let source = field("Source").map(|source| match source.split_once(" (") {
        Some((name, version)) => (name.to_owned(), version.trim_end_matches(')').to_owned()),
        None => (source, version.clone()),
    });
    Some(Package {
        architecture: field("Architecture").unwrap_or_default(),
        source,
        ..Package::new(Ecosystem::Deb, &name, &version, found_in)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_counts() {
        let text = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc (2.36-9)\n\
                    Version: 2.36-9+b1\nDescription: x\n Version: 7\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nbroken\n\n\
                    Package: bash\nStatus: install ok installed\nVersion: 5.2\nArchitecture: amd64\n";
        let found = packages(text, "f");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), found[0].version.as_str()), ("libc6", "2.36-9+b1"));
        assert_eq!(found[0].source, Some(("glibc".into(), "2.36-9".into())));
        assert_eq!((found[1].architecture.as_str(), &found[1].source), ("amd64", &None));
    }
}
