//! A multi-part upload on its way.
//!
//! Several servers may come to write the same object, when a client that was cut off goes on at another before the
//! first has noticed. Whatever they do, what is sealed is what its writer has hashed: an object that was checkpointed
//! is a multi-part upload, which ends once and with exactly the parts that it is ended with; one that never was has a
//! single writer, since whoever takes its upload over takes another key (`crate::api::ingest`); and the tail is taken
//! up again only if it is the tail that was recorded.
//!
//! Azure knows no uploads, only blocks that wait to be put into an object, and an object can be put together again of
//! other blocks. But no block that was put into one waits any longer. So there the first checkpoint's bytes become a
//! block, however few they are (`head`): all who go on from it need this block, and only the first to end gets it.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use dray_spec::Digest;
use object_store::multipart::PartId;
use object_store::{MultipartId, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::task::JoinSet;

use super::{Store, failed, is_missing};
use crate::name::Key;
use crate::storage::{Draft, Error, Result};

/// Length of each part but the last; some stores want all alike.
const PART: usize = 8 * 1024 * 1024;
/// Parts that are sent at once.
const AT_ONCE: usize = 4;

/// What another server needs to go on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct State {
    upload: Option<MultipartId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head: Option<Head>,
    parts: Vec<String>,
    tail: usize,
    tail_digest: Option<Digest>,
}

/// The first block, where it is shorter than the others.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    part: String,
    length: usize,
}

impl State {
    /// Reads a checkpoint's state; none if there is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Gives the upload up. Fine if it is gone.
    pub(super) async fn abort(&self, store: &Store, key: &Key) -> Result<()> {
        let path = store.object(key);
        if let Some(upload) = &self.upload {
            match store.parts.abort_multipart(&path, upload).await {
                Err(error) if !is_gone(&error) => return Err(failed("give up", &path)(error)),
                _ => {}
            }
        }
        if self.tail > 0 {
            remove_tail(store, key).await?;
        }
        Ok(())
    }
}

/// Stores disagree about how they say that an upload has been ended.
fn is_gone(error: &object_store::Error) -> bool {
    let text = error.to_string();
    is_missing(error) || text.contains("NoSuchUpload") || text.contains("MultipartUpload not found")
}

async fn remove_tail(store: &Store, key: &Key) -> Result<()> {
    let path = store.tail(key);
    match store.objects.delete(&path).await {
        Err(error) if !is_missing(&error) => Err(failed("remove", &path)(error)),
        _ => Ok(()),
    }
}

/// An object that is being written.
pub(super) struct ObjectDraft {
    store: Arc<Store>,
    key: Key,
    upload: Option<MultipartId>,
    head: Option<Head>,
    parts: Vec<Option<PartId>>,
    sending: JoinSet<(usize, object_store::Result<PartId>)>,
    pending: BytesMut,
    /// Length of the tail that the store has.
    tail: usize,
    /// Whether it holds more than a checkpoint that it went on from.
    written: bool,
}

impl ObjectDraft {
    pub(super) fn new(store: Arc<Store>, key: Key) -> Self {
        let sending = JoinSet::new();
        let pending = BytesMut::new();
        let (upload, head, parts) = (None, None, Vec::new());
        Self { store, key, upload, head, parts, sending, pending, tail: 0, written: false }
    }

    pub(super) async fn resume(store: Arc<Store>, key: Key, offset: u64, state: &[u8]) -> Result<Self> {
        let mut draft = Self::new(store, key);
        if offset == 0 {
            return Ok(draft);
        }
        let state = State::read(state).unwrap_or_default();
        let head = state.head.as_ref().map_or(0, |head| head.length);
        let found = (head + state.parts.len() * PART + state.tail) as u64;
        if found != offset {
            return Err(Error::Lost { key: draft.key, found, recorded: offset });
        }
        if state.tail > 0 {
            let path = draft.store.tail(&draft.key);
            let read = async { draft.store.objects.get(&path).await?.bytes().await };
            let bytes: Bytes = read.await.map_err(failed("read", &path))?;
            // A later checkpoint that was never recorded may have made it longer.
            draft.pending.extend_from_slice(bytes.get(..state.tail).unwrap_or_default());
            let known = state.tail_digest.is_none_or(|digest| digest.verifies(&draft.pending));
            if draft.pending.len() != state.tail || !known {
                return Err(Error::Lost { key: draft.key, found: bytes.len() as u64, recorded: offset });
            }
        }
        draft.tail = state.tail;
        draft.upload = state.upload;
        draft.head = state.head;
        draft.parts = state.parts.into_iter().map(|content_id| Some(PartId { content_id })).collect();
        Ok(draft)
    }

