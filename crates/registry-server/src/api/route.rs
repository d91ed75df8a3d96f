//! From a path to what it means; pure.
//!
//! ```text
//! /v2/                                  the API is here
//! /v2/_catalog                          repositories
//! /v2/<name>/tags/list                  tags
//! /v2/<name>/manifests/<tag-or-digest>  a manifest
//! /v2/<name>/blobs/<digest>             a blob
//! /v2/<name>/blobs/uploads/             a new upload
//! /v2/<name>/blobs/uploads/<id>         an upload
//! /v2/<name>/referrers/<digest>         who refers to a manifest
//! ```
//! A name may itself hold `blobs` or `tags`, so a path is read from its end.

use dray_spec::Digest;
use percent_encoding::percent_decode_str;

use super::problem::Problem;
use crate::name::{InvalidTarget, Repository, Target, UploadId};

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The API's root.
    Root,
    /// The list of repositories.
    Catalog,
    /// Tags of a repository.
    Tags(Repository),
    /// A manifest.
    Manifest(Repository, Target),
    /// A blob.
    Blob(Repository, Digest),
    /// New uploads.
    Uploads(Repository),
    /// An upload.
    Upload(Repository, UploadId),
    /// Referrers of a manifest.
    Referrers(Repository, Digest),
    /// The token issuer.
    Token,
    /// Whether the process lives.
    Live,
    /// Whether it can serve.
    Ready,
    /// Figures.
    Metrics,
    /// How copies at other registries stand.
    Replication,
}

impl Route {
    /// Reads a path.
    ///
    /// # Errors
    /// It is none of ours, or a name in it is none.
    pub fn parse(path: &str) -> Result<Self, Problem> {
        match path {
            "/v2/" | "/v2" => return Ok(Self::Root),
            "/v2/_catalog" => return Ok(Self::Catalog),
            "/token" => return Ok(Self::Token),
            "/livez" | "/healthz" => return Ok(Self::Live),
            "/readyz" => return Ok(Self::Ready),
            "/metrics" => return Ok(Self::Metrics),
            "/replication" => return Ok(Self::Replication),
            _ => {}
        }
        let nowhere = || Problem::NotFound(path.chars().take(200).collect());
        let decoded = percent_decode_str(path).decode_utf8().map_err(|_| nowhere())?;
        let rest = decoded.strip_prefix("/v2/").ok_or_else(nowhere)?;
        let (front, last) = rest.rsplit_once('/').ok_or_else(nowhere)?;
        if let Some(name) = front.strip_suffix("/blobs/uploads") {
            let name = repository(name)?;
            return match last {
                "" => Ok(Self::Uploads(name)),
                id => UploadId::parse(id).map(|id| Self::Upload(name, id)).ok_or(Problem::UploadUnknown),
            };
        }
        let (name, kind) = front.rsplit_once('/').ok_or_else(nowhere)?;
        match (kind, last) {
            // Docker's own client leaves the slash away at times.
            ("blobs", "uploads") => Ok(Self::Uploads(repository(name)?)),
            ("tags", "list") => Ok(Self::Tags(repository(name)?)),
            ("manifests", target) => {
                let name = repository(name)?;
                Ok(Self::Manifest(
                    name,
                    Target::parse(target).map_err(|error| invalid_target(target, error))?,
                ))
            }
            ("blobs", text) => Ok(Self::Blob(repository(name)?, digest(text)?)),
            ("referrers", text) => Ok(Self::Referrers(repository(name)?, digest(text)?)),
            _ => Err(nowhere()),
        }
    }

    /// The repository that it is about.
    #[must_use]
    pub fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Referrers(name, _) => Some(name),
            _ => None,
        }
    }

    /// What it is, for figures.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Catalog => "catalog",
            Self::Tags(_) => "tags",
            Self::Manifest(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Uploads(_) | Self::Upload(..) => "upload",
            Self::Referrers(..) => "referrers",
            Self::Token => "token",
            Self::Live | Self::Ready | Self::Metrics | Self::Replication => "operation",
        }
    }
}

