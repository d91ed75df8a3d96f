//! Files of a client on their way here: for one build, or into a context that stays, so that the next build brings
//! only what has changed.

use dray_build::{ContextDir, Facts, FileKind, Receiving};
use dray_buildkit::grpc::Status;
use dray_buildkit::proto::session::Stat;
use dray_buildkit::{
    ArchiveReader, FileSyncError, Held, NothingHeld, Session, StatKind, Wanted, copy_as_tar,
};
use dray_engine::build::Error;
use std::sync::Arc;

use super::attrs::Folder;
use super::job::Job;
use super::progress::VertexProgress;
use super::{BuildKit, failure};

/// A transfer, and how it is shown.
pub(super) struct Transfer<'a> {
    pub folder: &'a Folder,
    pub wanted: Wanted,
    pub vertex: &'a VertexProgress,
    pub what: &'static str,
}

impl BuildKit {
    /// Fetches files of the client into a folder that goes away with its value.
    pub(super) async fn transfer(&self, job: &Job, transfer: Transfer<'_>) -> Result<ContextDir, Status> {
        transfer.vertex.begin();
        let files = async {
            let session = self.session_of(job, transfer.folder).await?;
            let builds = Arc::clone(&self.builds);
            let unpack = move |reader| builds.unpack(reader);
            copied(&session, &transfer, &mut NothingHeld, unpack).await
        };
        let files = files.await;
        transfer.vertex.end(files.as_ref().err().map(|status| status.message.clone()));
        files
    }

    /// Fetches a context, of which what came with an earlier build is here. A client that does not say where its files
    /// come from brings all of them.
    pub(super) async fn transfer_changes(
        &self,
        job: &Job,
        transfer: Transfer<'_>,
    ) -> Result<ContextDir, Status> {
        let session = self.session_of(job, transfer.folder).await?;
        if session.shared_key().is_empty() {
            return self.transfer(job, transfer).await;
        }
        transfer.vertex.begin();
        let files = self.changes(&session, &transfer).await;
        transfer.vertex.end(files.as_ref().err().map(|status| status.message.clone()));
        files
    }

    async fn changes(&self, session: &Session, transfer: &Transfer<'_>) -> Result<ContextDir, Status> {
        let name = &transfer.folder.name;
        let key = format!("{name}:{}", session.shared_key());
        let (builds, description) = (Arc::clone(&self.builds), name.clone());
        let begin = move || {
            let mut receiving = builds.receive(&key, &description)?;
            let writer = receiving.writer().map_err(Error::from)?;
            Ok((receiving, writer))
        };
        let begun = tokio::task::spawn_blocking(begin).await.map_err(failure::internal)?;
        let (receiving, writer) = begun.map_err(failure::engine)?;
        let mut kept = Kept(receiving);
        let builds = Arc::clone(&self.builds);
        let unpack = move |reader| builds.unpack_missing(writer, reader);
        let unpacked = copied(session, transfer, &mut kept, unpack).await?;
        let finish = move || kept.0.finish(unpacked).map_err(|error| failure::engine(error.into()));
        tokio::task::spawn_blocking(finish).await.map_err(failure::internal)?
    }

    async fn session_of(&self, job: &Job, folder: &Folder) -> Result<Session, Status> {
        self.sessions.find(folder.session.as_ref().unwrap_or(&job.session)).await
    }
}

/// Copies what is not held, through what unpacks it.
async fn copied<T: Send + 'static>(
    session: &Session,
    transfer: &Transfer<'_>,
    held: &mut dyn Held,
    unpack: impl FnOnce(ArchiveReader) -> Result<T, Error> + Send + 'static,
) -> Result<T, Status> {
    let (sender, reader) = ArchiveReader::pipe();
    let unpacking = tokio::task::spawn_blocking(move || unpack(reader));
    let counter = transfer.vertex.counter(transfer.what);
    let copied = copy_as_tar(session, &transfer.wanted, held, sender, counter).await;
    let unpacked = unpacking.await.map_err(failure::internal)?;
    match (copied, unpacked) {
        (Ok(bytes), Ok(files)) => {
            transfer.vertex.counted(transfer.what, bytes, 0, true);
            Ok(files)
        }
        (Err(FileSyncError::Unwanted) | Ok(_), Err(error)) => Err(failure::engine(error)),
        (Err(FileSyncError::Call(status)), _) => Err(status),
        (Err(error), _) => Err(failure::internal(error)),
    }
}

/// A context that is kept, as the transfer asks it.
struct Kept(Receiving);

impl Held for Kept {
    fn holds(&mut self, stat: &Stat) -> bool {
        let kind = match stat.kind() {
            StatKind::File => FileKind::File,
            StatKind::Hardlink => FileKind::Hardlink,
            StatKind::Folder => FileKind::Folder,
            StatKind::Symlink => FileKind::Symlink,
            StatKind::Special => FileKind::Special,
            // They are nowhere.
            StatKind::Socket => return true,
        };
        let facts = Facts {
            kind: kind as i32,
            mode: stat.mode,
            size: u64::try_from(stat.size).unwrap_or(0),
            modified: stat.mod_time,
            changed: 0,
            link: stat.linkname.clone(),
        };
        self.0.holds(&stat.path, facts)
    }
}
