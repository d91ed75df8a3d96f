//! Alpine's database of installed packages: paragraphs of one-letter fields.

use crate::inventory::{Ecosystem, Package};

/// The packages that are installed.
pub(crate) fn packages(text: &str, found_in: &str) -> Vec<Package> {
    text.split("\n\n").filter_map(|paragraph| package(paragraph, found_in)).collect()
}

fn package(paragraph: &str, found_in: &str) -> Option<Package> {
    let field = |name: char| {
        let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
        paragraph.lines().find_map(value).filter(|value| !value.is_empty())
    };
    let (name, version) = (field('P')?, field('V')?);
    Some(Package {
        architecture: field('A').unwrap_or_default(),
        source: field('o').map(|origin| (origin, version.clone())),
        license: field('L'),
        ..Package::new(Ecosystem::Apk, &name, &version, found_in)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_a_package() {
        let text =
            "C:Q1x\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:ld.so\n\nP:half\n\nP:zlib\nV:1.3\n";
        let found = packages(text, "f");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), found[0].license.as_deref()), ("musl", Some("MIT")));
        assert_eq!(found[0].source, Some(("musl".into(), "1.2.5-r0".into())));
    }
}
