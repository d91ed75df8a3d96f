//! Bodies of requests that can be sent again: nothing, bytes, or a part of a file read as it is sent.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Method;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::error::Error;
use crate::transport::Activity;

/// How much of a file is read at once.
const CHUNK: usize = 256 * 1024;

/// Told how many bytes of a blob have been sent.
pub type SentFn = Arc<dyn Fn(u64) + Send + Sync>;

#[derive(Clone)]
pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    File(FilePart),
}

/// `length` bytes of a file from `offset`.
#[derive(Clone)]
pub(crate) struct FilePart {
    pub(crate) path: Arc<PathBuf>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) sent: SentFn,
}

impl Payload {
    /// The `Content-Length` to send; registries want one with every request that could have a body.
    pub(crate) fn length(&self, method: &Method) -> Option<u64> {
        match self {
            Payload::Empty if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => Some(0),
            Payload::Empty => None,
            Payload::Bytes(bytes) => Some(bytes.len() as u64),
            Payload::File(part) => Some(part.length),
        }
    }
}

impl FilePart {
    /// Opens the file and makes a body which reads it as hyper asks for it.
    pub(crate) async fn body(
        &self,
        activity: Activity,
    ) -> Result<UnsyncBoxBody<Bytes, std::io::Error>, Error> {
        let local = |source| Error::LocalFile { path: self.path.to_path_buf(), source };
        let mut file = tokio::fs::File::open(self.path.as_path()).await.map_err(local)?;
        file.seek(SeekFrom::Start(self.offset)).await.map_err(local)?;
        let state = (file, self.length, self.offset, self.sent.clone(), activity);
        let stream =
            futures_util::stream::try_unfold(state, |(mut file, left, at, sent, activity)| async move {
                if left == 0 {
                    return Ok(None);
                }
                let want = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
                let mut buffer = BytesMut::with_capacity(want);
                let read = (&mut file).take(want as u64).read_buf(&mut buffer).await?;
                if read == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                activity.mark();
                sent(at + read as u64);
                let rest = (file, left - read as u64, at + read as u64, sent, activity);
                Ok(Some((Frame::data(buffer.freeze()), rest)))
            });
        Ok(StreamBody::new(stream).boxed_unsync())
    }
}
