//! What is wrong with a key, a signature or a policy.

use std::path::PathBuf;

use dray_spec::Digest;

/// Keys, signatures or a policy can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file can't be read.
    #[error("open {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// No public key of the kind that is understood.
    #[error("invalid public key: {0}")]
    PublicKey(&'static str),
    /// No private key of the kind that is understood.
    #[error("invalid private key: {0}")]
    PrivateKey(&'static str),
    /// The password doesn't open the private key.
    #[error("invalid private key: decrypt: the password is wrong, or the file is damaged")]
    Password,
    /// The system gives no random numbers.
    #[error("make a key pair: no random numbers")]
    Random,
    /// The policy can't be used. Nothing is pulled then.
    #[error("trust policy {}: {problem}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Why a signature doesn't count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What was signed isn't a claim about an image.
    #[error("invalid payload: {0}")]
    Payload(String),
    /// The signature isn't base64.
    #[error("invalid signature: not base64")]
    Encoding,
    /// None of the keys has made it.
    #[error("made by none of the keys")]
    Key,
    /// It is about another image.
    #[error("it is for {0}")]
    Digest(Digest),
    /// It is about another name.
    #[error("it is for {0}")]
    Identity(String),
}
