//! Which API version a request speaks: `/v1.47/containers/json`, or none, which is the newest.
//!
//! Also what every answer says of the server, and the paths as the router wants them: names of
//! images may have slashes (`/images/library/nginx/json`), so these are encoded before routing.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use dray_api::{API_VERSION, MIN_API_VERSION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use crate::error::ApiError;

/// The version that a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    major: u32,
    minor: u32,
}

impl ApiVersion {
    /// The newest one served.
    pub const NEWEST: ApiVersion = ApiVersion::new(1, 51);
    /// The oldest one served.
    pub const OLDEST: ApiVersion = ApiVersion::new(1, 24);

    /// A version.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        ApiVersion { major, minor }
    }

    /// Whether this is 1.`minor` or newer.
    #[must_use]
    pub fn at_least(self, minor: u32) -> bool {
        self >= ApiVersion::new(1, minor)
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Some(ApiVersion { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ApiVersion {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or(ApiVersion::NEWEST))
    }
}

/// A request that speaks a version that is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Before [`ApiVersion::OLDEST`].
    #[error(
        "client version {0} is too old. Minimum supported API version is {MIN_API_VERSION}, please upgrade your client to a newer version"
    )]
    TooOld(String),
    /// After [`ApiVersion::NEWEST`].
    #[error("client version {0} is too new. Maximum supported API version is {API_VERSION}")]
    TooNew(String),
}

impl IntoResponse for VersionError {
    /// Clients older than the minimum print the body as it is: it is plain text for them.
    fn into_response(self) -> Response {
        match &self {
            VersionError::TooOld(_) => (StatusCode::BAD_REQUEST, format!("{self}\n")).into_response(),
            VersionError::TooNew(_) => ApiError::bad_request(self.to_string()).into_response(),
        }
    }
}

/// Takes the version off a path and encodes slashes in names. The path is rewritten only if needed.
///
/// # Errors
/// [`VersionError`] if the version is not served.
pub fn negotiate(uri: &Uri) -> Result<(ApiVersion, Option<Uri>), VersionError> {
    let (version, path) = split(uri.path())?;
    let routed = encode_name(path);
    if routed == uri.path() {
        return Ok((version, None));
    }
    let text = match uri.query() {
        Some(query) => format!("{routed}?{query}"),
        None => routed.into_owned(),
    };
    Ok((version, text.parse().ok()))
}

fn split(path: &str) -> Result<(ApiVersion, &str), VersionError> {
    let Some(rest) = path.strip_prefix("/v") else { return Ok((ApiVersion::NEWEST, path)) };
    let end = rest.find('/').unwrap_or(rest.len());
    let (text, tail) = rest.split_at(end);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Ok((ApiVersion::NEWEST, path));
    }
    match ApiVersion::parse(text) {
        Some(version) if version < ApiVersion::OLDEST => Err(VersionError::TooOld(text.to_owned())),
        Some(version) if version <= ApiVersion::NEWEST => Ok((version, tail)),
        _ => Err(VersionError::TooNew(text.to_owned())),
    }
}

/// Collections whose names may have slashes, with what may follow the name.
const SLASHED: [(&str, &[&str], &[&str]); 2] = [
    (
        "/images/",
        &["/json", "/history", "/push", "/tag", "/get", "/signatures"],
        &["json", "create", "load", "get", "prune", "search"],
    ),
    ("/distribution/", &["/json"], &[]),
];

fn encode_name(path: &str) -> Cow<'_, str> {
    for (collection, verbs, fixed) in SLASHED {
        let Some(rest) = path.strip_prefix(collection) else { continue };
        if fixed.contains(&rest) {
            return Cow::Borrowed(path);
        }
        let verb = verbs.iter().find(|verb| rest.len() > verb.len() && rest.ends_with(**verb)).unwrap_or(&"");
        let name = &rest[..rest.len() - verb.len()];
        if name.contains('/') {
            return Cow::Owned(format!("{collection}{}{verb}", name.replace('/', "%2F")));
        }
    }
    Cow::Borrowed(path)
}

/// What every answer says of the server.
pub fn server_headers(headers: &mut HeaderMap) {
    headers.insert("api-version", HeaderValue::from_static(API_VERSION));
    headers.insert("docker-experimental", HeaderValue::from_static("false"));
    headers.insert("ostype", HeaderValue::from_static("linux"));
    headers
        .insert("server", HeaderValue::from_static(concat!("Dray/", env!("CARGO_PKG_VERSION"), " (linux)")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(path: &str) -> (ApiVersion, String) {
        let uri: Uri = path.parse().unwrap();
        let (version, rewritten) = negotiate(&uri).unwrap();
        (version, rewritten.unwrap_or(uri).to_string())
    }

    #[test]
    fn paths_with_and_without_version() {
        assert_eq!(routed("/_ping"), (ApiVersion::NEWEST, "/_ping".into()));
        assert_eq!(routed("/v1.24/info?a=b"), (ApiVersion::new(1, 24), "/info?a=b".into()));
        assert_eq!(routed("/volumes/x"), (ApiVersion::NEWEST, "/volumes/x".into()));
        assert_eq!(routed("/version").1, "/version");
    }

    #[test]
    fn versions_out_of_range_are_refused_in_docker_s_words() {
        let message = |path: &str| negotiate(&path.parse().unwrap()).unwrap_err().to_string();
        assert_eq!(
            message("/v1.20/info"),
            "client version 1.20 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        );
        assert_eq!(
            message("/v1.99/x"),
            "client version 1.99 is too new. Maximum supported API version is 1.51"
        );
        assert_eq!(message("/v2/x"), "client version 2 is too new. Maximum supported API version is 1.51");
    }

    #[test]
    fn names_with_slashes_become_one_segment() {
        assert_eq!(routed("/v1.44/images/a/b:c/json").1, "/images/a%2Fb:c/json");
        assert_eq!(routed("/images/localhost:5000/x/push?tag=v").1, "/images/localhost:5000%2Fx/push?tag=v");
        assert_eq!(routed("/images/a/b").1, "/images/a%2Fb");
        assert_eq!(routed("/images/json").1, "/images/json");
        assert_eq!(routed("/distribution/a/b/json").1, "/distribution/a%2Fb/json");
    }

    #[test]
    fn versions_are_numbers() {
        assert!(ApiVersion::new(1, 47).at_least(9));
        assert!(!ApiVersion::new(1, 41).at_least(42));
    }
}
