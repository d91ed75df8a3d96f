//! What is told to others of what happens: figures for Prometheus, the audit log, webhooks.
//!
//! Figures are atomics, everything else goes through a queue. Nothing delays a request but an audit log whose queue is
//! full, where it is said that nothing may happen without it.

mod audit;
mod event;
mod hook;
mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};

use crate::access::Principal;
use crate::api::Problem;
use crate::metadata::{Collected, Usage};

pub use audit::{Audit, AuditBounds, AuditError, Overflow, Room};
pub use event::Event;
pub use hook::{HookError, Hooks, WebhookRule};
use metrics::Metrics;
pub(crate) use metrics::{CacheOutcome, CacheThing};

/// Tells; a clone tells the same.
#[derive(Clone, Default)]
pub struct Report(Arc<Inner>);

#[derive(Default)]
struct Inner {
    metrics: Metrics,
    audit: Option<Audit>,
    hooks: Option<Hooks>,
    stopping: AtomicBool,
}

impl Report {
    /// Tells the audit log, if there is one, and the webhooks.
    #[must_use]
    pub fn new(audit: Option<Audit>, hooks: Hooks) -> Self {
        Self(Arc::new(Inner { audit, hooks: Some(hooks), ..Inner::default() }))
    }

    /// Room in the audit log for what is about to be done. To be had before it is done.
    ///
    /// # Errors
    /// There is none, and nothing may happen without.
    pub(crate) async fn room(&self) -> Result<Room, Problem> {
        match &self.0.audit {
            Some(audit) => audit.room().await.map_err(|_| Problem::Unaudited),
            None => Ok(Room::default()),
        }
    }

    /// A request is refused: the audit log is told before the client.
    ///
    /// # Errors
    /// As [`Report::room`].
    pub(crate) async fn refused(
        &self,
        path: &str,
        status: StatusCode,
        who: &Principal,
        peer: SocketAddr,
    ) -> Result<(), Problem> {
        let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if refused && let Some(audit) = &self.0.audit {
            let room = self.room().await?;
            audit.write(&Event::refused(path, who, peer, status), room);
        }
        Ok(())
    }

    /// A request has been answered.
    #[expect(clippy::too_many_arguments, reason = "one line of a log, told in one place")]
    pub(crate) fn request(
        &self,
        method: &Method,
        route: &'static str,
        path: &str,
        status: StatusCode,
        took: Duration,
        who: &Principal,
        peer: SocketAddr,
    ) {
        self.0.metrics.request(route, method, status, took);
        tracing::debug!(%method, path, status = status.as_u16(), ?took, user = who.name(), %peer, "request");
    }

    /// Bytes of bodies went out.
    pub(crate) fn sent(&self, bytes: u64) {
        self.0.metrics.sent(bytes);
    }

    /// A blob of so many bytes came in.
    pub(crate) fn received(&self, bytes: u64) {
        self.0.metrics.received(bytes);
    }

    /// Something happened to a repository, for which there was room in the audit log.
    pub(crate) fn event(&self, event: &Event<'_>, room: Room) {
        if let Some(audit) = &self.0.audit {
            audit.write(event, room);
        }
        if let Some(hooks) = &self.0.hooks {
            hooks.tell(event);
        }
    }

    /// Something was asked for that is kept for another registry.
    pub(crate) fn cache(&self, thing: CacheThing, outcome: CacheOutcome) {
        self.0.metrics.cache(thing, outcome);
    }

    /// Bytes of blobs came from another registry.
    pub(crate) fn fetched(&self, bytes: u64) {
        self.0.metrics.fetched(bytes);
    }

    /// Manifests of other registries are kept no longer.
    pub(crate) fn evicted(&self, manifests: u64) {
        tracing::info!(manifests, "copies of other registries evicted");
        self.0.metrics.evicted(manifests);
    }

    /// A manifest was copied to another registry.
    pub(crate) fn replicated_manifest(&self) {
        self.0.metrics.replicated_manifest();
    }

    /// Bytes of a blob were copied to another registry.
    pub(crate) fn replicated(&self, bytes: u64) {
        self.0.metrics.replicated(bytes);
    }

    /// A copy at another registry could not be brought up to date.
    pub(crate) fn replication_failed(&self) {
        self.0.metrics.replication_failed();
    }

    /// Garbage was collected.
    pub(crate) fn collected(&self, collected: &Collected) {
        if !collected.is_empty() {
            let Collected { blobs, bytes, manifests, uploads, .. } = *collected;
            tracing::info!(blobs, bytes, manifests, uploads, "garbage collected");
        }
        self.0.metrics.collected(collected);
    }

    /// The figures, in Prometheus' text format.
    pub(crate) fn metrics(&self, usage: &Usage) -> String {
        let audit = self.0.audit.as_ref();
        self.0.metrics.text(usage, audit.map(|audit| (audit.lost(), audit.waiting())).unwrap_or_default())
    }

    /// From now on load balancers are told to send nothing more.
    pub(crate) fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Relaxed)
    }
}
