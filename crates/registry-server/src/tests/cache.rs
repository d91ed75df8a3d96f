//! Copies of other registries: fetched once, compared, given when the upstream is away, and evicted.

use bytes::Bytes;
use dray_registry::testing::{Fault, Fixture as Upstream, What};
use dray_spec::{Digest, media_type};
use http::Method;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::fixture::{Answer, Fixture, image, large};
use crate::cache::evict;
use crate::garbage::Ages;

/// A registry that copies the upstream under `up`, with this in its configuration.
async fn copying(upstream: &Upstream, ttl: &str, more: Value) -> Fixture {
    let registry = json!({ "url": format!("http://{}", upstream.host()) });
    let mut config = json!({ "upstreams": [{ "prefix": "up", "registry": registry, "ttl": ttl }] });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Fixture::configured(config).await
}

/// An image at the upstream whose one layer is `layer`.
fn put_image(upstream: &Upstream, repository: &str, tag: &str, layer: &str) -> Digest {
    upstream.put_blob(repository, "application/octet-stream", b"{}");
    upstream.put_blob(repository, "application/octet-stream", layer.as_bytes());
    let content = image(layer);
    upstream.put_manifest(repository, Some(tag), media_type::OCI_MANIFEST, content.as_bytes()).digest
}

async fn metric(f: &Fixture, name: &str) -> u64 {
    let text = f.get("/metrics").await.expect(200).body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_else(|| panic!("{name} in {text}"))
}

async fn asked(f: &Fixture, kind: &str, result: &str) -> u64 {
    metric(f, &format!("dray_registry_cache_requests_total{{kind=\"{kind}\",result=\"{result}\"}}")).await
}

