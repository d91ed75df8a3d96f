//! What is said of an image in the index that it came by stays with it.

use super::*;
use crate::export::Predicate;

/// A statement about a manifest as BuildKit writes it: its files, and the entry in the index.
fn statement(tar: Tar, about: &Descriptor, said: &[u8]) -> (Tar, Descriptor) {
    let config = br#"{"architecture":"unknown","os":"unknown","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let layer = Descriptor::of("application/vnd.in-toto+json", said);
    let manifest = Manifest::oci(Descriptor::of(media_type::OCI_CONFIG, config), vec![layer]);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let tar = tar.file(&path(said), said).file(&path(config), config).file(&path(&bytes), &bytes);
    let entry = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
    let entry = called(entry, "vnd.docker.reference.type", "attestation-manifest");
    (tar, called(entry, "vnd.docker.reference.digest", about.digest.as_str()))
}

fn on(platform: &str, descriptor: Descriptor) -> Descriptor {
    Descriptor { platform: Some(platform.parse().unwrap()), ..descriptor }
}

/// An archive of `app:v1` for two platforms with a statement about each, and the index's digest.
fn two_platforms() -> (Vec<u8>, Digest) {
    let (tar, amd) = layout(&[&Tar::new().file("a", b"amd").end()]);
    let (other, arm) = layout(&[&Tar::new().file("a", b"arm").end()]);
    let mut tar = tar;
    tar.0.extend(other.0);
    let (tar, of_amd) = statement(tar, &amd, b"{\"about\":\"amd\"}");
    let (tar, of_arm) = statement(tar, &arm, b"{\"about\":\"arm\"}");
    let manifests = vec![on("linux/amd64", amd), on("linux/arm64", arm), of_amd, of_arm];
    let index = serde_json::to_vec(&Index::oci(manifests)).unwrap();
    let entry = Descriptor::of(media_type::OCI_INDEX, &index);
    let digest = entry.digest.clone();
    let tar = tar.file(&path(&index), &index);
    (with_index(tar, vec![called(entry, IMAGE_NAME, "docker.io/library/app:v1")]), digest)
}

fn saved_index(archive: &[u8]) -> Index {
    let top: Index = serde_json::from_slice(&file(archive, "index.json")).unwrap();
    serde_json::from_slice(&file(archive, &oci::path(&top.manifests[0].digest))).unwrap()
}

#[test]
fn what_was_loaded_is_saved_with_its_index_and_goes_with_the_image() {
    let (archive, digest) = two_platforms();
    let one = Fixture::new();
    load(&one.images, &archive);
    let saved = save(&one.images, &["app:v1"]);
    let top: Index = serde_json::from_slice(&file(&saved, "index.json")).unwrap();
    assert_eq!(top.manifests[0].digest, digest);
    for said in [&b"{\"about\":\"amd\"}"[..], b"{\"about\":\"arm\"}"] {
        assert_eq!(file(&saved, &path(said)), said);
    }
    // Docker's part, which is in it now, leads there too.
    let two = Fixture::new();
    load(&two.images, &saved);
    assert_eq!(save(&two.images, &["app:v1"]), saved);
    // Once more where all of it is already.
    load(&two.images, &saved);
    assert_eq!(save(&two.images, &["app:v1"]), saved);
    // A collection takes nothing of it away, the removal all.
    two.images.store().collect().unwrap();
    assert_eq!(save(&two.images, &["app:v1"]), saved);
    two.images.remove("app:v1", false, true, &|_| Vec::new()).unwrap();
    assert!(two.images.store().blobs().list().unwrap().is_empty());
}

