//! Blobs in a folder of the client, which it serves as a content store over its session (containerd's
//! `services.content.v1`): where `--cache-to type=local` goes and `--cache-from type=local` comes from.
//!
//! ```text
//! Read(digest)   ──► bytes …
//! Write          ──► WRITE ref, expected, bytes …, COMMIT
//! ```

use std::io::{self, Read};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::grpc::{Code, Messages, Status, Uploading};
use crate::proto::content::{
    ReadContentRequest, ReadContentResponse, WriteAction, WriteContentRequest, WriteContentResponse,
};
use crate::{ArchiveReader, Session};

/// The method that gives a blob.
pub const READ: &str = "/containerd.services.content.v1.Content/Read";
/// The method that takes a blob.
pub const WRITE: &str = "/containerd.services.content.v1.Content/Write";
/// The header that says which of the client's stores is meant.
pub const STORE_ID: &str = "buildkit-attachable-store-id";
/// Bytes of a blob in one message.
const PIECE: usize = 1 << 20;

impl Session {
    /// A blob of one of the client's stores, read as it comes. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// If the client has no such store or blob.
    pub async fn read_blob(&self, store: &str, digest: &str) -> Result<ArchiveReader, Status> {
        let (uploading, answer) = self.channel().upload(READ, metadata(store)).await?;
        uploading.send(&ReadContentRequest { digest: digest.to_owned(), offset: 0, size: 0 }).await;
        uploading.finish();
        let mut messages = answer.await?;
        // The first piece tells whether the blob is there.
        let first = messages.next::<ReadContentResponse>().await?;
        let (sender, reader) = ArchiveReader::pipe();
        tokio::spawn(async move {
            let mut next = Ok(first);
            loop {
                let piece = match next {
                    Ok(None) => return,
                    Ok(Some(piece)) => Ok(piece.data),
                    Err(status) => Err(Status::to_string(&status)),
                };
                let failed = piece.is_err();
                if sender.send(piece).await.is_err() || failed {
                    return;
                }
                next = messages.next::<ReadContentResponse>().await;
            }
        });
        Ok(reader)
    }

    /// Writes a blob into one of the client's stores; nothing happens if it is there already.
    ///
    /// # Errors
    /// If it cannot be read, or the client not take it.
    pub async fn write_blob(
        &self,
        store: &str,
        digest: &str,
        size: u64,
        blob: impl Read + Send + 'static,
    ) -> Result<(), Status> {
        let (uploading, answer) = self.channel().upload(WRITE, metadata(store)).await?;
        let total = i64::try_from(size).unwrap_or(i64::MAX);
        let digest = digest.to_owned();
        let writing = tokio::task::spawn_blocking(move || write(uploading, &digest, total, blob));
        let answered = answers(answer).await;
        let written = writing.await.map_err(|error| Status::new(Code::Internal, error.to_string()))?;
        match (written, answered) {
            (_, Err(status)) if status.code == Code::AlreadyExists => Ok(()),
            // Why it takes no more, the client says itself.
            (Err(error), Err(status)) if error.kind() == io::ErrorKind::BrokenPipe => Err(status),
            (Err(error), _) => Err(Status::new(Code::Internal, error.to_string())),
            (Ok(()), answered) => answered,
        }
    }
}

async fn answers(answer: impl Future<Output = Result<Messages, Status>>) -> Result<(), Status> {
    let mut messages = answer.await?;
    while messages.next::<WriteContentResponse>().await?.is_some() {}
    Ok(())
}

fn write(uploading: Uploading, digest: &str, total: i64, mut blob: impl Read) -> io::Result<()> {
    let message = |action: WriteAction, offset: i64, data: Bytes| WriteContentRequest {
        action: action as i32,
        reference: format!("dray-{digest}"),
        total,
        expected: digest.to_owned(),
        offset,
        data,
    };
    let mut buffer = vec![0; PIECE];
    let mut offset = 0;
    loop {
        let read = match blob.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            break;
        }
        let data = Bytes::copy_from_slice(&buffer[..read]);
        uploading.blocking_send(&message(WriteAction::Write, offset, data))?;
        offset += i64::try_from(read).unwrap_or(0);
    }
    uploading.blocking_send(&message(WriteAction::Commit, offset, Bytes::new()))?;
    uploading.finish();
    Ok(())
}

fn metadata(store: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::try_from(store) {
        headers.insert(HeaderName::from_static(STORE_ID), value);
    }
    headers
}
