//! The server over real sockets: versions, takeovers of both styles, TLS, stopping.

use std::path::Path;

use axum::extract::State;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::error::{ApiError, ApiResult};
use crate::extract::Json;
use crate::hijack::{Hijack, HijackedStream};
use crate::listener::{Host, TcpTrust};

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Start {
    #[serde(rename = "Detach")]
    detach: bool,
}

async fn echo(mut stream: HijackedStream) {
    let mut bytes = [0; 64];
    while let Ok(n) = stream.read(&mut bytes).await {
        if n == 0 {
            break;
        }
        stream.write_all(&bytes[..n].to_ascii_uppercase()).await.unwrap();
    }
    stream.write_all(b"bye").await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn attach(
    State(known): State<&'static str>,
    path: axum::extract::Path<String>,
    hijack: Hijack,
) -> ApiResult {
    if path.0 != known {
        return Err(ApiError::not_found(format!("No such container: {}", path.0)));
    }
    Ok(hijack.start(true, echo))
}

async fn start(hijack: Hijack, Json(body): Json<Start>) -> ApiResult {
    Ok(if body.detach { ().into_response() } else { hijack.start(false, echo) })
}

fn routes() -> Router {
    Router::new()
        .route("/_ping", get(|| async { "OK" }))
        .route("/containers/{id}/attach", post(attach))
        .route("/exec/{id}/start", post(start))
        .fallback(async || ApiError::not_found("page not found"))
        .with_state("abc")
}

async fn serve(dir: &Path) -> (std::path::PathBuf, CancellationToken, tokio::task::JoinHandle<()>) {
    let path = dir.join("s");
    let listener =
        Listener::open(&Host::Unix(path.clone()), None, TcpTrust::Refused).await.unwrap().remove(0);
    let stop = CancellationToken::new();
    let server = Server::new(routes(), stop.clone());
    let task = tokio::spawn(async move {
        server.serve(&listener, None).await.unwrap();
        server.drain(Duration::from_secs(5)).await;
    });
    (path, stop, task)
}

/// Sends the request, closes the sending side and returns everything that comes.
async fn talk(path: &Path, request: &str, then: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while !answer.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "closed before the head ended: {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&chunk[..n]);
    }
    stream.write_all(then.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn versions_paths_and_headers() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ..) = serve(dir.path()).await;
    let get = async |target: &str| {
        talk(&path, &format!("GET {target} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"), "").await
    };
    let pong = get("/v1.44/_ping").await;
    assert!(pong.starts_with("HTTP/1.1 200 OK\r\n") && pong.ends_with("\r\n\r\nOK"), "{pong}");
    for header in
        ["api-version: 1.51\r\n", "ostype: linux\r\n", "docker-experimental: false\r\n", "server: Dray/"]
    {
        assert!(pong.contains(header), "{pong}");
    }
    assert!(get("/nope").await.ends_with("{\"message\":\"page not found\"}\n"));
    let old = get("/v1.20/_ping").await;
    assert!(old.starts_with("HTTP/1.1 400") && old.contains("client version 1.20 is too old."), "{old}");
    let new = get("/v1.99/_ping").await;
    assert!(new.contains("{\"message\":\"client version 1.99 is too new."), "{new}");
}

#[tokio::test]
async fn hijack_by_upgrade() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ..) = serve(dir.path()).await;
    let attach = |version: &str| {
        format!(
            "POST {version}/containers/abc/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
    };
    let answer = talk(&path, &attach("/v1.51"), "hello").await;
    assert!(answer.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/vnd.docker.multiplexed-stream\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nHELLObye"), "{answer}");
    let old = talk(&path, &attach("/v1.41"), "").await;
    assert!(old.contains("content-type: application/vnd.docker.raw-stream\r\n"), "{old}");
}

#[tokio::test]
async fn hijack_of_old_clients() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ..) = serve(dir.path()).await;
    let answer = talk(&path, "POST /v1.24/containers/abc/attach HTTP/1.1\r\nHost: d\r\n\r\nhe", "llo").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && !answer.contains("chunked"), "{answer}");
    assert!(answer.contains("content-type: application/vnd.docker.raw-stream\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nHELLObye"), "{answer}");

    let body = r#"{"Tty":true}"#;
    let exec = format!(
        "POST /exec/e/start HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(talk(&path, &exec, "x").await.ends_with("\r\n\r\nXbye"));
}

