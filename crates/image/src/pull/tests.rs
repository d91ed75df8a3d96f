//! Pulls from a registry in memory that can be as bad as registries get.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dray_registry::testing::{Fault, Fixture, Guard, What};
use dray_registry::{Auth, Client, ClientConfig, RetryPolicy};
use dray_spec::{Descriptor, Digest, Index, Manifest, Platform, Reference, media_type};
use dray_store::Store;

use super::{PullError, PullErrorKind, PullLimits, PullOptions, Pulled, Puller};
use crate::progress::ProgressEvent;

mod content;
mod hostile;
mod ranges;

/// A store in a folder of its own, and a puller into it.
struct Machine {
    store: Store,
    puller: Puller,
    /// Goes after the store, which may still be writing.
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    fn on(folder: tempfile::TempDir) -> Self {
        Self::with(folder, client())
    }

    fn with(folder: tempfile::TempDir, client: Client) -> Self {
        Self::limited(folder, client, PullLimits::default())
    }

    fn limited(folder: tempfile::TempDir, client: Client, limits: PullLimits) -> Self {
        let store = Store::open(folder.path()).unwrap();
        let puller = Puller::new(store.clone(), client, limits);
        Machine { folder, store, puller }
    }

    /// The same folder after the daemon was started anew.
    async fn restarted(self) -> Self {
        let Machine { folder, store, puller } = self;
        drop((store, puller));
        // Threads of a pull that was dropped may still be about to notice.
        for _ in 0..100 {
            if Store::open(folder.path()).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self::on(folder)
    }

    async fn pull(&self, name: &str) -> Result<(Pulled, Vec<String>), PullError> {
        self.pull_with(name, &PullOptions::default()).await
    }

    async fn pull_with(&self, name: &str, options: &PullOptions) -> Result<(Pulled, Vec<String>), PullError> {
        let heard = Mutex::new(Vec::new());
        let hear = |event: ProgressEvent| heard.lock().unwrap().push(shown(&event));
        let mut pulled = self.puller.pull(&Reference::parse(name).unwrap(), options, &hear).await?;
        Ok((pulled.remove(0), heard.into_inner().unwrap()))
    }

    /// Files below a folder of the store.
    fn entries(&self, below: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.folder.path().join(below))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Nothing of a failed pull is left but, where it says so, what can be resumed.
    async fn assert_empty(&self, resumable: usize) {
        self.assert_at_most(resumable..=resumable).await;
    }

    async fn assert_at_most(&self, resumable: std::ops::RangeInclusive<usize>) {
        let left = || {
            (self.entries("layers").len(), self.entries("blobs/sha256").len(), self.entries("ingest").len())
        };
        // The threads of a pull that ended notice it when the disk lets them; one may only be about to begin.
        let mut clean = 0;
        for _ in 0..3000 {
            let (layers, blobs, ingests) = left();
            let is_clean = layers == 0 && blobs == 0 && resumable.contains(&ingests);
            clean = if is_clean { clean + 1 } else { 0 };
            if clean == 20 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (layers, blobs, ingests) = left();
        assert_eq!((layers, blobs), (0, 0));
        assert!(resumable.contains(&ingests), "{ingests} ingests");
        assert!(self.store.images().list().unwrap().is_empty());
        assert!(self.store.tags().list().unwrap().is_empty());
    }

    fn content(&self, pulled: &Pulled, layer: usize, file: &str) -> Vec<u8> {
        let image = self.store.images().get(&pulled.image).unwrap().unwrap();
        std::fs::read(self.store.layers().folders(image.layers[layer])[0].join(file)).unwrap()
    }
}

fn client() -> Client {
    client_of(ClientConfig::default())
}

fn client_of(config: ClientConfig) -> Client {
    Client::new(ClientConfig {
        idle_timeout: Duration::from_secs(5),
        retry: RetryPolicy { attempts: 3, base: Duration::from_millis(5), max: Duration::from_millis(50) },
        ..config
    })
    .unwrap()
}

fn shown(event: &ProgressEvent) -> String {
    if event.id.is_empty() { event.status.clone() } else { format!("{}: {}", event.id, event.status) }
}

/// Bytes that gzip can't make small.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8
    })
    .take(length)
    .collect()
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image to be put into a registry.
struct Sample {
    manifest: Manifest,
    config: Vec<u8>,
    layers: Vec<Vec<u8>>,
}

