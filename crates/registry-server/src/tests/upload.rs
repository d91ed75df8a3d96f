//! Uploads: every way in, resumed after every loss.

use bytes::Bytes;
use dray_spec::{Digest, Hasher};
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fixture::{Fixture, large};

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

async fn begin(f: &Fixture, repository: &str) -> String {
    let answer =
        f.request(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], "").await.expect(202);
    assert_eq!(answer.header("range"), "0-0");
    answer.header("location").to_owned()
}

async fn pulled(f: &Fixture, repository: &str, digest: &Digest) -> Bytes {
    f.get(&format!("/v2/{repository}/blobs/{digest}")).await.expect(200).body
}

#[tokio::test]
async fn small_and_large_blobs_come_in_every_way() {
    let f = Fixture::start().await;
    for (seed, length) in [(1, 0), (2, 1), (3, 16 * 1024), (4, 16 * 1024 + 1), (5, 3_000_000)] {
        let content = large(seed, length);
        let digest = Digest::sha256_of(&content);
        let close = |location: &str| format!("{location}?digest={digest}");
        // One request.
        let path = format!("/v2/one/blobs/uploads/?digest={digest}");
        let answer = f.request(Method::POST, &path, &[OCTETS], content.clone()).await.expect(201);
        assert_eq!(answer.header("docker-content-digest"), digest.as_str());
        assert_eq!(answer.header("location"), format!("/v2/one/blobs/{digest}"));
        // Two requests.
        let location = begin(&f, "two").await;
        f.request(Method::PUT, &close(&location), &[OCTETS], content.clone()).await.expect(201);
        // A stream.
        let location = begin(&f, "stream").await;
        let answer = f.request(Method::PATCH, &location, &[OCTETS], content.clone()).await.expect(202);
        assert_eq!(answer.header("range"), format!("0-{}", length.saturating_sub(1)));
        f.request(Method::PUT, &close(&location), &[], "").await.expect(201);
        // Chunks, the last with the end.
        let location = begin(&f, "chunks").await;
        let cut = [0, length / 3, length / 2, length];
        for (at, window) in cut.windows(2).enumerate() {
            let chunk = content.slice(window[0]..window[1]);
            let range = format!("{}-{}", window[0], window[1].saturating_sub(1));
            let ranged = [OCTETS, ("content-range", range.as_str())];
            let headers = if chunk.is_empty() { &ranged[..1] } else { &ranged[..] };
            match at {
                2 => f.request(Method::PUT, &close(&location), headers, chunk).await.expect(201),
                _ => f.request(Method::PATCH, &location, headers, chunk).await.expect(202),
            };
        }
        for repository in ["one", "two", "stream", "chunks"] {
            assert_eq!(pulled(&f, repository, &digest).await, content, "{repository}, {length} bytes");
        }
    }
    f.server.collector.round(&super::garbage::KEEP).await.unwrap();
    assert_eq!(f.objects(), 2, "two are too large for the metadata; each is there once");
}

#[tokio::test]
async fn a_chunk_out_of_order_is_refused_and_says_where_to_go_on() {
    let f = Fixture::start().await;
    let location = begin(&f, "a").await;
    f.request(Method::PATCH, &location, &[("content-range", "0-4")], "hello").await.expect(202);
    for (range, body) in [("0-4", "hello"), ("7-8", "ab")] {
        let answer = f.request(Method::PATCH, &location, &[("content-range", range)], body).await;
        let answer = answer.refused(416, "BLOB_UPLOAD_INVALID");
        assert_eq!((answer.header("range"), answer.header("location")), ("0-4", location.as_str()));
    }
    f.request(Method::PATCH, &location, &[("content-range", "5-6")], "abc")
        .await
        .refused(400, "SIZE_INVALID");
    f.request(Method::PATCH, &location, &[("content-range", "x")], "a")
        .await
        .refused(400, "BLOB_UPLOAD_INVALID");
    let status = f.get(&location).await.expect(204);
    assert_eq!((status.header("range"), status.header("location")), ("0-4", location.as_str()));
}

