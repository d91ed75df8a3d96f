//! Pushes to a registry in memory and to a real one.

use std::sync::Mutex;
use std::time::Duration;

use dray_registry::testing::{DockerRegistry, Fault, Fixture, Guard, What};
use dray_registry::{Auth, Client, ClientConfig, RetryPolicy};
use dray_spec::{Digest, Manifest, Platform, Reference, media_type};
use dray_store::{ImageRecord, Store};

use super::{PushError, PushErrorKind, PushLimits, Pushed, Pusher};
use crate::layer;
use crate::progress::ProgressEvent;
use crate::pull::{PullLimits, PullOptions, Puller};

struct Machine {
    store: Store,
    /// Goes after the store, which may still be writing.
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        Machine { folder, store }
    }

    /// An image made here, one layer per file.
    fn build(&self, files: &[(&str, &[u8])], names: &[&str]) -> ImageRecord {
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for (name, content) in files {
            let draft = self.store.layers().begin().unwrap();
            std::fs::write(draft.path().join(name), content).unwrap();
            let diff_id = layer::DiffId::of(draft.path()).unwrap().diff_id;
            layers.push(draft.commit(&diff_id, content.len() as u64).unwrap());
            diff_ids.push(diff_id);
        }
        let config = serde_json::json!({
            "architecture": Platform::host().architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let image = ImageRecord {
            id: Digest::sha256_of(&config),
            config,
            parent: None,
            manifest: None,
            created: "2026-01-01T00:00:00Z".into(),
            size: 0,
            layers,
            blobs: Vec::new(),
        };
        let names: Vec<Reference> =
            names.iter().map(|name| Reference::parse(name).unwrap().tagged()).collect();
        self.store.images().put(&image, &names).unwrap();
        image
    }

    fn tag(&self, image: &Digest, name: &str) {
        self.store.tags().set(&Reference::parse(name).unwrap().tagged(), image, None).unwrap();
    }

    async fn push(&self, name: &str) -> Result<(Pushed, Vec<String>), PushError> {
        let reference = Reference::parse(name).unwrap().tagged();
        let (mut pushed, said) = self.push_all(&reference, &Auth::Anonymous).await?;
        Ok((pushed.remove(0), said))
    }

    async fn push_all(
        &self,
        reference: &Reference,
        auth: &Auth,
    ) -> Result<(Vec<Pushed>, Vec<String>), PushError> {
        let heard = Mutex::new(Vec::new());
        let hear = |event: ProgressEvent| heard.lock().unwrap().push(shown(&event));
        let pusher = Pusher::new(self.store.clone(), client(), PushLimits::default());
        let pushed = pusher.push(reference, None, auth, &hear).await?;
        Ok((pushed, heard.into_inner().unwrap()))
    }

    async fn pull(&self, name: &str) -> Digest {
        let puller = Puller::new(self.store.clone(), client(), PullLimits::default());
        let reference = Reference::parse(name).unwrap();
        let pulled = puller.pull(&reference, &PullOptions::default(), &|_| {}).await.unwrap();
        pulled[0].image.clone()
    }

    fn content(&self, image: &Digest, layer: usize, file: &str) -> Vec<u8> {
        let image = self.store.images().get(image).unwrap().unwrap();
        std::fs::read(self.store.layers().folders(image.layers[layer])[0].join(file)).unwrap()
    }
}

fn client() -> Client {
    let retry = RetryPolicy { attempts: 4, base: Duration::from_millis(5), max: Duration::from_millis(50) };
    Client::new(ClientConfig { idle_timeout: Duration::from_secs(5), retry, ..Default::default() }).unwrap()
}

fn shown(event: &ProgressEvent) -> String {
    if event.id.is_empty() { event.status.clone() } else { format!("{}: {}", event.id, event.status) }
}

fn two_layers() -> [(&'static str, &'static [u8]); 2] {
    [("a", b"bottom"), ("b", b"top")]
}

/// The short diff IDs of an image, bottom first.
fn rows(image: &ImageRecord) -> Vec<String> {
    let config: dray_spec::ImageConfig = serde_json::from_slice(&image.config).unwrap();
    config.rootfs.diff_ids.iter().map(|d| d.short().to_owned()).collect()
}

#[tokio::test]
async fn a_push_says_what_docker_says() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let name = format!("{}/x:v1", fixture.host());
    let image = machine.build(&two_layers(), &[&name]);
    let rows = rows(&image);
    let (pushed, mut said) = machine.push(&name).await.unwrap();
    assert_eq!(said.remove(0), format!("The push refers to repository [{}/x]", fixture.host()));
    assert_eq!(said.drain(..2).collect::<Vec<_>>(), [1, 0].map(|n| format!("{}: Preparing", rows[n])));
    let size = fixture.manifest("x", "v1").unwrap().1.len();
    assert_eq!(said.pop().unwrap(), format!("v1: digest: {} size: {size}", pushed.digest));
    said.sort();
    let mut expected: Vec<String> = rows.iter().map(|row| format!("{row}: Pushed")).collect();
    expected.sort();
    assert_eq!(said, expected);

    let (kind, bytes) = fixture.manifest("x", "v1").unwrap();
    assert_eq!(
        (kind.as_str(), Digest::sha256_of(&bytes)),
        (media_type::DOCKER_MANIFEST, pushed.digest.clone())
    );
    let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(manifest.config.digest, image.id);
    assert_eq!(fixture.blob("x", &image.id).unwrap(), image.config);
    let names = machine.store.tags().of(&image.id).unwrap();
    assert!(names.contains(&Reference::parse(&name).unwrap().with_digest(pushed.digest)), "{names:?}");
}

