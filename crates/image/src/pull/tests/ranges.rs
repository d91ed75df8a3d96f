//! Large layers: several ranges at once, through drops and restarts, from registries that know no ranges.

use super::*;

const PART: u64 = 200_000;

/// Layers of 400 kB and more come in ranges of 200 kB.
fn machine() -> Machine {
    machine_on(tempfile::tempdir().unwrap())
}

fn machine_on(folder: tempfile::TempDir) -> Machine {
    let limits = PullLimits { ranges_from: 400_000, range: PART, ranges: 3, ..PullLimits::default() };
    Machine::limited(folder, client(), limits)
}

/// The first and last bytes that were asked for, in the order of the blob.
fn asked(fixture: &Fixture, blob: &Digest) -> Vec<(u64, u64)> {
    let ends = |range: Option<String>| {
        let range = range.expect("a range");
        let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        (from.parse().unwrap(), to.parse().unwrap_or(u64::MAX))
    };
    let mut all: Vec<_> = ranges(fixture, blob).into_iter().map(ends).collect();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_layer_comes_in_several_ranges_at_once() {
    let (fixture, machine, sample) = (Fixture::start().await, machine(), large());
    sample.put(&fixture, "x", Some("latest"));
    let layer = &sample.manifest.layers[0];
    // The second range does not come before the third has been asked for.
    fixture.fault(Fault::on(layer.digest.as_str(), What::Await(3)).after(1).times(1));
    let (pulled, _) = machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    assert_eq!(machine.content(&pulled, 0, "a"), noise(7, 1_000_000));
    let asked = asked(&fixture, &layer.digest);
    let starts: Vec<u64> = asked.iter().map(|(from, _)| *from).collect();
    assert_eq!(starts, (0..layer.size.div_ceil(PART)).map(|n| n * PART).collect::<Vec<_>>());
    assert_eq!(fixture.blob_bytes_sent(), layer.size + sample.manifest.config.size, "nothing twice");
    assert!(machine.entries("ingest").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_ranges_sends_it_all() {
    let (fixture, machine, sample) = (Fixture::start().await, machine(), large());
    sample.put(&fixture, "x", Some("latest"));
    let layer = &sample.manifest.layers[0];
    fixture.fault(Fault::on(layer.digest.as_str(), What::IgnoreRange));
    let (pulled, _) = machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    assert_eq!(machine.content(&pulled, 0, "a"), noise(7, 1_000_000));
    assert_eq!(ranges(&fixture, &layer.digest).len(), 1);
    assert_eq!(fixture.blob_bytes_sent(), layer.size + sample.manifest.config.size);
}

#[tokio::test(flavor = "multi_thread")]
async fn drops_within_ranges_are_taken_up_where_they_were() {
    let (fixture, machine, sample) = (Fixture::start().await, machine(), large());
    sample.put(&fixture, "x", Some("latest"));
    let layer = &sample.manifest.layers[0];
    fixture.fault(Fault::on(layer.digest.as_str(), What::CutAfter(50_000)).times(3));
    let (pulled, _) = machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    assert_eq!(machine.content(&pulled, 0, "a"), noise(7, 1_000_000));
    let odd = asked(&fixture, &layer.digest).iter().filter(|(from, _)| from % PART != 0).count();
    assert_eq!(odd, 3, "each goes on within its range");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_fetches_only_what_is_missing() {
    let (fixture, machine, sample) = (Fixture::start().await, machine(), large());
    sample.put(&fixture, "x", Some("latest"));
    let layer = &sample.manifest.layers[0];
    let name = format!("{}/x", fixture.host());
    // Half of each range comes, then nothing more.
    fixture.fault(Fault::on(layer.digest.as_str(), What::Stall));
    let there = |machine: &Machine| {
        let counts = std::fs::read_dir(machine.folder.path().join("ingest")).unwrap().flatten();
        let counts =
            counts.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|x| x == "parts"));
        let bytes = counts.map(|path| std::fs::read(path).unwrap()).unwrap_or_default();
        let counts = bytes.get(16..).unwrap_or_default().chunks_exact(8);
        counts.map(|n| u64::from_le_bytes(n.try_into().unwrap())).collect::<Vec<_>>()
    };
    tokio::select! {
        _ = machine.pull(&name) => panic!("it can't end"),
        () = async {
            while there(&machine).iter().filter(|n| **n == PART / 2).count() < 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        } => {}
    }
    fixture.heal();
    let before = asked(&fixture, &layer.digest).len();
    assert_eq!(before, 3);
    let Machine { folder, store, puller } = machine;
    drop((store, puller));
    for _ in 0..200 {
        if Store::open(folder.path()).is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let machine = machine_on(folder);
    let (pulled, _) = machine.pull(&name).await.unwrap();
    assert_eq!(machine.content(&pulled, 0, "a"), noise(7, 1_000_000));
    let mut starts: Vec<u64> = asked(&fixture, &layer.digest).iter().map(|(from, _)| *from).collect();
    starts.sort_unstable();
    let half = |n: u64| n * PART + PART / 2;
    let mut expected: Vec<u64> = (0..layer.size.div_ceil(PART)).map(|n| n * PART).collect();
    expected.extend([half(0), half(1), half(2)]);
    expected.sort_unstable();
    assert_eq!(starts, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_wrong_are_named_and_leave_nothing() {
    let (fixture, machine, sample) = (Fixture::start().await, machine(), large());
    sample.put(&fixture, "x", Some("latest"));
    let layer = &sample.manifest.layers[0];
    fixture.fault(Fault::on(layer.digest.as_str(), What::FlipByte).times(1));
    let error = machine.pull(&format!("{}/x", fixture.host())).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("verification failed") || text.contains("failed to register layer"), "{text}");
    machine.assert_empty(0).await;
    machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_lacks_a_layer_is_passed_over_for_that_layer() {
    let (mirror, origin, sample) = (Fixture::start().await, Fixture::start().await, large());
    for fixture in [&mirror, &origin] {
        sample.put(fixture, "library/x", Some("latest"));
    }
    let layer = &sample.manifest.layers[0];
    mirror.remove_blob("library/x", &layer.digest);
    let mirrors = vec![format!("http://{}", mirror.host()), format!("http://{}", origin.host())];
    let client = client_of(ClientConfig { mirrors, ..ClientConfig::default() });
    let machine = Machine::with(tempfile::tempdir().unwrap(), client);
    machine.pull("x").await.unwrap();
    assert_eq!(origin.count("GET", "/manifests/"), 0, "the mirror's manifest was good");
    assert_eq!(ranges(&origin, &layer.digest).len(), 1);
}

#[tokio::test]
async fn a_host_that_only_pulls_is_not_asked_for_tags() {
    let (cache, origin, sample) = (Fixture::start().await, Fixture::start().await, large());
    let put = sample.put(&origin, "x", Some("latest"));
    sample.put(&cache, "x", None);
    let certs = tempfile::tempdir().unwrap();
    let folder = certs.path().join("reg.test");
    std::fs::create_dir(&folder).unwrap();
    let text =
        format!("server='http://{}'\n[host.'http://{}']\ncapabilities=['pull']", origin.host(), cache.host());
    std::fs::write(folder.join("hosts.toml"), text).unwrap();
    let config = ClientConfig { certs_dirs: vec![certs.path().to_owned()], ..ClientConfig::default() };
    let machine = Machine::with(tempfile::tempdir().unwrap(), client_of(config));
    let (pulled, _) = machine.pull("reg.test/x").await.unwrap();
    assert_eq!(pulled.digest, put.digest);
    assert_eq!(cache.count("GET", "/manifests/latest"), 0);
    assert_eq!((cache.count("GET", "/blobs/"), origin.count("GET", "/blobs/")), (2, 0));
}

#[tokio::test]
async fn estargz_and_zstd_chunked_layers_are_layers() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    // eStargz: a gzip member for each file, then one for the table of contents and an empty one that says where it is.
    let tar = tar_of(&[("a", &noise(9, 50_000)), ("b", b"two"), ("stargz.index.json", b"{\"version\":1}")]);
    let mut stargz: Vec<u8> = tar.chunks(20_000).flat_map(gzip).collect();
    stargz.extend([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 26, 0, b'S', b'G', 22, 0]);
    stargz.extend(b"0000000000001000STARGZ");
    stargz.extend([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    // zstd:chunked: frames, then skippable frames with table of contents and footer.
    let plain = tar_of(&[("c", &noise(10, 50_000))]);
    let mut chunked: Vec<u8> =
        plain.chunks(20_000).flat_map(|part| zstd::encode_all(part, 3).unwrap()).collect();
    for content in [&b"{\"version\":1}"[..], b"GNUlInUx"] {
        chunked.extend([0x50, 0x2a, 0x4d, 0x18]);
        chunked.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        chunked.extend(content);
    }
    let packed = vec![(media_type::OCI_LAYER_GZIP, stargz), (media_type::OCI_LAYER_ZSTD, chunked)];
    let mut sample = Sample::packed(&[tar, plain], packed);
    for (layer, note) in [
        (0, "containerd.io/snapshot/stargz/toc.digest"),
        (1, "io.github.containers.zstd-chunked.manifest-checksum"),
    ] {
        sample.manifest.layers[layer].annotations.insert(note.into(), Digest::sha256_of(b"x").to_string());
    }
    sample.put(&fixture, "x", Some("latest"));
    let (pulled, _) = machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    assert_eq!(machine.content(&pulled, 0, "b"), b"two");
    assert_eq!(machine.content(&pulled, 1, "c"), noise(10, 50_000));
}