impl Sample {
    /// One layer per list of files, gzipped.
    fn new(layers: &[&[(&str, &[u8])]]) -> Self {
        let tars: Vec<Vec<u8>> = layers.iter().map(|files| tar_of(files)).collect();
        let packed: Vec<_> = tars.iter().map(|tar| (media_type::OCI_LAYER_GZIP, gzip(tar))).collect();
        Self::packed(&tars, packed)
    }

    fn packed(tars: &[Vec<u8>], packed: Vec<(&str, Vec<u8>)>) -> Self {
        let diff_ids: Vec<String> = tars.iter().map(|tar| Digest::sha256_of(tar).to_string()).collect();
        let config = serde_json::json!({
            "architecture": Platform::host().architecture, "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": {"Cmd": ["/bin/app"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let layers = packed.iter().map(|(kind, bytes)| Descriptor::of(kind, bytes)).collect();
        let manifest = Manifest::oci(Descriptor::of(media_type::OCI_CONFIG, &config), layers);
        Sample { manifest, config, layers: packed.into_iter().map(|(_, bytes)| bytes).collect() }
    }

    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.manifest).unwrap()
    }

    fn put(&self, fixture: &Fixture, repository: &str, tag: Option<&str>) -> Descriptor {
        fixture.put_blob(repository, media_type::OCI_CONFIG, &self.config);
        for layer in &self.layers {
            fixture.put_blob(repository, media_type::OCI_LAYER_GZIP, layer);
        }
        fixture.put_manifest(repository, tag, media_type::OCI_MANIFEST, &self.bytes())
    }

    fn row(&self, layer: usize) -> &str {
        self.manifest.layers[layer].digest.short()
    }
}

fn small() -> Sample {
    Sample::new(&[&[("a", b"one")], &[("b", b"two")]])
}

/// One layer of about a megabyte.
fn large() -> Sample {
    let content = noise(7, 1_000_000);
    Sample::new(&[&[("a", &content)]])
}

fn ranges(fixture: &Fixture, blob: &Digest) -> Vec<Option<String>> {
    let of_blob = |seen: &dray_registry::testing::Seen| {
        seen.method == "GET" && seen.path.ends_with(&format!("/blobs/{blob}"))
    };
    fixture.seen().into_iter().filter(of_blob).map(|seen| seen.range).collect()
}

#[tokio::test]
async fn a_pull_says_what_docker_says() {
    let (fixture, machine, sample) = (Fixture::start().await, Machine::new(), small());
    let put = sample.put(&fixture, "library/x", Some("latest"));
    let name = format!("{}/library/x", fixture.host());
    let (pulled, said) = machine.pull(&name).await.unwrap();
    assert_eq!(said[0], "latest: Pulling from library/x");
    assert_eq!(said[1..3], [0, 1].map(|n| format!("{}: Pulling fs layer", sample.row(n))));
    for layer in [0, 1] {
        let row: Vec<&str> =
            said.iter().filter_map(|line| line.strip_prefix(&format!("{}: ", sample.row(layer)))).collect();
        let fixed: Vec<&str> =
            row.into_iter().filter(|s| !["Downloading", "Extracting", "Waiting"].contains(s)).collect();
        assert_eq!(fixed, ["Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete"]);
    }
    assert_eq!(said[said.len() - 2], format!("Digest: {}", put.digest));
    assert_eq!(said[said.len() - 1], format!("Status: Downloaded newer image for {name}:latest"));
    assert_eq!((pulled.digest.clone(), pulled.changed), (put.digest.clone(), true));
    assert_eq!(pulled.image, Digest::sha256_of(&sample.config));
    assert_eq!(machine.content(&pulled, 0, "a"), b"one");
    assert_eq!(machine.content(&pulled, 1, "b"), b"two");

    let names: Vec<String> =
        machine.store.tags().of(&pulled.image).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, [format!("{name}:latest"), format!("{name}@{}", put.digest)]);
    let record = machine.store.images().get(&pulled.image).unwrap().unwrap();
    assert_eq!(record.manifest, Some(put.digest));
    assert_eq!(record.blobs.len(), 3);
    assert!(record.blobs.iter().all(|blob| machine.store.blobs().has(blob)));
    assert!(machine.entries("ingest").is_empty());
}

#[tokio::test]
async fn a_second_pull_fetches_nothing() {
    let (fixture, machine, sample) = (Fixture::start().await, Machine::new(), small());
    sample.put(&fixture, "x", Some("latest"));
    let name = format!("{}/x", fixture.host());
    machine.pull(&name).await.unwrap();
    let sent = fixture.blob_bytes_sent();
    let (pulled, said) = machine.pull(&name).await.unwrap();
    assert!(!pulled.changed);
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(said[2], format!("Status: Image is up to date for {name}:latest"));
    assert_eq!(fixture.blob_bytes_sent() - sent, sample.config.len() as u64);
}

#[tokio::test]
async fn layers_that_are_here_already_exist() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    Sample::new(&[&[("a", b"one")]]).put(&fixture, "base", Some("latest"));
    let sample = small();
    sample.put(&fixture, "x", Some("latest"));
    machine.pull(&format!("{}/base", fixture.host())).await.unwrap();
    let (_, said) = machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    assert!(said.contains(&format!("{}: Already exists", sample.row(0))), "{said:?}");
    assert!(said.contains(&format!("{}: Pull complete", sample.row(1))), "{said:?}");
    assert_eq!(ranges(&fixture, &sample.manifest.layers[0].digest).len(), 1);
}

