//! Signatures of images at their registry: found, attached, and asked for before a pull.
//!
//! They are kept as OCI referrers of the manifest they are about, in cosign's form. Found are also those that cosign
//! keeps under a tag (`sha256-<hex>.sig`).

use std::path::{Path, PathBuf};

use dray_registry::{Error as RegistryError, ErrorKind, Repository};
use dray_spec::{Descriptor, Digest, Manifest, ManifestOrIndex, Reference, media_type};
use dray_trust::{
    ARTIFACT_TYPE, PAYLOAD_TYPE, Policy, SIGNATURE_ANNOTATION, Signature, TrustError, signature_tag,
};

use crate::pull::{PullError, blocking};

/// Claims of one image that are looked at, and manifests that could hold some; and the size of one.
const MAX_SIGNATURES: usize = 64;
const MAX_PAYLOAD: u64 = 64 * 1024;

/// The signatures of a digest that a repository has. Nothing of them is believed yet.
///
/// # Errors
/// If the registry refuses, or sends what is no manifest.
pub async fn signatures_of(
    repository: &Repository,
    digest: &Digest,
) -> Result<Vec<Signature>, RegistryError> {
    let mut found = Vec::new();
    for entry in repository.referrers(digest, ARTIFACT_TYPE).await?.into_iter().take(MAX_SIGNATURES) {
        let manifest = repository.manifest_of_type(entry.digest.as_str(), &entry.media_type).await?;
        read_manifest(repository, &manifest.bytes, &mut found).await?;
    }
    match repository.manifest(&signature_tag(digest)).await {
        Ok(manifest) => read_manifest(repository, &manifest.bytes, &mut found).await?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(found)
}

async fn read_manifest(
    repository: &Repository,
    bytes: &[u8],
    found: &mut Vec<Signature>,
) -> Result<(), RegistryError> {
    let Ok(ManifestOrIndex::Manifest(manifest)) = ManifestOrIndex::parse(None, bytes) else {
        return Ok(());
    };
    for layer in manifest.layers.iter().filter(|layer| layer.media_type == PAYLOAD_TYPE) {
        let Some(signature) = layer.annotations.get(SIGNATURE_ANNOTATION) else { continue };
        if found.len() >= MAX_SIGNATURES {
            return Ok(());
        }
        let payload = repository.small_blob(layer, MAX_PAYLOAD).await?;
        found.push(Signature { payload, signature: signature.clone() });
    }
    Ok(())
}

/// Stores a signature as a referrer of the manifest `subject`; gives the referrer's digest.
///
/// # Errors
/// If the repository has no such manifest, or the registry refuses.
pub async fn attach_signature(
    repository: &Repository,
    subject: &Digest,
    signature: &Signature,
) -> Result<Digest, RegistryError> {
    let about = repository.manifest(subject.as_str()).await?;
    let kind = ManifestOrIndex::parse(Some(&about.media_type), &about.bytes);
    let kind = match kind {
        Ok(ManifestOrIndex::Index(index)) => index.media_type.unwrap_or(about.media_type),
        Ok(ManifestOrIndex::Manifest(manifest)) => manifest.media_type.unwrap_or(about.media_type),
        Err(_) => about.media_type,
    };
    let subject = Descriptor::new(kind, subject.clone(), about.bytes.len() as u64);
    let mut payload = Descriptor::of(PAYLOAD_TYPE, &signature.payload);
    payload.annotations.insert(SIGNATURE_ANNOTATION.into(), signature.signature.clone());
    let config = serde_json::json!({
        "architecture": "", "os": "", "config": {},
        "created": "0001-01-01T00:00:00Z", "history": [{"created": "0001-01-01T00:00:00Z"}],
        "rootfs": {"type": "layers", "diff_ids": [payload.digest]},
    });
    let config = config.to_string().into_bytes();
    let described = Descriptor::of(ARTIFACT_TYPE, &config);
    for (blob, bytes) in [(&payload, signature.payload.clone()), (&described, config)] {
        if !repository.has_blob(&blob.digest).await? {
            repository.upload_bytes(blob, bytes.into()).await?;
        }
    }
    let mut manifest = Manifest::oci(described, vec![payload]);
    manifest.media_type = Some(media_type::OCI_MANIFEST.into());
    manifest.artifact_type = Some(ARTIFACT_TYPE.into());
    manifest.subject = Some(subject);
    let bytes = serde_json::to_vec(&manifest).unwrap_or_default();
    repository.put_referrer(&manifest, bytes.into()).await
}

/// The policy that pulls are held against. The file is read anew for each pull; without it all is accepted.
#[derive(Debug, Clone, Default)]
pub struct TrustGate {
    path: Option<PathBuf>,
}

impl TrustGate {
    /// The policy in this file.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        TrustGate { path: Some(path.to_owned()) }
    }

    pub(crate) async fn policy(&self) -> Result<Option<Policy>, PullError> {
        let Some(path) = self.path.clone() else { return Ok(None) };
        Ok(blocking(move || Policy::read(&path)).await??)
    }
}

