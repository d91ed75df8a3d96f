//! Pulls: whole, in part, on condition; over a connection that is kept.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fixture::{Fixture, large};

#[tokio::test]
async fn parts_and_conditions() {
    let f = Fixture::start().await;
    for length in [5000, 5_000_000] {
        let content = large(1, length);
        let digest = f.push_blob("a", content.clone()).await;
        let path = format!("/v2/a/blobs/{digest}");
        let head = f.request(Method::HEAD, &path, &[], "").await.expect(200);
        assert_eq!(head.header("content-length"), length.to_string());
        assert_eq!(head.header("accept-ranges"), "bytes");
        let part = f.request(Method::GET, &path, &[("range", "bytes=100-4099")], "").await.expect(206);
        assert_eq!(part.body, content.slice(100..4100));
        assert_eq!(part.header("content-range"), format!("bytes 100-4099/{length}"));
        let rest = f.request(Method::GET, &path, &[("range", "bytes=4990-")], "").await.expect(206);
        assert_eq!(rest.body, content.slice(4990..));
        let beyond = f.request(Method::GET, &path, &[("range", "bytes=5000000-")], "").await.expect(416);
        assert_eq!(beyond.header("content-range"), format!("bytes */{length}"));
        let tag = head.header("etag").to_owned();
        let same = f.request(Method::GET, &path, &[("if-none-match", &tag)], "").await.expect(304);
        assert!(same.body.is_empty());
        let ranged = [("range", "bytes=0-0"), ("if-range", tag.as_str())];
        assert_eq!(f.request(Method::GET, &path, &ranged, "").await.expect(206).body.len(), 1);
        let other = [("range", "bytes=0-0"), ("if-range", "\"sha256:0\"")];
        assert_eq!(f.request(Method::GET, &path, &other, "").await.expect(200).body.len(), length);
    }
}

/// Bytes of files, heads and small bodies must come in order when answers follow each other on one connection.
#[tokio::test]
async fn many_answers_on_one_connection() {
    let f = Fixture::start().await;
    let (big, small) = (large(1, 2_500_000), large(2, 100));
    let (of_big, of_small) = (f.push_blob("a", big.clone()).await, f.push_blob("a", small.clone()).await);
    let get = |digest: &dray_spec::Digest, more: &str| {
        format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: x\r\n{more}\r\n")
    };
    let mut requests = String::new();
    for _ in 0..4 {
        requests += &get(&of_big, "");
        requests += &get(&of_small, "");
        requests += &get(&of_big, "range: bytes=1000000-1999999\r\n");
        requests += &format!("HEAD /v2/a/blobs/{of_big} HTTP/1.1\r\nhost: x\r\n\r\n");
    }
    let mut stream = TcpStream::connect(f.address).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    for round in 0..16 {
        let (length, expected) = match round % 4 {
            0 => (big.len(), big.clone()),
            1 => (small.len(), small.clone()),
            2 => (1_000_000, big.slice(1_000_000..2_000_000)),
            _ => (big.len(), bytes::Bytes::new()),
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains(&format!("content-length: {length}\r\n")), "{head}");
        let mut body = vec![0; expected.len()];
        stream.read_exact(&mut body).await.unwrap();
        assert!(body == expected, "answer {round}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_harms_nobody() {
    let f = Fixture::start().await;
    let content = large(1, 20_000_000);
    let digest = f.push_blob("a", content.clone()).await;
    let path = format!("/v2/a/blobs/{digest}");
    for _ in 0..5 {
        let mut stream = TcpStream::connect(f.address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut some = [0; 10_000];
        stream.read_exact(&mut some).await.unwrap();
    }
    assert!(f.get(&path).await.expect(200).body == content);
}

#[tokio::test]
async fn an_object_that_is_lost_is_an_error_not_a_hang() {
    let f = Fixture::start().await;
    let digest = f.push_blob("a", large(1, 100_000)).await;
    for shard in std::fs::read_dir(f.data().join("blobs")).unwrap().flatten() {
        for object in std::fs::read_dir(shard.path()).unwrap().flatten() {
            std::fs::remove_file(object.path()).unwrap();
        }
    }
    f.get(&format!("/v2/a/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
}
