//! cosign's signatures: a claim that a digest belongs to a name ("simple signing"), and a signature over its bytes.
//!
//! ```json
//! {"critical":{"identity":{"docker-reference":"reg.test/app"},"image":{"docker-manifest-digest":"sha256:…"},
//!              "type":"cosign container image signature"},"optional":null}
//! ```

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_spec::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{KeyPair, PublicKey, Refusal, TrustError};

/// The type of the artifact that holds signatures, for referrers.
pub const ARTIFACT_TYPE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// The media type of a claim.
pub const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Where the signature over a claim stands: an annotation of the claim's descriptor.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";

const CLAIM_TYPE: &str = "cosign container image signature";

/// The tag under which cosign keeps the signatures of a digest where it uses no referrers.
#[must_use]
pub fn signature_tag(digest: &Digest) -> String {
    format!("{}-{}.sig", digest.algorithm(), digest.hex())
}

/// What somebody has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The name the image is said to have.
    pub reference: String,
    /// The image.
    pub digest: Digest,
    /// Free notes.
    pub annotations: BTreeMap<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    critical: Critical,
    optional: Option<BTreeMap<String, Value>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

impl Claim {
    /// The bytes that are signed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let document = Document {
            critical: Critical {
                identity: Identity { reference: self.reference.clone() },
                image: Image { digest: self.digest.clone() },
                kind: CLAIM_TYPE.to_owned(),
            },
            optional: (!self.annotations.is_empty()).then(|| self.annotations.clone()),
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| Refusal::Payload(error.to_string()))?;
        if document.critical.kind != CLAIM_TYPE {
            return Err(Refusal::Payload(format!("unknown type {:?}", document.critical.kind)));
        }
        Ok(Claim {
            reference: document.critical.identity.reference,
            digest: document.critical.image.digest,
            annotations: document.optional.unwrap_or_default(),
        })
    }
}

/// A claim with the signature over it, as it was found: not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The claim's bytes.
    pub payload: Vec<u8>,
    /// The signature in base64, as it stands in the annotation.
    pub signature: String,
}

impl Signature {
    /// Signs a claim.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn make(claim: &Claim, key: &KeyPair) -> Result<Self, TrustError> {
        let payload = claim.to_bytes();
        let signature = STANDARD.encode(key.sign(&payload)?);
        Ok(Signature { payload, signature })
    }

    /// The claim, if one of the keys has signed it.
    ///
    /// # Errors
    /// If none has, or it is no claim.
    pub fn claim(&self, keys: &[PublicKey]) -> Result<Claim, Refusal> {
        let signature = STANDARD.decode(&self.signature).map_err(|_| Refusal::Encoding)?;
        if !keys.iter().any(|key| key.verifies(&self.payload, &signature)) {
            return Err(Refusal::Key);
        }
        // Only now: what nobody has signed isn't even read.
        Claim::parse(&self.payload)
    }

    /// The claim, if one of the keys has signed it and it is about one of `digests`.
    ///
    /// # Errors
    /// As [`Self::claim`], or if it is about another image.
    pub fn claim_about(&self, digests: &[Digest], keys: &[PublicKey]) -> Result<Claim, Refusal> {
        let claim = self.claim(keys)?;
        if digests.contains(&claim.digest) { Ok(claim) } else { Err(Refusal::Digest(claim.digest)) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Algorithm;

    /// A signature made by cosign, from containers/image's tests.
    pub(crate) fn recorded(text: &str) -> Signature {
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(value["mimeType"], PAYLOAD_TYPE);
        Signature {
            payload: STANDARD.decode(value["payload"].as_str().unwrap()).unwrap(),
            signature: value["annotations"][SIGNATURE_ANNOTATION].as_str().unwrap().to_owned(),
        }
    }

    pub(crate) fn cosign_key() -> PublicKey {
        PublicKey::parse(include_str!("../fixtures/cosign.pub")).unwrap()
    }

    #[test]
    fn cosign_s_signatures_verify() {
        let keys = [cosign_key()];
        let single = recorded(include_str!("../fixtures/single.json"));
        let digest = Digest::sha256_of(include_bytes!("../fixtures/single.manifest.json"));
        let claim = single.claim_about(std::slice::from_ref(&digest), &keys).unwrap();
        assert_eq!(claim.reference, "192.168.64.2:5000/cosign-signed-single-sample");
        assert_eq!(claim.to_bytes(), single.payload, "byte for byte what cosign writes");
        let modified = Digest::sha256_of(include_bytes!("../fixtures/other-digest.manifest.json"));
        assert_eq!(single.claim_about(&[modified], &keys), Err(Refusal::Digest(digest)));
        let unknown = recorded(include_str!("../fixtures/unknown-key.json"));
        assert_eq!(unknown.claim(&keys), Err(Refusal::Key));
    }

    #[test]
    fn a_changed_byte_is_found() {
        let keys = [cosign_key()];
        let good = recorded(include_str!("../fixtures/single.json"));
        for at in [0, 30, good.payload.len() - 2] {
            let mut bad = good.clone();
            bad.payload[at] ^= 1;
            assert_eq!(bad.claim(&keys), Err(Refusal::Key));
        }
        for text in ["", "!", "AAAA"] {
            let bad = Signature { signature: text.into(), ..good.clone() };
            assert!(bad.claim(&keys).is_err());
        }
        assert_eq!(good.claim(&[]), Err(Refusal::Key));
    }

    #[test]
    fn what_is_signed_must_be_a_claim() {
        let pair = KeyPair::generate(Algorithm::P256).unwrap();
        let keys = [pair.public()];
        let signed = |payload: &[u8]| Signature {
            payload: payload.to_vec(),
            signature: STANDARD.encode(pair.sign(payload).unwrap()),
        };
        let digest = Digest::sha256_of(b"x");
        let claim = Claim {
            reference: "reg.test/app".into(),
            digest,
            annotations: BTreeMap::from([("who".into(), "ann".into())]),
        };
        let made = Signature::make(&claim, &pair).unwrap();
        assert_eq!(made.claim(&keys).unwrap(), claim);
        let text = String::from_utf8(claim.to_bytes()).unwrap();
        for bad in [
            "hello".to_owned(),
            text.replace(CLAIM_TYPE, "atomic container signature"),
            text.replace("\"optional\"", "\"more\":1,\"optional\""),
            text.replace("sha256:", "md5:"),
        ] {
            assert!(matches!(signed(bad.as_bytes()).claim(&keys), Err(Refusal::Payload(_))), "{bad}");
        }
    }
}
