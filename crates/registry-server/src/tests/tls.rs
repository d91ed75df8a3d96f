//! TLS and HTTP/2: many streams of one connection, and a certificate that is replaced under connected clients.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dray_spec::Digest;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fixture::{Fixture, MANIFEST, image, large};

/// Writes a new self-signed certificate for localhost, and gives it.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

async fn secured(folder: &Path) -> Fixture {
    let config = json!({ "tls-cert": folder.join("cert.pem"), "tls-key": folder.join("key.pem") });
    Fixture::configured(config).await
}

/// Shakes hands with a server whose certificate is this one.
async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// A connection of HTTP/2, which the server has chosen of what it was offered.
async fn speak_http2(f: &Fixture, trusted: &CertificateDer<'static>) -> SendRequest<Full<Bytes>> {
    let stream = connect(f.address, trusted, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: Method, path: &str, kind: Option<&str>, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    request.body(Full::new(body.into())).unwrap()
}

async fn read(answer: Response<Incoming>) -> Bytes {
    answer.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_of_one_connection_push_and_pull_at_once() {
    const STREAMS: u8 = 64;
    let folder = tempfile::tempdir().unwrap();
    let certificate = certify(folder.path());
    let f = secured(folder.path()).await;
    let sender = speak_http2(&f, &certificate).await;
    let mut streams = JoinSet::new();
    for n in 0..STREAMS {
        let mut sender = sender.clone();
        streams.spawn(async move {
            // Small ones and such as are files of their own, of several frames.
            let content = large(n, if n % 4 == 0 { 700_000 } else { 2_000 });
            let digest = Digest::sha256_of(&content);
            let push = format!("/v2/app{n}/blobs/uploads/?digest={digest}");
            let pushed =
                sender.send_request(request(Method::POST, &push, None, content.clone())).await.unwrap();
            assert_eq!(pushed.status(), StatusCode::CREATED);
            let path = format!("/v2/app{n}/blobs/{digest}");
            let pulled = sender.send_request(request(Method::GET, &path, None, "")).await.unwrap();
            assert_eq!((pulled.status(), pulled.version()), (StatusCode::OK, http::Version::HTTP_2));
            assert!(read(pulled).await == content, "stream {n}");
        });
    }
    while let Some(done) = streams.join_next().await {
        done.unwrap();
    }
    // A stream that is given up in the middle is no harm to the others.
    let mut sender = sender.clone();
    let content = large(1, 5_000_000);
    let digest = Digest::sha256_of(&content);
    let push = format!("/v2/app/blobs/uploads/?digest={digest}");
    sender.send_request(request(Method::POST, &push, None, content.clone())).await.unwrap();
    let path = format!("/v2/app/blobs/{digest}");
    for _ in 0..20 {
        let given_up = sender.send_request(request(Method::GET, &path, None, "")).await.unwrap();
        drop(given_up);
    }
    let pulled = sender.send_request(request(Method::GET, &path, None, "")).await.unwrap();
    assert!(read(pulled).await == content);
}

#[tokio::test]
async fn a_client_of_http_1_is_served_over_tls_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certify(folder.path());
    let f = secured(folder.path()).await;
    for offered in [&["http/1.1"][..], &[]] {
        let stream = connect(f.address, &certificate, offered).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request =
            Request::get("/v2/").header("host", "localhost").body(Full::<Bytes>::default()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, http::Version::HTTP_11));
    }
    let said = f.raw(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!said.contains("HTTP"), "nothing is said in the clear: {said}");
}

#[tokio::test]
async fn a_certificate_is_replaced_under_connected_clients() {
    let folder = tempfile::tempdir().unwrap();
    let first = certify(folder.path());
    let f = secured(folder.path()).await;
    let mut old = speak_http2(&f, &first).await;
    let digest = Digest::sha256_of(image("layer").as_bytes());
    for content in ["{}", "layer"] {
        let path = format!("/v2/app/blobs/uploads/?digest={}", Digest::sha256_of(content.as_bytes()));
        assert_eq!(
            old.send_request(request(Method::POST, &path, None, content)).await.unwrap().status(),
            201
        );
    }
    let second = certify(folder.path());
    f.server.refresh();
    assert!(connect(f.address, &first, &["h2"]).await.is_err(), "the former certificate is shown no more");
    let mut new = speak_http2(&f, &second).await;
    let put = request(Method::PUT, "/v2/app/manifests/v1", Some(MANIFEST), image("layer"));
    assert_eq!(old.send_request(put).await.unwrap().status(), 201, "who was connected stays so");
    let got = new.send_request(request(Method::GET, "/v2/app/manifests/v1", None, "")).await.unwrap();
    assert_eq!(got.headers()["docker-content-digest"], digest.as_str());
    // Half of a change, and nonsense, change nothing.
    std::fs::write(folder.path().join("cert.pem"), "nonsense").unwrap();
    f.server.refresh();
    speak_http2(&f, &second).await;
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), other.cert.pem()).unwrap();
    f.server.refresh();
    speak_http2(&f, &second).await;
    // The key that belongs to it makes it whole.
    std::fs::write(folder.path().join("key.pem"), other.signing_key.serialize_pem()).unwrap();
    f.server.refresh();
    speak_http2(&f, other.cert.der()).await;
}
