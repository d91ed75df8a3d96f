//! P-256 key pairs in cosign's files: `cosign.key`, sealed with a password, and `cosign.pub`.

use std::fmt;
use std::path::Path;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};

use crate::{TrustError, pem, sealed};

/// Labels of sealed private keys, the one we write first.
const PRIVATE: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
/// `SubjectPublicKeyInfo` of P-256 up to the point: id-ecPublicKey, prime256v1, a bit string of 65 bytes.
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The uncompressed point.
    point: Vec<u8>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(P-256)")
    }
}

impl PublicKey {
    /// Reads a PEM file's text.
    ///
    /// # Errors
    /// If it is no public key on P-256.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let bad = TrustError::PublicKey;
        let (label, der) = pem::read(text).ok_or_else(|| bad("no PEM block"))?;
        if label != "PUBLIC KEY" {
            return Err(bad("the PEM block is no PUBLIC KEY"));
        }
        match der.strip_prefix(&SPKI) {
            Some(point) if point.len() == 65 && point[0] == 4 => Ok(PublicKey { point: point.to_vec() }),
            _ => Err(bad("only ECDSA on P-256 is supported")),
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
        pem::write("PUBLIC KEY", &[&SPKI, self.point.as_slice()].concat())
    }

    /// Whether the key's owner has made `signature` (ASN.1) over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point).verify(message, signature).is_ok()
    }
}

/// A private key with its public one.
pub struct KeyPair {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(P-256)")
    }
}

impl KeyPair {
    /// Makes a new one.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate() -> Result<Self, TrustError> {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
        Self::of(pkcs8.map_err(|_| TrustError::Random)?.as_ref().to_vec())
    }

    /// Opens a sealed private key.
    ///
    /// # Errors
    /// If it is none, or the password is wrong.
    pub fn parse(text: &str, password: &[u8]) -> Result<Self, TrustError> {
        let bad = TrustError::PrivateKey;
        let (label, bytes) = pem::read(text).ok_or_else(|| bad("no PEM block"))?;
        if !PRIVATE.contains(&label) {
            return Err(bad("the PEM block is no sealed private key of cosign's"));
        }
        Self::of(sealed::open(&bytes, password)?)
    }

    /// Opens a file with a sealed private key.
    ///
    /// # Errors
    /// As [`Self::parse`], or if it can't be read.
    pub fn read(path: &Path, password: &[u8]) -> Result<Self, TrustError> {
        Self::parse(&read(path)?, password)
    }

    fn of(pkcs8: Vec<u8>) -> Result<Self, TrustError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &SystemRandom::new());
        let pair = pair.map_err(|_| TrustError::PrivateKey("only ECDSA on P-256 is supported"))?;
        Ok(KeyPair { pair, pkcs8 })
    }

    /// The private key sealed with a password, as a PEM file.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn to_pem(&self, password: &[u8]) -> Result<String, TrustError> {
        Ok(pem::write(PRIVATE[0], &sealed::seal(&self.pkcs8, password)?))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey { point: self.pair.public_key().as_ref().to_vec() }
    }

    /// Signs a message; the signature is ASN.1.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TrustError> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| TrustError::Random)?;
        Ok(signature.as_ref().to_vec())
    }
}

fn read(path: &Path) -> Result<String, TrustError> {
    std::fs::read_to_string(path).map_err(|source| TrustError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_of_our_own_signs_and_is_read_again() {
        let pair = KeyPair::generate().unwrap();
        let again = KeyPair::parse(&pair.to_pem(b"pw").unwrap(), b"pw").unwrap();
        let public = PublicKey::parse(&pair.public().to_pem()).unwrap();
        let signature = again.sign(b"message").unwrap();
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"other", &signature));
        assert!(!KeyPair::generate().unwrap().public().verifies(b"message", &signature));
        assert!(format!("{pair:?}{public:?}").len() < 50);
    }

    #[test]
    fn cosign_s_private_key_opens() {
        let text = include_str!("../fixtures/sealed.key");
        let pair = KeyPair::parse(text, b"").unwrap();
        assert!(pair.public().verifies(b"x", &pair.sign(b"x").unwrap()));
        assert!(matches!(KeyPair::parse(text, b"wrong"), Err(TrustError::Password)));
        let old = text.replace("SIGSTORE", "COSIGN");
        assert!(KeyPair::parse(&old, b"").is_ok(), "older cosign's label");
    }

    #[test]
    fn other_keys_are_named() {
        let error = |text: &str| PublicKey::parse(text).unwrap_err().to_string();
        assert_eq!(error("x"), "invalid public key: no PEM block");
        assert_eq!(
            error(&pem::write("CERTIFICATE", b"x")),
            "invalid public key: the PEM block is no PUBLIC KEY"
        );
        assert_eq!(
            error(&pem::write("PUBLIC KEY", b"x")),
            "invalid public key: only ECDSA on P-256 is supported"
        );
    }
}
