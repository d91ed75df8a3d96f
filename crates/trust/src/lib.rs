//! Content trust: who has signed an image, and whether that is enough.
//!
//! ```text
//! key        a key pair as cosign writes it: P-256, the private half sealed with a password
//! signature  what is signed (a digest under a name) and the signature over it
//! policy     a file that says for each registry and repository: accept, reject, or signed by these keys
//! ```
//!
//! Pure but for the reading of the policy's files: where signatures are kept is the caller's matter.

mod error;
mod key;
mod pem;
mod policy;
mod sealed;
mod signature;

pub use error::{Refusal, TrustError};
pub use key::{KeyPair, PublicKey};
pub use policy::{Decision, Policy};
pub use signature::{ARTIFACT_TYPE, Claim, PAYLOAD_TYPE, SIGNATURE_ANNOTATION, Signature, signature_tag};
