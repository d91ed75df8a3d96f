//! The real peer: Debian's `docker-registry`.

use dray_spec::{Descriptor, Manifest, Reference, media_type};

use super::{client, download, file, silent};
use crate::testing::DockerRegistry;
use crate::{Auth, Mount, Repository};

fn at(registry: &DockerRegistry, name: &str, auth: &Auth) -> Repository {
    let reference = Reference::parse(&format!("{}/{name}", registry.host())).unwrap();
    client().repository(&reference, auth).unwrap()
}

async fn push_something(repository: &Repository) -> (Descriptor, Vec<u8>, dray_spec::Digest) {
    let content: Vec<u8> = (0..2_000_000u32).map(|n| (n / 5) as u8).collect();
    let (_folder, path) = file(&content);
    let layer = Descriptor::of(media_type::DOCKER_LAYER_GZIP, &content);
    repository.upload(None, &path, &layer, silent()).await.unwrap();
    let config = Descriptor::of(media_type::DOCKER_CONFIG, b"{}");
    repository.upload_bytes(&config, b"{}".as_slice().into()).await.unwrap();
    let manifest = serde_json::to_vec(&Manifest::docker(config, vec![layer.clone()])).unwrap();
    let digest = dray_spec::Digest::sha256_of(&manifest);
    repository.put_manifest("v1", media_type::DOCKER_MANIFEST, manifest.into()).await.unwrap();
    (layer, content, digest)
}

#[tokio::test]
async fn push_pull_mount_and_delete() {
    let registry = DockerRegistry::start().unwrap();
    let repository = at(&registry, "a/b", &Auth::Anonymous);
    let (layer, content, digest) = push_something(&repository).await;
    let manifest = repository.manifest("v1").await.unwrap();
    assert_eq!(
        (manifest.digest.clone(), manifest.media_type.as_str()),
        (digest, media_type::DOCKER_MANIFEST)
    );
    assert_eq!(download(&repository, &layer, 0).await.unwrap(), content);
    assert_eq!(download(&repository, &layer, 1_999_000).await.unwrap(), content[1_999_000..]);
    assert_eq!(repository.tags().await.unwrap(), ["v1"]);

    let other = at(&registry, "c", &Auth::Anonymous);
    assert!(!other.has_blob(&layer.digest).await.unwrap());
    assert!(matches!(other.mount(&layer.digest, "a/b").await.unwrap(), Mount::Mounted));
    assert!(other.has_blob(&layer.digest).await.unwrap());

    repository.delete_manifest(&manifest.digest).await.unwrap();
    let error = repository.manifest("v1").await.unwrap_err();
    assert_eq!(error.to_string(), "manifest unknown: manifest unknown");
    let error = other.tags().await.unwrap_err();
    assert_eq!(error.code(), Some("NAME_UNKNOWN"), "{error}");
}

#[tokio::test]
async fn basic_auth_against_the_real_peer() {
    let registry = DockerRegistry::start_guarded("ann", "secret").unwrap();
    let ann = Auth::Basic { user: "ann".into(), password: "secret".into() };
    push_something(&at(&registry, "a", &ann)).await;
    let wrong = Auth::Basic { user: "ann".into(), password: "guess".into() };
    let error = at(&registry, "a", &wrong).manifest("v1").await.unwrap_err();
    assert_eq!(error.to_string(), "unauthorized: authentication required");
    let error = at(&registry, "a", &Auth::Anonymous).manifest("v1").await.unwrap_err();
    assert!(error.to_string().ends_with("no basic auth credentials"), "{error}");
    client().login(&registry.host(), &ann).await.unwrap();
    let error = client().login(&registry.host(), &wrong).await.unwrap_err();
    assert!(error.to_string().ends_with("failed with status: 401 Unauthorized"), "{error}");
}