fn repository(name: &str) -> Result<Repository, Problem> {
    Repository::parse(name).ok_or_else(|| Problem::NameInvalid(name.chars().take(300).collect()))
}

/// A digest that a client gave.
///
/// # Errors
/// It is none.
pub fn digest(text: &str) -> Result<Digest, Problem> {
    text.parse().map_err(|problem: dray_spec::DigestError| Problem::DigestInvalid {
        text: text.chars().take(200).collect(),
        problem: problem.to_string(),
    })
}

fn invalid_target(text: &str, error: InvalidTarget) -> Problem {
    match error {
        InvalidTarget::Digest(problem) => {
            Problem::DigestInvalid { text: text.chars().take(200).collect(), problem: problem.to_string() }
        }
        InvalidTarget::Tag => Problem::TagInvalid(text.chars().take(200).collect()),
    }
}

/// The values of a query, decoded.
pub fn query<'a>(query: Option<&'a str>) -> impl Iterator<Item = (String, String)> + 'a {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Repository {
        Repository::parse(text).unwrap()
    }

    #[test]
    fn paths_are_read_from_their_end() {
        let digest = Digest::sha256_of(b"");
        let id = UploadId::random();
        for (path, route) in [
            ("/v2/".to_owned(), Route::Root),
            ("/v2/_catalog".into(), Route::Catalog),
            ("/v2/a/tags/list".into(), Route::Tags(name("a"))),
            ("/v2/a/blobs/tags/list".into(), Route::Tags(name("a/blobs"))),
            ("/v2/a/b/manifests/v1".into(), Route::Manifest(name("a/b"), Target::Tag("v1".into()))),
            (format!("/v2/a/manifests/{digest}"), Route::Manifest(name("a"), Target::Digest(digest.clone()))),
            (
                format!("/v2/manifests/manifests/{digest}"),
                Route::Manifest(name("manifests"), Target::Digest(digest.clone())),
            ),
            (format!("/v2/a/blobs/{digest}"), Route::Blob(name("a"), digest.clone())),
            (
                format!("/v2/a/blobs/{}", digest.as_str().replace(':', "%3A")),
                Route::Blob(name("a"), digest.clone()),
            ),
            ("/v2/a/blobs/uploads/".into(), Route::Uploads(name("a"))),
            ("/v2/a/blobs/uploads".into(), Route::Uploads(name("a"))),
            (format!("/v2/a/blobs/uploads/{id}"), Route::Upload(name("a"), id.clone())),
            (format!("/v2/a/referrers/{digest}"), Route::Referrers(name("a"), digest.clone())),
        ] {
            assert_eq!(Route::parse(&path).unwrap(), route, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_named() {
        for (path, code, status) in [
            ("/", "UNSUPPORTED", 404),
            ("/v1/x", "UNSUPPORTED", 404),
            ("/v2/x", "UNSUPPORTED", 404),
            ("/v2/UPPER/tags/list", "NAME_INVALID", 400),
            ("/v2/../../etc/tags/list", "NAME_INVALID", 400),
            ("/v2/a%2f..%2fb/tags/list", "NAME_INVALID", 400),
            ("/v2/a/blobs/sha256:x", "DIGEST_INVALID", 400),
            ("/v2/a/manifests/sha256:x", "DIGEST_INVALID", 400),
            ("/v2/a/manifests/.x", "MANIFEST_INVALID", 400),
            ("/v2/a/blobs/uploads/x", "BLOB_UPLOAD_UNKNOWN", 404),
            ("/v2/a/%ff/list", "UNSUPPORTED", 404),
        ] {
            let problem = Route::parse(path).unwrap_err();
            assert_eq!((problem.code(), problem.status().as_u16()), (code, status), "{path}");
        }
    }
}
