//! A registry that doesn't behave: each case gets an error that names the thing, or passes.

use std::time::{Duration, Instant};

use dray_spec::{Descriptor, Digest, media_type};

use super::{client, client_with, download, drain, file, reference, repository, silent};
use crate::testing::{Fault, Fixture, What};
use crate::{Auth, ClientConfig, Error, ErrorKind, Pace, Reason};

const LAYER: &str = media_type::OCI_LAYER_GZIP;
const MANIFEST: &str = media_type::OCI_MANIFEST;

#[tokio::test]
async fn errors_of_the_server_pass_when_they_are_few() {
    for status in [500, 502, 503, 504, 429] {
        let fixture = Fixture::start().await;
        fixture.put_manifest("a", Some("v1"), MANIFEST, b"{}");
        fixture.fault(Fault::on("/manifests/", What::status(status)).times(3));
        repository(&fixture, "a").manifest("v1").await.unwrap();
        assert_eq!(fixture.count("GET", "/manifests/"), 4, "{status}");
    }
}

#[tokio::test]
async fn errors_of_the_server_that_stay_are_told() {
    let fixture = Fixture::start().await;
    fixture.fault(Fault::on("/manifests/", What::status(503)));
    let error = repository(&fixture, "a").manifest("v1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Get \"http://{}/v2/a/manifests/v1\": unexpected status from registry: 503 Service Unavailable",
            fixture.host()
        )
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn retry_after_is_honoured_and_too_long_a_one_fails_at_once() {
    let fixture = Fixture::start().await;
    fixture.put_manifest("a", Some("v1"), MANIFEST, b"{}");
    let busy = |seconds: &str| What::Answer {
        status: 429,
        headers: vec![("retry-after".into(), seconds.into())],
        body: r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit"}]}"#
            .into(),
    };
    fixture.fault(Fault::on("/manifests/", busy("1")).times(1));
    let start = Instant::now();
    repository(&fixture, "a").manifest("v1").await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    fixture.fault(Fault::on("/manifests/", busy("3600")));
    let start = Instant::now();
    let error = repository(&fixture, "a").manifest("v1").await.unwrap_err();
    assert_eq!(error.to_string(), "toomanyrequests: You have reached your pull rate limit");
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn nonsense_is_shown_without_control_characters() {
    let fixture = Fixture::start().await;
    let nonsense =
        What::Answer { status: 404, headers: Vec::new(), body: "<html>\u{1b}[31m no \u{7}</html>".into() };
    fixture.fault(Fault::on("/manifests/", nonsense));
    let error = repository(&fixture, "a").manifest("v1").await.unwrap_err().to_string();
    assert!(error.ends_with("404 Not Found: <html> [31m no  </html>"), "{error:?}");
}

#[tokio::test]
async fn a_closed_connection_is_tried_again() {
    let fixture = Fixture::start().await;
    fixture.put_manifest("a", Some("v1"), MANIFEST, b"{}");
    fixture.fault(Fault::on("/manifests/", What::Close).times(2));
    repository(&fixture, "a").manifest("v1").await.unwrap();
    fixture.fault(Fault::on("/manifests/", What::Close));
    let error = repository(&fixture, "a").manifest("v1").await.unwrap_err();
    let url = format!("http://{}/v2/a/manifests/v1", fixture.host());
    assert_eq!(error.to_string(), format!("Get \"{url}\": unexpected EOF"));
}

#[tokio::test]
async fn manifest_of_another_digest_is_refused() {
    let fixture = Fixture::start().await;
    let asked = Digest::sha256_of(b"{}");
    fixture.put_false_manifest("a", asked.as_str(), MANIFEST, b"{ }");
    let error = repository(&fixture, "a").manifest(asked.as_str()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "digest mismatch for {}/a: asked for {asked}, received {}",
            fixture.host(),
            Digest::sha256_of(b"{ }")
        )
    );
}

#[tokio::test]
async fn the_digest_header_is_not_believed() {
    let fixture = Fixture::start().await;
    let put = fixture.put_manifest("a", Some("v1"), MANIFEST, b"{}");
    fixture.fault(Fault::on("/manifests/", What::FalseDigestHeader));
    assert_eq!(repository(&fixture, "a").manifest("v1").await.unwrap().digest, put.digest);
}

#[tokio::test]
async fn a_manifest_without_end_is_cut_off() {
    let fixture = Fixture::start().await;
    fixture.put_manifest("a", Some("v1"), MANIFEST, b"{}");
    fixture.fault(Fault::on("/manifests/", What::Endless));
    let error = repository(&fixture, "a").manifest("v1").await.unwrap_err();
    assert!(error.to_string().contains("body is longer than 4194304 bytes"), "{error}");
}

#[tokio::test]
async fn a_blob_without_end_is_cut_off_at_its_size() {
    let fixture = Fixture::start().await;
    let blob = fixture.put_blob("a", LAYER, &[1; 100_000]);
    fixture.fault(Fault::on("/blobs/", What::Endless));
    let (read, error) = download(&repository(&fixture, "a"), &blob, 0).await.unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { expected: 100_000, .. }), "{error}");
    assert!(error.to_string().contains(&format!("{}/a@{}", fixture.host(), blob.digest)));
    assert!(read.len() <= 100_000);
}

