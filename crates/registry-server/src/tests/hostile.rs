//! Requests that no client of good will sends: each gets an answer or a closed connection, and the server goes on.

use super::fixture::Fixture;

#[tokio::test]
async fn it_goes_on() {
    let f = Fixture::start().await;
    let digest = f.push_blob("a", super::fixture::large(1, 100_000)).await;
    let upload = |more: &str| format!("POST /v2/a/blobs/uploads/ HTTP/1.1\r\nhost: x\r\n{more}\r\n\r\n");
    let long = "a".repeat(20_000);
    for request in [
        "nonsense\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".into(),
        "GET /v2/../../../../etc/passwd HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        "GET /v2/%2e%2e/%2e%2e/blobs/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        "GET /v2/a/blobs/%00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        format!("GET /v2/{long}/tags/list HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nhost: x\r\nx-long: {long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}{long}\r\n\r\n"),
        upload("content-length: -5\r\nconnection: close"),
        upload("content-length: 5\r\ncontent-length: 6\r\nconnection: close"),
        upload("transfer-encoding: chunked\r\nconnection: close") + "zz\r\n",
        upload("transfer-encoding: chunked\r\nconnection: close") + "ffffffffffffffffff\r\n",
        format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: x\r\nrange: bytes=18446744073709551615-18446744073709551616\r\nconnection: close\r\n\r\n"),
        format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: x\r\nrange: bytes=-18446744073709551616\r\nconnection: close\r\n\r\n"),
        "GET /v2/_catalog?n=99999999999999999999999 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        "GET /v2/_catalog?last=%ff%fe%00&n=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        "GET /v2/a/tags/list?last='%3B+DROP+TABLE+tag%3B--&n=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        "GET /token?scope=%00&scope=:::::&account=x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        "GET /v2/ HTTP/1.1\r\nhost: x\r\nauthorization: Basic \u{ff}\r\nconnection: close\r\n\r\n".into(),
    ] {
        let answer = f.raw(request.as_bytes()).await;
        let first = answer.lines().next().unwrap_or_default();
        assert!(!first.contains(" 500 "), "{}: {answer}", request.chars().take(200).collect::<String>());
    }
    f.get("/readyz").await.expect(200);
    assert_eq!(f.get(&format!("/v2/a/blobs/{digest}")).await.expect(200).body.len(), 100_000);
}

#[tokio::test]
async fn a_second_server_stays_off_the_data() {
    let f = Fixture::start().await;
    let place = crate::config::Place { data_root: Some(f.data()), ..crate::config::Place::default() };
    let flags = crate::config::ServeFlags { place, ..Default::default() };
    let config = crate::config::Config::load(flags).unwrap();
    let error = crate::serve::Server::open(&config).await.err().unwrap().to_string();
    assert!(error.ends_with("is in use by another process"), "{error}");
}
