//! Replication from `dray registry serve` to Debian's docker-registry and to another of Dray's.

use std::process::Command;

use dray_harness::client::eventually;
use dray_harness::registry::{DrayRegistry, Registry};
use dray_harness::{Daemon, dray_binary, http};
use serde_json::{Value, json};

/// A registry that copies to these, by name and rule.
fn source(folder: &std::path::Path, rules: &[Value]) -> DrayRegistry {
    let config = folder.join("registry.json");
    std::fs::write(&config, json!({ "replication": rules }).to_string()).expect("configuration");
    DrayRegistry::start(&["--config", config.to_str().expect("a path")])
}

fn all_current(registry: &DrayRegistry, copies: usize) -> bool {
    let Ok(status) = http::get(("127.0.0.1", registry.port()), "/replication") else { return false };
    let status = status.json();
    let targets = status["targets"].as_array().expect("targets").iter();
    let states: Vec<&Value> =
        targets.flat_map(|target| target["repositories"].as_array().expect("repositories")).collect();
    states.len() == copies && states.iter().all(|copy| copy["state"] == "current")
}

#[test]
fn images_arrive_at_every_target_and_are_pulled_from_there() {
    let daemon = Daemon::start();
    let (debian, other) = (Registry::with_user("ann", "secret"), DrayRegistry::start(&[]));
    let folder = tempfile::tempdir().expect("a folder");
    let registry = source(
        folder.path(),
        &[
            json!({ "name": "debian", "deletes": true, "registry": { "url": format!("http://{}", debian.host()), "user": "ann", "password": "secret" } }),
            json!({ "name": "other", "prefix": "copies", "tags": ["v*"], "registry": { "url": format!("http://{}", other.host()) } }),
        ],
    );
    let id = daemon.dray().ok("images -q --no-trunc busybox");
    let login = ["login", "-u", "ann", "--password-stdin", &debian.host()];
    for client in daemon.clients() {
        client.run_with_input(login, b"secret").expect_success();
        for tag in ["v1", "latest"] {
            let name = format!("{}/team/{}:{tag}", registry.host(), client.name());
            client.ok(&format!("tag busybox {name}"));
            client.ok(&format!("push {name}"));
            client.ok(&format!("rmi {name}"));
        }
    }
    eventually("all copies are up to date", || all_current(&registry, 4));
    for client in daemon.clients() {
        client.ok("rmi busybox");
        for name in [
            format!("{}/team/{}:latest", debian.host(), client.name()),
            format!("{}/copies/team/{}:v1", other.host(), client.name()),
        ] {
            client.ok(&format!("pull {name}"));
            assert_eq!(client.ok(&format!("images -q --no-trunc {name}")), id, "the same image arrived");
            client.ok(&format!("tag {name} busybox"));
            client.ok(&format!("rmi {name}"));
        }
        let tags =
            http::get(("127.0.0.1", other.port()), &format!("/v2/copies/team/{}/tags/list", client.name()));
        assert_eq!(tags.expect("the list").json()["tags"], json!(["v1"]), "only the tags that are wanted");
    }
    let shown = Command::new(dray_binary())
        .args(["registry", "replication", "ls", "--data-root"])
        .arg(registry.root().join("data"))
        .output()
        .expect("dray");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.lines().filter(|line| line.contains(" current ")).count(), 4, "{shown}");
}

#[test]
fn what_is_deleted_goes_and_what_was_missed_is_caught_up_with() {
    let daemon = Daemon::start();
    let other = DrayRegistry::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("http://{}", other.host());
    let rule = json!({ "name": "other", "deletes": true, "every": "1h", "registry": { "url": url } });
    let mut registry = source(folder.path(), &[rule]);
    let client = daemon.dray();
    for tag in ["v1", "v2"] {
        let name = format!("{}/app:{tag}", registry.host());
        client.ok(&format!("tag busybox {name}"));
        client.ok(&format!("push {name}"));
    }
    eventually("the copy is up to date", || all_current(&registry, 1));
    // The source is killed as soon as a change has been acknowledged.
    let deleted = Command::new("curl")
        .args(["-fsS", "-X", "DELETE", &format!("http://127.0.0.1:{}/v2/app/manifests/v1", registry.port())])
        .status()
        .expect("curl");
    assert!(deleted.success());
    registry.kill();
    registry.start_again();
    eventually("the tag is gone there", || {
        http::get(("127.0.0.1", other.port()), "/v2/app/tags/list")
            .is_ok_and(|answer| answer.json()["tags"] == json!(["v2"]))
    });
    let run = |arguments: &[&str]| {
        let config = folder.path().join("registry.json");
        let output = Command::new(dray_binary())
            .args(["registry", "replication"])
            .args(arguments)
            .args(["--config", config.to_str().expect("a path"), "--data-root"])
            .arg(registry.root().join("data"))
            .output()
            .expect("dray");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let removed = Command::new("curl")
        .args(["-fsS", "-X", "DELETE", &format!("http://127.0.0.1:{}/v2/app/manifests/v2", other.port())])
        .status();
    assert!(removed.expect("curl").success());
    assert_eq!(run(&["sync", "--target", "other"]), "1 copies are due\n");
    eventually("what was lost there is there again", || {
        http::get(("127.0.0.1", other.port()), "/v2/app/manifests/v2")
            .is_ok_and(|answer| answer.status == 200)
    });
    assert!(run(&["sync", "--target", "nowhere"]).contains("no such replication target: nowhere"));
}
