//! The client against a registry in memory that can be as bad as registries get, and against a real one.

mod auth;
mod certs;
mod faults;
mod peer;
mod plain;
mod recorded;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use dray_spec::{Descriptor, Reference};

use crate::testing::Fixture;
use crate::{Auth, BlobStream, Client, ClientConfig, Error, Repository, RetryPolicy, SentFn};

/// A client that doesn't wait long.
fn client() -> Client {
    client_with(ClientConfig::default())
}

fn client_with(config: ClientConfig) -> Client {
    Client::new(ClientConfig {
        connect_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(2),
        retry: RetryPolicy { attempts: 4, base: Duration::from_millis(5), max: Duration::from_secs(2) },
        ..config
    })
    .unwrap()
}

fn reference(fixture: &Fixture, rest: &str) -> Reference {
    Reference::parse(&format!("{}/{rest}", fixture.host())).unwrap()
}

fn repository(fixture: &Fixture, name: &str) -> Repository {
    client().repository(&reference(fixture, name), &Auth::Anonymous).unwrap()
}

fn silent() -> SentFn {
    Arc::new(|_| {})
}

/// Reads a stream as far as it goes.
async fn drain(stream: Result<BlobStream, Error>) -> Result<Vec<u8>, (Vec<u8>, Error)> {
    let mut all = Vec::new();
    let mut stream = stream.map_err(|error| (Vec::new(), error))?;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => all.extend_from_slice(&chunk),
            Err(error) => return Err((all, error)),
        }
    }
    Ok(all)
}

async fn download(
    repository: &Repository,
    blob: &Descriptor,
    from: u64,
) -> Result<Vec<u8>, (Vec<u8>, Error)> {
    drain(repository.blob(blob, from).await).await
}

/// A file with these bytes.
fn file(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}
