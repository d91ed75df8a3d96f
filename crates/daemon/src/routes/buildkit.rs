//! `/grpc` and `/session`: connections that BuildKit's clients take over for HTTP/2.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode, header};

use crate::buildkit::{BuildKit, SESSION_ID, SHARED_KEY};
use crate::error::{ApiError, ApiResult};
use crate::hijack::Hijack;
use crate::state::App;

/// HTTP/2 without TLS.
const H2C: &str = "h2c";

type Kit = State<Arc<BuildKit>>;

pub(super) fn router() -> Router<App> {
    Router::new().route("/grpc", post(grpc)).route("/session", post(session))
}

async fn grpc(State(kit): Kit, headers: HeaderMap, hijack: Hijack) -> ApiResult {
    check_protocol(&headers)?;
    hijack.upgrade(H2C, move |connection| kit.serve(connection))
}

/// The client serves this connection, and the daemon calls.
async fn session(State(kit): Kit, headers: HeaderMap, hijack: Hijack) -> ApiResult {
    check_protocol(&headers)?;
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (id, key) = (text(SESSION_ID), text(SHARED_KEY));
    if id.is_empty() {
        return Err(ApiError::bad_request("no session id in request"));
    }
    if kit.sessions().has(&id) {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("session {id} already exists")));
    }
    hijack.upgrade(H2C, move |connection| async move {
        if let Err(error) = kit.sessions().serve(&id, &key, connection).await {
            tracing::debug!(%error, "a build client's session");
        }
    })
}

fn check_protocol(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(header::UPGRADE).map(|value| value.to_str().unwrap_or_default()) {
        None | Some("") => Err(ApiError::bad_request("no upgrade proto in request")),
        Some(H2C) => Ok(()),
        Some(other) => Err(ApiError::bad_request(format!("protocol {other} not supported"))),
    }
}
