//! Indexes of several platforms, mirrors and `certs.d`, through the daemon with both clients.

use dray_harness::Daemon;
use dray_harness::registry::Registry;
use dray_registry::testing::Fixture;
use dray_spec::{Descriptor, Index, Platform, media_type};
use serde_json::Value;

use super::hostile::Hostile;

/// An index at `fixture` of the image that is there as `x:v1`, and of the same for another platform; gives its digest.
fn two_platforms(fixture: &Fixture) -> String {
    let (_, bytes) = fixture.manifest("x", "v1").expect("the pushed manifest");
    let mut manifest: Value = serde_json::from_slice(&bytes).expect("a manifest");
    let own = Descriptor {
        platform: Some(Platform::host()),
        ..fixture.put_manifest("x", None, media_type::DOCKER_MANIFEST, &bytes)
    };
    let config = fixture
        .blob("x", &manifest["config"]["digest"].as_str().expect("a digest").parse().expect("a digest"))
        .expect("the configuration");
    let mut config: Value = serde_json::from_slice(&config).expect("a configuration");
    config["architecture"] = "s390x".into();
    let config = serde_json::to_vec(&config).expect("JSON");
    let described = fixture.put_blob("x", media_type::DOCKER_CONFIG, &config);
    manifest["config"] = serde_json::to_value(described).expect("JSON");
    let bytes = serde_json::to_vec(&manifest).expect("JSON");
    let other = Descriptor {
        platform: Some("linux/s390x".parse().expect("a platform")),
        ..fixture.put_manifest("x", None, media_type::DOCKER_MANIFEST, &bytes)
    };
    let index = serde_json::to_vec(&Index::oci(vec![own, other])).expect("JSON");
    fixture.put_manifest("x", Some("v1"), media_type::OCI_INDEX, &index).digest.to_string()
}

#[test]
fn all_platforms_are_kept_and_pushed_as_they_came() {
    let daemon = Daemon::start();
    let hostile = Hostile::start();
    hostile.take_busybox(&daemon, "x");
    let digest = two_platforms(&hostile.fixture);
    let (client, registry) = (daemon.dray(), Registry::start());
    let name = hostile.name("x");
    let pulled = client.ok(&format!("pull --all-platforms {name}"));
    assert!(pulled.contains(&format!("Digest: {digest}")), "{pulled}");
    for pusher in daemon.clients() {
        let copy = format!("{}/{}:v1", registry.host(), pusher.name());
        pusher.ok(&format!("tag {name} {copy}"));
        let pushed = pusher.ok(&format!("push {copy}"));
        assert!(pushed.contains(&format!("digest: {digest}")), "the index as it came: {pushed}");
        let one = pusher.ok(&format!("push --platform linux/s390x {copy}"));
        assert!(!one.contains(&digest), "{one}");
        let none = pusher.sh(&format!("push --platform linux/riscv64 {copy}")).expect_code(1);
        none.expect_error("does not provide the specified platform (linux/riscv64)");
        pusher.ok(&format!("rmi {copy}"));
    }
}

#[test]
fn a_mirror_of_any_registry_is_named_by_its_hosts_toml() {
    let certs = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::with_flags(&["--certs-dir", certs.path().to_str().expect("a path")]);
    daemon.load(&dray_harness::fixture::busybox());
    let registry = Registry::start();
    let client = daemon.dray();
    client.ok(&format!("tag busybox {}/team/app:v1", registry.host()));
    client.ok(&format!("push {}/team/app:v1", registry.host()));
    client.ok(&format!("rmi {}/team/app:v1", registry.host()));
    let folder = certs.path().join("registry.invalid");
    std::fs::create_dir(&folder).expect("its folder");
    let file = folder.join("hosts.toml");
    for client in daemon.clients() {
        let _ = std::fs::remove_file(&file);
        client.sh("pull registry.invalid/team/app:v1").expect_code(1).expect_error("no such host");
        std::fs::write(&file, format!("[host.\"http://{}\"]\n", registry.host())).expect("hosts.toml");
        client.ok("pull registry.invalid/team/app:v1");
        assert_eq!(client.ok("run --rm registry.invalid/team/app:v1 echo ran"), "ran");
        client.ok("rmi registry.invalid/team/app:v1");
        std::fs::write(&file, "host = 1").expect("hosts.toml");
        client
            .sh("pull registry.invalid/team/app:v1")
            .expect_code(1)
            .expect_error("hosts.toml: host: expected a table");
    }
}
