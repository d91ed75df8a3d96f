//! What the registry knows: which repository has which blobs, manifests and tags, and where the bytes lie.
//!
//! The metadata are the only truth. Every operation of [`Metadata`] is one transaction: it happens whole or not at
//! all, and all of them are as if one came after the other. What an operation has acknowledged survives a power
//! cut, except where its comment says *relaxed*: that survives the death of the process only.
//!
//! ```text
//! tag ──► manifest ──► reference ──► link ──► blob ──► key of an object in the storage, or the bytes themselves
//!            │              │         │
//!            └─ subject     └─ child  └─ one repository's right to the blob, and when it was last relied on
//! upload ──► key of an unfinished object
//! garbage ─► keys that nothing names any more, to be removed from the storage
//! ```
//!
//! # Why nothing that is in use is ever collected
//! 1. A manifest is stored only while all links it needs are there, in the same transaction ([`Metadata::put_manifest`]).
//! 2. A link is taken away only while no manifest of its repository needs it, and a blob only while no link leads to
//!    it, each in one transaction.
//! 3. An object is removed from the storage only after the transaction that put its key into `garbage` and took away
//!    the last record naming it. Keys are never used twice ([`crate::name::Key`]), so nothing can come to need a key
//!    again: a blob that is pushed anew has a new key.
//!
//! So there is no phase in which pushes must wait for the collector. `crate::garbage::model` is the model of it whose every state is checked.

#[cfg(test)]
pub(crate) mod contract;
mod error;
pub mod postgres;
mod record;
pub mod sqlite;

use async_trait::async_trait;
use dray_spec::Digest;

use crate::name::{Key, Repository, UploadId};

pub use error::Error;
pub use postgres::Postgres;
pub use record::{
    Blob, CachedManifest, Collected, Cutoff, Deleted, Expect, Filter, Garbage, Mounted, NewManifest, Place,
    Put, Quota, Referrer, Replication, ReplicationJob, Robot, StoredManifest, TagRecord, Upload, Usage,
};
pub use sqlite::Sqlite;

/// Result of a metadata operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Milliseconds since 1970.
pub type Millis = i64;

