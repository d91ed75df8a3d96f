//! `--all-platforms`: whatever an index names is kept and goes out again as it came.

use dray_registry::testing::DockerRegistry;

use super::*;
use crate::progress::Silent;
use crate::push::{PushError, PushLimits, Pusher};

/// A multi-platform index as build tools make it: two platforms, a statement about the first, and an artifact.
struct Everything {
    index: Descriptor,
    own: Descriptor,
    foreign: Descriptor,
    statement: Descriptor,
    artifact: Descriptor,
}

impl Everything {
    fn put(fixture: &Fixture, repository: &str) -> Self {
        let own = small().put(fixture, repository, None);
        let mut other = large();
        let config = String::from_utf8(other.config.clone()).unwrap();
        other.config = config.replace(&Platform::host().architecture, "s390x").into_bytes();
        other.manifest.config = Descriptor::of(media_type::OCI_CONFIG, &other.config);
        let foreign = other.put(fixture, repository, None);
        let manifest = |config: (&str, &[u8]), layers: &[(&str, &[u8])], more: serde_json::Value| {
            let put = |(kind, bytes): &(&str, &[u8])| fixture.put_blob(repository, kind, bytes);
            let manifest = Manifest::oci(put(&config), layers.iter().map(put).collect());
            let mut value = serde_json::to_value(manifest).unwrap();
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let bytes = serde_json::to_vec_pretty(&value).unwrap();
            fixture.put_manifest(repository, None, media_type::OCI_MANIFEST, &bytes)
        };
        let statement = manifest(
            (media_type::OCI_CONFIG, br#"{"architecture":"unknown","os":"unknown"}"#),
            &[("application/vnd.in-toto+json", br#"{"predicateType":"https://slsa.dev/provenance/v1"}"#)],
            serde_json::json!({}),
        );
        let artifact = manifest(
            (media_type::OCI_EMPTY, b"{}"),
            &[("application/vnd.example.thing", b"thing"), ("text/plain", b"words")],
            serde_json::json!({"artifactType": "application/vnd.example", "subject": own}),
        );
        let host = Platform::host().to_string();
        let mut about = statement.clone();
        about.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
        about.annotations.insert("vnd.docker.reference.digest".into(), own.digest.to_string());
        let mut kind = artifact.clone();
        kind.annotations.insert("artifact".into(), "yes".into());
        let bytes = index_of(&[
            (&own, Some(&host)),
            (&foreign, Some("linux/s390x")),
            (&about, Some("unknown/unknown")),
            (&kind, None),
        ]);
        let index = fixture.put_manifest(repository, Some("latest"), media_type::OCI_INDEX, &bytes);
        Everything { index, own, foreign, statement, artifact }
    }

    fn manifests(&self) -> [&Descriptor; 4] {
        [&self.own, &self.foreign, &self.statement, &self.artifact]
    }
}

fn all_platforms() -> PullOptions {
    PullOptions { all_platforms: true, ..PullOptions::default() }
}

async fn push(machine: &Machine, name: &str, platform: Option<&str>) -> Result<Digest, PushError> {
    let pusher = Pusher::new(machine.store.clone(), client(), PushLimits::default());
    let reference = Reference::parse(name).unwrap().tagged();
    let platform = platform.map(|text| Platform::parse(text).unwrap());
    let pushed = pusher.push(&reference, platform.as_ref(), &Auth::Anonymous, &Silent).await?;
    Ok(pushed[0].digest.clone())
}

#[tokio::test]
async fn all_of_an_index_comes_and_goes_with_the_same_digests() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let all = Everything::put(&fixture, "x");
    let name = format!("{}/x", fixture.host());
    let (pulled, _) = machine.pull_with(&name, &all_platforms()).await.unwrap();
    assert_eq!(pulled.digest, all.index.digest);
    let record = machine.store.images().get(&pulled.image).unwrap().unwrap();
    assert_eq!(record.layers.len(), 2, "only the host's platform is unpacked");
    for manifest in all.manifests() {
        assert!(record.blobs.contains(&manifest.digest));
    }
    // A collection touches nothing of it.
    machine.store.collect().unwrap();
    let sent = fixture.blob_bytes_sent();
    machine.pull_with(&name, &all_platforms()).await.unwrap();
    let config = record.config.len() as u64;
    assert_eq!(fixture.blob_bytes_sent() - sent, config, "nothing is fetched twice");

    let target = Fixture::start().await;
    let copy = format!("{}/copy:v1", target.host());
    machine.store.tags().set(&Reference::parse(&copy).unwrap(), &pulled.image, None).unwrap();
    assert_eq!(push(&machine, &copy, None).await.unwrap(), all.index.digest);
    for manifest in all.manifests() {
        let there = target.manifest("copy", manifest.digest.as_str());
        assert_eq!(there, fixture.manifest("x", manifest.digest.as_str()));
    }
    assert_eq!(target.manifest("copy", "v1"), fixture.manifest("x", "latest"));
    assert_eq!(push(&machine, &copy, Some("linux/s390x")).await.unwrap(), all.foreign.digest);
    assert_eq!(push(&machine, &copy, Some(&Platform::host().to_string())).await.unwrap(), all.own.digest);
    let error = push(&machine, &copy, Some("linux/riscv64")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "image with reference {copy} was found but does not provide the specified platform (linux/riscv64)"
        )
    );
}

#[tokio::test]
async fn a_save_has_all_of_it() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let all = Everything::put(&fixture, "x");
    let name = format!("{}/x", fixture.host());
    let saved = |machine: &Machine| {
        let mut archive = Vec::new();
        crate::Images::new(machine.store.clone())
            .save(std::slice::from_ref(&name), None, &mut archive)
            .unwrap();
        let mut files = std::collections::HashMap::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let (path, mut bytes) = (entry.path().unwrap().display().to_string(), Vec::new());
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            files.insert(path, bytes);
        }
        files
    };
    machine.pull(&name).await.unwrap();
    let index: Index = serde_json::from_slice(&saved(&machine)["index.json"]).unwrap();
    assert_eq!(index.manifests[0].digest, all.own.digest, "one platform is all that is here");
    machine.pull_with(&name, &all_platforms()).await.unwrap();
    let files = saved(&machine);
    let index: Index = serde_json::from_slice(&files["index.json"]).unwrap();
    assert_eq!(index.manifests[0].digest, all.index.digest);
    for document in all.manifests().into_iter().chain([&all.index]) {
        let bytes = &files[&format!("blobs/sha256/{}", document.digest.hex())];
        assert_eq!(Digest::sha256_of(bytes), document.digest);
    }
    let again = Machine::new();
    let images = crate::Images::new(again.store.clone());
    let mut archive = Vec::new();
    crate::Images::new(machine.store.clone()).save(std::slice::from_ref(&name), None, &mut archive).unwrap();
    let loaded = images.load(archive.as_slice(), &Silent).unwrap();
    assert_eq!(loaded[0].id, Digest::sha256_of(&small().config));
}

