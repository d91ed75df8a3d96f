//! Copies at other registries: what goes there, when the target fails, and when this process does.

use dray_registry::testing::{Fault, Fixture as Target, What};
use dray_spec::{Digest, media_type};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::fixture::{Fixture, INDEX, MANIFEST, image, large};
use crate::api::now;
use crate::name::Repository;
use crate::replication;

/// A registry that copies to an address, and the tasks that do it.
async fn copying(address: &str, more: Value) -> (Fixture, JoinSet<()>) {
    let mut rule = json!({ "name": "dr", "registry": { "url": format!("http://{address}") } });
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let f = Fixture::configured(json!({ "replication": [rule] })).await;
    let tasks = replication::start(&f.server.registry);
    (f, tasks)
}

/// The copies as the endpoint tells of them.
async fn copies(f: &Fixture) -> Vec<Value> {
    let status = f.get("/replication").await.expect(200).json();
    status["targets"][0]["repositories"].as_array().unwrap().clone()
}

/// Waits until all copies are up to date.
async fn settled(f: &Fixture) {
    loop {
        let copies = copies(f).await;
        if !copies.is_empty() && copies.iter().all(|copy| copy["state"] == "current") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_is_pushed_is_there_with_all_that_belongs_to_it() {
    let there = Fixture::start().await;
    let more = json!({ "prefix": "copy", "repositories": ["team/**"], "tags": ["v*"] });
    let (f, _tasks) = copying(&there.address.to_string(), more).await;
    let layers = ["small".to_owned(), "large".repeat(30_000)];
    let children = [
        f.push_image("team/app", "child1", &layers[0]).await,
        f.push_image("team/app", "child2", &layers[1]).await,
    ];
    let listed = children.iter().zip(&layers).map(
        |(digest, layer)| json!({ "mediaType": MANIFEST, "digest": digest, "size": image(layer).len() }),
    );
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": listed.collect::<Vec<_>>() })
        .to_string();
    f.put_manifest("team/app", "v1", INDEX, &index).await.expect(201);
    // A signature of one of the index's manifests, and one of that signature.
    let mut subject = (children[1].clone(), image(&layers[1]).len());
    let mut signatures = Vec::new();
    for n in 0..2 {
        let mut signature: Value = serde_json::from_str(&image(&layers[0])).unwrap();
        signature["artifactType"] = json!("application/x-signature");
        signature["annotations"] = json!({ "n": n.to_string() });
        signature["subject"] = json!({ "mediaType": MANIFEST, "digest": subject.0, "size": subject.1 });
        let text = signature.to_string();
        subject = (Digest::sha256_of(text.as_bytes()), text.len());
        f.put_manifest("team/app", subject.0.as_str(), MANIFEST, &text).await.expect(201);
        signatures.push(subject.0.clone());
    }
    f.push_image("other/app", "v1", &layers[0]).await;
    settled(&f).await;
    let got = there.get("/v2/copy/team/app/manifests/v1").await.expect(200);
    assert_eq!(got.body, index.as_bytes());
    for (digest, layer) in children.iter().zip(&layers) {
        there.get(&format!("/v2/copy/team/app/manifests/{digest}")).await.expect(200);
        let path = format!("/v2/copy/team/app/blobs/{}", Digest::sha256_of(layer.as_bytes()));
        assert_eq!(there.get(&path).await.expect(200).body, layer.as_bytes());
    }
    for (subject, signature) in [(&children[1], &signatures[0]), (&signatures[0], &signatures[1])] {
        let list = there.get(&format!("/v2/copy/team/app/referrers/{subject}")).await.expect(200).json();
        assert_eq!(list["manifests"][0]["digest"], json!(signature));
    }
    let tags = there.get("/v2/copy/team/app/tags/list").await.json();
    assert_eq!(tags["tags"], json!(["v1"]), "children have come by their digests");
    assert_eq!(there.get("/v2/_catalog").await.json()["repositories"], json!(["copy/team/app"]));
    let metrics = String::from_utf8(f.get("/metrics").await.body.to_vec()).unwrap();
    for line in [
        "dray_registry_replication_repositories{target=\"dr\",state=\"current\"} 1",
        "dray_registry_replicated_manifests_total 5",
        "dray_registry_replication_failures_total 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

/// Whoever may push could end the process, if each were copied within the one before.
#[tokio::test]
async fn what_refers_to_each_other_without_end_does_not_use_up_the_stack() {
    const LENGTH: usize = 1000;
    let there = Fixture::start().await;
    let (f, mut tasks) = copying(&there.address.to_string(), json!({})).await;
    tasks.shutdown().await;
    let mut subject = (f.push_image("app", "v1", "layer").await, image("layer").len());
    for _ in 0..LENGTH {
        let mut next: Value = serde_json::from_str(&image("layer")).unwrap();
        next["subject"] = json!({ "mediaType": MANIFEST, "digest": subject.0, "size": subject.1 });
        let text = next.to_string();
        subject = (Digest::sha256_of(text.as_bytes()), text.len());
        f.put_manifest("app", subject.0.as_str(), MANIFEST, &text).await.expect(201);
    }
    let _tasks = replication::start(&f.server.registry);
    settled(&f).await;
    there.get(&format!("/v2/app/manifests/{}", subject.0)).await.expect(200);
}

#[tokio::test]
async fn a_target_that_fails_is_tried_again() {
    let there = Target::start().await;
    let (f, _tasks) = copying(&there.host(), json!({})).await;
    there.fault(Fault::on("", What::Close));
    let digest = f.push_image("app", "v1", "layer").await;
    let failing = loop {
        let copies = copies(&f).await;
        if copies[0]["state"] == "failing" {
            break copies[0].clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(failing["error"].as_str().unwrap().contains(&there.host()), "{failing}");
    assert!(failing["attempts"].as_u64().unwrap() > 0 && failing["synced"].is_null(), "{failing}");
    there.heal();
    settled(&f).await;
    let (_, content) = there.manifest("app", "v1").expect("it is there");
    assert_eq!(Digest::sha256_of(&content), digest);
    let copies = copies(&f).await;
    assert!(copies[0]["error"].is_null() && copies[0]["attempts"] == 0 && copies[0]["synced"].is_string());
}

#[tokio::test]
async fn one_tag_that_is_refused_does_not_hold_the_others_up() {
    let there = Target::start().await;
    there.fault(Fault::on("/manifests/bad", What::error(403, "DENIED", "not this one")).method("PUT"));
    let (f, _tasks) = copying(&there.host(), json!({})).await;
    for (tag, layer) in [("bad", "one"), ("good", "two")] {
        f.push_image("app", tag, layer).await;
    }
    while there.manifest("app", "good").is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    loop {
        let error = copies(&f).await[0]["error"].as_str().unwrap_or_default().to_owned();
        if error.contains("the first of them bad") && error.contains("not this one") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_upload_is_gone_on_with_by_the_next_process() {
    let there = Target::start().await;
    there.fault(Fault::on("/blobs/uploads/", What::CutAfter(1_000_000)).method("PATCH").times(1));
    let later = What::Delay(std::time::Duration::from_secs(60));
    there.fault(Fault::on("/blobs/uploads/", later).method("PATCH"));
    let (f, tasks) = copying(&there.host(), json!({})).await;
    let content = large(9, 4_000_000);
    let digest = f.push_blob("app", content.clone()).await;
    f.push_blob("app", "{}").await;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::sha256_of(b"{}"), "size": 2 },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": content.len() }],
    });
    f.put_manifest("app", "v1", MANIFEST, &manifest.to_string()).await.expect(201);
    while there.count("PATCH", "/blobs/uploads/") < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // The process is gone; nobody keeps its mark any more.
    drop(tasks);
    there.heal();
    let metadata = &f.server.registry.metadata;
    let far = now() + 1_000_000;
    let job = metadata.claim_replication("dr", far, far).await.unwrap().expect("the mark");
    assert_eq!(job.upload.as_ref().map(|(digest, _)| digest), Some(&digest));
    metadata.keep_replication(&job, 0).await.unwrap();
    let _tasks = replication::start(&f.server.registry);
    settled(&f).await;
    assert_eq!(there.count("POST", "/blobs/uploads/"), 2, "one for each blob: none was begun anew");
    assert!(there.blob("app", &digest).is_some_and(|there| there == content));
    assert!(there.manifest("app", "v1").is_some());
}

#[tokio::test]
async fn what_is_deleted_here_goes_there_if_that_is_wanted() {
    for deletes in [true, false] {
        let there = Fixture::start().await;
        let (f, _tasks) =
            copying(&there.address.to_string(), json!({ "deletes": deletes, "every": "1h" })).await;
        there.push_image("app", "theirs", "layer").await;
        there.push_image("elsewhere", "theirs", "layer").await;
        f.push_image("app", "v1", "layer one").await;
        f.push_image("app", "v2", "layer two").await;
        settled(&f).await;
        f.delete("/v2/app/manifests/v1").await.expect(202);
        if deletes {
            while there.get("/v2/app/tags/list").await.json()["tags"] != json!(["v2"]) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        } else {
            settled(&f).await;
            assert_eq!(there.get("/v2/app/tags/list").await.json()["tags"], json!(["theirs", "v1", "v2"]));
        }
        let others = there.get("/v2/elsewhere/tags/list").await.json();
        assert_eq!(others["tags"], json!(["theirs"]), "what is not ours is let alone");
    }
}

#[tokio::test]
async fn two_registries_may_copy_to_each_other() {
    let one = Fixture::start().await;
    let (other, _tasks) = copying(&one.address.to_string(), json!({})).await;
    let digest = other.push_image("app", "v1", "layer").await;
    settled(&other).await;
    let got =
        one.request(Method::HEAD, "/v2/app/manifests/v1", &[("accept", media_type::OCI_MANIFEST)], "").await;
    assert_eq!(got.expect(200).header("docker-content-digest"), digest.as_str());
    // The same once more moves nothing.
    let before = other.get("/metrics").await.body;
    let count = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.lines()
            .find(|line| line.starts_with("dray_registry_replicated_manifests_total"))
            .map(str::to_owned)
    };
    other.server.registry.replication.mark_all(&*other.server.registry.metadata, Some("dr")).await.unwrap();
    settled(&other).await;
    assert_eq!(count(&other.get("/metrics").await.body), count(&before));
}

#[tokio::test]
async fn many_blobs_of_several_repositories_are_mounted_there() {
    let there = Fixture::start().await;
    let (f, _tasks) = copying(&there.address.to_string(), json!({})).await;
    let layer = "shared layer".repeat(10_000);
    f.push_image("one", "v1", &layer).await;
    settled(&f).await;
    f.push_image("two", "v1", &layer).await;
    settled(&f).await;
    let repository = Repository::parse("two").unwrap();
    let found = there.server.registry.metadata.blob(&repository, &Digest::sha256_of(layer.as_bytes())).await;
    assert!(found.unwrap().is_some());
    let metrics = String::from_utf8(f.get("/metrics").await.body.to_vec()).unwrap();
    let sent = format!("dray_registry_replicated_bytes_total {}", layer.len() + 4);
    assert!(metrics.contains(&sent), "the layer went once, the small configuration twice: {metrics}");
}
