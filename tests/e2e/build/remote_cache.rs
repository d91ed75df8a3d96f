//! Caches in registries, folders and images: what one machine has built, another need not.

use std::fs;
use std::path::{Path, PathBuf};

use dray_harness::registry::Registry;
use dray_harness::{Client, Daemon, Finished, fixture};
use serde_json::Value;

use super::context;

/// Each run writes something else: the same content is the proof of the cache.
const DOCKERFILE: &str = "FROM busybox AS made\nRUN head -c 20 /dev/urandom > /random\nFROM busybox\nWORKDIR /w\n\
                          COPY --from=made /random /made\nCOPY a .\nARG WHO\nENV A=b\nRUN head -c 20 /dev/urandom > /own\nLABEL c=d\n";

pub fn files(daemon: &Daemon) -> PathBuf {
    context(daemon, "cached", DOCKERFILE, &[("a", "a")])
}

pub fn buildx(daemon: &Daemon) -> Client {
    Client::new(fixture::buildx(), daemon.host(), &daemon.scratch("buildx"))
}

pub fn build(client: &Client, folder: &Path, flags: &str) -> Finished {
    let folder = folder.to_string_lossy();
    let words = ["build", "--progress=plain"].into_iter().chain(flags.split_whitespace());
    client.run(words.chain([folder.as_ref()]))
}

pub fn id(daemon: &Daemon) -> String {
    daemon.docker().ok("image inspect -f {{.Id}} cached")
}

/// Builds with one client on one machine and the other on another one, both ways: the image is the same.
pub fn shared(to: impl Fn(&Daemon, usize) -> String, from: impl Fn(&Daemon, usize) -> String) {
    let daemons = [Daemon::start(), Daemon::start(), Daemon::start(), Daemon::start()];
    let [a, b, c, d] = &daemons;
    for (n, (first, second)) in [(buildx(a), b.dray()), (c.dray(), buildx(d))].iter().enumerate() {
        let (one, other) = (&daemons[2 * n], &daemons[2 * n + 1]);
        build(first, &files(one), &format!("-t cached {}", to(one, n))).expect_success();
        let again = build(second, &files(other), &format!("-t cached {}", from(one, n))).expect_success();
        let said = format!("{}{}", again.stdout, again.stderr);
        assert!(said.contains("CACHED"), "{said}");
        assert_eq!(id(one), id(other), "{said}");
        // From then on it is this machine's own.
        let again = build(second, &files(other), "-t cached").expect_success();
        assert!(format!("{}{}", again.stdout, again.stderr).contains("CACHED"));
        assert_eq!(id(one), id(other));
        other.docker().run(["run", "--rm", "cached", "cat", "/own", "/made", "a"]).expect_success();
    }
}

#[test]
fn a_cache_in_a_registry_is_shared() {
    let registry = Registry::start();
    let name = |n: usize| format!("{}/cache{n}:max", registry.host());
    shared(
        |_, n| format!("--cache-to type=registry,ref={},mode=max", name(n)),
        |_, n| format!("--cache-from type=registry,ref={}", name(n)),
    );
    let manifest = registry.manifest("cache0", "max");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.buildkit.cacheconfig.v0");
    // Each key, layer and link is where BuildKit looks for it.
    let digest = manifest["config"]["digest"].as_str().expect("a digest");
    let config: Value = registry.get(&format!("/v2/cache0/blobs/{digest}")).json();
    let layers = config["layers"].as_array().expect("layers").len();
    assert_eq!(layers, manifest["layers"].as_array().expect("layers").len(), "{config}");
    assert!(layers >= 4, "{config}");
    for record in config["records"].as_array().expect("records") {
        assert!(record["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")));
        for layer in record["layers"].as_array().into_iter().flatten() {
            assert!(layer["layer"].as_u64().is_some_and(|n| (n as usize) < layers), "{record}");
        }
    }
}

#[test]
fn a_cache_in_a_folder_is_shared() {
    let folder = |daemon: &Daemon, n: usize| daemon.scratch(&format!("cache{n}")).display().to_string();
    shared(
        |daemon, n| format!("--cache-to type=local,dest={},mode=max,compression=zstd", folder(daemon, n)),
        |daemon, n| format!("--cache-from type=local,src={}", folder(daemon, n)),
    );
}

#[test]
fn an_image_carries_its_cache() {
    let registry = Registry::start();
    let (first, second) = (Daemon::start(), Daemon::start());
    let name = format!("{}/inline:1", registry.host());
    build(&buildx(&first), &files(&first), &format!("-t {name} --cache-to type=inline --push"))
        .expect_success();
    let folder = files(&second);
    let again = build(&second.dray(), &folder, &format!("-t cached --cache-from {name}")).expect_success();
    // The intermediate stage is no part of the image: it is built again, what is upon it too.
    assert!(again.stdout.contains("CACHED"), "{}", again.stdout);
    // Of a single stage all of it comes along.
    let single = "FROM busybox\nRUN head -c 20 /dev/urandom > /own\nCOPY a .\n";
    for daemon in [&first, &second] {
        fs::write(files(daemon).join("Dockerfile"), single).expect("the Dockerfile");
    }
    let flags = format!("-t {name} --cache-to type=inline --push");
    build(&first.dray(), &first.scratch("cached"), &flags).expect_success();
    let again = build(&second.dray(), &second.scratch("cached"), &format!("-t cached --cache-from {name}"));
    assert_eq!(again.expect_success().stdout.matches("CACHED").count(), 2);
    let own = |daemon: &Daemon, image: &str| daemon.docker().ok(&format!("run --rm {image} sha256sum /own"));
    assert_eq!(own(&first, &name), own(&second, "cached"));
}

#[test]
fn a_cache_that_cannot_be_had_is_none() {
    let registry = Registry::start();
    let daemon = Daemon::start();
    let folder = files(&daemon);
    let missing = format!("--cache-from {}/nosuch --cache-from type=local,src=/nosuch", registry.host());
    for client in [buildx(&daemon), daemon.dray()] {
        build(&client, &folder, &missing).expect_success();
    }
    // One whose blobs are gone.
    let cache = daemon.scratch("damaged");
    build(&daemon.dray(), &folder, &format!("--cache-to type=local,dest={},mode=max", cache.display()))
        .expect_success();
    let index: Value =
        serde_json::from_slice(&fs::read(cache.join("index.json")).expect("index.json")).expect("JSON");
    let blob =
        |digest: &Value| cache.join("blobs").join(digest.as_str().expect("a digest").replace(':', "/"));
    let manifest = fs::read(blob(&index["manifests"][0]["digest"])).expect("the manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    for layer in manifest["layers"].as_array().expect("layers") {
        fs::write(blob(&layer["digest"]), "something else").expect("a blob");
    }
    let other = Daemon::start();
    let flags = format!("-t cached --cache-from type=local,src={}", cache.display());
    let built = build(&other.dray(), &files(&other), &flags).expect_success();
    assert!(built.stdout.contains("WARNING: cache local:"), "{}", built.stdout);
    other.docker().run(["run", "--rm", "cached", "cat", "/made"]).expect_success();
    for client in [buildx(&daemon), daemon.dray()] {
        let refused = build(&client, &folder, "--cache-to type=azblob,name=x").expect_code(1);
        assert!(refused.stderr.contains("azblob"), "{}", refused.stderr);
        let refused = build(&client, &folder, "--cache-to type=inline,mode=x").expect_code(1);
        assert!(refused.stderr.contains("unsupported cache export mode: x"), "{}", refused.stderr);
    }
}
