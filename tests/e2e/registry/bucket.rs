//! `dray registry serve --storage`: blobs in a bucket of S3 and of Google (moto), and in a container of Azure (Azurite).

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use dray_harness::azurite::Azurite;
use dray_harness::moto::Moto;
use dray_harness::registry::DrayRegistry;
use dray_harness::{Daemon, dray_binary, http};

use super::server::{answer, comes_back, header, hex_of, send, survive};

type Environment = Vec<(String, String)>;

/// A store with a bucket `images`.
pub(super) enum Store {
    Amazon(Moto),
    Google(Moto),
    Azure(Azurite),
}

impl Store {
    pub(super) fn amazon() -> Self {
        Self::Amazon(Moto::start("images"))
    }

    fn google() -> Self {
        Self::Google(Moto::start("images"))
    }

    pub(super) fn azure() -> Self {
        let azurite = Azurite::start();
        azurite.make("images");
        Self::Azure(azurite)
    }

    pub(super) fn environment(&self) -> Environment {
        match self {
            Self::Amazon(moto) => moto.environment(),
            Self::Google(moto) => moto.google_environment(),
            Self::Azure(azurite) => azurite.environment(),
        }
    }

    pub(super) fn address(&self, prefix: &str) -> String {
        let scheme = match self {
            Self::Amazon(_) => "s3",
            Self::Google(_) => "gs",
            Self::Azure(_) => "az",
        };
        format!("{scheme}://images/{prefix}")
    }

    fn serve(&self) -> DrayRegistry {
        DrayRegistry::start_with(&["--storage", &self.address("test")], self.environment())
    }

    /// What lies in the bucket, but for what the server looks with whether it can write.
    fn objects(&self) -> Vec<String> {
        let objects = match self {
            Self::Amazon(moto) | Self::Google(moto) => moto.objects("images"),
            Self::Azure(azurite) => azurite.objects("images"),
        };
        objects.into_iter().filter(|name| !name.ends_with("/probe")).collect()
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 41 + at / 247) as u8).collect()
}

/// The server is killed after each acknowledged step, and in the middle of a chunk.
fn acknowledged_survives_a_crash(store: &Store) {
    let mut registry = store.serve();
    survive(&mut registry, 9_000_000);
    let entries = std::fs::read_dir(registry.root().join("data")).expect("the folder").count();
    assert!(entries <= 4, "only the metadata are on the disk");
    assert_eq!(store.objects().len(), 1, "{:?}", store.objects());
}

#[test]
fn what_is_acknowledged_survives_a_crash_with_s3() {
    acknowledged_survives_a_crash(&Store::amazon());
}

#[test]
fn what_is_acknowledged_survives_a_crash_with_google() {
    acknowledged_survives_a_crash(&Store::google());
}

#[test]
fn what_is_acknowledged_survives_a_crash_with_azure() {
    acknowledged_survives_a_crash(&Store::azure());
}

#[test]
fn images_are_pushed_mounted_pulled_and_collected() {
    let daemon = Daemon::start();
    let id = daemon.dray().ok("images -q --no-trunc busybox");
    for store in [Store::google(), Store::azure()] {
        let registry = store.serve();
        for client in daemon.clients() {
            comes_back(&client, &registry, &id);
        }
        parts_are_read_and_mounted(&registry);
        assert!(!store.objects().is_empty());
        let catalog = http::get(("127.0.0.1", registry.port()), "/v2/_catalog?n=1").expect("the list");
        assert!(catalog.head.to_ascii_lowercase().contains("rel=\"next\""), "{}", catalog.head);
        everything_is_deleted(&registry, &store);
    }
}

fn parts_are_read_and_mounted(registry: &DrayRegistry) {
    let (content, port) = (pattern(9_000_000), registry.port());
    let digest = format!("sha256:{}", hex_of(&content));
    let pushed =
        answer(send(port, &format!("POST /v2/one/blobs/uploads/?digest={digest} HTTP/1.1"), &content));
    assert!(pushed.starts_with("HTTP/1.1 201"), "{pushed}");
    let mount = format!("POST /v2/other/blobs/uploads/?mount={digest}&from=one HTTP/1.1");
    let mounted = answer(send(port, &mount, b""));
    assert!(mounted.starts_with("HTTP/1.1 201"), "{mounted}");
    let path = format!("/v2/other/blobs/{digest}");
    for (range, expected) in [
        ("0-0", &content[..1]),
        ("8388600-8388700", &content[8_388_600..=8_388_700]),
        ("-17", &content[content.len() - 17..]),
        ("4000000-", &content[4_000_000..]),
    ] {
        let part = http::get_with(("127.0.0.1", port), &path, &format!("Range: bytes={range}\r\n"));
        let part = part.expect("a part");
        assert!(part.status == 206 && part.body == expected, "{range}: {}", part.head);
    }
}