#[tokio::test]
async fn what_is_removed_while_it_is_pushed_does_not_come_back() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let name = format!("{}/x:v1", fixture.host());
    // By layers that are packed first, then by the manifest that it was pulled by.
    for round in 0..2 {
        let image = match round {
            0 => machine.build(&two_layers(), &[&name]).id,
            _ => machine.pull(&name).await,
        };
        let reference = Reference::parse(&name).unwrap();
        let remove = |event: ProgressEvent| {
            if event.status == "Preparing" {
                machine.store.images().delete(&image).unwrap();
            }
        };
        let pusher = Pusher::new(machine.store.clone(), client(), PushLimits::default());
        pusher.push(&reference, None, &Auth::Anonymous, &remove).await.unwrap();
        assert!(fixture.manifest("x", "v1").is_some());
        assert_eq!(machine.store.images().list().unwrap(), [], "round {round}");
    }
}

#[tokio::test]
async fn what_was_pushed_is_pulled_as_the_same_image() {
    let (fixture, machine, other) = (Fixture::start().await, Machine::new(), Machine::new());
    let name = format!("{}/x:v1", fixture.host());
    let image = machine.build(&two_layers(), &[&name]);
    machine.push(&name).await.unwrap();
    assert_eq!(other.pull(&name).await, image.id);
    assert_eq!(other.content(&image.id, 0, "a"), b"bottom");
    assert_eq!(other.content(&image.id, 1, "b"), b"top");
}

#[tokio::test]
async fn nothing_is_packed_or_sent_twice() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let name = format!("{}/x:v1", fixture.host());
    let image = machine.build(&two_layers(), &[&name]);
    let (first, _) = machine.push(&name).await.unwrap();
    let uploads = fixture.count("POST", "/uploads/");
    let (second, said) = machine.push(&name).await.unwrap();
    assert_eq!(first.digest, second.digest);
    for row in rows(&image) {
        assert!(said.contains(&format!("{row}: Layer already exists")), "{said:?}");
    }
    assert_eq!(fixture.count("POST", "/uploads/"), uploads);

    let elsewhere = format!("{}/team/y:v2", fixture.host());
    machine.tag(&image.id, &elsewhere);
    let (third, said) = machine.push(&elsewhere).await.unwrap();
    assert_eq!(first.digest, third.digest);
    for row in rows(&image) {
        assert!(said.contains(&format!("{row}: Mounted from x")), "{said:?}");
    }
    assert_eq!(fixture.count("PATCH", "/uploads/"), 2);

    fixture.mounts(false);
    let third = format!("{}/z:v3", fixture.host());
    machine.tag(&image.id, &third);
    let (third, said) = machine.push(&third).await.unwrap();
    assert_eq!(first.digest, third.digest, "the packed blobs were kept");
    assert!(said.contains(&format!("{}: Pushed", rows(&image)[0])), "{said:?}");
}

#[tokio::test]
async fn another_registry_gets_no_mounts() {
    let (here, there, machine) = (Fixture::start().await, Fixture::start().await, Machine::new());
    let name = format!("{}/x:v1", here.host());
    let image = machine.build(&two_layers(), &[&name]);
    let (first, _) = machine.push(&name).await.unwrap();
    let elsewhere = format!("{}/x:v1", there.host());
    machine.tag(&image.id, &elsewhere);
    let (second, _) = machine.push(&elsewhere).await.unwrap();
    assert_eq!(first.digest, second.digest);
    assert_eq!(there.count("POST", "mount="), 0);
}

