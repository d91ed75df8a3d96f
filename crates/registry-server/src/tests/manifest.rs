//! Manifests: kept as they came, refused when they lie, negotiated, conditional.

use dray_spec::Digest;
use http::Method;
use serde_json::json;

use super::fixture::{Fixture, INDEX, MANIFEST, image};

#[tokio::test]
async fn they_come_back_byte_for_byte() {
    let f = Fixture::start().await;
    f.push_blob("a", "{}").await;
    f.push_blob("a", "layer").await;
    let content = image("layer").replace(":{", ": {\n  ");
    let digest = Digest::sha256_of(content.as_bytes());
    let put = f.put_manifest("a", "v1", &format!("{MANIFEST}; charset=utf-8"), &content).await.expect(201);
    assert_eq!(put.header("location"), format!("/v2/a/manifests/{digest}"));
    for target in ["v1", digest.as_str()] {
        let got = f.get(&format!("/v2/a/manifests/{target}")).await.expect(200);
        assert_eq!((&got.body[..], got.header("content-type")), (content.as_bytes(), MANIFEST));
        assert_eq!(got.header("docker-content-digest"), digest.as_str());
        let head = f.request(Method::HEAD, &format!("/v2/a/manifests/{target}"), &[], "").await.expect(200);
        assert_eq!(head.header("content-length"), content.len().to_string());
    }
}

