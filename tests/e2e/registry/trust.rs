//! `image sign`, `image verify`, and the policy that pulls are held against.

use dray_harness::Daemon;
use dray_harness::client::Client;
use dray_harness::registry::{DrayRegistry, Registry};

/// Runs Dray's client in a folder, with the key's password in the environment.
fn run(client: &Client, folder: &std::path::Path, line: &str) -> (bool, String) {
    let out = client
        .command(line.split_whitespace())
        .current_dir(folder)
        .env("COSIGN_PASSWORD", "pw")
        .output()
        .expect("dray");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.success(), text)
}

#[test]
fn what_is_signed_is_verified_and_may_be_pulled() {
    signed_verified_and_pulled(&Registry::start().host());
}

#[test]
fn our_own_registry_keeps_signatures_as_referrers() {
    signed_verified_and_pulled(&DrayRegistry::start(&[]).host());
}

fn signed_verified_and_pulled(registry: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = folder.path().join("policy.json");
    let daemon = Daemon::with_flags(&["--trust-policy", policy.to_str().expect("a path")]);
    daemon.load(&dray_harness::fixture::busybox());
    let client = daemon.dray();
    let name = format!("{registry}/signed:v1");
    client.ok(&format!("tag busybox {name}"));
    client.ok(&format!("push {name}"));
    let dray = |line: &str| run(&client, folder.path(), line);

    assert_eq!(dray("image generate-key-pair"), (true, "cosign.key\ncosign.pub\n".into()));
    let (again, words) = dray("image generate-key-pair");
    assert!(!again && words.contains("cosign.key exists already"), "{words}");
    let (verified, words) = dray(&format!("image verify {name}"));
    assert!(!verified && words.contains("no signatures found"), "{words}");
    let (signed, words) = dray(&format!("image sign -a who=ann {name}"));
    assert!(signed && words.contains("/signed@sha256:"), "{words}");
    let (verified, words) = dray(&format!("image verify -a who=ann {name}"));
    assert!(verified && words.contains(&format!("\"docker-reference\":\"{name}\"")), "{words}");
    let (verified, words) = dray(&format!("image verify -a who=bob {name}"));
    assert!(!verified && words.contains("it lacks an annotation"), "{words}");
    assert!(dray("image generate-key-pair --signing-algorithm ecdsa-sha2-384-nistp384 other").0);
    let (verified, words) = dray(&format!("image verify --key other.pub {name}"));
    assert!(!verified && words.contains("made by none of the keys"), "{words}");

    // Keys of another kind sign and verify as well.
    assert!(dray("image generate-key-pair --signing-algorithm ed25519 edwards").0);
    let (verified, words) = dray(&format!("image verify --key edwards.pub {name}"));
    assert!(!verified && words.contains("made by none of the keys"), "{words}");
    for key in ["edwards", "other"] {
        let (signed, words) = dray(&format!("image sign --key {key}.key -a by={key} {name}"));
        assert!(signed, "{words}");
        let (verified, words) = dray(&format!("image verify --key {key}.pub -a by={key} {name}"));
        assert!(verified && words.contains("\"docker-reference\""), "{words}");
    }
    let (made, words) = dray("image generate-key-pair --signing-algorithm rsa weak");
    assert!(!made && words.contains("unknown signing algorithm \"rsa\""), "{words}");
    assert!(dray("image generate-key-pair stranger").0);

    // From now on only what cosign.pub has signed comes in.
    let keys = |file: &str| {
        let path = folder.path().join(file);
        let text = format!(
            r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{"{}":[{{"type":"sigstoreSigned","keyPath":"{}"}}]}}}}}}"#,
            registry,
            path.display()
        );
        std::fs::write(&policy, text).expect("policy");
    };
    for client in daemon.clients() {
        client.sh(&format!("rmi {name}"));
        keys("stranger.pub");
        client
            .sh(&format!("pull {name}"))
            .expect_code(1)
            .expect_error("is not trusted: a signature was required");
        assert_eq!(client.ok(&format!("images -q {name}")), "");
        for key in ["edwards.pub", "other.pub", "cosign.pub"] {
            keys(key);
            client.ok(&format!("pull {name}"));
        }
        client.sh("pull elsewhere.invalid/x").expect_code(1).expect_error("rejected by the policy (default)");
    }
}