#[test]
fn of_one_platform_what_is_said_of_it() {
    let (archive, digest) = two_platforms();
    let fixture = Fixture::new();
    let options = LoadOptions { platform: Some("linux/amd64".parse().unwrap()) };
    fixture.images.load_with(&archive[..], &options, &Silent).unwrap();
    let blobs = fixture.images.store().blobs();
    assert!(blobs.has(&digest));
    assert!(blobs.has(&Digest::sha256_of(b"{\"about\":\"amd\"}")));
    assert!(!blobs.has(&Digest::sha256_of(b"{\"about\":\"arm\"}")));
    let saved = save(&fixture.images, &["app:v1"]);
    let image = fixture.images.resolve("app:v1").unwrap();
    let top: Index = serde_json::from_slice(&file(&saved, "index.json")).unwrap();
    assert_eq!(
        Some(&top.manifests[0].digest),
        image.manifest.as_ref(),
        "the index has not all that it names"
    );
}

#[test]
fn an_image_of_ours_whose_layers_are_unpacked() {
    let one = Fixture::new();
    let image = made(&one, None, &["a", "b"], &["app:v1"]);
    let content = serde_json::json!({ "made": "here" });
    let predicate = Predicate { kind: "https://slsa.dev/provenance/v1".into(), content };
    one.images.promise_attestations(&image.id, &[predicate]).unwrap();
    let archive = save(&one.images, &["app:v1"]);
    assert!(saved_index(&archive).manifests[1].is_attestation());
    let two = Fixture::new();
    load(&two.images, &archive);
    let blobs = two.images.store().blobs();
    let layers = &two.images.resolve("app:v1").unwrap().config.rootfs.diff_ids;
    assert!(layers.iter().all(|layer| !blobs.has(layer)), "no layer is there twice");
    assert_eq!(save(&two.images, &["app:v1"]), archive);
}

#[test]
fn a_layer_of_another_platform_that_is_here_unpacked() {
    let layer = Tar::new().file("a", &vec![7; 300 << 10]).end();
    let fixture = Fixture::new();
    load(&fixture.images, &legacy(&[&layer], &["plain:v1"]).end());
    assert!(fixture.images.store().layers().find(&Digest::sha256_of(&layer)).unwrap().is_some());
    // The other platform's image has it as a plain tar.
    let config = br#"{"architecture":"arm64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let plain = vec![Descriptor::of(media_type::OCI_LAYER, &layer)];
    let manifest = Manifest::oci(Descriptor::of(media_type::OCI_CONFIG, config), plain);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let arm = on("linux/arm64", Descriptor::of(media_type::OCI_MANIFEST, &bytes));
    let (tar, amd) = layout(&[&Tar::new().file("a", b"amd").end()]);
    let tar = tar.file(&path(config), config).file(&path(&layer), &layer).file(&path(&bytes), &bytes);
    let index = serde_json::to_vec(&Index::oci(vec![on("linux/amd64", amd), arm])).unwrap();
    let entry = Descriptor::of(media_type::OCI_INDEX, &index);
    let archive = with_index(
        tar.file(&path(&index), &index),
        vec![called(entry.clone(), IMAGE_NAME, "docker.io/library/app:v1")],
    );
    load(&fixture.images, &archive);
    let saved = save(&fixture.images, &["app:v1"]);
    let top: Index = serde_json::from_slice(&file(&saved, "index.json")).unwrap();
    assert_eq!(top.manifests[0].digest, entry.digest);
    assert_eq!(file(&saved, &path(&layer)), layer);
}

#[test]
fn what_an_index_says_wrongly_of_a_statement_is_refused() {
    let (tar, amd) = layout(&[&Tar::new().file("a", b"amd").end()]);
    let (tar, mut said) = statement(tar, &amd, b"{}");
    said.size += 1;
    let index = serde_json::to_vec(&Index::oci(vec![on("linux/amd64", amd), said])).unwrap();
    let entry = Descriptor::of(media_type::OCI_INDEX, &index);
    let message = refused::refused(&with_index(tar.file(&path(&index), &index), vec![entry]));
    assert!(message.contains(" bytes, its descriptor says "), "{message}");
}