#[tokio::test]
async fn what_was_fetched_once_is_there() {
    let upstream = Upstream::start().await;
    let layer = "layer ".repeat(20_000);
    let digest = put_image(&upstream, "team/app", "v1", &layer);
    let f = copying(&upstream, "1h", json!({})).await;
    for round in 0..2 {
        let got = f.get("/v2/up/team/app/manifests/v1").await.expect(200);
        assert_eq!(
            (got.header("docker-content-digest"), &got.body[..]),
            (digest.as_str(), image(&layer).as_bytes())
        );
        for content in ["{}", &layer] {
            let path = format!("/v2/up/team/app/blobs/{}", Digest::sha256_of(content.as_bytes()));
            let head = f.request(Method::HEAD, &path, &[], "").await.expect(200);
            assert_eq!(head.header("content-length"), content.len().to_string());
            assert_eq!(f.get(&path).await.expect(200).body, content.as_bytes(), "round {round}");
        }
        assert_eq!(f.get(&format!("/v2/up/team/app/manifests/{digest}")).await.expect(200).body, got.body);
        let tags = f.get("/v2/up/team/app/tags/list").await.expect(200).json();
        assert_eq!(tags, json!({"name": "up/team/app", "tags": ["v1"]}));
        settled(&f, layer.len() as u64 + 2).await;
        // From here on the upstream is not there any more.
        upstream.fault(Fault::on("", What::Close));
    }
    assert_eq!((upstream.count("GET", "/manifests/"), upstream.count("GET", "/blobs/")), (1, 2));
    assert_eq!((asked(&f, "manifest", "miss").await, asked(&f, "manifest", "hit").await), (1, 3));
    assert_eq!((asked(&f, "blob", "miss").await, asked(&f, "blob", "hit").await), (2, 4));
    assert_eq!(metric(&f, "dray_registry_cache_fetched_bytes_total").await, layer.len() as u64 + 2);
    f.get("/v2/up/team/app/manifests/v2").await.refused(502, "UNAVAILABLE");
    f.get("/v2/down/team/app/manifests/v1").await.refused(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn tags_follow_the_upstream_s_and_are_given_old_when_it_is_away() {
    let upstream = Upstream::start().await;
    let first = put_image(&upstream, "app", "v1", "first");
    let f = copying(&upstream, "0s", json!({})).await;
    let pull = async || f.get("/v2/up/app/manifests/v1").await;
    assert_eq!(pull().await.expect(200).header("docker-content-digest"), first.as_str());
    assert_eq!(pull().await.expect(200).header("docker-content-digest"), first.as_str());
    assert_eq!((upstream.count("GET", "/manifests/"), upstream.count("HEAD", "/manifests/")), (1, 1));
    assert_eq!(asked(&f, "manifest", "revalidated").await, 1);
    let second = put_image(&upstream, "app", "v1", "second");
    let moved = pull().await.expect(200);
    assert_eq!((moved.header("docker-content-digest"), moved.header("warning")), (second.as_str(), ""));
    upstream.fault(Fault::on("", What::Close));
    for _ in 0..2 {
        let stale = pull().await.expect(200);
        assert_eq!(stale.header("docker-content-digest"), second.as_str());
        assert_eq!(stale.header("warning"), "110 - \"Response is Stale\"");
    }
    assert_eq!(asked(&f, "manifest", "stale").await, 2);
}

#[tokio::test]
async fn what_the_upstream_has_no_more_goes_and_what_it_refuses_is_hidden() {
    let upstream = Upstream::start().await;
    put_image(&upstream, "app", "v1", "first");
    let f = copying(&upstream, "0s", json!({})).await;
    f.get("/v2/up/app/manifests/v1").await.expect(200);
    upstream.fault(Fault::on("/manifests/v1", What::error(404, "MANIFEST_UNKNOWN", "manifest unknown")));
    for _ in 0..2 {
        f.get("/v2/up/app/manifests/v1").await.refused(404, "MANIFEST_UNKNOWN");
    }
    assert_eq!(f.server.registry.metadata.tag_records(&"up/app".parse_name()).await.unwrap(), []);
    upstream.heal();
    upstream.fault(Fault::on("/manifests/", What::error(403, "DENIED", "no")));
    f.get("/v2/up/app/manifests/v1").await.refused(404, "NAME_UNKNOWN");
    f.get(&format!("/v2/up/app/blobs/{}", Digest::sha256_of(b"none"))).await.refused(404, "BLOB_UNKNOWN");
}

/// A name, for tests.
trait ParseName {
    fn parse_name(&self) -> crate::name::Repository;
}

impl ParseName for str {
    fn parse_name(&self) -> crate::name::Repository {
        crate::name::Repository::parse(self).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_at_once_share_a_fetch() {
    let upstream = Upstream::start().await;
    let content = large(3, 5_000_000);
    let digest = upstream.put_blob("app", "application/octet-stream", &content).digest;
    // The answer comes late, so all of them ask while it is on its way.
    upstream.fault(Fault::on(digest.as_str(), What::Delay(std::time::Duration::from_millis(800))));
    let f = std::sync::Arc::new(copying(&upstream, "1h", json!({})).await);
    let path = format!("/v2/up/app/blobs/{digest}");
    let mut clients = JoinSet::new();
    for client in 0..16_u64 {
        let (f, path, content) = (f.clone(), path.clone(), content.clone());
        clients.spawn(async move {
            let (range, expected) = match client % 4 {
                0 => (Some("bytes=0-9"), content.slice(..10)),
                1 => (Some("bytes=4999990-"), content.slice(4_999_990..)),
                2 => (Some("bytes=1000000-2999999"), content.slice(1_000_000..3_000_000)),
                _ => (None, content),
            };
            let headers: Vec<(&str, &str)> = range.into_iter().map(|range| ("range", range)).collect();
            let answer = f.request(Method::GET, &path, &headers, "").await;
            assert_eq!(answer.status.as_u16(), if range.is_some() { 206 } else { 200 });
            assert!(answer.body == expected, "client {client}");
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    assert_eq!(upstream.count("GET", digest.as_str()), 1);
    assert_eq!((asked(&f, "blob", "miss").await, asked(&f, "blob", "shared").await), (1, 15));
    assert_eq!(f.objects(), 1);
}

/// Opens a blob and gives its stream.
async fn open(f: &Fixture, path: &str) -> (http::HeaderMap, hyper::body::Incoming) {
    let stream = TcpStream::connect(f.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(path).header("host", "x").body(Empty::<Bytes>::new()).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    // The connection lives as long as its sender.
    tokio::spawn(async move {
        let _ = sender.ready().await;
        std::future::pending::<()>().await;
    });
    (head.headers, body)
}

#[tokio::test]
async fn a_blob_is_read_along_while_it_comes() {
    let upstream = Upstream::start().await;
    let content = large(5, 4_000_000);
    let digest = upstream.put_blob("app", "application/octet-stream", &content).digest;
    upstream.fault(Fault::on(digest.as_str(), What::Stall));
    let f = copying(&upstream, "1h", json!({})).await;
    let path = format!("/v2/up/app/blobs/{digest}");
    for _ in 0..2 {
        let (headers, mut body) = open(&f, &path).await;
        assert_eq!(headers["content-length"], "4000000");
        let mut read = Vec::new();
        while read.len() < 1_000_000 {
            let frame = body.frame().await.unwrap().unwrap();
            read.extend_from_slice(frame.data_ref().unwrap());
        }
        assert!(content.starts_with(&read), "before the upstream has sent the rest");
    }
    // What stalls for long is asked for again, from where it was.
    let seen = upstream.seen();
    let from_the_start =
        seen.iter().filter(|seen| seen.path.contains(digest.as_str()) && seen.range.is_none());
    assert_eq!(from_the_start.count(), 1);
}

#[tokio::test]
async fn a_fetch_that_breaks_off_goes_on_and_a_lie_leaves_nothing() {
    let upstream = Upstream::start().await;
    let content = large(7, 3_000_000);
    let digest = upstream.put_blob("app", "application/octet-stream", &content).digest;
    let f = copying(&upstream, "1h", json!({})).await;
    let path = format!("/v2/up/app/blobs/{digest}");
    upstream.fault(Fault::on(digest.as_str(), What::FlipByte).times(1));
    let (_, mut body) = open(&f, &path).await;
    let mut read = 0;
    let broken = loop {
        match body.frame().await {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(broken && read < content.len(), "nobody gets all of what is something else: {read}");
    upstream.fault(Fault::on(digest.as_str(), What::CutAfter(700_000)).times(2));
    assert!(f.get(&path).await.expect(200).body == content);
    let ranges: Vec<Option<String>> = upstream
        .seen()
        .into_iter()
        .filter(|seen| seen.path.contains(digest.as_str()))
        .map(|seen| seen.range)
        .collect();
    assert_eq!(ranges.len(), 4, "{ranges:?}");
    let collected =
        f.server.collector.round(&Ages { blobs: 1 << 40, uploads: 1 << 40, untagged: None }).await;
    collected.unwrap();
    assert_eq!(f.objects(), 1, "of the lie there is nothing");
    for (kind, content) in [("small", Bytes::from_static(b"small")), ("large", content)] {
        let digest = upstream.put_blob(kind, "application/octet-stream", &content).digest;
        upstream.remove_blob(kind, &digest);
        upstream.put_false_blob(kind, &digest, &vec![1; content.len()]);
        let path = format!("/v2/up/{kind}/blobs/{digest}");
        if kind == "small" {
            f.get(&path).await.refused(502, "UNAVAILABLE");
        } else {
            // It is here already; that it is here too is the upstream's to say.
            assert!(f.get(&path).await.expect(200).body == content);
        }
    }
}

#[tokio::test]
async fn nobody_pushes_to_a_copy() {
    let upstream = Upstream::start().await;
    let f = copying(&upstream, "1h", json!({})).await;
    let push = |path: &'static str, method: Method| f.request(method, path, &[], "{}");
    push("/v2/up/app/blobs/uploads/", Method::POST).await.refused(405, "UNSUPPORTED");
    let refused = push("/v2/up/app/manifests/v1", Method::PUT).await.refused(405, "UNSUPPORTED");
    let message = refused.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.ends_with(&format!("the repository is a copy of {}'s", upstream.host())), "{message}");
    f.push_image("own/app", "v1", "layer").await;
    assert_eq!(upstream.count("GET", "own"), 0);
}

/// Bytes of an image that `put_image` makes of a layer.
async fn pull(f: &Fixture, name: &str, layer: &str) -> Answer {
    let answer = f.get(&format!("/v2/up/{name}/manifests/v1")).await.expect(200);
    for content in ["{}", layer] {
        f.get(&format!("/v2/up/{name}/blobs/{}", Digest::sha256_of(content.as_bytes()))).await.expect(200);
    }
    answer
}

/// Waits until the copies hold so much: a client has the last byte before the blob is recorded.
async fn settled(f: &Fixture, bytes: u64) {
    while f.server.registry.metadata.usage("up").await.unwrap().bytes != bytes {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_too_much_goes_the_longest_unused_first() {
    let upstream = Upstream::start().await;
    let layers = ["a", "b", "c", "d"].map(|letter| letter.repeat(100_000));
    for (name, layer) in ["a", "b", "c", "d"].iter().zip(&layers) {
        put_image(&upstream, name, "v1", layer);
    }
    let f = copying(&upstream, "1h", json!({ "cache": { "bytes": 250_000 } })).await;
    let ages = Ages { blobs: 1 << 40, uploads: 1 << 40, untagged: None };
    f.push_image("own/app", "v1", &"o".repeat(900_000)).await;
    for (name, layer) in ["a", "b", "c"].iter().zip(&layers) {
        pull(&f, name, layer).await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    settled(&f, 3 * 100_002).await;
    assert_eq!(evict(&f.server.registry, &f.server.collector, &ages).await.unwrap(), 1);
    assert_eq!(f.objects(), 3, "two copies and our own");
    let catalog = f.get("/v2/_catalog").await.json();
    assert_eq!(catalog["repositories"], json!(["own/app", "up/b", "up/c"]));
    assert_eq!(evict(&f.server.registry, &f.server.collector, &ages).await.unwrap(), 0, "enough is enough");
    assert_eq!(metric(&f, "dray_registry_cache_evicted_manifests_total").await, 1);
    pull(&f, "b", &layers[1]).await;
    pull(&f, "a", &layers[0]).await;
    settled(&f, 3 * 100_002).await;
    let again = Digest::sha256_of(layers[0].as_bytes());
    assert_eq!(upstream.count("GET", again.as_str()), 2, "what went is fetched again");
    assert_eq!(evict(&f.server.registry, &f.server.collector, &ages).await.unwrap(), 1);
    let catalog = f.get("/v2/_catalog").await.json();
    assert_eq!(catalog["repositories"], json!(["own/app", "up/a", "up/b"]), "what was asked for stays");
}

#[tokio::test]
async fn what_nobody_asks_for_goes_with_its_index() {
    let upstream = Upstream::start().await;
    let child = put_image(&upstream, "app", "child", "layer");
    let size = image("layer").len();
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [
        { "mediaType": media_type::OCI_MANIFEST, "digest": child, "size": size, "platform": { "os": "linux", "architecture": "amd64" } },
    ]});
    upstream.put_manifest("app", Some("v1"), media_type::OCI_INDEX, index.to_string().as_bytes());
    let f = copying(&upstream, "1h", json!({ "cache": { "unused": "1s" } })).await;
    let ages = Ages { blobs: 0, uploads: 1 << 40, untagged: None };
    // A client that takes no index gets the manifest, which has to be brought for that.
    let accept = [("accept", media_type::OCI_MANIFEST)];
    let got = f.request(Method::GET, "/v2/up/app/manifests/v1", &accept, "").await.expect(200);
    assert_eq!(got.header("docker-content-digest"), child.as_str());
    f.get("/v2/up/app/manifests/v1").await.expect(200);
    assert_eq!(evict(&f.server.registry, &f.server.collector, &ages).await.unwrap(), 0);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(evict(&f.server.registry, &f.server.collector, &ages).await.unwrap(), 2);
    assert_eq!(f.get("/v2/_catalog").await.json()["repositories"], json!([]));
}

#[tokio::test]
async fn the_longest_prefix_says_whose_copy_it_is() {
    let (all, some) = (Upstream::start().await, Upstream::start().await);
    let at = |upstream: &Upstream| json!({ "url": format!("http://{}", upstream.host()) });
    let upstreams = json!([{ "registry": at(&all) }, { "prefix": "some/of", "registry": at(&some) }]);
    let f = Fixture::configured(json!({ "upstreams": upstreams })).await;
    let (one, other) = (put_image(&all, "some/app", "v1", "one"), put_image(&some, "app", "v1", "other"));
    for (path, digest) in [("some/app", one), ("some/of/app", other)] {
        let got = f.get(&format!("/v2/{path}/manifests/v1")).await.expect(200);
        assert_eq!(got.header("docker-content-digest"), digest.as_str());
    }
}
