//! The values that metadata are made of.

use bytes::Bytes;
use dray_spec::Digest;

use super::Millis;
use crate::name::{Key, Repository, UploadId};

/// A blob that a repository has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Length in bytes.
    pub size: u64,
    /// Where the bytes are.
    pub place: Place,
    /// When somebody last relied on the repository's having it.
    pub touched: Millis,
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Here.
    Inline(Bytes),
    /// In the storage.
    Stored(Key),
}

/// An unfinished upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its name.
    pub id: UploadId,
    /// The repository that it is for.
    pub repository: Repository,
    /// Bytes received.
    pub offset: u64,
    /// The hasher after these bytes ([`dray_spec::Hasher::save`]).
    pub hasher: Vec<u8>,
    /// The last of these bytes, which the object does not hold; all of them where there is no object.
    pub buffer: Bytes,
    /// Their object.
    pub key: Option<Key>,
    /// What [`crate::storage::Draft::checkpoint`] gave.
    pub state: Vec<u8>,
    /// When it last moved.
    pub updated: Millis,
}

/// A manifest to be stored.
#[derive(Debug, Clone)]
pub struct NewManifest {
    /// Where.
    pub repository: Repository,
    /// Its digest, verified.
    pub digest: Digest,
    /// What it is.
    pub media_type: String,
    /// The document as it came.
    pub content: Bytes,
    /// The manifest that it is about.
    pub subject: Option<Digest>,
    /// What a list of referrers says of it.
    pub artifact_type: Option<String>,
    /// Its annotations, a JSON object.
    pub annotations: Option<String>,
    /// Blobs that it needs, and how long they must be.
    pub blobs: Vec<(Digest, u64)>,
    /// Blobs that it names but can do without; kept where they are there.
    pub optional_blobs: Vec<Digest>,
    /// Manifests that it lists.
    pub manifests: Vec<Digest>,
    /// Whether it is stored though something that it needs is not there.
    pub sparse: bool,
    /// Tags to be set to it.
    pub tags: Vec<String>,
    /// Those of them that must not move.
    pub immutable: Vec<String>,
    /// What the first tag must be for this to happen.
    pub expect: Expect,
    /// The time.
    pub now: Millis,
}

/// A condition of a request (`If-Match`, `If-None-Match`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Expect {
    /// None.
    #[default]
    Anything,
    /// The tag or manifest is one of these.
    OneOf(Vec<Digest>),
    /// There is one.
    Present,
    /// There is none.
    Absent,
}

/// What came of storing something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// It is stored.
    Stored,
    /// These are not there.
    Missing(Vec<Digest>),
    /// A blob has another length than the manifest says.
    WrongSize {
        /// Which.
        digest: Digest,
        /// Its length.
        actual: u64,
        /// What the manifest says.
        stated: u64,
    },
    /// This tag is set to something else and must not move.
    Immutable(String),
    /// The condition does not hold.
    Unexpected,
    /// It would be more than this quota allows.
    OverQuota(Quota),
    /// There is no such upload.
    Gone,
}

/// What came of mounting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mounted {
    /// The repository has it now.
    Mounted,
    /// It is not where it was said to be.
    Missing,
    /// It would be more than this quota allows.
    OverQuota(Quota),
}

/// What came of deleting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Deleted,
    /// It was not there.
    Missing,
    /// This manifest needs it.
    Needed(Digest),
}

/// A manifest as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// Its digest.
    pub digest: Digest,
    /// What it is.
    pub media_type: String,
    /// The document.
    pub content: Bytes,
}

/// An entry of a list of referrers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Its digest.
    pub digest: Digest,
    /// What it is.
    pub media_type: String,
    /// Its length.
    pub size: u64,
    /// The type of artifact.
    pub artifact_type: Option<String>,
    /// Its annotations, a JSON object.
    pub annotations: Option<String>,
}

/// Which referrers.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this type; an empty text means those without any.
    pub artifact_type: Option<String>,
    /// Only after this digest.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// Without annotations of more bytes than this, and none after the one with which they come to more together.
    pub bytes: u64,
}

/// A tag with its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRecord {
    /// The tag.
    pub name: String,
    /// What it is set to.
    pub digest: Digest,
    /// When it was set.
    pub updated: Millis,
}

/// A manifest that is kept for another registry, and when it was last asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedManifest {
    /// Where.
    pub repository: Repository,
    /// Its digest.
    pub digest: Digest,
    /// When it was last asked for.
    pub used: Millis,
}

/// How the copy of a repository at another registry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    /// The other registry's name in the configuration.
    pub target: String,
    /// The repository.
    pub repository: Repository,
    /// When it is to be brought up to date; none, if it is.
    pub due: Option<Millis>,
    /// How often that has failed since it last succeeded.
    pub attempts: u32,
    /// Why it failed last.
    pub error: Option<String>,
    /// When it last succeeded.
    pub synced: Option<Millis>,
}

/// A copy that is to be brought up to date now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationJob {
    /// The other registry's name in the configuration.
    pub target: String,
    /// The repository.
    pub repository: Repository,
    /// What changes of the repository it will know of.
    pub generation: i64,
    /// How often it has failed since it last succeeded.
    pub attempts: u32,
    /// An upload that was not finished: the blob, and where it goes on.
    pub upload: Option<(Digest, String)>,
}

/// What is old enough to be collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoff {
    /// Blobs that no manifest needs and nobody has relied on since.
    pub blobs: Millis,
    /// Uploads that have not moved since.
    pub uploads: Millis,
    /// Manifests without a tag that no index lists, pushed before; none unless this is wanted.
    pub untagged: Option<Millis>,
}

/// What was collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Untagged manifests.
    pub manifests: u64,
    /// Blobs taken from a repository.
    pub links: u64,
    /// Blobs that no repository had.
    pub blobs: u64,
    /// The bytes of these.
    pub bytes: u64,
    /// Uploads given up.
    pub uploads: u64,
    /// Repositories with nothing in them.
    pub repositories: u64,
}

impl Collected {
    /// Whether there was nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds another round's.
    pub fn add(&mut self, other: &Self) {
        self.manifests += other.manifests;
        self.links += other.links;
        self.blobs += other.blobs;
        self.bytes += other.bytes;
        self.uploads += other.uploads;
        self.repositories += other.repositories;
    }
}

/// An object that nothing names any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// Its key.
    pub key: Key,
    /// What its draft left, if it was never sealed.
    pub state: Vec<u8>,
}

/// A limit to what the repositories under a prefix may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// A repository, or the beginning of names up to a slash; empty for all.
    pub prefix: String,
    /// Bytes; a blob counts once for each repository that has it.
    pub bytes: u64,
}

/// What is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Repositories.
    pub repositories: u64,
    /// Manifests.
    pub manifests: u64,
    /// Tags.
    pub tags: u64,
    /// Bytes of blobs, each counted once for each repository that has it.
    pub bytes: u64,
}

/// An account of a program, with a secret that expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Robot {
    /// Its name, as it logs in.
    pub name: String,
    /// The SHA-256 of its secret: secrets are 256 random bits, which need no slow hash.
    pub secret: Vec<u8>,
    /// What it may do: `pattern:action,action`, separated by blanks.
    pub scopes: String,
    /// When it was made.
    pub created: Millis,
    /// When it ends.
    pub expires: Millis,
}
