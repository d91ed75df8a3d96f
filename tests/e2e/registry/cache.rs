//! `dray registry serve --upstream`: Docker's `registry-mirrors` with Debian's docker-registry behind it.

use dray_harness::Daemon;
use dray_harness::client::eventually;
use dray_harness::http;
use dray_harness::registry::{DrayRegistry, Registry};

/// Pushes busybox to a registry.
fn fill(daemon: &Daemon, registry: &Registry, name: &str) {
    let (client, full) = (daemon.dray(), format!("{}/{name}", registry.host()));
    client.ok(&format!("tag busybox {full}"));
    client.ok(&format!("push {full}"));
    client.ok(&format!("rmi {full}"));
}

#[test]
fn images_of_the_hub_come_through_it_and_from_it_when_the_upstream_is_gone() {
    let loaded = Daemon::start();
    let upstream = Registry::start();
    fill(&loaded, &upstream, "library/mirrored:v1");
    let cache = DrayRegistry::start(&["--upstream", &format!("http://{}", upstream.host())]);
    let mirror = format!("http://127.0.0.1:{}", cache.port());
    let id = loaded.dray().ok("images -q --no-trunc busybox");
    let daemon = Daemon::with_flags(&["--registry-mirror", &mirror]);
    for client in daemon.clients() {
        let pulled = client.ok("pull mirrored:v1");
        assert!(pulled.contains("Status: Downloaded newer image for mirrored:v1"), "{pulled}");
        assert_eq!(client.ok("images -q --no-trunc mirrored:v1"), id, "the same image came through");
        assert_eq!(client.ok("run --rm mirrored:v1 echo ran"), "ran");
        client.ok("rmi mirrored:v1");
    }
    drop(upstream);
    for client in daemon.clients() {
        client.ok("pull mirrored:v1");
        assert_eq!(client.ok("images -q --no-trunc mirrored:v1"), id, "the copy is the same");
        client.ok("rmi mirrored:v1");
    }
    let metrics = http::get(("127.0.0.1", cache.port()), "/metrics").expect("figures").text();
    let line = "dray_registry_cache_requests_total{kind=\"manifest\",result=\"miss\"} 1\n";
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn a_prefix_with_an_account_follows_its_upstream() {
    let daemon = Daemon::start();
    let upstream = Registry::with_user("ann", "secret");
    let login = ["login", "-u", "ann", "--password-stdin", &upstream.host()];
    daemon.dray().run_with_input(login, b"secret").expect_success();
    fill(&daemon, &upstream, "team/app:v1");
    let folder = tempfile::tempdir().expect("a folder");
    let (secret, config) = (folder.path().join("secret"), folder.path().join("registry.json"));
    std::fs::write(&secret, "secret\n").expect("the password");
    let text = serde_json::json!({ "upstreams": [{
        "prefix": "copies", "ttl": "0s",
        "registry": { "url": format!("http://{}", upstream.host()), "user": "ann", "password-file": secret },
    }]});
    std::fs::write(&config, text.to_string()).expect("configuration");
    let cache = DrayRegistry::start(&["--config", config.to_str().expect("a path")]);
    let name = format!("{}/copies/team/app:v1", cache.host());
    for client in daemon.clients() {
        client.ok(&format!("pull {name}"));
        client.ok(&format!("run --rm {name} true"));
        client.sh(&format!("push {name}")).expect_code(1).expect_error("is a copy of");
        client.ok(&format!("rmi {name}"));
    }
    // The tag moves at the upstream.
    let client = daemon.dray();
    let before = http::get(("127.0.0.1", cache.port()), "/v2/copies/team/app/manifests/v1").expect("it").body;
    let container = client.ok("run -d busybox touch /moved");
    client.ok(&format!("wait {container}"));
    client.ok(&format!("commit {container} {}/team/app:v1", upstream.host()));
    client.ok(&format!("push {}/team/app:v1", upstream.host()));
    eventually("the copy moves too", || {
        http::get(("127.0.0.1", cache.port()), "/v2/copies/team/app/manifests/v1")
            .is_ok_and(|answer| answer.status == 200 && answer.body != before)
    });
    client.ok(&format!("pull {name}"));
    client.ok(&format!("run --rm {name} test -e /moved"));
    drop(upstream);
    client.ok(&format!("rmi {name}"));
    client.ok(&format!("pull {name}"));
    let answer = http::get(("127.0.0.1", cache.port()), "/v2/copies/team/app/manifests/v1").expect("it");
    assert!(answer.head.contains("110 - \"Response is Stale\""), "{}", answer.head);
}
