//! Everything that a request can be refused for, with the status and the code that the specification gives it
//! (distribution-spec 1.1, "Error Codes").

use std::fmt::Write as _;

use dray_spec::Digest;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::connection::Body;
use crate::metadata;
use crate::storage;

/// A refusal.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// No such blob in the repository.
    #[error("blob unknown to registry")]
    BlobUnknown(Digest),
    /// A request of an upload that makes no sense.
    #[error("blob upload invalid: {0}")]
    UploadInvalid(String),
    /// No such upload, or no more.
    #[error("blob upload unknown to registry")]
    UploadUnknown,
    /// A chunk that does not begin where the upload ends.
    #[error("blob upload invalid: the chunk begins at {given}, the upload is at {expected}")]
    OutOfOrder {
        /// Where the chunk begins.
        given: u64,
        /// Where it should.
        expected: u64,
        /// The upload's location.
        location: String,
    },
    /// The bytes are others than they should be.
    #[error("provided digest did not match uploaded content: {actual} instead of {expected}")]
    DigestMismatch {
        /// What was said.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// No digest, or one that is none.
    #[error("invalid digest {text:?}: {problem}")]
    DigestInvalid {
        /// What was given.
        text: String,
        /// Why it is none.
        problem: String,
    },
    /// A manifest that needs what is not there.
    #[error("manifest references a manifest or blob unknown to registry")]
    ReferencesUnknown(Vec<Digest>),
    /// A document that is no manifest.
    #[error("manifest invalid: {0}")]
    ManifestInvalid(String),
    /// A manifest that is too long.
    #[error("manifest invalid: it is longer than {0} bytes")]
    ManifestTooLarge(usize),
    /// No such manifest.
    #[error("manifest unknown to registry")]
    ManifestUnknown(String),
    /// There is one, but the client does not want its kind.
    #[error("manifest unknown: it is of type {0}, which the Accept header does not allow")]
    NotAccepted(String),
    /// A name that follows no grammar.
    #[error("invalid repository name")]
    NameInvalid(String),
    /// A tag that follows no grammar.
    #[error("invalid tag name")]
    TagInvalid(String),
    /// No such repository.
    #[error("repository name not known to registry")]
    NameUnknown(String),
    /// More or fewer bytes than was said.
    #[error("provided length did not match content length: {0}")]
    SizeInvalid(String),
    /// A part of a blob that does not exist.
    #[error("the range cannot be satisfied: the blob has {0} bytes")]
    RangeInvalid(u64),
    /// Who are you?
    #[error("authentication required")]
    Unauthorized {
        /// `WWW-Authenticate`.
        challenge: String,
        /// What was wanted.
        wanted: String,
    },
    /// Not for you.
    #[error("requested access to the resource is denied: {0}")]
    Denied(String),
    /// It must stay: something needs it, or a rule says so.
    #[error("the operation is denied: {0}")]
    Kept(String),
    /// A condition of the request does not hold.
    #[error("the condition of the request does not hold")]
    Condition,
    /// There is no room.
    #[error("no space left: {0}")]
    Full(String),
    /// The registry does not do that.
    #[error("the operation is unsupported: {0}")]
    Unsupported(String),
    /// The path is none of ours.
    #[error("there is nothing at {0}")]
    NotFound(String),
    /// The path is ours, the method is not.
    #[error("the operation is unsupported: method {0} at this path")]
    Method(String),
    /// Too much at once.
    #[error("too many requests: {0}")]
    TooMany(&'static str),
    /// The client went away or broke off.
    #[error("blob upload invalid: the body broke off: {0}")]
    BodyBroken(String),
    /// The storage failed.
    #[error("the storage failed")]
    Storage(#[from] storage::Error),
    /// The metadata failed.
    #[error("the metadata failed")]
    Metadata(#[from] metadata::Error),
    /// The registry that is copied cannot be asked, or says what nobody understands.
    #[error("the registry {registry}, which this is a copy of: {problem}")]
    Upstream {
        /// Its host.
        registry: String,
        /// What is wrong.
        problem: String,
    },
    /// A copy cannot be changed.
    #[error("the operation is unsupported: the repository is a copy of {0}'s")]
    Cached(String),
    /// What is asked for could not be written down.
    #[error("the audit log takes nothing at the moment")]
    Unaudited,
    /// A task of ours is gone.
    #[error("the work was abandoned")]
    Abandoned,
}

impl Problem {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BlobUnknown(_)
            | Self::UploadUnknown
            | Self::ManifestUnknown(_)
            | Self::NotAccepted(_)
            | Self::NameUnknown(_)
            | Self::ReferencesUnknown(_)
            | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::OutOfOrder { .. } | Self::RangeInvalid(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::ManifestTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Kept(_) | Self::Method(_) | Self::Cached(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Upstream { .. } => StatusCode::BAD_GATEWAY,
            Self::Unaudited => StatusCode::SERVICE_UNAVAILABLE,
            Self::Condition => StatusCode::PRECONDITION_FAILED,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Storage(error) if error.is_full() => StatusCode::INSUFFICIENT_STORAGE,
            Self::Metadata(error) if error.is_full() => StatusCode::INSUFFICIENT_STORAGE,
            Self::Storage(error) if error.is_unavailable() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Metadata(error) if error.is_unavailable() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Storage(_) | Self::Metadata(_) | Self::Abandoned => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The code, one of the specification's list.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BlobUnknown(_) => "BLOB_UNKNOWN",
            Self::UploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::UploadInvalid(_)
            | Self::OutOfOrder { .. }
            | Self::BodyBroken(_)
            | Self::RangeInvalid(_) => "BLOB_UPLOAD_INVALID",
            Self::DigestMismatch { .. } | Self::DigestInvalid { .. } => "DIGEST_INVALID",
            Self::ReferencesUnknown(_) => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid(_) | Self::ManifestTooLarge(_) | Self::TagInvalid(_) => "MANIFEST_INVALID",
            Self::ManifestUnknown(_) | Self::NotAccepted(_) => "MANIFEST_UNKNOWN",
            Self::NameInvalid(_) => "NAME_INVALID",
            Self::NameUnknown(_) => "NAME_UNKNOWN",
            Self::SizeInvalid(_) => "SIZE_INVALID",
            Self::Unauthorized { .. } => "UNAUTHORIZED",
            Self::Denied(_) | Self::Kept(_) | Self::Condition | Self::Full(_) => "DENIED",
            Self::TooMany(_) | Self::Unaudited => "TOOMANYREQUESTS",
            Self::Upstream { .. } => "UNAVAILABLE",
            _ => "UNSUPPORTED",
        }
    }

    fn detail(&self) -> Option<Value> {
        Some(match self {
            Self::BlobUnknown(digest) => json!({ "digest": digest }),
            Self::ReferencesUnknown(digests) => json!(digests),
            Self::ManifestUnknown(target) => json!({ "reference": target }),
            Self::NameInvalid(name) | Self::NameUnknown(name) => json!({ "name": name }),
            Self::TagInvalid(tag) => json!({ "tag": tag }),
            Self::Unauthorized { wanted, .. } => json!(wanted),
            _ => return None,
        })
    }

    /// The answer.
    #[must_use]
    pub fn response(&self) -> Response<Body> {
        let errors: Vec<Value> = match self {
            // One error for each, as the specification allows and Docker's clients print.
            Self::ReferencesUnknown(digests) => digests
                .iter()
                .map(|digest| json!({ "code": self.code(), "message": self.to_string(), "detail": { "digest": digest } }))
                .collect(),
            _ => {
                let mut error = json!({ "code": self.code(), "message": self.message() });
                if let Some(detail) = self.detail() {
                    error["detail"] = detail;
                }
                vec![error]
            }
        };
        let body = Body::from(json!({ "errors": errors }).to_string());
        let mut response = Response::new(body);
        *response.status_mut() = self.status();
        self.set_headers(response.headers_mut());
        response
    }

    fn message(&self) -> String {
        let mut text = self.to_string();
        if let Self::BlobUnknown(digest) = self {
            let _ = write!(text, ": {digest}");
        }
        text
    }

    fn set_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut set = |name: header::HeaderName, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        match self {
            Self::Unauthorized { challenge, .. } => set(header::WWW_AUTHENTICATE, challenge.clone()),
            Self::OutOfOrder { location, expected, .. } => {
                set(header::LOCATION, location.clone());
                set(header::RANGE, format!("0-{}", expected.saturating_sub(1)));
            }
            Self::RangeInvalid(size) => set(header::CONTENT_RANGE, format!("bytes */{size}")),
            Self::TooMany(_) | Self::Unaudited => set(header::RETRY_AFTER, "1".into()),
            Self::Storage(error) if error.is_unavailable() => set(header::RETRY_AFTER, "1".into()),
            Self::Metadata(error) if error.is_unavailable() => set(header::RETRY_AFTER, "1".into()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_of_the_specification_s_list() {
        let listed = [
            "BLOB_UNKNOWN",
            "BLOB_UPLOAD_INVALID",
            "BLOB_UPLOAD_UNKNOWN",
            "DIGEST_INVALID",
            "MANIFEST_BLOB_UNKNOWN",
            "MANIFEST_INVALID",
            "MANIFEST_UNKNOWN",
            "NAME_INVALID",
            "NAME_UNKNOWN",
            "SIZE_INVALID",
            "UNAUTHORIZED",
            "DENIED",
            "UNSUPPORTED",
            "TOOMANYREQUESTS",
        ];
        let digest = Digest::sha256_of(b"");
        for problem in [
            Problem::BlobUnknown(digest.clone()),
            Problem::UploadUnknown,
            Problem::ReferencesUnknown(vec![digest]),
            Problem::ManifestTooLarge(1),
            Problem::NotAccepted("x".into()),
            Problem::Kept("x".into()),
            Problem::Abandoned,
            Problem::NotFound("/".into()),
        ] {
            assert!(listed.contains(&problem.code()), "{problem}");
            assert!(problem.status().as_u16() >= 400);
        }
    }
}
