//! Several servers on one bucket (S3 by moto, Azure's by Azurite) and one database (Debian's PostgreSQL), as behind a
//! load balancer.

use dray_harness::client::eventually;
use dray_harness::postgres::Postgres;
use dray_harness::registry::{DrayRegistry, Registry};
use dray_harness::{Daemon, http};

use super::bucket::Store;
use super::server::{answer, header, hex_of, send};

/// What the servers have in common.
struct Shared {
    database: Postgres,
    store: Store,
}

impl Shared {
    fn new() -> Self {
        Self::with(Store::amazon())
    }

    fn with(store: Store) -> Self {
        Self { database: Postgres::start(), store }
    }

    fn server(&self, arguments: &[&str]) -> DrayRegistry {
        let mut environment = self.store.environment();
        environment.push(("DRAY_REGISTRY_DATABASE".into(), self.database.address()));
        DrayRegistry::start_with(
            &[&["--storage", &*self.store.address("shared")], arguments].concat(),
            environment,
        )
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 37 + at / 249) as u8).collect()
}

#[test]
fn what_is_pushed_to_one_is_pulled_from_the_other() {
    let (daemon, shared) = (Daemon::start(), Shared::new());
    let (one, other) = (shared.server(&[]), shared.server(&[]));
    let id = daemon.dray().ok("images -q --no-trunc busybox");
    for client in daemon.clients() {
        let name = |registry: &DrayRegistry| format!("{}/team/{}:v1", registry.host(), client.name());
        client.ok(&format!("tag busybox {}", name(&one)));
        client.ok(&format!("push {}", name(&one)));
        client.ok(&format!("rmi {}", name(&one)));
        client.ok("rmi busybox");
        client.ok(&format!("pull {}", name(&other)));
        assert_eq!(
            client.ok(&format!("images -q --no-trunc {}", name(&other))),
            id,
            "the same image came back"
        );
        client.ok(&format!("tag {} busybox", name(&other)));
        client.ok(&format!("rmi {}", name(&other)));
    }
    assert!(!one.root().join("data").exists(), "nothing is kept beside the bucket and the database");
}

/// A server is killed in the middle of a chunk; another has what it had acknowledged, and ends the upload.
#[test]
fn an_upload_survives_the_loss_of_its_server() {
    upload_survives_the_loss_of_its_server(&Shared::new());
}

#[test]
fn so_it_does_with_azure() {
    upload_survives_the_loss_of_its_server(&Shared::with(Store::azure()));
}

fn upload_survives_the_loss_of_its_server(shared: &Shared) {
    let (mut one, other) = (shared.server(&[]), shared.server(&[]));
    for (repository, size, first) in
        [("small", 60_000, 1_000), ("medium", 3_000_000, 1_000_000), ("large", 20_000_000, 9_000_000)]
    {
        let content = pattern(size);
        let digest = format!("sha256:{}", hex_of(&content));
        let begun = answer(send(one.port(), &format!("POST /v2/{repository}/blobs/uploads/ HTTP/1.1"), b""));
        let location = header(&begun, "location").to_owned();
        let sent = answer(send(one.port(), &format!("PATCH {location} HTTP/1.1"), &content[..first]));
        assert!(sent.starts_with("HTTP/1.1 202"), "{sent}");
        let hanging = send(one.port(), &format!("PATCH {location} HTTP/1.1"), &content[first..size / 2]);
        one.kill();
        drop(hanging);
        let status = answer(send(other.port(), &format!("GET {location} HTTP/1.1"), b""));
        let reached: usize =
            header(&status, "range").strip_prefix("0-").expect(&status).parse().expect(&status);
        assert!(reached + 1 >= first, "{reached} though {first} bytes were acknowledged");
        let close = format!("PUT {location}?digest={digest} HTTP/1.1");
        let closed = answer(send(other.port(), &close, &content[reached + 1..]));
        assert!(closed.starts_with("HTTP/1.1 201"), "{closed}");
        one.start_again();
        let blob = http::get(("127.0.0.1", one.port()), &format!("/v2/{repository}/blobs/{digest}"));
        assert!(blob.expect("the blob").body == content, "{repository}");
    }
}

/// A client goes on at another server while the first still writes: what is sealed is what was hashed.
#[test]
fn a_server_that_was_left_behind_harms_nothing() {
    left_behind(&Shared::new());
}

#[test]
fn nor_does_it_with_azure() {
    left_behind(&Shared::with(Store::azure()));
}

fn left_behind(shared: &Shared) {
    let (one, other) = (shared.server(&[]), shared.server(&[]));
    let (stale, fresh) = (vec![0xee; 2_000_000], pattern(2_000_000));
    let digest = format!("sha256:{}", hex_of(&fresh));
    // Where both go on from: nothing, less than a part, more than one.
    for common in [0, 1_000_000, 9_000_000] {
        let common = vec![7; common];
        let begun = answer(send(one.port(), "POST /v2/a/blobs/uploads/ HTTP/1.1", b""));
        let location = header(&begun, "location").to_owned();
        let sent = answer(send(one.port(), &format!("PATCH {location} HTTP/1.1"), &common));
        assert!(sent.starts_with("HTTP/1.1 202"), "{sent}");
        // Neither knows of the other's bytes when it begins to write its own.
        let whole = |of: &[u8]| [&common, of].concat();
        let close = |of: &[u8]| format!("PUT {location}?digest=sha256:{} HTTP/1.1", hex_of(&whole(of)));
        let answers = std::thread::scope(|scope| {
            let late = scope.spawn(|| answer(send(one.port(), &close(&stale), &stale)));
            let closed = answer(send(other.port(), &close(&fresh), &fresh));
            (late.join().expect("the other client"), closed)
        });
        let stored = [&answers.0, &answers.1].iter().filter(|text| text.starts_with("HTTP/1.1 201")).count();
        assert!(stored <= 1, "one upload becomes one blob: {answers:?}");
        for content in [whole(&stale), whole(&fresh)] {
            let path = format!("/v2/a/blobs/sha256:{}", hex_of(&content));
            let blob = http::get(("127.0.0.1", other.port()), &path).expect("an answer");
            assert!(blob.status == 404 || blob.body == content, "a blob has the bytes of its digest");
        }
    }
    let begun =
        answer(send(one.port(), &format!("POST /v2/b/blobs/uploads/?digest={digest} HTTP/1.1"), &fresh));
    assert!(begun.starts_with("HTTP/1.1 201"), "{begun}");
}

