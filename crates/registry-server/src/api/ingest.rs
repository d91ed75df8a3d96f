//! The bytes of an upload on their way in: hashed, written, recorded.
//!
//! ```text
//! body ─ batch n+1 ┐ at the same time
//!                  ├─ batch n: hash ∥ write      both on threads that may wait
//! few bytes in all ┴─ kept in the upload's record, no object is made
//! ```
//! Invariant: `upload` is what would be recorded now; the hasher has taken in exactly `upload.offset` bytes.

use bytes::Bytes;
use dray_spec::{Digest, Hasher};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::now;
use super::problem::Problem;
use super::registry::Registry;
use crate::metadata::{Put, Quota, Upload};
use crate::name::{Key, Repository};
use crate::storage::{Content, Draft};

/// How much is collected before it is hashed and written.
const BATCH: usize = 1024 * 1024;
/// Below this a hash is made where it is needed; handing it over would take longer.
const HASH_HERE: usize = 32 * 1024;
/// How often progress is recorded while a body lasts, so that a lost server costs no more than this.
const RECORD_EVERY: u64 = 64 * 1024 * 1024;

/// How long a client may send nothing in the middle of a body.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// An upload that is being written.
pub(super) struct Ingest<'a> {
    registry: &'a Registry,
    upload: Upload,
    hasher: Hasher,
    draft: Option<Box<dyn Draft>>,
    /// Where the record stands.
    recorded: u64,
    quotas: &'a [Quota],
}

/// Pieces of a body, and how it went on.
struct Batch {
    pieces: Vec<Bytes>,
    length: usize,
    end: Option<Result<(), Problem>>,
}

impl<'a> Ingest<'a> {
    /// Goes on with an upload.
    pub(super) fn new(registry: &'a Registry, upload: Upload, quotas: &'a [Quota]) -> Result<Self, Problem> {
        let hasher = Hasher::restore(&upload.hasher)
            .ok_or_else(|| Problem::UploadInvalid("its record is damaged; begin anew".into()))?;
        Ok(Self { registry, hasher, draft: None, recorded: upload.offset, upload, quotas })
    }

    /// Hashes with the algorithm that will be needed, as long as nothing has been hashed yet.
    pub(super) fn expect(&mut self, digest: &Digest) {
        if self.upload.offset == 0 {
            self.hasher = Hasher::like(digest);
        }
    }

    /// The repository that it is for.
    pub(super) fn repository(&self) -> &Repository {
        &self.upload.repository
    }

    /// Bytes taken in so far.
    pub(super) fn offset(&self) -> u64 {
        self.upload.offset
    }

    /// Takes a body in. What came before it broke off is kept and recorded.
    pub(super) async fn take(
        &mut self,
        mut body: Incoming,
        wanted: &CancellationToken,
    ) -> Result<(), Problem> {
        let mut batch = next(&mut body, wanted).await;
        while batch.end.is_none() {
            let (written, following) =
                tokio::join!(self.write(batch.pieces, batch.length), next(&mut body, wanted));
            written?;
            batch = following;
            if self.upload.offset - self.recorded >= RECORD_EVERY {
                self.record().await?;
            }
        }
        self.write(batch.pieces, batch.length).await?;
        match batch.end {
            Some(Err(problem)) => {
                self.record().await?;
                Err(problem)
            }
            _ => Ok(()),
        }
    }

    async fn write(&mut self, pieces: Vec<Bytes>, length: usize) -> Result<(), Problem> {
        if length == 0 {
            return Ok(());
        }
        self.within_quotas(length as u64).await?;
        let inline = self.upload.key.is_none()
            && self.upload.offset + length as u64 <= self.registry.limits.inline as u64;
        if inline {
            pieces.iter().for_each(|piece| self.hasher.update(piece));
            let mut buffer = Vec::with_capacity(self.upload.buffer.len() + length);
            buffer.extend_from_slice(&self.upload.buffer);
            pieces.iter().for_each(|piece| buffer.extend_from_slice(piece));
            self.upload.buffer = buffer.into();
        } else {
            self.open_draft().await?;
            let hashing = hash(self.hasher.clone(), pieces.clone(), length);
            let draft = self.draft.as_mut().ok_or(Problem::Abandoned)?;
            let (hasher, written) = tokio::join!(hashing, draft.write(pieces));
            written?;
            self.hasher = hasher?;
        }
        self.upload.offset += length as u64;
        Ok(())
    }

    /// An upload that no quota has room for whatever else is deleted is given up at once: else one without an end would
    /// fill the storage. Whether there is room for it beside the rest is known at its end, when it is known what it is.
    async fn within_quotas(&mut self, more: u64) -> Result<(), Problem> {
        let length = self.upload.offset + more;
        match self.quotas.iter().find(|quota| length > quota.bytes) {
            None => Ok(()),
            Some(quota) => {
                self.registry.metadata.cancel_upload(&self.upload.repository, &self.upload.id).await?;
                Err(super::registry::over(quota))
            }
        }
    }

    /// Opens the object's draft; bytes that were kept in the record go into it first.
    async fn open_draft(&mut self) -> Result<(), Problem> {
        let mut draft = match self.draft.take() {
            Some(draft) => draft,
            None => self.object().await?,
        };
        let buffer = std::mem::take(&mut self.upload.buffer);
        if !buffer.is_empty() {
            draft.write(vec![buffer]).await?;
        }
        self.draft = Some(draft);
        Ok(())
    }

