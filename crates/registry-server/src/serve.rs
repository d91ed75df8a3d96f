//! The server's life: configure, listen, serve, collect, stop.

use std::io::Write;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, Htpasswd, HtpasswdError};
use crate::api::{Limits, Link, Registry, RegistryParts};
use crate::cache::{Cache, evict};
use crate::config::Config;
use crate::connection::{PATIENCE, Socket, leave_after};
use crate::garbage::{Ages, Collector};
use crate::remote::RemoteError;
use crate::replication::{self, Replication, ReplicationError};
use crate::report::{Audit, AuditError, HookError, Hooks, Report};
use crate::retention::{self, Expired};
use crate::storage::Storage;
use crate::tls::{Certificate, TlsError};

/// How long a client may take to send the head of a request, or rest between two.
const HEAD_LIMIT: Duration = Duration::from_secs(120);
/// How long a client may take to shake hands.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);
/// How often the certificate's files are looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(10);
/// How often copies of other registries are looked at, at most and at least.
const EVICT_AT_MOST: Duration = Duration::from_secs(5);
const EVICT_AT_LEAST: Duration = Duration::from_secs(600);
/// Rounds of the collector between two searches for objects that nobody knows.
const ORPHANS_EVERY: u32 = 24;

/// Why the registry does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The data are another's.
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// The system.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The storage.
    #[error(transparent)]
    Storage(#[from] crate::storage::Error),
    /// The metadata.
    #[error(transparent)]
    Metadata(#[from] crate::metadata::Error),
    /// The password file.
    #[error(transparent)]
    Htpasswd(#[from] HtpasswdError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The webhooks.
    #[error(transparent)]
    Hooks(#[from] HookError),
    /// A registry that is to be copied.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A registry that is to be copied to.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

fn system(operation: impl Into<String>) -> impl FnOnce(std::io::Error) -> ServeError {
    let operation = operation.into();
    move |source| ServeError::System { operation, source }
}

/// What serves, and what it needs to stop.
pub(crate) struct Server {
    pub(crate) registry: Arc<Registry>,
    pub(crate) collector: Collector,
    certificate: Option<Arc<Certificate>>,
    stop: CancellationToken,
    connections: TaskTracker,
    _lock: Option<std::fs::File>,
}

/// Serves until a signal ends it.
pub(crate) async fn run(config: Config) -> Result<(), ServeError> {
    let server = Server::open(&config).await?;
    let listener = TcpListener::bind(&config.address).await;
    let listener = listener.map_err(system(format!("listen on {}", config.address)))?;
    let signals = tokio::spawn(follow_signals(server.clone())?);
    let collecting = tokio::spawn(collect_at_intervals(server.clone(), config.clone()));
    let evicting = tokio::spawn(evict_at_intervals(server.clone(), config.clone()));
    let replicating = replication::start(&server.registry);
    announce(&config, &listener);
    server.accept(listener).await;
    server.drain(config.drain.0).await;
    signals.abort();
    collecting.abort();
    evicting.abort();
    drop(replicating);
    tracing::info!("stopped");
    Ok(())
}

/// Makes the data root where something is kept in it, and keeps other servers off.
fn own_root(config: &Config) -> Result<Option<std::fs::File>, ServeError> {
    if !config.data.needs_root() {
        return Ok(None);
    }
    let root = std::path::absolute(&config.data.root).map_err(system("resolve the data root"))?;
    make_root(&root).map_err(system(format!("create {}", root.display())))?;
    lock(&root).map(Some)
}

/// Who may pull what is decided by the server alone: other users of the machine do not get past it by the files. A folder
/// that is there already has the mode that its owner wants.
fn make_root(root: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(root)
}

/// Refuses to serve from a storage that says no: its credentials are wrong, or there is no such bucket. One that is
/// away may come back.
async fn usable(storage: &dyn Storage) -> Result<(), ServeError> {
    match storage.check().await {
        Err(error) if error.is_unavailable() => {
            tracing::warn!(%error, "the storage is away");
            Ok(())
        }
        other => Ok(other?),
    }
}

/// The lock that keeps a second server off the data: SQLite's file has one writing process, and a blob's file one
/// who writes it, which the server itself sees to.
fn lock(root: &Path) -> Result<std::fs::File, ServeError> {
    let path = root.join("lock");
    let failed = |operation: &str| system(format!("{operation} {}", path.display()));
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(ServeError::Locked(root.to_path_buf())),
        Err(std::fs::TryLockError::Error(error)) => Err(failed("lock")(error)),
    }
}

/// SIGTERM and SIGINT stop the server, a second one at once. SIGHUP reads the certificate again.
fn follow_signals(server: Arc<Server>) -> Result<impl Future<Output = ()>, ServeError> {
    let listen = |kind, name: &str| signal(kind).map_err(system(format!("listen for {name}")));
    let mut terminate = listen(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = listen(SignalKind::interrupt(), "SIGINT")?;
    let mut hangup = listen(SignalKind::hangup(), "SIGHUP")?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {
                    server.refresh();
                    continue;
                }
                () = tokio::time::sleep(CERTIFICATE_LOOK) => {
                    server.refresh();
                    continue;
                }
            }
            if server.stop.is_cancelled() {
                std::process::exit(1);
            }
            tracing::info!("stopping");
            server.stop();
        }
    })
}

