//! Uploads of blobs: in one request, in chunks, as a stream; resumed; given up; spared by a mount.
//!
//! ```text
//! POST  uploads/?mount=…&from=…  201 mounted, or 202 as without
//! POST  uploads/?digest=…        201: the body is the blob
//! POST  uploads/                 202 Location
//! PATCH <location>               202 Location, Range
//! GET   <location>               204 Location, Range
//! PUT   <location>?digest=…      201: the rest of the bytes, if there is any
//! DELETE <location>              204
//! ```
//! The bytes are taken in by a task of their own: should the client go away, what it has sent is recorded, and it can
//! go on from there.

use std::sync::Arc;

use bytes::Bytes;
use dray_spec::{Digest, Hasher};
use http::{Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::ingest::Ingest;
use super::problem::Problem;
use super::registry::{Call, Registry, empty, over, set};
use super::route::digest as parse_digest;
use super::{now, range};
use crate::access::Action;
use crate::connection::Body;
use crate::metadata::{Mounted, Upload};
use crate::name::{Repository, UploadId};
use crate::report::Event;

/// Repositories that are looked at for a blob to be mounted from anywhere.
const HOLDERS: usize = 64;

/// `POST`.
pub(super) async fn begin(
    registry: Arc<Registry>,
    call: Call,
    repository: Repository,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    if let Some(text) = call.query("mount") {
        let digest = parse_digest(&text)?;
        if mount(&registry, &call, &repository, &digest).await? {
            return Ok(created(&repository, &digest));
        }
    }
    let wanted = call.query("digest").map(|text| parse_digest(&text)).transpose()?;
    let algorithm = call.query("digest-algorithm");
    let hasher = match algorithm.as_deref() {
        None | Some("sha256") => Hasher::new(),
        Some("sha512") => Hasher::like(&parse_digest(&format!("sha512:{}", "0".repeat(128)))?),
        Some(other) => {
            let problem = "unsupported digest algorithm".to_owned();
            return Err(Problem::DigestInvalid { text: other.chars().take(100).collect(), problem });
        }
    };
    let upload = Upload {
        id: UploadId::random(),
        repository: repository.clone(),
        offset: 0,
        hasher: hasher.save(),
        buffer: Bytes::new(),
        key: None,
        state: Vec::new(),
        updated: now(),
    };
    registry.metadata.begin_upload(&upload).await?;
    match wanted {
        Some(digest) => take(registry, call, upload, body, Some(digest)).await,
        None => {
            let mut response = empty(StatusCode::ACCEPTED);
            locate(&mut response, &upload.repository, &upload.id, 0);
            Ok(response)
        }
    }
}

/// Mounts from where the client says, or from wherever it may pull from.
async fn mount(
    registry: &Registry,
    call: &Call,
    repository: &Repository,
    digest: &Digest,
) -> Result<bool, Problem> {
    let from = call.query("from").filter(|text| !text.is_empty());
    let sources: Vec<Repository> = match from {
        Some(text) => {
            let source = Repository::parse(&text);
            let source = source.ok_or_else(|| Problem::NameInvalid(text.chars().take(300).collect()))?;
            vec![source]
                .into_iter()
                .filter(|name| registry.access.allows(&call.who, name, Action::Pull))
                .collect()
        }
        None => {
            let holders = registry.metadata.holders(digest, HOLDERS).await?;
            let holders = holders.iter().filter_map(|name| Repository::parse(name));
            holders.filter(|name| registry.access.may_pull(&call.who, name)).collect()
        }
    };
    let quotas = registry.quotas(repository);
    if sources.is_empty() {
        return Ok(false);
    }
    let room = registry.report.room().await?;
    for source in &sources {
        match registry.metadata.mount(source, repository, digest, &quotas, now()).await? {
            Mounted::Mounted => {
                registry.report.event(&Event::mount(call, repository, digest, source), room);
                return Ok(true);
            }
            Mounted::OverQuota(quota) => return Err(over(&quota)),
            Mounted::Missing => {}
        }
    }
    Ok(false)
}

/// `GET`: how far it is.
pub(super) async fn status(
    registry: &Registry,
    repository: &Repository,
    id: &UploadId,
) -> Result<Response<Body>, Problem> {
    // Who asks has lost the connection: the body that may still be coming in on it is ended and recorded first.
    let _turn = registry.turns.take(id).await;
    let upload = registry.metadata.upload(repository, id).await?.ok_or(Problem::UploadUnknown)?;
    let mut response = empty(StatusCode::NO_CONTENT);
    locate(&mut response, repository, id, upload.offset);
    Ok(response)
}

/// `PATCH`: more bytes.
pub(super) async fn append(
    registry: Arc<Registry>,
    call: Call,
    repository: Repository,
    id: UploadId,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    resume(registry, call, repository, id, body, None).await
}

/// `PUT`: the last bytes, and what all of them are.
pub(super) async fn close(
    registry: Arc<Registry>,
    call: Call,
    repository: Repository,
    id: UploadId,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let text = call.query("digest").unwrap_or_default();
    let digest = parse_digest(&text)?;
    resume(registry, call, repository, id, body, Some(digest)).await
}

/// `DELETE`.
pub(super) async fn cancel(
    registry: &Registry,
    repository: &Repository,
    id: &UploadId,
) -> Result<Response<Body>, Problem> {
    let _turn = registry.turns.take(id).await;
    match registry.metadata.cancel_upload(repository, id).await? {
        true => Ok(empty(StatusCode::NO_CONTENT)),
        false => Err(Problem::UploadUnknown),
    }
}

async fn resume(
    registry: Arc<Registry>,
    call: Call,
    repository: Repository,
    id: UploadId,
    body: Incoming,
    end: Option<Digest>,
) -> Result<Response<Body>, Problem> {
    let upload = registry.metadata.upload(&repository, &id).await?.ok_or(Problem::UploadUnknown)?;
    take(registry, call, upload, body, end).await
}

/// Takes a body in and, where the digest is given, ends the upload.
async fn take(
    registry: Arc<Registry>,
    call: Call,
    upload: Upload,
    body: Incoming,
    end: Option<Digest>,
) -> Result<Response<Body>, Problem> {
    let (repository, id) = (upload.repository.clone(), upload.id.clone());
    let range = chunk(&call, &body)?;
    let task = tokio::spawn({
        let end = end.clone();
        async move {
            let turn = registry.turns.take(&upload.id).await;
            // It may have moved while the turn was waited for.
            let upload = registry.metadata.upload(&upload.repository, &upload.id).await?;
            let upload = upload.ok_or(Problem::UploadUnknown)?;
            if let Some(range) = range.filter(|range| range.start != upload.offset) {
                // Whoever comes next need not wait until this client is through.
                drop(turn);
                drain(body).await;
                let location = location(&upload.repository, &upload.id);
                return Err(Problem::OutOfOrder { given: range.start, expected: upload.offset, location });
            }
            let quotas = registry.quotas(&upload.repository);
            let mut ingest = Ingest::new(&registry, upload, &quotas)?;
            if let Some(digest) = &end {
                ingest.expect(digest);
            }
            ingest.take(body, &turn.wanted).await?;
            let offset = ingest.offset();
            let Some(digest) = &end else {
                ingest.record().await?;
                return Ok(offset);
            };
            let repository = ingest.repository().clone();
            let room = match registry.report.room().await {
                Ok(room) => room,
                Err(problem) => {
                    ingest.record().await?;
                    return Err(problem);
                }
            };
            ingest.finish(digest).await?;
            registry.report.received(offset);
            registry.report.event(&Event::push_blob(&call, &repository, digest, offset), room);
            Ok(offset)
        }
    });
    let offset = task.await.map_err(|_| Problem::Abandoned)??;
    match end {
        Some(digest) => Ok(created(&repository, &digest)),
        None => {
            let mut response = empty(StatusCode::ACCEPTED);
            locate(&mut response, &repository, &id, offset);
            Ok(response)
        }
    }
}

/// The part of the blob that the body says it is.
fn chunk(call: &Call, body: &Incoming) -> Result<Option<std::ops::Range<u64>>, Problem> {
    let Some(text) = call.header(header::CONTENT_RANGE) else { return Ok(None) };
    let invalid = || {
        Problem::UploadInvalid(format!(
            "Content-Range {:?} is none",
            text.chars().take(100).collect::<String>()
        ))
    };
    let range = range::chunk(text).ok_or_else(invalid)?;
    match body.size_hint().exact() {
        Some(length) if length != range.end - range.start => {
            Err(Problem::SizeInvalid(format!("Content-Range {text} with {length} bytes")))
        }
        _ => Ok(Some(range)),
    }
}

/// Reads on to the end of a short body, so that the client gets to read the answer on the same connection.
async fn drain(mut body: Incoming) {
    use http_body_util::BodyExt;
    const SHORT: usize = 256 * 1024;
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
    let reading = async {
        let mut read = 0;
        while read < SHORT {
            match body.frame().await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, reading).await;
}

fn location(repository: &Repository, id: &UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

fn locate(response: &mut Response<Body>, repository: &Repository, id: &UploadId, offset: u64) {
    set(response, "location", location(repository, id));
    set(response, "range", format!("0-{}", offset.saturating_sub(1)));
    set(response, "docker-upload-uuid", id.as_str());
}

fn created(repository: &Repository, digest: &Digest) -> Response<Body> {
    let mut response = empty(StatusCode::CREATED);
    set(&mut response, "location", format!("/v2/{repository}/blobs/{digest}"));
    set(&mut response, "docker-content-digest", digest.as_str());
    response
}
