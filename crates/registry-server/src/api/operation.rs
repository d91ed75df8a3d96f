//! What operators and their machines ask: whether the process lives, whether it can serve, and its figures.

use http::request::Parts;
use http::{Response, StatusCode};

use super::problem::Problem;
use super::registry::{Link, Registry, empty, json, set};
use super::route::Route;
use crate::connection::Body;

/// Answers what needs no account; nothing if the request is another.
pub(super) async fn answer(
    registry: &Registry,
    route: &Route,
    head: &Parts,
    link: &Link,
) -> Result<Option<Response<Body>>, Problem> {
    Ok(Some(match route {
        Route::Live => json(r#"{"status":"ok"}"#),
        Route::Ready => ready(registry).await,
        Route::Metrics => {
            registry.access.authorize_operator(head, link).await?;
            let usage = registry.metadata.usage("").await?;
            let copies = registry.replication.metrics(&*registry.metadata).await?;
            let mut response = json(registry.report.metrics(&usage) + &copies);
            set(&mut response, "content-type", "text/plain; version=0.0.4; charset=utf-8");
            response
        }
        Route::Replication => {
            registry.access.authorize_operator(head, link).await?;
            json(registry.replication.status(&*registry.metadata).await?.to_string())
        }
        _ => return Ok(None),
    }))
}

async fn ready(registry: &Registry) -> Response<Body> {
    let (storage, metadata) = tokio::join!(registry.storage.check(), registry.metadata.check());
    let failures: Vec<String> = [storage.err().map(|e| e.to_string()), metadata.err().map(|e| e.to_string())]
        .into_iter()
        .flatten()
        .collect();
    if failures.is_empty() && !registry.report.is_stopping() {
        return json(r#"{"status":"ok"}"#);
    }
    for failure in &failures {
        tracing::error!(failure, "not ready");
    }
    let mut response = empty(StatusCode::SERVICE_UNAVAILABLE);
    set(&mut response, "retry-after", "1");
    response
}