#[tokio::test]
async fn by_digest_the_name_has_no_tag() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let put = small().put(&fixture, "x", Some("latest"));
    let name = format!("{}/x@{}", fixture.host(), put.digest);
    let (pulled, said) = machine.pull(&name).await.unwrap();
    assert_eq!(said[0], format!("{name}: Pulling from x"));
    assert_eq!(said[said.len() - 1], format!("Status: Downloaded newer image for {name}"));
    let names = machine.store.tags().of(&pulled.image).unwrap();
    assert_eq!(names.iter().map(ToString::to_string).collect::<Vec<_>>(), [name]);
}

#[tokio::test]
async fn all_tags() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    small().put(&fixture, "x", Some("v1"));
    large().put(&fixture, "x", Some("v2"));
    let reference = Reference::parse(&format!("{}/x", fixture.host())).unwrap();
    let options = PullOptions { all_tags: true, ..PullOptions::default() };
    let heard = Mutex::new(Vec::new());
    let hear = |event: ProgressEvent| heard.lock().unwrap().push(shown(&event));
    let pulled = machine.puller.pull(&reference, &options, &hear).await.unwrap();
    assert_eq!(pulled.len(), 2);
    let said = heard.into_inner().unwrap();
    assert!(said.contains(&"v1: Pulling from x".into()) && said.contains(&"v2: Pulling from x".into()));
    let closing = format!("Status: Downloaded newer image for {}/x", fixture.host());
    assert_eq!(said.iter().filter(|line| line.starts_with("Status")).collect::<Vec<_>>(), [&closing]);
}

fn index_of(entries: &[(&Descriptor, Option<&str>)]) -> Vec<u8> {
    let manifests = entries
        .iter()
        .map(|(descriptor, platform)| Descriptor {
            platform: platform.map(|p| p.parse().unwrap()),
            ..(*descriptor).clone()
        })
        .collect();
    serde_json::to_vec(&Index::oci(manifests)).unwrap()
}

#[tokio::test]
async fn an_index_gives_the_platform_asked_for() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let own = small().put(&fixture, "x", None);
    let mut other = large();
    let config = String::from_utf8(other.config.clone()).unwrap();
    other.config = config.replace(&Platform::host().architecture, "s390x").into_bytes();
    other.manifest.config = Descriptor::of(media_type::OCI_CONFIG, &other.config);
    let foreign = other.put(&fixture, "x", None);
    let host = Platform::host().to_string();
    let index = index_of(&[(&foreign, Some("linux/s390x")), (&own, Some(&host))]);
    let top = fixture.put_manifest("x", Some("latest"), media_type::OCI_INDEX, &index);
    let name = format!("{}/x", fixture.host());
    let (pulled, said) = machine.pull(&name).await.unwrap();
    assert_eq!(
        (pulled.image.clone(), pulled.digest),
        (Digest::sha256_of(&small().config), top.digest.clone())
    );
    assert!(said.contains(&format!("Digest: {}", top.digest)));
    let record = machine.store.images().get(&pulled.image).unwrap().unwrap();
    assert_eq!(record.manifest, Some(own.digest));
    assert!(record.blobs.contains(&top.digest), "the index is kept too");

    let wanted =
        |platform: &str| PullOptions { platform: Some(platform.parse().unwrap()), ..PullOptions::default() };
    let (pulled, _) = machine.pull_with(&name, &wanted("linux/s390x")).await.unwrap();
    assert_eq!(pulled.image, Digest::sha256_of(&other.config));
    let error = machine.pull_with(&name, &wanted("linux/riscv64")).await.unwrap_err();
    assert_eq!(error.to_string(), "no matching manifest for linux/riscv64 in the manifest list entries");
    assert_eq!(error.kind(), PullErrorKind::NotFound);
    let single = format!("{}/x@{}", fixture.host(), foreign.digest);
    let error = machine.pull_with(&single, &wanted("linux/riscv64")).await.unwrap_err();
    assert!(error.to_string().contains("wanted linux/riscv64, actual: linux/s390x"), "{error}");
}