#[tokio::test]
async fn a_blob_of_another_length_fails_before_its_first_byte() {
    for what in [What::Longer(1), What::Shorter(1)] {
        let fixture = Fixture::start().await;
        let blob = fixture.put_blob("a", LAYER, &[1; 1000]);
        fixture.fault(Fault::on("/blobs/", what));
        let error = repository(&fixture, "a").blob(&blob, 0).await.unwrap_err();
        assert!(matches!(error, Error::SizeMismatch { expected: 1000, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_cut_stream_says_how_far_it_came_and_goes_on() {
    let fixture = Fixture::start().await;
    let content: Vec<u8> = (0..100_000u32).map(|n| (n / 7) as u8).collect();
    let blob = fixture.put_blob("a", LAYER, &content);
    fixture.fault(Fault::on("/blobs/", What::CutAfter(40_000)).times(1));
    let repository = repository(&fixture, "a");
    let (mut read, error) = download(&repository, &blob, 0).await.unwrap_err();
    assert!(matches!(error, Error::Interrupted { received: 40_000, expected: 100_000, .. }), "{error}");
    assert!(error.is_transient());
    read.extend(download(&repository, &blob, 40_000).await.unwrap());
    assert_eq!(read, content);
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_left() {
    let fixture = Fixture::start().await;
    let blob = fixture.put_blob("a", LAYER, &[1; 1000]);
    fixture.fault(Fault::on("/blobs/", What::Stall));
    let start = Instant::now();
    let (read, error) = download(&repository(&fixture, "a"), &blob, 0).await.unwrap_err();
    assert_eq!(read.len(), 500);
    assert!(error.to_string().ends_with("no data for 2 seconds"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(6));
}

#[tokio::test]
async fn a_registry_that_drips_bytes_is_left() {
    let fixture = Fixture::start().await;
    let blob = fixture.put_blob("a", LAYER, &[1; 100_000]);
    fixture.fault(Fault::on("/a/", What::Drip(Duration::from_millis(10))));
    let pace = Pace { least: 10_000, within: Duration::from_millis(300) };
    let client = client_with(ClientConfig { pace, ..ClientConfig::default() });
    let repository = client.repository(&reference(&fixture, "a"), &Auth::Anonymous).unwrap();
    let (read, error) = within_a_minute(download(&repository, &blob, 0)).await.unwrap_err();
    assert!((1..10_000).contains(&read.len()), "{} bytes", read.len());
    assert!(matches!(&error, Error::Interrupted { reason: Reason::Slow { .. }, .. }), "{error}");
    assert!(error.is_transient());
    // So is a document.
    fixture.put_manifest("a", Some("v1"), MANIFEST, &[b' '; 50_000]);
    let error = within_a_minute(repository.manifest("v1")).await.unwrap_err();
    assert!(matches!(&error, Error::Transport { reason: Reason::Slow { .. }, .. }), "{error}");
}

async fn within_a_minute<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("an end")
}

#[tokio::test]
async fn redirects_have_an_end() {
    let fixture = Fixture::start().await;
    let loop_ = What::redirect(302, "/v2/a/manifests/v1");
    fixture.fault(Fault::on("/manifests/", loop_));
    let error = repository(&fixture, "a").manifest("v1").await.unwrap_err();
    assert!(error.to_string().ends_with("stopped after 10 redirects"), "{error}");
    assert_eq!(fixture.count("GET", "/manifests/"), 11);
}

#[tokio::test]
async fn redirects_to_elsewhere_and_nowhere() {
    let fixture = Fixture::start().await;
    for target in ["file:///etc/passwd", "http://[", "ftp://x.test/"] {
        fixture.heal();
        fixture.fault(Fault::on("/manifests/", What::redirect(302, target)));
        let error = repository(&fixture, "a").manifest("v1").await.unwrap_err();
        assert!(error.to_string().contains("refused redirect"), "{target}: {error}");
    }
}

#[tokio::test]
async fn an_upload_goes_on_after_a_drop() {
    let fixture = Fixture::start().await;
    let content: Vec<u8> = (0..900_000u32).map(|n| (n / 3) as u8).collect();
    let (_folder, path) = file(&content);
    let blob = Descriptor::of(LAYER, &content);
    fixture.fault(Fault::on("/uploads/", What::CutAfter(300_000)).method("PATCH").times(2));
    repository(&fixture, "a").upload(None, &path, &blob, silent()).await.unwrap();
    assert_eq!(fixture.blob("a", &blob.digest).unwrap(), content);
    let sent: Vec<u64> = fixture.seen().iter().filter(|s| s.method == "PATCH").map(|s| s.body).collect();
    assert_eq!(sent, [300_000, 300_000, 300_000], "nothing is sent twice");
    assert_eq!(fixture.count("POST", "/uploads/"), 1);
}

#[tokio::test]
async fn an_upload_that_the_registry_forgot_begins_anew() {
    let fixture = Fixture::start().await;
    let content = vec![3u8; 50_000];
    let (_folder, path) = file(&content);
    let blob = Descriptor::of(LAYER, &content);
    let unknown = What::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    fixture.fault(Fault::on("/uploads/1", unknown));
    repository(&fixture, "a").upload(None, &path, &blob, silent()).await.unwrap();
    assert_eq!(fixture.blob("a", &blob.digest).unwrap(), content);
}

#[tokio::test]
async fn an_answer_to_the_commit_that_is_lost_is_found_out() {
    let fixture = Fixture::start().await;
    let content = vec![3u8; 50_000];
    let (_folder, path) = file(&content);
    let blob = Descriptor::of(LAYER, &content);
    fixture.fault(Fault::on("/uploads/", What::CutAfter(0)).method("PUT").times(1));
    repository(&fixture, "a").upload(None, &path, &blob, silent()).await.unwrap();
    assert_eq!(fixture.count("PATCH", "/uploads/"), 1);
}

#[tokio::test]
async fn an_upload_that_goes_on_by_a_few_bytes_each_time_is_given_up() {
    let fixture = Fixture::start().await;
    let content = vec![1; 10_000];
    let (_folder, path) = file(&content);
    let blob = Descriptor::of(LAYER, &content);
    fixture.fault(Fault::on("/uploads/", What::CutAfter(100)).method("PATCH"));
    assert!(repository(&fixture, "a").upload(None, &path, &blob, silent()).await.is_err());
    assert_eq!(fixture.count("PATCH", "/uploads/"), 4, "as often as is tried");
}

#[tokio::test]
async fn an_upload_that_never_gets_through_is_given_up() {
    let fixture = Fixture::start().await;
    let (_folder, path) = file(&[1; 1000]);
    let blob = Descriptor::of(LAYER, &[1; 1000]);
    fixture.fault(Fault::on("/uploads/", What::status(500)).method("PATCH"));
    let error = repository(&fixture, "a").upload(None, &path, &blob, silent()).await.unwrap_err();
    assert!(error.to_string().contains("500 Internal Server Error"), "{error}");
    assert!(fixture.count("PATCH", "/uploads/") <= 4);
    let denied = What::error(403, "DENIED", "requested access to the resource is denied");
    fixture.fault(Fault::on("/uploads/", denied).method("POST"));
    let error = repository(&fixture, "b").upload(None, &path, &blob, silent()).await.unwrap_err();
    assert_eq!(error.to_string(), "denied: requested access to the resource is denied");
}

#[tokio::test]
async fn a_list_of_tags_without_end_is_left() {
    let fixture = Fixture::start().await;
    let page = What::Answer {
        status: 200,
        headers: vec![("link".into(), "</v2/a/tags/list?n=1>; rel=\"next\"".into())],
        body: r#"{"name":"a","tags":["x"]}"#.into(),
    };
    fixture.fault(Fault::on("/tags/list", page));
    let error = repository(&fixture, "a").tags().await.unwrap_err();
    assert!(error.to_string().contains("its list of tags has no end"), "{error}");
    fixture.heal();
    let nonsense = What::Answer { status: 200, headers: Vec::new(), body: "[".into() };
    fixture.fault(Fault::on("/tags/list", nonsense));
    assert!(repository(&fixture, "a").tags().await.unwrap_err().to_string().contains("list of tags"));
    fixture.heal();
    let body = format!(r#"{{"tags":["{}","v1"]}}"#, "x".repeat(129));
    fixture.fault(Fault::on("/tags/list", What::Answer { status: 200, headers: Vec::new(), body }));
    assert_eq!(repository(&fixture, "a").tags().await.unwrap(), ["v1"], "what is too long is no tag");
}

#[tokio::test]
async fn a_small_blob_with_a_changed_byte_is_refused() {
    let fixture = Fixture::start().await;
    let blob = fixture.put_blob("a", media_type::OCI_CONFIG, b"{\"os\":\"linux\"}");
    fixture.fault(Fault::on("/blobs/", What::FlipByte));
    let error = repository(&fixture, "a").small_blob(&blob, 1000).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[tokio::test]
async fn ranges_that_lie() {
    let fixture = Fixture::start().await;
    let content = vec![7; 1000];
    let blob = fixture.put_blob("a", media_type::OCI_LAYER_GZIP, &content);
    let repository = repository(&fixture, "a");
    let range = |value: &str, length: usize| What::Answer {
        status: 206,
        headers: vec![("content-range".into(), value.into())],
        body: "x".repeat(length),
    };
    for (lie, words) in [
        (range("bytes 0-99/1000", 100), "another range than the one asked for"),
        (range("bytes 100-199/999", 100), "size mismatch for"),
        (range("bytes 100-199/1000", 90), "size mismatch for"),
        (range("bytes 100-199/1000", 110), "size mismatch for"),
        (range("nonsense", 100), "another range than the one asked for"),
    ] {
        fixture.heal();
        fixture.fault(Fault::on("/blobs/", lie));
        let error = drain(repository.blob_range(&blob, 100, 200).await).await.unwrap_err().1.to_string();
        assert!(error.contains(words), "{error}");
    }
    fixture.heal();
    assert_eq!(drain(repository.blob_range(&blob, 100, 200).await).await.unwrap().len(), 100);
    fixture.fault(Fault::on("/blobs/", What::IgnoreRange));
    let whole = repository.blob_range(&blob, 100, 200).await.unwrap();
    assert!(!whole.is_partial());
    assert_eq!(drain(Ok(whole)).await.unwrap().len(), 900);
}

#[tokio::test]
async fn an_upload_that_is_sent_elsewhere_takes_no_credentials_along() {
    let (fixture, elsewhere) = (Fixture::start().await, Fixture::start().await);
    fixture.guard(crate::testing::Guard::Basic { user: "ann".into(), password: "secret".into() });
    let target = format!("http://{}/v2/a/blobs/uploads/1", elsewhere.host());
    let away = What::Answer { status: 202, headers: vec![("location".into(), target)], body: String::new() };
    fixture.fault(Fault::on("/uploads/", away).method("POST"));
    let auth = Auth::Basic { user: "ann".into(), password: "secret".into() };
    let repository = client().repository(&reference(&fixture, "a"), &auth).unwrap();
    let (_folder, path) = file(b"layer");
    let blob = Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer");
    assert!(repository.upload(None, &path, &blob, silent()).await.is_err());
    assert!(!elsewhere.seen().is_empty());
    assert!(elsewhere.seen().iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test]
async fn lists_of_referrers_that_are_none() {
    let fixture = Fixture::start().await;
    fixture.referrers(true);
    let repository = repository(&fixture, "a");
    let subject = dray_spec::Digest::sha256_of(b"x");
    let answer = |headers: &[(&str, &str)], body: &str| What::Answer {
        status: 200,
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        body: body.to_owned(),
    };
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    for (lie, words) in [
        (answer(&[], "<html>"), "list of referrers: invalid manifest"),
        (
            answer(&[("content-type", media_type::OCI_MANIFEST)], r#"{"schemaVersion":2}"#),
            "list of referrers",
        ),
        (What::Endless, "longer than 4194304 bytes"),
        (What::error(403, "DENIED", "no"), "denied: no"),
    ] {
        fixture.heal();
        fixture.fault(Fault::on("/referrers/", lie));
        let error = repository.referrers(&subject, "t").await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    fixture.heal();
    // A list that leads to itself is left after as many entries as anybody has.
    let entry = format!(r#"{{"mediaType":"x","digest":"{subject}","size":1}}"#);
    let entries = vec![entry; 200].join(",");
    let page = index.replace("[]", &format!("[{entries}]"));
    let path = format!("</v2/a/referrers/{subject}>; rel=\"next\"");
    fixture.fault(Fault::on("/referrers/", answer(&[("link", &path)], &page)));
    let error = repository.referrers(&subject, "t").await.unwrap_err().to_string();
    assert!(error.contains("its list of referrers has no end"), "{error}");
    // One without any entry on its pages too.
    fixture.heal();
    fixture.fault(Fault::on("/referrers/", answer(&[("link", &path)], index)));
    let endless = repository.referrers(&subject, "t");
    let error =
        tokio::time::timeout(Duration::from_secs(60), endless).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("its list of referrers has no end"), "{error}");
}
