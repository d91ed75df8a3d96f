//! Copies of manifests: tags are compared with the upstream's now and then, digests never change.

use dray_registry::RawManifest;
use dray_spec::Digest;

use super::Cache;
use super::upstream::{Judgement, Upstream};
use crate::api::{Problem, Registry, now, received};
use crate::metadata::{Put, StoredManifest};
use crate::name::{Repository, Target};
use crate::report::{CacheOutcome, CacheThing};

/// How a copy stands to what the upstream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    /// It is the same, or was a moment ago.
    Current,
    /// The upstream cannot be asked.
    Stale,
}

/// Sees to it that the registry has a manifest if the upstream has, as it is there now.
///
/// # Errors
/// The upstream has none, or cannot be asked and there is no copy.
pub(crate) async fn bring(
    registry: &Registry,
    upstream: &Upstream,
    repository: &Repository,
    target: &Target,
) -> Result<Copy, Problem> {
    let bringing = Bringing { registry, cache: &registry.cache, upstream, repository };
    let (copy, outcome) = match target {
        Target::Digest(digest) => bringing.digest(digest).await?,
        Target::Tag(tag) => bringing.tag(tag).await?,
    };
    registry.report.cache(CacheThing::Manifest, outcome);
    Ok(copy)
}

struct Bringing<'a> {
    registry: &'a Registry,
    cache: &'a Cache,
    upstream: &'a Upstream,
    repository: &'a Repository,
}

type Brought = (Copy, CacheOutcome);

impl Bringing<'_> {
    async fn digest(&self, digest: &Digest) -> Result<Brought, Problem> {
        if self.has(digest).await?.is_some() {
            return Ok((Copy::Current, CacheOutcome::Hit));
        }
        let _turn = self.cache.turns.take(format!("{}@{digest}", self.repository)).await;
        if self.has(digest).await?.is_some() {
            return Ok((Copy::Current, CacheOutcome::Hit));
        }
        let found = self.there()?.manifest(digest.as_str()).await;
        let found = found.map_err(|error| self.refusal(&error, digest.as_str()))?;
        self.store(found, None).await?;
        Ok((Copy::Current, CacheOutcome::Miss))
    }

    async fn tag(&self, tag: &str) -> Result<Brought, Problem> {
        if let Some(fresh) = self.fresh(tag).await? {
            return Ok(fresh);
        }
        let _turn = self.cache.turns.take(format!("{}:{tag}", self.repository)).await;
        if let Some(fresh) = self.fresh(tag).await? {
            return Ok(fresh);
        }
        let metadata = &self.registry.metadata;
        let Some(local) = metadata.tagged(self.repository, tag).await? else {
            let found = self.there()?.manifest(tag).await.map_err(|error| self.refusal(&error, tag))?;
            self.store(found, Some(tag)).await?;
            return Ok((Copy::Current, CacheOutcome::Miss));
        };
        if self.upstream.is_away() {
            return Ok((Copy::Stale, CacheOutcome::Stale));
        }
        match self.renew(tag, &local).await {
            Ok(outcome) => Ok((Copy::Current, outcome)),
            Err(Renewal::Failed(problem)) => Err(problem),
            Err(Renewal::Upstream(error)) => match self.upstream.judge(&error) {
                Judgement::Away => {
                    tracing::warn!(repository = %self.repository, tag, %error, "a copy is given that may be old");
                    Ok((Copy::Stale, CacheOutcome::Stale))
                }
                Judgement::Absent => {
                    metadata.delete_tag(self.repository, tag).await?;
                    Err(self.refusal(&error, tag))
                }
                Judgement::Refused => Err(self.refusal(&error, tag)),
            },
        }
    }

    /// Whether the tag was compared a moment ago.
    async fn fresh(&self, tag: &str) -> Result<Option<Brought>, Problem> {
        let checked = self.registry.metadata.checked(self.repository, tag).await?;
        Ok(self.upstream.is_fresh(checked).then_some((Copy::Current, CacheOutcome::Hit)))
    }

    /// Compares a tag with the upstream's, and sets it anew if that is another.
    async fn renew(&self, tag: &str, local: &StoredManifest) -> Result<CacheOutcome, Renewal> {
        let there = self.there()?;
        let named = there.resolve(tag).await?;
        if named.as_ref() == Some(&local.digest) {
            self.registry.metadata.note_check(self.repository, tag, now()).await.map_err(Problem::from)?;
            return Ok(CacheOutcome::Revalidated);
        }
        let known = match &named {
            Some(digest) => self.has(digest).await?,
            None => None,
        };
        let found = match known {
            Some(known) => {
                RawManifest { media_type: known.media_type, digest: known.digest, bytes: known.content }
            }
            None => there.manifest(tag).await?,
        };
        let same = found.digest == local.digest;
        self.store(found, Some(tag)).await?;
        Ok(if same { CacheOutcome::Revalidated } else { CacheOutcome::Miss })
    }

    async fn has(&self, digest: &Digest) -> Result<Option<StoredManifest>, Problem> {
        Ok(self.registry.metadata.manifest(self.repository, digest).await?)
    }

    fn there(&self) -> Result<dray_registry::Repository, Problem> {
        self.upstream.repository(self.repository).map_err(|error| self.upstream.problem(&error))
    }

    async fn store(&self, found: RawManifest, tag: Option<&str>) -> Result<(), Problem> {
        let digest = found.digest.clone();
        let unfit = |problem: String| Problem::Upstream {
            registry: self.upstream.domain().to_owned(),
            problem: format!("{digest} of {}: {problem}", self.repository),
        };
        let new = received(self.repository, &found.media_type, found.digest.clone(), found.bytes, tag)
            .map_err(|problem| unfit(problem.to_string()))?;
        match self.registry.metadata.put_manifest(&new).await? {
            Put::Stored => {}
            Put::WrongSize { digest, actual, stated } => {
                return Err(unfit(format!("it says that {digest} has {stated} bytes, which has {actual}")));
            }
            other => return Err(unfit(format!("it was not stored: {other:?}"))),
        }
        let metadata = &self.registry.metadata;
        metadata.note_use(self.repository, &digest, new.now).await?;
        if let Some(tag) = tag {
            metadata.note_check(self.repository, tag, new.now).await?;
        }
        self.cache.grown.notify_one();
        Ok(())
    }

    fn refusal(&self, error: &dray_registry::Error, target: &str) -> Problem {
        match self.upstream.judge(error) {
            Judgement::Absent => Problem::ManifestUnknown(target.to_owned()),
            Judgement::Refused => {
                tracing::warn!(repository = %self.repository, target, %error, "the upstream refuses us");
                Problem::NameUnknown(self.repository.to_string())
            }
            Judgement::Away => self.upstream.problem(error),
        }
    }
}

/// Why a tag could not be compared.
enum Renewal {
    Upstream(dray_registry::Error),
    Failed(Problem),
}

impl From<dray_registry::Error> for Renewal {
    fn from(error: dray_registry::Error) -> Self {
        Self::Upstream(error)
    }
}

impl From<Problem> for Renewal {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}