/// Whether a name may be pulled at all; said before anything is asked.
pub(crate) fn admit(policy: Option<&Policy>, reference: &Reference) -> Result<(), PullError> {
    let Some(policy) = policy else { return Ok(()) };
    let decision = policy.of(reference);
    if decision.needs_signatures() {
        return Ok(());
    }
    decision.check(&[], &[]).map_err(|reason| untrusted(reference, policy, reason))
}

/// Whether what a name stands for may be used: `digests` are the index's and the manifest's.
pub(crate) async fn check(
    policy: Option<&Policy>,
    reference: &Reference,
    digests: &[Digest],
    repositories: &[Repository],
) -> Result<(), PullError> {
    let Some(policy) = policy else { return Ok(()) };
    let decision = policy.of(reference);
    if !decision.needs_signatures() {
        return Ok(());
    }
    let mut reason = String::new();
    for repository in repositories {
        let mut found = Vec::new();
        let mut failed = None;
        for digest in digests {
            match signatures_of(repository, digest).await {
                Ok(signatures) => found.extend(signatures),
                Err(error) => failed = Some(error),
            }
        }
        match decision.check(digests, &found) {
            Ok(()) => return Ok(()),
            Err(why) => reason = failed.map_or(why.clone(), |error| format!("{why} ({error})")),
        }
    }
    Err(untrusted(reference, policy, reason))
}

fn untrusted(reference: &Reference, policy: &Policy, reason: String) -> PullError {
    PullError::Untrusted { reference: reference.familiar(), policy: policy.path().to_owned(), reason }
}

