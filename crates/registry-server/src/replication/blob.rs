//! A blob on its way to another registry: found there, mounted there, or sent, from where an earlier attempt ended.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use dray_registry::{Mount, UploadSession};
use dray_spec::Descriptor;
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::synchronise::{SyncError, Synchronise};
use crate::api::{is_elsewhere, now};
use crate::cache::nameless;
use crate::metadata::Place;
use crate::name::Repository;
use crate::storage::Content;

/// Repositories that are looked at for one from which a blob can be mounted there.
const HOLDERS: usize = 16;

impl Synchronise<'_> {
    /// Sees to it that a blob is there.
    pub(super) async fn blob(
        &self,
        there: &dray_registry::Repository,
        descriptor: &Descriptor,
    ) -> Result<(), SyncError> {
        let digest = &descriptor.digest;
        if there.has_blob(digest).await? {
            return Ok(());
        }
        let metadata = &self.registry.metadata;
        let Some(blob) = metadata.blob(&self.repository, digest).await? else {
            return if is_elsewhere(descriptor) { Ok(()) } else { Err(SyncError::NoBlob(digest.clone())) };
        };
        let whole = Descriptor::new("application/octet-stream", digest.clone(), blob.size);
        let key = match blob.place {
            Place::Inline(bytes) => {
                there.upload_bytes(&whole, bytes).await?;
                self.registry.report.replicated(whole.size);
                return Ok(());
            }
            Place::Stored(key) => key,
        };
        let session = match self.session(there, &whole).await? {
            Some(session) => session,
            None => return Ok(()),
        };
        let content = self.registry.storage.open(&key, 0..blob.size).await?;
        let content = content.ok_or_else(|| SyncError::NoBlob(digest.clone()))?;
        let file = match content {
            Content::File { file, .. } => file,
            Content::Stream(mut stream) => {
                let file = nameless(&self.registry.cache.spool).map_err(SyncError::Spool)?;
                let mut writing = tokio::fs::File::from_std(file.try_clone().map_err(SyncError::Spool)?);
                while let Some(piece) = stream.next().await {
                    writing.write_all(&piece?).await.map_err(SyncError::Spool)?;
                }
                writing.flush().await.map_err(SyncError::Spool)?;
                Arc::new(file)
            }
        };
        // The file may have no name, or lose it while it is sent.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        there.upload(Some(session), &path, &whole, Arc::new(|_| {})).await?;
        drop(file);
        self.registry.report.replicated(whole.size);
        Ok(())
    }

    /// An upload to be gone on with, or a new one; none if the blob has been mounted. Where it goes on is noted.
    async fn session(
        &self,
        there: &dray_registry::Repository,
        whole: &Descriptor,
    ) -> Result<Option<UploadSession>, SyncError> {
        let noted = self.job.lock().unwrap_or_else(PoisonError::into_inner).upload.clone();
        if let Some((digest, location)) = noted
            && digest == whole.digest
            && let Ok(session) = there.resume_upload(&location).await
        {
            return Ok(Some(session));
        }
        let session = match self.elsewhere(whole).await? {
            Some(from) => match there.mount(&whole.digest, &from).await? {
                Mount::Mounted => return Ok(None),
                Mount::Upload(session) => session,
            },
            None => there.start_upload().await?,
        };
        let job = {
            let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
            job.upload = Some((whole.digest.clone(), session.location().to_owned()));
            job.clone()
        };
        self.registry.metadata.keep_replication(&job, now().saturating_add(super::LEASE)).await?;
        Ok(Some(session))
    }

    /// Another copy there that should have the blob.
    async fn elsewhere(&self, whole: &Descriptor) -> Result<Option<String>, SyncError> {
        let names = self.registry.metadata.holders(&whole.digest, HOLDERS).await?;
        let others = names.iter().filter_map(|name| Repository::parse(name));
        let mut taken = others.filter(|name| *name != self.repository && self.target.takes(name));
        Ok(taken.next().map(|name| self.target.path(&name)))
    }
}
