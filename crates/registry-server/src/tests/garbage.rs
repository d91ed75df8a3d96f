//! Garbage goes, everything else stays: also while many push, mount and delete.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dray_spec::Digest;
use http::Method;

use super::fixture::{Fixture, MANIFEST, image, large};
use crate::garbage::Ages;

/// Nothing that anybody may still want is old enough.
pub(super) const KEEP: Ages = Ages { blobs: i64::MAX / 2, uploads: i64::MAX / 2, untagged: None };
/// Everything is old enough at once: the hardest case.
const NOTHING: Ages = Ages { blobs: -1000, uploads: -1000, untagged: None };

/// Every blob is old enough; uploads under way go on.
const BLOBS: Ages = Ages { blobs: -1000, ..KEEP };

#[tokio::test]
async fn what_is_not_needed_goes() {
    let f = Fixture::start().await;
    let kept = large(1, 50_000);
    let lost = f.push_blob("a", large(2, 60_000)).await;
    f.push_blob("a", kept.clone()).await;
    f.push_blob("a", "{}").await;
    let text = manifest_of(&[&kept]);
    f.put_manifest("a", "v1", MANIFEST, &text).await.expect(201);
    let upload = f.request(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.header("location").to_owned();
    f.request(Method::PATCH, &upload, &[], large(3, 70_000)).await.expect(202);
    assert_eq!(f.objects(), 3);
    let collected = f.server.collector.round(&KEEP).await.unwrap();
    assert!(collected.is_empty(), "{collected:?}");
    let collected = f.server.collector.round(&NOTHING).await.unwrap();
    assert_eq!((collected.blobs, collected.bytes, collected.uploads), (1, 60_000, 1));
    assert_eq!(f.objects(), 1);
    f.get(&format!("/v2/a/blobs/{lost}")).await.refused(404, "BLOB_UNKNOWN");
    f.get(&upload).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(f.get(&format!("/v2/a/blobs/{}", Digest::sha256_of(&kept))).await.expect(200).body, kept);
    f.delete(&format!("/v2/a/manifests/{}", Digest::sha256_of(text.as_bytes()))).await.expect(202);
    f.server.collector.round(&NOTHING).await.unwrap();
    assert_eq!(f.objects(), 0);
    assert_eq!(f.get("/v2/_catalog").await.json()["repositories"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn a_blob_that_was_asked_for_is_kept_for_the_push_that_follows() {
    let f = Fixture::start().await;
    let digest = f.push_blob("a", large(1, 50_000)).await;
    let metadata = &f.server.registry.metadata;
    let repository = crate::name::Repository::parse("a").unwrap();
    // Pushed long ago.
    let age = |touched: i64| {
        let database = rusqlite::Connection::open(f.data().join("registry.db")).unwrap();
        database.execute("UPDATE link SET touched = ?1", [touched]).unwrap();
    };
    age(0);
    f.request(Method::HEAD, &format!("/v2/a/blobs/{digest}"), &[], "").await.expect(200);
    let hour = Ages { blobs: 3_600_000, ..KEEP };
    assert!(f.server.collector.round(&hour).await.unwrap().is_empty());
    assert!(metadata.blob(&repository, &digest).await.unwrap().unwrap().touched > 0);
    age(0);
    assert_eq!(f.server.collector.round(&hour).await.unwrap().blobs, 1);
    f.request(Method::HEAD, &format!("/v2/a/blobs/{digest}"), &[], "").await.expect(404);
}

#[tokio::test]
async fn objects_without_a_record_are_found() {
    let f = Fixture::start().await;
    let digest = f.push_blob("a", large(1, 50_000)).await;
    let upload = f.request(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.header("location").to_owned();
    f.request(Method::PATCH, &upload, &[], large(3, 70_000)).await.expect(202);
    let stray = crate::name::Key::random();
    std::fs::write(f.data().join("blobs").join(&stray.as_str()[..2]).join(stray.as_str()), "stray").unwrap();
    assert_eq!(f.server.collector.orphans().await.unwrap(), 1);
    assert_eq!(f.server.collector.orphans().await.unwrap(), 0);
    assert_eq!(f.objects(), 2);
    f.get(&format!("/v2/a/blobs/{digest}")).await.expect(200);
    f.get(&upload).await.expect(204);
}

fn manifest_of(layers: &[&bytes::Bytes]) -> String {
    let mut manifest: serde_json::Value = serde_json::from_str(&image("")).unwrap();
    let of = |layer: &&bytes::Bytes| serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": Digest::sha256_of(layer), "size": layer.len()});
    manifest["layers"] = layers.iter().map(of).collect();
    manifest.to_string()
}

/// Pushers share layers, mount them, delete what they pushed, while a collector for which everything is old runs
/// without a pause. Whatever manifest has been acknowledged and not deleted must be pullable with all its blobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_acknowledged_stays_whatever_goes_on() {
    const PUSHERS: usize = 6;
    const ROUNDS: usize = 8;
    let f = Arc::new(Fixture::start().await);
    let layers: Arc<Vec<bytes::Bytes>> =
        Arc::new((0..5).map(|seed| large(seed, 20_000 + usize::from(seed) * 1000)).collect());
    // Something that nobody will need.
    f.push_blob("r0", large(99, 30_000)).await;
    let done = Arc::new(AtomicBool::new(false));
    let collected = Arc::new(AtomicUsize::new(0));
    let collector = tokio::spawn({
        let (f, done, collected) = (f.clone(), done.clone(), collected.clone());
        async move {
            while !done.load(Ordering::Relaxed) {
                let round = f.server.collector.round(&BLOBS).await.expect("a round");
                collected.fetch_add(round.blobs as usize, Ordering::Relaxed);
                f.server.collector.orphans().await.expect("a search");
                tokio::task::yield_now().await;
            }
        }
    });
    let pushers: Vec<_> = (0..PUSHERS)
        .map(|pusher| {
            let (f, layers) = (f.clone(), layers.clone());
            tokio::spawn(async move { push_and_delete(&f, &layers, pusher, ROUNDS).await })
        })
        .collect();
    let mut kept: BTreeMap<(String, String), Vec<Digest>> = BTreeMap::new();
    for pusher in pushers {
        kept.extend(pusher.await.expect("a pusher"));
    }
    while collected.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    done.store(true, Ordering::Relaxed);
    collector.await.expect("the collector");
    assert!(!kept.is_empty());
    for ((repository, tag), blobs) in &kept {
        f.get(&format!("/v2/{repository}/manifests/{tag}")).await.expect(200);
        for blob in blobs {
            let answer = f.get(&format!("/v2/{repository}/blobs/{blob}")).await.expect(200);
            assert_eq!(Digest::sha256_of(&answer.body), *blob);
        }
    }
    // And nothing else is left, but for what the last requests may have begun.
    f.server.collector.round(&NOTHING).await.unwrap();
    let needed: std::collections::BTreeSet<_> =
        kept.values().flatten().filter(|d| **d != Digest::sha256_of(b"{}")).collect();
    assert_eq!(f.objects(), needed.len());
}

/// Gives the manifests that were acknowledged and not deleted, with their blobs.
async fn push_and_delete(
    f: &Fixture,
    layers: &[bytes::Bytes],
    pusher: usize,
    rounds: usize,
) -> BTreeMap<(String, String), Vec<Digest>> {
    let mut kept = BTreeMap::new();
    let repository = format!("r{}", pusher % 3);
    for round in 0..rounds {
        let chosen =
            [&layers[(pusher + round) % layers.len()], &layers[(pusher * 2 + round * 3) % layers.len()]];
        let text = manifest_of(&chosen);
        let tag = format!("p{pusher}-{round}");
        let blobs: Vec<Digest> =
            chosen.iter().map(|layer| Digest::sha256_of(layer)).chain([Digest::sha256_of(b"{}")]).collect();
        // Between the push of a blob and that of the manifest the collector may take the blob: then it is pushed again.
        loop {
            let from = format!("r{}", (pusher + 1) % 3);
            let mount = format!("/v2/{repository}/blobs/uploads/?mount={}&from={from}", blobs[0]);
            if f.request(Method::POST, &mount, &[], "").await.status != 201 {
                f.push_blob(&repository, chosen[0].clone()).await;
            }
            f.push_blob(&repository, chosen[1].clone()).await;
            f.push_blob(&repository, "{}").await;
            match f.put_manifest(&repository, &tag, MANIFEST, &text).await.status.as_u16() {
                201 => break,
                404 => {}
                other => panic!("status {other}"),
            }
        }
        if round % 2 == 0 {
            // Another pusher of this repository may have put the same manifest under another tag: only the tag goes.
            f.delete(&format!("/v2/{repository}/manifests/{tag}")).await.expect(202);
        } else {
            kept.insert((repository.clone(), tag), blobs);
        }
    }
    kept
}
