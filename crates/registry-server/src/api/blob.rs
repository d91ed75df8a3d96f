//! Blobs: pulled whole or in part, looked for, deleted.

use std::sync::Arc;

use dray_spec::Digest;
use http::{HeaderValue, Method, Response, StatusCode, header};

use super::now;
use super::problem::Problem;
use super::range::{Wanted, wanted};
use super::registry::{Call, Registry, empty, set};
use crate::cache::{Fetch, Joined, Judgement};
use crate::connection::Body;
use crate::metadata::{Blob, Deleted, Place};
use crate::name::Repository;
use crate::report::{CacheOutcome, CacheThing, Event};

/// How long a blob may be cached: it cannot change.
const FOREVER: &str = "max-age=31536000";

/// `GET` and `HEAD` of a blob.
pub(super) async fn get(
    registry: &Registry,
    call: &Call,
    repository: &Repository,
    digest: &Digest,
) -> Result<Response<Body>, Problem> {
    let head = call.head.method == Method::HEAD;
    let source = source(registry, repository, digest, head).await?;
    let size = source.size();
    let tag = format!("\"{digest}\"");
    if call.header(header::IF_NONE_MATCH).is_some_and(|wanted| names(wanted, &tag)) {
        let mut response = empty(StatusCode::NOT_MODIFIED);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        describe(&mut response, digest, &tag);
        return Ok(response);
    }
    // A part of another blob is no part of this one.
    let same = call.header(header::IF_RANGE).is_none_or(|wanted| names(wanted, &tag));
    let range = call.header(header::RANGE).filter(|_| same && !head);
    let (status, part) = match wanted(range, size) {
        Wanted::All => (StatusCode::OK, 0..size),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Wanted::Nothing => return Err(Problem::RangeInvalid(size)),
    };
    let length = part.end - part.start;
    let content_range = format!("bytes {}-{}/{}", part.start, part.end.saturating_sub(1), size);
    let body = match source {
        _ if head => Body::default(),
        Source::Kept(blob) => content(registry, call, repository, digest, blob, part).await?,
        Source::Coming(fetch, _) => Body::coming(fetch.stream(part), length),
        Source::There(_) => Body::default(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    describe(&mut response, digest, &tag);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    set(&mut response, "content-type", "application/octet-stream");
    set(&mut response, "cache-control", FOREVER);
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, "content-range", content_range);
    }
    Ok(response)
}

/// Where the bytes of a blob come from.
enum Source {
    /// From here.
    Kept(Blob),
    /// From the upstream, right now.
    Coming(Arc<Fetch>, u64),
    /// Nobody has asked for more than its length; the upstream has it.
    There(u64),
}

impl Source {
    fn size(&self) -> u64 {
        match self {
            Self::Kept(blob) => blob.size,
            Self::Coming(_, size) | Self::There(size) => *size,
        }
    }
}

async fn source(
    registry: &Registry,
    repository: &Repository,
    digest: &Digest,
    head: bool,
) -> Result<Source, Problem> {
    let Some(upstream) = registry.cache.of(repository) else {
        return find(registry, repository, digest, head).await.map(Source::Kept);
    };
    match find(registry, repository, digest, head).await {
        Err(Problem::BlobUnknown(_)) => {}
        found => {
            registry.report.cache(CacheThing::Blob, CacheOutcome::Hit);
            return found.map(Source::Kept);
        }
    }
    if head {
        let there = upstream.repository(repository).map_err(|error| upstream.problem(&error))?;
        return match there.blob_size(digest).await {
            Ok(size) => size.map(Source::There).ok_or_else(|| Problem::BlobUnknown(digest.clone())),
            Err(error) if upstream.judge(&error) == Judgement::Away => Err(upstream.problem(&error)),
            Err(_) => Err(Problem::BlobUnknown(digest.clone())),
        };
    }
    match registry.cache.join(registry, upstream, repository, digest).await? {
        Joined::Coming(fetch, size) => Ok(Source::Coming(fetch, size)),
        Joined::Here => find(registry, repository, digest, head).await.map(Source::Kept),
    }
}

fn describe(response: &mut Response<Body>, digest: &Digest, tag: &str) {
    set(response, "docker-content-digest", digest.as_str());
    set(response, "etag", tag);
    set(response, "accept-ranges", "bytes");
}

/// Whether a list of entity tags has this one.
pub(super) fn names(list: &str, tag: &str) -> bool {
    list.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// The blob; who asks whether it is there relies on the answer, which is noted.
async fn find(
    registry: &Registry,
    repository: &Repository,
    digest: &Digest,
    relied_on: bool,
) -> Result<Blob, Problem> {
    let unknown = || Problem::BlobUnknown(digest.clone());
    let Some(blob) = registry.metadata.blob(repository, digest).await? else {
        return Err(unknown());
    };
    let now = now();
    let stale = now.saturating_sub(blob.touched) > registry.limits.grace / 4;
    if relied_on && stale && !registry.metadata.touch(repository, digest, now).await? {
        return Err(unknown());
    }
    Ok(blob)
}

async fn content(
    registry: &Registry,
    call: &Call,
    repository: &Repository,
    digest: &Digest,
    blob: Blob,
    part: std::ops::Range<u64>,
) -> Result<Body, Problem> {
    let mut place = blob.place;
    for _ in 0..2 {
        match &place {
            Place::Inline(bytes) => {
                let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                return Ok(Body::from(bytes.slice(at(part.start)..at(part.end))));
            }
            Place::Stored(key) => {
                if let Some(found) = registry.storage.open(key, part.clone()).await? {
                    return Ok(Body::of(found, part.end - part.start, call.link.lane.clone()));
                }
            }
        }
        // It has been collected since it was looked up; it may have been pushed again since.
        match registry.metadata.blob(repository, digest).await? {
            Some(again) if again.place != place => place = again.place,
            Some(_) => {
                tracing::error!(%repository, %digest, "a blob's object is not in the storage");
                break;
            }
            None => break,
        }
    }
    Err(Problem::BlobUnknown(digest.clone()))
}

/// `DELETE` of a blob.
pub(super) async fn delete(
    registry: &Registry,
    call: &Call,
    repository: &Repository,
    digest: &Digest,
) -> Result<Response<Body>, Problem> {
    registry.rules.may_delete()?;
    let room = registry.report.room().await?;
    match registry.metadata.unlink(repository, digest).await? {
        Deleted::Deleted => {}
        Deleted::Missing => return Err(Problem::BlobUnknown(digest.clone())),
        Deleted::Needed(manifest) => {
            return Err(Problem::Kept(format!("manifest {manifest} needs the blob")));
        }
    }
    registry.report.event(&Event::delete(call, repository, digest.as_str(), None), room);
    let mut response = empty(StatusCode::ACCEPTED);
    set(&mut response, "docker-content-digest", digest.as_str());
    Ok(response)
}
