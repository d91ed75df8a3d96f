//! Brings the copy of a repository up to date: its tags, what they name, what refers to that.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use dray_registry::{Error as RemoteError, ErrorKind};
use dray_spec::{Digest, Index, Manifest, ManifestOrIndex, media_type};

use super::target::Target;
use crate::api::Registry;
use crate::metadata::{self, Filter, ReplicationJob, StoredManifest, TagRecord};
use crate::name::Repository;
use crate::storage;

/// Referrers that are looked at at once.
const PAGE: usize = 500;
/// Bytes of their annotations, which are not looked at.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// How deep indexes may lie in each other: whoever pushes could make them so deep that the stack is used up.
const DEEPEST: usize = 32;

/// Why a copy could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    /// Ours.
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
    /// Ours.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// Theirs.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A file that holds a blob for a while.
    #[error("spool a blob: {0}")]
    Spool(std::io::Error),
    /// A manifest that says what nobody understands.
    #[error("manifest {digest}: {problem}")]
    Manifest {
        /// Which.
        digest: Digest,
        /// What is wrong.
        problem: String,
    },
    /// A manifest needs it, and it is not here.
    #[error("blob {0} is not here")]
    NoBlob(Digest),
    /// Some of it could be copied, some not.
    #[error("{failed} of {all} tags, the first of them {tag}: {source}")]
    Tags {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
        /// The first.
        tag: String,
        /// Why.
        source: Box<SyncError>,
    },
}

impl SyncError {
    /// Whether it would be the same with whatever comes next.
    fn is_of_everything(&self) -> bool {
        match self {
            Self::Metadata(_) | Self::Storage(_) | Self::Spool(_) => true,
            Self::Remote(error) => matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unauthorized),
            _ => false,
        }
    }
}

type Done = Result<(), SyncError>;

/// One repository on its way.
pub(super) struct Synchronise<'a> {
    pub(super) registry: &'a Registry,
    pub(super) target: &'a Target,
    pub(super) job: &'a Mutex<ReplicationJob>,
    pub(super) repository: Repository,
    /// Manifests that are known to be there.
    manifests: HashSet<Digest>,
    /// Those whose referrers have been looked at.
    referred: HashSet<Digest>,
}

impl<'a> Synchronise<'a> {
    pub(super) fn new(registry: &'a Registry, target: &'a Target, job: &'a Mutex<ReplicationJob>) -> Self {
        let repository = job.lock().unwrap_or_else(std::sync::PoisonError::into_inner).repository.clone();
        Self { registry, target, job, repository, manifests: HashSet::new(), referred: HashSet::new() }
    }

    /// Does it.
    ///
    /// # Errors
    /// What could not be copied; the rest has been.
    pub(super) async fn run(mut self) -> Done {
        // What is itself a copy has its own way to where it is wanted.
        if self.registry.cache.of(&self.repository).is_some() {
            return Ok(());
        }
        let there = self.target.repository(&self.repository)?;
        let all = self.registry.metadata.tag_records(&self.repository).await?;
        let wanted: Vec<&TagRecord> = all.iter().filter(|tag| self.target.takes_tag(&tag.name)).collect();
        let mut failures: Vec<(&TagRecord, SyncError)> = Vec::new();
        for tag in &wanted {
            match self.tag(&there, tag).await {
                Ok(()) => {}
                Err(error) if error.is_of_everything() => return Err(error),
                Err(error) => failures.push((tag, error)),
            }
        }
        if self.target.with_deletes() {
            self.delete(&there, &all).await?;
        }
        let failed = failures.len();
        match failures.into_iter().next() {
            None => Ok(()),
            Some((tag, source)) => Err(SyncError::Tags {
                failed,
                all: wanted.len(),
                tag: tag.name.clone(),
                source: Box::new(source),
            }),
        }
    }

    async fn tag(&mut self, there: &dray_registry::Repository, tag: &TagRecord) -> Done {
        match resolved(there, &tag.name).await? {
            Some(digest) if digest == tag.digest => drop(self.manifests.insert(digest)),
            _ => self.manifest(there, &tag.digest, Some(&tag.name), 0).await?,
        }
        if self.target.with_referrers() { self.referrers(there, &tag.digest).await } else { Ok(()) }
    }