#[tokio::test]
async fn other_bytes_than_promised_are_refused_and_leave_nothing() {
    let f = Fixture::start().await;
    let digest = Digest::sha256_of(b"something else");
    for content in [large(1, 10), large(1, 100_000)] {
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        f.request(Method::POST, &path, &[], content.clone()).await.refused(400, "DIGEST_INVALID");
        let location = begin(&f, "a").await;
        f.request(Method::PATCH, &location, &[], content).await.expect(202);
        let close = format!("{location}?digest={digest}");
        f.request(Method::PUT, &close, &[], "").await.refused(400, "DIGEST_INVALID");
        f.get(&location).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    f.get(&format!("/v2/a/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
    f.server.collector.round(&super::garbage::KEEP).await.unwrap();
    assert_eq!(f.objects(), 0);
}

#[tokio::test]
async fn digests_that_are_none_are_named() {
    let f = Fixture::start().await;
    let location = begin(&f, "a").await;
    for digest in ["", "sha256:x", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        f.request(Method::PUT, &format!("{location}?digest={digest}"), &[], "")
            .await
            .refused(400, "DIGEST_INVALID");
    }
    f.request(Method::POST, "/v2/a/blobs/uploads/?digest-algorithm=md5", &[], "")
        .await
        .refused(400, "DIGEST_INVALID");
    f.request(Method::POST, "/v2/a/blobs/uploads/?mount=x&from=b", &[], "")
        .await
        .refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn another_algorithm_is_known_at_the_end_at_the_latest() {
    let f = Fixture::start().await;
    for length in [100, 500_000] {
        let content = large(9, length);
        let mut hasher = Hasher::like(&format!("sha512:{}", "0".repeat(128)).parse().unwrap());
        hasher.update(&content);
        let digest = hasher.finish();
        for start in ["/v2/a/blobs/uploads/", "/v2/a/blobs/uploads/?digest-algorithm=sha512"] {
            let location =
                f.request(Method::POST, start, &[], "").await.expect(202).header("location").to_owned();
            f.request(Method::PATCH, &location, &[], content.clone()).await.expect(202);
            f.request(Method::PUT, &format!("{location}?digest={digest}"), &[], "").await.expect(201);
        }
        assert_eq!(pulled(&f, "a", &digest).await, content);
    }
}

#[tokio::test]
async fn an_upload_outlives_the_server() {
    let mut f = Fixture::start().await;
    let content = large(3, 5_000_000);
    let digest = Digest::sha256_of(&content);
    let location = begin(&f, "a").await;
    let mut at = 0;
    for next in [10, 10_000, 20_000, 2_000_000, 4_999_999] {
        f.request(Method::PATCH, &location, &[], content.slice(at..next)).await.expect(202);
        at = next;
        f = f.restarted().await;
        assert_eq!(f.get(&location).await.expect(204).header("range"), format!("0-{}", at - 1));
    }
    f.request(Method::PUT, &format!("{location}?digest={digest}"), &[], content.slice(at..))
        .await
        .expect(201);
    f = f.restarted().await;
    assert_eq!(pulled(&f, "a", &digest).await, content);
}

#[tokio::test]
async fn what_came_before_a_connection_broke_is_kept() {
    let f = Fixture::start().await;
    let content = large(3, 4_000_000);
    let digest = Digest::sha256_of(&content);
    let location = begin(&f, "a").await;
    let mut stream = TcpStream::connect(f.address).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", content.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&content[..3_000_000]).await.unwrap();
    drop(stream);
    // Who asks waits until the broken body has been recorded.
    let range = f.get(&location).await.expect(204).header("range").to_owned();
    let at: usize = range.strip_prefix("0-").unwrap().parse::<usize>().unwrap() + 1;
    assert!(at > 1 && at <= 3_000_000, "{range}");
    let close = format!("{location}?digest={digest}");
    f.request(Method::PUT, &close, &[], content.slice(at..)).await.expect(201);
    assert_eq!(pulled(&f, "a", &digest).await, content);
}

#[tokio::test]
async fn a_new_request_takes_over_from_a_hung_one() {
    let f = Fixture::start().await;
    let location = begin(&f, "a").await;
    let mut hung = TcpStream::connect(f.address).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhello");
    hung.write_all(head.as_bytes()).await.unwrap();
    // The five bytes may still be on their way when the next request takes over.
    let mut range = String::new();
    while range != "0-4" {
        range = f.get(&location).await.expect(204).header("range").to_owned();
        if range != "0-4" {
            hung = TcpStream::connect(f.address).await.unwrap();
            hung.write_all(head.as_bytes()).await.unwrap();
        }
    }
    let mut answer = String::new();
    let _ = hung.read_to_string(&mut answer).await;
    let digest = Digest::sha256_of(b"hello world");
    f.request(Method::PUT, &format!("{location}?digest={digest}"), &[], " world").await.expect(201);
}

#[tokio::test]
async fn a_chunk_out_of_order_that_never_ends_keeps_nobody_away() {
    let f = Fixture::start().await;
    let location = begin(&f, "a").await;
    let mut hung = TcpStream::connect(f.address).await.unwrap();
    let head = "content-range: 50-149\r\ncontent-length: 100\r\n\r\nhello";
    hung.write_all(format!("PATCH {location} HTTP/1.1\r\nhost: x\r\n{head}").as_bytes()).await.unwrap();
    // Until the server reads on to the end of it.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let next = f.request(Method::PATCH, &location, &[], "hello");
    let next = tokio::time::timeout(std::time::Duration::from_secs(5), next).await;
    next.expect("nobody waits for the other").expect(202);
}

#[tokio::test]
async fn an_upload_that_no_quota_has_room_for_ends_before_its_end() {
    let f = Fixture::configured(json!({"quotas": [{"prefix": "small", "bytes": 3_000_000}]})).await;
    let location = begin(&f, "small/a").await;
    let mut stream = TcpStream::connect(f.address).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
    let (mut from, mut to) = stream.split();
    let endless = async {
        while to.write_all(&chunk).await.is_ok() {}
        // It was cut off: what matters is the answer.
        std::future::pending::<()>().await;
    };
    let mut answer = [0; 12];
    tokio::select! {
        () = endless => {}
        read = from.read_exact(&mut answer) => assert_eq!(read.unwrap(), 12),
    }
    assert_eq!(&answer, b"HTTP/1.1 403");
    f.get(&location).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    f.server.collector.round(&super::garbage::KEEP).await.unwrap();
    assert_eq!(f.objects(), 0);
}

#[tokio::test]
async fn an_upload_can_be_given_up() {
    let f = Fixture::start().await;
    let location = begin(&f, "a").await;
    f.request(Method::PATCH, &location, &[], large(1, 100_000)).await.expect(202);
    assert_eq!(f.objects(), 1);
    f.delete(&location).await.expect(204);
    f.delete(&location).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    f.request(Method::PATCH, &location, &[], "x").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    f.server.collector.round(&super::garbage::KEEP).await.unwrap();
    assert_eq!(f.objects(), 0);
    let other = location.replace("/v2/a/", "/v2/b/");
    f.get(&other).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_mount_moves_no_bytes() {
    let f = Fixture::start().await;
    let content = large(1, 200_000);
    let digest = f.push_blob("from", content.clone()).await;
    let mount = |to: &str, from: &str| format!("/v2/{to}/blobs/uploads/?mount={digest}{from}");
    f.request(Method::POST, &mount("to", "&from=from"), &[], "").await.expect(201);
    f.request(Method::POST, &mount("anon", ""), &[], "").await.expect(201);
    f.request(Method::POST, &mount("not", "&from=elsewhere"), &[], "").await.expect(202);
    f.request(Method::POST, &mount("not", "&from=BAD"), &[], "").await.refused(400, "NAME_INVALID");
    assert_eq!(f.objects(), 1);
    for repository in ["to", "anon"] {
        assert_eq!(pulled(&f, repository, &digest).await, content);
    }
    f.get(&format!("/v2/not/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
}
