//! A repository of a registry: manifests and tags. Blobs are in `blob`, uploads in `upload`.

use bytes::Bytes;
use dray_spec::{Digest, Reference, media_type};
use http::header;
use http::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::answer::refusal;
use crate::auth::Auth;
use crate::client::{Access, Client, Host, join};
use crate::error::{ApiError, Error, shown};
use crate::payload::Payload;
use crate::transport::{Answer, Repeat, Request};

/// Largest manifest accepted (the distribution specification's recommendation).
pub(crate) const MAX_MANIFEST: usize = 4 * 1024 * 1024;
const MAX_TAG_PAGES: usize = 1000;
const MAX_TAGS: usize = 200_000;
/// Longest tag (the distribution specification's grammar).
const LONGEST_TAG: usize = 128;

/// One repository with the credentials for it.
#[derive(Clone)]
pub struct Repository {
    pub(crate) client: Client,
    pub(crate) host: Host,
    pub(crate) auth: Auth,
    /// As it stands in references, for messages.
    pub(crate) domain: String,
    pub(crate) path: String,
}

/// A manifest or index as the registry sent it, its digest computed from the bytes.
#[derive(Debug, Clone)]
pub struct RawManifest {
    /// `Content-Type` of the answer, without parameters; may be empty or a lie.
    pub media_type: String,
    /// Digest of `bytes`.
    pub digest: Digest,
    /// The document.
    pub bytes: Bytes,
}

/// What a request is going to do, as a token's scope says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Pull,
    Push,
    Delete,
}

#[derive(Deserialize)]
struct TagList {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({} at {:?}, {:?})", self.name(), self.host.address, self.auth)
    }
}

impl Repository {
    pub(crate) fn new(client: Client, host: Host, reference: &Reference, auth: Auth) -> Self {
        let (domain, path) = (reference.domain().to_owned(), reference.path().to_owned());
        Repository { client, host, auth, domain, path }
    }

    /// `domain/path`, as references name it.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The registry, as references name it.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path at its registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Finds out whether the registry answers, without asking for anything.
    ///
    /// # Errors
    /// If it can't be reached.
    pub async fn ping(&self) -> Result<(), Error> {
        self.client.endpoint(&self.host).await.map(drop)
    }

    /// Gets a manifest or index by tag or digest.
    ///
    /// # Errors
    /// If the registry refuses it, sends more than 4 MiB, or bytes of another digest than the one asked for.
    pub async fn manifest(&self, tag_or_digest: &str) -> Result<RawManifest, Error> {
        self.manifest_of_type(tag_or_digest, "").await
    }