#[tokio::test]
async fn a_pulled_image_goes_out_byte_for_byte() {
    let (fixture, machine, other) = (Fixture::start().await, Machine::new(), Machine::new());
    let name = format!("{}/x:v1", fixture.host());
    let image = machine.build(&two_layers(), &[&name]);
    machine.push(&name).await.unwrap();
    // Somebody else wrote the manifest in another way.
    let (_, bytes) = fixture.manifest("x", "v1").unwrap();
    let mut manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
    manifest = Manifest::oci(manifest.config, manifest.layers);
    for layer in &mut manifest.layers {
        layer.media_type = media_type::OCI_LAYER_GZIP.into();
    }
    let mut odd = serde_json::to_vec(&manifest).unwrap();
    odd.extend_from_slice(b"  \n");
    let put = fixture.put_manifest("x", Some("odd"), media_type::OCI_MANIFEST, &odd);

    let source = format!("{}/x:odd", fixture.host());
    assert_eq!(other.pull(&source).await, image.id);
    let target = Fixture::start().await;
    let copy = format!("{}/copy:v1", target.host());
    other.tag(&image.id, &copy);
    let (pushed, _) = other.push(&copy).await.unwrap();
    assert_eq!(pushed.digest, put.digest);
    assert_eq!(target.manifest("copy", "v1").unwrap(), (media_type::OCI_MANIFEST.to_owned(), odd));
    for layer in &manifest.layers {
        assert_eq!(target.blob("copy", &layer.digest), fixture.blob("x", &layer.digest));
    }
}

#[tokio::test]
async fn names_that_do_not_exist_are_said_as_docker_says_it() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let name = format!("{}/x", fixture.host());
    let error = machine.push(&name).await.unwrap_err();
    assert_eq!(error.to_string(), format!("An image does not exist locally with the tag: {name}"));
    assert_eq!(error.kind(), PushErrorKind::NotFound);
    machine.build(&two_layers(), &[&format!("{name}:v1")]);
    let error = machine.push(&format!("{name}:v2")).await.unwrap_err();
    assert_eq!(error.to_string(), format!("tag does not exist: {name}:v2"));
    let digest = Reference::parse(&format!("{name}@{}", Digest::sha256_of(b""))).unwrap();
    let error = machine.push_all(&digest, &Auth::Anonymous).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot push a digest reference");
    assert!(fixture.seen().is_empty());
}

#[tokio::test]
async fn without_a_tag_all_tags_are_pushed() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let name = format!("{}/x", fixture.host());
    machine.build(&two_layers(), &[&format!("{name}:v1"), &format!("{name}:v2")]);
    let reference = Reference::parse(&name).unwrap();
    let (pushed, said) = machine.push_all(&reference, &Auth::Anonymous).await.unwrap();
    assert_eq!(pushed.len(), 2);
    assert!(fixture.manifest("x", "v1").is_some() && fixture.manifest("x", "v2").is_some());
    assert_eq!(said.iter().filter(|line| line.starts_with("The push refers")).count(), 1);
}

#[tokio::test]
async fn refusals_are_the_registrys() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let name = format!("{}/x:v1", fixture.host());
    machine.build(&two_layers(), &[&name]);
    let denied = What::error(403, "DENIED", "requested access to the resource is denied");
    fixture.fault(Fault::on("/uploads/", denied).method("POST"));
    let error = machine.push(&name).await.unwrap_err();
    assert_eq!(error.to_string(), "denied: requested access to the resource is denied");
    assert!(fixture.manifest("x", "v1").is_none());
    fixture.heal();
    fixture.guard(Guard::Basic { user: "u".into(), password: "p".into() });
    let error = machine.push(&name).await.unwrap_err();
    assert!(error.to_string().ends_with("no basic auth credentials"), "{error}");
    assert_eq!(error.kind(), PushErrorKind::Registry);
}

#[tokio::test]
async fn a_dropped_upload_goes_on() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let name = format!("{}/x:v1", fixture.host());
    let noise: Vec<u8> =
        (0..1_500_000u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    machine.build(&[("a", &noise)], &[&name]);
    fixture.fault(Fault::on("/uploads/", What::CutAfter(100_000)).method("PATCH").times(2));
    machine.push(&name).await.unwrap();
    let other = Machine::new();
    let image = other.pull(&name).await;
    assert_eq!(other.content(&image, 0, "a"), noise);
}

#[tokio::test]
async fn a_push_that_was_killed_goes_on_where_the_registry_s_copy_ends() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    fixture.mounts(false);
    let mut state = 7u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(1_000_000)
    .collect();
    let name = format!("{}/x:v1", fixture.host());
    machine.build(&[("a", &noise)], &[&name]);
    // The first push comes to an end in the middle: each attempt is cut and nothing is left to retry.
    fixture.fault(Fault::on("/blobs/uploads/", What::CutAfter(300_000)).method("PATCH").times(1));
    fixture.fault(Fault::on("/blobs/uploads/", What::status(400)).method("GET"));
    fixture.fault(Fault::on("/blobs/uploads/", What::error(403, "DENIED", "no")).method("PATCH"));
    machine.push(&name).await.unwrap_err();
    let sent =
        || -> u64 { fixture.seen().iter().filter(|seen| seen.method == "PATCH").map(|seen| seen.body).sum() };
    let (before, opened) = (sent(), fixture.count("POST", "/blobs/uploads/"));
    fixture.heal();
    machine.push(&name).await.unwrap();
    assert_eq!(fixture.count("POST", "/blobs/uploads/") - opened, 1, "only the configuration's");
    let (_, manifest) = fixture.manifest("x", "v1").unwrap();
    let manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(sent() - before, manifest.layers[0].size - 300_000);
    assert!(machine.store.records().list::<String>("blob-upload").unwrap().is_empty());
}

