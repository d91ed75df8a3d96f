//! Writing blobs: mount from another repository, or upload with resumption.
//!
//! ```text
//! POST uploads/?mount=…&from=…   201 mounted, else 202 session
//! PATCH session                  the bytes; after a drop: GET session → Range → PATCH the rest
//! PUT session?digest=…           commit
//! ```

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dray_spec::{Descriptor, Digest};
use http::header;
use http::{Method, StatusCode};
use url::Url;

use crate::answer::refusal;
use crate::error::Error;
use crate::payload::{FilePart, Payload, SentFn};
use crate::repository::{Action, Repository};
use crate::transport::{Answer, Repeat, Request};

/// Idle times that a registry may take to commit an upload.
const COMMIT_PATIENCE: u32 = 10;

/// Outcome of an attempt to mount.
#[derive(Debug)]
pub enum Mount {
    /// The blob is in the repository now.
    Mounted,
    /// The registry doesn't have it there, or doesn't mount; an upload has been opened instead.
    Upload(UploadSession),
}

/// An open upload.
#[derive(Debug, Clone)]
pub struct UploadSession {
    location: Url,
    /// Bytes that the registry has.
    there: u64,
}

impl UploadSession {
    /// Where it goes on: to be remembered, so that a later push can ([`Repository::resume_upload`]).
    pub fn location(&self) -> &str {
        self.location.as_str()
    }

    /// How many bytes the registry has.
    pub fn there(&self) -> u64 {
        self.there
    }
}

impl Repository {
    /// Makes a blob of repository `from` (a path at the same registry) appear here without sending it.
    ///
    /// # Errors
    /// If the registry refuses even an upload.
    pub async fn mount(&self, digest: &Digest, from: &str) -> Result<Mount, Error> {
        self.open(Some((digest, from))).await
    }

    /// Opens an upload.
    ///
    /// # Errors
    /// If the registry refuses.
    pub async fn start_upload(&self) -> Result<UploadSession, Error> {
        match self.open(None).await? {
            Mount::Upload(session) => Ok(session),
            Mount::Mounted => Err(Error::InvalidAnswer {
                verb: crate::error::Verb::of(&Method::POST),
                url: self.name(),
                problem: "upload is done before it began".into(),
            }),
        }
    }

    /// Goes on with an upload of an earlier time, if the registry still knows it.
    ///
    /// # Errors
    /// If it doesn't, or can't be reached.
    pub async fn resume_upload(&self, location: &str) -> Result<UploadSession, Error> {
        let location = Url::parse(location).map_err(|error| Error::InvalidEndpoint {
            endpoint: crate::error::excerpt(location.as_bytes()),
            problem: error.to_string(),
        })?;
        self.upload_status(&UploadSession { location, there: 0 }).await
    }

    async fn open(&self, mount: Option<(&Digest, &str)>) -> Result<Mount, Error> {
        let mut request = self.request(Method::POST, "blobs/uploads/").await?;
        let others: Vec<&str> = mount.iter().map(|(_, from)| *from).collect();
        if let Some((digest, from)) = mount {
            let mut query = request.url.query_pairs_mut();
            query.append_pair("mount", digest.as_str()).append_pair("from", from);
        }
        let answer = self.call_with(Action::Push, &others, request, Repeat::Always).await?;
        match answer.status {
            StatusCode::CREATED if mount.is_some() => Ok(Mount::Mounted),
            StatusCode::ACCEPTED => {
                Ok(Mount::Upload(UploadSession { location: location(&answer)?, there: 0 }))
            }
            _ => Err(refusal(answer).await),
        }
    }

    /// Sends the file as the blob `descriptor`. After a drop it goes on where the registry's copy ends, or
    /// from the beginning where the registry can't say.
    ///
    /// # Errors
    /// If the registry refuses it, or it breaks off more often than the retry policy allows.
    pub async fn upload(
        &self,
        session: Option<UploadSession>,
        file: &Path,
        descriptor: &Descriptor,
        sent: SentFn,
    ) -> Result<(), Error> {
        let (policy, least) = (self.client.config().retry, self.client.config().pace.least);
        let file = Arc::new(file.to_path_buf());
        let mut session = session;
        let (mut attempt, mut counted) = (1, session.as_ref().map_or(0, |session| session.there));
        loop {
            let open = match session.take() {
                Some(open) if open.there <= descriptor.size => open,
                _ => self.start_upload().await?,
            };
            let offset = open.there;
            let part = FilePart {
                path: file.clone(),
                offset,
                length: descriptor.size.saturating_sub(offset),
                sent: sent.clone(),
            };
            let error = match self.send_and_commit(&open, part, descriptor).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let lost = error.code().is_some_and(|c| {
                matches!(c, "BLOB_UPLOAD_UNKNOWN" | "BLOB_UPLOAD_INVALID" | "RANGE_INVALID")
            });
            if attempt >= policy.attempts.max(1) || !(lost || error.is_transient()) {
                return Err(error);
            }
            tracing::debug!(%error, attempt, digest = %descriptor.digest, "upload goes on after a drop");
            tokio::time::sleep(policy.pause(attempt)).await;
            // A lost answer to the commit: the blob is there already.
            if self.has_blob(&descriptor.digest).await.unwrap_or(false) {
                return Ok(());
            }
            match self.upload_status(&open).await {
                Ok(at) if at.there > 0 && at.there <= descriptor.size => {
                    // Progress earns new attempts; a few bytes each time would earn them without end.
                    attempt = if at.there.saturating_sub(counted) >= least { 1 } else { attempt + 1 };
                    if attempt == 1 {
                        counted = at.there;
                    }
                    session = Some(at);
                }
                _ => attempt += 1,
            }
        }
    }

