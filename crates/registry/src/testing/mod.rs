//! A registry in memory for tests, which can also be as bad as registries get.
//!
//! It speaks enough of the distribution API to push to and pull from, remembers every request, and breaks
//! the ones that a [`Fault`] names.

mod fault;
mod peer;
mod serve;
mod state;

use std::net::SocketAddr;
use std::sync::Arc;

use dray_spec::{Descriptor, Digest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use fault::{Fault, What};
pub use peer::DockerRegistry;
pub use state::{Guard, Seen};

/// A running registry; it stops when dropped.
pub struct Fixture {
    address: SocketAddr,
    state: Arc<state::State>,
    task: JoinHandle<()>,
}

impl Fixture {
    /// Starts one on a free port of loopback, plain HTTP.
    ///
    /// # Panics
    /// If no port can be had.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(state::State::default());
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve::connection(shared.clone(), TokioIo::new(socket)));
            }
        });
        Fixture { address, state, task }
    }

    /// Serves one more connection, whatever carries it (a TLS stream, say).
    pub fn serve<I>(&self, io: I)
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        tokio::spawn(serve::connection(self.state.clone(), TokioIo::new(io)));
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Wants credentials from now on.
    pub fn guard(&self, guard: Guard) {
        self.state.lock().guard = guard;
    }

    /// Breaks requests from now on.
    pub fn fault(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// Behaves again.
    pub fn heal(&self) {
        self.state.lock().faults.clear();
    }

    /// Whether other repositories' blobs are mounted when asked (they are unless told otherwise).
    pub fn mounts(&self, yes: bool) {
        self.state.lock().no_mounts = !yes;
    }

    /// Whether it knows the referrers API (it doesn't unless told).
    pub fn referrers(&self, yes: bool) {
        self.state.lock().referrers = yes;
    }

    /// Stores a blob in a repository.
    pub fn put_blob(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.state.lock().put_blob(repository, &descriptor.digest, bytes.to_vec().into());
        descriptor
    }

    /// Stores a manifest, also under `tag` where there is one.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: &[u8],
    ) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        let mut state = self.state.lock();
        state.put_manifest(repository, descriptor.digest.as_str(), media_type, bytes.to_vec().into());
        if let Some(tag) = tag {
            state.put_manifest(repository, tag, media_type, bytes.to_vec().into());
        }
        descriptor
    }

    /// Serves `bytes` as the blob `digest`, though they may be others.
    pub fn put_false_blob(&self, repository: &str, digest: &Digest, bytes: &[u8]) {
        self.state.lock().put_blob(repository, digest, bytes.to_vec().into());
    }

    /// Serves `bytes` as the manifest `reference` (tag or digest), though they may be others.
    pub fn put_false_manifest(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
        self.state.lock().put_manifest(repository, reference, media_type, bytes.to_vec().into());
    }

    /// A blob as it was pushed.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.blobs.get(&(repository.to_owned(), digest.to_string())).map(|b| b.to_vec())
    }

    /// A manifest and its media type as they were pushed.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Vec<u8>)> {
        let state = self.state.lock();
        let (media_type, bytes) = state.manifests.get(&(repository.to_owned(), reference.to_owned()))?;
        Some((media_type.clone(), bytes.to_vec()))
    }

    /// Forgets a blob.
    pub fn remove_blob(&self, repository: &str, digest: &Digest) {
        self.state.lock().blobs.remove(&(repository.to_owned(), digest.to_string()));
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().seen.clone()
    }

    /// How many requests with this method had `part` in their path.
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.seen().iter().filter(|s| s.method == method && s.path.contains(part)).count()
    }

    /// Bytes of blobs handed out so far.
    pub fn blob_bytes_sent(&self) -> u64 {
        self.state.lock().blob_bytes_sent
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.task.abort();
    }
}
