//! `/exec`, and `/containers/{id}/exec`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use dray_api::container::{ExecCreateRequest, ExecCreateResponse, ExecStartRequest};
use dray_engine::exec::Service;
use http::StatusCode;

use super::container::size;
use crate::error::{ApiResult, json};
use crate::extract::{Json, Params};
use crate::hijack::Hijack;
use crate::state::App;
use crate::version::ApiVersion;

type Execs = State<Arc<Service>>;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/containers/{id}/exec", post(create))
        .route("/exec/{id}/json", get(inspect))
        .route("/exec/{id}/start", post(start))
        .route("/exec/{id}/resize", post(resize))
}

async fn create(
    State(execs): Execs,
    Path(id): Path<String>,
    version: ApiVersion,
    Json(mut request): Json<ExecCreateRequest>,
) -> ApiResult {
    if !version.at_least(42) {
        request.console_size = None;
    }
    let id = execs.create(&id, request).await?;
    Ok(json(StatusCode::CREATED, &ExecCreateResponse { id }))
}

async fn inspect(State(execs): Execs, Path(id): Path<String>) -> ApiResult {
    Ok(json(StatusCode::OK, &execs.inspect(&id)?))
}

async fn start(
    State(execs): Execs,
    Path(id): Path<String>,
    version: ApiVersion,
    hijack: Hijack,
    Json(mut request): Json<ExecStartRequest>,
) -> ApiResult {
    if !version.at_least(42) || !request.tty {
        request.console_size = None;
    }
    match execs.start(&id, &request).await? {
        None => Ok(StatusCode::OK.into_response()),
        Some(session) => {
            let framed = session.multiplexed();
            Ok(hijack.start(framed, move |connection| session.serve(connection)))
        }
    }
}

async fn resize(State(execs): Execs, Path(id): Path<String>, params: Params) -> ApiResult {
    let (height, width) = size(&params)?;
    execs.resize(&id, height, width).await?;
    Ok(StatusCode::OK.into_response())
}
