//! Public keys as PEM files: `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7) of the kinds that cosign knows.

use std::fmt;
use std::path::Path;

use ring::signature::UnparsedPublicKey;

use crate::key::read;
use crate::{Algorithm, TrustError, pem};

/// What comes before an elliptic curve's point or an Ed25519 key: all but the key is the same for each.
const CURVES: [(Algorithm, usize, &[u8]); 3] = [
    (
        Algorithm::P256,
        65,
        // id-ecPublicKey, prime256v1, a bit string of 65 bytes.
        &[
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ],
    ),
    (
        Algorithm::P384,
        97,
        // id-ecPublicKey, secp384r1, a bit string of 97 bytes.
        &[
            0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
            0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
        ],
    ),
    (
        Algorithm::Ed25519,
        32,
        // id-Ed25519, a bit string of 32 bytes.
        &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00],
    ),
];

/// `AlgorithmIdentifier` of RSA: rsaEncryption, NULL.
const RSA: [u8; 13] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// Bits of an RSA modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    /// What the algorithm calls the key: an uncompressed point, 32 bytes, or `RSAPublicKey`.
    key: Vec<u8>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.algorithm)
    }
}

impl PublicKey {
    pub(crate) fn of(algorithm: Algorithm, key: &[u8]) -> Self {
        PublicKey { algorithm, key: key.to_vec() }
    }

    /// Reads a PEM file's text.
    ///
    /// # Errors
    /// If it is no public key of an [`Algorithm`].
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let bad = TrustError::PublicKey;
        let (label, der) = pem::read(text).ok_or_else(|| bad("no PEM block"))?;
        if label != "PUBLIC KEY" {
            return Err(bad("the PEM block is no PUBLIC KEY"));
        }
        for (algorithm, length, head) in CURVES {
            if let Some(key) = der.strip_prefix(head)
                && key.len() == length
            {
                return match algorithm == Algorithm::Ed25519 || key[0] == 4 {
                    true => Ok(Self::of(algorithm, key)),
                    false => Err(bad("its point is not uncompressed")),
                };
            }
        }
        let (key, bits) =
            rsa(&der).ok_or_else(|| bad("only ECDSA on P-256 and P-384, Ed25519 and RSA are supported"))?;
        match RSA_BITS.contains(&bits) {
            true => Ok(Self::of(Algorithm::Rsa, key)),
            false => Err(bad("only RSA of 2048 to 4096 bits is supported")),
        }
    }

    /// Reads a PEM file.
    ///
    /// # Errors
    /// As [`Self::parse`], or if it can't be read.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        Self::parse(&read(path)?)
    }

    /// The key as a PEM file.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let curve = CURVES.iter().find(|(algorithm, ..)| *algorithm == self.algorithm);
        let der = match curve {
            Some((.., head)) => [head, self.key.as_slice()].concat(),
            None => {
                let key = [&[0], self.key.as_slice()].concat();
                put(SEQUENCE, &[put(SEQUENCE, &RSA), put(BIT_STRING, &key)].concat())
            }
        };
        pem::write("PUBLIC KEY", &der)
    }

    /// Of which kind it is.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether the key's owner has made `signature` (ASN.1 for ECDSA) over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let made = |&way| UnparsedPublicKey::new(way, &self.key).verify(message, signature).is_ok();
        self.algorithm.verifications().iter().any(made)
    }
}

/// `RSAPublicKey` of a `SubjectPublicKeyInfo`, and the bits of its modulus.
fn rsa(der: &[u8]) -> Option<(&[u8], usize)> {
    let (info, b"") = take(SEQUENCE, der)? else { return None };
    let (algorithm, info) = take(SEQUENCE, info)?;
    let (bits, b"") = take(BIT_STRING, info)? else { return None };
    let key = bits.strip_prefix(&[0])?;
    let (numbers, b"") = take(SEQUENCE, key)? else { return None };
    let (modulus, _) = take(INTEGER, numbers)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let zeros = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
    (algorithm == RSA).then_some((key, modulus.len() * 8 - zeros))
}

/// The content of the DER element of this tag that the bytes begin with, and what comes after it. Lengths of up to 65,535
/// bytes are known.
fn take(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match der {
        [found, length @ 0..=0x7f, rest @ ..] if *found == tag => (usize::from(*length), rest),
        [found, 0x81, length, rest @ ..] if *found == tag => (usize::from(*length), rest),
        [found, 0x82, high, low, rest @ ..] if *found == tag => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// A DER element; its content is no longer than an RSA key of [`RSA_BITS`].
fn put(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let head = match content.len() {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [head.as_slice(), content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_keys_are_named() {
        let error = |text: &str| PublicKey::parse(text).unwrap_err().to_string();
        assert_eq!(error("x"), "invalid public key: no PEM block");
        assert_eq!(
            error(&pem::write("CERTIFICATE", b"x")),
            "invalid public key: the PEM block is no PUBLIC KEY"
        );
        let unknown = "invalid public key: only ECDSA on P-256 and P-384, Ed25519 and RSA are supported";
        assert_eq!(error(&pem::write("PUBLIC KEY", b"x")), unknown);
        assert_eq!(error(include_str!("../fixtures/keys/p521.pub")), unknown);
        assert_eq!(
            error(include_str!("../fixtures/keys/rsa1024.pub")),
            "invalid public key: only RSA of 2048 to 4096 bits is supported"
        );
        assert_eq!(
            error(include_str!("../fixtures/keys/rsa8192.pub")),
            "invalid public key: only RSA of 2048 to 4096 bits is supported"
        );
    }

    #[test]
    fn a_key_that_is_cut_off_or_changed_is_none_or_another() {
        for text in [include_str!("../fixtures/keys/rsa2048.pub"), include_str!("../fixtures/keys/p384.pub")]
        {
            let (_, der) = pem::read(text).unwrap();
            let whole = PublicKey::parse(text).unwrap();
            assert_eq!(whole.to_pem(), text);
            for length in 0..der.len() {
                assert!(PublicKey::parse(&pem::write("PUBLIC KEY", &der[..length])).is_err());
            }
            for at in 0..der.len() {
                let mut other = der.clone();
                other[at] ^= 0x41;
                let parsed = PublicKey::parse(&pem::write("PUBLIC KEY", &other));
                assert!(parsed.map_or(true, |key| key != whole), "byte {at}");
            }
            let longer = [der.as_slice(), b"\0"].concat();
            assert!(PublicKey::parse(&pem::write("PUBLIC KEY", &longer)).is_err());
        }
    }
}
