//! Exchanges with the public registries as they go over the wire, played back: each request must be the
//! recorded one, in order, to the recorded host, with the recorded credentials and no others.
//!
//! A recording is a file of blocks: `> METHOD URL`, request headers that must be there (`> -name` for one that
//! must not), `< STATUS`, answer headers, then the body up to the next request.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dray_spec::{Descriptor, Reference, media_type};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::tls::proxy_to;
use super::{client_with, download, file, silent};
use crate::{Auth, Client, ClientConfig, ErrorKind, ProxyConfig};

/// One request and its answer.
#[derive(Debug, Clone, Default)]
struct Exchange {
    method: String,
    url: String,
    wanted: Vec<(String, String)>,
    unwanted: Vec<String>,
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

fn parse(text: &str) -> Vec<Exchange> {
    let mut all: Vec<Exchange> = Vec::new();
    let pair = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a header");
        (name.to_ascii_lowercase(), value.to_owned())
    };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let asks = line.strip_prefix("> ");
        let first = asks.and_then(|rest| rest.split_once(' ')).filter(|(_, url)| url.starts_with("https://"));
        if let Some((method, url)) = first {
            all.push(Exchange { method: method.into(), url: url.into(), ..Exchange::default() });
            continue;
        }
        let Some(now) = all.last_mut() else { continue };
        match (asks, line.strip_prefix("< ")) {
            (Some(asks), _) => match asks.strip_prefix('-') {
                Some(name) => now.unwanted.push(name.to_ascii_lowercase()),
                None => now.wanted.push(pair(asks)),
            },
            (None, Some(answer)) if now.status == 0 => now.status = answer.parse().expect("a status"),
            (None, Some(answer)) => now.headers.push(pair(answer)),
            (None, None) => now.body.push_str(line),
        }
    }
    all
}

/// Plays a recording behind TLS for every host it names.
struct Player {
    client: Client,
    left: Arc<Mutex<Vec<Exchange>>>,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Player {
    async fn start(recording: &str) -> Self {
        let exchanges = parse(recording);
        let host = |e: &Exchange| url::Url::parse(&e.url).unwrap().host_str().unwrap().to_owned();
        let mut hosts: Vec<String> = exchanges.iter().map(host).collect();
        hosts.sort();
        hosts.dedup();
        let key = rcgen::generate_simple_self_signed(hosts).unwrap();
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
        let mut in_order = exchanges;
        in_order.reverse();
        let (left, wrong) = (Arc::new(Mutex::new(in_order)), Arc::new(Mutex::new(Vec::new())));
        let shared = (left.clone(), wrong.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let service = service_fn(move |request| answer(shared.clone(), request));
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        let (proxy, _) = proxy_to(port).await;
        let proxy = ProxyConfig::new("", &format!("http://localhost:{proxy}"), "");
        let client = client_with(ClientConfig { proxy, ca_certs: vec![pem], ..ClientConfig::default() });
        Player { client, left, wrong }
    }

    /// All that was recorded has happened, and nothing else.
    fn finish(self) {
        assert_eq!(*self.wrong.lock().unwrap(), Vec::<String>::new());
        let left: Vec<String> = self.left.lock().unwrap().iter().map(|e| e.url.clone()).collect();
        assert_eq!(left, Vec::<String>::new(), "not asked");
    }
}

type Shared = (Arc<Mutex<Vec<Exchange>>>, Arc<Mutex<Vec<String>>>);

async fn answer(
    (left, wrong): Shared,
    request: http::Request<Incoming>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let url = format!("https://{}{}", header("host").unwrap_or_default(), head.uri);
    let next = left.lock().unwrap().pop().unwrap_or_default();
    let mut complaints = Vec::new();
    if (head.method.as_str(), url.as_str()) != (&next.method, &next.url) {
        complaints.push(format!("{} {url} instead of {} {}", head.method, next.method, next.url));
    }
    for (name, value) in &next.wanted {
        let sent = match name.as_str() {
            "body" => Some(String::from_utf8_lossy(&body).into_owned()),
            name => header(name),
        };
        if sent.as_ref() != Some(value) {
            complaints.push(format!("{url}: {name}: {sent:?} instead of {value}"));
        }
    }
    for name in next.unwanted.iter().filter(|name| header(name).is_some()) {
        complaints.push(format!("{url}: {name} was sent"));
    }
    wrong.lock().unwrap().extend(complaints);
    let mut response = http::Response::builder().status(next.status.max(200));
    for (name, value) in &next.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(next.body.into())).unwrap())
}

