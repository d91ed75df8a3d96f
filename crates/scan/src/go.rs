//! Go programs: the linker leaves the version of Go and all modules in a section (Go's debug/buildinfo). Before Go
//! 1.18 it had pointers to them; those programs are passed over.

use std::fs::File;

use crate::inventory::{Ecosystem, Package};
use crate::program::section;

const SECTION: &str = ".go.buildinfo";
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The header before the strings.
const HEADER: usize = 32;
/// A flag of it: the strings follow at once.
const INLINE: u8 = 2;
/// What the linker puts around the modules.
const SENTINEL: usize = 16;

/// The modules of a program, and Go's own library.
pub(crate) fn packages(file: &File, found_in: &str) -> Vec<Package> {
    section(file, SECTION).and_then(|content| modules(&content, found_in)).unwrap_or_default()
}

fn modules(content: &[u8], found_in: &str) -> Option<Vec<Package>> {
    let start = content.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    let content = &content[start..];
    if content.get(15)? & INLINE == 0 {
        return None;
    }
    let (version, rest) = string(content.get(HEADER..)?)?;
    let (modules, _) = string(rest)?;
    let version = String::from_utf8_lossy(version);
    let mut packages: Vec<Package> = Vec::new();
    if let Some(version) = version.split_whitespace().next().and_then(|version| version.strip_prefix("go")) {
        packages.push(Package::new(Ecosystem::Go, "stdlib", version, found_in));
    }
    let inner = modules.get(SENTINEL..modules.len().checked_sub(SENTINEL)?).unwrap_or_default();
    for line in String::from_utf8_lossy(inner).lines() {
        let mut fields = line.split('\t');
        let (kind, name, version) = (fields.next()?, fields.next(), fields.next());
        let (Some(name), Some(version)) = (name, version) else { continue };
        let package = Package::new(Ecosystem::Go, name, version, found_in);
        match kind {
            "mod" | "dep" => packages.push(package),
            // In place of the one before.
            "=>" => {
                packages.pop();
                packages.push(package);
            }
            _ => {}
        }
    }
    Some(packages)
}

/// A string after its length, and what follows.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut shift) = (0_usize, 0);
    for (n, byte) in bytes.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return bytes[n + 1..].split_at_checked(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(version: &str, modules: &str) -> Vec<u8> {
        let mut content = vec![0_u8; 16];
        content.extend_from_slice(MAGIC);
        content.extend_from_slice(&[8, INLINE]);
        content.resize(16 + HEADER, 0);
        let framed = format!("0123456789abcdef{modules}fedcba9876543210");
        for text in [version, &framed] {
            let mut length = text.len();
            while length >= 0x80 {
                content.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                length >>= 7;
            }
            content.push(u8::try_from(length).unwrap());
            content.extend_from_slice(text.as_bytes());
        }
        content
    }

    #[test]
    fn modules_are_those_that_were_linked() {
        let text = "path\texample.org/x/cmd\nmod\texample.org/x\t(devel)\t\ndep\tgithub.com/a/b\tv1.0.0\th1:x=\n\
                    dep\tgithub.com/c/d\tv2.0.0\n=>\tgithub.com/e/d\tv2.0.1\th1:y=\nbuild\t-compiler=gc\n";
        let found = modules(&content("go1.22.1 X:x", text), "f").unwrap();
        let found: Vec<(&str, &str)> = found.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
        assert_eq!(
            found,
            [
                ("stdlib", "1.22.1"),
                ("example.org/x", "(devel)"),
                ("github.com/a/b", "v1.0.0"),
                ("github.com/e/d", "v2.0.1")
            ]
        );
    }

    #[test]
    fn what_is_cut_off_is_nothing() {
        let whole = content("go1.22", "mod\ta\tv1\n");
        for length in 0..whole.len() {
            assert_eq!(modules(&whole[..length], "f"), None, "{length}");
        }
        assert_eq!(string(&[0xff; 9]), None);
    }
}