#[tokio::test]
async fn indexes_within_indexes_have_an_end() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let own = small().put(&fixture, "x", None);
    let mut entry = own.clone();
    for depth in 1..=6 {
        let index = index_of(&[(&entry, (depth == 1).then_some("linux/amd64"))]);
        entry = fixture.put_manifest("x", Some(&format!("d{depth}")), media_type::OCI_INDEX, &index);
    }
    let platform = Some("linux/amd64".parse().unwrap());
    let options = PullOptions { platform, ..PullOptions::default() };
    machine.pull_with(&format!("{}/x:d3", fixture.host()), &options).await.unwrap();
    let error = machine.pull_with(&format!("{}/x:d6", fixture.host()), &options).await.unwrap_err();
    assert!(error.to_string().contains("nested more than 4 levels deep"), "{error}");
    // An index that names itself can only lie about its digest.
    let index = index_of(&[(&own, None)]);
    let own_digest = Digest::sha256_of(b"cycle");
    let cycle = Descriptor::new(media_type::OCI_INDEX, own_digest.clone(), index.len() as u64);
    let lie = index_of(&[(&cycle, None)]);
    fixture.put_false_manifest("x", own_digest.as_str(), media_type::OCI_INDEX, &lie);
    fixture.put_false_manifest("x", "cycle", media_type::OCI_INDEX, &lie);
    let error = machine.pull(&format!("{}/x:cycle", fixture.host())).await.unwrap_err();
    assert!(error.to_string().starts_with("digest mismatch for"), "{error}");
}

/// Makes a sample bad.
type Spoil = Box<dyn Fn(&mut Sample)>;

#[tokio::test]
async fn what_is_not_an_image_for_us_is_refused() {
    let cases: [(&str, Spoil, &str); 6] = [
        (
            "chart",
            Box::new(|s| s.manifest.config.media_type = "application/vnd.cncf.helm.config.v1+json".into()),
            "Encountered remote \"application/vnd.cncf.helm.config.v1+json\"(unknown) when fetching",
        ),
        (
            "layer",
            Box::new(|s| s.manifest.layers[0].media_type = "application/x-evil".into()),
            "unsupported media type application/x-evil",
        ),
        (
            "count",
            Box::new(|s| {
                s.manifest.layers.pop();
            }),
            "layers from manifest don't match image configuration",
        ),
        (
            "windows",
            Box::new(|s| {
                s.config = br#"{"os":"windows","architecture":"amd64","rootfs":{"diff_ids":[]}}"#.to_vec();
                s.manifest.config = Descriptor::of(media_type::OCI_CONFIG, &s.config);
                s.manifest.layers.clear();
            }),
            "image operating system \"windows\" cannot be used on this platform: \
             operating system is not supported",
        ),
        (
            "nonsense",
            Box::new(|s| {
                s.config = b"[1".to_vec();
                s.manifest.config = Descriptor::of(media_type::OCI_CONFIG, &s.config);
            }),
            "is invalid: ",
        ),
        ("huge", Box::new(|s| s.manifest.config.size = 1 << 40), "size mismatch for"),
    ];
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    for (tag, spoil, expected) in cases {
        let mut sample = small();
        spoil(&mut sample);
        sample.put(&fixture, "x", Some(tag));
        let error = machine.pull(&format!("{}/x:{tag}", fixture.host())).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{tag}: {error}");
    }
    let schema1 = br#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#;
    fixture.put_manifest("x", Some("old"), media_type::DOCKER_SCHEMA1_SIGNED, schema1);
    let error = machine.pull(&format!("{}/x:old", fixture.host())).await.unwrap_err();
    assert!(error.to_string().contains("schema 1 support has been removed"), "{error}");
    fixture.put_manifest("x", Some("html"), "text/html", b"<html>");
    let error = machine.pull(&format!("{}/x:html", fixture.host())).await.unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("{}/x:html: invalid manifest", fixture.host())),
        "{error}"
    );
    machine.assert_empty(0).await;
}