#[tokio::test]
async fn docker_s_own_kinds_are_taken() {
    let f = Fixture::start().await;
    let (config, layer) = (f.push_blob("a", "{}").await, f.push_blob("a", "layer").await);
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let of =
        |kind: &str, digest: &Digest, size: usize| json!({"mediaType": kind, "digest": digest, "size": size});
    let content = json!({
        "schemaVersion": 2, "mediaType": kind,
        "config": of("application/vnd.docker.container.image.v1+json", &config, 2),
        "layers": [of("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer, 5)],
    })
    .to_string();
    f.put_manifest("a", "v1", kind, &content).await.expect(201);
    let list_kind = "application/vnd.docker.distribution.manifest.list.v2+json";
    let mut child = of(kind, &Digest::sha256_of(content.as_bytes()), content.len());
    child["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let list = json!({"schemaVersion": 2, "mediaType": list_kind, "manifests": [child]}).to_string();
    f.put_manifest("a", "list", list_kind, &list).await.expect(201);
    let get = |accept: &'static str, target: &'static str| {
        let f = &f;
        async move {
            f.request(Method::GET, &format!("/v2/a/manifests/{target}"), &[("accept", accept)], "").await
        }
    };
    assert_eq!(get(list_kind_of(), "list").await.expect(200).body, list.as_bytes());
    // A client from before there were platforms gets the usual one's manifest.
    let old = get("application/vnd.docker.distribution.manifest.v2+json", "list").await.expect(200);
    assert_eq!((&old.body[..], old.header("content-type")), (content.as_bytes(), kind));
    get("application/vnd.oci.image.manifest.v1+json", "v1").await.refused(404, "MANIFEST_UNKNOWN");
}

const fn list_kind_of() -> &'static str {
    "application/vnd.docker.distribution.manifest.list.v2+json"
}

#[tokio::test]
async fn what_is_missing_is_listed() {
    let f = Fixture::start().await;
    f.push_blob("a", "{}").await;
    let answer =
        f.put_manifest("a", "v1", MANIFEST, &image("layer")).await.refused(404, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(answer.json()["errors"][0]["detail"]["digest"], json!(Digest::sha256_of(b"layer")));
    f.get("/v2/a/manifests/v1").await.refused(404, "MANIFEST_UNKNOWN");
    f.get("/v2/none/manifests/v1").await.refused(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn what_is_no_manifest_is_refused() {
    let f = Fixture::start().await;
    f.push_image("a", "v1", "layer").await;
    let good = image("layer");
    let both = good.replace("\"layers\"", "\"manifests\":[],\"layers\"");
    let size = good.replace("\"size\":5", "\"size\":6");
    let deep = "[".repeat(100_000);
    for (kind, content, code) in [
        (MANIFEST, "", "MANIFEST_INVALID"),
        (MANIFEST, "nonsense", "MANIFEST_INVALID"),
        (MANIFEST, "{}", "MANIFEST_INVALID"),
        (MANIFEST, "null", "MANIFEST_INVALID"),
        (MANIFEST, &deep, "MANIFEST_INVALID"),
        (MANIFEST, r#"{"schemaVersion":1}"#, "MANIFEST_INVALID"),
        (MANIFEST, &both, "MANIFEST_INVALID"),
        (MANIFEST, &size, "SIZE_INVALID"),
        (INDEX, &good, "MANIFEST_INVALID"),
        ("text/plain", &good, "MANIFEST_INVALID"),
    ] {
        f.put_manifest("a", "bad", kind, content).await.refused(400, code);
    }
    let other = Digest::sha256_of(b"other");
    f.put_manifest("a", other.as_str(), MANIFEST, &good).await.refused(400, "DIGEST_INVALID");
    let long = " ".repeat(9 * 1024 * 1024);
    f.put_manifest("a", "bad", MANIFEST, &long).await.refused(413, "MANIFEST_INVALID");
    f.get("/v2/a/manifests/bad").await.refused(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn several_tags_come_with_one_digest() {
    let f = Fixture::start().await;
    let digest = f.push_image("a", "v0", "layer").await;
    let target = format!("{digest}?tag=v1&tag=v2");
    let answer = f.put_manifest("a", &target, MANIFEST, &image("layer")).await.expect(201);
    assert_eq!(answer.header("oci-tag"), "v1, v2");
    f.put_manifest("a", &format!("{digest}?tag=.bad"), MANIFEST, &image("layer"))
        .await
        .refused(400, "MANIFEST_INVALID");
    assert_eq!(f.get("/v2/a/tags/list").await.expect(200).json()["tags"], json!(["v0", "v1", "v2"]));
}

#[tokio::test]
async fn conditions_keep_two_writers_apart() {
    let f = Fixture::start().await;
    let first = f.push_image("a", "v1", "one").await;
    f.push_blob("a", "two").await;
    let put = |headers: Vec<(&'static str, String)>, tag: &'static str| {
        let f = &f;
        async move {
            let mut all: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            all.push(("content-type", MANIFEST));
            f.request(Method::PUT, &format!("/v2/a/manifests/{tag}"), &all, image("two")).await
        }
    };
    put(vec![("if-none-match", "*".into())], "v1").await.expect(412);
    put(vec![("if-match", "\"sha256:0\"".into())], "v1").await.expect(412);
    put(vec![("if-match", "*".into())], "new").await.expect(412);
    put(vec![("if-match", format!("\"{first}\""))], "v1").await.expect(201);
    put(vec![("if-none-match", "*".into())], "new").await.expect(201);
    let tag = f.get("/v2/a/manifests/v1").await.header("etag").to_owned();
    let same = f.request(Method::GET, "/v2/a/manifests/v1", &[("if-none-match", &tag)], "").await.expect(304);
    assert!(same.body.is_empty());
}

#[tokio::test]
async fn what_an_image_needs_cannot_be_deleted() {
    let f = Fixture::start().await;
    let digest = f.push_image("a", "v1", "layer").await;
    let layer = Digest::sha256_of(b"layer");
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": MANIFEST, "digest": digest, "size": image("layer").len()}]})
    .to_string();
    f.put_manifest("a", "list", INDEX, &index).await.expect(201);
    f.delete(&format!("/v2/a/blobs/{layer}")).await.refused(405, "DENIED");
    f.delete(&format!("/v2/a/manifests/{digest}")).await.refused(405, "DENIED");
    f.delete("/v2/a/manifests/list").await.expect(202);
    f.delete("/v2/a/manifests/list").await.refused(404, "MANIFEST_UNKNOWN");
    f.delete(&format!("/v2/a/manifests/{}", Digest::sha256_of(index.as_bytes()))).await.expect(202);
    f.delete(&format!("/v2/a/manifests/{digest}")).await.expect(202);
    f.get("/v2/a/manifests/v1").await.refused(404, "MANIFEST_UNKNOWN");
    f.delete(&format!("/v2/a/blobs/{layer}")).await.expect(202);
    f.delete(&format!("/v2/a/blobs/{layer}")).await.refused(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn rules_bind_tags_and_deletion() {
    let f = Fixture::configured(json!({
        "immutable-tags": [{"repositories": ["prod/*"], "tags": ["v*"]}],
        "warnings": [{"repositories": ["prod/*"], "text": "this is production"}],
        "quotas": [{"prefix": "small", "bytes": 10}],
    }))
    .await;
    let digest = f.push_image("prod/app", "v1", "one").await;
    f.push_blob("prod/app", "two").await;
    f.put_manifest("prod/app", "v1", MANIFEST, &image("one")).await.expect(201);
    f.put_manifest("prod/app", "v1", MANIFEST, &image("two")).await.refused(403, "DENIED");
    f.put_manifest("prod/app", "latest", MANIFEST, &image("two")).await.expect(201);
    f.delete("/v2/prod/app/manifests/v1").await.refused(405, "DENIED");
    f.delete(&format!("/v2/prod/app/manifests/{digest}")).await.refused(405, "DENIED");
    f.delete("/v2/prod/app/manifests/latest").await.expect(202);
    let answer = f.get("/v2/prod/app/manifests/v1").await.expect(200);
    assert_eq!(answer.header("warning"), "299 - \"this is production\"");
    let path = format!("/v2/small/x/blobs/uploads/?digest={}", Digest::sha256_of(b"12345678901"));
    let answer = f.request(Method::POST, &path, &[], "12345678901").await.refused(403, "DENIED");
    assert!(answer.json()["errors"][0]["message"].as_str().unwrap().contains("quota of small, 10 bytes"));

    let f = Fixture::configured(json!({"no-delete": true})).await;
    f.push_image("a", "v1", "one").await;
    f.delete("/v2/a/manifests/v1").await.refused(405, "UNSUPPORTED");
}
