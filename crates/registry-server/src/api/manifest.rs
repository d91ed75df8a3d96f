//! Manifests: pulled by tag or digest, pushed, deleted.

use std::time::Duration;

use bytes::Bytes;
use dray_spec::{Descriptor, Digest, Hasher, ManifestOrIndex, media_type};
use http::{HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Incoming;

use super::accept::{Accepted, default_manifest};
use super::blob::names;
use super::document::whole;
use super::now;
use super::problem::Problem;
use super::registry::{Call, Registry, empty, set};
use crate::cache::{self, Copy};
use crate::connection::Body;
use crate::metadata::{Deleted, Expect, NewManifest, Put, StoredManifest};
use crate::name::{Repository, Target};
use crate::replication::Change;
use crate::report::Event;

/// What a client is told whose answer may be old (RFC 7234, section 5.5.1).
const STALE: &str = "110 - \"Response is Stale\"";
/// How long a manifest may take to come in.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// The most tags of one request.
const TAGS: usize = 64;

/// `GET` and `HEAD` of a manifest.
pub(super) async fn get(
    registry: &Registry,
    call: &Call,
    repository: &Repository,
    target: &Target,
) -> Result<Response<Body>, Problem> {
    let upstream = registry.cache.of(repository);
    let copy = match upstream {
        Some(upstream) => cache::bring(registry, upstream, repository, target).await?,
        None => Copy::Current,
    };
    let manifest = find(registry, repository, target).await?;
    let manifest = negotiate(registry, call, repository, target, manifest).await?;
    let tag = format!("\"{}\"", manifest.digest);
    let unchanged = call.header(header::IF_NONE_MATCH).is_some_and(|wanted| names(wanted, &tag));
    let mut response = match unchanged {
        true => empty(StatusCode::NOT_MODIFIED),
        false if call.head.method == Method::HEAD => empty(StatusCode::OK),
        false => Response::new(Body::from(manifest.content.clone())),
    };
    match unchanged {
        true => drop(response.headers_mut().remove(header::CONTENT_LENGTH)),
        false => {
            let length = HeaderValue::from(manifest.content.len());
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
            set(&mut response, "content-type", &manifest.media_type);
        }
    }
    set(&mut response, "docker-content-digest", manifest.digest.as_str());
    set(&mut response, "etag", tag);
    set(&mut response, "vary", "Accept");
    if copy == Copy::Stale {
        set(&mut response, "warning", STALE);
    }
    if upstream.is_some() {
        let metadata = &*registry.metadata;
        registry.cache.note_use(metadata, repository, &manifest.digest, now()).await?;
    }
    let room = registry.report.room().await?;
    registry.report.event(&Event::pull(call, repository, &manifest, target), room);
    Ok(response)
}

async fn find(
    registry: &Registry,
    repository: &Repository,
    target: &Target,
) -> Result<StoredManifest, Problem> {
    let found = match target {
        Target::Tag(tag) => registry.metadata.tagged(repository, tag).await?,
        Target::Digest(digest) => registry.metadata.manifest(repository, digest).await?,
    };
    match found {
        Some(manifest) => Ok(manifest),
        None if registry.metadata.has_repository(repository).await? => Err(unknown(target)),
        None => Err(Problem::NameUnknown(repository.to_string())),
    }
}

fn unknown(target: &Target) -> Problem {
    Problem::ManifestUnknown(match target {
        Target::Tag(tag) => tag.clone(),
        Target::Digest(digest) => digest.to_string(),
    })
}

/// What is sent to a client that accepts only some kinds.
async fn negotiate(
    registry: &Registry,
    call: &Call,
    repository: &Repository,
    target: &Target,
    manifest: StoredManifest,
) -> Result<StoredManifest, Problem> {
    let accepted = Accepted::of(&call.head.headers);
    if accepted.allows(&manifest.media_type) {
        return Ok(manifest);
    }
    // Who asks by digest knows what it is and checks it: nothing else can be sent.
    let by_tag = matches!(target, Target::Tag(_));
    if by_tag && media_type::is_index(&manifest.media_type) && accepted.allows_manifest() {
        let parsed = ManifestOrIndex::parse(Some(&manifest.media_type), &manifest.content);
        if let Ok(ManifestOrIndex::Index(index)) = parsed
            && let Some(child) = default_manifest(&index)
        {
            if let Some(upstream) = registry.cache.of(repository) {
                let child = Target::Digest(child.digest.clone());
                cache::bring(registry, upstream, repository, &child).await?;
            }
            let found = registry.metadata.manifest(repository, &child.digest).await?;
            if let Some(found) = found.filter(|found| accepted.allows(&found.media_type)) {
                return Ok(found);
            }
        }
    }
    Err(Problem::NotAccepted(manifest.media_type))
}

/// `PUT`.
pub(super) async fn put(
    registry: &Registry,
    call: &Call,
    repository: &Repository,
    target: Target,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let limit = registry.limits.manifest;
    let content = whole(body, limit, PATIENCE).await?.ok_or(Problem::ManifestTooLarge(limit))?;
    let new = prepare(registry, call, repository, &target, content)?;
    let room = registry.report.room().await?;
    match registry.metadata.put_manifest(&new).await? {
        Put::Stored => {}
        Put::Missing(missing) => return Err(Problem::ReferencesUnknown(missing)),
        Put::WrongSize { digest, actual, stated } => {
            return Err(Problem::SizeInvalid(format!(
                "{digest} has {actual} bytes, the manifest says {stated}"
            )));
        }
        Put::Immutable(tag) => return Err(Problem::Denied(format!("tag {tag} must not be moved"))),
        Put::Unexpected => return Err(Problem::Condition),
        Put::OverQuota(quota) => return Err(super::registry::over(&quota)),
        Put::Gone => return Err(Problem::Abandoned),
    }
    registry.replication.note(&*registry.metadata, repository, Change::Grown).await?;
    registry.report.event(&Event::push(call, repository, &new), room);
    let mut response = empty(StatusCode::CREATED);
    set(&mut response, "location", format!("/v2/{repository}/manifests/{}", new.digest));
    set(&mut response, "docker-content-digest", new.digest.as_str());
    if let Some(subject) = &new.subject {
        set(&mut response, "oci-subject", subject.as_str());
    }
    if matches!(target, Target::Digest(_)) && !new.tags.is_empty() {
        set(&mut response, "oci-tag", new.tags.join(", "));
    }
    Ok(response)
}

/// A manifest that came from another registry, whose blobs may come later.
///
/// # Errors
/// It is none.
pub(crate) fn received(
    repository: &Repository,
    media_type: &str,
    digest: Digest,
    content: Bytes,
    tag: Option<&str>,
) -> Result<NewManifest, Problem> {
    let parsed = parse(Some(media_type).filter(|text| !text.is_empty()), &content)?;
    Ok(NewManifest {
        digest,
        content,
        sparse: true,
        tags: tag.into_iter().map(str::to_owned).collect(),
        now: now(),
        ..parsed.into_new(repository)
    })
}

/// Everything about a manifest that can be known without looking into the registry.
fn prepare(
    registry: &Registry,
    call: &Call,
    repository: &Repository,
    target: &Target,
    content: Bytes,
) -> Result<NewManifest, Problem> {
    let stated = call.header(header::CONTENT_TYPE).map(|text| text.split(';').next().unwrap_or(text).trim());
    let digest = match target {
        Target::Tag(_) => Digest::sha256_of(&content),
        Target::Digest(expected) => verified(expected, &content)?,
    };
    let parsed = parse(stated, &content)?;
    let mut tags = call.queries("tag");
    if let Some(bad) = tags.iter().find(|tag| !dray_spec::reference::is_tag(tag)) {
        return Err(Problem::TagInvalid(bad.chars().take(200).collect()));
    }
    match target {
        Target::Tag(tag) => tags = vec![tag.clone()],
        Target::Digest(_) if tags.len() > TAGS => {
            return Err(Problem::ManifestInvalid(format!("more than {TAGS} tags in one request")));
        }
        Target::Digest(_) => {}
    }
    let immutable = tags.iter().filter(|tag| registry.rules.is_immutable(repository, tag)).cloned().collect();
    Ok(NewManifest {
        repository: repository.clone(),
        digest,
        content,
        sparse: registry.rules.sparse,
        tags,
        immutable,
        expect: expectation(call),
        now: now(),
        ..parsed.into_new(repository)
    })
}

fn verified(expected: &Digest, content: &[u8]) -> Result<Digest, Problem> {
    let mut hasher = Hasher::like(expected);
    hasher.update(content);
    let actual = hasher.finish();
    match actual == *expected {
        true => Ok(actual),
        false => Err(Problem::DigestMismatch { expected: expected.clone(), actual }),
    }
}

fn expectation(call: &Call) -> Expect {
    let digests = |text: &str| {
        let unquoted = text.split(',').map(|one| one.trim().trim_matches('"'));
        unquoted.filter_map(|one| one.parse().ok()).collect::<Vec<Digest>>()
    };
    match (call.header(header::IF_MATCH), call.header(header::IF_NONE_MATCH)) {
        (Some("*"), _) => Expect::Present,
        (Some(list), _) => Expect::OneOf(digests(list)),
        (None, Some("*")) => Expect::Absent,
        _ => Expect::Anything,
    }
}

/// What a manifest says, as far as the registry minds.
struct Parsed {
    media_type: String,
    document: ManifestOrIndex,
}

fn parse(stated: Option<&str>, content: &[u8]) -> Result<Parsed, Problem> {
    let document = ManifestOrIndex::parse(stated, content)
        .map_err(|error| Problem::ManifestInvalid(error.to_string()))?;
    let (own, default) = match &document {
        ManifestOrIndex::Manifest(manifest) => (&manifest.media_type, media_type::OCI_MANIFEST),
        ManifestOrIndex::Index(index) => (&index.media_type, media_type::OCI_INDEX),
    };
    let own = own.as_deref().filter(|own| !own.is_empty());
    let known = stated.filter(|stated| media_type::is_manifest(stated) || media_type::is_index(stated));
    match (own, stated) {
        (Some(own), Some(stated)) if own != stated => {
            Err(Problem::ManifestInvalid(format!("Content-Type is {stated}, mediaType is {own}")))
        }
        (None, Some(stated)) if known.is_none() => {
            Err(Problem::ManifestInvalid(format!("Content-Type {stated} is no manifest's")))
        }
        _ => Ok(Parsed { media_type: own.or(known).unwrap_or(default).to_owned(), document }),
    }
}

impl Parsed {
    fn into_new(self, repository: &Repository) -> NewManifest {
        let mut new = NewManifest {
            repository: repository.clone(),
            digest: Digest::sha256_of(b""),
            media_type: self.media_type,
            content: Bytes::new(),
            subject: None,
            artifact_type: None,
            annotations: None,
            blobs: Vec::new(),
            optional_blobs: Vec::new(),
            manifests: Vec::new(),
            sparse: false,
            tags: Vec::new(),
            immutable: Vec::new(),
            expect: Expect::Anything,
            now: 0,
        };
        let (subject, annotations) = match self.document {
            ManifestOrIndex::Manifest(manifest) => {
                let own = manifest.artifact_type.filter(|own| !own.is_empty());
                new.artifact_type = own.or_else(|| Some(manifest.config.media_type.clone()));
                for descriptor in std::iter::once(manifest.config).chain(manifest.layers) {
                    new.need(descriptor);
                }
                (manifest.subject, manifest.annotations)
            }
            ManifestOrIndex::Index(index) => {
                new.artifact_type = index.artifact_type.filter(|own| !own.is_empty());
                for child in index.manifests {
                    new.list(child);
                }
                (index.subject, index.annotations)
            }
        };
        new.subject = subject.map(|subject| subject.digest);
        // Only who refers to something is ever listed.
        if new.subject.is_some() && !annotations.is_empty() {
            new.annotations = serde_json::to_string(&annotations).ok();
        }
        new
    }
}

/// Whether a layer is one that need not be at the registry: it may be had elsewhere, or must not be passed on.
pub(crate) fn is_elsewhere(descriptor: &Descriptor) -> bool {
    !descriptor.urls.is_empty()
        || descriptor.media_type.contains(".nondistributable.")
        || descriptor.media_type == media_type::DOCKER_FOREIGN_LAYER
}

impl NewManifest {
    /// A configuration or a layer. Layers that may be had elsewhere need not be here.
    fn need(&mut self, descriptor: Descriptor) {
        match is_elsewhere(&descriptor) {
            true => self.optional_blobs.push(descriptor.digest),
            false => self.blobs.push((descriptor.digest, descriptor.size)),
        }
    }

    /// An entry of an index: a manifest, or a blob, as caches of BuildKit list them.
    fn list(&mut self, child: Descriptor) {
        let kind = &child.media_type;
        match kind.is_empty() || media_type::is_manifest(kind) || media_type::is_index(kind) {
            true => self.manifests.push(child.digest),
            false => self.need(child),
        }
    }
}

/// `DELETE` of a tag, or of a manifest with its tags.
pub(super) async fn delete(
    registry: &Registry,
    call: &Call,
    repository: &Repository,
    target: &Target,
) -> Result<Response<Body>, Problem> {
    registry.rules.may_delete()?;
    let room = registry.report.room().await?;
    let deleted = match target {
        Target::Tag(tag) if registry.rules.is_immutable(repository, tag) => {
            return Err(Problem::Kept(format!("tag {tag} is immutable")));
        }
        Target::Tag(tag) => registry.metadata.delete_tag(repository, tag).await?,
        Target::Digest(digest) => {
            keep_immutable(registry, repository, digest).await?;
            registry.metadata.delete_manifest(repository, digest).await?
        }
    };
    match deleted {
        Deleted::Deleted => {}
        Deleted::Missing if registry.metadata.has_repository(repository).await? => {
            return Err(unknown(target));
        }
        Deleted::Missing => return Err(Problem::NameUnknown(repository.to_string())),
        Deleted::Needed(index) => return Err(Problem::Kept(format!("index {index} lists the manifest"))),
    }
    let (digest, tag) = match target {
        Target::Tag(tag) => ("", Some(tag.as_str())),
        Target::Digest(digest) => (digest.as_str(), None),
    };
    registry.replication.note(&*registry.metadata, repository, Change::Shrunk).await?;
    registry.report.event(&Event::delete(call, repository, digest, tag), room);
    Ok(empty(StatusCode::ACCEPTED))
}

/// A manifest whose tag must not go cannot go itself.
async fn keep_immutable(
    registry: &Registry,
    repository: &Repository,
    digest: &Digest,
) -> Result<(), Problem> {
    if !registry.rules.has_immutable(repository) {
        return Ok(());
    }
    let tags = registry.metadata.tag_records(repository).await?;
    let held =
        tags.iter().find(|tag| tag.digest == *digest && registry.rules.is_immutable(repository, &tag.name));
    match held {
        Some(tag) => Err(Problem::Kept(format!("tag {} of it is immutable", tag.name))),
        None => Ok(()),
    }
}