/// A back end.
#[async_trait]
pub trait Metadata: Send + Sync + 'static {
    /// Names of repositories after `after`, in byte order, at most `limit`.
    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>>;

    /// Names of tags after `after`, in byte order; none if there is no such repository.
    async fn tags(
        &self,
        repository: &Repository,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<String>>>;

    /// Whether there is such a repository.
    async fn has_repository(&self, repository: &Repository) -> Result<bool>;

    /// A blob, if the repository has it.
    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<Blob>>;

    /// Notes that somebody relies on the repository's having the blob from now on. False if it hasn't (any more).
    /// Relaxed.
    async fn touch(&self, repository: &Repository, digest: &Digest, now: Millis) -> Result<bool>;

    /// Repositories that have the blob.
    async fn holders(&self, digest: &Digest, limit: usize) -> Result<Vec<String>>;

    /// Gives `to` the blob, if `from` has it.
    async fn mount(
        &self,
        from: &Repository,
        to: &Repository,
        digest: &Digest,
        quotas: &[Quota],
        now: Millis,
    ) -> Result<Mounted>;

    /// Takes the blob from the repository, unless a manifest needs it.
    async fn unlink(&self, repository: &Repository, digest: &Digest) -> Result<Deleted>;

    /// Gives the repository a blob that comes with the call and is small.
    async fn put_small(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes: bytes::Bytes,
        quotas: &[Quota],
        now: Millis,
    ) -> Result<Put>;

    /// Begins an upload. Relaxed.
    async fn begin_upload(&self, upload: &Upload) -> Result<()>;

    /// An upload, if it is this repository's.
    async fn upload(&self, repository: &Repository, id: &UploadId) -> Result<Option<Upload>>;

    /// Records how far an upload has come, if it still is where it was (`from`). A key that it has from now on is
    /// recorded before the object is made. Another key than it has is taken only while its object holds nothing that is
    /// recorded; the former object becomes garbage. Relaxed.
    async fn advance_upload(&self, upload: &Upload, from: u64) -> Result<bool>;

    /// Turns a finished upload, whose object is sealed, into a blob of its repository. Where the blob is known
    /// already, the object becomes garbage. Gone, if there is no such upload with this key (any more).
    async fn commit_upload(
        &self,
        upload: &Upload,
        digest: &Digest,
        quotas: &[Quota],
        now: Millis,
    ) -> Result<Put>;

    /// Gives an upload up; its object becomes garbage. False if there is none.
    async fn cancel_upload(&self, repository: &Repository, id: &UploadId) -> Result<bool>;

    /// Stores a manifest with its tags, if everything that it needs is there.
    async fn put_manifest(&self, manifest: &NewManifest) -> Result<Put>;

    /// A manifest by digest.
    async fn manifest(&self, repository: &Repository, digest: &Digest) -> Result<Option<StoredManifest>>;

    /// A manifest by tag.
    async fn tagged(&self, repository: &Repository, tag: &str) -> Result<Option<StoredManifest>>;

    /// Deletes a manifest and the tags that name it, unless an index lists it.
    async fn delete_manifest(&self, repository: &Repository, digest: &Digest) -> Result<Deleted>;

    /// Deletes a tag.
    async fn delete_tag(&self, repository: &Repository, tag: &str) -> Result<Deleted>;

    /// Deletes a tag, if it still is what it was.
    async fn expire_tag(&self, repository: &Repository, tag: &TagRecord) -> Result<Deleted>;

    /// Manifests whose subject is `subject`, in the order of their digests.
    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        filter: &Filter,
    ) -> Result<Vec<Referrer>>;

    /// All tags of a repository with their age, the newest first.
    async fn tag_records(&self, repository: &Repository) -> Result<Vec<TagRecord>>;

    /// Takes away what nothing needs and nobody has relied on since the cutoffs, at most `limit` things in each
    /// transaction and kind; the caller goes on until nothing was found.
    async fn collect(&self, cutoff: &Cutoff, limit: usize) -> Result<Collected>;

    /// Keys to be removed from the storage.
    async fn garbage(&self, limit: usize) -> Result<Vec<Garbage>>;

    /// Notes that these keys have been removed from the storage.
    async fn forget_garbage(&self, keys: &[Key]) -> Result<()>;

    /// Those of `keys` that no record names.
    async fn unknown_keys(&self, keys: &[Key]) -> Result<Vec<Key>>;

    /// Notes that a manifest which is kept for another registry was asked for. No error if it is gone. Relaxed.
    async fn note_use(&self, repository: &Repository, digest: &Digest, now: Millis) -> Result<()>;

    /// Manifests that are kept for other registries and were last asked for before, the longest unused first.
    async fn least_used(&self, before: Millis, limit: usize) -> Result<Vec<CachedManifest>>;

    /// Notes that a tag is what another registry says it is. No error if it is gone. Relaxed.
    async fn note_check(&self, repository: &Repository, tag: &str, now: Millis) -> Result<()>;

    /// When a tag was last found to be what another registry says it is.
    async fn checked(&self, repository: &Repository, tag: &str) -> Result<Option<Millis>>;

    /// Blobs of a repository that none of its manifests needs.
    async fn unneeded(&self, repository: &Repository, limit: usize) -> Result<Vec<Digest>>;

    /// Notes that a repository has changed, so that its copy at `target` is to be brought up to date: now, or when it
    /// will be tried again.
    async fn mark_replication(&self, target: &str, repository: &Repository, now: Millis) -> Result<()>;

    /// Takes the copy at `target` that is due for the longest time and that nobody has taken until later than now.
    async fn claim_replication(
        &self,
        target: &str,
        now: Millis,
        until: Millis,
    ) -> Result<Option<ReplicationJob>>;

    /// Keeps a copy for longer, and notes an upload to be gone on with. Relaxed.
    async fn keep_replication(&self, job: &ReplicationJob, until: Millis) -> Result<()>;

    /// Gives a copy back that is up to date. It is due again if its repository has changed since it was taken.
    async fn end_replication(&self, job: &ReplicationJob, now: Millis) -> Result<()>;

    /// Gives a copy back that could not be brought up to date, to be tried again at `due`.
    async fn fail_replication(&self, job: &ReplicationJob, error: &str, due: Millis) -> Result<()>;

    /// All copies, by target and repository.
    async fn replications(&self) -> Result<Vec<Replication>>;

    /// What the repositories whose name is `prefix` or begins with `prefix/` hold; all, if it is empty.
    async fn usage(&self, prefix: &str) -> Result<Usage>;

    /// Adds or replaces a robot account.
    async fn put_robot(&self, robot: &Robot) -> Result<()>;

    /// A robot account.
    async fn robot(&self, name: &str) -> Result<Option<Robot>>;

    /// All robot accounts by name.
    async fn robots(&self) -> Result<Vec<Robot>>;

    /// Removes a robot account; false if there is none.
    async fn remove_robot(&self, name: &str) -> Result<bool>;

    /// A value that all instances share, made by `fresh` when first asked for.
    async fn shared(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>>;

    /// Whether it can be written to and read from now.
    async fn check(&self) -> Result<()>;
}
