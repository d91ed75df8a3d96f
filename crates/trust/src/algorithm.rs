//! The kinds of keys that images are signed with, and which signatures count for each.

use std::fmt;
use std::str::FromStr;

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, VerificationAlgorithm,
};

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256, over SHA-256.
    P256,
    /// ECDSA on P-384, over SHA-384; signatures over SHA-256, which cosign takes for all of ECDSA, count as well.
    P384,
    /// Ed25519 over the message itself.
    Ed25519,
    /// RSA with a modulus of 2048 to 4096 bits, over SHA-256, with the padding of PKCS #1 v1.5 or PSS.
    Rsa,
}

/// The kinds that keys are made of here, by the names that cosign has for them.
const GENERATED: [(&str, Algorithm); 3] = [
    ("ecdsa-sha2-256-nistp256", Algorithm::P256),
    ("ecdsa-sha2-384-nistp384", Algorithm::P384),
    ("ed25519", Algorithm::Ed25519),
];

impl Algorithm {
    /// What a signature may be made by.
    pub(crate) fn verifications(self) -> Vec<&'static dyn VerificationAlgorithm> {
        match self {
            Algorithm::P256 => vec![&ECDSA_P256_SHA256_ASN1],
            Algorithm::P384 => vec![&ECDSA_P384_SHA384_ASN1, &ECDSA_P384_SHA256_ASN1],
            Algorithm::Ed25519 => vec![&ED25519],
            Algorithm::Rsa => vec![&RSA_PKCS1_2048_8192_SHA256, &RSA_PSS_2048_8192_SHA256],
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::P256 => "P-256",
            Algorithm::P384 => "P-384",
            Algorithm::Ed25519 => "Ed25519",
            Algorithm::Rsa => "RSA",
        })
    }
}

/// No kind of key that is made here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown signing algorithm {0:?}: expected one of {names}", names = GENERATED.map(|(name, _)| name).join(", "))]
pub struct UnknownAlgorithm(String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = GENERATED.iter().find(|(name, _)| *name == text);
        found.map(|(_, algorithm)| *algorithm).ok_or_else(|| UnknownAlgorithm(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kinds_that_can_be_made_have_names() {
        assert_eq!("ed25519".parse(), Ok(Algorithm::Ed25519));
        let error = "rsa".parse::<Algorithm>().unwrap_err().to_string();
        let names = "ecdsa-sha2-256-nistp256, ecdsa-sha2-384-nistp384, ed25519";
        assert_eq!(error, format!("unknown signing algorithm \"rsa\": expected one of {names}"));
    }
}
