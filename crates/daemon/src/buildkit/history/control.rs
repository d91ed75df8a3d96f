//! BuildKit's calls for the history: `ListenBuildHistory`, `UpdateBuildHistory`, `Status` of a build that is known from
//! there, and the blobs that records name (logs, errors, traces) through `Content`.

use std::sync::Arc;

use dray_buildkit::grpc::{Call, Code, Reply, ReplySender, Status};
use dray_buildkit::log::next_message;
use dray_buildkit::proto::content::{
    Info, InfoRequest, InfoResponse, ReadContentRequest, ReadContentResponse,
};
use dray_buildkit::proto::control::{
    BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRecord, BuildHistoryRequest, Empty,
    UpdateBuildHistoryRequest,
};
use dray_engine::build::History;
use dray_engine::build::history::record::BuildRecord;
use dray_engine::build::history::{HistoryChange, HistoryError};
use jiff::Timestamp as Time;
use tokio::sync::broadcast;

use super::filter::filtered;
use super::read::LogReader;
use super::wire::{blobs, to_wire, wire_time};
use crate::buildkit::{BuildKit, failure, unknown};

/// The header that tells clients what the time is here.
const NOW: &str = "buildkit-current-timestamp";
/// Bytes of a blob that travel at once.
const PIECE: usize = 512 << 10;

impl BuildKit {
    pub(in crate::buildkit) fn history(&self) -> &Arc<History> {
        self.builds.history()
    }

    pub(in crate::buildkit) async fn listen_history(
        &self,
        request: BuildHistoryRequest,
    ) -> Result<Reply, Status> {
        if request.limit < 0 {
            return Err(failure::invalid(format!("invalid limit {}", request.limit)));
        }
        let changes = self.history().subscribe();
        let history = Arc::clone(self.history());
        let records = tokio::task::spawn_blocking(move || history.list()).await.map_err(failure::internal)?;
        let mut records = records.map_err(status)?;
        records.retain(|record| request.reference.is_empty() || record.id == request.reference);
        records.retain(|record| record.completed.is_none() || !request.active_only);
        // Builds that run are told of whatever the filters say, as BuildKit does.
        let (running, ended): (Vec<_>, Vec<_>) = records.into_iter().partition(|r| r.completed.is_none());
        let filters: Vec<&str> = request.filter.iter().map(String::as_str).collect();
        let mut records = running;
        records.extend(filtered(ended, &filters)?);
        if request.limit > 0 {
            let mut room = usize::try_from(request.limit).unwrap_or(usize::MAX);
            records.retain(|record| {
                let kept = record.completed.is_none() || room > 0;
                room -= usize::from(kept && record.completed.is_some());
                kept
            });
        }
        let (sender, reply) = Reply::many();
        tokio::spawn(async move {
            for record in records {
                if !sender.send(&event(&record)).await {
                    return;
                }
            }
            if !request.early_exit {
                follow(changes, &request, &sender).await;
            }
        });
        Ok(reply.with_header(NOW, &Time::now().to_string()))
    }

    pub(in crate::buildkit) async fn update_history(
        &self,
        request: UpdateBuildHistoryRequest,
    ) -> Result<Reply, Status> {
        let history = Arc::clone(self.history());
        let work = move || match (request.delete, request.finalize) {
            (true, _) => history.remove(&request.reference),
            // A record is whole when its build has ended.
            (_, true) => Ok(()),
            _ => history.pin(&request.reference, request.pinned),
        };
        tokio::task::spawn_blocking(work).await.map_err(failure::internal)?.map_err(status)?;
        Ok(Reply::one(&Empty {}))
    }

    /// What a build has told, from the history; if it runs, on to its end. `None` if it is not there.
    pub(in crate::buildkit) async fn past_status(&self, reference: &str) -> Result<Option<Reply>, Status> {
        let (history, id) = (Arc::clone(self.history()), reference.to_owned());
        let found = tokio::task::spawn_blocking(move || history.get(&id)).await.map_err(failure::internal)?;
        let Some(record) = found.map_err(status)? else { return Ok(None) };
        let (sender, reply) = Reply::many();
        let history = Arc::clone(self.history());
        tokio::spawn(replay(history, record.id, sender));
        Ok(Some(reply))
    }