    /// As [`Self::manifest`], for a document that may be of a type of its own.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub async fn manifest_of_type(&self, tag_or_digest: &str, kind: &str) -> Result<RawManifest, Error> {
        let mut request = self.request(Method::GET, &format!("manifests/{tag_or_digest}")).await?;
        for accepted in media_type::ACCEPT_MANIFESTS {
            request = request.header(header::ACCEPT, accepted);
        }
        if !kind.is_empty() && !media_type::ACCEPT_MANIFESTS.contains(&kind) {
            request = request.header(header::ACCEPT, kind);
        }
        let mut answer = self.call(Action::Pull, request, Repeat::Always).await?;
        if answer.status != StatusCode::OK {
            return Err(self.manifest_refusal(answer).await);
        }
        let media_type = answer.header(header::CONTENT_TYPE).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let bytes = answer.bytes(MAX_MANIFEST).await?;
        let digest = self.check_digest(tag_or_digest, &bytes)?;
        Ok(RawManifest { media_type, digest, bytes })
    }

    fn check_digest(&self, tag_or_digest: &str, bytes: &[u8]) -> Result<Digest, Error> {
        let computed = Digest::sha256_of(bytes);
        match tag_or_digest.parse::<Digest>() {
            Ok(expected) if expected.verifies(bytes) => Ok(expected),
            Ok(expected) => {
                Err(Error::DigestMismatch { repository: self.name(), expected, actual: computed })
            }
            Err(_) => Ok(computed),
        }
    }

    async fn manifest_refusal(&self, answer: Answer) -> Error {
        let (status, url) = (answer.status, shown(&answer.url));
        match refusal(answer).await {
            Error::UnexpectedStatus { excerpt, .. } if status == 404 && excerpt.is_empty() => {
                let unknown =
                    ApiError { code: "MANIFEST_UNKNOWN".into(), message: "manifest unknown".into() };
                Error::Api { status, url, errors: vec![unknown] }
            }
            other => other,
        }
    }

    /// Whether the repository has this manifest.
    ///
    /// # Errors
    /// If the registry answers neither yes nor no.
    pub async fn has_manifest(&self, tag_or_digest: &str) -> Result<bool, Error> {
        let mut request = self.request(Method::HEAD, &format!("manifests/{tag_or_digest}")).await?;
        for accepted in media_type::ACCEPT_MANIFESTS {
            request = request.header(header::ACCEPT, accepted);
        }
        self.exists(request).await
    }

    /// What a tag is set to, without the manifest itself; nothing if the registry doesn't say so in its answer's head.
    ///
    /// # Errors
    /// If the registry refuses, or has no such tag.
    pub async fn resolve(&self, tag: &str) -> Result<Option<Digest>, Error> {
        let mut request = self.request(Method::HEAD, &format!("manifests/{tag}")).await?;
        for accepted in media_type::ACCEPT_MANIFESTS {
            request = request.header(header::ACCEPT, accepted);
        }
        let answer = self.call(Action::Pull, request, Repeat::Always).await?;
        if answer.status != StatusCode::OK {
            return Err(self.manifest_refusal(answer).await);
        }
        let named = header::HeaderName::from_static("docker-content-digest");
        Ok(answer.header(named).and_then(|text| text.parse().ok()))
    }

    pub(crate) async fn exists(&self, request: Request) -> Result<bool, Error> {
        let answer = self.call(Action::Pull, request, Repeat::Always).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refusal(answer).await),
        }
    }

    /// Stores a manifest under a tag or its digest.
    ///
    /// # Errors
    /// If the registry refuses it.
    pub async fn put_manifest(
        &self,
        tag_or_digest: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), Error> {
        self.put_manifest_answer(tag_or_digest, media_type, bytes).await.map(drop)
    }

    /// Stores a manifest; gives the head of the registry's answer.
    pub(crate) async fn put_manifest_answer(
        &self,
        tag_or_digest: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Answer, Error> {
        let mut request = self
            .request(Method::PUT, &format!("manifests/{tag_or_digest}"))
            .await?
            .header(header::CONTENT_TYPE, media_type);
        request.payload = Payload::Bytes(bytes);
        let answer = self.call(Action::Push, request, Repeat::Always).await?;
        match answer.status {
            StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED => Ok(answer),
            _ => Err(refusal(answer).await),
        }
    }

    /// Removes a manifest by digest.
    ///
    /// # Errors
    /// If the registry refuses it.
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<(), Error> {
        let request = self.request(Method::DELETE, &format!("manifests/{digest}")).await?;
        let answer = self.call(Action::Delete, request, Repeat::Always).await?;
        match answer.status {
            StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(refusal(answer).await),
        }
    }

    /// Removes a tag and leaves its manifest. False if the registry removes manifests only.
    ///
    /// # Errors
    /// If the registry refuses it otherwise.
    pub async fn delete_tag(&self, tag: &str) -> Result<bool, Error> {
        let request = self.request(Method::DELETE, &format!("manifests/{tag}")).await?;
        let answer = self.call(Action::Delete, request, Repeat::Always).await?;
        match answer.status {
            StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => {
                Ok(true)
            }
            StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED => Ok(false),
            _ => Err(refusal(answer).await),
        }
    }

    /// All tags of the repository, through all pages.
    ///
    /// # Errors
    /// If the registry refuses, or its list has no end.
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        let mut request = self.request(Method::GET, "tags/list").await?;
        let mut all = Vec::new();
        for _ in 0..MAX_TAG_PAGES {
            let (verb, url) = (request.verb(), request.url.clone());
            let mut answer = self.call(Action::Pull, request, Repeat::Always).await?;
            if answer.status != StatusCode::OK {
                return Err(refusal(answer).await);
            }
            let next = answer.header(header::LINK).and_then(|link| next_page(&answer.url, link));
            let body = answer.bytes(MAX_MANIFEST).await?;
            let page: TagList = serde_json::from_slice(&body)
                .map_err(|e| Error::invalid(verb, &url, format!("list of tags: {e}")))?;
            // What is longer is no tag, and a thousand pages of such would fill the memory.
            all.extend(page.tags.unwrap_or_default().into_iter().filter(|tag| tag.len() <= LONGEST_TAG));
            match next {
                Some(next) if all.len() <= MAX_TAGS => request = Request::new(Method::GET, next),
                Some(_) => break,
                None => return Ok(all),
            }
        }
        Err(Error::InvalidAnswer {
            verb: crate::error::Verb::of(&Method::GET),
            url: self.name(),
            problem: "its list of tags has no end".into(),
        })
    }

    /// A request below `/v2/<path>/`.
    pub(crate) async fn request(&self, method: Method, below: &str) -> Result<Request, Error> {
        let endpoint = self.client.endpoint(&self.host).await?;
        let mut url = join(&endpoint.root, &format!("{}/{below}", self.path))?;
        if let Some(namespace) = &self.host.settings.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        Ok(Request::new(method, url))
    }

    pub(crate) async fn call(
        &self,
        action: Action,
        request: Request,
        repeat: Repeat,
    ) -> Result<Answer, Error> {
        self.call_with(action, &[], request, repeat).await
    }

    /// Like [`Self::call`], also allowed to read the repositories `others`.
    pub(crate) async fn call_with(
        &self,
        action: Action,
        others: &[&str],
        request: Request,
        repeat: Repeat,
    ) -> Result<Answer, Error> {
        let actions = match action {
            Action::Pull => "pull",
            Action::Push => "pull,push",
            Action::Delete => "pull,push,delete",
        };
        let mut scopes = vec![format!("repository:{}:{actions}", self.path)];
        scopes.extend(others.iter().map(|path| format!("repository:{path}:pull")));
        let access = Access { auth: Some(&self.auth), scopes: &scopes };
        self.client.call(&self.host, &access, request, repeat).await
    }
}

