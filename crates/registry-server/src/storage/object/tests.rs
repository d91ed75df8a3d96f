//! The contract against the library's own store in memory and against servers: S3 and Google's interface by moto,
//! Azure's by Azurite.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE;
use dray_harness::azurite::Azurite;
use dray_harness::moto::Moto;
use object_store::RetryConfig;
use ring::rsa::KeyPair;
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

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
    let told = vec![("AZURE_STORAGE_CONNECTION_STRING".into(), azurite.connection_string())];
    lists_all_pages(&at("az://images", told), 5_001).await;
}

/// A store that gives everybody this answer, once: its address, and the head of the request that came.
async fn saying(status: &'static str, body: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let head = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"probe") {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "all of the request");
        }
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(bytes).unwrap()
    });
    (address, head)
}

/// A token that the key in a service account's file has signed is what Google is shown; what Google says to it is told.
#[tokio::test]
async fn a_service_account_s_file_signs_what_is_sent() {
    let made = std::process::Command::new("openssl").args(["genpkey", "-algorithm", "RSA"]).output().unwrap();
    let pem = String::from_utf8(made.stdout).expect("a key of openssl");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("account.json");
    let account = serde_json::json!({
        "type": "service_account",
        "private_key": pem,
        "private_key_id": "k1",
        "client_email": "dray@project.example",
    });
    std::fs::write(&file, account.to_string()).unwrap();
    let refusal =
        "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access denied.</Message></Error>";
    let (address, head) = saying("403 Forbidden", refusal).await;
    let environment = vec![
        ("GOOGLE_APPLICATION_CREDENTIALS".into(), file.display().to_string()),
        ("GOOGLE_BASE_URL".into(), address),
    ];
    let error = at("gs://images", environment).check().await.unwrap_err();
    assert_eq!(error.to_string(), "write registry/probe: the store says AccessDenied: Access denied.");
    assert!(!error.is_unavailable());

    let head = head.await.unwrap();
    assert!(head.starts_with("PUT /images/registry%2Fprobe HTTP/1.1\r\n"), "{head}");
    let token = head.split_once("authorization: Bearer ").expect("a token").1.lines().next().unwrap();
    let (signed, signature) = token.rsplit_once('.').expect("a signed token");
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = KeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
    public
        .verify(signed.as_bytes(), &URL_SAFE.decode(signature).unwrap())
        .expect("signed with the file's key");
    let claims = URL_SAFE.decode(signed.split_once('.').unwrap().1).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["iss"], "dray@project.example");
}

#[tokio::test]
async fn a_store_that_is_overloaded_may_come_back() {
    let (address, _head) = saying("503 Service Unavailable", "<Error><Code>SlowDown</Code></Error>").await;
    let store = object_store::aws::AmazonS3Builder::new()
        .with_access_key_id("a")
        .with_secret_access_key("b")
        .with_endpoint(address)
        .with_bucket_name("images")
        .with_http_connector(http::Connector)
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .build()
        .unwrap();
    let store = Arc::new(store);
    let bucket =
        Bucket { store: Arc::new(Store { objects: store.clone(), parts: store, prefix: "x".into() }) };
    let error = bucket.check().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
}

#[test]
fn plain_http_to_other_machines_is_refused_by_name() {
    let open = |address: &str, variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Bucket::open(address, &variables.collect()).err().map(|error| error.to_string())
    };
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    let plain = [keys[0], keys[1], ("AWS_ENDPOINT_URL", "http://minio.test:9000")];
    assert_eq!(
        open("s3://images", &plain).unwrap(),
        "storage s3://images: the endpoint http://minio.test:9000 would be sent credentials over plain HTTP: use \
         https, or say AWS_ALLOW_HTTP=true"
    );
    assert_eq!(open("s3://images", &[&plain[..], &[("AWS_ALLOW_HTTP", "true")]].concat()), None);
    assert_eq!(open("s3://images", &[keys[0], keys[1], ("AWS_ENDPOINT_URL_S3", "https://minio.test")]), None);
    let refused = open("gs://images", &[("STORAGE_EMULATOR_HOST", "10.0.0.1:4443")]).unwrap();
    assert!(refused.ends_with("say GOOGLE_ALLOW_HTTP=true"), "{refused}");
    let string = "AccountName=ann;AccountKey=a2V5;BlobEndpoint=http://store.test/ann";
    let refused = open("az://images", &[("AZURE_STORAGE_CONNECTION_STRING", string)]).unwrap();
    assert!(refused.ends_with("say AZURE_ALLOW_HTTP=true"), "{refused}");
    let wrong = open("s3://images", &[keys[0], keys[1], ("AWS_ENDPOINT_URL", "minio:9000")]).unwrap();
    assert!(wrong.contains("the endpoint \"minio:9000\" is no http:// or https:// address"), "{wrong}");
}

/// Two servers go on from the same checkpoint, and neither knows of the other: whichever ends first, the object is its
/// own from then on.
async fn the_first_to_end_an_object_has_it(bucket: &Bucket) {
    const MIB: usize = 1024 * 1024;
    for (checkpoint, rest) in [(MIB, MIB), (MIB, 20 * MIB), (9 * MIB, MIB), (9 * MIB, 10 * MIB)] {
        let key = Key::random();
        let mut draft = bucket.create(&key).await.expect("create");
        draft.write(vec![vec![1; checkpoint].into()]).await.expect("write");
        let state = draft.checkpoint().await.expect("checkpoint");
        drop(draft);
        let (mut left_behind, mut first) = (
            bucket.resume(&key, checkpoint as u64, &state).await.expect("resume"),
            bucket.resume(&key, checkpoint as u64, &state).await.expect("resume"),
        );
        first.write(vec![vec![2; rest].into()]).await.expect("write");
        first.seal().await.expect("seal");
        // All that it has to send it sends after the other's end.
        let late = async {
            left_behind.write(vec![vec![3; rest].into()]).await?;
            left_behind.seal().await
        };
        assert!(late.await.is_err(), "the end of an object that has been ended");
        let whole = contract::read(bucket, &key, 0..(checkpoint + rest) as u64).await.expect("the object");
        assert!(whole[..checkpoint].iter().all(|byte| *byte == 1), "{checkpoint} and {rest}");
        assert!(whole[checkpoint..].iter().all(|byte| *byte == 2), "{checkpoint} and {rest}");
        bucket.remove(&key, &state).await.expect("remove");
    }
}

#[tokio::test]
async fn of_two_writers_in_memory_the_first_wins() {
    the_first_to_end_an_object_has_it(&bucket()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_at_s3_the_first_wins() {
    let moto = Moto::start("images");
    the_first_to_end_an_object_has_it(&at("s3://images/team", moto.environment())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_at_azure_the_first_wins() {
    let azurite = Azurite::start();
    azurite.make("images");
    the_first_to_end_an_object_has_it(&at("az://images/team", azurite.environment())).await;
}
