//! Names that clients choose (repositories, tags) and names that the server makes (uploads, stored objects).
//!
//! Invariant: a value here follows its grammar, so it may go into a URL, a file name or an object's key.

use std::fmt;

use dray_spec::reference::{is_path, is_tag};

/// Longest repository name: what Docker's grammar leaves of 255 characters for any registry.
const REPOSITORY_MAX: usize = 255;

/// The name of a repository, `team/app`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(String);

impl Repository {
    /// The name, if the text is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= REPOSITORY_MAX && is_path(text)).then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A tag, which may move.
    Tag(String),
    /// A digest, which cannot.
    Digest(dray_spec::Digest),
}

impl Target {
    /// Reads the last part of `/v2/<name>/manifests/<tag-or-digest>`.
    ///
    /// # Errors
    /// The text has a colon, as only a digest has, but is none; or it is no tag.
    pub fn parse(text: &str) -> Result<Self, InvalidTarget> {
        if text.contains(':') {
            return text.parse().map(Self::Digest).map_err(InvalidTarget::Digest);
        }
        if is_tag(text) { Ok(Self::Tag(text.to_owned())) } else { Err(InvalidTarget::Tag) }
    }
}

/// Why a text names no manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidTarget {
    /// It is meant as a digest.
    Digest(dray_spec::DigestError),
    /// It is no tag either.
    Tag,
}

/// The name of an upload: a version 4 UUID.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadId(String);

impl UploadId {
    /// A new one, which nobody can guess.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes: [u8; 16] = random_bytes();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = hex::encode(bytes);
        Self(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
    }

    /// The name, if the text is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        });
        (text.len() == 36 && digits).then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a stored object: 32 random hexadecimal digits. No two objects ever have the same, which is what
/// garbage collection rests on: who deletes an object by its key can hit no other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(hex::encode(random_bytes::<16>()))
    }

    /// The key, if the text is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        (text.len() == 32 && hex).then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes from the kernel's generator.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    use rustix::rand::{GetRandomFlags, getrandom};
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // The kernel's generator fails only when interrupted, or before it is seeded at boot, where it waits.
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_follow_the_grammar() {
        for good in ["a", "library/nginx", "a.b/c_d/e__f/g---h", "0/1"] {
            assert!(Repository::parse(good).is_some(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in
            ["", "/", "a/", "/a", "a//b", "A", "a..b", "..", "a/../b", "-a", "a___b", "a b", "é", &long]
        {
            assert!(Repository::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn targets_are_tags_or_digests() {
        assert_eq!(Target::parse("v1.0"), Ok(Target::Tag("v1.0".into())));
        assert!(matches!(Target::parse(&format!("sha256:{}", "a".repeat(64))), Ok(Target::Digest(_))));
        assert!(matches!(Target::parse("sha256:bad"), Err(InvalidTarget::Digest(_))));
        for bad in ["", ".a", "-a", "a b", "a/b", &"a".repeat(129)] {
            assert_eq!(Target::parse(bad), Err(InvalidTarget::Tag), "{bad}");
        }
    }

    #[test]
    fn made_names_are_read_back_and_differ() {
        let (id, key) = (UploadId::random(), Key::random());
        assert_eq!(UploadId::parse(id.as_str()), Some(id.clone()));
        assert_eq!(Key::parse(key.as_str()), Some(key.clone()));
        assert_eq!(&id.as_str()[14..15], "4");
        assert_ne!(id, UploadId::random());
        assert_ne!(key, Key::random());
        assert!(UploadId::parse("../../../../etc/passwd/aaaaaaaaaaaaaa").is_none());
        assert!(Key::parse("../aaaaaaaaaaaaaaaaaaaaaaaaaaaaa").is_none());
    }
}
