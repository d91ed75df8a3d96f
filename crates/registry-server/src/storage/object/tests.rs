//! The contract against the library's own store in memory and against servers: S3 and Google's interface by moto,
//! Azure's by Azurite.

use dray_harness::azurite::Azurite;
use dray_harness::moto::Moto;

use super::*;
use crate::storage::contract;

fn bucket() -> Bucket {
    let memory = Arc::new(object_store::memory::InMemory::new());
    Bucket { store: Arc::new(Store { objects: memory.clone(), parts: memory, prefix: "r".into() }) }
}

#[tokio::test]
async fn keeps_the_contract() {
    let bucket = bucket();
    contract::run(&bucket).await;
    let left = bucket.store.objects.list(None).map_ok(|object| object.location.to_string());
    assert_eq!(left.try_collect::<Vec<_>>().await.unwrap(), ["r/probe"], "no tail is left");
}

#[tokio::test]
async fn a_state_that_does_not_fit_is_an_error() {
    let error = bucket().resume(&Key::random(), 5, b"").await.err().unwrap().to_string();
    assert!(error.ends_with("has 0 bytes, its upload recorded 5"), "{error}");
}

#[test]
fn addresses_that_name_no_bucket_are_named() {
    for (address, problem) in [
        ("bucket", "relative URL without a base"),
        ("s3:///x", "it names no bucket"),
        ("ftp://bucket/x", "ftp is none of s3, gs and az"),
    ] {
        let error = Bucket::open(address, &Environment::of_this_process()).err().unwrap().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

fn at(address: &str, environment: Vec<(String, String)>) -> Bucket {
    Bucket::open(address, &environment.into_iter().collect()).expect("a bucket")
}

/// Runs the contract, and looks at what it leaves.
async fn keeps_the_contract_at(bucket: &Bucket) {
    contract::run(bucket).await;
    let prefix = Path::from(bucket.store.prefix.as_str());
    let left = bucket.store.objects.list(Some(&prefix)).map_ok(|object| object.location.to_string());
    let left: Vec<_> = left.try_collect().await.expect("list");
    assert_eq!(left, [format!("{prefix}/probe")], "no tail is left");
}

/// More objects than the store gives in one answer, and others beside them.
async fn lists_all_pages(bucket: &Bucket, count: usize) {
    let others = at_prefix(bucket, "pages-of-another");
    others.store.objects.put(&others.store.object(&Key::random()), "x".into()).await.expect("put");
    let bucket = at_prefix(bucket, "pages");
    let keys: Vec<Key> = (0..count).map(|_| Key::random()).collect();
    let put = futures_util::stream::iter(&keys).map(|key| {
        let path = bucket.store.object(key);
        let store = bucket.store.clone();
        async move { store.objects.put(&path, "x".into()).await.map(drop) }
    });
    put.buffer_unordered(16).try_collect::<()>().await.expect("put");
    let mut found = bucket.keys().await.expect("keys");
    found.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    let mut keys = keys;
    keys.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    assert!(found == keys, "{} of {count} keys", found.len());
}

fn at_prefix(bucket: &Bucket, prefix: &str) -> Bucket {
    let Store { objects, parts, .. } = &*bucket.store;
    let store = Store { objects: objects.clone(), parts: parts.clone(), prefix: prefix.into() };
    Bucket { store: Arc::new(store) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_keeps_the_contract() {
    let moto = Moto::start("images");
    let bucket = at("s3://images/team/registry", moto.environment());
    keeps_the_contract_at(&bucket).await;
    lists_all_pages(&bucket, 1_050).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn google_keeps_the_contract() {
    let moto = Moto::start("images");
    let bucket = at("gs://images/team/registry", moto.google_environment());
    keeps_the_contract_at(&bucket).await;
    lists_all_pages(&bucket, 1_050).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_keeps_the_contract() {
    let azurite = Azurite::start();
    azurite.make("images");
    let bucket = at("az://images/team/registry", azurite.environment());
    keeps_the_contract_at(&bucket).await;
    lists_all_pages(&bucket, 5_001).await;
}