#[test]
fn the_database_is_waited_for_and_its_absence_is_told() {
    let mut shared = Shared::new();
    let server = shared.server(&[]);
    let put = |tag: &str| {
        let manifest =
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        answer(send(server.port(), &format!("PUT /v2/a/manifests/{tag} HTTP/1.1"), manifest.as_bytes()))
    };
    assert!(put("v1").starts_with("HTTP/1.1 201"));
    shared.database.stop();
    let ready = http::get(("127.0.0.1", server.port()), "/readyz").expect("an answer");
    assert_eq!(ready.status, 503, "{}", ready.text());
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| put("v2"));
        shared.database.start_again();
        waiting.join().expect("the client")
    });
    assert!(waiting.starts_with("HTTP/1.1 201"), "{waiting}");
    let tags = http::get(("127.0.0.1", server.port()), "/v2/a/tags/list").expect("the list");
    assert_eq!(tags.json()["tags"], serde_json::json!(["v1", "v2"]));
    shared.database.stop();
    let refused = http::get(("127.0.0.1", server.port()), "/v2/a/tags/list").expect("an answer");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.head.to_ascii_lowercase().contains("retry-after: "), "{}", refused.head);
}

#[test]
fn accounts_and_garbage_are_everybody_s() {
    let shared = Shared::new();
    let (one, other) = (
        shared.server(&["--gc-grace", "0s", "--gc-interval", "1s"]),
        shared.server(&["--gc-interval", "1s", "--gc-grace", "0s"]),
    );
    let content = pattern(400_000);
    let digest = format!("sha256:{}", hex_of(&content));
    let push = format!("POST /v2/gc/blobs/uploads/?digest={digest} HTTP/1.1");
    assert!(answer(send(one.port(), &push, &content)).starts_with("HTTP/1.1 201"));
    eventually("the blob that nobody needs is collected", || {
        let path = format!("/v2/gc/blobs/{digest}");
        http::get(("127.0.0.1", other.port()), &path).is_ok_and(|answer| answer.status == 404)
    });
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(dray_harness::dray_binary());
        command.args(["registry"]).args(arguments).env("DRAY_REGISTRY_DATABASE", shared.database.address());
        let output = command.output().expect("dray");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (made, secret) = run(&["robot", "add", "--scope", "repository:ci/*:pull", "ci"]);
    assert!(made && secret.starts_with("dray_"), "{secret}");
    assert!(run(&["robot", "ls"]).1.contains("repository:ci/*:pull"));
    assert!(run(&["robot", "rm", "ci"]).0 && !run(&["robot", "rm", "ci"]).0);
}

/// Blobs on their way from another registry, or to one, lie in files without a name.
#[test]
fn copies_of_others_and_at_others_need_no_disk() {
    let (daemon, shared) = (Daemon::start(), Shared::new());
    let (upstream, target) = (Registry::start(), DrayRegistry::start(&[]));
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("registry.json");
    let at = |host: String| serde_json::json!({ "url": format!("http://{host}") });
    let text = serde_json::json!({
        "upstreams": [{ "prefix": "up", "registry": at(upstream.host()) }],
        "replication": [{ "name": "dr", "repositories": ["own/**"], "registry": at(target.host()) }],
    });
    std::fs::write(&config, text.to_string()).expect("configuration");
    let config = ["--config", config.to_str().expect("a path")];
    let (one, other) = (shared.server(&config), shared.server(&config));
    let client = daemon.dray();
    let id = client.ok("images -q --no-trunc busybox");
    for name in [format!("{}/team/app:v1", upstream.host()), format!("{}/own/app:v1", one.host())] {
        client.ok(&format!("tag busybox {name}"));
        client.ok(&format!("push {name}"));
        client.ok(&format!("rmi {name}"));
    }
    client.ok("rmi busybox");
    let same = |name: &str| {
        client.ok(&format!("pull {name}"));
        assert_eq!(client.ok(&format!("images -q --no-trunc {name}")), id, "{name}");
        client.ok(&format!("rmi {name}"));
    };
    let held = |server: &DrayRegistry| -> u64 {
        let text = http::get(("127.0.0.1", server.port()), "/metrics").expect("figures").text();
        let line = text.lines().find_map(|line| line.strip_prefix("dray_registry_blob_bytes "));
        line.and_then(|bytes| bytes.parse().ok()).expect("bytes of blobs")
    };
    let own = held(&one);
    same(&format!("{}/up/team/app:v1", one.host()));
    eventually("the copy is recorded", || held(&other) == 2 * own);
    drop(upstream);
    same(&format!("{}/up/team/app:v1", other.host()));
    eventually("the image is at the target", || {
        http::get(("127.0.0.1", target.port()), "/v2/own/app/manifests/v1")
            .is_ok_and(|answer| answer.status == 200)
    });
    same(&format!("{}/own/app:v1", target.host()));
    for server in [&one, &other] {
        assert!(!server.root().join("data").exists(), "nothing is kept beside the bucket and the database");
    }
}