/// Deletes all manifests, collects, and finds nothing left in the store.
fn everything_is_deleted(registry: &DrayRegistry, store: &Store) {
    let address = ("127.0.0.1", registry.port());
    let catalog = http::get(address, "/v2/_catalog").expect("the list").json();
    for repository in catalog["repositories"].as_array().expect("repositories") {
        let repository = repository.as_str().expect("a name");
        let manifest =
            http::get_manifest(address, &format!("/v2/{repository}/manifests/v1")).expect("an answer");
        if manifest.status == 200 {
            let digest = hex_of(&manifest.body);
            let path = format!("DELETE /v2/{repository}/manifests/sha256:{digest} HTTP/1.1");
            let deleted = answer(send(registry.port(), &path, b""));
            assert!(deleted.starts_with("HTTP/1.1 202"), "{deleted}");
        }
    }
    let collected = Command::new(dray_binary())
        .args(["registry", "gc", "--grace", "0s", "--storage", &store.address("test"), "--data-root"])
        .arg(registry.root().join("data"))
        .envs(store.environment())
        .output()
        .expect("dray");
    assert!(collected.status.success(), "{}", String::from_utf8_lossy(&collected.stderr));
    assert_eq!(store.objects(), [""; 0], "{}", String::from_utf8_lossy(&collected.stdout));
}

/// Short absences are waited for; long ones are told, and what was acknowledged before is gone on with.
#[test]
fn a_store_goes_away_in_the_middle_of_an_upload() {
    let Store::Azure(mut azurite) = Store::azure() else { unreachable!() };
    let registry = DrayRegistry::start_with(&["--storage", "az://images/away"], azurite.environment());
    let port = registry.port();
    // The last piece is short, so that the whole of it has been sent when the answer comes.
    let content = pattern(18_500_000);
    let digest = format!("sha256:{}", hex_of(&content));
    let begun = answer(send(port, "POST /v2/a/blobs/uploads/ HTTP/1.1", b""));
    let location = header(&begun, "location").to_owned();
    let append = |range: std::ops::Range<usize>| {
        answer(send(port, &format!("PATCH {location} HTTP/1.1"), &content[range]))
    };
    assert!(append(0..9_000_000).starts_with("HTTP/1.1 202"));
    azurite.stop();
    let waited = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| append(9_000_000..18_000_000));
        azurite.start_again();
        waiting.join().expect("the client")
    });
    assert!(waited.starts_with("HTTP/1.1 202"), "{waited}");

    azurite.stop();
    let since = Instant::now();
    let (refused, ready) = std::thread::scope(|scope| {
        let ready = scope.spawn(|| http::get(("127.0.0.1", port), "/readyz").expect("an answer"));
        (append(18_000_000..18_500_000), ready.join().expect("the prober"))
    });
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert_eq!(header(&refused, "retry-after"), "1", "{refused}");
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(since.elapsed() < Duration::from_secs(60), "who waits is told: {:?}", since.elapsed());

    azurite.start_again();
    let status = answer(send(port, &format!("GET {location} HTTP/1.1"), b""));
    let reached: usize = header(&status, "range").strip_prefix("0-").expect(&status).parse().expect(&status);
    assert!(reached + 1 >= 18_000_000, "{status}");
    let close = format!("PUT {location}?digest={digest} HTTP/1.1");
    let closed = answer(send(port, &close, &content[reached + 1..]));
    assert!(closed.starts_with("HTTP/1.1 201"), "{closed}");
    let blob = http::get(("127.0.0.1", port), &format!("/v2/a/blobs/{digest}")).expect("the blob");
    assert!(blob.body == content);
}

/// Serves until it ends by itself, which it must.
fn refused(address: &str, environment: Environment) -> String {
    let root = tempfile::tempdir().expect("a folder");
    let Output { status, stderr, .. } = Command::new("timeout")
        .arg("60")
        .arg(dray_binary())
        .args(["registry", "serve", "--address", "127.0.0.1:0", "--storage", address, "--data-root"])
        .arg(root.path())
        .env("HOME", root.path())
        .envs(environment)
        .output()
        .expect("dray");
    let text = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{text}");
    text
}

#[test]
fn bad_credentials_and_buckets_that_are_not_there_are_told_at_the_start() {
    let with = |mut environment: Environment, name: &str, value: &str| {
        environment.push((name.into(), value.into()));
        environment
    };
    let azure = Store::azure();
    let key = with(azure.environment(), "AZURE_STORAGE_KEY", "d3Jvbmc=");
    let text = refused("az://images/x", key);
    assert!(text.contains("write x/probe: the store says AuthorizationFailure"), "{text}");
    let text = refused("az://nowhere/x", azure.environment());
    assert!(text.contains("ContainerNotFound"), "{text}");

    let moto = Moto::that_knows_nobody("images");
    let text = refused("s3://images/x", moto.environment());
    assert!(text.contains("write x/probe: the store says InvalidAccessKeyId"), "{text}");
    let text = refused("gs://nowhere/x", Store::google().environment());
    assert!(text.contains("NoSuchBucket"), "{text}");

    let file = with(Vec::new(), "GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent.json");
    let text = refused("gs://images", file);
    assert!(text.contains("storage gs://images: ") && text.contains("/nonexistent.json"), "{text}");
    let plain = with(azure.environment(), "AZURITE_BLOB_STORAGE_URL", "http://192.0.2.1:10000");
    let text = refused("az://images", plain);
    assert!(text.contains("over plain HTTP: use https, or say AZURE_ALLOW_HTTP=true"), "{text}");
}