#[tokio::test]
async fn names_that_do_not_exist_are_said_as_docker_says_it() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let name = format!("{}/x", fixture.host());
    let error = machine.pull(&name).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("manifest for {name}:latest not found: manifest unknown: manifest unknown")
    );
    let denied = What::error(404, "DENIED", "requested access to the resource is denied");
    fixture.fault(Fault::on("/manifests/", denied).times(1));
    let error = machine.pull(&name).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "pull access denied for {name}, repository does not exist or may require 'docker login': \
             denied: requested access to the resource is denied"
        )
    );
    assert_eq!(error.kind(), PullErrorKind::NotFound);
    fixture.guard(Guard::Basic { user: "u".into(), password: "p".into() });
    let auth = Auth::Basic { user: "u".into(), password: "wrong".into() };
    let options = PullOptions { auth, ..PullOptions::default() };
    let error = machine.pull_with(&name, &options).await.unwrap_err();
    assert_eq!(error.to_string(), "unauthorized: authentication required");
    assert_eq!(error.kind(), PullErrorKind::Unauthorized);
}

#[tokio::test]
async fn a_layer_of_another_digest_leaves_nothing() {
    let (fixture, machine, sample) = (Fixture::start().await, Machine::new(), large());
    sample.put(&fixture, "x", Some("latest"));
    let blob = &sample.manifest.layers[0].digest;
    fixture.fault(Fault::on(&format!("/blobs/{blob}"), What::FlipByte));
    let error = machine.pull(&format!("{}/x", fixture.host())).await.unwrap_err();
    // Either the digest or, earlier, the content shows it.
    assert!(error.to_string().contains(blob.as_str()), "{error}");
    machine.assert_empty(0).await;
}

#[tokio::test]
async fn content_of_another_diff_id_leaves_nothing() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let (named, real) = (tar_of(&[("a", b"named")]), tar_of(&[("a", b"real")]));
    let sample =
        Sample::packed(std::slice::from_ref(&named), vec![(media_type::OCI_LAYER_GZIP, gzip(&real))]);
    sample.put(&fixture, "x", Some("latest"));
    let error = machine.pull(&format!("{}/x", fixture.host())).await.unwrap_err();
    let (named, real) = (Digest::sha256_of(&named), Digest::sha256_of(&real));
    assert!(
        error.to_string().contains(&format!("configuration says diff ID {named}, its content is {real}"))
    );
    machine.assert_empty(0).await;
}

#[tokio::test]
async fn a_layer_that_is_no_archive_leaves_nothing() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let junk = noise(3, 50_000);
    let sample = Sample::packed(std::slice::from_ref(&junk), vec![(media_type::OCI_LAYER_GZIP, gzip(&junk))]);
    sample.put(&fixture, "x", Some("latest"));
    let error = machine.pull(&format!("{}/x", fixture.host())).await.unwrap_err();
    assert!(error.to_string().starts_with("failed to register layer: "), "{error}");
    machine.assert_empty(0).await;
}

#[tokio::test]
async fn one_bad_layer_stops_the_others() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let content = noise(9, 400_000);
    let sample = Sample::new(&[&[("a", &content)], &[("b", b"two")]]);
    sample.put(&fixture, "x", Some("latest"));
    fixture.fault(Fault::on(sample.manifest.layers[0].digest.as_str(), What::Stall));
    let missing = What::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
    fixture.fault(Fault::on(sample.manifest.layers[1].digest.as_str(), missing));
    let error = machine.pull(&format!("{}/x", fixture.host())).await.unwrap_err();
    assert_eq!(error.to_string(), "blob unknown: blob unknown to registry");
    machine.assert_at_most(0..=1).await;
}

