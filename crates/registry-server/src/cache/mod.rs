//! Copies of other registries, made when somebody pulls (a pull-through cache).
//!
//! ```text
//! pull of a tag ─► asked for within its time? ─ yes ─► the copy
//!                      │ no                              ▲
//!                      └─► HEAD at the upstream ─ same ──┤
//!                                │   └─ away ──► the copy, with a warning
//!                                └─ other ─► the manifest is fetched and stored, the tag is set
//! pull of a blob ─► stored? ─ yes ─► the copy
//!                      └─ no ─► one fetch for all who ask, each of whom reads along while it is written
//! ```
//! A repository belongs to the upstream with the longest prefix that its name has; nobody pushes to it. A manifest is
//! stored without its blobs, which come when they are asked for: its references keep them from the collector all the
//! same. What has not been asked for in a while, or is too much, goes ([`evict`]).

mod evict;
mod fetch;
mod flight;
mod manifest;
mod upstream;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use dray_spec::Digest;
use serde::Deserialize;
use tokio::sync::Notify;

use crate::api::Problem;
use crate::duration::Span;
use crate::metadata::{Metadata, Millis};
use crate::name::Repository;
use crate::remote::RemoteError;

pub(crate) use evict::evict;
pub(crate) use fetch::{Fetch, Joined, nameless};
use flight::{Flights, Turns};
pub(crate) use manifest::{Copy, bring};
pub(crate) use upstream::{Judgement, Upstream, UpstreamRule};

/// A use is noted once in this time: pulls must not all become writes.
const NOTE_AGAIN: Millis = 60_000;
/// Uses that are remembered as noted.
const REMEMBERED: usize = 10_000;

/// How much is kept.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct CacheBounds {
    /// Bytes of blobs; no bound, if there is none.
    #[serde(default)]
    pub(crate) bytes: Option<u64>,
    /// How long an image is kept that nobody asks for; for ever, if there is none.
    #[serde(default)]
    pub(crate) unused: Option<Span>,
}

/// All upstreams, and what is on its way from them.
#[derive(Default)]
pub(crate) struct Cache {
    upstreams: Vec<Arc<Upstream>>,
    pub(crate) bounds: CacheBounds,
    /// Where blobs are read from while they come, if the storage cannot be.
    pub(crate) spool: PathBuf,
    flights: Flights,
    turns: Turns,
    noted: Mutex<HashMap<(Repository, Digest), Millis>>,
    /// Something was stored that may be too much.
    pub(crate) grown: Arc<Notify>,
}

/// The upstream with the longest prefix that a repository's name has; they are sorted.
fn owner<'a>(upstreams: &'a [Arc<Upstream>], repository: &Repository) -> Option<&'a Arc<Upstream>> {
    upstreams.iter().find(|upstream| upstream.path(repository).is_some())
}

impl Cache {
    /// Opens the upstreams.
    ///
    /// # Errors
    /// One of them cannot be used as it is configured.
    pub(crate) fn open(
        rules: &[UpstreamRule],
        bounds: CacheBounds,
        spool: PathBuf,
    ) -> Result<Self, RemoteError> {
        let upstreams = rules.iter().map(|rule| Upstream::open(rule).map(Arc::new));
        let mut upstreams = upstreams.collect::<Result<Vec<_>, _>>()?;
        upstreams.sort_by_key(|upstream| std::cmp::Reverse(upstream.prefix().len()));
        Ok(Self { upstreams, bounds, spool, ..Self::default() })
    }

    /// Whether there is anything to do.
    pub(crate) fn is_used(&self) -> bool {
        !self.upstreams.is_empty()
    }

    /// The upstream that a repository is a copy of.
    pub(crate) fn of(&self, repository: &Repository) -> Option<&Arc<Upstream>> {
        owner(&self.upstreams, repository)
    }

    /// Whether a repository may be pushed to.
    ///
    /// # Errors
    /// It is a copy.
    pub(crate) fn may_push(&self, repository: &Repository) -> Result<(), Problem> {
        match self.of(repository) {
            Some(upstream) => Err(Problem::Cached(upstream.domain().to_owned())),
            None => Ok(()),
        }
    }

    /// Notes that somebody has asked for a manifest of a copy.
    ///
    /// # Errors
    /// The metadata fail.
    pub(crate) async fn note_use(
        &self,
        metadata: &dyn Metadata,
        repository: &Repository,
        digest: &Digest,
        now: Millis,
    ) -> crate::metadata::Result<()> {
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.len() > REMEMBERED {
                noted.retain(|_, at| now.saturating_sub(*at) < NOTE_AGAIN);
            }
            let at = noted.entry((repository.clone(), digest.clone())).or_insert(Millis::MIN);
            if now.saturating_sub(*at) < NOTE_AGAIN {
                return Ok(());
            }
            *at = now;
        }
        metadata.note_use(repository, digest, now).await
    }

    /// Forgets that uses were noted, since what was used may be gone.
    fn forget_uses(&self) {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