/// Says that requests are answered from now on: to people, and to whoever waits at `--ready-fd`.
fn announce(config: &Config, listener: &TcpListener) {
    let address =
        listener.local_addr().map_or_else(|_| config.address.clone(), |address| address.to_string());
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let line = format!("dray registry ready on {scheme}://{address}, pid {}\n", std::process::id());
    let _ = std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush());
    if let Some(fd) = config.ready_fd {
        let path = format!("/proc/self/fd/{fd}");
        let told =
            std::fs::File::options().write(true).open(&path).and_then(|mut fd| fd.write_all(line.as_bytes()));
        if let Err(error) = told {
            tracing::warn!(%error, "write to --ready-fd {fd}");
        }
    }
}

impl Server {
    /// Opens everything that is needed to serve.
    ///
    /// # Errors
    /// [`ServeError`] naming what cannot be opened.
    pub(crate) async fn open(config: &Config) -> Result<Arc<Self>, ServeError> {
        let lock = own_root(config)?;
        let (storage, metadata) = (config.data.open_storage()?, config.data.open_metadata().await?);
        usable(&*storage).await?;
        let report = Report::new(
            config.audit_log.as_deref().map(|path| Audit::open(path, config.audit)).transpose()?,
            Hooks::start(&config.webhooks)?,
        );
        let htpasswd = config.htpasswd.as_deref().map(Htpasswd::open).transpose()?;
        let access = Access::new(config.policy.clone(), htpasswd, metadata.clone()).await?;
        let certificate = config.tls.clone().map(|(cert, key)| Certificate::open(cert, key)).transpose()?;
        let limits = Limits { grace: config.gc_grace.millis(), ..Limits::default() };
        let collector = Collector::new(storage.clone(), metadata.clone());
        let rules = config.rules.clone();
        let replication = Replication::open(&config.replication)?;
        let cache = Cache::open(&config.upstreams, config.cache, config.data.spool())?;
        Ok(Arc::new(Self {
            registry: Arc::new(Registry::new(RegistryParts {
                storage,
                metadata,
                access,
                rules,
                report,
                cache,
                replication,
                limits,
            })),
            collector,
            certificate: certificate.map(Arc::new),
            stop: CancellationToken::new(),
            connections: TaskTracker::new(),
            _lock: lock,
        }))
    }

    /// Deletes the tags that the rules let go.
    pub(crate) async fn retain(&self, config: &Config) {
        let registry = &self.registry;
        match retention::apply(&*registry.metadata, &config.retention, &registry.rules, false).await {
            Ok(expired) => {
                for Expired { repository, tag } in expired {
                    tracing::info!(%repository, tag = tag.name, digest = %tag.digest, "tag expired");
                }
            }
            Err(error) => tracing::error!(%error, "apply the retention rules"),
        }
    }