    pub(in crate::buildkit) async fn history_content(
        &self,
        method: &str,
        mut call: Call,
    ) -> Result<Reply, Status> {
        match method {
            "Info" => {
                let request: InfoRequest = call.messages.only().await?;
                let (bytes, record) = self.blob(&request.digest).await?;
                let made = Some(wire_time(record.completed.unwrap_or(record.created)));
                let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
                let info = Info { digest: request.digest, size, created_at: made, updated_at: made };
                Ok(Reply::one(&InfoResponse { info: Some(info) }))
            }
            "Read" => {
                let request: ReadContentRequest = call.messages.only().await?;
                let (bytes, _) = self.blob(&request.digest).await?;
                Ok(pieces(bytes, request.offset, request.size))
            }
            _ => Err(unknown("containerd.services.content.v1.Content", method)),
        }
    }

    /// A blob that a record names.
    async fn blob(&self, digest: &str) -> Result<(Vec<u8>, BuildRecord), Status> {
        let (history, wanted) = (Arc::clone(self.history()), digest.to_owned());
        let find = move || -> Result<Option<(Vec<u8>, BuildRecord)>, HistoryError> {
            for record in history.list()? {
                for blob in blobs(&record) {
                    if blob.descriptor.digest == wanted {
                        return Ok(blob.bytes(&history, &record.id).map(|bytes| (bytes, record)));
                    }
                }
            }
            Ok(None)
        };
        let found = tokio::task::spawn_blocking(find).await.map_err(failure::internal)?.map_err(status)?;
        found.ok_or_else(|| Status::new(Code::NotFound, format!("content {digest}: not found")))
    }
}

fn status(error: HistoryError) -> Status {
    let code = match error {
        HistoryError::NotFound(_) => Code::NotFound,
        HistoryError::Running(_) => Code::FailedPrecondition,
        _ => Code::Unknown,
    };
    Status::new(code, error.to_string())
}

/// Goes on with what changes.
async fn follow(
    mut changes: broadcast::Receiver<HistoryChange>,
    request: &BuildHistoryRequest,
    sender: &ReplySender,
) {
    loop {
        let change = tokio::select! {
            change = changes.recv() => change,
            () = sender.closed() => return,
        };
        let event = match change {
            Ok(HistoryChange::Started(record) | HistoryChange::Completed(record)) => event(&record),
            Ok(HistoryChange::Deleted(id)) => BuildHistoryEvent {
                kind: BuildHistoryEventType::Deleted.into(),
                record: Some(BuildHistoryRecord { reference: id, ..BuildHistoryRecord::default() }),
            },
            // Who reads so slowly asks again for all.
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let of = event.record.as_ref().map(|record| record.reference.as_str()).unwrap_or_default();
        let wanted = request.reference.is_empty() || request.reference == of;
        if wanted && !sender.send(&event).await {
            return;
        }
    }
}

/// Sends the messages of a log; of a build that runs, also those that come.
async fn replay(history: Arc<History>, id: String, sender: ReplySender) {
    let opened = tokio::task::spawn_blocking(move || LogReader::open(history, &id)).await;
    let mut reader = match opened {
        Ok(Ok(reader)) => reader,
        Ok(Err(error)) => return sender.fail(status(error)).await,
        Err(error) => return sender.fail(failure::internal(error)).await,
    };
    loop {
        let read = tokio::task::spawn_blocking(move || reader.next().map(|next| (reader, next))).await;
        let (again, (bytes, ended)) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return sender.fail(status(error)).await,
            Err(error) => return sender.fail(failure::internal(error)).await,
        };
        reader = again;
        let mut rest = bytes.as_slice();
        while let Some(message) = next_message(&mut rest) {
            if !sender.send(&message).await {
                return;
            }
        }
        if ended {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(LogReader::PAUSE) => {}
            () = sender.closed() => return,
        }
    }
}

fn event(record: &BuildRecord) -> BuildHistoryEvent {
    let kind = match record.completed {
        None => BuildHistoryEventType::Started,
        Some(_) => BuildHistoryEventType::Complete,
    };
    BuildHistoryEvent { kind: kind.into(), record: Some(to_wire(record)) }
}

/// A part of a blob, as a stream; all that follows the offset if no size is said.
fn pieces(bytes: Vec<u8>, offset: i64, size: i64) -> Reply {
    let begin = usize::try_from(offset).unwrap_or(0).min(bytes.len());
    let end = match usize::try_from(size) {
        Ok(size) if size > 0 => begin.saturating_add(size).min(bytes.len()),
        _ => bytes.len(),
    };
    let part = bytes::Bytes::from(bytes).slice(begin..end);
    let (sender, reply) = Reply::many();
    tokio::spawn(async move {
        for (n, piece) in part.chunks(PIECE).enumerate() {
            let offset = i64::try_from(begin + n * PIECE).unwrap_or(i64::MAX);
            if !sender.send(&ReadContentResponse { offset, data: part.slice_ref(piece) }).await {
                return;
            }
        }
    });
    reply
}
