//! TLS: unknown authorities, authorities passed in, insecure registries, and no way from TLS to plain HTTP.

use std::sync::Arc;

use dray_spec::{Reference, media_type};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::client_with;
use crate::testing::{Fault, Fixture, What};
use crate::{Auth, ClientConfig};

/// A TLS front of a fixture, its port, and its certificate as PEM.
async fn tls_front(fixture: Arc<Fixture>) -> (u16, Vec<u8>) {
    let key = rcgen::generate_simple_self_signed(vec!["registry.test".into(), "127.0.0.1".into()]).unwrap();
    let pem = key.cert.pem().into_bytes();
    let secret = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], secret)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(socket).await {
                fixture.serve(stream);
            }
        }
    });
    (port, pem)
}

/// A proxy which brings any name to `port` of loopback, and how often it was asked.
pub(super) async fn proxy_to(port: u16) -> (u16, Arc<std::sync::Mutex<Vec<String>>>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let log = log.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await.unwrap());
                }
                log.lock().unwrap().push(String::from_utf8(head).unwrap());
                let mut target = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut socket, &mut target).await;
            });
        }
    });
    (own, asked)
}

#[tokio::test]
async fn through_a_proxy_to_a_registry_with_an_authority_passed_in() {
    let fixture = Arc::new(Fixture::start().await);
    fixture.put_manifest("a", Some("v1"), media_type::OCI_MANIFEST, b"{}");
    let (port, pem) = tls_front(fixture.clone()).await;
    let (proxy, asked) = proxy_to(port).await;
    let through = crate::ProxyConfig::new("", &format!("http://me:pw@localhost:{proxy}"), "");
    let reference = Reference::parse("registry.test/a").unwrap();
    let config = ClientConfig { proxy: through.clone(), ..ClientConfig::default() };
    let unknown = client_with(config).repository(&reference, &Auth::Anonymous).unwrap();
    assert_eq!(
        unknown.manifest("v1").await.unwrap_err().to_string(),
        "Get \"https://registry.test/v2/\": tls: failed to verify certificate: x509: \
         certificate signed by unknown authority"
    );
    let config = ClientConfig { proxy: through.clone(), ca_certs: vec![pem], ..ClientConfig::default() };
    let known = client_with(config).repository(&reference, &Auth::Anonymous).unwrap();
    known.manifest("v1").await.unwrap();
    let insecure = vec!["registry.test".parse().unwrap()];
    let config = ClientConfig { proxy: through, insecure, ..ClientConfig::default() };
    client_with(config).repository(&reference, &Auth::Anonymous).unwrap().manifest("v1").await.unwrap();
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|head| head.starts_with("CONNECT registry.test:443 HTTP/1.1\r\n")), "{asked:?}");
    assert!(asked.iter().all(|head| head.contains("Proxy-Authorization: Basic bWU6cHc=\r\n")), "{asked:?}");
}

#[tokio::test]
async fn a_loopback_registry_may_have_any_certificate() {
    let fixture = Arc::new(Fixture::start().await);
    fixture.put_manifest("a", Some("v1"), media_type::OCI_MANIFEST, b"{}");
    let (port, _) = tls_front(fixture.clone()).await;
    let reference = Reference::parse(&format!("127.0.0.1:{port}/a")).unwrap();
    let repository = client_with(ClientConfig::default()).repository(&reference, &Auth::Anonymous).unwrap();
    repository.manifest("v1").await.unwrap();
}

#[tokio::test]
async fn tls_is_never_left_by_a_redirect() {
    let fixture = Arc::new(Fixture::start().await);
    let (port, _) = tls_front(fixture.clone()).await;
    let target = format!("http://{}/v2/a/manifests/v1", fixture.host());
    fixture.fault(Fault::on("/manifests/", What::redirect(302, &target)));
    let reference = Reference::parse(&format!("127.0.0.1:{port}/a")).unwrap();
    let repository = client_with(ClientConfig::default()).repository(&reference, &Auth::Anonymous).unwrap();
    let error = repository.manifest("v1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Get \"https://127.0.0.1:{port}/v2/a/manifests/v1\": refused redirect to {target}: \
             it leads from https to http"
        )
    );
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 1024]).await;
            let _ = socket.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
        }
    });
    let proxy = crate::ProxyConfig::new("", &format!("http://localhost:{port}"), "");
    let client = client_with(ClientConfig { proxy, ..ClientConfig::default() });
    let reference = Reference::parse("registry.test/a").unwrap();
    let error = client.repository(&reference, &Auth::Anonymous).unwrap().manifest("v1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Get \"https://registry.test/v2/\": proxyconnect tcp: CONNECT registry.test:443: \
         HTTP/1.1 403 Forbidden"
    );
}
