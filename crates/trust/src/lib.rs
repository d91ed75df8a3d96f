//! Content trust: who has signed an image, and whether that is enough.
//!
//! ```text
//! algorithm  the kinds of keys: ECDSA on P-256 and P-384, Ed25519, RSA
//! public     public keys as PEM files
//! key        key pairs as cosign writes them, the private half sealed with a password
//! signature  what is signed (a digest under a name) and the signature over it
//! policy     a file that says for each registry and repository: accept, reject, or signed by these keys
//! ```
//!
//! Pure but for the reading of the policy's files: where signatures are kept is the caller's matter.

mod algorithm;
mod error;
mod key;
mod pem;
mod policy;
mod public;
mod sealed;
mod signature;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use error::{Refusal, TrustError};
pub use key::KeyPair;
pub use policy::{Decision, Policy};
pub use public::PublicKey;
pub use signature::{ARTIFACT_TYPE, Claim, PAYLOAD_TYPE, SIGNATURE_ANNOTATION, Signature, signature_tag};