    /// Accepts connections until it is stopped.
    pub(crate) async fn accept(self: &Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => drop(self.connections.spawn(self.clone().connection(stream))),
                Err(error) => {
                    // Descriptors may have run out; connections that end give some back.
                    tracing::warn!(%error, "accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Takes no more connections, and lets those that are there end what they are at.
    pub(crate) fn stop(&self) {
        self.registry.report.stop();
        self.stop.cancel();
    }

    /// Waits for the connections, but not for ever.
    pub(crate) async fn drain(&self, limit: Duration) {
        self.connections.close();
        if tokio::time::timeout(limit, self.connections.wait()).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "connections are cut");
            // Uploads record what they have, so that their clients can go on with the next server.
            self.registry.stop_uploads().await;
        }
    }

    /// Reads the certificate again, if its files have changed.
    pub(crate) fn refresh(&self) {
        if let Some(certificate) = &self.certificate {
            certificate.refresh();
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let Ok(peer) = stream.peer_addr() else { return };
        // Small answers must not wait for more.
        let _ = stream.set_nodelay(true);
        if let Err(error) = leave_after(&stream, PATIENCE) {
            tracing::debug!(%peer, %error, "a client that takes nothing is waited for");
        }
        let done = match &self.certificate {
            None => {
                let socket = Socket::new(stream);
                let link = Link { peer, tls: false, lane: Some(socket.lane()) };
                self.plain(socket, link).await
            }
            Some(certificate) => {
                let shaken =
                    tokio::time::timeout(HANDSHAKE_LIMIT, certificate.acceptor().accept(stream)).await;
                let Ok(Ok(stream)) = shaken else {
                    tracing::debug!(%peer, "no TLS handshake");
                    return;
                };
                self.secured(stream, Link { peer, tls: true, lane: None }).await
            }
        };
        if let Err(error) = done {
            tracing::debug!(%peer, error, "connection broken");
        }
    }

    async fn plain(&self, socket: Socket, link: Link) -> Result<(), String> {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).writev(true);
        let connection = builder.serve_connection(TokioIo::new(socket), self.service(link));
        tokio::pin!(connection);
        tokio::select! {
            done = connection.as_mut() => return done.map_err(|error| error.to_string()),
            () = self.stop.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await.map_err(|error| error.to_string())
    }

    async fn secured(
        &self,
        stream: tokio_rustls::server::TlsStream<TcpStream>,
        link: Link,
    ) -> Result<(), String> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_LIMIT);
        let connection = builder.serve_connection(TokioIo::new(stream), self.service(link));
        tokio::pin!(connection);
        tokio::select! {
            done = connection.as_mut() => return done.map_err(|error| error.to_string()),
            () = self.stop.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await.map_err(|error| error.to_string())
    }

    fn service(
        &self,
        link: Link,
    ) -> impl hyper::service::Service<
        Request<Incoming>,
        Response = http::Response<crate::connection::Body>,
        Error = std::convert::Infallible,
        Future: Send,
    > + use<> {
        let registry = self.registry.clone();
        service_fn(move |request| {
            let (registry, link) = (registry.clone(), link.clone());
            async move { Ok(registry.answer(request, link).await) }
        })
    }
}

async fn collect_at_intervals(server: Arc<Server>, config: Config) {
    if config.gc_interval.0.is_zero() {
        return;
    }
    let ages = ages(&config);
    for round in 0_u32.. {
        if round % ORPHANS_EVERY == 0 {
            match server.collector.orphans().await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "objects without a record removed"),
                Err(error) => tracing::error!(%error, "look for objects without a record"),
            }
        }
        tokio::time::sleep(config.gc_interval.0).await;
        server.retain(&config).await;
        match server.collector.round(&ages).await {
            Ok(collected) => server.registry.report.collected(&collected),
            Err(error) => tracing::error!(%error, "collect garbage"),
        }
    }
}

fn ages(config: &Config) -> Ages {
    Ages {
        blobs: config.gc_grace.millis(),
        uploads: config.upload_expiry.millis(),
        untagged: config.gc_untagged.map(crate::duration::Span::millis),
    }
}

/// Keeps the copies of other registries within their bounds: soon after one has grown, and now and then for what has
/// grown old.
async fn evict_at_intervals(server: Arc<Server>, config: Config) {
    if !server.registry.cache.is_used() {
        return;
    }
    let ages = ages(&config);
    loop {
        let _ = tokio::time::timeout(EVICT_AT_LEAST, server.registry.cache.grown.notified()).await;
        if let Err(error) = evict(&server.registry, &server.collector, &ages).await {
            tracing::error!(%error, "evict copies of other registries");
        }
        tokio::time::sleep(EVICT_AT_MOST).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_kept_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o007;
        let new = dir.path().join("registry");
        make_root(&new).unwrap();
        assert_eq!(mode(&new), 0);
        std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
        make_root(&new).unwrap();
        assert_eq!(mode(&new), 5, "somebody wants it so");
    }
}