#[tokio::test]
async fn a_dropped_connection_goes_on_where_it_broke() {
    let (fixture, machine, sample) = (Fixture::start().await, Machine::new(), large());
    sample.put(&fixture, "x", Some("latest"));
    let blob = sample.manifest.layers[0].digest.clone();
    fixture.fault(Fault::on(&format!("/blobs/{blob}"), What::CutAfter(200_000)).times(3));
    let (pulled, _) = machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    assert_eq!(machine.content(&pulled, 0, "a"), noise(7, 1_000_000));
    let expected =
        [None, Some(200_000), Some(400_000), Some(600_000)].map(|at| at.map(|n| format!("bytes={n}-")));
    assert_eq!(ranges(&fixture, &blob), expected);
}

/// Less than half as fast as [`What::Drip`] must be.
fn impatient() -> ClientConfig {
    let pace = dray_registry::Pace { least: 10_000, within: Duration::from_millis(200) };
    ClientConfig { pace, ..ClientConfig::default() }
}

#[tokio::test]
async fn a_registry_that_drips_for_a_while_is_asked_again() {
    let (fixture, sample) = (Fixture::start().await, large());
    let machine = Machine::with(tempfile::tempdir().unwrap(), client_of(impatient()));
    sample.put(&fixture, "x", Some("latest"));
    let blob = sample.manifest.layers[0].digest.clone();
    fixture.fault(Fault::on(&format!("/blobs/{blob}"), What::Drip(Duration::from_millis(5))).times(2));
    let (pulled, _) = machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    assert_eq!(machine.content(&pulled, 0, "a"), noise(7, 1_000_000));
    let asked = ranges(&fixture, &blob);
    assert!(asked.len() == 3 && asked[2].is_some(), "it goes on where it was: {asked:?}");
}

#[tokio::test]
async fn a_registry_that_only_drips_or_drops_is_left_for_the_next() {
    for bad in [What::Drip(Duration::from_millis(5)), What::CutAfter(1)] {
        let (drips, good, sample) = (Fixture::start().await, Fixture::start().await, large());
        sample.put(&drips, "library/x", Some("latest"));
        sample.put(&good, "library/x", Some("latest"));
        drips.fault(Fault::on(sample.manifest.layers[0].digest.as_str(), bad));
        let mirrors = [&drips, &good].map(|mirror| format!("http://{}", mirror.host())).to_vec();
        let client = client_of(ClientConfig { mirrors, ..impatient() });
        let machine = Machine::with(tempfile::tempdir().unwrap(), client);
        let pull = tokio::time::timeout(Duration::from_secs(60), machine.pull("x"));
        let (pulled, _) = pull.await.expect("an end").unwrap();
        assert_eq!(machine.content(&pulled, 0, "a"), noise(7, 1_000_000));
        assert_eq!(ranges(&drips, &sample.manifest.layers[0].digest).len(), 3, "as often as is tried");
    }
}

#[tokio::test]
async fn a_restarted_daemon_goes_on_where_it_was() {
    let (fixture, machine, sample) = (Fixture::start().await, Machine::new(), large());
    sample.put(&fixture, "x", Some("latest"));
    let (name, blob) = (format!("{}/x", fixture.host()), sample.manifest.layers[0].digest.clone());
    fixture.fault(Fault::on(&format!("/blobs/{blob}"), What::CutAfter(300_000)).times(1));
    fixture.fault(Fault::on(&format!("/blobs/{blob}"), What::CutAfter(0)));
    let error = machine.pull(&name).await.unwrap_err();
    assert!(error.to_string().contains("broke off after 300000 of"), "{error}");
    machine.assert_empty(1).await;
    fixture.heal();
    let before = ranges(&fixture, &blob).len();
    let machine = machine.restarted().await;
    let (pulled, _) = machine.pull(&name).await.unwrap();
    assert_eq!(ranges(&fixture, &blob)[before..], [Some("bytes=300000-".to_owned())]);
    assert_eq!(machine.content(&pulled, 0, "a"), noise(7, 1_000_000));
    assert!(machine.entries("ingest").is_empty());
}

