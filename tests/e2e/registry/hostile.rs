//! A registry that breaks off, lies and falls silent: what a user sees of it, and what stays afterwards.

use std::time::Duration;

use dray_harness::Daemon;
use dray_harness::client::eventually;
use dray_registry::testing::{Fault, Fixture, What};
use tokio::runtime::Runtime;

/// A registry in memory, served by threads of its own.
pub(super) struct Hostile {
    pub(super) fixture: Fixture,
    _runtime: Runtime,
}

impl Hostile {
    pub(super) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime of the registry");
        let fixture = runtime.block_on(Fixture::start());
        Self { fixture, _runtime: runtime }
    }

    /// `127.0.0.1:PORT/<name>:v1`.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}/{name}:v1", self.fixture.host())
    }

    /// Pushes busybox there and removes it here; gives its only layer's digest and size.
    pub(super) fn take_busybox(&self, daemon: &Daemon, name: &str) -> (String, u64) {
        let client = daemon.dray();
        let full = self.name(name);
        client.ok(&format!("tag busybox {full}"));
        client.ok(&format!("push {full}"));
        client.ok(&format!("rmi {full}"));
        client.sh("rmi busybox");
        let (_, manifest) = self.fixture.manifest(name, "v1").expect("the pushed manifest");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("a manifest");
        let layer = &manifest["layers"][0];
        let digest = layer["digest"].as_str().expect("a digest").to_owned();
        (digest, layer["size"].as_u64().expect("a size"))
    }

    /// The `Range` headers of all requests for a blob.
    fn ranges(&self, digest: &str) -> Vec<Option<String>> {
        let of_blob =
            |seen: &dray_registry::testing::Seen| seen.method == "GET" && seen.path.contains(digest);
        self.fixture.seen().into_iter().filter(of_blob).map(|seen| seen.range).collect()
    }
}

#[test]
fn dropped_connections_are_not_noticed() {
    let daemon = Daemon::start();
    let hostile = Hostile::start();
    let (layer, size) = hostile.take_busybox(&daemon, "x");
    let part = size / 4;
    for client in daemon.clients() {
        hostile.fixture.heal();
        hostile.fixture.fault(Fault::on(&layer, What::CutAfter(part)).times(2));
        let before = hostile.ranges(&layer).len();
        client.ok(&format!("pull {}", hostile.name("x")));
        let expected = [None, Some(part), Some(2 * part)].map(|at| at.map(|n| format!("bytes={n}-")));
        assert_eq!(hostile.ranges(&layer)[before..], expected, "nothing is fetched twice");
        assert_eq!(client.ok(&format!("run --rm {} echo ran", hostile.name("x"))), "ran");
        client.ok(&format!("rmi {}", hostile.name("x")));
    }
}

#[test]
fn lies_are_named_and_leave_nothing() {
    let daemon = Daemon::start();
    let hostile = Hostile::start();
    let (layer, size) = hostile.take_busybox(&daemon, "x");
    let name = hostile.name("x");
    let nonsense =
        || What::Answer { status: 200, headers: Vec::new(), body: "<html>it works</html>".to_owned() };
    let cases = [
        (Fault::on(&layer, What::FlipByte), layer.as_str()),
        (Fault::on(&layer, What::Longer(7)), "size mismatch"),
        (Fault::on(&layer, What::Shorter(7)), "size mismatch"),
        (Fault::on("/manifests/", nonsense()), "invalid manifest"),
        (Fault::on("/manifests/", What::Endless), "longer than 4194304 bytes"),
        (Fault::on("/manifests/", What::redirect(302, "/v2/x/manifests/v1")), "stopped after 10 redirects"),
        (
            Fault::on(
                "/manifests/",
                What::error(403, "DENIED", "requested access to the resource is denied"),
            ),
            "repository does not exist or may require 'docker login'",
        ),
    ];
    for client in daemon.clients() {
        for (fault, expected) in &cases {
            hostile.fixture.heal();
            hostile.fixture.fault(fault.clone());
            client.sh(&format!("pull {name}")).expect_code(1).expect_error(expected);
            assert_eq!(client.ok("images -q"), "", "after {fault:?}");
        }
        hostile.fixture.heal();
        client.ok(&format!("pull {name}"));
        client.ok(&format!("rmi {name}"));
    }
    let left: Vec<_> = std::fs::read_dir(daemon.data_root().join("ingest")).expect("ingest").collect();
    assert!(left.is_empty(), "{left:?} of {size} bytes");
}

#[test]
fn a_killed_daemon_goes_on_where_it_was() {
    let mut daemon = Daemon::spawn();
    let hostile = Hostile::start();
    let (layer, size) = hostile.take_busybox(&daemon, "x");
    let name = hostile.name("x");
    hostile.fixture.fault(Fault::on(&layer, What::Stall));
    let mut pulling = daemon.docker().spawn(["pull", &name]);
    let ingest = daemon.data_root().join("ingest");
    let half = |entry: std::fs::DirEntry| entry.metadata().is_ok_and(|m| m.len() == size / 2);
    eventually("half of the layer is here", || {
        std::fs::read_dir(&ingest).is_ok_and(|entries| entries.flatten().any(half))
    });
    daemon.kill();
    assert!(!pulling.wait().expect("docker pull").success());
    hostile.fixture.heal();
    let before = hostile.ranges(&layer).len();
    daemon.launch();
    let client = daemon.dray();
    client.ok(&format!("pull {name}"));
    assert_eq!(hostile.ranges(&layer)[before..], [Some(format!("bytes={}-", size / 2))]);
    assert_eq!(client.ok(&format!("run --rm {name} echo ran")), "ran");
}

#[test]
fn a_client_that_hangs_up_stops_the_pull() {
    let daemon = Daemon::start();
    let hostile = Hostile::start();
    let (layer, _) = hostile.take_busybox(&daemon, "x");
    let name = hostile.name("x");
    hostile.fixture.fault(Fault::on(&layer, What::Delay(Duration::from_secs(3))));
    let mut pulling = daemon.docker().spawn(["pull", &name]);
    eventually("the layer is asked for", || hostile.ranges(&layer).len() == 1);
    pulling.kill().expect("kill docker pull");
    pulling.wait().expect("docker pull");
    hostile.fixture.heal();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(daemon.dray().ok("images -q"), "");
    daemon.dray().ok(&format!("pull {name}"));
    assert_eq!(hostile.ranges(&layer).len(), 2);
}

#[test]
fn a_push_goes_on_after_a_drop_and_names_a_refusal() {
    let daemon = Daemon::start();
    let hostile = Hostile::start();
    for client in daemon.clients() {
        let name = hostile.name(&client.name());
        client.ok(&format!("tag busybox {name}"));
        hostile.fixture.heal();
        hostile.fixture.mounts(false);
        let cut = What::CutAfter(50_000);
        hostile.fixture.fault(Fault::on("/blobs/uploads/", cut).method("PATCH").times(2));
        client.ok(&format!("push {name}"));
        hostile.fixture.heal();
        let denied = What::error(403, "DENIED", "requested access to the resource is denied");
        hostile.fixture.fault(Fault::on("/manifests/", denied).method("PUT"));
        let refused = client.sh(&format!("push {name}")).expect_code(1);
        refused.expect_error("denied: requested access to the resource is denied");
        client.ok(&format!("rmi {name}"));
    }
}
