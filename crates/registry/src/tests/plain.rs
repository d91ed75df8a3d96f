//! A registry that behaves.

use dray_spec::{Descriptor, Digest, Reference, media_type};

use super::{client, client_with, download, file, reference, repository, silent};
use crate::testing::{Fault, Fixture, What};
use crate::{Auth, ClientConfig, ErrorKind, Mount};

#[tokio::test]
async fn manifest_by_tag_and_by_digest() {
    let fixture = Fixture::start().await;
    let put = fixture.put_manifest("a/b", Some("v1"), media_type::OCI_MANIFEST, b"{\"x\":1}");
    let repository = repository(&fixture, "a/b");
    let by_tag = repository.manifest("v1").await.unwrap();
    let by_digest = repository.manifest(put.digest.as_str()).await.unwrap();
    assert_eq!(by_tag.digest, put.digest);
    assert_eq!(by_digest.bytes, by_tag.bytes);
    assert_eq!(by_tag.media_type, media_type::OCI_MANIFEST);
    // One connection, one look at the API's root.
    assert_eq!(fixture.count("GET", "/v2/?") + fixture.seen().iter().filter(|s| s.path == "/v2/").count(), 1);
}

#[tokio::test]
async fn unknown_things_are_not_found() {
    let fixture = Fixture::start().await;
    let repository = repository(&fixture, "a/b");
    let error = repository.manifest("v1").await.unwrap_err();
    assert_eq!(error.to_string(), "manifest unknown: manifest unknown");
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, Some("MANIFEST_UNKNOWN")));
    assert!(!repository.has_manifest("v1").await.unwrap());
    assert!(!repository.has_blob(&Digest::sha256_of(b"x")).await.unwrap());
    fixture.fault(Fault::on("/manifests/", What::status(404)));
    let error = repository.manifest("v1").await.unwrap_err();
    assert_eq!(error.to_string(), "manifest unknown: manifest unknown");
}

#[tokio::test]
async fn blob_whole_and_from_the_middle() {
    let fixture = Fixture::start().await;
    let content: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    let blob = fixture.put_blob("a/b", media_type::OCI_LAYER_GZIP, &content);
    let repository = repository(&fixture, "a/b");
    assert!(repository.has_blob(&blob.digest).await.unwrap());
    assert_eq!(download(&repository, &blob, 0).await.unwrap(), content);
    let sent = fixture.blob_bytes_sent();
    assert_eq!(download(&repository, &blob, 150_000).await.unwrap(), content[150_000..]);
    assert_eq!(fixture.blob_bytes_sent() - sent, 50_000);
    fixture.fault(Fault::on("/blobs/", What::IgnoreRange));
    assert_eq!(download(&repository, &blob, 150_000).await.unwrap(), content[150_000..]);
}

#[tokio::test]
async fn upload_then_mount_elsewhere() {
    let fixture = Fixture::start().await;
    let content = vec![7u8; 700_000];
    let (_folder, path) = file(&content);
    let blob = Descriptor::of(media_type::OCI_LAYER_GZIP, &content);
    let first = repository(&fixture, "a/b");
    first.upload(None, &path, &blob, silent()).await.unwrap();
    assert_eq!(fixture.blob("a/b", &blob.digest).unwrap(), content);
    let second = repository(&fixture, "c");
    assert!(matches!(second.mount(&blob.digest, "a/b").await.unwrap(), Mount::Mounted));
    assert!(fixture.blob("c", &blob.digest).is_some());
    let third = repository(&fixture, "d");
    fixture.mounts(false);
    let Mount::Upload(session) = third.mount(&blob.digest, "a/b").await.unwrap() else {
        panic!("mounted though the registry doesn't")
    };
    third.upload(Some(session), &path, &blob, silent()).await.unwrap();
    assert_eq!(fixture.blob("d", &blob.digest).unwrap(), content);
}