impl From<TrustError> for PullError {
    fn from(error: TrustError) -> Self {
        PullError::Policy(error)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine as _;
    use dray_registry::testing::{DockerRegistry, Fault, Fixture, What};
    use dray_registry::{Auth, Client, ClientConfig};
    use dray_spec::{ImageConfig, Index};
    use dray_store::Store;
    use dray_trust::{Algorithm, Claim, KeyPair};

    use super::*;
    use crate::progress::Silent;
    use crate::pull::{PullErrorKind, PullLimits, PullOptions, Puller};

    fn client() -> Client {
        Client::new(ClientConfig::default()).unwrap()
    }

    /// Puts an image without layers at a registry; gives its digest.
    async fn put(repository: &Repository) -> Digest {
        let config =
            ImageConfig { os: "linux".into(), architecture: "amd64".into(), ..ImageConfig::default() };
        let config = config.to_bytes();
        let described = Descriptor::of(media_type::OCI_CONFIG, &config);
        repository.upload_bytes(&described, config.into()).await.unwrap();
        let bytes = serde_json::to_vec(&Manifest::oci(described, Vec::new())).unwrap();
        let digest = Digest::sha256_of(&bytes);
        repository.put_manifest("v1", media_type::OCI_MANIFEST, bytes.into()).await.unwrap();
        digest
    }

    fn signed(reference: &str, digest: &Digest, key: &KeyPair) -> Signature {
        let claim =
            Claim { reference: reference.into(), digest: digest.clone(), annotations: BTreeMap::new() };
        Signature::make(&claim, key).unwrap()
    }

    struct Pulling {
        puller: Puller,
        /// Goes after the store, which may still be writing.
        folder: tempfile::TempDir,
    }

    impl Pulling {
        fn new(policy: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("policy.json");
            std::fs::write(&path, policy).unwrap();
            let store = Store::open(&folder.path().join("data")).unwrap();
            let puller = Puller::new(store, client(), PullLimits::default()).guarded(TrustGate::at(&path));
            Pulling { folder, puller }
        }

        async fn pull(&self, name: &str) -> Result<(), PullError> {
            let reference = Reference::parse(name).unwrap();
            self.puller.pull(&reference, &PullOptions::default(), &Silent).await.map(drop)
        }
    }

    fn asks_for(key: &KeyPair) -> String {
        let key = base64::engine::general_purpose::STANDARD.encode(key.public().to_pem());
        format!(r#"{{"default":[{{"type":"sigstoreSigned","keyData":"{key}"}}]}}"#)
    }

    async fn found_and_asked_for(host: &str) {
        let name = format!("{host}/a:v1");
        let reference = Reference::parse(&name).unwrap();
        let repository = client().repository(&reference, &Auth::Anonymous).unwrap();
        let digest = put(&repository).await;
        let (key, other) =
            (KeyPair::generate(Algorithm::P256).unwrap(), KeyPair::generate(Algorithm::P256).unwrap());
        let pulling = Pulling::new(&asks_for(&key));
        let refused = pulling.pull(&name).await.unwrap_err();
        assert_eq!(refused.kind(), PullErrorKind::Forbidden);
        let path = pulling.folder.path().join("policy.json");
        assert_eq!(
            refused.to_string(),
            format!(
                "{name} is not trusted: a signature was required (default), but no signature exists (policy {})",
                path.display()
            )
        );
        attach_signature(&repository, &digest, &signed(&name, &digest, &other)).await.unwrap();
        let refused = pulling.pull(&name).await.unwrap_err().to_string();
        assert!(refused.contains("made by none of the keys"), "{refused}");
        let ours = signed(&name, &digest, &key);
        attach_signature(&repository, &digest, &ours).await.unwrap();
        // Twice is once.
        attach_signature(&repository, &digest, &ours).await.unwrap();
        assert_eq!(signatures_of(&repository, &digest).await.unwrap().len(), 2);
        pulling.pull(&name).await.unwrap();
        pulling.pull(&format!("{host}/a@{digest}")).await.unwrap();
        std::fs::write(&path, r#"{"default":[{"type":"reject"}]}"#).unwrap();
        assert!(matches!(pulling.pull(&name).await.unwrap_err(), PullError::Untrusted { .. }));
        std::fs::write(&path, "{").unwrap();
        let broken = pulling.pull(&name).await.unwrap_err();
        assert!(broken.to_string().starts_with("trust policy "), "{broken}");
        std::fs::remove_file(&path).unwrap();
        pulling.pull(&name).await.unwrap();
    }

    #[tokio::test]
    async fn as_referrers() {
        let fixture = Fixture::start().await;
        fixture.referrers(true);
        found_and_asked_for(&fixture.host()).await;
        assert!(fixture.count("GET", "/referrers/") > 0);
        assert_eq!(fixture.count("PUT", "/manifests/sha256-"), 0, "no tag where there is the API");
    }

    #[tokio::test]
    async fn at_a_real_registry_without_referrers() {
        let registry = DockerRegistry::start().unwrap();
        found_and_asked_for(&registry.host()).await;
    }

    #[tokio::test]
    async fn under_cosign_s_tag() {
        let fixture = Fixture::start().await;
        let name = format!("{}/a:v1", fixture.host());
        let repository = client().repository(&Reference::parse(&name).unwrap(), &Auth::Anonymous).unwrap();
        let digest = put(&repository).await;
        let key = KeyPair::generate(Algorithm::P256).unwrap();
        let signature = signed(&name, &digest, &key);
        let mut payload = fixture.put_blob("a", PAYLOAD_TYPE, &signature.payload);
        payload.annotations.insert(SIGNATURE_ANNOTATION.into(), signature.signature);
        let manifest = Manifest::oci(fixture.put_blob("a", media_type::OCI_CONFIG, b"{}"), vec![payload]);
        let bytes = serde_json::to_vec(&manifest).unwrap();
        fixture.put_manifest("a", Some(&signature_tag(&digest)), media_type::OCI_MANIFEST, &bytes);
        Pulling::new(&asks_for(&key)).pull(&name).await.unwrap();
    }

    #[tokio::test]
    async fn manifests_without_end_are_not_all_asked_for() {
        let fixture = Fixture::start().await;
        let name = format!("{}/a:v1", fixture.host());
        let repository = client().repository(&Reference::parse(&name).unwrap(), &Auth::Anonymous).unwrap();
        let digest = put(&repository).await;
        let entry = Descriptor::new(media_type::OCI_MANIFEST, digest.clone(), 7);
        let body = serde_json::to_string(&Index::oci(vec![entry; 500])).unwrap();
        let list = What::Answer { status: 200, headers: Vec::new(), body };
        fixture.fault(Fault::on("/referrers/", list));
        assert!(signatures_of(&repository, &digest).await.unwrap().is_empty());
        let asked = fixture.count("GET", &format!("/manifests/{digest}"));
        assert_eq!(asked, MAX_SIGNATURES);
    }

    #[tokio::test]
    async fn a_name_that_is_rejected_is_not_even_asked_for() {
        let fixture = Fixture::start().await;
        let pulling = Pulling::new(r#"{"default":[{"type":"reject"}]}"#);
        let refused = pulling.pull(&format!("{}/a:v1", fixture.host())).await.unwrap_err();
        assert_eq!(refused.kind(), PullErrorKind::Forbidden);
        assert!(fixture.seen().is_empty());
    }
}
