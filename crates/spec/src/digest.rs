//! Digests: the names of content (`sha256:<64 hex>`), and the hasher that makes them.
//!
//! Invariant: the text of a [`Digest`] is an algorithm known here, a colon, and the algorithm's number of
//! lower-case hexadecimal digits. It is therefore safe as a file name and in a URL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest as _, Sha256, Sha512};

/// The name of some bytes: algorithm and hexadecimal hash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Box<str>);

/// Why a text is not a digest. The messages are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `algorithm:hex`, or the hexadecimal part has other characters.
    #[error("invalid checksum digest format")]
    Format,
    /// The hexadecimal part is too short or too long for the algorithm.
    #[error("invalid checksum digest length")]
    Length,
    /// The algorithm is neither sha256 nor sha512.
    #[error("unsupported digest algorithm")]
    Algorithm,
}

impl Digest {
    /// The sha256 digest of `bytes`.
    #[must_use]
    pub fn sha256_of(bytes: &[u8]) -> Self {
        Self::from_hash("sha256", &Sha256::digest(bytes))
    }

    /// The sha256 digest with this hexadecimal part.
    ///
    /// # Errors
    /// If `hex` is not 64 lower-case hexadecimal digits.
    pub fn from_sha256_hex(hex: &str) -> Result<Self, DigestError> {
        format!("sha256:{hex}").parse()
    }

    /// The whole text, `sha256:<hex>`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The algorithm, `sha256` or `sha512`.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        &self.0[..self.colon()]
    }

    /// The hexadecimal part.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0[self.colon() + 1..]
    }

    /// The first 12 hexadecimal digits: a short ID as Docker shows it.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// True if `bytes` have this digest.
    #[must_use]
    pub fn verifies(&self, bytes: &[u8]) -> bool {
        let mut hasher = Hasher::like(self);
        hasher.update(bytes);
        hasher.finish() == *self
    }

    fn colon(&self) -> usize {
        // Both known algorithms have six letters.
        6
    }

    fn from_hash(algorithm: &str, hash: &[u8]) -> Self {
        Self(format!("{algorithm}:{}", hex::encode(hash)).into_boxed_str())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::Format)?;
        let plausible = !algorithm.is_empty()
            && algorithm
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+._-".contains(&b));
        if !plausible || hex.is_empty() {
            return Err(DigestError::Format);
        }
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return Err(DigestError::Algorithm),
        };
        if !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(DigestError::Format);
        }
        if hex.len() != length {
            return Err(DigestError::Length);
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Digest {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| serde::de::Error::custom(format!("{error}: {text:?}")))
    }
}

/// Incremental digest of bytes that come piece by piece; sha256 unless made by [`Hasher::like`].
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// A sha256 hasher.
    #[must_use]
    pub fn new() -> Self {
        Self(State::Sha256(Sha256::new()))
    }

    /// A hasher of the algorithm of `expected`, to verify bytes against it.
    #[must_use]
    pub fn like(expected: &Digest) -> Self {
        match expected.algorithm() {
            "sha512" => Self(State::Sha512(Sha512::new())),
            _ => Self::new(),
        }
    }

    /// The algorithm, `sha256` or `sha512`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match &self.0 {
            State::Sha256(_) => "sha256",
            State::Sha512(_) => "sha512",
        }
    }

    /// What it has taken in so far, to go on from in another process ([`Hasher::restore`]).
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let state: &[u8] = match &self.0 {
            State::Sha256(hash) => &hash.serialize(),
            State::Sha512(hash) => &hash.serialize(),
        };
        [&[if self.algorithm() == "sha256" { 1 } else { 2 }], state].concat()
    }

    /// The hasher that was saved, or none if the bytes are no such state.
    #[must_use]
    pub fn restore(saved: &[u8]) -> Option<Self> {
        let (algorithm, state) = saved.split_first()?;
        match algorithm {
            1 => Sha256::deserialize(state.try_into().ok()?).ok().map(|hash| Self(State::Sha256(hash))),
            2 => Sha512::deserialize(state.try_into().ok()?).ok().map(|hash| Self(State::Sha512(hash))),
            _ => None,
        }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of all bytes taken in.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(hash) => Digest::from_hash("sha256", &hash.finalize()),
            State::Sha512(hash) => Digest::from_hash("sha512", &hash.finalize()),
        }
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn known_digest_of_nothing() {
        let digest = Digest::sha256_of(b"");
        assert_eq!(digest.as_str(), EMPTY);
        assert_eq!(digest.algorithm(), "sha256");
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert_eq!(digest.hex().len(), 64);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn hasher_in_pieces_equals_whole() {
        let mut hasher = Hasher::new();
        hasher.update(b"hello ");
        hasher.update(b"world");
        assert_eq!(hasher.finish(), Digest::sha256_of(b"hello world"));
    }

    #[test]
    fn a_saved_hasher_goes_on() {
        for mut hasher in [Hasher::new(), Hasher(State::Sha512(Sha512::new()))] {
            let mut whole = hasher.clone();
            hasher.update(&[7; 100]);
            let mut restored = Hasher::restore(&hasher.save()).unwrap();
            restored.update(b"rest");
            whole.update(&[7; 100]);
            whole.update(b"rest");
            assert_eq!(restored.finish(), whole.finish());
        }
        assert!(Hasher::restore(b"").is_none() && Hasher::restore(&[1, 2, 3]).is_none());
    }

    #[test]
    fn sha512_is_verified_too() {
        let mut hasher = Hasher(State::Sha512(Sha512::new()));
        hasher.update(b"abc");
        let digest = hasher.finish();
        assert_eq!(digest.algorithm(), "sha512");
        assert!(digest.verifies(b"abc"));
        assert!(!digest.verifies(b"abd"));
    }

    #[test]
    fn refuses_what_is_no_digest() {
        let hex = "a".repeat(64);
        for (text, error) in [
            ("", DigestError::Format),
            ("sha256", DigestError::Format),
            ("sha256:", DigestError::Format),
            (":abc", DigestError::Format),
            ("sha256:../../etc/passwd", DigestError::Format),
            ("sha256:abc", DigestError::Length),
            (&format!("sha256:{}", "A".repeat(64)), DigestError::Format),
            (&format!("md5:{hex}"), DigestError::Algorithm),
            (&format!("SHA256:{hex}"), DigestError::Format),
            (&format!("sha256:{hex}a"), DigestError::Length),
            (&format!("sha512:{hex}"), DigestError::Length),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(error), "{text}");
        }
    }

    #[test]
    fn json_error_shows_the_text() {
        let error = serde_json::from_str::<Digest>("\"sha256:zz\"").unwrap_err().to_string();
        assert!(error.contains("sha256:zz"), "{error}");
    }
}