    async fn send(&mut self, part: Bytes) -> Result<()> {
        let path = self.store.object(&self.key);
        let upload = self.begun().await?;
        while self.sending.len() >= AT_ONCE {
            self.one_sent().await?;
        }
        let (store, at) = (self.store.clone(), self.parts.len());
        self.parts.push(None);
        self.sending.spawn(async move {
            (at, store.parts.put_part(&path, &upload, at, PutPayload::from_bytes(part)).await)
        });
        Ok(())
    }

    /// The multi-part upload, begun when first needed.
    async fn begun(&mut self) -> Result<MultipartId> {
        if let Some(upload) = &self.upload {
            return Ok(upload.clone());
        }
        let path = self.store.object(&self.key);
        let begun = self.store.parts.create_multipart(&path).await;
        Ok(self.upload.insert(begun.map_err(failed("begin", &path))?).clone())
    }

    /// Sends what there is as the head, where no upload of its own and no block yet keep two writers apart.
    async fn pin(&mut self, upload: &MultipartId) -> Result<()> {
        if !upload.is_empty() || self.head.is_some() || !self.parts.is_empty() {
            return Ok(());
        }
        let path = self.store.object(&self.key);
        let bytes = self.pending.split().freeze();
        let length = bytes.len();
        let sent = self.store.parts.put_part(&path, upload, 0, PutPayload::from_bytes(bytes)).await;
        self.head = Some(Head { part: sent.map_err(failed("write", &path))?.content_id, length });
        Ok(())
    }

    async fn one_sent(&mut self) -> Result<()> {
        let Some(joined) = self.sending.join_next().await else { return Ok(()) };
        let (at, sent) = joined.map_err(|_| Error::Abandoned { operation: "send a part" })?;
        self.parts[at] = Some(sent.map_err(failed("write", &self.store.object(&self.key)))?);
        Ok(())
    }

    async fn all_sent(&mut self) -> Result<()> {
        while !self.sending.is_empty() {
            self.one_sent().await?;
        }
        Ok(())
    }

    async fn complete(&mut self) -> Result<()> {
        let path = self.store.object(&self.key);
        let pending = self.pending.split().freeze();
        let head = self.head.as_ref().map_or(0, |head| head.length);
        let length = head + self.parts.len() * PART + pending.len();
        if self.upload.is_none() {
            let put = self.store.objects.put(&path, PutPayload::from_bytes(pending)).await;
            return put.map(drop).map_err(failed("write", &path));
        }
        let ended = async {
            if !pending.is_empty() {
                self.send(pending).await?;
            }
            self.all_sent().await?;
            let upload = self.upload.clone().unwrap_or_default();
            let head = self.head.as_ref().map(|head| PartId { content_id: head.part.clone() });
            let parts = head.into_iter().chain(self.parts.iter().flatten().cloned()).collect();
            self.store
                .parts
                .complete_multipart(&path, &upload, parts)
                .await
                .map(drop)
                .map_err(failed("end", &path))
        };
        let Err(error) = ended.await else { return Ok(()) };
        if self.written {
            return Err(error);
        }
        // A server before this one may have ended it and not have come to say so: at this length it can only have been
        // with these bytes.
        match self.store.objects.head(&path).await {
            Ok(object) if object.size == length as u64 => Ok(()),
            _ => Err(error),
        }
    }
}

#[async_trait]
impl Draft for ObjectDraft {
    async fn write(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        self.written = true;
        for piece in pieces {
            self.pending.extend_from_slice(&piece);
            while self.pending.len() >= PART {
                let part = self.pending.split_to(PART).freeze();
                self.send(part).await?;
            }
        }
        Ok(())
    }

    async fn checkpoint(&mut self) -> Result<Vec<u8>> {
        self.all_sent().await?;
        let mut tail_digest = None;
        if !self.pending.is_empty() {
            let upload = self.begun().await?;
            self.pin(&upload).await?;
        }
        if !self.pending.is_empty() {
            tail_digest = Some(Digest::sha256_of(&self.pending));
            let path = self.store.tail(&self.key);
            let tail = PutPayload::from_bytes(self.pending.clone().freeze());
            self.store.objects.put(&path, tail).await.map_err(failed("write", &path))?;
        }
        // One that is longer than this state's is no harm, one that is forgotten would stay.
        self.tail = self.tail.max(self.pending.len());
        let parts = self.parts.iter().flatten().map(|part| part.content_id.clone()).collect();
        let (upload, head) = (self.upload.clone(), self.head.clone());
        let state = State { upload, head, parts, tail: self.pending.len(), tail_digest };
        serde_json::to_vec(&state).map_err(|_| Error::Abandoned { operation: "write down the state" })
    }

    async fn seal(&mut self) -> Result<()> {
        self.complete().await?;
        if self.tail > 0 {
            remove_tail(&self.store, &self.key).await?;
        }
        Ok(())
    }
}
