//! A server on a free port with a folder of its own, and the smallest HTTP client: raw requests, raw answers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dray_spec::Digest;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::config::{Config, Place, ServeFlags};
use crate::serve::Server;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A running server; it stops when dropped.
pub(super) struct Fixture {
    pub(super) server: Arc<Server>,
    pub(super) address: SocketAddr,
    pub(super) root: TempDir,
    accepting: Accepting,
}

/// Ends with what it belongs to.
struct Accepting(JoinHandle<()>);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The code of its first error.
    pub(super) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub(super) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{:?}", self.body);
        self
    }

    #[track_caller]
    pub(super) fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.code(), code, "{:?}", answer.body);
        answer
    }
}

impl Fixture {
    pub(super) async fn start() -> Self {
        Self::configured(json!({})).await
    }

    /// With this configuration file.
    pub(super) async fn configured(config: Value) -> Self {
        let root = tempfile::tempdir().unwrap();
        Self::at(root, config).await
    }

    /// Where there may be data already.
    pub(super) async fn at(root: TempDir, config: Value) -> Self {
        let file = root.path().join("registry.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let data_root = Some(root.path().join("data"));
        let place = Place { config: Some(file), data_root, ..Place::default() };
        let config = Config::load(ServeFlags { place, ..ServeFlags::default() }).unwrap();
        let server = Server::open(&config).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn({
            let server = server.clone();
            async move { server.accept(listener).await }
        });
        Self { server, address, root, accepting: Accepting(accepting) }
    }

    /// Ends the server and starts another on the same data.
    pub(super) async fn restarted(self) -> Self {
        let Self { server, root, mut accepting, .. } = self;
        server.stop();
        (&mut accepting.0).await.unwrap();
        server.drain(std::time::Duration::from_secs(20)).await;
        assert_eq!(Arc::strong_count(&server), 1, "nobody has it any more");
        drop(server);
        Self::at(root, json!({})).await
    }

    /// One request on a connection of its own.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header("host", self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::new(body.into())).unwrap()).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], "").await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path, &[], "").await
    }

    /// Pushes a blob.
    pub(super) async fn push_blob(&self, repository: &str, content: impl Into<Bytes>) -> Digest {
        let content = content.into();
        let digest = Digest::sha256_of(&content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.request(Method::POST, &path, &[], content).await.expect(201);
        digest
    }

    pub(super) async fn put_manifest(
        &self,
        repository: &str,
        target: &str,
        kind: &str,
        content: &str,
    ) -> Answer {
        let path = format!("/v2/{repository}/manifests/{target}");
        self.request(Method::PUT, &path, &[("content-type", kind)], content.to_owned()).await
    }

    /// Pushes an image of one layer.
    pub(super) async fn push_image(&self, repository: &str, tag: &str, layer: &str) -> Digest {
        self.push_blob(repository, "{}").await;
        self.push_blob(repository, layer.to_owned()).await;
        let content = image(layer);
        self.put_manifest(repository, tag, MANIFEST, &content).await.expect(201);
        Digest::sha256_of(content.as_bytes())
    }

    /// Sends bytes as they are, closes, and reads what comes.
    pub(super) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may have answered and closed before it has read everything.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(super) fn data(&self) -> std::path::PathBuf {
        self.root.path().join("data")
    }

    /// Files of blobs on the disk.
    pub(super) fn objects(&self) -> usize {
        files(&self.data().join("blobs"))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

/// A manifest with a configuration of `{}` and one layer.
pub(super) fn image(layer: &str) -> String {
    let of = |content: &str| json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": Digest::sha256_of(content.as_bytes()), "size": content.len() });
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::sha256_of(b"{}"), "size": 2 },
        "layers": [of(layer)],
    })
    .to_string()
}

/// Bytes that are large enough for an object of their own.
pub(super) fn large(seed: u8, length: usize) -> Bytes {
    (0..length).map(|at| (at * 31 + at / 253 + usize::from(seed)) as u8).collect::<Vec<u8>>().into()
}
