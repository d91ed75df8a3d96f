//! Names of entries: cleaned as text, before any of it meets the file system.

use super::Problem;

/// Bytes of a whole name.
pub(super) const LONGEST: usize = 4096;

/// A name relative to the layer's root, without `.`, `..`, empty parts or slashes around it. Empty: the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(Vec<u8>);

impl Name {
    /// Cleans a name as it stands in a header: `/a//b/./c/` is `a/b/c`, `a/../b` is `b`, `../a` is refused.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, Problem> {
        if raw.is_empty() || raw.contains(&0) {
            return Err(Problem::Name);
        }
        if raw.len() > LONGEST {
            return Err(Problem::NameTooLong(raw.len()));
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in raw.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop().ok_or(Problem::Escapes)?;
                }
                part => parts.push(part),
            }
        }
        Ok(Self(parts.join(&b'/')))
    }

    /// The layer's root itself.
    pub(crate) fn root() -> Self {
        Self(Vec::new())
    }

    /// The whole name.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Folder and last part; the root has neither.
    pub(crate) fn split(&self) -> (&[u8], &[u8]) {
        split(&self.0)
    }
}

/// Folder and last part of a cleaned name.
pub(crate) fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&name[..slash], &name[slash + 1..]),
        None => (&[], name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning() {
        for (raw, clean) in [
            ("a", "a"),
            ("./a/b", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            ("a//b/", "a/b"),
            ("a/./b/../c", "a/c"),
            (".", ""),
            ("./", ""),
            ("/", ""),
            ("a/..", ""),
            ("...", "..."),
        ] {
            assert_eq!(Name::parse(raw.as_bytes()).unwrap().bytes(), clean.as_bytes(), "{raw}");
        }
        for raw in ["..", "../a", "a/../../b", "/..", "a/b/../../../c"] {
            assert_eq!(Name::parse(raw.as_bytes()), Err(Problem::Escapes), "{raw}");
        }
        assert_eq!(Name::parse(b""), Err(Problem::Name));
        assert_eq!(Name::parse(b"a\0b"), Err(Problem::Name));
        assert_eq!(Name::parse(&[b'a'; 4097]), Err(Problem::NameTooLong(4097)));
    }

    #[test]
    fn splitting() {
        assert_eq!(Name::parse(b"a/b/c").unwrap().split(), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(Name::parse(b"a").unwrap().split(), (&b""[..], &b"a"[..]));
    }
}
