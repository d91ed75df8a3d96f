//! Engine calls that block, on threads that may.

use std::convert::Infallible;

use crate::error::ApiError;

/// Runs a service's call on a blocking thread.
///
/// # Errors
/// The call's own error, or 500 if it panicked.
pub(crate) async fn call<T, E, F>(work: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    E: Into<ApiError> + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(ApiError::internal(format!("the request's work ended unexpectedly: {error}"))),
    }
}

impl From<Infallible> for ApiError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