    /// A manifest with everything that it needs, which goes first.
    async fn manifest(
        &mut self,
        there: &dray_registry::Repository,
        digest: &Digest,
        tag: Option<&str>,
        depth: usize,
    ) -> Done {
        if tag.is_none() {
            if self.manifests.contains(digest) {
                return Ok(());
            }
            if there.has_manifest(digest.as_str()).await? {
                self.manifests.insert(digest.clone());
                return Ok(());
            }
        }
        let Some(stored) = self.registry.metadata.manifest(&self.repository, digest).await? else {
            // It was deleted a moment ago, which is a change that comes by itself.
            return Ok(());
        };
        let unfit = |problem: String| SyncError::Manifest { digest: digest.clone(), problem };
        let parsed = ManifestOrIndex::parse(Some(&stored.media_type), &stored.content);
        match parsed.map_err(|error| unfit(error.to_string()))? {
            ManifestOrIndex::Index(_) if depth == DEEPEST => {
                return Err(unfit(format!("more than {DEEPEST} indexes lie in each other")));
            }
            ManifestOrIndex::Index(index) => self.children(there, &index, depth + 1).await?,
            ManifestOrIndex::Manifest(manifest) => {
                for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    self.blob(there, descriptor).await?;
                }
                if manifest.subject.is_some() {
                    self.put_referrer(there, &manifest, &stored).await?;
                }
            }
        }
        let by = tag.unwrap_or(digest.as_str());
        there.put_manifest(by, &stored.media_type, stored.content).await?;
        self.registry.report.replicated_manifest();
        self.manifests.insert(digest.clone());
        Ok(())
    }

    async fn children(&mut self, there: &dray_registry::Repository, index: &Index, depth: usize) -> Done {
        for child in &index.manifests {
            let kind = &child.media_type;
            match kind.is_empty() || media_type::is_manifest(kind) || media_type::is_index(kind) {
                // An index of many platforms may be here with some of them only.
                true => Box::pin(self.manifest(there, &child.digest, None, depth)).await?,
                false => self.blob(there, child).await?,
            }
        }
        Ok(())
    }

    /// A registry that keeps no track of subjects gets the list that clients keep.
    async fn put_referrer(
        &self,
        there: &dray_registry::Repository,
        manifest: &Manifest,
        stored: &StoredManifest,
    ) -> Done {
        there.put_referrer(manifest, stored.content.clone()).await?;
        Ok(())
    }

    /// What refers to a manifest, and to that, and to the manifests that an index lists. Not by recursion: what refers
    /// to what refers to a manifest may go on without end.
    async fn referrers(&mut self, there: &dray_registry::Repository, subject: &Digest) -> Done {
        let mut subjects = vec![subject.clone()];
        while let Some(subject) = subjects.pop() {
            if !self.referred.insert(subject.clone()) {
                continue;
            }
            let mut after = None;
            loop {
                let filter = Filter { artifact_type: None, after, limit: PAGE, bytes: PAGE_BYTES };
                let found = self.registry.metadata.referrers(&self.repository, &subject, &filter).await?;
                let Some(last) = found.last() else { break };
                after = Some(last.digest.to_string());
                for referrer in found {
                    self.manifest(there, &referrer.digest, None, 0).await?;
                    subjects.push(referrer.digest);
                }
            }
            let stored = self.registry.metadata.manifest(&self.repository, &subject).await?;
            let Some(stored) = stored.filter(|stored| media_type::is_index(&stored.media_type)) else {
                continue;
            };
            let parsed = ManifestOrIndex::parse(Some(&stored.media_type), &stored.content);
            if let Ok(ManifestOrIndex::Index(index)) = parsed {
                subjects.extend(index.manifests.into_iter().map(|child| child.digest));
            }
        }
        Ok(())
    }

    /// Deletes the tags there that are not here.
    async fn delete(&self, there: &dray_registry::Repository, here: &[TagRecord]) -> Done {
        let tags = match there.tags().await {
            Ok(tags) => tags,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let is_here = |tag: &String| here.iter().any(|record| record.name == **tag);
        // The list of referrers of a registry that keeps none is a tag as well.
        let (gone, stay): (Vec<String>, Vec<String>) = tags
            .into_iter()
            .partition(|tag| !is_here(tag) && self.target.takes_tag(tag) && !tag.starts_with("sha256-"));
        let mut kept: Option<HashMap<Digest, String>> = None;
        for tag in &gone {
            if there.delete_tag(tag).await? {
                continue;
            }
            // A registry that deletes by digest only, and with it whatever else has the same.
            let Some(digest) = resolved(there, tag).await? else { continue };
            let kept = match &kept {
                Some(kept) => kept,
                None => kept.insert(digests(there, &stay).await?),
            };
            match kept.get(&digest) {
                None => there.delete_manifest(&digest).await?,
                Some(other) => {
                    tracing::info!(repository = %self.repository, tag, other, "a tag stays there: another is the same");
                }
            }
        }
        Ok(())
    }
}

async fn digests(
    there: &dray_registry::Repository,
    tags: &[String],
) -> Result<HashMap<Digest, String>, SyncError> {
    let mut digests = HashMap::new();
    for tag in tags {
        if let Some(digest) = resolved(there, tag).await? {
            digests.insert(digest, tag.clone());
        }
    }
    Ok(digests)
}

/// What a tag is set to there; nothing if there is none.
async fn resolved(there: &dray_registry::Repository, tag: &str) -> Result<Option<Digest>, SyncError> {
    match there.resolve(tag).await {
        Ok(digest) => Ok(digest),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