#[tokio::test]
async fn empty_and_small_blobs() {
    let fixture = Fixture::start().await;
    let repository = repository(&fixture, "a");
    let (_folder, path) = file(b"");
    let empty = Descriptor::of(media_type::OCI_LAYER, b"");
    repository.upload(None, &path, &empty, silent()).await.unwrap();
    assert_eq!(fixture.blob("a", &empty.digest).unwrap(), b"");
    assert_eq!(download(&repository, &empty, 0).await.unwrap(), b"");
    let small = Descriptor::of(media_type::OCI_CONFIG, b"{}");
    repository.upload_bytes(&small, b"{}".as_slice().into()).await.unwrap();
    assert_eq!(repository.small_blob(&small, 10).await.unwrap(), b"{}");
    assert!(repository.small_blob(&small, 1).await.is_err());
}

#[tokio::test]
async fn tags_and_deletion() {
    let fixture = Fixture::start().await;
    let put = fixture.put_manifest("a/b", Some("v1"), media_type::OCI_MANIFEST, b"{}");
    fixture.put_manifest("a/b", Some("v2"), media_type::OCI_MANIFEST, b"{ }");
    let repository = repository(&fixture, "a/b");
    assert_eq!(repository.tags().await.unwrap(), ["v1", "v2"]);
    repository.delete_manifest(&put.digest).await.unwrap();
    assert!(!repository.has_manifest(put.digest.as_str()).await.unwrap());
}

#[tokio::test]
async fn a_manifest_whose_blobs_are_missing_is_refused_in_the_registrys_words() {
    let fixture = Fixture::start().await;
    let config = Descriptor::of(media_type::OCI_CONFIG, b"c");
    let manifest = serde_json::to_vec(&dray_spec::Manifest::oci(config.clone(), vec![])).unwrap();
    let repository = repository(&fixture, "a");
    let error =
        repository.put_manifest("v1", media_type::OCI_MANIFEST, manifest.clone().into()).await.unwrap_err();
    assert!(error.to_string().starts_with("manifest blob unknown: blob unknown to registry"), "{error}");
    repository.upload_bytes(&config, b"c".as_slice().into()).await.unwrap();
    repository.put_manifest("v1", media_type::OCI_MANIFEST, manifest.into()).await.unwrap();
    assert!(fixture.manifest("a", "v1").is_some());
}

#[tokio::test]
async fn nobody_listens_is_said_as_docker_says_it() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let reference = Reference::parse(&format!("127.0.0.1:{port}/x")).unwrap();
    let error =
        client().repository(&reference, &Auth::Anonymous).unwrap().manifest("latest").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Get \"http://127.0.0.1:{port}/v2/\": dial tcp 127.0.0.1:{port}: connect: connection refused"
        )
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_said_as_docker_says_it() {
    let reference = Reference::parse("registry.invalid/x").unwrap();
    let error =
        client().repository(&reference, &Auth::Anonymous).unwrap().manifest("latest").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Get \"https://registry.invalid/v2/\": dial tcp: lookup registry.invalid: no such host"
    );
}

#[tokio::test]
async fn mirrors_are_asked_first() {
    let fixture = Fixture::start().await;
    fixture.put_manifest("library/x", Some("latest"), media_type::OCI_MANIFEST, b"{}");
    let config =
        ClientConfig { mirrors: vec![format!("http://{}", fixture.host())], ..ClientConfig::default() };
    let client = client_with(config);
    let sources = client.sources(&Reference::parse("x").unwrap(), &Auth::Anonymous).unwrap();
    assert_eq!(sources.len(), 2);
    assert_eq!(sources[0].repository.manifest("latest").await.unwrap().bytes.as_ref(), b"{}");
    assert_eq!(sources[0].repository.name(), "docker.io/library/x");
}

#[tokio::test]
async fn ping_and_unsent_login() {
    let fixture = Fixture::start().await;
    repository(&fixture, "a").ping().await.unwrap();
    let auth = Auth::Basic { user: "u".into(), password: "p".into() };
    assert_eq!(client().login(&fixture.host(), &auth).await.unwrap().identity_token, None);
    let _ = reference(&fixture, "a");
}
