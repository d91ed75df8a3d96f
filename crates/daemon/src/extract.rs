//! What handlers take out of a request: JSON bodies and query parameters as Docker reads them.

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use dray_api::Filters;
use http::request::Parts;
use http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The largest JSON body that is read: far above any real request.
const MAX_JSON_BODY: usize = 8 << 20;

/// A JSON body; none at all is the type's default.
#[derive(Debug, Clone, Default)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let body = read(request).await?;
        if body.is_empty() {
            return Ok(Json(T::default()));
        }
        check_content_type(content_type.as_ref().map(|v| v.to_str().unwrap_or_default()))?;
        decode(&body).map(Json)
    }
}

async fn read(request: Request) -> Result<Bytes, ApiError> {
    let limited = Limited::new(request.into_body(), MAX_JSON_BODY);
    match limited.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "http: request body too large"))
        }
        Err(error) => Err(ApiError::bad_request(format!("invalid JSON: {error}"))),
    }
}

fn check_content_type(given: Option<&str>) -> Result<(), ApiError> {
    let given = given.unwrap_or_default();
    let mime = given.split(';').next().unwrap_or_default().trim();
    if mime.is_empty() {
        return Err(ApiError::bad_request(format!(
            "malformed Content-Type header ({given}): mime: no media type"
        )));
    }
    if !mime.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::bad_request(format!(
            "unsupported Content-Type header ({given}): must be 'application/json'"
        )));
    }
    Ok(())
}

fn decode<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Option<T>>();
    let value = match values.next() {
        Some(Ok(value)) => value.unwrap_or_default(),
        Some(Err(error)) if error.is_eof() => {
            return Err(ApiError::bad_request("invalid JSON: unexpected EOF"));
        }
        Some(Err(error)) => return Err(ApiError::bad_request(format!("invalid JSON: {error}"))),
        None => return Err(ApiError::bad_request("invalid JSON: got EOF while reading request body")),
    };
    if body[values.byte_offset()..].iter().any(|byte| !byte.is_ascii_whitespace()) {
        return Err(ApiError::bad_request("unexpected content after JSON"));
    }
    Ok(value)
}

/// The query's parameters, in order, read with Docker's leniency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Params::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Params {
    /// Reads a query string.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        Params(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The first value, or an empty string.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The first value, unless absent or empty.
    #[must_use]
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }

    /// Whether the parameter is given, even without a value.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A boolean: everything but nothing, `0`, `no`, `false` and `none` is true.
    #[must_use]
    pub fn bool(&self, name: &str) -> bool {
        !matches!(self.get(name).trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A boolean with a value for when it is not given.
    #[must_use]
    pub fn bool_or(&self, name: &str, default: bool) -> bool {
        if self.contains(name) { self.bool(name) } else { default }
    }

    /// A number; 0 if absent or not one.
    #[must_use]
    pub fn int_or_zero(&self, name: &str) -> i64 {
        self.get(name).parse().unwrap_or(0)
    }

    /// A number, if given.
    ///
    /// # Errors
    /// 400 if it is not a number.
    pub fn int(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.non_empty(name) else { return Ok(None) };
        let value = text.parse().map_err(|_| {
            ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })?;
        Ok(Some(value))
    }

    /// The `filters` parameter.
    ///
    /// # Errors
    /// 400 if it is not JSON of the form that filters have.
    pub fn filters(&self) -> Result<Filters, ApiError> {
        Ok(Filters::parse(self.get("filters"))?)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use dray_api::volume::VolumeCreateRequest;

    use super::*;

    async fn body(content_type: &str, text: &'static str) -> Result<VolumeCreateRequest, ApiError> {
        let mut request = Request::builder();
        if !content_type.is_empty() {
            request = request.header("Content-Type", content_type);
        }
        let request = request.body(Body::from(text)).unwrap();
        Json::<VolumeCreateRequest>::from_request(request, &()).await.map(|json| json.0)
    }

    #[tokio::test]
    async fn reads_json() {
        assert_eq!(body("application/json; charset=utf-8", r#"{"Name":"a"}"#).await.unwrap().name, "a");
        assert_eq!(body("", "").await.unwrap().name, "");
        assert_eq!(body("application/json", "null").await.unwrap().name, "");
    }

    #[tokio::test]
    async fn refuses_what_docker_refuses() {
        let cases = [
            ("text/plain", "{}", "unsupported Content-Type header (text/plain): must be 'application/json'"),
            ("application/json", "{} x", "unexpected content after JSON"),
            ("application/json", " ", "invalid JSON: got EOF while reading request body"),
            ("application/json", "{", "invalid JSON: unexpected EOF"),
        ];
        for (content_type, text, message) in cases {
            let error = body(content_type, text).await.unwrap_err();
            assert_eq!((error.status, error.message.as_str()), (StatusCode::BAD_REQUEST, message));
        }
    }

    #[test]
    fn reads_queries_as_go_does() {
        let params = Params::parse("t=a%3A1&t=b&all=1&size=False&x&limit=-1&bad=z");
        assert_eq!(params.all("t").collect::<Vec<_>>(), ["a:1", "b"]);
        assert!(params.bool("all") && !params.bool("size") && !params.bool("x"));
        assert!(params.contains("x") && params.bool_or("absent", true));
        assert_eq!(params.int("limit").unwrap(), Some(-1));
        assert_eq!(params.int("absent").unwrap(), None);
        let message = params.int("bad").unwrap_err().message;
        assert_eq!(message, r#"strconv.ParseInt: parsing "z": invalid syntax"#);
    }
}
