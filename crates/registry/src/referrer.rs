//! Referrers: the manifests that are about another one (signatures, attestations), distribution-spec 1.1.
//!
//! A registry that doesn't know the API keeps an index under the tag `<algorithm>-<hex>` of the subject, which clients
//! write themselves.

use bytes::Bytes;
use dray_spec::{Descriptor, Digest, Index, Manifest, ManifestOrIndex, media_type};
use http::{Method, StatusCode, header};
use url::Url;

use crate::answer::refusal;
use crate::error::{Error, ErrorKind};
use crate::repository::{Action, MAX_MANIFEST, Repository, next_page};
use crate::transport::{Repeat, Request};

/// Referrers of one manifest that are looked at.
const MAX_REFERRERS: usize = 1000;
/// Pages of their list, which may also be empty: a filter leaves such.
const MAX_PAGES: usize = 1000;
/// The header by which a registry says that it keeps track of a manifest's subject.
const OCI_SUBJECT: &str = "oci-subject";

impl Repository {
    /// The manifests about `subject` that are of the kind `artifact_type`.
    ///
    /// # Errors
    /// If the registry refuses, or its list is none or has no end.
    pub async fn referrers(&self, subject: &Digest, artifact_type: &str) -> Result<Vec<Descriptor>, Error> {
        let mut request = self.request(Method::GET, &format!("referrers/{subject}")).await?;
        request.url.query_pairs_mut().append_pair("artifactType", artifact_type);
        let all = self.listed_or_tagged(request, subject).await?;
        // The filter is a wish, and the fallback has none.
        let fits = |entry: &Descriptor| {
            entry.artifact_type.as_deref().is_none_or(|kind| kind.is_empty() || kind == artifact_type)
        };
        Ok(all.into_iter().filter(fits).collect())
    }

    /// The manifests about `subject`, of whatever kind.
    ///
    /// # Errors
    /// As [`Self::referrers`].
    pub async fn all_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        let request = self.request(Method::GET, &format!("referrers/{subject}")).await?;
        self.listed_or_tagged(request, subject).await
    }

    async fn listed_or_tagged(&self, request: Request, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        match self.listed(request).await {
            Err(error) if unknown(&error) => Ok(self.fallback(subject).await?.manifests),
            listed => listed,
        }
    }

    async fn listed(&self, mut request: Request) -> Result<Vec<Descriptor>, Error> {
        let mut all = Vec::new();
        let mut pages = 0;
        loop {
            pages += 1;
            let (verb, url) = (request.verb(), request.url.clone());
            let mut answer = self.call(Action::Pull, request, Repeat::Always).await?;
            if answer.status != StatusCode::OK {
                return Err(refusal(answer).await);
            }
            let next: Option<Url> = answer.header(header::LINK).and_then(|link| next_page(&answer.url, link));
            let kind = answer.header(header::CONTENT_TYPE).unwrap_or_default().to_owned();
            let body = answer.bytes(MAX_MANIFEST).await?;
            let page = match ManifestOrIndex::parse(Some(&kind), &body) {
                Ok(ManifestOrIndex::Index(index)) => index,
                Ok(ManifestOrIndex::Manifest(_)) => {
                    return Err(Error::invalid(verb, &url, "list of referrers: it is a manifest"));
                }
                Err(error) => return Err(Error::invalid(verb, &url, format!("list of referrers: {error}"))),
            };
            all.extend(page.manifests);
            match next {
                None => return Ok(all),
                Some(_) if all.len() > MAX_REFERRERS || pages == MAX_PAGES => {
                    return Err(Error::invalid(verb, &url, "its list of referrers has no end"));
                }
                Some(next) => request = Request::new(Method::GET, next),
            }
        }
    }

    /// Stores a manifest that is about another one, and where the registry doesn't keep track of that, lists it.
    ///
    /// # Errors
    /// If the registry refuses it.
    pub async fn put_referrer(&self, manifest: &Manifest, bytes: Bytes) -> Result<Digest, Error> {
        let kind = manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
        let descriptor = Descriptor::of(kind, &bytes);
        let answer = self.put_manifest_answer(descriptor.digest.as_str(), kind, bytes).await?;
        if let Some(subject) = &manifest.subject
            && !answer.headers.contains_key(OCI_SUBJECT)
        {
            self.list(subject, manifest, descriptor.clone()).await?;
        }
        Ok(descriptor.digest)
    }

    /// Adds an entry to the index under the subject's tag.
    async fn list(
        &self,
        subject: &Descriptor,
        manifest: &Manifest,
        mut entry: Descriptor,
    ) -> Result<(), Error> {
        let mut index = self.fallback(&subject.digest).await?;
        if index.manifests.iter().any(|known| known.digest == entry.digest) {
            return Ok(());
        }
        let kind = manifest.artifact_type.as_ref().unwrap_or(&manifest.config.media_type);
        entry.artifact_type = Some(kind.clone());
        entry.annotations.clone_from(&manifest.annotations);
        index.manifests.push(entry);
        let bytes = serde_json::to_vec(&index).unwrap_or_default();
        self.put_manifest(&fallback_tag(&subject.digest), media_type::OCI_INDEX, bytes.into()).await
    }

    async fn fallback(&self, subject: &Digest) -> Result<Index, Error> {
        match self.manifest(&fallback_tag(subject)).await {
            Ok(found) => match ManifestOrIndex::parse(Some(&found.media_type), &found.bytes) {
                Ok(ManifestOrIndex::Index(index)) => Ok(index),
                // Somebody's image has the name by chance.
                _ => Ok(Index::oci(Vec::new())),
            },
            Err(error) if unknown(&error) => Ok(Index::oci(Vec::new())),
            Err(error) => Err(error),
        }
    }
}

/// Whether a registry has nothing under that address: the thing, or the whole API.
fn unknown(error: &Error) -> bool {
    let status = match error {
        Error::UnexpectedStatus { status, .. } | Error::Api { status, .. } => *status,
        _ => return false,
    };
    error.kind() == ErrorKind::NotFound || matches!(status.as_u16(), 400 | 404 | 405 | 501)
}

fn fallback_tag(subject: &Digest) -> String {
    let hex: String = subject.hex().chars().take(64).collect();
    format!("{}-{hex}", subject.algorithm())
}