#[tokio::test]
async fn a_real_registry_takes_all_of_it() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let all = Everything::put(&fixture, "x");
    let name = format!("{}/x", fixture.host());
    let (pulled, _) = machine.pull_with(&name, &all_platforms()).await.unwrap();
    let registry = DockerRegistry::start().unwrap();
    let copy = format!("{}/copy:v1", registry.host());
    machine.store.tags().set(&Reference::parse(&copy).unwrap(), &pulled.image, None).unwrap();
    assert_eq!(push(&machine, &copy, None).await.unwrap(), all.index.digest);
    let again = Machine::new();
    let (pulled, _) = again.pull_with(&copy, &all_platforms()).await.unwrap();
    assert_eq!(pulled.digest, all.index.digest);
}

#[tokio::test]
async fn what_the_registry_has_need_not_be_here() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let all = Everything::put(&fixture, "x");
    let name = format!("{}/x", fixture.host());
    let (pulled, _) = machine.pull(&name).await.unwrap();
    let again = format!("{name}:again");
    machine.store.tags().set(&Reference::parse(&again).unwrap(), &pulled.image, None).unwrap();
    assert_eq!(push(&machine, &again, None).await.unwrap(), all.index.digest, "the same repository");
    let target = Fixture::start().await;
    let copy = format!("{}/copy", target.host());
    machine.store.tags().set(&Reference::parse(&copy).unwrap().tagged(), &pulled.image, None).unwrap();
    assert_eq!(
        push(&machine, &copy, None).await.unwrap(),
        all.own.digest,
        "one platform is all that is here"
    );
}

#[tokio::test]
async fn an_index_without_bounds_is_refused() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let own = small().put(&fixture, "x", None);
    let host = Platform::host().to_string();
    let mut inner = own.clone();
    for _ in 0..6 {
        let bytes = index_of(&[(&inner, None)]);
        inner = fixture.put_manifest("x", None, media_type::OCI_INDEX, &bytes);
    }
    let bytes = index_of(&[(&own, Some(&host)), (&inner, Some("linux/s390x"))]);
    fixture.put_manifest("x", Some("deep"), media_type::OCI_INDEX, &bytes);
    let error = machine.pull_with(&format!("{}/x:deep", fixture.host()), &all_platforms()).await.unwrap_err();
    assert!(matches!(error, PullError::IndexTooDeep { .. }), "{error}");
    let mut entries = vec![Descriptor { platform: Some(Platform::host()), ..own.clone() }];
    for n in 0..1100u32 {
        let bytes = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"n":"{n}"}}}}"#);
        entries.push(fixture.put_manifest("x", None, media_type::OCI_INDEX, bytes.as_bytes()));
    }
    let bytes = serde_json::to_vec(&Index::oci(entries)).unwrap();
    fixture.put_manifest("x", Some("wide"), media_type::OCI_INDEX, &bytes);
    let error = machine.pull_with(&format!("{}/x:wide", fixture.host()), &all_platforms()).await.unwrap_err();
    assert!(matches!(error, PullError::IndexTooLarge { .. }), "{error}");
}

#[tokio::test]
async fn documents_that_would_fill_the_memory_are_refused() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let own = small().put(&fixture, "x", None);
    let big = |n: u8| fixture.put_manifest("x", None, "application/vnd.example", &vec![n; 4 << 20]);
    let documents: Vec<Descriptor> = (0..10).map(big).collect();
    let host = Platform::host().to_string();
    let mut entries = vec![(&own, Some(host.as_str()))];
    entries.extend(documents.iter().map(|document| (document, None)));
    fixture.put_manifest("x", Some("latest"), media_type::OCI_INDEX, &index_of(&entries));
    let error = machine.pull_with(&format!("{}/x", fixture.host()), &all_platforms()).await.unwrap_err();
    assert!(matches!(error, PullError::IndexTooLarge { .. }), "{error}");
}