/// The target of `Link: <…>; rel="next"`, whatever links stand beside it, if it stays at the same origin.
pub(crate) fn next_page(at: &Url, link: &str) -> Option<Url> {
    let mut rest = link.trim();
    loop {
        let (target, after) = rest.strip_prefix('<')?.split_once('>')?;
        let (parameters, others) = after.split_at(after.find('<').unwrap_or(after.len()));
        if parameters.contains("next") {
            return at.join(target).ok().filter(|next| next.origin() == at.origin());
        }
        rest = others;
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn next_page_stays_at_its_origin() {
        let at: Url = "https://reg.test/v2/a/tags/list".parse().unwrap();
        let next = |link| next_page(&at, link).map(String::from);
        assert_eq!(
            next("</v2/a/tags/list?last=z&n=2>; rel=\"next\"").as_deref(),
            Some("https://reg.test/v2/a/tags/list?last=z&n=2")
        );
        assert_eq!(next("<https://evil.test/x>; rel=\"next\""), None);
        assert_eq!(next("</x>; rel=\"prev\""), None);
        let both = "</x>; rel=\"prev\", </y>; rel=\"next\"";
        assert_eq!(next(both).as_deref(), Some("https://reg.test/y"));
        assert_eq!(next("nonsense"), None);
    }
}
