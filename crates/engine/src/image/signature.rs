//! Signatures of images at their registries. Keys stay with the client: here signatures are only carried.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_api::image::{ImageSignature, ImageSignatures};
use dray_image::{attach_signature, signatures_of};
use dray_registry::{Auth, Repository};
use dray_spec::{Digest, Reference};
use dray_trust::Signature;

use super::{Error, Service};

impl Service {
    /// What a name stands for at its registry, and the signatures that are there for it.
    ///
    /// # Errors
    /// If the registry has none of that name, or fails.
    pub async fn signatures(&self, name: &str, auth: &Auth) -> Result<ImageSignatures, Error> {
        let (repository, digest) = self.at_registry(name, auth).await?;
        let found = signatures_of(&repository, &digest).await?;
        let told = |signature: Signature| ImageSignature {
            digest: String::new(),
            payload: STANDARD.encode(&signature.payload),
            signature: signature.signature,
        };
        Ok(ImageSignatures { digest: digest.to_string(), signatures: found.into_iter().map(told).collect() })
    }

    /// Stores a signature beside the image at its registry.
    ///
    /// # Errors
    /// If it can't be one, the registry has no such image, or refuses.
    pub async fn sign(&self, name: &str, signature: &ImageSignature, auth: &Auth) -> Result<(), Error> {
        let reference = Reference::parse(name)?.tagged();
        let invalid = Error::Signature;
        let digest: Digest = signature.digest.parse().map_err(|_| invalid("the digest is none"))?;
        let payload =
            STANDARD.decode(&signature.payload).map_err(|_| invalid("the payload is not base64"))?;
        STANDARD.decode(&signature.signature).map_err(|_| invalid("the signature is not base64"))?;
        let signature = Signature { payload, signature: signature.signature.clone() };
        let repository = self.client().push_target(&reference, auth)?;
        attach_signature(&repository, &digest, &signature).await?;
        Ok(())
    }

    async fn at_registry(&self, name: &str, auth: &Auth) -> Result<(Repository, Digest), Error> {
        let reference = Reference::parse(name)?.tagged();
        let repository = self.client().repository(&reference, auth)?;
        let digest = match reference.digest() {
            Some(digest) => digest.clone(),
            None => repository.manifest(reference.tag().unwrap_or("latest")).await?.digest,
        };
        Ok((repository, digest))
    }
}