#[tokio::test]
async fn what_an_earlier_attempt_left_is_not_trusted() {
    let (fixture, machine, sample) = (Fixture::start().await, Machine::new(), large());
    sample.put(&fixture, "x", Some("latest"));
    let blob = sample.manifest.layers[0].digest.clone();
    let mut left = machine.store.blobs().ingest(blob.as_str()).unwrap();
    left.append(&noise(99, 100_000)).unwrap();
    drop(left);
    let (pulled, _) = machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    assert_eq!(machine.content(&pulled, 0, "a"), noise(7, 1_000_000));
    let expected = [Some("bytes=100000-".to_owned()), None];
    assert_eq!(ranges(&fixture, &blob), expected);
}

#[tokio::test]
async fn two_clients_share_the_work_and_one_may_leave() {
    let (fixture, machine, sample) = (Fixture::start().await, Arc::new(Machine::new()), large());
    sample.put(&fixture, "x", Some("latest"));
    let (name, blob) = (format!("{}/x", fixture.host()), sample.manifest.layers[0].digest.clone());
    fixture.fault(Fault::on(&format!("/blobs/{blob}"), What::Delay(Duration::from_millis(300))));
    let pull = |machine: Arc<Machine>, name: String| tokio::spawn(async move { machine.pull(&name).await });
    let first = pull(machine.clone(), name.clone());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = pull(machine.clone(), name.clone());
    let third = pull(machine.clone(), name.clone());
    tokio::time::sleep(Duration::from_millis(100)).await;
    first.abort();
    let (pulled, said) = second.await.unwrap().unwrap();
    third.await.unwrap().unwrap();
    assert!(said.contains(&format!("{}: Pull complete", sample.row(0))), "{said:?}");
    assert_eq!(machine.content(&pulled, 0, "a"), noise(7, 1_000_000));
    assert_eq!(ranges(&fixture, &blob).len(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_only_what_can_be_resumed() {
    let (fixture, machine, sample) = (Fixture::start().await, Arc::new(Machine::new()), large());
    sample.put(&fixture, "x", Some("latest"));
    let (name, blob) = (format!("{}/x", fixture.host()), sample.manifest.layers[0].digest.clone());
    fixture.fault(Fault::on(&format!("/blobs/{blob}"), What::Stall));
    let pull = tokio::spawn({
        let (machine, name) = (machine.clone(), name.clone());
        async move { machine.pull(&name).await }
    });
    tokio::time::sleep(Duration::from_millis(400)).await;
    pull.abort();
    assert!(pull.await.unwrap_err().is_cancelled());
    fixture.heal();
    machine.assert_empty(1).await;
    let (pulled, _) = machine.pull(&name).await.unwrap();
    assert_eq!(machine.content(&pulled, 0, "a"), noise(7, 1_000_000));
    let size = sample.manifest.layers[0].size;
    assert_eq!(ranges(&fixture, &blob), [None, Some(format!("bytes={}-", size / 2))]);
}

#[tokio::test]
async fn many_layers_wait_for_their_turn() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let contents: Vec<Vec<u8>> = (1..=8).map(|n| noise(2 * n + 1, 30_000)).collect();
    let files: Vec<[(&str, &[u8]); 1]> = contents.iter().map(|c| [("a", c.as_slice())]).collect();
    let layers: Vec<&[(&str, &[u8])]> = files.iter().map(|f| f.as_slice()).collect();
    let sample = Sample::new(&layers);
    sample.put(&fixture, "x", Some("latest"));
    fixture.fault(Fault::on("/blobs/sha256", What::Delay(Duration::from_millis(30))));
    let (pulled, said) = machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    let of = |status: &str| said.iter().filter(|line| line.ends_with(status)).count();
    assert_eq!((of("Waiting"), of("Pull complete")), (5, 8), "{said:?}");
    for (layer, content) in contents.iter().enumerate() {
        assert_eq!(&machine.content(&pulled, layer, "a"), content);
    }
}

#[tokio::test]
async fn the_same_layer_twice_is_fetched_once() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let sample = Sample::new(&[&[("a", b"one")], &[("b", b"two")], &[("a", b"one")]]);
    sample.put(&fixture, "x", Some("latest"));
    let (pulled, said) = machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    assert_eq!(said.iter().filter(|line| line.ends_with("Pulling fs layer")).count(), 2);
    let record = machine.store.images().get(&pulled.image).unwrap().unwrap();
    assert_eq!(record.layers[0], record.layers[2]);
    assert_eq!(ranges(&fixture, &sample.manifest.layers[0].digest).len(), 1);
}

#[tokio::test]
async fn an_uncompressed_layer() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let tar = tar_of(&[("a", b"plain")]);
    let sample = Sample::packed(std::slice::from_ref(&tar), vec![(media_type::OCI_LAYER, tar.clone())]);
    sample.put(&fixture, "x", Some("latest"));
    let (pulled, _) = machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    assert_eq!(machine.content(&pulled, 0, "a"), b"plain");
}