    /// The object, made or gone on with. Its key is recorded before it is made, so that whatever happens to this
    /// process, somebody knows of the object. It holds what the record's buffer does not; one that holds nothing yet
    /// is made anew under another key, since the server that made it may still be at it.
    async fn object(&mut self) -> Result<Box<dyn Draft>, Problem> {
        let storage = &self.registry.storage;
        let inside = self.upload.offset - self.upload.buffer.len() as u64;
        if let Some(key) = self.upload.key.as_ref().filter(|_| inside > 0) {
            return Ok(storage.resume(key, inside, &self.upload.state).await?);
        }
        let key = Key::random();
        let recorded = usize::try_from(self.recorded).unwrap_or(usize::MAX).min(self.upload.buffer.len());
        let named = Upload {
            key: Some(key.clone()),
            offset: self.recorded,
            buffer: self.upload.buffer.slice(..recorded),
            updated: now(),
            ..self.upload.clone()
        };
        if !self.registry.metadata.advance_upload(&named, self.recorded).await? {
            return Err(Problem::UploadUnknown);
        }
        self.upload.key = Some(key.clone());
        Ok(storage.create(&key).await?)
    }

    /// Records how far it is.
    pub(super) async fn record(&mut self) -> Result<(), Problem> {
        if let Some(draft) = &mut self.draft {
            self.upload.state = draft.checkpoint().await?;
        }
        self.upload.hasher = self.hasher.save();
        self.upload.updated = now();
        if !self.registry.metadata.advance_upload(&self.upload, self.recorded).await? {
            return Err(Problem::UploadUnknown);
        }
        self.recorded = self.upload.offset;
        Ok(())
    }

    /// Ends it: what came must have this digest.
    pub(super) async fn finish(mut self, digest: &Digest) -> Result<(), Problem> {
        if self.upload.key.is_some() {
            self.open_draft().await?;
        }
        if let Some(draft) = &mut self.draft {
            draft.seal().await?;
        }
        let actual = self.actual(digest).await?;
        if actual != *digest {
            self.registry.metadata.cancel_upload(&self.upload.repository, &self.upload.id).await?;
            return Err(Problem::DigestMismatch { expected: digest.clone(), actual });
        }
        match self.registry.metadata.commit_upload(&self.upload, digest, self.quotas, now()).await? {
            Put::Stored => Ok(()),
            Put::OverQuota(quota) => Err(super::registry::over(&quota)),
            _ => Err(Problem::UploadUnknown),
        }
    }

    /// The digest of what came, by the algorithm of `wanted`. Where another was used, all is read again.
    async fn actual(&mut self, wanted: &Digest) -> Result<Digest, Problem> {
        if self.hasher.algorithm() == wanted.algorithm() {
            return Ok(self.hasher.clone().finish());
        }
        let mut hasher = Hasher::like(wanted);
        let Some(key) = &self.upload.key else {
            hasher.update(&self.upload.buffer);
            return Ok(hasher.finish());
        };
        let storage = &self.registry.storage;
        match storage.open(key, 0..self.upload.offset).await? {
            None => Err(Problem::UploadUnknown),
            Some(Content::File { file, .. }) => {
                let reading = tokio::task::spawn_blocking(move || {
                    std::io::copy(&mut &*file, &mut hasher).map(|_| hasher)
                });
                let hasher = reading.await.map_err(|_| Problem::Abandoned)?;
                Ok(hasher.map_err(|error| Problem::BodyBroken(error.to_string()))?.finish())
            }
            Some(Content::Stream(mut stream)) => {
                while let Some(piece) = stream.next().await {
                    hasher.update(&piece?);
                }
                Ok(hasher.finish())
            }
        }
    }
}

/// Takes pieces into a hash, on a thread that may work for a while where they are many.
pub(crate) async fn hash(mut hasher: Hasher, pieces: Vec<Bytes>, length: usize) -> Result<Hasher, Problem> {
    let work = move || {
        pieces.iter().for_each(|piece| hasher.update(piece));
        hasher
    };
    if length < HASH_HERE {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::Abandoned)
}

/// Collects the next pieces of a body, until there are enough or it ends.
async fn next(body: &mut Incoming, wanted: &CancellationToken) -> Batch {
    let mut batch = Batch { pieces: Vec::new(), length: 0, end: None };
    while batch.length < BATCH {
        let frame = tokio::select! {
            biased;
            frame = tokio::time::timeout(SILENCE, body.frame()) => frame,
            () = wanted.cancelled() => {
                batch.end = Some(Err(Problem::BodyBroken("another request has taken the upload over".into())));
                break;
            }
        };
        match frame {
            Err(_) => {
                batch.end = Some(Err(Problem::BodyBroken("nothing came for too long".into())));
                break;
            }
            Ok(None) => {
                batch.end = Some(Ok(()));
                break;
            }
            Ok(Some(Err(error))) => {
                batch.end = Some(Err(Problem::BodyBroken(error.to_string())));
                break;
            }
            Ok(Some(Ok(frame))) => {
                if let Ok(piece) = frame.into_data() {
                    batch.length += piece.len();
                    batch.pieces.push(piece);
                }
            }
        }
    }
    batch
}
