//! Key pairs in cosign's files: `cosign.key`, sealed with a password, and `cosign.pub`.

use std::fmt;
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};
use ring::rsa;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};

use crate::{Algorithm, PublicKey, TrustError, pem, sealed};

/// Labels of sealed private keys, the one we write first.
const PRIVATE: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
/// PKCS #8 of Ed25519 up to the 32 bytes of the key, in the first version, which every program reads: version 0,
/// id-Ed25519, an octet string in an octet string (RFC 8410 §7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A private key with its public one.
pub struct KeyPair {
    algorithm: Algorithm,
    pair: Pair,
    pkcs8: Vec<u8>,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(rsa::KeyPair),
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.algorithm)
    }
}

impl KeyPair {
    /// Makes a new one.
    ///
    /// # Errors
    /// If the system gives no random numbers, or keys of this kind are only made elsewhere (RSA).
    pub fn generate(algorithm: Algorithm) -> Result<Self, TrustError> {
        let random = SystemRandom::new();
        let ecdsa = |kind| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).map_err(|_| TrustError::Random)?;
            Ok(pkcs8.as_ref().to_vec())
        };
        let pkcs8 = match algorithm {
            Algorithm::P256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING)?,
            Algorithm::P384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING)?,
            Algorithm::Ed25519 => {
                let mut seed = [0; 32];
                random.fill(&mut seed).map_err(|_| TrustError::Random)?;
                [ED25519_PKCS8.as_slice(), &seed].concat()
            }
            Algorithm::Rsa => return Err(TrustError::PrivateKey("RSA keys are not made here")),
        };
        Self::of(pkcs8)
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
        let (algorithm, pair) = pair(&pkcs8).ok_or(TrustError::PrivateKey(
            "only ECDSA on P-256 and P-384, Ed25519 and RSA of 2048 to 4096 bits are supported",
        ))?;
        Ok(KeyPair { algorithm, pair, pkcs8 })
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
        let key = match &self.pair {
            Pair::Ecdsa(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair) => pair.public().as_ref(),
        };
        PublicKey::of(self.algorithm, key)
    }

    /// Signs a message; ECDSA's signatures are ASN.1, RSA's padded as PKCS #1 v1.5 has it.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TrustError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
        }
        .map_err(|_| TrustError::Random)
    }
}

/// Reads PKCS #8: each kind of key refuses the others'.
fn pair(pkcs8: &[u8]) -> Option<(Algorithm, Pair)> {
    let ecdsa = |kind: &'static EcdsaSigningAlgorithm| {
        EcdsaKeyPair::from_pkcs8(kind, pkcs8, &SystemRandom::new()).ok().map(Pair::Ecdsa)
    };
    if let Some(pair) = ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING) {
        return Some((Algorithm::P256, pair));
    }
    if let Some(pair) = ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING) {
        return Some((Algorithm::P384, pair));
    }
    // Without the public key beside it, which most programs leave out, there is nothing to be checked.
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8) {
        return Some((Algorithm::Ed25519, Pair::Ed25519(pair)));
    }
    rsa::KeyPair::from_pkcs8(pkcs8).ok().map(|pair| (Algorithm::Rsa, Pair::Rsa(pair)))
}

pub(crate) fn read(path: &Path) -> Result<String, TrustError> {
    std::fs::read_to_string(path).map_err(|source| TrustError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: [Algorithm; 3] = [Algorithm::P256, Algorithm::P384, Algorithm::Ed25519];

    #[test]
    fn pairs_of_our_own_sign_and_are_read_again() {
        for algorithm in MADE {
            let pair = KeyPair::generate(algorithm).unwrap();
            let again = KeyPair::parse(&pair.to_pem(b"pw").unwrap(), b"pw").unwrap();
            let public = PublicKey::parse(&pair.public().to_pem()).unwrap();
            assert_eq!((again.algorithm, public.algorithm()), (algorithm, algorithm));
            let signature = again.sign(b"message").unwrap();
            assert!(public.verifies(b"message", &signature));
            assert!(!public.verifies(b"other", &signature));
            assert!(!KeyPair::generate(algorithm).unwrap().public().verifies(b"message", &signature));
            for other in MADE.into_iter().filter(|other| *other != algorithm) {
                assert!(!KeyPair::generate(other).unwrap().public().verifies(b"message", &signature));
            }
            assert!(format!("{pair:?}{public:?}").len() < 50);
        }
        assert!(KeyPair::generate(Algorithm::Rsa).is_err());
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

    /// Public keys of every kind, and what OpenSSL has signed with their private ones.
    macro_rules! openssl {
        ($($key:literal: $($signature:literal),+);+ $(;)?) => {
            [$(($key, include_str!(concat!("../fixtures/keys/", $key, ".pub")),
                &[$(&include_bytes!(concat!("../fixtures/keys/", $signature, ".sig"))[..]),+][..])),+]
        };
    }

    #[test]
    fn what_openssl_has_signed_verifies() {
        let message = include_bytes!("../fixtures/keys/message");
        let keys = openssl! {
            "p256": "p256";
            "p384": "p384-sha256", "p384-sha384";
            "ed25519": "ed25519";
            "rsa2048": "rsa2048-pkcs1", "rsa2048-pss";
            "rsa3072": "rsa3072-pkcs1";
            "rsa4096": "rsa4096-pkcs1";
        };
        for (name, key, signatures) in keys {
            let key = PublicKey::parse(key).unwrap();
            for signature in signatures {
                assert!(key.verifies(message, signature), "{name}");
                assert!(!key.verifies(&message[1..], signature), "{name}");
                for (other, other_key, _) in keys.iter().filter(|(other, ..)| *other != name) {
                    let other_key = PublicKey::parse(other_key).unwrap();
                    assert!(!other_key.verifies(message, signature), "{name} by {other}");
                }
            }
        }
        // Over SHA-1 none counts.
        let weak = include_bytes!("../fixtures/keys/rsa2048-sha1.sig");
        let key = PublicKey::parse(include_str!("../fixtures/keys/rsa2048.pub")).unwrap();
        assert!(!key.verifies(message, weak));
    }

    #[test]
    fn private_keys_of_openssl_s_sign_when_they_are_sealed() {
        let keys = [
            (Algorithm::P384, include_str!("../fixtures/keys/p384.pem")),
            (Algorithm::Ed25519, include_str!("../fixtures/keys/ed25519.pem")),
            (Algorithm::Rsa, include_str!("../fixtures/keys/rsa2048.pem")),
        ];
        for (algorithm, text) in keys {
            let (_, pkcs8) = pem::read(text).unwrap();
            let sealed = pem::write(PRIVATE[0], &sealed::seal(&pkcs8, b"pw").unwrap());
            let pair = KeyPair::parse(&sealed, b"pw").unwrap();
            assert_eq!(pair.algorithm, algorithm);
            assert!(pair.public().verifies(b"x", &pair.sign(b"x").unwrap()));
        }
    }
}