#[tokio::test]
async fn takeovers_that_end_otherwise_are_plain_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ..) = serve(dir.path()).await;
    let missing = talk(&path, "POST /containers/zz/attach HTTP/1.1\r\nHost: d\r\n\r\n", "").await;
    assert!(missing.starts_with("HTTP/1.1 404 Not Found\r\n"), "{missing}");
    assert!(missing.ends_with("\r\n\r\n{\"message\":\"No such container: zz\"}\n"), "{missing}");
    let body = r#"{"Detach":true}"#;
    let exec = format!(
        "POST /exec/e/start HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let detached = talk(&path, &exec, "").await;
    assert!(
        detached.starts_with("HTTP/1.1 200 OK\r\n") && detached.contains("content-length: 0"),
        "{detached}"
    );
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_read_before_the_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ..) = serve(dir.path()).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let head = "POST /nope HTTP/1.1\r\nHost: d\r\nContent-Length: 4\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stream.write_all(b"body").await.unwrap();
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut both = String::new();
    stream.read_to_string(&mut both).await.unwrap();
    assert!(both.starts_with("HTTP/1.1 404 Not Found\r\n") && both.ends_with("\r\n\r\nOK"), "{both}");
}

#[tokio::test]
async fn stops_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let (path, stop, task) = serve(dir.path()).await;
    let idle = UnixStream::connect(&path).await.unwrap();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(3), task).await.unwrap().unwrap();
    assert!(!path.exists());
    drop(idle);
}

mod tls {
    use std::path::PathBuf;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

    use super::*;
    use crate::tls::{TlsError, TlsFiles};

    struct Pki {
        files: TlsFiles,
        client_cert: PathBuf,
        client_key: PathBuf,
    }

    fn pki(dir: &Path) -> Pki {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let write = |name: &str, text: String| {
            std::fs::write(dir.join(name), text).unwrap();
            dir.join(name)
        };
        let issue = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let cert = params.signed_by(&key, &ca).unwrap();
            (
                write(&format!("{name}.pem"), cert.pem()),
                write(&format!("{name}-key.pem"), key.serialize_pem()),
            )
        };
        let (cert, key) = issue("server");
        let (client_cert, client_key) = issue("client");
        Pki { files: TlsFiles { ca: write("ca.pem", ca.pem()), cert, key }, client_cert, client_key }
    }

    async fn ping(
        address: std::net::SocketAddr,
        pki: &Pki,
        with_certificate: bool,
    ) -> std::io::Result<String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&pki.files.ca).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = if with_certificate {
            let chain = vec![CertificateDer::from_pem_file(&pki.client_cert).unwrap()];
            config
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&pki.client_key).unwrap())
                .unwrap()
        } else {
            config.with_no_client_auth()
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let tcp = tokio::net::TcpStream::connect(address).await?;
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await?;
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn only_clients_with_a_certificate_get_in() {
        let dir = tempfile::tempdir().unwrap();
        let pki = pki(dir.path());
        let listener = Listener::open(&Host::Tcp("127.0.0.1:0".into()), None, TcpTrust::MutualTls)
            .await
            .unwrap()
            .remove(0);
        let Listener::Tcp(socket) = &listener else { panic!() };
        let address = socket.local_addr().unwrap();
        let acceptor = pki.files.acceptor(true).unwrap();
        let server = Server::new(routes(), CancellationToken::new());
        tokio::spawn(async move { server.serve(&listener, Some(acceptor)).await });

        assert!(ping(address, &pki, true).await.unwrap().ends_with("OK"));
        let refused = ping(address, &pki, false).await;
        assert!(refused.as_ref().map_or(true, String::is_empty), "{refused:?}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut pki = pki(dir.path());
        pki.files.key = "/nonexistent/key.pem".into();
        let Err(error) = pki.files.acceptor(true) else { panic!("a key that is not there was accepted") };
        assert!(matches!(error, TlsError::Read { .. }) && error.to_string().contains("/nonexistent/key.pem"));
    }
}