#[tokio::test]
async fn a_layer_whose_blob_is_gone_and_cannot_be_made_again() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let name = format!("{}/x:v1", fixture.host());
    let draft = machine.store.layers().begin().unwrap();
    std::fs::write(draft.path().join("a"), "other").unwrap();
    let diff_id = Digest::sha256_of(b"a tar nobody has any more");
    let layer = draft.commit(&diff_id, 5).unwrap();
    let config =
        serde_json::to_vec(&serde_json::json!({"os": "linux", "rootfs": {"diff_ids": [diff_id]}})).unwrap();
    let mut image = machine.build(&[], &[]);
    image.id = Digest::sha256_of(&config);
    (image.config, image.layers) = (config, vec![layer]);
    machine.store.images().put(&image, &[Reference::parse(&name).unwrap()]).unwrap();
    let error = machine.push(&name).await.unwrap_err();
    assert!(matches!(error, PushError::NotReproducible(ref d) if *d == diff_id), "{error}");
    let spools = std::fs::read_dir(machine.folder.path().join("ingest")).unwrap().count();
    assert_eq!(spools, 0);
}

#[tokio::test]
async fn the_real_peer() {
    let registry = DockerRegistry::start_guarded("ann", "secret").unwrap();
    let (machine, other) = (Machine::new(), Machine::new());
    let name = format!("{}/team/x:v1", registry.host());
    let image = machine.build(&two_layers(), &[&name]);
    let auth = Auth::Basic { user: "ann".into(), password: "secret".into() };
    let reference = Reference::parse(&name).unwrap();
    let (first, said) = machine.push_all(&reference, &auth).await.unwrap();
    assert!(said.iter().any(|line| line.ends_with(": Pushed")));
    let mounted = format!("{}/y:v1", registry.host());
    machine.tag(&image.id, &mounted);
    let (second, said) = machine.push_all(&Reference::parse(&mounted).unwrap(), &auth).await.unwrap();
    assert!(said.iter().any(|line| line.ends_with(": Mounted from team/x")), "{said:?}");
    assert_eq!(first[0].digest, second[0].digest);

    let puller = Puller::new(other.store.clone(), client(), PullLimits::default());
    let options = PullOptions { auth, ..PullOptions::default() };
    let pulled = puller.pull(&reference, &options, &|_| {}).await.unwrap();
    assert_eq!((&pulled[0].image, &pulled[0].digest), (&image.id, &first[0].digest));
    assert_eq!(other.content(&image.id, 1, "b"), b"top");
}

#[tokio::test]
async fn what_is_said_of_an_image_that_came_in_an_archive_is_pushed() {
    use crate::export::Predicate;
    let (one, two) = (Machine::new(), Machine::new());
    let fixture = Fixture::start().await;
    let name = format!("{}/x:v1", fixture.host());
    let image = one.build(&two_layers(), &[&name]);
    let images = crate::Images::new(one.store.clone());
    let content = serde_json::json!({ "made": "here" });
    let predicate = Predicate { kind: "https://slsa.dev/provenance/v1".into(), content };
    images.promise_attestations(&image.id, &[predicate]).unwrap();
    let mut archive = Vec::new();
    images.save(std::slice::from_ref(&name), None, &mut archive).unwrap();
    crate::Images::new(two.store.clone()).load(&archive[..], &crate::Silent).unwrap();
    let before = two.store.blobs().list().unwrap();
    let (pushed, _) = two.push(&name).await.unwrap();
    let Some((_, index)) = fixture.manifest("x", "v1") else { panic!("pushed") };
    let index: dray_spec::Index = serde_json::from_slice(&index).unwrap();
    assert!(index.manifests[1].attests(&index.manifests[0].digest));
    assert_eq!(
        two.store.images().get(&image.id).unwrap().unwrap().manifest,
        Some(index.manifests[0].digest.clone())
    );
    assert_ne!(pushed.digest, index.manifests[0].digest);
    // What was packed for it does not stay; the lease on it is given back by a thread of its own.
    let sorted = |mut blobs: Vec<Digest>| {
        blobs.sort();
        blobs
    };
    let (before, mut after) = (sorted(before), Vec::new());
    for _ in 0..1000 {
        two.store.collect().unwrap();
        after = sorted(two.store.blobs().list().unwrap());
        if after == before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(after, before);
}
