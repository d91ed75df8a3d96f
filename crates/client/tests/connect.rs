//! The client against small servers: TLS with and without trust, a daemon that is older, one that is not there.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dray_client::{Client, Endpoint, Error, Tls};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

/// Answers requests like a daemon that speaks 1.41 at most.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = vec![0; 8192];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
        let old = text.contains("/v1.41/") || text.contains("/_ping");
        let (status, body) = if old {
            ("200 OK", r#"{"Version":"old"}"#)
        } else {
            ("400 Bad Request", r#"{"message":"too new"}"#)
        };
        let body = if text.starts_with("HEAD") { "" } else { body };
        let answer =
            format!("HTTP/1.1 {status}\r\nApi-Version: 1.41\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Certificates {
        let dir = tempfile::tempdir().expect("a folder");
        let server = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        std::fs::write(dir.path().join("cert.pem"), server.cert.pem()).expect("write");
        std::fs::write(dir.path().join("key.pem"), server.signing_key.serialize_pem()).expect("write");
        let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        std::fs::write(dir.path().join("other.pem"), other.cert.pem()).expect("write");
        Certificates { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        let chain = rustls::pki_types::CertificateDer::pem_file_iter(self.path("cert.pem")).expect("pem");
        let key = PrivateKeyDer::from_pem_file(self.path("key.pem")).expect("key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain.map(|c| c.expect("cert")).collect(), key)
            .expect("config");
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
    }
}

async fn tls_server(certificates: &Certificates) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let acceptor = certificates.acceptor();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream).await;
                }
            });
        }
    });
    port
}

fn client(port: u16, ca: &Path, verify: bool) -> Client {
    let tls = Tls { ca: Some(ca.to_owned()), cert: None, key: None, verify };
    let endpoint = Endpoint::parse(&format!("tcp://localhost:{port}"), Some(tls)).expect("an address");
    Client::new(endpoint, None)
}

#[tokio::test]
async fn tls_checks_the_server() {
    let certificates = Certificates::new();
    let port = tls_server(&certificates).await;
    let trusted = client(port, &certificates.path("cert.pem"), true);
    assert_eq!(trusted.server_version().await.expect("an answer").version, "old");
    let stranger = client(port, &certificates.path("other.pem"), true);
    assert!(matches!(stranger.server_version().await, Err(Error::Connect { .. })));
    let careless = client(port, &certificates.path("other.pem"), false);
    assert!(careless.server_version().await.is_ok());
    let missing = client(port, Path::new("/nope/ca.pem"), true);
    let error = missing.server_version().await.expect_err("no file").to_string();
    assert!(error.starts_with("failed to load TLS file /nope/ca.pem"), "{error}");
}

#[tokio::test]
async fn an_older_daemon_is_spoken_to_in_its_version() {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).expect("bind");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let client = Client::new(Endpoint::unix(&socket), None);
    assert_eq!(client.server_version().await.expect("an answer").version, "old");
    assert_eq!(client.version(), "1.41");
    let fixed = Client::new(Endpoint::unix(&socket), Some("1.51".into()));
    assert!(matches!(fixed.server_version().await, Err(Error::Api { status: 400, .. })));
}

#[tokio::test]
async fn a_missing_daemon_is_named() {
    let client = Client::new(Endpoint::unix("/nope/s"), None);
    let error = client.server_version().await.expect_err("nobody there");
    assert!(error.is_no_daemon());
    let want = "Cannot connect to the Docker daemon at unix:///nope/s. Is the docker daemon running?";
    assert_eq!(error.to_string(), want);
}
