//! Where an error becomes an HTTP answer: its kind decides the status, its text is the message.

use axum::response::{IntoResponse, Response};
use dray_api::error::ErrorResponse;
use dray_api::filters::FilterError;
use dray_engine::ErrorKind;
use http::{HeaderValue, StatusCode, header};

/// What a handler returns.
pub type ApiResult<T = Response> = Result<T, ApiError>;

/// An answer that is an error: `{"message": "…"}` with a status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// What the client is told.
    pub message: String,
}

impl ApiError {
    /// An error with this status and text.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        ApiError { status, message: message.into() }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404: what it names is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 500: our own failure.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status == StatusCode::NOT_MODIFIED {
            return self.status.into_response();
        }
        if self.status.is_server_error() {
            tracing::error!(status = self.status.as_u16(), "{}", self.message);
        }
        json(self.status, &ErrorResponse::new(self.message))
    }
}

/// What a kind of failure means on the wire.
fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::InvalidParameter => StatusCode::BAD_REQUEST,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotModified => StatusCode::NOT_MODIFIED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::System => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Each service's error: its kind and its text.
macro_rules! service_errors {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for ApiError {
            fn from(error: $error) -> Self {
                ApiError::new(status(error.kind()), error.to_string())
            }
        }
    )*};
}

service_errors!(
    dray_engine::ServiceError,
    dray_engine::container::Error,
    dray_engine::image::Error,
    dray_engine::build::Error,
    dray_engine::build::history::HistoryError,
    dray_engine::network::Error,
    dray_engine::volume::Error,
);

impl From<FilterError> for ApiError {
    fn from(error: FilterError) -> Self {
        ApiError::bad_request(error.to_string())
    }
}

/// A JSON answer, with the newline that Docker's encoder ends it with.
pub(crate) fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            let json = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, json)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn errors_are_messages() {
        let response = ApiError::not_found("No such container: x").into_response();
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "{\"message\":\"No such container: x\"}\n");
    }

    #[tokio::test]
    async fn not_modified_has_no_body() {
        let response = ApiError::new(StatusCode::NOT_MODIFIED, "already started").into_response();
        assert_eq!(response.status(), 304);
        assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
}