    /// Sends a small blob from memory.
    ///
    /// # Errors
    /// If the registry refuses it.
    pub async fn upload_bytes(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), Error> {
        let mut at = self.start_upload().await?.location;
        at.query_pairs_mut().append_pair("digest", descriptor.digest.as_str());
        let mut request =
            Request::new(Method::PUT, at).header(header::CONTENT_TYPE, "application/octet-stream");
        request.payload = Payload::Bytes(bytes);
        let answer = self.call(Action::Push, request, Repeat::Never).await?;
        match answer.status {
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(refusal(answer).await),
        }
    }

    async fn send_and_commit(
        &self,
        open: &UploadSession,
        part: FilePart,
        descriptor: &Descriptor,
    ) -> Result<(), Error> {
        let mut at = open.location.clone();
        if part.length > 0 {
            let mut request =
                Request::new(Method::PATCH, at).header(header::CONTENT_TYPE, "application/octet-stream");
            // A blob that is sent as a whole has no range: there are registries that take streams only.
            if part.offset > 0 {
                let range = format!("{}-{}", part.offset, part.offset + part.length - 1);
                request = request.header(header::CONTENT_RANGE, &range);
            }
            request.payload = Payload::File(part);
            let answer = self.call(Action::Push, request, Repeat::Never).await?;
            if !matches!(answer.status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::CREATED) {
                return Err(refusal(answer).await);
            }
            at = location(&answer)?;
        }
        at.query_pairs_mut().append_pair("digest", descriptor.digest.as_str());
        let mut request =
            Request::new(Method::PUT, at).header(header::CONTENT_TYPE, "application/octet-stream");
        request.patience = COMMIT_PATIENCE;
        let answer = self.call(Action::Push, request, Repeat::Never).await?;
        match answer.status {
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(refusal(answer).await),
        }
    }

    /// How many bytes of an upload the registry has, and where to go on.
    async fn upload_status(&self, open: &UploadSession) -> Result<UploadSession, Error> {
        let request = Request::new(Method::GET, open.location.clone());
        let answer = self.call(Action::Push, request, Repeat::Always).await?;
        if answer.status != StatusCode::NO_CONTENT {
            return Err(refusal(answer).await);
        }
        let there = answer.header(header::RANGE).map(uploaded).unwrap_or_default();
        let location = if answer.headers.contains_key(header::LOCATION) {
            location(&answer)?
        } else {
            open.location.clone()
        };
        Ok(UploadSession { location, there })
    }
}

/// `Range: 0-99` means 100 bytes; `0-0` is how registries say none.
fn uploaded(range: &str) -> u64 {
    let range = range.trim().strip_prefix("bytes=").unwrap_or(range.trim());
    match range.split_once('-').and_then(|(_, last)| last.parse::<u64>().ok()) {
        Some(0) | None => 0,
        Some(last) => last.saturating_add(1),
    }
}

/// The session's next address. A registry behind a proxy that ends TLS may call itself `http`; its own host
/// is then still spoken to over TLS.
fn location(answer: &Answer) -> Result<Url, Error> {
    let invalid = |problem: &str| Error::invalid(answer.verb, &answer.url, problem);
    let text = answer.header(header::LOCATION).ok_or_else(|| invalid("upload without a Location"))?;
    let mut url = answer.url.join(text).map_err(|_| invalid("upload Location is not a URL"))?;
    if answer.url.scheme() == "https" && url.scheme() == "http" {
        if url.host_str() != answer.url.host_str() {
            return Err(invalid("upload Location leads from https to http"));
        }
        let port = answer.url.port();
        if url.set_scheme("https").is_err() || url.set_port(port).is_err() {
            return Err(invalid("upload Location is not a URL"));
        }
    }
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(invalid("upload Location is neither http nor https")),
    }
}

#[cfg(test)]
mod unit {
    use super::uploaded;

    #[test]
    fn range_of_an_upload() {
        assert_eq!(uploaded("0-99"), 100);
        assert_eq!(uploaded("bytes=0-99"), 100);
        assert_eq!(uploaded("0-0"), 0);
        assert_eq!(uploaded("x"), 0);
        assert_eq!(uploaded("0-18446744073709551615"), u64::MAX);
    }
}
