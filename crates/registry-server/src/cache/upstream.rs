//! A registry that is copied, and what of it stands where here.

use std::sync::atomic::{AtomicI64, Ordering};

use dray_registry::{Error, ErrorKind};
use serde::Deserialize;

use crate::api::{Problem, now};
use crate::duration::Span;
use crate::metadata::Millis;
use crate::name::Repository;
use crate::remote::{Remote, RemoteError, RemoteRule};

/// How long a tag is what the upstream said it is, unless the rule says so.
const DEFAULT_TTL: Millis = 10 * 60 * 1000;
/// How long an upstream that did not answer is not asked again where a copy can be given instead.
const AWAY: Millis = 10_000;
/// How often a request is tried.
const ATTEMPTS: u32 = 2;

/// An upstream in the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct UpstreamRule {
    /// The repositories that are its copies: `hub` for `hub/library/busybox`; empty for all, as Docker's
    /// `registry-mirrors` wants it.
    #[serde(default)]
    pub(crate) prefix: String,
    /// The registry.
    pub(crate) registry: RemoteRule,
    /// How long a tag is what the registry said it is.
    #[serde(default)]
    pub(crate) ttl: Option<Span>,
}

/// A registry that is copied.
pub(crate) struct Upstream {
    prefix: String,
    remote: Remote,
    ttl: Millis,
    /// When it may be asked again.
    away: AtomicI64,
}

impl Upstream {
    pub(super) fn open(rule: &UpstreamRule) -> Result<Self, RemoteError> {
        Ok(Self {
            prefix: rule.prefix.trim_matches('/').to_owned(),
            remote: Remote::open(&rule.registry, ATTEMPTS)?,
            ttl: rule.ttl.map_or(DEFAULT_TTL, Span::millis),
            away: AtomicI64::new(Millis::MIN),
        })
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Its host, for messages.
    pub(crate) fn domain(&self) -> &str {
        self.remote.domain()
    }

    /// A repository's name there, if the repository is a copy of its.
    pub(super) fn path<'a>(&self, repository: &'a Repository) -> Option<&'a str> {
        if self.prefix.is_empty() {
            return Some(repository.as_str());
        }
        repository.as_str().strip_prefix(&self.prefix)?.strip_prefix('/')
    }

    /// The repository there.
    ///
    /// # Errors
    /// Its name there is none.
    pub(crate) fn repository(&self, repository: &Repository) -> Result<dray_registry::Repository, Error> {
        self.remote.repository(self.path(repository).unwrap_or_default())
    }

    /// Whether what was checked then is taken for true now.
    pub(super) fn is_fresh(&self, checked: Option<Millis>) -> bool {
        checked.is_some_and(|at| now().saturating_sub(at) < self.ttl)
    }

    /// Whether it has not answered lately.
    pub(super) fn is_away(&self) -> bool {
        now() < self.away.load(Ordering::Relaxed)
    }

    /// Says what a failure means; notes that the registry is away, if that is what it means.
    pub(crate) fn judge(&self, error: &Error) -> Judgement {
        match error.kind() {
            ErrorKind::NotFound => Judgement::Absent,
            // A registry that hides what is not there from strangers says it so.
            ErrorKind::Unauthorized | ErrorKind::Denied => Judgement::Refused,
            ErrorKind::InvalidParameter => Judgement::Absent,
            ErrorKind::Unavailable => {
                self.away.store(now().saturating_add(AWAY), Ordering::Relaxed);
                Judgement::Away
            }
            ErrorKind::InvalidAnswer => Judgement::Away,
        }
    }

    /// A failure of it, as it is told to a client.
    pub(crate) fn problem(&self, error: &Error) -> Problem {
        Problem::Upstream { registry: self.domain().to_owned(), problem: error.to_string() }
    }
}

/// What a failure of an upstream means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is not there.
    Absent,
    /// It is not for us.
    Refused,
    /// Nothing is known.
    Away,
}