#[tokio::test]
async fn a_hard_link_into_a_layer_below() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let linked = |target: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        header.set_mode(0o644);
        builder.append_link(&mut header, "link", target).unwrap();
        builder.into_inner().unwrap()
    };
    let image = |target: &str| {
        let tars = [tar_of(&[("a", b"below")]), linked(target)];
        let packed = tars.iter().map(|tar| (media_type::OCI_LAYER_GZIP, gzip(tar))).collect();
        Sample::packed(&tars, packed)
    };
    image("a").put(&fixture, "x", Some("good"));
    image("nowhere").put(&fixture, "x", Some("bad"));
    let (pulled, said) = machine.pull(&format!("{}/x:good", fixture.host())).await.unwrap();
    assert_eq!(machine.content(&pulled, 1, "link"), b"below");
    assert_eq!(said.iter().filter(|line| line.ends_with("Pull complete")).count(), 2, "{said:?}");
    assert_eq!(ranges(&fixture, &image("a").manifest.layers[1].digest).len(), 1);
    let error = machine.pull(&format!("{}/x:bad", fixture.host())).await.unwrap_err();
    assert!(error.to_string().contains("\"nowhere\", which is not in the layer"), "{error}");
    // It goes with the pull's lease.
    let blob = image("nowhere").manifest.layers[1].digest.clone();
    for _ in 0..3000 {
        if !machine.store.blobs().has(&blob) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the blob of a bad layer stays");
}

#[tokio::test]
async fn a_zstd_layer() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let tar = tar_of(&[("a", &noise(5, 300_000))]);
    let packed = zstd::encode_all(tar.as_slice(), 3).unwrap();
    let sample = Sample::packed(std::slice::from_ref(&tar), vec![(media_type::OCI_LAYER_ZSTD, packed)]);
    sample.put(&fixture, "x", Some("latest"));
    let (pulled, _) = machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    assert_eq!(machine.content(&pulled, 0, "a"), noise(5, 300_000));
}

#[tokio::test]
async fn a_mirror_that_breaks_is_passed_over() {
    let (bad, good, sample) = (Fixture::start().await, Fixture::start().await, small());
    sample.put(&bad, "library/x", Some("latest"));
    sample.put(&good, "library/x", Some("latest"));
    bad.fault(Fault::on(sample.manifest.layers[1].digest.as_str(), What::FlipByte));
    let mirrors = vec![format!("http://{}", bad.host()), format!("http://{}/", good.host())];
    let client = client_of(ClientConfig { mirrors, ..ClientConfig::default() });
    let machine = Machine::with(tempfile::tempdir().unwrap(), client);
    let (pulled, said) = machine.pull("x").await.unwrap();
    assert_eq!(machine.content(&pulled, 1, "b"), b"two");
    assert_eq!(said.last().unwrap(), "Status: Downloaded newer image for x:latest");
    assert_eq!(ranges(&good, &sample.manifest.layers[1].digest).len(), 1);
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_nothing() {
    let (fixture, sample) = (Fixture::start().await, large());
    sample.put(&fixture, "x", Some("latest"));
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path());
    let data = tempfile::tempdir_in(&disk.0).unwrap();
    let machine = Machine::on(data);
    let error = machine.pull(&format!("{}/x", fixture.host())).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("No space left on device") || text.contains("there is room for"), "{text}");
    assert_eq!(error.kind(), PullErrorKind::System);
    machine.assert_empty(0).await;
    drop(machine);
}

/// A file system of 1.5 MB: enough for the records, not for the layer.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &std::path::Path) -> Self {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1536k", "tmpfs"])
            .arg(at)
            .status()
            .unwrap();
        assert!(mounted.success(), "tests run as root");
        SmallDisk(at.to_path_buf())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-l"]).arg(&self.0).status();
    }
}
