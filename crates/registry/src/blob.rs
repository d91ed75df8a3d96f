//! Reading blobs: a stream from any offset, counted against the descriptor while it runs.
//!
//! The digest is checked by whoever keeps the bytes; here the size is: a longer blob fails with the first
//! byte too many, or before the first if the registry announces it.

use bytes::Bytes;
use dray_spec::{Descriptor, Digest};
use http::header;
use http::{Method, StatusCode};

use crate::answer::refusal;
use crate::error::{Error, Reason};
use crate::repository::{Action, Repository};
use crate::transport::{Answer, Repeat, Request};

/// The bytes of a blob, in order, from the offset asked for to its end.
pub struct BlobStream {
    answer: Answer,
    repository: String,
    digest: Digest,
    size: u64,
    at: u64,
    /// Where the answer ends.
    end: u64,
    /// Bytes to throw away first, where the registry doesn't know ranges.
    skip: u64,
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobStream({} at {} of {})", self.digest, self.at, self.size)
    }
}

impl Repository {
    /// Opens the blob `descriptor` from byte `offset`.
    ///
    /// # Errors
    /// If the registry refuses it or announces another size than the descriptor's.
    pub async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let request = self.blob_request(descriptor, offset, descriptor.size).await?;
        self.open_blob(request, descriptor, (offset, descriptor.size)).await
    }

    /// Opens a blob whose size the registry is asked for ([`BlobStream::size`]).
    ///
    /// # Errors
    /// If the registry refuses it or doesn't say how long it is.
    pub async fn whole_blob(&self, digest: &Digest) -> Result<BlobStream, Error> {
        let request = self
            .request(Method::GET, &format!("blobs/{digest}"))
            .await?
            .header(header::ACCEPT_ENCODING, "identity");
        let answer = self.call(Action::Pull, request, Repeat::Always).await?;
        if answer.status != StatusCode::OK {
            return Err(refusal(answer).await);
        }
        let unsaid = || Error::invalid(answer.verb, &answer.url, "a blob without its length");
        let size = answer.content_length().ok_or_else(unsaid)?;
        let (repository, digest) = (self.name(), digest.clone());
        Ok(BlobStream { answer, repository, digest, size, at: 0, end: size, skip: 0 })
    }

    /// How long a blob is, if the repository has it.
    ///
    /// # Errors
    /// If the registry answers neither yes nor no, or doesn't say how long it is.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let request = self
            .request(Method::HEAD, &format!("blobs/{digest}"))
            .await?
            .header(header::ACCEPT_ENCODING, "identity");
        let answer = self.call(Action::Pull, request, Repeat::Always).await?;
        match answer.status {
            StatusCode::OK => match answer.content_length() {
                None => Err(Error::invalid(answer.verb, &answer.url, "a blob without its length")),
                length => Ok(length),
            },
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(refusal(answer).await),
        }
    }

    /// Opens the bytes `from..to` of the blob, on a connection that is shared with no other answer under way: so
    /// several of them come at once, each at a connection's speed. A registry that knows no ranges sends the blob
    /// to its end ([`BlobStream::is_partial`]).
    ///
    /// # Errors
    /// As [`Self::blob`].
    pub async fn blob_range(&self, descriptor: &Descriptor, from: u64, to: u64) -> Result<BlobStream, Error> {
        let mut request = self.blob_request(descriptor, from, to).await?;
        request.apart = true;
        self.open_blob(request, descriptor, (from, to)).await
    }

    async fn blob_request(&self, descriptor: &Descriptor, from: u64, to: u64) -> Result<Request, Error> {
        let request = self
            .request(Method::GET, &format!("blobs/{}", descriptor.digest))
            .await?
            .header(header::ACCEPT_ENCODING, "identity");
        Ok(match (from, to) {
            (0, to) if to == descriptor.size => request,
            (from, to) if to == descriptor.size => request.header(header::RANGE, &format!("bytes={from}-")),
            (from, to) => request.header(header::RANGE, &format!("bytes={from}-{}", to.saturating_sub(1))),
        })
    }

    async fn open_blob(
        &self,
        request: Request,
        descriptor: &Descriptor,
        (from, to): (u64, u64),
    ) -> Result<BlobStream, Error> {
        let answer = self.call(Action::Pull, request, Repeat::Always).await?;
        let (start, end) = match answer.status {
            StatusCode::OK => (0, descriptor.size),
            StatusCode::PARTIAL_CONTENT => (self.range_start(&answer, descriptor, from)?, to),
            _ => return Err(refusal(answer).await),
        };
        let announced = answer.content_length().map(|length| start.saturating_add(length));
        if let Some(announced) = announced.filter(|announced| *announced != end) {
            return Err(self.wrong_size(descriptor, announced));
        }
        Ok(BlobStream {
            answer,
            repository: self.name(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            at: start,
            end,
            skip: from - start,
        })
    }

    /// Where a partial answer begins: exactly where we asked it to.
    fn range_start(&self, answer: &Answer, descriptor: &Descriptor, offset: u64) -> Result<u64, Error> {
        let range = answer.header(header::CONTENT_RANGE).and_then(parse_content_range);
        match range {
            Some((start, Some(total))) if start == offset && total != descriptor.size => {
                Err(self.wrong_size(descriptor, total))
            }
            Some((start, _)) if start == offset => Ok(start),
            _ => Err(Error::invalid(answer.verb, &answer.url, "another range than the one asked for")),
        }
    }

    fn wrong_size(&self, descriptor: &Descriptor, actual: u64) -> Error {
        Error::SizeMismatch {
            repository: self.name(),
            digest: descriptor.digest.clone(),
            expected: descriptor.size,
            actual,
        }
    }

    /// A small blob as a whole, its digest checked.
    ///
    /// # Errors
    /// As [`Self::blob`]; also if it is larger than `limit` or has another digest.
    pub async fn small_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, Error> {
        if descriptor.size > limit {
            return Err(self.wrong_size(descriptor, limit));
        }
        let mut attempt = 1;
        loop {
            match self.read_whole(descriptor).await {
                Err(error @ Error::Interrupted { .. })
                    if attempt < self.client.config().retry.attempts.max(1) =>
                {
                    tracing::debug!(%error, attempt, "blob is asked for again");
                    tokio::time::sleep(self.client.config().retry.pause(attempt)).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn read_whole(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let mut stream = self.blob(descriptor, 0).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        if descriptor.digest.verifies(&bytes) {
            return Ok(bytes);
        }
        Err(Error::DigestMismatch {
            repository: self.name(),
            expected: descriptor.digest.clone(),
            actual: Digest::sha256_of(&bytes),
        })
    }

    /// Whether the repository has this blob.
    ///
    /// # Errors
    /// If the registry answers neither yes nor no.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let request = self.request(Method::HEAD, &format!("blobs/{digest}")).await?;
        self.exists(request).await
    }
}

impl BlobStream {
    /// The whole blob's length.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it is the range that was asked for; else it goes to the blob's end.
    pub fn is_partial(&self) -> bool {
        self.answer.status == StatusCode::PARTIAL_CONTENT
    }

    /// The next bytes; `None` when the whole blob has been read.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            let mut chunk = match self.answer.chunk().await {
                None if self.at == self.end => return None,
                None => return Some(Err(self.interrupted(Reason::Eof))),
                Some(Err(reason)) => return Some(Err(self.interrupted(reason))),
                Some(Ok(chunk)) => chunk,
            };
            self.at += chunk.len() as u64;
            if self.at > self.end {
                return Some(Err(Error::SizeMismatch {
                    repository: self.repository.clone(),
                    digest: self.digest.clone(),
                    expected: self.size,
                    actual: self.at,
                }));
            }
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
            self.skip -= skipped as u64;
            let _ = chunk.split_to(skipped);
            if !chunk.is_empty() {
                return Some(Ok(chunk));
            }
        }
    }

    fn interrupted(&self, reason: Reason) -> Error {
        Error::Interrupted {
            repository: self.repository.clone(),
            digest: self.digest.clone(),
            received: self.at,
            expected: self.size,
            reason,
        }
    }
}

/// Reads `bytes 5-9/10`: the first byte and, where known, the whole length.
fn parse_content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

#[cfg(test)]
mod unit {
    use super::parse_content_range;

    #[test]
    fn content_range() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(parse_content_range("bytes */10"), None);
        assert_eq!(parse_content_range("5-9"), None);
    }
}
