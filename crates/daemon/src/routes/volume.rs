//! `/volumes`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use dray_api::volume::VolumeCreateRequest;
use dray_engine::volume::Service;
use http::StatusCode;

use crate::blocking::call;
use crate::error::{ApiError, ApiResult, json};
use crate::extract::{Json, Params};
use crate::state::App;
use crate::version::ApiVersion;

type Volumes = State<Arc<Service>>;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/volumes", get(list))
        .route("/volumes/create", post(create))
        .route("/volumes/prune", post(prune))
        .route("/volumes/{name}", get(inspect).put(update).delete(remove))
}

async fn list(State(volumes): Volumes, params: Params) -> ApiResult {
    let filters = params.filters()?;
    Ok(json(StatusCode::OK, &call(move || volumes.list(&filters)).await?))
}

async fn inspect(State(volumes): Volumes, Path(name): Path<String>) -> ApiResult {
    Ok(json(StatusCode::OK, &call(move || volumes.inspect(&name)).await?))
}

async fn create(State(volumes): Volumes, Json(request): Json<VolumeCreateRequest>) -> ApiResult {
    Ok(json(StatusCode::CREATED, &call(move || volumes.create(request)).await?))
}

async fn remove(State(volumes): Volumes, Path(name): Path<String>, params: Params) -> ApiResult {
    let force = params.bool("force");
    call(move || volumes.remove(&name, force)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Docker's `volume update` is for the volumes of a cluster.
async fn update() -> ApiError {
    let text = "volume update only valid for cluster volumes, but swarm is unavailable";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

async fn prune(State(volumes): Volumes, version: ApiVersion, params: Params) -> ApiResult {
    let mut filters = params.filters()?;
    // Before 1.42 named volumes were pruned too.
    if !version.at_least(42) {
        filters.take("all");
        filters.add("all", "true");
    }
    Ok(json(StatusCode::OK, &call(move || volumes.prune(&filters)).await?))
}