fn parsed(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn user(user: &str, password: &str) -> Auth {
    Auth::Basic { user: user.into(), password: password.into() }
}

/// The layer of the recordings.
fn layer() -> Descriptor {
    Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer")
}

/// Resolves a tag and reads the layer.
async fn pull(player: &Player, reference: &str, auth: &Auth) {
    let reference = parsed(reference).tagged();
    let repository = player.client.repository(&reference, auth).unwrap();
    let manifest = repository.manifest(reference.tag().unwrap()).await.unwrap();
    assert_eq!(manifest.bytes.as_ref(), b"{}");
    assert_eq!(download(&repository, &layer(), 0).await.unwrap(), b"layer");
}

#[tokio::test]
async fn docker_hub() {
    let player = Player::start(include_str!("recorded/hub.http")).await;
    let ann = user("ann", "dckr_pat_x");
    assert_eq!(player.client.login("https://index.docker.io/v1/", &ann).await.unwrap().identity_token, None);
    pull(&player, "ann/private", &ann).await;
    // Somebody who may not, a limit that is reached, and a password that is wrong.
    let denied = player.client.repository(&parsed("ann/secret"), &Auth::Anonymous).unwrap();
    let error = denied.manifest("latest").await.unwrap_err();
    assert_eq!(error.to_string(), "denied: requested access to the resource is denied");
    let limited = player.client.repository(&parsed("busybox"), &Auth::Anonymous).unwrap();
    let error = limited.manifest("latest").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "toomanyrequests: You have reached your unauthenticated pull rate limit. \
         https://www.docker.com/increase-rate-limit"
    );
    let error = player.client.login("docker.io", &user("ann", "guess")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Get \"https://registry-1.docker.io/v2/\": unauthorized: incorrect username or password"
    );
    player.finish();
}

#[tokio::test]
async fn github() {
    let player = Player::start(include_str!("recorded/github.http")).await;
    let ann = user("ann", "ghp_x");
    let repository = player.client.repository(&parsed("ghcr.io/ann/app"), &ann).unwrap();
    let (_folder, path) = file(b"layer");
    assert!(!repository.has_blob(&layer().digest).await.unwrap());
    repository.upload(None, &path, &layer(), silent()).await.unwrap();
    repository.put_manifest("v1", media_type::OCI_MANIFEST, b"{}".as_slice().into()).await.unwrap();
    pull(&player, "ghcr.io/ann/app:v1", &ann).await;
    player.finish();
}

#[tokio::test]
async fn google() {
    let player = Player::start(include_str!("recorded/google.http")).await;
    let auth = user("oauth2accesstoken", "ya29.x");
    pull(&player, "europe-docker.pkg.dev/project/repo/app:v1", &auth).await;
    player.finish();
}

#[tokio::test]
async fn amazon_ecr() {
    let player = Player::start(include_str!("recorded/ecr.http")).await;
    let aws = user("AWS", "eyJwYXlsb2FkIjoi");
    let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    assert_eq!(player.client.login(host, &aws).await.unwrap().identity_token, None);
    pull(&player, &format!("{host}/app:v1"), &aws).await;
    let expired = player.client.repository(&parsed(&format!("{host}/app")), &aws).unwrap();
    let error = expired.manifest("v2").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "denied: Your authorization token has expired. Reauthenticate and try again."
    );
    assert_eq!(error.kind(), ErrorKind::Denied);
    player.finish();
}

#[tokio::test]
async fn azure_acr() {
    let player = Player::start(include_str!("recorded/acr.http")).await;
    let nobody = "00000000-0000-0000-0000-000000000000";
    let login = player.client.login("team.azurecr.io", &user(nobody, "refresh.x")).await.unwrap();
    let token = login.identity_token.unwrap();
    assert_eq!(token, "refresh.y");
    let auth = Auth::IdentityToken { user: nobody.into(), token };
    pull(&player, "team.azurecr.io/app:v1", &auth).await;
    player.finish();
}
